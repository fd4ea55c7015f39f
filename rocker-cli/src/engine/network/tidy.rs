//! What an ended container leaves to be removed a little later: its place on the network.
//!
//! To remove a cable takes the kernel some 20 ms, unless it goes with its network namespace; to remove the bridge behind the last
//! one takes more, and the next container makes it anew. Nobody in front of a container has to wait for that. So whoever looked after it
//! leaves its lease as it is, and sees to it that a process of rocker's own takes it back a little later.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, SystemTime};

use crate::Result;
use crate::engine::lock::is_held;
use crate::engine::{Engine, disk};

/// Has a process take back what is left, by [`Engine::tidy_later`]. It gets the file as its standard input: that is locked, and so
/// stays locked until the process ends.
pub(crate) type Tidier = fn(File) -> io::Result<()>;

/// The file of the run directory that is locked by the one who will take back what is left, and has something in it for as long as
/// something is.
const TIDY: &str = ".tidy";

/// The file beside it that is there while somebody is taking things back: the other one says then what is left meanwhile, and whoever is killed
/// at it has not finished.
const TIDYING: &str = ".tidying";

/// How long the network stays after its last container.
const LINGER: Duration = Duration::from_secs(3);

impl Engine {
    /// Leaves the place on the network of a container that has ended, to be taken back later.
    pub(crate) fn leave_for_later(&self, tidier: Tidier) -> Result<()> {
        let path = self.tidy_file();
        let failed = disk::failed("use", &path);
        let why = "so that what is left on the network is taken back a little later, and nobody waits for it";
        let file = disk::open_lock(&path, why).map_err(&failed)?;
        // Before the look at the lock: who holds it looks for this before it lets go.
        let why = "so that whoever takes things back sees that there is something, and so does the next command";
        disk::overwrite(&file, "1", why).map_err(&failed)?;
        let why = "so that there is one process that will take it back";
        match disk::try_lock(&file, why).map_err(&failed)? {
            true => tidier(file).map_err(failed),
            false => Ok(()),
        }
    }

    /// Takes back what ended containers have left on the network, if nobody is about to: the one who was has died.
    pub(crate) fn tidy_if_forgotten(&self) -> Result<()> {
        let path = self.tidy_file();
        let why = "so that one knows whether something is left on the network";
        let unfinished = || {
            let why = "so that one knows whether somebody was killed who was taking it back";
            disk::exists(&self.tidying_file(), why)
        };
        if !disk::is_filled(&path, why) && !unfinished() {
            return Ok(());
        }
        let failed = disk::failed("use", &path);
        let why = "so that one knows whether somebody is about to take it back";
        let file = disk::open_lock(&path, why).map_err(&failed)?;
        if !disk::try_lock(&file, why).map_err(&failed)? {
            return Ok(());
        }
        self.begin(&file)?;
        self.tidy()
            .inspect_err(|_| self.note_something_left(&file))?;
        self.end()
    }

    /// Notes that whatever is left is being taken back.
    fn begin(&self, file: &File) -> Result<()> {
        let path = self.tidying_file();
        let why = "so that the next command finishes it if this process is killed";
        disk::write(&path, b"", why).map_err(disk::failed("write", &path))?;
        let why = "so that it is seen whether something more is left from here on";
        disk::overwrite(file, "", why).map_err(disk::failed("write", &self.tidy_file()))
    }

    /// Notes that it is.
    fn end(&self) -> Result<()> {
        let path = self.tidying_file();
        let why = "so that nobody looks for what is left of it";
        disk::remove_file(&path, why).map_err(disk::failed("remove", &path))
    }

    fn note_something_left(&self, file: &File) {
        let why = "so that the next command tries again";
        let _ = disk::overwrite(file, "1", why);
    }

    /// Takes back what ended containers leave on the network, until there is nothing more to take back. The network itself
    /// goes when nobody has used it for some seconds. `file` is the locked one that a [`Tidier`] got.
    pub(crate) fn tidy_later(&self, file: &File) -> Result<()> {
        loop {
            thread::sleep(LINGER);
            self.begin(file)?;
            let again = self.tidy_if_idle();
            if again.is_err() {
                self.note_something_left(file);
            }
            if again? {
                continue;
            }
            self.end()?;
            let why = "so that what was left meanwhile is taken back as well";
            if !disk::is_filled(&self.tidy_file(), why) {
                return Ok(());
            }
        }
    }

    /// Takes back the places of those that have ended, and the networks, unless they were used just now. Whether to look again.
    fn tidy_if_idle(&self) -> Result<bool> {
        let mut again = false;
        for network in self.networks()? {
            if !self.release_ended(&network)? {
                // Somebody may just have come and gone.
                let used = network.last_use().unwrap_or(SystemTime::UNIX_EPOCH);
                if used.elapsed().is_ok_and(|since| since < LINGER) {
                    again = true;
                    continue;
                }
            }
            network.tidy()?;
        }
        Ok(again)
    }

    /// The same at once.
    fn tidy(&self) -> Result<()> {
        for network in self.networks()? {
            self.release_ended(&network)?;
            network.tidy()?;
        }
        Ok(())
    }

    /// Takes back the places of those that have ended. Whether there are others.
    pub(crate) fn release_ended(&self, network: &rocker_net::Network) -> Result<bool> {
        let mut others = false;
        for owner in network.owners()? {
            if is_held(&self.roots().running().join(&owner))? {
                others = true;
                continue;
            }
            // Somebody may start it again this very moment: not from here on.
            let _making = self.making()?;
            others |= !self.release_if_ended(network, &owner)?;
        }
        Ok(others)
    }

    /// Takes back the place of a container, unless somebody looks after it; whether it did. To be called while nobody makes or starts
    /// one: what has been started again has its new place by the same name.
    pub(crate) fn release_if_ended(
        &self,
        network: &rocker_net::Network,
        owner: &str,
    ) -> Result<bool> {
        let ended = !is_held(&self.roots().running().join(owner))?;
        if ended {
            network.release(owner)?;
        }
        Ok(ended)
    }

    fn tidy_file(&self) -> PathBuf {
        self.roots().run().join(TIDY)
    }

    fn tidying_file(&self) -> PathBuf {
        self.roots().run().join(TIDYING)
    }
}
