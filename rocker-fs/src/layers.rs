//! The store of unpacked layers: one directory each, shared by all images, made whole or not at all.

use std::fs::DirBuilder;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, Flock, FlockArg, OFlag, RenameFlags, open, openat, renameat2};
use nix::sys::stat::{Mode, fchmod, fstat, fstatat, mkdirat};
use nix::unistd::syncfs;

use crate::error::{Error, Result};
use crate::layer::{UnpackOptions, Unpacked, unpack};
use crate::remove;

/// In front of the names of layers that are being made or removed.
const UNFINISHED: &str = ".tmp-";
/// Makes unfinished names differ within this process.
static COUNTER: AtomicU64 = AtomicU64::new(0);

/// A directory that holds unpacked layers, each in a directory called by the hexadecimal digits of its diff-ID.
///
/// Many processes may use one store at the same time.
#[derive(Debug)]
pub struct Layers {
    root: PathBuf,
    dir: OwnedFd,
}

impl Layers {
    /// Opens the store at `root`; where there is none it is made, for its owner only (mode 0700).
    ///
    /// That mode matters: layers hold set-user-ID programs, which other users of the host must not reach.
    ///
    /// # Errors
    /// [`Error::Store`] when the directory cannot be made or opened.
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        let path = root.as_ref();
        let failed = |operation, source| Error::Store {
            operation,
            path: path.into(),
            source,
        };
        let root = std::path::absolute(path).map_err(|source| failed("getcwd for", source))?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&root)
            .map_err(|source| failed("mkdir", source))?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let dir =
            open(&root, flags, Mode::empty()).map_err(|errno| failed("open", errno.into()))?;
        Ok(Self { root, dir })
    }

    /// Where the layer `name` is, or would be: `<root>/<hex>`. A `name` that is no digest leads to a path where no
    /// layer can be.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(directory(name).unwrap_or(".no-layer"))
    }

    /// Whether the layer `name` (a diff-ID such as `sha256:0a1b…`, or its digits) is here.
    pub fn contains(&self, name: &str) -> bool {
        directory(name)
            .is_ok_and(|name| fstatat(&self.dir, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok())
    }

    /// Unpacks a layer (see [`unpack`]) and gives it its name when all of it is on disk.
    ///
    /// A `tar` that returns an error at its end, because a digest did not match, keeps the layer from getting its
    /// name. Where another process made the same layer meanwhile, theirs stays and this succeeds.
    ///
    /// # Errors
    /// Those of [`unpack`]; [`Error::LayerName`]; [`Error::Store`]. Nothing is left of the layer then.
    pub fn unpack(&self, name: &str, tar: impl Read, options: &UnpackOptions) -> Result<Unpacked> {
        let name = directory(name)?;
        let (unfinished, lock) = self.begin(name)?;
        let made = self.fill(name, &unfinished, &lock, tar, options);
        if made.is_err() {
            self.discard(&unfinished);
        }
        made
    }

    /// Removes the layer `name`; succeeds where it is not here.
    ///
    /// It is the caller's business that no mounted overlay uses it.
    ///
    /// # Errors
    /// [`Error::LayerName`], [`Error::Store`].
    pub fn remove(&self, name: &str) -> Result<()> {
        let name = directory(name)?;
        let doomed = unfinished(name);
        // The lock before the new name, so that no sweep takes the layer for an orphan and removes it as well.
        let Some(_lock) = self.lock(name, FlockArg::LockExclusive)? else {
            return Ok(());
        };
        match renameat2(
            &self.dir,
            name,
            &self.dir,
            doomed.as_str(),
            RenameFlags::RENAME_NOREPLACE,
        ) {
            Ok(()) => remove::tree_at(self.dir.as_fd(), doomed.as_bytes()),
            Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
        .map_err(|errno| self.failed("remove", name, errno))
    }

    /// The names of all layers here, as hexadecimal digits, sorted.
    ///
    /// # Errors
    /// [`Error::Store`] when the directory cannot be read.
    pub fn names(&self) -> Result<Vec<String>> {
        let mut names = self.list()?;
        names.retain(|name| directory(name).is_ok());
        names.sort();
        Ok(names)
    }

    /// Removes what makers and removers of layers left that died half-way; returns how many there were.
    ///
    /// # Errors
    /// The first [`Error::Store`], after all others have been tried.
    pub fn sweep(&self) -> Result<usize> {
        let mut swept = 0;
        let mut first = Ok(());
        for name in self
            .list()?
            .iter()
            .filter(|name| name.starts_with(UNFINISHED))
        {
            let removed = match self.lock(name, FlockArg::LockExclusiveNonblock) {
                Ok(Some(_orphan)) => remove::tree_at(self.dir.as_fd(), name.as_bytes())
                    .map_err(|errno| self.failed("remove", name, errno)),
                Ok(None) => continue,
                Err(error) => Err(error),
            };
            match removed {
                Ok(()) => swept += 1,
                Err(error) => first = first.and(Err(error)),
            }
        }
        first.map(|()| swept)
    }

    /// Makes an unfinished directory and locks it: as long as the lock is held, no sweep removes it.
    fn begin(&self, name: &str) -> Result<(String, Flock<OwnedFd>)> {
        loop {
            let unfinished = unfinished(name);
            match mkdirat(&self.dir, unfinished.as_str(), Mode::S_IRWXU) {
                Ok(()) => {}
                // A dead process had our number.
                Err(Errno::EEXIST) => continue,
                Err(errno) => return Err(self.failed("mkdir", &unfinished, errno)),
            }
            let Some(lock) = self.lock(&unfinished, FlockArg::LockExclusive)? else {
                continue;
            };
            let status = fstat(&*lock).map_err(|errno| self.failed("stat", &unfinished, errno))?;
            // A sweep that came between the two calls has removed it.
            if status.st_nlink > 0 {
                return Ok((unfinished, lock));
            }
        }
    }

    fn fill(
        &self,
        name: &str,
        unfinished: &str,
        dir: &OwnedFd,
        tar: impl Read,
        options: &UnpackOptions,
    ) -> Result<Unpacked> {
        // A layer that does not mention its root has an ordinary one.
        fchmod(dir, Mode::from_bits_truncate(0o755))
            .map_err(|errno| self.failed("chmod", unfinished, errno))?;
        let unpacked = unpack(tar, dir.as_fd(), options)?;
        syncfs(dir).map_err(|errno| self.failed("syncfs", unfinished, errno))?;
        match renameat2(
            &self.dir,
            unfinished,
            &self.dir,
            name,
            RenameFlags::RENAME_NOREPLACE,
        ) {
            Ok(()) => Ok(unpacked),
            Err(Errno::EEXIST) => {
                self.discard(unfinished);
                Ok(unpacked)
            }
            Err(errno) => Err(self.failed("rename", unfinished, errno)),
        }
    }

    /// Removes an unfinished layer; what resists is left to a sweep.
    fn discard(&self, unfinished: &str) {
        if let Err(errno) = remove::tree_at(self.dir.as_fd(), unfinished.as_bytes()) {
            tracing::warn!(layer = unfinished, %errno, "an unfinished layer could not be removed");
        }
    }

    /// Opens and locks the directory `name`; `None` where it is gone, or locked by somebody else.
    fn lock(&self, name: &str, how: FlockArg) -> Result<Option<Flock<OwnedFd>>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let dir = match openat(&self.dir, name, flags, Mode::empty()) {
            Ok(dir) => dir,
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno) => return Err(self.failed("open", name, errno)),
        };
        match Flock::lock(dir, how) {
            Ok(lock) => Ok(Some(lock)),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(self.failed("flock", name, errno)),
        }
    }

    fn list(&self) -> Result<Vec<String>> {
        let failed = |errno| self.failed("readdir", "", errno);
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut dir = Dir::openat(&self.dir, ".", flags, Mode::empty()).map_err(failed)?;
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

fn unfinished(name: &str) -> String {
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("{UNFINISHED}{name}-{}-{number}", std::process::id())
}

/// The directory of a layer: the digits of its digest, without the algorithm, since overlayfs separates layers by `:`.
fn directory(name: &str) -> Result<&str> {
    let refused = || Error::LayerName {
        name: name.to_owned(),
    };
    let digits = match name.split_once([':', '_', '-']) {
        Some((algorithm, digits)) => {
            let proper = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
            if algorithm.is_empty() || !algorithm.bytes().all(proper) {
                return Err(refused());
            }
            digits
        }
        None => name,
    };
    let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if digits.is_empty() || digits.len() > 128 || !digits.bytes().all(hexadecimal) {
        return Err(refused());
    }
    Ok(digits)
}

#[cfg(test)]
mod tests {
    use super::directory;

    #[test]
    fn only_digests_name_layers() {
        assert_eq!(directory("sha256:0a1b").unwrap(), "0a1b");
        assert_eq!(directory("0a1b").unwrap(), "0a1b");
        for bad in [
            "",
            "..",
            "/",
            "a/b",
            "sha256:",
            "sha256:..",
            "sha256:A",
            ":a",
            "SHA:a",
            "sha256:a:b",
            ".tmp-a",
            "a\0",
        ] {
            assert!(directory(bad).is_err(), "{bad:?}");
        }
        assert!(directory(&"a".repeat(129)).is_err());
    }
}
