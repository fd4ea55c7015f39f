//! The unsafe corner of the crate: system calls that have no safe wrapper elsewhere.

use std::arch::asm;
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::ptr::{self, NonNull};

use crate::report::{Header, Record};
use crate::terminal::WindowSize;
use crate::{Error, Result};

/// Makes a system call without touching `errno`, and returns the kernel's own answer: a value, or minus the errno.
///
/// # Safety
/// The words must be valid arguments of the call; what it does to the process's memory is the caller's affair.
#[cfg(target_arch = "x86_64")]
pub(crate) unsafe fn syscall(number: libc::c_long, words: [usize; 6]) -> isize {
    let result;
    // SAFETY: the registers are those of the kernel's calling convention, see syscall(2).
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") words[0], in("rsi") words[1], in("rdx") words[2],
            in("r10") words[3], in("r8") words[4], in("r9") words[5],
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// Makes a system call without touching `errno`, and returns the kernel's own answer: a value, or minus the errno.
///
/// # Safety
/// The words must be valid arguments of the call; what it does to the process's memory is the caller's affair.
#[cfg(target_arch = "aarch64")]
pub(crate) unsafe fn syscall(number: libc::c_long, words: [usize; 6]) -> isize {
    let result;
    // SAFETY: the registers are those of the kernel's calling convention, see syscall(2).
    unsafe {
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") words[0] => result,
            in("x1") words[1], in("x2") words[2], in("x3") words[3],
            in("x4") words[4], in("x5") words[5],
            options(nostack),
        );
    }
    result
}

/// Ends the process at once: no destructors, no exit handlers, no flushing of the parent's buffers.
pub(crate) fn exit_now(status: i32) -> ! {
    loop {
        // SAFETY: exit_group(2) takes a number and does not return.
        unsafe { syscall(libc::SYS_exit_group, [status as usize, 0, 0, 0, 0, 0]) };
    }
}

/// CLOCK_MONOTONIC in nanoseconds; safe between clone and execve, since it is a read of the vDSO's page.
pub(crate) fn monotonic() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is a timespec to write to.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Flags of `clone3(2)` above 32 bits, which libc has too narrow types for.
const CLONE_CLEAR_SIGHAND: u64 = 1 << 32;
const CLONE_INTO_CGROUP: u64 = 1 << 33;

/// Which of the two processes a `clone3(2)` returned in.
#[derive(Debug)]
pub(crate) enum Side {
    /// The new process.
    Child,
    /// The one that asked for it.
    Parent {
        /// The new process's id.
        pid: u32,
        /// The new process, by file descriptor.
        pidfd: OwnedFd,
    },
}

/// Makes a process by `clone3(2)`, or by `clone(2)` where that is missing and no cgroup is asked for. Signal handlers
/// do not reach the child.
///
/// # Safety
/// On [`Side::Child`] the caller must only do what is async-signal-safe until `execve(2)` or `_exit(2)`.
pub(crate) unsafe fn clone(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Side> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: clone_args is plain numbers, for which zero is valid and means absent.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags | libc::CLONE_PIDFD as u64 | CLONE_CLEAR_SIGHAND;
    args.pidfd = ptr::from_mut(&mut pidfd) as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    let words = [
        ptr::from_mut(&mut args) as usize,
        size_of_val(&args),
        0,
        0,
        0,
        0,
    ];
    // SAFETY: without CLONE_VM and a stack this is a fork: the child has its own copy of all memory.
    let mut result = unsafe { syscall(libc::SYS_clone3, words) };
    // What clone(2) cannot do stays an error: cgroups, and time namespaces, whose flag is part of its exit signal.
    if result == -(libc::ENOSYS as isize) && cgroup.is_none() && flags & 0xff == 0 {
        let flags = flags | libc::CLONE_PIDFD as u64 | libc::SIGCHLD as u64;
        // SAFETY: as above; the pidfd is written where the parent's thread id would be.
        result = unsafe {
            syscall(
                libc::SYS_clone,
                [
                    flags as usize,
                    0,
                    ptr::from_mut(&mut pidfd) as usize,
                    0,
                    0,
                    0,
                ],
            )
        };
    }
    match result {
        0 => Ok(Side::Child),
        pid if pid > 0 => Ok(Side::Parent {
            pid: pid as u32,
            // SAFETY: the kernel has made this descriptor for the parent.
            pidfd: unsafe { made(pidfd.into()) }?,
        }),
        error => Err(io::Error::from_raw_os_error(-error as i32)),
    }
}

/// Anonymous memory that a child shares with its parent.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<libc::c_void>,
    length: usize,
}

// SAFETY: the memory is only ever reached as atomics, and the mapping is not bound to a thread.
unsafe impl Send for Mapping {}
// SAFETY: as for Send.
unsafe impl Sync for Mapping {}

impl Mapping {
    pub(crate) fn new(length: usize) -> Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new anonymous mapping touches no existing memory.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                length,
                protection,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        match NonNull::new(start).filter(|_| start != libc::MAP_FAILED) {
            Some(start) => Ok(Self { start, length }),
            None => Err(Error::Call {
                call: format!(
                    "mmap(NULL, {length}, PROT_READ|PROT_WRITE, MAP_SHARED|MAP_ANONYMOUS, -1, 0)"
                ),
                why: "so that the new process can tell its parent how far it came",
                source: io::Error::last_os_error(),
            }),
        }
    }

    /// The structure at the beginning of the memory.
    pub(crate) fn header(&self) -> &Header {
        assert!(self.length >= size_of::<Header>());
        // SAFETY: the memory is page-aligned, long enough, initialised to zero, and consists of atomics only.
        unsafe { self.start.cast::<Header>().as_ref() }
    }

    /// The `count` records behind the header.
    pub(crate) fn records(&self, count: usize) -> &[Record] {
        assert!(self.length >= size_of::<Header>() + count * size_of::<Record>());
        // SAFETY: as for the header, whose size is a multiple of a record's alignment.
        unsafe {
            std::slice::from_raw_parts(
                self.start.byte_add(size_of::<Header>()).cast().as_ptr(),
                count,
            )
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no reference into it outlives `self`.
        unsafe { libc::munmap(self.start.as_ptr(), self.length) };
    }
}

/// The descriptor that a system call through libc has made, or why it did not.
///
/// # Safety
/// `result` is what such a call has just returned, so that nobody else owns the descriptor.
unsafe fn made(result: libc::c_long) -> io::Result<OwnedFd> {
    match i32::try_from(result) {
        // SAFETY: the caller promises that it is new.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The outcome of a system call through libc that returns nothing of interest.
fn done(result: libc::c_long) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// `pidfd_open(2)`: the process by file descriptor (Linux 5.3).
pub(crate) fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes two numbers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    // SAFETY: the call makes a descriptor for its caller.
    unsafe { made(fd) }
}

/// `pidfd_send_signal(2)` (Linux 5.1).
pub(crate) fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: the call takes numbers and a null pointer.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            ptr::null::<()>(),
            0,
        )
    };
    done(result)
}

/// `pidfd_getfd(2)`: a copy of another process's descriptor (Linux 5.6).
pub(crate) fn pidfd_getfd(pidfd: BorrowedFd<'_>, fd: i32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes three numbers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd, 0) };
    // SAFETY: the call makes a descriptor for its caller.
    unsafe { made(fd) }
}

/// `TIOCGWINSZ`: the size of a terminal, see ioctl_tty(2).
pub(crate) fn window_size(terminal: BorrowedFd<'_>) -> io::Result<WindowSize> {
    // SAFETY: winsize is plain numbers, for which zero is valid.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: the request writes a winsize.
    let result = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &mut size) };
    done(result.into())?;
    Ok(WindowSize {
        rows: size.ws_row,
        columns: size.ws_col,
    })
}

/// `TIOCSWINSZ`: tells a terminal its size, see ioctl_tty(2).
pub(crate) fn set_window_size(terminal: BorrowedFd<'_>, size: WindowSize) -> io::Result<()> {
    let size = libc::winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the request reads a winsize.
    let result = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &size) };
    done(result.into())
}

/// Whether nothing can be written through the mount that this process's program was started from.
pub(crate) fn own_executable_is_read_only() -> io::Result<bool> {
    let flags = nix::sys::statvfs::fstatvfs(&own_executable()?)?.flags();
    Ok(flags.contains(nix::sys::statvfs::FsFlags::ST_RDONLY))
}

fn own_executable() -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open("/proc/self/exe")
}

/// Executes this process's program out of a read-only mount of it; returns only when that fails, and why.
pub(crate) fn execute_read_only(args: &[CString], variables: &[CString]) -> io::Error {
    match mount_read_only() {
        Ok(mount) => {
            let pointers = |strings: &[CString]| -> Vec<_> {
                strings
                    .iter()
                    .map(|text| text.as_ptr())
                    .chain([ptr::null()])
                    .collect()
            };
            let (args, variables) = (pointers(args), pointers(variables));
            // SAFETY: both arrays end with a null pointer, and their strings outlive the call.
            unsafe {
                libc::syscall(
                    libc::SYS_execveat,
                    mount.as_raw_fd(),
                    c"".as_ptr(),
                    args.as_ptr(),
                    variables.as_ptr(),
                    libc::AT_EMPTY_PATH,
                );
            }
            io::Error::last_os_error()
        }
        Err(error) => error,
    }
}

/// A detached read-only mount of the file that is this process's program.
fn mount_read_only() -> io::Result<OwnedFd> {
    let program = own_executable()?;
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_EMPTY_PATH as u32;
    // SAFETY: the call takes numbers and an empty string, and makes a descriptor for its caller.
    let mount = unsafe {
        made(libc::syscall(
            libc::SYS_open_tree,
            program.as_raw_fd(),
            c"".as_ptr(),
            flags,
        ))
    }?;
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: the call reads a mount_attr of the size that it is told.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &attributes,
            size_of_val(&attributes),
        )
    };
    done(result)?;
    Ok(mount)
}

/// Gives a signal its default disposition, see signal(2).
pub(crate) fn default_disposition(signal: i32) {
    // SAFETY: the default disposition runs no code of this process.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// How a process ended, without looking at its exit status twice: `waitid(2)` by pidfd (Linux 5.4).
///
/// With `keep` the status stays for a later call; with `block` the call waits for the end.
pub(crate) fn wait(pidfd: BorrowedFd<'_>, block: bool, keep: bool) -> io::Result<Option<Ended>> {
    let mut options = libc::WEXITED;
    if !block {
        options |= libc::WNOHANG;
    }
    if keep {
        options |= libc::WNOWAIT;
    }
    // SAFETY: siginfo_t is plain data, for which zero is valid.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: the call writes a siginfo_t.
        let result = unsafe {
            libc::waitid(
                libc::P_PIDFD,
                pidfd.as_raw_fd() as libc::id_t,
                &mut info,
                options,
            )
        };
        if result == 0 {
            break;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    // SAFETY: after waitid the fields for SIGCHLD are set; with WNOHANG and no end they are zero.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    if pid == 0 {
        return Ok(None);
    }
    // ExitStatus speaks the language of wait(2): the exit code in the second byte, the signal in the first.
    let raw = match info.si_code {
        libc::CLD_EXITED => (status & 0xff) << 8,
        libc::CLD_DUMPED => status | 0x80,
        _ => status,
    };
    Ok(Some(Ended { raw }))
}

/// How a process ended, as wait(2) encodes it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) raw: i32,
}
