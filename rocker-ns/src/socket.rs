//! Sockets of packets that have a name in a directory, however long the directory's path is.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, bind, connect as nix_connect,
    getsockopt, listen as nix_listen, recv, send as nix_send, setsockopt, socket, sockopt,
};
use nix::sys::stat::{Mode, fchmod};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::unistd::{Uid, UnlinkatFlags, geteuid, unlinkat};

use crate::trace::traced;
use crate::{Error, Result};

/// How many clients may wait to be let in.
const BACKLOG: i32 = 64;

/// How long a supervisor may take to let a client in or take a packet, in seconds.
pub(crate) const PATIENCE: i64 = 10;

const LISTEN: &str = "so that others can attach to the program";
const CONNECT: &str = "so that the program's supervisor can be spoken to";

/// Listens at `name` in `dir`, for processes of the same user alone.
pub(crate) fn listen(dir: &Path, name: &str) -> Result<OwnedFd> {
    let failed = |call: String| {
        move |source| Error::Call {
            call,
            why: LISTEN,
            source,
        }
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let at = directory(dir, LISTEN).map_err(failed(opening(dir)))?;
    let listener = packets(flags, LISTEN).map_err(failed(SOCKET.to_owned()))?;
    let number = listener.as_raw_fd();
    // Before the name is there, for afterwards would be too late.
    let args = || format!("{number}, 0600");
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    traced("fchmod", "so that no other user can attach", args, || {
        Ok(fchmod(&listener, mode)?)
    })
    .map_err(failed("fchmod(0600)".to_owned()))?;
    let why = "so that the name is free, which an earlier supervisor may have left";
    let args = || format!("{}, {name:?}, 0", at.as_raw_fd());
    let removed = traced("unlinkat", why, args, || {
        match unlinkat(&at, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    });
    removed.map_err(failed(format!("unlinkat({name:?})")))?;
    let path = short_path(&at, name);
    let bound = traced(
        "bind",
        LISTEN,
        || format!("{number}, {path:?}"),
        || Ok(bind(number, &UnixAddr::new(path.as_str())?)?),
    );
    bound.map_err(failed(format!("bind({:?})", dir.join(name))))?;
    let listening = traced(
        "listen",
        LISTEN,
        || format!("{number}, {BACKLOG}"),
        || Ok(nix_listen(&listener, Backlog::new(BACKLOG)?)?),
    );
    listening.map_err(failed("listen".to_owned()))?;
    Ok(listener)
}

/// Connects to `name` in `dir`. None where nobody listens.
pub(crate) fn connect(dir: &Path, name: &str) -> Result<Option<OwnedFd>> {
    let failed = |call: String| {
        move |source| Error::Call {
            call,
            why: CONNECT,
            source,
        }
    };
    let at = match directory(dir, CONNECT) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        at => at.map_err(failed(opening(dir)))?,
    };
    let client = packets(SockFlag::SOCK_CLOEXEC, CONNECT).map_err(failed(SOCKET.to_owned()))?;
    // Holds for connect(2) as well, which waits where too many others do.
    let patience = TimeVal::seconds(PATIENCE);
    setsockopt(&client, sockopt::SendTimeout, &patience)
        .map_err(|errno| failed("setsockopt(SO_SNDTIMEO)".to_owned())(errno.into()))?;
    let number = client.as_raw_fd();
    let path = short_path(&at, name);
    let connected = traced(
        "connect",
        CONNECT,
        || format!("{number}, {path:?}"),
        || Ok(nix_connect(number, &UnixAddr::new(path.as_str())?)?),
    );
    match connected {
        Ok(()) => {}
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::ENOENT | libc::ECONNREFUSED)
            ) =>
        {
            return Ok(None);
        }
        Err(source) => return Err(failed(format!("connect({:?})", dir.join(name)))(source)),
    }
    if !is_trusted(&client) {
        let call = format!(
            "getsockopt({:?}, SO_PEERCRED), which names another user,",
            dir.join(name)
        );
        return Err(failed(call)(Errno::EPERM.into()));
    }
    Ok(Some(client))
}

/// Whether the process at the other end is of this process's own user, or root.
pub(crate) fn is_trusted(socket: &OwnedFd) -> bool {
    getsockopt(socket, sockopt::PeerCredentials)
        .is_ok_and(|peer| [geteuid().as_raw(), Uid::from_raw(0).as_raw()].contains(&peer.uid()))
}

/// Sends one packet without waiting for room.
pub(crate) fn send(socket: &OwnedFd, packet: &[u8]) -> nix::Result<()> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    send_with(socket, packet, flags)
}

/// Sends one packet, and waits for room for as long as [`PATIENCE`] says.
pub(crate) fn send_waiting(socket: &OwnedFd, packet: &[u8]) -> nix::Result<()> {
    send_with(socket, packet, MsgFlags::MSG_NOSIGNAL)
}

fn send_with(socket: &OwnedFd, packet: &[u8], flags: MsgFlags) -> nix::Result<()> {
    loop {
        match nix_send(socket.as_raw_fd(), packet, flags) {
            Err(Errno::EINTR) => {}
            sent => return sent.map(drop),
        }
    }
}

/// Receives one packet if there is one, and returns its length, which may be more than the buffer holds; 0 when the other
/// end is closed and all is received.
pub(crate) fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> nix::Result<usize> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
    loop {
        match recv(socket.as_raw_fd(), buffer, flags) {
            // Told once, ahead of what was sent before: the other end was closed with packets in it that it had not read.
            Err(Errno::EINTR | Errno::ECONNRESET) => {}
            received => return received,
        }
    }
}

const SOCKET: &str = "socket(AF_UNIX, SOCK_SEQPACKET)";

fn packets(flags: SockFlag, why: &'static str) -> io::Result<OwnedFd> {
    let args = || "AF_UNIX, SOCK_SEQPACKET|SOCK_CLOEXEC, 0".to_owned();
    traced("socket", why, args, || {
        Ok(socket(
            AddressFamily::Unix,
            SockType::SeqPacket,
            flags,
            None,
        )?)
    })
}

fn opening(dir: &Path) -> String {
    format!("open({dir:?}, O_PATH|O_DIRECTORY)")
}

fn directory(dir: &Path, why: &'static str) -> io::Result<OwnedFd> {
    let args = || format!("AT_FDCWD, {dir:?}, O_PATH|O_DIRECTORY|O_CLOEXEC");
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    traced("openat", why, args, || Ok(open(dir, flags, Mode::empty())?))
}

/// The name as a path that fits into an address, which holds 108 bytes; see
/// [unix(7)](https://man7.org/linux/man-pages/man7/unix.7.html).
fn short_path(dir: &impl AsFd, name: &str) -> String {
    format!("/proc/self/fd/{}/{name}", dir.as_fd().as_raw_fd())
}
