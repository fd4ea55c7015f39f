//! Attaching to a container that runs.

use rocker_ns::{AttachEnd, AttachOptions, Attached, Signals};

use super::supervisor::ATTACH;
use crate::engine::Engine;
use crate::engine::lock::is_held;
use crate::{Error, Result};

impl Engine {
    /// Connects this process's own standard streams to those of a container's program, until it ends, or the person in front of
    /// it types the keys: then there is no exit status. Several may do so at once.
    ///
    /// # Errors
    /// [`Error::NoContainer`], [`Error::NotRunning`], and [`Error::Lost`] when the one who looked after it was killed.
    pub fn attach(&self, name: &str, options: AttachOptions) -> Result<Option<u8>> {
        let found = self.container(name)?;
        let run = self.roots().running().join(&found.id);
        let not_running = || Error::NotRunning {
            name: found.name.clone(),
        };
        if !is_held(&run)? {
            return Err(not_running());
        }
        let signals = Signals::hold()?;
        let attached = Attached::connect(&run, ATTACH, options)?.ok_or_else(not_running)?;
        match attached.run(&signals)? {
            AttachEnd::Exited(code) => {
                self.wait_until_settled(&found.id)?;
                Ok(Some(code))
            }
            AttachEnd::Detached => Ok(None),
            _ => Err(Error::Lost { name: found.name }),
        }
    }
}
