//! Kernels that lack a call: a filter hides it from this process and its children.

#![expect(unsafe_code, reason = "a seccomp filter has no safe wrapper here")]

use std::fs;

use rocker_ns::{Error, ExitCode, Namespace, Step};

use crate::fake_host;
use crate::{OWN, chain, output, shell, zombies};

/// A rule of a filter: the call with this number fails with this errno, if its second argument is the given one.
struct Hidden {
    call: libc::c_long,
    second: Option<u32>,
    errno: i32,
}

/// Has the calling thread, and what it starts, live without a system call.
fn hide(hidden: &Hidden) {
    // struct seccomp_data: the number of the call at 0, its second argument, in two halves, at 24.
    let load = |at| filter(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, at);
    let jump = |value, no| filter(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, no, value);
    let answer = |value| filter(libc::BPF_RET | libc::BPF_K, 0, 0, value);
    let refused = libc::SECCOMP_RET_ERRNO | hidden.errno.unsigned_abs();
    let number = u32::try_from(hidden.call).unwrap();
    let mut program = match hidden.second {
        None => vec![load(0), jump(number, 1), answer(refused)],
        Some(second) => {
            vec![
                load(0),
                jump(number, 3),
                load(24),
                jump(second, 1),
                answer(refused),
            ]
        }
    };
    program.push(answer(libc::SECCOMP_RET_ALLOW));
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).unwrap(),
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the call reads the program, which outlives it.
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

const NO_CLONE3: Hidden = Hidden {
    call: libc::SYS_clone3,
    second: None,
    errno: libc::ENOSYS,
};

/// Linux 5.5 and 5.6: `clone3(2)` with a cgroup has the size 88, and the kernel does not know the flag.
const NO_CGROUP: Hidden = Hidden {
    call: libc::SYS_clone3,
    second: Some(88),
    errno: libc::EINVAL,
};

#[test]
fn without_clone3_a_process_is_made_by_clone() {
    fake_host::run(|_| {
        hide(&NO_CLONE3);
        let script = "echo $$; kill -TERM $$; echo unimpressed";
        let mut command = shell(script);
        command.unshare(OWN).init(true);
        let proc = [Step::private_mounts(), Step::mount_proc()];
        assert_eq!(command.setup(proc).status().unwrap().exit_code(), 143);
        let mut command = shell(script);
        assert_eq!(output(command.unshare(OWN)), "1\nunimpressed\n");
        assert_eq!(zombies(), 0);
    });
}

#[test]
fn without_clone3_a_second_program_enters_the_namespaces_of_the_first() {
    fake_host::run(|_| {
        hide(&NO_CLONE3);
        let mut first = shell("read line");
        first.unshare(OWN).stdin(rocker_ns::Stdio::piped());
        let mut first = first.spawn().unwrap();
        let mut second = shell("echo $(( $$ > 1 ))");
        second.enter(first.process().to_fd().unwrap(), OWN);
        assert_eq!(output(&mut second), "1\n");
        first.kill().unwrap();
        first.wait().unwrap();
    });
}

#[test]
fn a_kernel_that_makes_no_process_in_a_cgroup_gets_it_there_before_its_program_runs() {
    fake_host::run(|_| {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let mount = mounts
            .lines()
            .find(|line| line.contains(" cgroup2 "))
            .unwrap();
        let dir = format!("{}/inner", mount.split(' ').nth(1).unwrap());
        fs::create_dir(&dir).unwrap();
        let place = |hidden: Option<&Hidden>| {
            hidden.into_iter().for_each(hide);
            let mut command = shell("grep ^0: /proc/self/cgroup");
            command.cgroup(fs::File::open(&dir).unwrap());
            output(command.unshare([Namespace::Pid]))
        };
        // The filters add up: the last stands for a kernel before 5.5.
        for hidden in [None, Some(&NO_CGROUP), Some(&NO_CLONE3)] {
            assert_eq!(place(hidden), "0::/inner\n");
        }
        fs::remove_dir(&dir).unwrap();
    });
}

#[test]
fn a_kernel_without_time_namespaces_is_named_as_such() {
    fake_host::run(|_| {
        hide(&NO_CLONE3);
        let error = shell("true")
            .unshare([Namespace::Time])
            .spawn()
            .unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }));
        assert_eq!(
            chain(&error),
            "this kernel has no time namespaces; they need Linux 5.6 with CONFIG_TIME_NS, and clone3(2)"
        );
        assert_eq!(error.exit_code(), 125);
    });
}

#[test]
fn another_missing_call_is_named_with_what_it_was_for() {
    fake_host::run(|_| {
        hide(&Hidden {
            call: libc::SYS_close_range,
            second: None,
            errno: libc::ENOSYS,
        });
        let error = chain(&shell("true").spawn().unwrap_err());
        assert!(
            error.contains("close_range(3, ") && error.contains("Function not implemented"),
            "{error}"
        );
        assert_eq!(zombies(), 0);
    });
}
