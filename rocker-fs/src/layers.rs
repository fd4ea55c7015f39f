//! The store of unpacked layers: one directory each, shared by all images, made whole or not at all.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use crate::calls;
use crate::error::{Error, Result};
use crate::layer::{UnpackOptions, Unpacked, unpack};
use crate::lock::Lock;
use crate::remove;
use crate::resolve;

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
        let (root, dir) = resolve::open_store(
            root.as_ref(),
            "so that there is a place for layers, open to nobody else",
            "so that layers are made, renamed and removed in this very directory",
        )?;
        Ok(Self { root, dir })
    }

    /// Where the layer `name` is, or would be: `<root>/<hex>`. A `name` that is no digest leads to a path where no
    /// layer can be.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(directory(name).unwrap_or(".no-layer"))
    }

    /// Whether the layer `name` (a diff-ID such as `sha256:0a1b…`, or its digits) is here.
    pub fn contains(&self, name: &str) -> bool {
        let why = "so that a layer that is unpacked already is not fetched again";
        directory(name)
            .is_ok_and(|name| calls::status_at(self.dir.as_fd(), name.as_bytes(), why).is_ok())
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
        let made = self.fill(name, &unfinished, lock.as_fd(), tar, options);
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
        let Some(_lock) = self.lock(name, true)? else {
            return Ok(());
        };
        let why = "so that nobody takes the layer for whole while it is being removed";
        match calls::rename(self.dir.as_fd(), name, &doomed, why) {
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
            let removed = match self.lock(name, false) {
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
    fn begin(&self, name: &str) -> Result<(String, Lock)> {
        loop {
            let unfinished = unfinished(name);
            let why = "so that the layer grows where nobody looks for it, and gets its name when it is whole";
            match calls::mkdirat(self.dir.as_fd(), unfinished.as_bytes(), Mode::S_IRWXU, why) {
                Ok(()) => {}
                // A dead process had our number.
                Err(Errno::EEXIST) => continue,
                Err(errno) => return Err(self.failed("mkdir", &unfinished, errno)),
            }
            let Some(lock) = self.lock(&unfinished, true)? else {
                continue;
            };
            let why =
                "so that it is known that no sweep removed the directory before it was locked";
            let status = calls::fstat(lock.as_fd(), why)
                .map_err(|errno| self.failed("stat", &unfinished, errno))?;
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
        dir: BorrowedFd<'_>,
        tar: impl Read,
        options: &UnpackOptions,
    ) -> Result<Unpacked> {
        let why = "so that an image whose layers do not mention the root has an ordinary one";
        calls::fchmod(dir.as_fd(), Mode::from_bits_truncate(0o755), why)
            .map_err(|errno| self.failed("chmod", unfinished, errno))?;
        let unpacked = unpack(tar, dir, options)?;
        let why = "so that the layer is on the disk before it has the name of a whole one";
        calls::syncfs(dir, why).map_err(|errno| self.failed("syncfs", unfinished, errno))?;
        let why = "so that the layer is there all at once, and one that somebody else made meanwhile stays";
        match calls::rename(self.dir.as_fd(), unfinished, name, why) {
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
    fn lock(&self, name: &str, wait: bool) -> Result<Option<Lock>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let why = "so that the layer's directory can be locked";
        let open = || calls::openat(self.dir.as_fd(), name.as_bytes(), flags, Mode::empty(), why);
        let opened = open().or_else(|errno| match errno {
            // The mode of its root is the layer's, and may keep even its owner out.
            Errno::EACCES => {
                let why = "so that the layer, which is closed to its owner, can be locked";
                calls::chmod_at(self.dir.as_fd(), name.as_bytes(), Mode::S_IRWXU, why)?;
                open()
            }
            _ => Err(errno),
        });
        let dir = match opened {
            Ok(dir) => dir,
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno) => return Err(self.failed("open", name, errno)),
        };
        let why = match wait {
            false => "so that only what nobody works on any more is swept away",
            _ => "so that no sweep takes this layer for one whose maker has died",
        };
        match Lock::take(dir, wait, why) {
            Ok(lock) => Ok(Some(lock)),
            Err(Errno::EWOULDBLOCK) => Ok(None),
            Err(errno) => Err(self.failed("flock", name, errno)),
        }
    }

    fn list(&self) -> Result<Vec<String>> {
        let failed = |errno| self.failed("readdir", "", errno);
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let why = "so that all layers can be listed, the unfinished too";
        let mut dir = calls::open_dir(self.dir.as_fd(), b".", flags, why).map_err(failed)?;
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
