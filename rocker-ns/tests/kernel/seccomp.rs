//! What a program can ask of the kernel.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use rocker_ns::{
    Capabilities, Command, ExitCode, Seccomp, SeccompAction, SeccompArchitecture, SeccompArg,
    SeccompOp, SeccompRule, Stdio, User,
};

use crate::{OWN, devpts, fake_host, output, probe, read_all, shell};

const EPERM: i64 = -(libc::EPERM as i64);
const ENOSYS: i64 = -(libc::ENOSYS as i64);

fn default_filter() -> rocker_ns::SeccompFilter {
    Seccomp::container_default(Capabilities::container_default())
        .compile()
        .unwrap()
}

/// What became of each call, to a probe that is started as `command` says.
#[track_caller]
fn results(command: &mut Command, calls: &[String]) -> Vec<i64> {
    let text = output(command.arg("-").args(calls));
    let results: Vec<i64> = text.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(results.len(), calls.len(), "{text}");
    results
}

fn call(number: libc::c_long, args: &[u64]) -> String {
    let args: String = args.iter().map(|arg| format!(",{arg:#x}")).collect();
    format!("{number}{args}")
}

#[test]
fn the_default_profile_denies_what_containers_break_out_by() {
    fake_host::run(|host| {
        let probe = probe::native(&host.dir("probe"));
        let new_user = libc::CLONE_NEWUSER as u64;
        let (alg, vsock) = (libc::AF_ALG as u64, libc::AF_VSOCK as u64);
        let denied = [
            call(libc::SYS_mount, &[]),
            call(libc::SYS_unshare, &[new_user]),
            call(libc::SYS_clone, &[new_user | libc::SIGCHLD as u64]),
            call(libc::SYS_setns, &[]),
            call(libc::SYS_pivot_root, &[]),
            call(libc::SYS_socket, &[alg, 5]),
            call(libc::SYS_socket, &[1 << 32 | alg, 5]),
            call(libc::SYS_socket, &[vsock, 1]),
            call(libc::SYS_keyctl, &[]),
            call(libc::SYS_add_key, &[]),
            call(libc::SYS_bpf, &[]),
            call(libc::SYS_perf_event_open, &[]),
            call(libc::SYS_userfaultfd, &[]),
            call(libc::SYS_io_uring_setup, &[1]),
            call(libc::SYS_kexec_load, &[]),
            call(libc::SYS_init_module, &[]),
            call(libc::SYS_open_by_handle_at, &[]),
            call(libc::SYS_personality, &[0x004_0000]), // ADDR_NO_RANDOMIZE
            call(libc::SYS_ioctl, &[0, libc::TIOCSTI]),
            call(libc::SYS_ioctl, &[0, 1 << 32 | libc::TIOCSTI]),
            call(libc::SYS_ioctl, &[0, u64::MAX << 32 | libc::TIOCLINUX]),
        ];
        // With every capability, so that it is the filter that denies.
        let mut command = Command::new(&probe);
        let filtered = results(command.unshare(OWN).seccomp(default_filter()), &denied);
        let all = denied.iter().zip(&filtered);
        let made: Vec<_> = all.filter(|(_, result)| **result != EPERM).collect();
        assert!(made.is_empty(), "{made:?}");
        // Without the filter the kernel looks at what it was given.
        let harmless = &denied[..1];
        let free = results(Command::new(&probe).unshare(OWN), harmless);
        assert_eq!(free, [-i64::from(libc::EFAULT)]);
    });
}

#[test]
fn what_is_newer_than_the_profile_is_not_implemented_so_that_libraries_fall_back() {
    fake_host::run(|host| {
        let probe = probe::native(&host.dir("probe"));
        let calls = [
            call(libc::SYS_clone3, &[]),
            call(475, &[]),
            call(1000, &[]),
            call(-1, &[]).replace("-1", "0xffffffff"),
        ];
        let mut command = Command::new(&probe);
        let results = results(command.seccomp(default_filter()), &calls);
        assert_eq!(results, [ENOSYS; 4]);
    });
}

#[test]
fn programs_work_under_the_default_profile() {
    fake_host::run(|host| {
        let probe = probe::native(&host.dir("probe"));
        let works = [
            call(libc::SYS_getpid, &[]),
            call(libc::SYS_socket, &[libc::AF_INET as u64, 1]),
            call(libc::SYS_socket, &[libc::AF_NETLINK as u64, 3]),
            call(libc::SYS_personality, &[0xffff_ffff]),
            call(libc::SYS_memfd_create, &[]),
        ];
        let mut command = Command::new(&probe);
        command.unshare(OWN).seccomp(default_filter());
        let results = results(&mut command, &works);
        assert_eq!(results[0], 1);
        let made = results[1..4].iter().all(|result| *result >= 0);
        assert!(
            made && results[4] == -i64::from(libc::EFAULT),
            "{results:?}"
        );
        // Forks, pipes, threads' calls, with and without an init.
        for init in [false, true] {
            let status = "awk '/^Seccomp:|^NoNewPrivs:/' /proc/self/status | tr -d '\\t\\n'; (exit 3); echo $?";
            let mut command = shell(status);
            command
                .unshare(OWN)
                .init(init)
                .capabilities(Capabilities::container_default())
                .user(User::resolve("1000:7", b"", b"").unwrap())
                .seccomp(default_filter());
            assert_eq!(output(&mut command), "NoNewPrivs:0Seccomp:23\n");
        }
        let own = fs::read_to_string("/proc/self/status").unwrap();
        assert!(own.contains("Seccomp:\t0\n"), "{own}");
    });
}

#[test]
fn a_user_without_privileges_can_have_a_filter_that_gives_none() {
    fake_host::run(|host| {
        let dir = host.dir("probe");
        let probe = probe::native(&dir);
        let mut command = Command::new(&probe);
        command
            .user(User::resolve("1000:7", b"", b"").unwrap())
            .no_new_privileges(true)
            .seccomp(default_filter());
        let calls = [call(libc::SYS_keyctl, &[]), call(libc::SYS_getuid, &[])];
        assert_eq!(results(&mut command, &calls), [EPERM, 1000]);
    });
}

#[test]
fn a_program_beside_a_container_is_under_the_filter_too() {
    fake_host::run(|host| {
        let probe = probe::native(&host.dir("probe"));
        let mut first = shell("read line");
        first
            .unshare(OWN)
            .setup([devpts()])
            .stdin(Stdio::piped())
            .capabilities(Capabilities::container_default())
            .seccomp(default_filter());
        let mut first = first.spawn().unwrap();
        let beside = |command: &mut Command, no_new_privileges| {
            command
                .enter(first.process().to_fd().unwrap(), OWN)
                .user(User::resolve("1000:7", b"", b"").unwrap())
                .capabilities(Capabilities::container_default())
                .no_new_privileges(no_new_privileges)
                .die_with_parent(true)
                .current_dir("/")
                .seccomp(default_filter());
        };
        for no_new_privileges in [false, true] {
            let mut command = Command::new(&probe);
            beside(&mut command, no_new_privileges);
            let calls = [
                call(libc::SYS_keyctl, &[]),
                call(libc::SYS_clone3, &[]),
                call(libc::SYS_getuid, &[]),
            ];
            assert_eq!(results(&mut command, &calls), [EPERM, ENOSYS, 1000]);
            // On a terminal there are more steps to be made under the filter.
            let mut command = shell("tty; grep ^Seccomp: /proc/self/status");
            beside(&mut command, no_new_privileges);
            let mut created = command.terminal(true).create().unwrap();
            let terminal = created.terminal().unwrap().unwrap();
            let mut child = created.start().unwrap();
            let text = read_all(terminal.as_fd().try_clone_to_owned().unwrap().into());
            assert_eq!(child.wait().unwrap().exit_code(), 0, "{text}");
            assert_eq!(text, "/dev/pts/0\r\nSeccomp:\t2\r\n");
        }
        first.kill().unwrap();
        first.wait().unwrap();
    });
}

#[test]
fn a_filter_that_denies_a_step_says_which() {
    fake_host::run(|_| {
        let filter = Seccomp::new(SeccompAction::Allow)
            .rule(SeccompRule::new(["setresuid"], SeccompAction::Errno(1)))
            .compile()
            .unwrap();
        let mut command = shell("true");
        command
            .user(User::resolve("1000", b"", b"").unwrap())
            .seccomp(filter);
        let error = crate::chain(&command.spawn().unwrap_err());
        assert!(error.contains("setresuid(1000, 1000, 1000)"), "{error}");
    });
}

#[cfg(target_arch = "x86_64")]
mod of_32_bits {
    use super::*;

    /// The numbers of i386.
    const SOCKETCALL: libc::c_long = 102;
    const SOCKET: libc::c_long = 359;

    fn calls(prefix: &str) -> Vec<String> {
        let calls = [
            call(20, &[]),                              // getpid
            call(21, &[]),                              // mount; access to x86-64
            call(288, &[]),                             // keyctl; accept4 to x86-64
            call(SOCKET, &[libc::AF_ALG as u64, 5, 0]), // no call of x86-64
            call(SOCKET, &[libc::AF_INET as u64, 1, 0]),
            call(435, &[]), // clone3
            call(500, &[]),
            call(54, &[0, libc::TIOCSTI]),
            // As with Docker: a filter cannot see what it is for, and some programs have no other.
            call(SOCKETCALL, &[99, 0]),
        ];
        calls.map(|call| format!("{prefix}{call}")).to_vec()
    }

    #[track_caller]
    fn assert_filtered(results: &[i64]) {
        let einval = -i64::from(libc::EINVAL);
        assert!(results[0] > 0 && results[4] > 0, "{results:?}");
        assert_eq!(results[1..4], [EPERM; 3]);
        assert_eq!(results[5..], [ENOSYS, ENOSYS, EPERM, einval]);
    }

    #[test]
    fn a_32_bit_program_runs_and_is_filtered_by_its_own_numbers() {
        fake_host::run(|host| {
            let probe = probe::of_32_bits(&host.dir("probe"));
            if !fake_host::require("i386", runs(&probe)) {
                return;
            }
            let mut command = Command::new(&probe);
            command.unshare(OWN).seccomp(default_filter());
            assert_filtered(&results(&mut command, &calls("")));
        });
    }

    #[test]
    fn a_64_bit_program_gets_round_nothing_by_32_bit_calls() {
        fake_host::run(|host| {
            let dir = host.dir("probe");
            if !fake_host::require("i386", runs(&probe::of_32_bits(&dir))) {
                return;
            }
            let probe = probe::native(&dir);
            let mut command = Command::new(&probe);
            command.unshare(OWN).seccomp(default_filter());
            assert_filtered(&results(&mut command, &calls("~")));
            // The kernel looks at the lower half, and so does a filter which denies one value.
            let filter = Seccomp::new(SeccompAction::Allow)
                .architecture(SeccompArchitecture::X86)
                .rule(
                    SeccompRule::new(["socket"], SeccompAction::Errno(1)).arg(SeccompArg::new(
                        0,
                        SeccompOp::Equal,
                        libc::AF_INET as u64,
                    )),
                )
                .compile()
                .unwrap();
            for high in [0, 1 << 32, u64::MAX << 32] {
                let socket = call(SOCKET, &[high | libc::AF_INET as u64, 1, 0]);
                let socket = [format!("~{socket}")];
                let free = results(&mut Command::new(&probe), &socket);
                assert!(free[0] > 0, "{free:?}");
                let mut command = Command::new(&probe);
                let filtered = results(command.seccomp(filter.clone()), &socket);
                assert_eq!(filtered, [EPERM], "{high:#x}");
            }
        });
    }

    #[test]
    fn a_profile_without_32_bit_calls_kills_who_makes_one() {
        fake_host::run(|host| {
            let dir = host.dir("probe");
            let own = Seccomp::new(SeccompAction::Allow).compile().unwrap();
            for (probe, call) in [
                (probe::native(&dir), "~20"),        // getpid by int 0x80
                (probe::native(&dir), "0x40000027"), // and of x32
                (probe::of_32_bits(&dir), "20"),
            ] {
                let mut command = Command::new(&probe);
                let status = command.args(["-", call]).seccomp(own.clone()).status();
                assert_eq!(status.unwrap().signal(), Some(libc::SIGSYS), "{call}");
            }
        });
    }

    /// Whether this kernel has the calls of i386.
    fn runs(probe: &Path) -> bool {
        let status = std::process::Command::new(probe).arg("-").status();
        status.is_ok_and(|status| status.success())
    }
}
