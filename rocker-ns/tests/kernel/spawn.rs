//! Programs that start, end, fail to start, and leave nothing.

use std::fs;
use std::time::Duration;

use rocker_ns::{Arg, Capabilities, Command, Error, ExitCode, Namespace, Process, Stdio, Step};

use crate::fake_host;
use crate::{OWN, chain, output, shell, zombies};

#[test]
fn the_program_is_process_1_with_its_own_name_and_nothing_of_the_host() {
    fake_host::run(|_| {
        let mut command = shell(
            "echo $$ $(hostname); ls /proc/self/fd | wc -l; ip -o link | wc -l; cat /proc/self/cgroup | grep -v ':/$' | wc -l",
        );
        // A new /proc, for the pids of the new namespace.
        let private = Step::new(
            "mount",
            vec![
                Arg::Null,
                Arg::string("/").unwrap(),
                Arg::Null,
                Arg::flags(0x84000, "MS_REC|MS_SLAVE"),
                Arg::Null,
            ],
        );
        let proc = ["proc", "/proc", "proc"].map(|text| Arg::string(text).unwrap());
        let [source, target, fstype] = proc;
        let proc = Step::new(
            "mount",
            vec![source, target, fstype, Arg::Int(0), Arg::Null],
        );
        command
            .unshare(OWN)
            .hostname("inner")
            .setup([private.unwrap(), proc.unwrap()]);
        // Four descriptors: the three streams, and the directory that ls reads.
        assert_eq!(output(&mut command), "1 inner\n4\n1\n0\n");
    });
}

#[test]
fn exit_codes_and_signals_come_back() {
    fake_host::run(|_| {
        assert_eq!(
            shell("exit 3").unshare(OWN).status().unwrap().exit_code(),
            3
        );
        assert_eq!(
            shell("kill -9 $$")
                .unshare([Namespace::Net])
                .status()
                .unwrap()
                .exit_code(),
            137
        );
    });
}

#[test]
fn a_missing_program_is_127_and_one_that_cannot_be_executed_126() {
    fake_host::run(|host| {
        let dir = host.dir("bin");
        fs::write(dir.join("text"), "not a program").unwrap();
        let mut command = Command::new("text");
        command.env("PATH", format!("/nowhere:{}:/usr/bin", dir.display()));
        let error = command.spawn().unwrap_err();
        assert_eq!(error.exit_code(), 126, "{}", chain(&error));
        let mut command = Command::new("no-such-program");
        let error = command.env("PATH", "/bin:/sbin").spawn().unwrap_err();
        assert!(matches!(error, Error::NotFound { .. }));
        assert_eq!(
            chain(&error),
            "command \"no-such-program\" not found where the program would run; tried \
             /bin/no-such-program, /sbin/no-such-program: No such file or directory (os error 2)"
        );
        assert_eq!(zombies(), 0);
    });
}

#[test]
fn a_failing_step_is_named_with_its_arguments_errno_and_purpose() {
    fake_host::run(|_| {
        let step = Step::new(
            "mkdirat",
            vec![
                Arg::Cwd,
                Arg::string("/proc/new").unwrap(),
                Arg::flags(0o755, "0755"),
            ],
        );
        let error = shell("true")
            .setup([step.unwrap().because("so that there is a directory")])
            .spawn()
            .unwrap_err();
        let Error::Step {
            call, why, source, ..
        } = &error
        else {
            panic!("{error:?}")
        };
        assert_eq!(call, "mkdirat(AT_FDCWD, \"/proc/new\", 0755)");
        assert_eq!(why, "so that there is a directory");
        assert_eq!(source.raw_os_error(), Some(2));
        assert_eq!(zombies(), 0);
    });
}

#[test]
fn failing_at_any_step_names_it_and_leaves_nothing() {
    fake_host::run(|host| {
        let mut command = shell("true");
        command
            .unshare(OWN)
            .capabilities(Capabilities::container_default())
            .hostname("x")
            .current_dir("/");
        let steps = command.plan().unwrap().steps().len();
        let before = host.state();
        for k in 0..steps {
            match command.fail_at(Some(k)).spawn() {
                Err(Error::Step { index, source, .. }) => {
                    assert_eq!((index, source.raw_os_error()), (k, Some(5)));
                }
                other => panic!("step {k}: {other:?}"),
            }
        }
        assert_eq!(zombies(), 0);
        assert_eq!(host.state(), before);
    });
}

#[test]
fn a_created_process_that_is_dropped_leaves_no_zombie_and_no_namespace() {
    fake_host::run(|host| {
        let mut created = shell("true").unshare(OWN).create().unwrap();
        let pid = created.id();
        assert_ne!(
            fs::read_link(format!("/proc/{pid}/ns/net")).unwrap(),
            fs::read_link("/proc/self/ns/net").unwrap()
        );
        created.ready().unwrap();
        drop(created);
        host.wait_until("the process is gone", Duration::from_secs(5), || {
            !fs::exists(format!("/proc/{pid}")).unwrap()
        });
        assert_eq!(zombies(), 0);
    });
}

#[test]
fn a_process_killed_during_set_up_is_reported_as_such() {
    fake_host::run(|_| {
        let mut created = shell("true").unshare(OWN).create().unwrap();
        created.ready().unwrap();
        fs::write("/dev/null", "").unwrap();
        let pid = i32::try_from(created.id()).unwrap();
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid),
            nix::sys::signal::Signal::SIGKILL,
        )
        .unwrap();
        assert!(matches!(created.start(), Err(Error::Killed { .. })));
        assert_eq!(zombies(), 0);
    });
}

#[test]
fn pidfds_signal_the_process_they_were_opened_for() {
    fake_host::run(|_| {
        let mut child = shell("read line").stdin(Stdio::piped()).spawn().unwrap();
        let start = child.process().start_time().unwrap();
        let other = Process::open(child.id(), start).unwrap().unwrap();
        assert!(other.is_alive());
        other.signal(15).unwrap();
        assert_eq!(child.wait().unwrap().exit_code(), 143);
        assert!(!other.is_alive());
        other.signal(15).unwrap();
        assert!(Process::open(child.id(), start).unwrap().is_none());
    });
}
