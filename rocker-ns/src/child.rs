//! What runs in the new process between `clone3(2)` and `execve(2)`: all of it is in this file.
//!
//! The process that called `clone3` may have other threads. They do not exist in the child, but the locks that they
//! held do, locked for ever. So nothing here may allocate, take a lock, log, panic, unwind, or run a destructor: the
//! child walks a list that the parent made, makes one raw system call after the other, and notes the results in shared
//! memory (see signal-safety(7)).

use std::ops::Range;
use std::os::fd::AsRawFd;

use crate::report::{Header, Record};
use crate::step::{Arg, Role, Step};
use crate::sys;

/// A signal came first; the call is made again.
const INTERRUPTED: isize = -(libc::EINTR as isize);
/// Somebody renamed a directory while `openat2` passed through it; the call is made again.
const RACED: isize = -(libc::EAGAIN as isize);

/// Makes the steps one after the other. Returns to nobody: the last step is an `execve(2)`, and a failure ends the
/// process.
///
/// # Safety
/// To be called in a new process that shares no memory with its parent but `header` and `records`. The arguments of `steps`
/// must be valid for their calls, as the [table of calls](crate::call) has it, and `memory` must be that of
/// an [`Init`](crate::init::Init) if one of them makes this process an init.
pub(crate) unsafe fn walk(
    steps: &[Step],
    header: &Header,
    records: &[Record],
    fail_at: usize,
    memory: Range<usize>,
) -> ! {
    let mut denied = None;
    let mut last = (0, libc::ENOEXEC);
    let mut index = 0;
    while let Some(step) = steps.get(index) {
        let record = records.get(index);
        header.begin(index, record);
        if index == fail_at {
            fail(header, index, libc::EIO);
        }
        if let Some(needed) = step.needs
            && records
                .get(needed)
                .is_some_and(|needed| needed.result() < 0)
        {
            header.end(record, -(libc::ECANCELED as isize));
            index += 1;
            continue;
        }
        // What a filter is told as. It is out here because its address is in `words` until the call is made.
        let mut program;
        let mut words = [0; 6];
        for (word, arg) in words.iter_mut().zip(&step.args) {
            *word = match arg {
                Arg::Null => 0,
                // Negative numbers reach the kernel in two's complement, as from C.
                Arg::Int(number) => *number as usize,
                Arg::Flags { value, .. } => *value as usize,
                Arg::Str(text) => text.as_ptr() as usize,
                Arg::Bytes { .. } if step.role == Role::Wait => header.scratch(),
                Arg::Bytes { bytes, .. } => bytes.as_ptr() as usize,
                Arg::Fd(fd) => fd.as_raw_fd() as usize,
                Arg::Cwd => libc::AT_FDCWD as usize,
                Arg::Strings(strings) => strings.address(),
                Arg::Filter(filter) => {
                    program = filter.program();
                    &raw const program as usize
                }
                // What failed and was tolerated is no file, and must not pass for AT_FDCWD either.
                Arg::Result(source) => match records.get(*source).map_or(-1, Record::result) {
                    value if value < 0 => usize::MAX,
                    value => value as usize,
                },
            };
        }
        // SAFETY: the caller promises that the arguments fit the call. What they point to is in `steps`, in `header` or in `program`, which all
        // outlive the call: `program` is outside of the loop over the arguments for that reason.
        let result = unsafe { sys::syscall(step.call.number, words) };
        if result == INTERRUPTED || (result == RACED && step.call.number == libc::SYS_openat2) {
            continue;
        }
        if matches!(step.role, Role::Fork | Role::Init) && result == 0 {
            // The process that goes on: its maker has noted the result, which is this process's id.
            index += 1;
            continue;
        }
        header.end(record, result);
        if result < 0 {
            let errno = -result as i32;
            if !tolerated(&step.tolerates, errno) {
                fail(header, index, errno);
            }
            if step.role == Role::Exec && errno == libc::EACCES && denied.is_none() {
                denied = Some(index);
            }
            last = (index, errno);
        }
        match step.role {
            Role::Wait if result == 0 => fail(header, index, libc::EPIPE),
            // SAFETY: the call has put a path into the buffer. It is the child's copy of one that nobody else looks at.
            Role::Inside if unsafe { (words[0] as *const u8).read_volatile() } != b'/' => {
                fail(header, index, libc::ENOENT)
            }
            Role::Fork => sys::exit_now(0),
            // SAFETY: the memory was made for this, and what lies below its end is more than `init` needs.
            Role::Init => unsafe { sys::on_stack(memory.end, init, memory.start, result as usize) },
            _ => {}
        }
        index += 1;
    }
    // No execve succeeded. A file that exists and may not be executed says more than the lack of one.
    match denied {
        Some(index) => fail(header, index, libc::EACCES),
        None => fail(header, last.0, last.1),
    }
}

fn tolerated(errnos: &[i32], errno: i32) -> bool {
    let mut place = 0;
    while let Some(known) = errnos.get(place) {
        if *known == errno {
            return true;
        }
        place += 1;
    }
    false
}

/// Notes the failure and ends the process, without running what the program would run at its exit.
fn fail(header: &Header, index: usize, errno: i32) -> ! {
    header.fail(index, errno);
    sys::exit_now(1)
}

/// The init of a PID namespace: takes leave of all that it has from its parent, then reaps whoever dies, passes each
/// signal on to `program`, and ends as that does.
///
/// It runs on a stack of its own, at whose lower end, `memory`, there is the list of what it unmaps.
extern "C" fn init(memory: usize, program: usize) -> ! {
    let call = |number, words| {
        // SAFETY: each use below hands over what the call takes.
        unsafe { sys::syscall(number, words) }
    };
    call(libc::SYS_close_range, [0, u32::MAX as usize, 0, 0, 0, 0]);
    let list = memory as *const usize;
    // SAFETY: the list is that of an `Init`. Code, this stack and the list are not on it, and nothing else is used from
    // here on; what is wiped is the thread's own data, of which the kernel uses a part that may be all zeros.
    unsafe {
        let count = list.read();
        let (start, length) = (list.add(1).read(), list.add(2).read());
        let mut place = 0;
        while place < length {
            (start as *mut u8).add(place).write_volatile(0);
            place += 1;
        }
        let mut range = list.add(3);
        let mut left = count;
        while left > 0 {
            let (start, length) = (range.read(), range.add(1).read());
            if call(libc::SYS_munmap, [start, length, 0, 0, 0, 0]) < 0 {
                // What the container is not to see would stay.
                sys::exit_now(125);
            }
            range = range.add(2);
            left -= 1;
        }
    }
    let every = u64::MAX;
    let every = &raw const every as usize;
    let flags = (libc::WNOHANG | libc::__WALL) as usize;
    loop {
        loop {
            let mut status = 0_i32;
            let ended = call(
                libc::SYS_wait4,
                [usize::MAX, &raw mut status as usize, flags, 0, 0, 0],
            );
            if ended == -(libc::ECHILD as isize) {
                // Somebody had its end ignored; there is nobody left to wait for.
                sys::exit_now(125);
            }
            if ended <= 0 {
                break;
            }
            if ended as usize == program {
                // As a shell has it: 128 and the number of the signal that killed the program, or its own exit status.
                let signal = status & 0x7f;
                sys::exit_now(if signal == 0 {
                    status >> 8 & 0xff
                } else {
                    128 + signal
                });
            }
        }
        // All signals are blocked, so that none that comes between the two calls is missed.
        let signal = call(libc::SYS_rt_sigtimedwait, [every, 0, 0, 8, 0, 0]);
        if signal > 0 && signal != libc::SIGCHLD as isize {
            call(libc::SYS_kill, [program, signal as usize, 0, 0, 0, 0]);
        }
    }
}
