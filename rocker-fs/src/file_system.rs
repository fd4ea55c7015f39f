//! What a file system is like, as it says itself.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::PathBuf;

use nix::sys::statfs::{self, FsType, OVERLAYFS_SUPER_MAGIC};
use nix::sys::statvfs::FsFlags;

use crate::calls;
use crate::error::{Error, Result};

/// The file systems whose files the kernel makes up as they are read.
const KERNELS: &[FsType] = &[
    statfs::PROC_SUPER_MAGIC,
    statfs::SYSFS_MAGIC,
    statfs::CGROUP_SUPER_MAGIC,
    statfs::CGROUP2_SUPER_MAGIC,
    statfs::DEBUGFS_MAGIC,
    statfs::TRACEFS_MAGIC,
    statfs::SECURITYFS_MAGIC,
    statfs::BPF_FS_MAGIC,
];

/// Whether a file is on a file system whose files the kernel makes up as they are read, such as /proc.
pub(crate) fn is_the_kernels(file: BorrowedFd<'_>) -> nix::Result<bool> {
    let why = "so that files which the kernel makes up are not taken for the container's";
    let found = calls::fstatfs(file, why)?.filesystem_type();
    Ok(KERNELS.contains(&found))
}

/// The file system that a file is on, and how it is mounted there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileSystem {
    /// How many bytes an ordinary user can still write.
    pub free_bytes: u64,
    /// How many files can still be made; none where the file system does not count them.
    pub free_inodes: Option<u64>,
    /// Whether it is an overlay, on which no other overlay can have its upper directory.
    pub is_overlay: bool,
    /// Whether nothing can be written.
    pub read_only: bool,
    /// Whether no program can be executed.
    pub no_exec: bool,
    /// Whether a program's set-user-ID bit gives nothing.
    pub no_suid: bool,
    /// Whether no device node can be opened.
    pub no_dev: bool,
}

impl FileSystem {
    /// The file system of an open file, also of one that was opened as a place only. Nothing is changed.
    ///
    /// # Errors
    /// [`Error::Store`] where the file system does not answer.
    ///
    /// See [statfs(2)](https://man7.org/linux/man-pages/man2/statfs.2.html).
    #[doc(alias = "fstatfs")]
    #[doc(alias = "statvfs")]
    pub fn of(file: impl AsFd) -> Result<Self> {
        let file = file.as_fd();
        let why = "so that it is known how much room there is, and what the mount forbids";
        let found = calls::fstatfs(file, why).map_err(|errno| Error::Store {
            operation: "fstatfs",
            path: PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())),
            source: errno.into(),
        })?;
        let flags = found.flags();
        let block = u64::try_from(found.block_size()).unwrap_or(0);
        Ok(Self {
            free_bytes: found.blocks_available().saturating_mul(block),
            free_inodes: (found.files() > 0).then(|| found.files_free()),
            is_overlay: found.filesystem_type() == OVERLAYFS_SUPER_MAGIC,
            read_only: flags.contains(FsFlags::ST_RDONLY),
            no_exec: flags.contains(FsFlags::ST_NOEXEC),
            no_suid: flags.contains(FsFlags::ST_NOSUID),
            no_dev: flags.contains(FsFlags::ST_NODEV),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn proc_is_a_file_system_without_room_that_can_be_written() {
        let proc = FileSystem::of(File::open("/proc/self").unwrap()).unwrap();
        assert!(!proc.is_overlay && !proc.read_only, "{proc:?}");
        assert_eq!(proc.free_bytes, 0);
        assert_eq!(proc.free_inodes, None);
    }
}
