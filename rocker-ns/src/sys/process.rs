//! Processes by file descriptor, and signals.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::ptr;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{done, made};
use crate::trace::traced;
use crate::{Error, Result};

/// `pidfd_open(2)`: the process by file descriptor (Linux 5.3).
pub(crate) fn pidfd_open(pid: u32, why: &'static str) -> io::Result<OwnedFd> {
    traced(
        "pidfd_open",
        why,
        || format!("{pid}, 0"),
        || {
            // SAFETY: the call takes two numbers.
            let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
            // SAFETY: the call makes a descriptor for its caller.
            unsafe { made(fd) }
        },
    )
}

/// `pidfd_send_signal(2)` (Linux 5.1).
pub(crate) fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let why = "so that the signal reaches this process and no other";
    send_signal(pidfd, signal, None, why)
}

/// What comes with a signal that is passed on: struct siginfo as the kernel has it for `SI_QUEUE`, see sigqueue(3).
#[repr(C, align(8))]
struct PassedOn {
    signal: i32,
    errno: i32,
    code: i32,
    padding: i32,
    sender: i32,
    user: u32,
    rest: [u64; 13],
}

/// The same for a signal that somebody else has sent, whose number comes with it.
pub(crate) fn pidfd_pass_signal(pidfd: BorrowedFd<'_>, signal: i32, sender: u32) -> io::Result<()> {
    let passed_on = PassedOn {
        signal,
        errno: 0,
        code: libc::SI_QUEUE,
        padding: 0,
        sender: sender.cast_signed(),
        user: 0,
        rest: [0; 13],
    };
    let why =
        "so that the worker gets the signal, and knows it for one that may have reached it as well";
    send_signal(pidfd, signal, Some(&passed_on), why)
}

fn send_signal(
    pidfd: BorrowedFd<'_>,
    signal: i32,
    info: Option<&PassedOn>,
    why: &'static str,
) -> io::Result<()> {
    const { assert!(size_of::<PassedOn>() == size_of::<libc::siginfo_t>()) };
    let pidfd = pidfd.as_raw_fd();
    let shown = if info.is_some() { "{…}" } else { "NULL" };
    let args = || format!("{pidfd}, {signal}, {shown}, 0");
    traced("pidfd_send_signal", why, args, || {
        let info = info.map_or(ptr::null(), ptr::from_ref);
        // SAFETY: the call takes numbers, and null or a siginfo, of which it reads as much as there is.
        done(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd, signal, info, 0) })
    })
}

/// `pidfd_getfd(2)`: a copy of another process's descriptor (Linux 5.6).
pub(crate) fn pidfd_getfd(pidfd: BorrowedFd<'_>, fd: i32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes three numbers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd, 0) };
    // SAFETY: the call makes a descriptor for its caller.
    unsafe { made(fd) }
}

/// `prlimit(2)`: lets a process have a hard limit that is above the one it was born with; its soft limit stays.
pub(crate) fn raise_hard_limit(pid: u32, resource: u32, name: &str, hard: u64) -> Result<()> {
    let process = pid.cast_signed();
    let mut limit = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the call writes a limit, and reads none.
    done(unsafe { libc::prlimit64(process, resource as _, ptr::null(), &mut limit) }.into())
        .map_err(|source| Error::Call {
            call: format!("prlimit64({pid}, {name}, NULL, {{…}})"),
            why: "so that it is known whether the program is to have more than it has",
            source,
        })?;
    if hard <= limit.rlim_max {
        return Ok(());
    }
    limit.rlim_max = hard;
    let why = "so that the program can have its limit, which only the machine's root can raise";
    let args = || format!("{pid}, {name}, {{rlim_max={hard}}}, NULL");
    let raised = traced("prlimit64", why, args, || {
        // SAFETY: the call reads a limit, and writes none.
        done(unsafe { libc::prlimit64(process, resource as _, &limit, ptr::null_mut()) }.into())
    });
    raised.map_err(|source| Error::Call {
        call: format!("prlimit64({})", args()),
        why,
        source,
    })
}

/// Gives a signal its default disposition, see signal(2).
pub(crate) fn default_disposition(signal: i32) {
    // SAFETY: the default disposition runs no code of this process.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// Has the programs that this process executes from here on inherit nothing but the standard streams, and what is made so that
/// they do. Before Linux 5.11 it does nothing.
pub(crate) fn keep_from_children() {
    let (first, last) = (3_u32, u32::MAX);
    // SAFETY: with this flag close_range(2) closes nothing, and it touches no memory.
    unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            last,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
}

/// Takes over a pipe that this process was started with, by its number; none where that is no pipe. It is not inherited
/// any further, but by this program when it starts over.
pub(crate) fn inherited_pipe(number: i32) -> Option<OwnedFd> {
    if number <= 2 {
        return None;
    }
    // SAFETY: the call takes a number, and fills a stat structure.
    let is_pipe = unsafe {
        let mut found = std::mem::MaybeUninit::<libc::stat>::zeroed();
        libc::fstat(number, found.as_mut_ptr()) == 0
            && found.assume_init().st_mode & libc::S_IFMT == libc::S_IFIFO
    };
    // SAFETY: it was opened by who started this process, for this.
    is_pipe.then(|| unsafe { OwnedFd::from_raw_fd(number) })
}

/// Whether a request to end this process waits behind the signal mask of the calling thread, see sigpending(2).
pub(crate) fn is_asked_to_end() -> bool {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the call fills the set, which is looked at only if it did.
    unsafe {
        libc::sigpending(set.as_mut_ptr()) == 0
            && [libc::SIGHUP, libc::SIGINT, libc::SIGTERM]
                .iter()
                .any(|signal| libc::sigismember(set.as_ptr(), *signal) == 1)
    }
}

/// Waits for the end of a child: `waitid(2)` by pidfd (Linux 5.4).
pub(crate) fn wait(pidfd: BorrowedFd<'_>, why: &'static str) -> io::Result<ExitStatus> {
    let args = || format!("P_PIDFD, {}, {{…}}, WEXITED, NULL", pidfd.as_raw_fd());
    traced("waitid", why, args, || {
        loop {
            match waitid(pidfd, libc::WEXITED) {
                Ok(Some(status)) => return Ok(status),
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                Ok(None) | Err(_) => {}
            }
        }
    })
}

/// How a child ended, if it did.
pub(crate) fn try_wait(pidfd: BorrowedFd<'_>, why: &'static str) -> io::Result<Option<ExitStatus>> {
    let args = || {
        format!(
            "P_PIDFD, {}, {{…}}, WEXITED|WNOHANG, NULL",
            pidfd.as_raw_fd()
        )
    };
    traced("waitid", why, args, || {
        waitid(pidfd, libc::WEXITED | libc::WNOHANG)
    })
}

fn waitid(pidfd: BorrowedFd<'_>, options: i32) -> io::Result<Option<ExitStatus>> {
    // SAFETY: siginfo_t is plain data, for which zero is valid.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let id = pidfd.as_raw_fd() as libc::id_t;
    // SAFETY: the call writes a siginfo_t.
    done(unsafe { libc::waitid(libc::P_PIDFD, id, &mut info, options) }.into())?;
    // SAFETY: after waitid the fields for SIGCHLD are set; with WNOHANG and no end they are zero.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    // ExitStatus speaks the language of wait(2): the exit code in the second byte, the signal in the first.
    let raw = match info.si_code {
        libc::CLD_EXITED => (status & 0xff) << 8,
        libc::CLD_DUMPED => status | 0x80,
        _ => status,
    };
    Ok((pid != 0).then(|| ExitStatus::from_raw(raw)))
}

/// Whether a process has ended, waited for or not, or does so within `patience`: then its pidfd can be read.
pub(crate) fn has_ended(pidfd: BorrowedFd<'_>, patience: PollTimeout) -> bool {
    let mut fds = [PollFd::new(pidfd, PollFlags::POLLIN)];
    poll(&mut fds, patience).is_ok_and(|ready| ready > 0)
}
