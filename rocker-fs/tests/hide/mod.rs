//! Hides system calls from a thread.

#![allow(
    clippy::unwrap_used,
    reason = "a failure of what a test prepares is a failure of the test"
)]

use std::thread;

/// A call that fails with this errno, if its second argument is the given one.
#[derive(Clone, Copy)]
pub(crate) struct Hidden {
    pub(crate) call: libc::c_long,
    pub(crate) second: Option<u32>,
    pub(crate) errno: i32,
}

/// Does `work` in a thread that has to live without these calls, as have the threads that it starts.
pub(crate) fn hide<T: Send>(hidden: &[Hidden], work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            hidden.iter().for_each(hide_one);
            work()
        });
        thread.join().unwrap()
    })
}

fn hide_one(hidden: &Hidden) {
    // struct seccomp_data: the number of the call at 0, its second argument, in two halves, at 24.
    let load = |at| filter(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, at);
    let jump = |value, no| filter(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, no, value);
    let answer = |value| filter(libc::BPF_RET | libc::BPF_K, 0, 0, value);
    let refused = libc::SECCOMP_RET_ERRNO | hidden.errno.unsigned_abs();
    let number = u32::try_from(hidden.call).unwrap();
    let mut program = match hidden.second {
        None => vec![load(0), jump(number, 1), answer(refused)],
        Some(second) => vec![
            load(0),
            jump(number, 3),
            load(24),
            jump(second, 1),
            answer(refused),
        ],
    };
    program.push(answer(libc::SECCOMP_RET_ALLOW));
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).unwrap(),
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the call reads the program, which outlives it; the filter is this thread's.
    let result = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        )
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

fn filter(code: u32, yes: u8, no: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter {
        code: u16::try_from(code).unwrap(),
        jt: yes,
        jf: no,
        k,
    }
}
