//! How the `rocker` command begins: its first instruction, before the C library has begun, and its `main`, in place of that of the
//! standard library.
//!
//! `run`, `exec` and `start` start this program over, out of a read-only mount of itself (see
//! [`rocker_ns::protect_executable`]). That needs five system calls, and nothing of what the C library and the standard library make
//! ready for a program: to recognise the processor alone takes that a third of a millisecond in a virtual machine, where each
//! question to it is answered by the hypervisor. So the kernel enters the program here (`build.rs` tells the linker), and the rest
//! begins in the second start. Where something is in the way, the command does it all in its own time, and says what it was.
//!
//! Nothing up to there may call a function of a library, `memcpy` included: which one suits the processor is not chosen yet.
#![allow(unsafe_code)] // Below it there are only the C library and the kernel.

use std::arch::{asm, global_asm};
#[cfg(not(test))]
use std::io::Write;
use std::mem::MaybeUninit;

// The kernel hands over the stack: the number of arguments, the arguments, a null, the environment, a null; see the System V ABI
// for x86-64, "Process Initialization". `_start` is to find it, and rdx, as they were.
global_asm!(
    ".globl rocker_entry",
    ".type rocker_entry, @function",
    "rocker_entry:",
    "xor ebp, ebp",
    "mov r12, rsp",
    "mov r13, rdx",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {start_over}",
    "mov rsp, r12",
    "mov rdx, r13",
    "jmp _start",
    ".size rocker_entry, . - rocker_entry",
    start_over = sym start_over,
);

/// `struct statfs` of [statfs(2)](https://man7.org/linux/man-pages/man2/statfs.2.html) in machine words, and which of them has the
/// flags of the mount: `libc` keeps that one to itself.
type Statfs = [usize; 16];
const FLAGS: usize = 10;

/// Starts over where that is to be done and has not been; returns if not, or if it fails.
///
/// # Safety
/// `stack` is what the kernel made for a new program.
unsafe extern "C" fn start_over(stack: *const usize) {
    // SAFETY: as the kernel lays it out, see above. Each call is handed what it takes, and the strings end with a null.
    unsafe {
        let count = stack.read();
        let args = stack.wrapping_add(1);
        let variables = args.wrapping_add(count).wrapping_add(1);
        if count < 2 || !is_a_command(args.wrapping_add(1).read() as *const u8) {
            return;
        }
        // An ordinary user becomes root of a user namespace first.
        if call(libc::SYS_geteuid, [0; 5]) != 0 {
            return;
        }
        let path = c"/proc/self/exe".as_ptr() as usize;
        let flags = libc::O_PATH | libc::O_CLOEXEC;
        let program = call(libc::SYS_open, [path, flags as usize, 0, 0, 0]);
        if program < 0 {
            return;
        }
        let program = program as usize;
        let mut status = MaybeUninit::<Statfs>::uninit();
        let words = [program, status.as_mut_ptr() as usize, 0, 0, 0];
        if call(libc::SYS_fstatfs, words) == 0 {
            let flags = status.as_ptr().cast::<usize>().wrapping_add(FLAGS).read();
            if flags & libc::ST_RDONLY as usize == 0 {
                execute_read_only(program, args as usize, variables as usize);
            }
        }
        call(libc::SYS_close, [program, 0, 0, 0, 0]);
    }
}

/// Whether a string, which ends with a null, is one of the commands.
///
/// # Safety
/// It is such a string.
unsafe fn is_a_command(word: *const u8) -> bool {
    let is_it = |name: &[u8]| {
        let mut place = 0;
        while place < name.len() {
            // SAFETY: up to here the two are equal, so that this one has not ended. As volatile reads they are no `memcmp`.
            let (one, other) = unsafe {
                let one = word.wrapping_add(place).read_volatile();
                (one, name.as_ptr().wrapping_add(place).read_volatile())
            };
            if one != other {
                return false;
            }
            place += 1;
        }
        true
    };
    is_it(b"run\0") || is_it(b"exec\0") || is_it(b"start\0")
}

/// Executes a program out of a read-only mount of it; returns when that fails.
///
/// # Safety
/// `program` is a descriptor, the others are lists of strings, each with a null at its end.
unsafe fn execute_read_only(program: usize, args: usize, variables: usize) {
    let here = c"".as_ptr() as usize;
    let empty = libc::AT_EMPTY_PATH as usize;
    let clone = libc::OPEN_TREE_CLONE as usize | libc::OPEN_TREE_CLOEXEC as usize | empty;
    let read_only = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    let (attributes, size) = (&raw const read_only as usize, size_of_val(&read_only));
    // SAFETY: each call is handed what it takes.
    unsafe {
        let mount = call(libc::SYS_open_tree, [program, here, clone, 0, 0]);
        if mount < 0 {
            return;
        }
        let mount = mount as usize;
        if call(
            libc::SYS_mount_setattr,
            [mount, here, empty, attributes, size],
        ) == 0
        {
            call(libc::SYS_execveat, [mount, here, args, variables, empty]);
        }
        call(libc::SYS_close, [mount, 0, 0, 0, 0]);
    }
}

/// Makes a system call, and returns its result or the negative errno.
///
/// # Safety
/// The words are what the call takes.
unsafe fn call(number: libc::c_long, words: [usize; 5]) -> isize {
    let result;
    // SAFETY: the kernel's calling convention, see syscall(2); the caller answers for the words.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") words[0],
            in("rsi") words[1],
            in("rdx") words[2],
            in("r10") words[3],
            in("r8") words[4],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// What the C library calls when it has begun.
///
/// The standard library's own would do three things more than this: find out where the stack ends, so that it can say in words when
/// that has overflowed, for which it reads /proc/self/maps; make room for the handler of that signal; and give the thread a name.
/// The kernel ends a process whose stack has overflowed in any case.
#[cfg(not(test))]
#[unsafe(no_mangle)]
extern "C" fn main(_count: libc::c_int, _args: *const *const libc::c_char) -> libc::c_int {
    // SAFETY: these take descriptors and signals by number.
    unsafe {
        have_streams();
        // A reader who has gone is an error of the write, and not the end of the process.
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
    }
    let code = std::panic::catch_unwind(|| rocker_cli::main(std::env::args_os()));
    // What has no end of a line yet.
    let _ = std::io::stdout().flush();
    code.map_or(PANICKED, libc::c_int::from)
}

/// The exit status of a program of Rust's that has panicked.
#[cfg(not(test))]
const PANICKED: libc::c_int = 101;

/// Has /dev/null for each of the three standard streams that nobody has opened: the next file that is would pass for it.
///
/// # Safety
/// The process has one thread.
#[cfg(not(test))]
unsafe fn have_streams() {
    for stream in 0..3 {
        // SAFETY: the call takes a number, and the path ends with a null. The lowest number that is free is that of the stream.
        unsafe {
            if libc::fcntl(stream, libc::F_GETFD) < 0
                && libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) < 0
            {
                libc::abort();
            }
        }
    }
}
