//! The unsafe corner of the crate: system calls that have no safe wrapper elsewhere.

mod clone;
mod executable;
mod memory;
mod namespace;
mod process;
mod socket;
mod terminal;

use std::arch::asm;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

pub(crate) use clone::{Side, clone, clone3, clone3_size};
pub(crate) use executable::{execute_read_only, own_executable_is_read_only};
pub(crate) use memory::{Mapping, objects, rseq_area};
pub(crate) use namespace::{is_same_file, owner_of_namespace};
pub(crate) use process::{
    default_disposition, has_ended, inherited_pipe, is_asked_to_end, keep_from_children,
    pidfd_getfd, pidfd_open, pidfd_pass_signal, pidfd_send_signal, raise_hard_limit, try_wait,
    wait,
};
pub(crate) use socket::accept;
pub(crate) use terminal::{set_window_size, window_size};

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
