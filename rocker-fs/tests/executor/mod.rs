//! A child that executes steps, as rocker-ns does it in earnest.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test binary uses its part of this module, and a failure here is one of the test"
)]

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rocker_fs::{Arg, Step};

/// The namespaces that the child has for itself.
pub(crate) const APART: i32 = libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;

/// Executes `steps` as PID 1 of new namespaces and returns what `look` says there, or the step that failed.
pub(crate) fn in_child(steps: &[Step], look: impl FnOnce() -> String) -> String {
    in_child_of(None, steps, look)
}

/// The same as root of a user namespace, to which the other namespaces belong.
pub(crate) fn in_child_of(
    userns: Option<BorrowedFd<'_>>,
    steps: &[Step],
    look: impl FnOnce() -> String,
) -> String {
    in_child_apart(userns, APART, steps, look)
}

/// The same with these new namespaces.
pub(crate) fn in_child_apart(
    userns: Option<BorrowedFd<'_>>,
    apart: i32,
    steps: &[Step],
    look: impl FnOnce() -> String,
) -> String {
    let (mut reader, writer) = std::io::pipe().unwrap();
    // SAFETY: the test is the only one in its process, whose other threads only wait; glibc makes malloc usable in the child.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        drop(reader);
        if let Some(userns) = userns {
            // SAFETY: these take numbers, and a pointer to nothing that is not looked at.
            let joined = unsafe {
                libc::setns(userns.as_raw_fd(), libc::CLONE_NEWUSER)
                    + libc::setgroups(0, std::ptr::null())
                    + libc::setresgid(0, 0, 0)
                    + libc::setresuid(0, 0, 0)
            };
            assert_eq!(joined, 0);
        }
        // SAFETY: takes a number only.
        let apart = unsafe { libc::unshare(apart) };
        assert_eq!(apart, 0);
        // SAFETY: as above, and this process has one thread.
        let first = unsafe { libc::fork() };
        if first == 0 {
            // SAFETY: takes a number only.
            unsafe { libc::umask(0) };
            let said = execute(steps).map_or_else(|failed| failed, |()| look());
            let _ = (&writer).write_all(said.as_bytes());
            leave(0);
        }
        drop(writer);
        let mut status = 0;
        // SAFETY: `status` is a valid place for a number.
        unsafe { libc::waitpid(first, &mut status, 0) };
        leave(status);
    }
    drop(writer);
    let mut said = String::new();
    reader.read_to_string(&mut said).unwrap();
    let mut status = 0;
    // SAFETY: `status` is a valid place for a number.
    unsafe { libc::waitpid(child, &mut status, 0) };
    assert_eq!(status, 0, "the child died: {said}");
    said
}

fn leave(status: i32) -> ! {
    // SAFETY: takes a number and does not return; the parent's exit handlers are not this process's business.
    unsafe { libc::_exit(i32::from(status != 0)) }
}

fn execute(steps: &[Step]) -> Result<(), String> {
    let mut results: Vec<i64> = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        if step.needs.is_some_and(|needed| results[needed] < 0) {
            results.push(-1);
            continue;
        }
        let mut words = [0i64; 6];
        for (word, arg) in words.iter_mut().zip(&step.args) {
            *word = match arg {
                Arg::Null => 0,
                Arg::Int(value) => *value,
                Arg::Flags { value, .. } => *value as i64,
                Arg::Str(text) => text.as_ptr() as i64,
                Arg::Bytes { bytes, .. } => bytes.as_ptr() as i64,
                Arg::Fd(fd) => i64::from(fd.as_raw_fd()),
                Arg::Result(index) => results[*index],
                Arg::Cwd => i64::from(libc::AT_FDCWD),
            };
        }
        let [a, b, c, d, e, f] = words;
        // SAFETY: the step's pointers are to its own strings and structures, which outlive the call.
        let value = unsafe { libc::syscall(number(step.call), a, b, c, d, e, f) };
        let error = std::io::Error::last_os_error();
        let errno = error.raw_os_error().unwrap_or(0);
        if value < 0 && !step.tolerates.contains(&errno) {
            return Err(format!("{step} at {index}: {error}; {}", step.why));
        }
        results.push(value);
    }
    Ok(())
}

fn number(call: &str) -> libc::c_long {
    match call {
        "chdir" => libc::SYS_chdir,
        "close" => libc::SYS_close,
        "fchdir" => libc::SYS_fchdir,
        "fchownat" => libc::SYS_fchownat,
        "fsconfig" => libc::SYS_fsconfig,
        "fsmount" => libc::SYS_fsmount,
        "fsopen" => libc::SYS_fsopen,
        "mkdirat" => libc::SYS_mkdirat,
        "mknodat" => libc::SYS_mknodat,
        "mount" => libc::SYS_mount,
        "mount_setattr" => libc::SYS_mount_setattr,
        "move_mount" => libc::SYS_move_mount,
        "open_tree" => libc::SYS_open_tree,
        "openat" => libc::SYS_openat,
        "openat2" => libc::SYS_openat2,
        "pivot_root" => libc::SYS_pivot_root,
        "symlinkat" => libc::SYS_symlinkat,
        "umount2" => libc::SYS_umount2,
        "write" => libc::SYS_write,
        // The child dies, and its parent's test with it.
        _ => std::process::abort(),
    }
}

/// The value of an extended attribute.
pub(crate) fn attribute(path: &Path, name: &CStr) -> Option<Vec<u8>> {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    let mut value = vec![0; 256];
    let (room, place) = (value.len(), value.as_mut_ptr().cast());
    // SAFETY: both strings end with a NUL, and the kernel writes at most `room` bytes to `value`, which has as many.
    let length = unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), place, room) };
    value.truncate(usize::try_from(length).ok()?);
    Some(value)
}

/// Takes a lease on a file: who opens it must wait until it is given back, or for 45 s.
pub(crate) fn lease(file: &File) {
    const F_SETSIG: i32 = 10;
    // SAFETY: the calls take numbers only; the signal is the one that is ignored by default.
    let taken = unsafe {
        libc::fcntl(file.as_raw_fd(), F_SETSIG, libc::SIGURG)
            + libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK)
    };
    assert_eq!(taken, 0, "{}", std::io::Error::last_os_error());
}

/// Does `work` in a thread for which openat2(2) fails with `errno`, as behind a filter of system calls that does not know it.
pub(crate) fn without_openat2<T: Send>(errno: i32, work: impl FnOnce() -> T + Send) -> T {
    let one = |code: u32, jt, jf, k| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    let mut filter = [
        // The number of the call, which is the first field.
        one(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        one(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            0,
            1,
            libc::SYS_openat2 as u32,
        ),
        one(
            libc::BPF_RET | libc::BPF_K,
            0,
            0,
            libc::SECCOMP_RET_ERRNO | errno as u32,
        ),
        one(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let program = libc::sock_fprog {
                len: 4,
                filter: filter.as_mut_ptr(),
            };
            // SAFETY: the program points to as many instructions as it says, which the kernel copies; root needs no no_new_privs.
            let done = unsafe {
                libc::prctl(
                    libc::PR_SET_SECCOMP,
                    libc::SECCOMP_MODE_FILTER,
                    &raw const program,
                )
            };
            assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
            work()
        });
        thread.join().unwrap()
    })
}
