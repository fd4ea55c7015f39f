//! The unsafe corner of the crate: system calls that have no safe wrapper elsewhere.

use std::arch::asm;
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::ptr::{self, NonNull};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::report::{Header, Record};
use crate::terminal::WindowSize;
use crate::trace::traced;
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

/// Calls `function` on the stack that ends at `top`, and gives up the one before.
///
/// # Safety
/// Below `top`, which is a multiple of 16, there must be room for what `function` does.
pub(crate) unsafe fn on_stack(
    top: usize,
    function: extern "C" fn(usize, usize) -> !,
    first: usize,
    second: usize,
) -> ! {
    // SAFETY: the function follows the C calling convention and does not return to the stack that is given up.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        asm!(
            "mov rsp, {top}",
            "xor ebp, ebp",
            "call {function}",
            "ud2",
            top = in(reg) top, function = in(reg) function,
            in("rdi") first, in("rsi") second,
            options(noreturn),
        );
        #[cfg(target_arch = "aarch64")]
        asm!(
            "mov sp, {top}",
            "mov x29, xzr",
            "blr {function}",
            "brk #1",
            top = in(reg) top, function = in(reg) function,
            in("x0") first, in("x1") second,
            options(noreturn),
        );
    }
}

/// Where the program and its shared libraries lie in memory, code and static data alike.
pub(crate) fn objects() -> Vec<Range<usize>> {
    unsafe extern "C" fn note(
        info: *mut libc::dl_phdr_info,
        _: libc::size_t,
        found: *mut libc::c_void,
    ) -> libc::c_int {
        // SAFETY: dl_iterate_phdr passes what it was given, and a description that is valid during the call.
        let (info, found) = unsafe { (&*info, &mut *found.cast::<Vec<Range<usize>>>()) };
        // SAFETY: the description has that many headers.
        let headers =
            unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
        for header in headers
            .iter()
            .filter(|header| header.p_type == libc::PT_LOAD)
        {
            let start = info.dlpi_addr.wrapping_add(header.p_vaddr) as usize;
            found.push(start..start + header.p_memsz as usize);
        }
        0
    }
    let mut found: Vec<Range<usize>> = Vec::new();
    // SAFETY: the function is called before this returns, with the vector.
    unsafe { libc::dl_iterate_phdr(Some(note), ptr::from_mut(&mut found).cast()) };
    found
}

// Weak: a C library that registers no such area has no such symbols.
std::arch::global_asm!(".weak __rseq_offset", ".weak __rseq_size");

/// The area that the kernel writes to whenever the calling thread comes to run on a CPU, where the C library has
/// registered one, see rseq(2). A child has it too.
pub(crate) fn rseq_area() -> Option<Range<usize>> {
    let (offset, size, thread): (*const isize, *const u32, usize);
    // SAFETY: it reads three addresses: of two variables, where they exist, and of the thread's own data.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        asm!(
            "mov {offset}, [rip + __rseq_offset@GOTPCREL]",
            "mov {size}, [rip + __rseq_size@GOTPCREL]",
            "mov {thread}, fs:[0]",
            offset = out(reg) offset, size = out(reg) size, thread = out(reg) thread,
            options(nostack, readonly, preserves_flags),
        );
        #[cfg(target_arch = "aarch64")]
        asm!(
            "adrp {offset}, :got:__rseq_offset",
            "ldr {offset}, [{offset}, :got_lo12:__rseq_offset]",
            "adrp {size}, :got:__rseq_size",
            "ldr {size}, [{size}, :got_lo12:__rseq_size]",
            "mrs {thread}, tpidr_el0",
            offset = out(reg) offset, size = out(reg) size, thread = out(reg) thread,
            options(nostack, readonly, preserves_flags),
        );
    }
    // SAFETY: where they are not null they are the C library's constants.
    let (offset, size) = unsafe { (offset.as_ref()?, size.as_ref()?) };
    let start = thread.wrapping_add_signed(*offset);
    // The area is at least of this size, whatever part of it is in use.
    (*size > 0).then(|| start..start + 32_usize.max(*size as usize))
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

/// How much of `struct clone_args` the kernel is to read: with a cgroup all of it, which Linux 5.7 knows; without, what
/// the first kernels with the call have.
pub(crate) const fn clone3_size(cgroup: bool) -> usize {
    if cgroup {
        size_of::<libc::clone_args>()
    } else {
        64
    }
}

/// Makes a process by `clone3(2)`. Signal handlers do not reach the child.
///
/// # Safety
/// On [`Side::Child`] the caller must only do what is async-signal-safe until `execve(2)` or `_exit(2)`.
pub(crate) unsafe fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Side> {
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
    let args = ptr::from_mut(&mut args) as usize;
    let words = [args, clone3_size(cgroup.is_some()), 0, 0, 0, 0];
    // SAFETY: without CLONE_VM and a stack this is a fork: the child has its own copy of all memory.
    let result = unsafe { syscall(libc::SYS_clone3, words) };
    // SAFETY: the kernel has made this descriptor for the parent.
    side(result, || unsafe { made(pidfd.into()) })
}

/// Makes a process by `clone(2)`, for kernels without `clone3(2)`. Signal handlers stay until `execve(2)`.
///
/// # Safety
/// As [`clone3`].
pub(crate) unsafe fn clone(flags: u64) -> io::Result<Side> {
    let mut pidfd: libc::c_int = -1;
    let flags = flags | libc::CLONE_PIDFD as u64 | libc::SIGCHLD as u64;
    let words = [
        flags as usize,
        0,
        ptr::from_mut(&mut pidfd) as usize,
        0,
        0,
        0,
    ];
    // SAFETY: as above; the pidfd is written where the parent's thread id would be.
    let result = unsafe { syscall(libc::SYS_clone, words) };
    // SAFETY: as above.
    side(result, || unsafe { made(pidfd.into()) })
}

fn side(result: isize, pidfd: impl FnOnce() -> io::Result<OwnedFd>) -> io::Result<Side> {
    match result {
        0 => Ok(Side::Child),
        pid if pid > 0 => Ok(Side::Parent {
            pid: pid as u32,
            pidfd: pidfd()?,
        }),
        error => Err(io::Error::from_raw_os_error(-error as i32)),
    }
}

/// Anonymous memory of a child's and its parent's.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<libc::c_void>,
    length: usize,
}

// SAFETY: what is shared is only ever reached as atomics, the rest through `&mut`, and no mapping is bound to a thread.
unsafe impl Send for Mapping {}
// SAFETY: as for Send.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Memory that both see.
    pub(crate) fn shared(length: usize) -> Result<Self> {
        let why = "so that the new process can tell its parent how far it came";
        Self::new(length, (libc::MAP_SHARED, "MAP_SHARED"), why)
    }

    /// Memory of which the child gets a copy.
    pub(crate) fn private(length: usize) -> Result<Self> {
        let why = "so that the container's init has a stack of its own";
        Self::new(length, (libc::MAP_PRIVATE, "MAP_PRIVATE"), why)
    }

    fn new(length: usize, (kind, name): (i32, &str), why: &'static str) -> Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let args = || format!("NULL, {length}, PROT_READ|PROT_WRITE, {name}|MAP_ANONYMOUS, -1, 0");
        let start = traced("mmap", why, args, || {
            // SAFETY: a new anonymous mapping touches no existing memory.
            let start = unsafe {
                libc::mmap(
                    ptr::null_mut(),
                    length,
                    protection,
                    kind | libc::MAP_ANONYMOUS,
                    -1,
                    0,
                )
            };
            NonNull::new(start)
                .filter(|_| start != libc::MAP_FAILED)
                .ok_or_else(io::Error::last_os_error)
        });
        let start = start.map_err(|source| Error::Call {
            call: format!("mmap({})", args()),
            why,
            source,
        })?;
        Ok(Self { start, length })
    }

    /// The addresses of the memory.
    pub(crate) fn range(&self) -> Range<usize> {
        let start = self.start.as_ptr() as usize;
        start..start + self.length
    }

    /// The memory as numbers. For memory that is not shared.
    pub(crate) fn words(&mut self) -> &mut [usize] {
        let count = self.length / size_of::<usize>();
        // SAFETY: the memory is page-aligned, of that length, initialised to zero, and `&mut self` is the only way to it.
        unsafe { std::slice::from_raw_parts_mut(self.start.cast().as_ptr(), count) }
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
    let terminal = terminal.as_raw_fd();
    let why = "so that the program knows the size of its terminal";
    let (rows, columns) = (size.ws_row, size.ws_col);
    let args = || format!("{terminal}, TIOCSWINSZ, {{ws_row={rows}, ws_col={columns}}}");
    traced("ioctl", why, args, || {
        // SAFETY: the request reads a winsize.
        done(unsafe { libc::ioctl(terminal, libc::TIOCSWINSZ, &size) }.into())
    })
}

/// Whether nothing can be written through the mount that this process's program was started from.
pub(crate) fn own_executable_is_read_only() -> io::Result<bool> {
    let flags = nix::sys::statvfs::fstatvfs(&own_executable()?)?.flags();
    Ok(flags.contains(nix::sys::statvfs::FsFlags::ST_RDONLY))
}

fn own_executable() -> io::Result<File> {
    path_only(Path::new("/proc/self/exe"))
}

fn path_only(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open(path)
}

/// Whether two descriptors are of one file.
pub(crate) fn is_same_file(one: impl AsFd, other: impl AsFd) -> bool {
    let identity = |fd: BorrowedFd<'_>| {
        let status = nix::sys::stat::fstat(fd).ok()?;
        Some((status.st_dev, status.st_ino))
    };
    let one = identity(one.as_fd());
    one.is_some() && one == identity(other.as_fd())
}

/// `NS_GET_USERNS`: the user namespace that a namespace belongs to, see ioctl_ns(2).
pub(crate) fn owner_of_namespace(namespace: impl AsFd) -> io::Result<OwnedFd> {
    let namespace = namespace.as_fd().as_raw_fd();
    // SAFETY: the request takes no argument.
    let owner = unsafe { libc::ioctl(namespace, NS_GET_USERNS) };
    // SAFETY: it makes a descriptor for its caller.
    unsafe { made(owner.into()) }
}

/// `_IO(0xb7, 0x1)` of linux/nsfs.h.
const NS_GET_USERNS: libc::Ioctl = 0xb701;

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
    let mount = match open_tree(&program) {
        // It was started from a mount of another mount namespace, where this process is no more. Here the file has the
        // same name.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            let here = path_only(&std::fs::read_link("/proc/self/exe")?)?;
            if !is_same_file(&here, &program) {
                return Err(error);
            }
            open_tree(&here)?
        }
        mount => mount?,
    };
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

/// A detached copy of the mount of a file.
fn open_tree(file: &File) -> io::Result<OwnedFd> {
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_EMPTY_PATH as u32;
    // SAFETY: the call takes numbers and an empty string, and makes a descriptor for its caller.
    unsafe {
        made(libc::syscall(
            libc::SYS_open_tree,
            file.as_raw_fd(),
            c"".as_ptr(),
            flags,
        ))
    }
}

/// Gives a signal its default disposition, see signal(2).
pub(crate) fn default_disposition(signal: i32) {
    // SAFETY: the default disposition runs no code of this process.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
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
