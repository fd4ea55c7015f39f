//! Network namespaces as file descriptors.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::panic;
use std::path::Path;
use std::thread;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use crate::netlink::{Connection, Protocol};
use crate::trace::traced;
use crate::{Error, Result, file};

/// The calling thread's namespace; `/proc/self` would be the main thread's.
const OWN: &str = "/proc/thread-self/ns/net";

/// A network namespace, held open: it lives at least as long as this value, whether or not a process is in it.
///
/// See [network_namespaces(7)](https://man7.org/linux/man-pages/man7/network_namespaces.7.html).
#[derive(Debug)]
pub struct Netns {
    fd: OwnedFd,
}

impl Netns {
    /// Makes a network namespace that holds nothing but a loopback interface, which is down.
    ///
    /// The calling thread stays where it is: a thread of its own enters the new namespace, and ends.
    ///
    /// # Errors
    ///
    /// [`Error::Namespace`] if [unshare(2)](https://man7.org/linux/man-pages/man2/unshare.2.html) is not permitted
    /// (it needs CAP_SYS_ADMIN), or `/proc` is not mounted.
    pub fn new() -> Result<Self> {
        on_a_thread(|| {
            traced(
                "unshare",
                "so that there is a network stack apart from the host's",
                || "CLONE_NEWNET".to_owned(),
                || Ok(unshare(CloneFlags::CLONE_NEWNET)?),
            )
            .map_err(|source| Error::Namespace {
                operation: "make",
                source,
            })?;
            Self::current()
        })
    }

    /// Takes over a file descriptor of a network namespace, such as one of `/proc/PID/ns/net`.
    ///
    /// Whether it is one shows when it is used.
    #[must_use]
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// Opens a network namespace by a path: one that is [pinned](Netns::pin) there, also by `ip netns add`, or `/proc/PID/ns/net`.
    ///
    /// Whether it is one shows when it is used.
    ///
    /// # Errors
    ///
    /// [`Error::File`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let why = "so that the network namespace that has this path can be used";
        let fd = file::open(path, why).map_err(|error| Error::file("open", path, error))?;
        Ok(Self { fd: fd.into() })
    }

    /// Keeps the namespace in being at `path`, a new file, until it is [unpinned](Netns::unpin) there: with no process in it and
    /// nobody who holds it open. In `/run/netns`, `ip netns` knows it by its name.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if there is something at `path`, or [mount(2)](https://man7.org/linux/man-pages/man2/mount.2.html) is not
    /// permitted (it needs CAP_SYS_ADMIN).
    pub fn pin(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let why = "so that there is a file over which the namespace can be mounted";
        file::create_new(path, why).map_err(|error| Error::file("create", path, error))?;
        let source = format!("/proc/thread-self/fd/{}", self.fd.as_raw_fd());
        let pinned = traced(
            "mount",
            "so that the network namespace lives on without a process or descriptor",
            || format!("\"{source}\", {path:?}, NULL, MS_BIND, NULL"),
            || {
                let nothing = None::<&str>;
                Ok(mount(
                    Some(source.as_str()),
                    path,
                    nothing,
                    MsFlags::MS_BIND,
                    nothing,
                )?)
            },
        );
        pinned.map_err(|error| {
            let _ = file::unlink(
                path,
                "so that no file is left over which nothing is mounted",
            );
            Error::file("mount the network namespace on", path, error)
        })
    }

    /// Undoes [`Netns::pin`]. That there is nothing at `path` is fine.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if [umount2(2)](https://man7.org/linux/man-pages/man2/umount2.2.html) is not permitted, or the file is not
    /// to be removed.
    pub fn unpin(path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let unmounted = traced(
            "umount2",
            "so that the network namespace goes when nobody else needs it",
            || format!("{path:?}, MNT_DETACH|UMOUNT_NOFOLLOW"),
            || {
                Ok(umount2(
                    path,
                    MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW,
                )?)
            },
        );
        match unmounted.map_err(|error: io::Error| (error.raw_os_error(), error)) {
            // A crash may have left the file alone.
            Ok(()) | Err((Some(libc::EINVAL), _)) => {}
            Err((Some(libc::ENOENT), _)) => return Ok(()),
            Err((_, error)) => return Err(Error::file("unmount", path, error)),
        }
        let why = "so that the name is free again";
        match file::unlink(path, why) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::file("remove", path, error))
            }
            _ => Ok(()),
        }
    }

    /// The network namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// [`Error::Namespace`] if `/proc/thread-self/ns/net` cannot be opened.
    pub fn current() -> Result<Self> {
        let why = "so that the network namespace of this thread lives on, and can be named by a descriptor";
        let fd = file::open(Path::new(OWN), why).map_err(|source| Error::Namespace {
            operation: "open",
            source,
        })?;
        Ok(Self { fd: fd.into() })
    }

    /// Runs `work` inside the namespace and returns what it returns. A panic in it goes on in the caller.
    ///
    /// It runs on a thread that enters the namespace and ends with `work`, so that no thread that runs other code is
    /// ever in the wrong namespace. Sockets that `work` opens stay in the namespace and may be returned.
    ///
    /// # Errors
    ///
    /// [`Error::Namespace`] if [setns(2)](https://man7.org/linux/man-pages/man2/setns.2.html) fails: the file
    /// descriptor is not a network namespace, or the caller lacks CAP_SYS_ADMIN.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        run_in(self.fd.as_fd(), work)
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Netns> for OwnedFd {
    fn from(netns: Netns) -> Self {
        netns.fd
    }
}

/// Opens a netlink socket inside of `netns`; it stays there.
///
/// The calling thread itself goes there for that, and comes back, where it is sure to get back: a thread for these few calls takes
/// a tenth of the time of a container that does nothing.
pub(crate) fn connect_in(netns: BorrowedFd<'_>, protocol: Protocol) -> Result<Connection> {
    briefly_in(netns, || Connection::open(protocol))
}

/// Runs `work` inside of `netns`, which is no more than a few system calls that cannot wait: it is the calling thread that goes there
/// for it, see [`connect_in`].
pub(crate) fn briefly_in<T: Send>(
    netns: BorrowedFd<'_>,
    work: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    match Abroad::permitted() {
        Some(abroad) => {
            enter(
                netns,
                "so that the next socket and settings are those of the container's network",
            )?;
            let done = work();
            drop(abroad);
            done
        }
        None => run_in(netns, work)?,
    }
}

/// Brings the calling thread back to its own namespace when it is dropped.
struct Abroad {
    own: Netns,
}

impl Abroad {
    /// None if the calling thread may not enter the namespace that it is in. One of a user namespace may be on a network above it, to
    /// which there is no way back.
    fn permitted() -> Option<Self> {
        let own = Netns::current().ok()?;
        let why = "so that it is known that this thread may come back from the container's network";
        let may = enter(own.as_fd(), why).is_ok();
        may.then(|| Self { own })
    }
}

impl Drop for Abroad {
    fn drop(&mut self) {
        let why = "so that this thread is on its own network again";
        if enter(self.own.as_fd(), why).is_err() {
            // The kernel has let it in a moment ago. No other code may run on a thread that is on the wrong network.
            std::process::abort();
        }
    }
}

fn run_in<T: Send>(netns: BorrowedFd<'_>, work: impl FnOnce() -> T + Send) -> Result<T> {
    on_a_thread(|| {
        let why = "so that a throw-away thread works inside of the container's network";
        enter(netns, why)?;
        Ok(work())
    })
}

/// Moves the calling thread to another namespace.
fn enter(netns: BorrowedFd<'_>, why: &'static str) -> Result<()> {
    traced(
        "setns",
        why,
        || format!("{}, CLONE_NEWNET", netns.as_raw_fd()),
        || Ok(setns(netns, CloneFlags::CLONE_NEWNET)?),
    )
    .map_err(|source| Error::Namespace {
        operation: "enter",
        source,
    })
}

fn on_a_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    // A scoped thread does not inherit the caller's subscriber; what it does is to be seen all the same.
    let dispatch = tracing::dispatcher::get_default(Clone::clone);
    let work = move || tracing::dispatcher::with_default(&dispatch, work);
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("rocker-netns".to_owned());
        let thread = thread
            .spawn_scoped(scope, work)
            .map_err(|source: io::Error| Error::Namespace {
                operation: "start a thread for",
                source,
            })?;
        thread
            .join()
            .unwrap_or_else(|payload| panic::resume_unwind(payload))
    })
}
