//! All files of a container in one archive.

use std::io::Write;
use std::os::fd::AsFd;

use rocker_fs::{PackOptions, pack};

use super::{Engine, container};
use crate::Result;

impl Engine {
    /// Writes all files of a container's root file system as one tar archive, as the container sees them without what is mounted over
    /// them. It may run or not.
    ///
    /// # Errors
    /// [`Error::NoContainer`](crate::Error::NoContainer), [`Error::Fs`](crate::Error::Fs).
    pub fn export(&self, name: &str, out: impl Write) -> Result<()> {
        let changed = self.changed(name)?;
        let upper = self.roots().containers().join(&changed.record.id);
        // Its own layer as one of the image's: of two overlays with one upper directory the kernel would have its doubts.
        let overlay = self.overlay(&changed.image, [upper.join(container::UPPER)])?;
        let root = overlay.mount()?;
        pack(root.as_fd(), out, &PackOptions::files())?;
        changed.check()
    }
}
