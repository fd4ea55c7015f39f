//! The store of volumes: directories that outlive those who use them, each with a record beside it, made whole or not at all.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::UnlinkatFlags;

use crate::calls;
use crate::error::{Error, Result};
use crate::gone_volume::GoneVolume;
use crate::lock::Lock;
use crate::remove;
use crate::resolve;
use crate::volume_fill;

/// What of a volume its users see.
pub(crate) const DATA: &[u8] = b"_data";
/// What its maker says of it.
const RECORD: &[u8] = b"volume.json";
/// What a volume is called until it is whole, and while it is removed: these and its name, which no name begins with.
const NEW: &str = ".new-";
const GONE: &str = ".gone-";
/// The longest name, in bytes, that leaves room for these.
const MAX_NAME: usize = 240;
/// How much of what was left behind is held open, and removed, at once; more than that is for the next time.
const SWEPT: usize = 128;
/// The longest record in bytes.
const MAX_RECORD: u64 = 4 << 20;

/// A directory that holds volumes, each as `<name>/_data`, with the record of its maker as `<name>/volume.json`.
///
/// Many processes may use one store at the same time. What one that was killed has left is never taken for a volume: the next that makes
/// one of the same name, or [`Volumes::sweep`], takes it away.
#[derive(Debug)]
pub struct Volumes {
    root: PathBuf,
    dir: OwnedFd,
}

impl Volumes {
    /// Opens the store at `root`; where there is none it is made, for its owner only (mode 0700).
    ///
    /// # Errors
    /// [`Error::Store`] when the directory cannot be made or opened.
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        let (root, dir) = resolve::open_store(
            root.as_ref(),
            "so that there is a place for volumes, open to nobody else",
            "so that volumes are made, renamed and removed in this very directory",
        )?;
        Ok(Self { root, dir })
    }

    /// Whether `name` can be a volume's: a letter or digit, then letters, digits, `_`, `.` and `-`; 240 bytes at most.
    pub fn is_name(name: &str) -> bool {
        let mut bytes = name.bytes();
        bytes
            .next()
            .is_some_and(|byte| byte.is_ascii_alphanumeric())
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
            && name.len() <= MAX_NAME
    }

    /// Where what the users of the volume `name` see is, or would be: `<root>/<name>/_data`. A `name` that can be none leads to a path where no
    /// volume is.
    pub fn path(&self, name: &str) -> PathBuf {
        let name = if Self::is_name(name) {
            name
        } else {
            ".no-volume"
        };
        self.root.join(name).join("_data")
    }

    /// Makes the volume `name`, empty, with mode 0755 and this record. False where there is one of that name already, which stays as it is.
    ///
    /// # Errors
    /// [`Error::VolumeName`], [`Error::Store`]. Nothing is left of the volume then.
    pub fn create(&self, name: &str, record: &[u8]) -> Result<bool> {
        check(name)?;
        let _making = self.lock(b".", "so that of two who make a volume one is second")?;
        if self.contains(name)? {
            return Ok(false);
        }
        let new = format!("{NEW}{name}");
        // Whoever made it so far has died: the lock is held.
        self.discard(&new)?;
        let made = self.furnish(&new, record).and_then(|()| {
            let why = "so that the volume is there all at once";
            let dir = self.dir.as_fd();
            calls::rename(dir, &new, name, why).map_err(|errno| self.failed("rename", name, errno))
        });
        if made.is_err() {
            let _ = self.discard(&new);
        }
        made.map(|()| true)
    }

    fn furnish(&self, new: &str, record: &[u8]) -> Result<()> {
        let failed = |operation| move |errno| self.failed(operation, new, errno);
        let why = "so that the volume grows where nobody looks for it, and gets its name when it is whole";
        calls::mkdirat(self.dir.as_fd(), new.as_bytes(), Mode::S_IRWXU, why)
            .map_err(failed("mkdir"))?;
        let dir = self
            .enter(new)?
            .ok_or(Errno::ENOENT)
            .map_err(failed("open"))?;
        let why = "so that there is what the volume's users see";
        calls::mkdirat(dir.as_fd(), DATA, Mode::S_IRWXU, why).map_err(failed("mkdir"))?;
        let why = "so that every user of a container can enter it, whatever the umask; those above it keep outsiders out";
        let open_to_all = Mode::from_bits_truncate(0o755);
        calls::chmod_at(dir.as_fd(), DATA, open_to_all, why).map_err(failed("chmod"))?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let why = "so that it is known what the volume was made with";
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let file = calls::openat(dir.as_fd(), RECORD, flags, mode, why).map_err(failed("open"))?;
        let mut file = std::fs::File::from(file);
        file.write_all(record).map_err(|source| Error::Store {
            operation: "write",
            path: self.root.join(new),
            source,
        })?;
        let why =
            "so that a volume that has its name has its record, even if the machine stops now";
        calls::fsync(file.as_fd(), why).map_err(failed("fsync"))?;
        calls::fsync(dir.as_fd(), why).map_err(failed("fsync"))
    }

    /// Whether there is a volume `name`.
    ///
    /// # Errors
    /// [`Error::VolumeName`], [`Error::Store`].
    pub fn contains(&self, name: &str) -> Result<bool> {
        check(name)?;
        let why = "so that it is known whether there is such a volume";
        match calls::status_at(self.dir.as_fd(), name.as_bytes(), why) {
            Ok(_) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(self.failed("stat", name, errno)),
        }
    }

    /// What the volume `name` was made with; none where there is no such volume.
    ///
    /// # Errors
    /// [`Error::VolumeName`]; [`Error::Store`], [`Error::Resolve`] and the like where it cannot be read.
    pub fn record(&self, name: &str) -> Result<Option<Vec<u8>>> {
        check(name)?;
        let Some(dir) = self.enter(name)? else {
            return Ok(None);
        };
        let name = Path::new("volume.json");
        Ok(Some(
            resolve::read_beneath(dir.as_fd(), name, MAX_RECORD)?.unwrap_or_default(),
        ))
    }

    /// The names of all volumes, sorted.
    ///
    /// # Errors
    /// [`Error::Store`] when the directory cannot be read.
    pub fn names(&self) -> Result<Vec<String>> {
        let mut names = self.list()?;
        names.retain(|name| Self::is_name(name));
        names.sort();
        Ok(names)
    }

    /// Removes the volume `name` with all that is in it; false where there is none.
    ///
    /// It is the caller's business that nobody uses it.
    ///
    /// # Errors
    /// Those of [`Volumes::take_out`] and [`GoneVolume::remove`].
    pub fn remove(&self, name: &str) -> Result<bool> {
        match self.take_out(name)? {
            Some(gone) => gone.remove().map(|()| true),
            None => Ok(false),
        }
    }

    /// Takes the volume `name` out of the store, which is quick; none where there is none. From then on there is no such volume any more. What was in it remains to be
    /// removed, which may take long.
    ///
    /// It is the caller's business that nobody uses it.
    ///
    /// # Errors
    /// [`Error::VolumeName`]; [`Error::Store`], with EWOULDBLOCK while somebody fills it.
    pub fn take_out(&self, name: &str) -> Result<Option<GoneVolume<'_>>> {
        check(name)?;
        let _making = self.lock(b".", "so that nobody makes the volume at the same time")?;
        let Some(dir) = self.enter(name)? else {
            return Ok(None);
        };
        let why = "so that nobody sweeps the volume away while it is being removed";
        let lock =
            Lock::take(dir, false, why).map_err(|errno| self.failed("flock", name, errno))?;
        let gone = self.let_go(name, name)?;
        Ok(Some(GoneVolume::new(self, gone, lock)))
    }

    /// Gives a directory of the store a name that is no volume's, and that nothing else has: what is left of another volume of this name may be there still.
    /// The store is locked.
    fn let_go(&self, from: &str, name: &str) -> Result<String> {
        let why = "so that nobody finds half a volume while it is being removed";
        for number in 0.. {
            let gone = format!("{GONE}{number}-{name}");
            match calls::rename(self.dir.as_fd(), from, &gone, why) {
                Ok(()) => return Ok(gone),
                Err(Errno::EEXIST) => {}
                Err(errno) => return Err(self.failed("rename", from, errno)),
            }
        }
        Err(self.failed("rename", from, Errno::EEXIST))
    }

    /// Removes what makers and removers of volumes left that died half-way; returns how many there were. What somebody is removing is left to them.
    ///
    /// # Errors
    /// The first [`Error::Store`], after all others have been tried.
    pub fn sweep(&self) -> Result<usize> {
        let is_left = |name: &String| name.starts_with(NEW) || name.starts_with(GONE);
        if !self.list()?.iter().any(is_left) {
            return Ok(0);
        }
        let left = self.left_behind()?;
        let mut swept = 0;
        let mut first = Ok(());
        for gone in left {
            match gone.remove() {
                Ok(()) => swept += 1,
                Err(error) if first.is_ok() => first = Err(error),
                Err(_) => {}
            }
        }
        first.map(|()| swept)
    }

    /// What nobody works on any more.
    fn left_behind(&self) -> Result<Vec<GoneVolume<'_>>> {
        let _making = self.lock(
            b".",
            "so that only what nobody works on any more is removed",
        )?;
        let mut left = Vec::new();
        for name in self.list()? {
            let new = name.strip_prefix(NEW);
            if new.is_none() && !name.starts_with(GONE) {
                continue;
            }
            let Some(dir) = self.enter(&name)? else {
                continue;
            };
            let why = "so that what somebody is removing is left to them";
            let lock = match Lock::take(dir, false, why) {
                Err(Errno::EWOULDBLOCK) => continue,
                lock => lock.map_err(|errno| self.failed("flock", &name, errno))?,
            };
            let name = match new {
                // Whoever comes to make it needs the name.
                Some(new) => self.let_go(&name, new)?,
                None => name,
            };
            left.push(GoneVolume::new(self, name, lock));
            if left.len() == SWEPT {
                break;
            }
        }
        Ok(left)
    }

    pub(crate) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Fills the volume `name` with all that is in the directory `from` ([`copy_tree`](crate::copy_tree)), and gives it its owner, mode, attributes and times, if
    /// it is empty; returns whether it was.
    ///
    /// Whoever has the volume mounted meanwhile never sees half a file, and what they make there meanwhile stays: everything is copied beside the volume, and then renamed
    /// into it, name by name. One that is killed before all is copied leaves the volume empty; one that is killed after that leaves the rest to the next call, which finishes it.
    /// Of several at the same time the others wait.
    ///
    /// # Errors
    /// Those of [`copy_tree`](crate::copy_tree); [`Error::VolumeName`], [`Error::Store`], with ENOENT where there is no such volume.
    pub fn fill(&self, name: &str, from: BorrowedFd<'_>) -> Result<bool> {
        check(name)?;
        let why = "so that nobody else fills the volume at the same time";
        let volume = self.lock(name.as_bytes(), why)?;
        volume_fill::fill(volume.as_fd(), from, &|operation, errno| {
            self.failed(operation, name, errno)
        })
    }

    /// Finishes a [`Volumes::fill`] that was killed when all was copied and not all in its place, so that whoever comes to use the volume without filling it finds no part of
    /// what it should have. Returns whether there was one.
    ///
    /// # Errors
    /// [`Error::VolumeName`], [`Error::Store`], with ENOENT where there is no such volume.
    pub fn finish(&self, name: &str) -> Result<bool> {
        check(name)?;
        let failed = |operation, errno| self.failed(operation, name, errno);
        let Some(dir) = self.enter(name)? else {
            return Err(failed("open", Errno::ENOENT));
        };
        if !volume_fill::is_unfinished(dir.as_fd()).map_err(|errno| failed("stat", errno))? {
            return Ok(false);
        }
        let why = "so that nobody else finishes it at the same time";
        let volume = self.lock(name.as_bytes(), why)?;
        volume_fill::finish(volume.as_fd(), &failed)
    }

    /// Opens and locks a directory of the store, or the store itself.
    fn lock(&self, name: &[u8], why: &'static str) -> Result<Lock> {
        let shown = String::from_utf8_lossy(name);
        let failed = |operation| move |errno| (operation, errno);
        calls::openat(self.dir.as_fd(), name, DIRECTORY, Mode::empty(), why)
            .map_err(failed("open"))
            .and_then(|dir| Lock::take(dir, true, why).map_err(failed("flock")))
            .map_err(|(operation, errno)| self.failed(operation, &shown, errno))
    }

    /// Opens the directory of a volume; none where it is not there.
    fn enter(&self, name: &str) -> Result<Option<OwnedFd>> {
        let why = "so that what belongs to the volume is reached in its own directory";
        match calls::openat(
            self.dir.as_fd(),
            name.as_bytes(),
            DIRECTORY,
            Mode::empty(),
            why,
        ) {
            Ok(dir) => Ok(Some(dir)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(self.failed("open", name, errno)),
        }
    }

    /// Removes a directory that is no volume, if it is there.
    fn discard(&self, name: &str) -> Result<()> {
        match remove::tree_at(self.dir.as_fd(), name.as_bytes()) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(self.failed("remove", name, errno)),
        }
    }

    fn list(&self) -> Result<Vec<String>> {
        let failed = |errno| self.failed("readdir", "", errno);
        let why = "so that all volumes can be listed, the unfinished too";
        let mut dir = calls::open_dir(self.dir.as_fd(), b".", DIRECTORY, why).map_err(failed)?;
        let mut names = Vec::new();
        for entry in dir.iter() {
            let entry = entry.map_err(failed)?;
            names.extend(entry.file_name().to_str().ok().map(str::to_owned));
        }
        Ok(names)
    }

    fn failed(&self, operation: &'static str, name: &str, errno: Errno) -> Error {
        Error::Store {
            operation,
            path: self.root.join(name),
            source: io::Error::from(errno),
        }
    }
}

pub(crate) const DIRECTORY: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

fn check(name: &str) -> Result<()> {
    match Volumes::is_name(name) {
        true => Ok(()),
        false => Err(Error::VolumeName {
            name: name.to_owned(),
        }),
    }
}

/// Removes a name, whatever it is; that it is gone is fine.
pub(crate) fn remove_any(dir: BorrowedFd<'_>, name: &[u8], why: &'static str) -> nix::Result<()> {
    match calls::unlinkat(dir, name, UnlinkatFlags::NoRemoveDir, why) {
        Err(Errno::EISDIR) => remove::tree_at(dir, name),
        Err(Errno::ENOENT) => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dockers() {
        for good in ["a", "data", "A1_b.c-d", "0", &"a".repeat(240)] {
            assert!(Volumes::is_name(good), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            ".a",
            "-a",
            "_a",
            "a/b",
            "a b",
            "a\n",
            "a\0",
            "ä",
            &"a".repeat(241),
        ] {
            assert!(!Volumes::is_name(bad), "{bad:?}");
        }
    }
}
