//! A tree as a tar stream that somebody reads while it is packed.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Scope, ScopedJoinHandle};

use rocker_fs::{PackOptions, Packed, pack};

use crate::{Error, Result};

/// The reading end. It comes to an end only if all was packed; otherwise it fails, and says why.
#[derive(Debug)]
pub(crate) struct Packing<'scope> {
    pipe: PipeReader,
    packer: Option<ScopedJoinHandle<'scope, io::Result<Packed>>>,
    /// What was packed, once all was read.
    pub(crate) packed: Option<Packed>,
}

impl<'scope> Packing<'scope> {
    /// Packs `tree` in a thread of `scope`. `after` is called as soon as all is read, and has a say in whether it is good. Stops when
    /// `stop` is set.
    pub(crate) fn begin<'env>(
        scope: &'scope Scope<'scope, 'env>,
        tree: BorrowedFd<'scope>,
        options: PackOptions<'scope>,
        after: impl FnOnce() -> Result<()> + Send + 'scope,
        stop: &'scope AtomicBool,
    ) -> Result<Self> {
        let failed = |source| Error::State {
            operation: "make",
            path: "a pipe".into(),
            source,
        };
        let (pipe, out) = io::pipe().map_err(failed)?;
        let packer = thread::Builder::new()
            .name("rocker-pack".into())
            .spawn_scoped(scope, move || {
                let packed = pack(tree, Stoppable { out, stop }, &options);
                let good = after();
                let packed = packed.map_err(io::Error::other)?;
                good.map_err(io::Error::other)?;
                Ok(packed)
            })
            .map_err(failed)?;
        Ok(Self {
            pipe,
            packer: Some(packer),
            packed: None,
        })
    }
}

impl Read for Packing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.pipe.read(buffer)?;
        if count == 0
            && !buffer.is_empty()
            && let Some(packer) = self.packer.take()
        {
            match packer.join() {
                Ok(packed) => {
                    let packed = packed?;
                    warn_of(&packed);
                    self.packed = Some(packed);
                }
                Err(_) => return Err(io::Error::other("the packing thread panicked")),
            }
        }
        Ok(count)
    }
}

/// What of a tree no archive has, or no layer.
fn warn_of(packed: &Packed) {
    let files = |count| {
        if count == 1 { "1 file" } else { "files" }.replace("files", &format!("{count} files"))
    };
    if packed.names_left_out > 0 {
        tracing::warn!(
            "{} left out whose names begin with .wh., which means something else in a layer",
            files(packed.names_left_out)
        );
    }
    if packed.devices_left_out > 0 {
        tracing::warn!(
            "{} left out that are devices; -a copies them",
            files(packed.devices_left_out)
        );
    }
    if packed.sockets_left_out > 0 {
        tracing::debug!(
            "{} left out that are sockets",
            files(packed.sockets_left_out)
        );
    }
}

/// A writer that fails when somebody does not want it any more.
struct Stoppable<'a> {
    out: PipeWriter,
    stop: &'a AtomicBool,
}

impl Write for Stoppable<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.stop.load(Ordering::Relaxed) {
            // Not `Interrupted`, which would be tried again.
            true => Err(io::Error::other("interrupted")),
            false => self.out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
