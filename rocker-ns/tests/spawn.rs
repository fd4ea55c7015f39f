//! Processes in namespaces, on the real kernel.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::fs;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rocker_ns::{
    Arg, Capabilities, Command, Error, ExitCode, IdMap, Namespace, Process, Stdio, Step, User,
};

#[path = "../../tests/fake_host/mod.rs"]
mod fake_host;

const OWN: [Namespace; 6] = [
    Namespace::Cgroup,
    Namespace::Ipc,
    Namespace::Mount,
    Namespace::Net,
    Namespace::Pid,
    Namespace::Uts,
];

fn shell(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", script])
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null());
    command
}

/// Runs the command and returns what it wrote to standard output.
fn output(command: &mut Command) -> String {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut text = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(child.wait().unwrap().exit_code(), 0, "{text}");
    text
}

fn chain(error: &dyn std::error::Error) -> String {
    let source = error
        .source()
        .map(|source| format!(": {}", chain(source)))
        .unwrap_or_default();
    format!("{error}{source}")
}

/// The children that this process has not waited for.
fn zombies() -> usize {
    let own = std::process::id();
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("stat")).ok())
        .filter(|stat| {
            let fields: Vec<&str> = stat
                .rsplit_once(')')
                .unwrap()
                .1
                .split_whitespace()
                .collect();
            fields[0] == "Z" && fields[1] == own.to_string()
        })
        .count()
}

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
fn the_bounding_set_is_what_was_asked_for_and_inheritable_is_empty() {
    fake_host::run(|_| {
        let status = "grep -E '^(Cap|Groups|NoNewPrivs|Uid)' /proc/self/status | tr -s '\\t ' ' '";
        let mut command = shell(status);
        command
            .capabilities(Capabilities::container_default())
            .user(User::resolve("", b"", b"").unwrap());
        let text = output(&mut command);
        for line in [
            "CapInh: 0000000000000000",
            "CapPrm: 00000000a80425fb",
            "CapEff: 00000000a80425fb",
            "CapBnd: 00000000a80425fb",
            "Groups: 0",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        let mut command = shell(status);
        command
            .capabilities(Capabilities::container_default())
            .no_new_privileges(true);
        command.user(User::resolve("1000:7", b"", b"").unwrap());
        let text = output(&mut command);
        for line in [
            "CapPrm: 0000000000000000",
            "CapEff: 0000000000000000",
            "CapBnd: 00000000a80425fb",
            "Groups: 7",
            "Uid: 1000 1000 1000 1000",
            "NoNewPrivs: 1",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    });
}

#[test]
fn the_working_directory_cannot_be_behind_a_leaked_descriptor() {
    fake_host::run(|_| {
        let leaked = fs::File::open("/").unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&leaked);
        let error = shell("pwd")
            .current_dir(format!("/proc/self/fd/{number}"))
            .spawn()
            .unwrap_err();
        assert!(
            chain(&error).contains("Too many levels of symbolic links"),
            "{}",
            chain(&error)
        );
    });
}

#[test]
fn no_program_is_found_through_a_descriptor_of_the_parents() {
    fake_host::run(|_| {
        // CVE-2024-21626, by the program's own path: close-on-exec would come too late.
        let open = fs::File::open("/").unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&open);
        for path in ["usr/bin/env", "../usr/bin/env"] {
            let error = Command::new(format!("/proc/self/fd/{number}/{path}"))
                .spawn()
                .unwrap_err();
            assert!(matches!(error, Error::NotFound { .. }), "{}", chain(&error));
        }
    });
}

#[test]
fn no_container_can_write_to_the_program_on_the_host() {
    fake_host::run(|_| {
        // CVE-2019-5736. The first call starts this very test over; the second finds the program protected.
        rocker_ns::protect_executable().unwrap();
        let write = nix::unistd::access("/proc/self/exe", nix::unistd::AccessFlags::W_OK);
        assert_eq!(write, Err(nix::errno::Errno::EROFS));
    });
}

#[test]
fn processes_made_side_by_side_do_not_hold_up_each_other() {
    fake_host::run(|_| {
        let created = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| shell("exit 5").create().unwrap()))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect::<Vec<_>>()
        });
        // Each waits for the end of its line while the others have not run their programs yet.
        for process in created {
            assert_eq!(process.start().unwrap().wait().unwrap().exit_code(), 5);
        }
    });
}

#[test]
fn a_user_namespace_maps_the_ids_it_was_given() {
    fake_host::run(|_| {
        let mut command = shell("id -u; cat /proc/self/uid_map | tr -s ' '");
        let map = [IdMap {
            inside: 0,
            outside: 1000,
            count: 1,
        }];
        command
            .unshare([Namespace::User])
            .id_maps(map, map)
            .user(User::resolve("", b"", b"").unwrap());
        assert_eq!(output(&mut command), "0\n 0 1000 1\n");
    });
}

#[test]
fn a_second_program_enters_the_namespaces_of_the_first() {
    fake_host::run(|_| {
        let mut first = shell("read line");
        let mut first = first
            .unshare(OWN)
            .hostname("first")
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut second = shell("hostname; echo $(( $$ > 1 ))");
        second.enter(first.process().to_fd().unwrap(), OWN);
        assert_eq!(output(&mut second), "first\n1\n");
        first.kill().unwrap();
        assert_eq!(first.wait().unwrap().exit_code(), 137);
        let mut second = shell("true");
        let error = second
            .enter(first.process().to_fd().unwrap(), OWN)
            .spawn()
            .unwrap_err();
        assert!(matches!(error, Error::Step { .. }), "{}", chain(&error));
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

#[test]
fn a_terminal_of_the_containers_own_devpts_has_a_size_and_job_control() {
    fake_host::run(|_| {
        let mut command = shell(
            "stty size; tty; ps -o tty= -p $$ 2>/dev/null || true; read line; echo got $line",
        );
        let mount = |source: &str, target: &str, options: Option<&str>| {
            let text = |text: &str| Arg::string(text).unwrap();
            let data = options.map_or(Arg::Null, text);
            Step::new(
                "mount",
                vec![text(source), text(target), text(source), Arg::Int(0), data],
            )
            .unwrap()
        };
        let setup = [
            mount("proc", "/proc", None),
            mount(
                "devpts",
                "/dev/pts",
                Some("newinstance,ptmxmode=0666,mode=620"),
            ),
        ];
        command.unshare(OWN).setup(setup).terminal(true);
        let mut created = command.create().unwrap();
        let terminal = created.terminal().unwrap().unwrap();
        terminal
            .resize(rocker_ns::WindowSize {
                rows: 33,
                columns: 77,
            })
            .unwrap();
        let mut child = created.start().unwrap();
        let mut master = fs::File::from(terminal.as_fd().try_clone_to_owned().unwrap());
        io::Write::write_all(&mut master, b"hello\n").unwrap();
        let mut text = Vec::new();
        let mut buffer = [0; 1024];
        while let Ok(count @ 1..) = master.read(&mut buffer) {
            text.extend_from_slice(&buffer[..count]);
        }
        let text = String::from_utf8_lossy(&text);
        assert_eq!(child.wait().unwrap().exit_code(), 0, "{text}");
        for part in ["33 77", "/dev/pts/0", "got hello"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    });
}

#[test]
fn spawning_beside_eight_threads_that_allocate_never_hangs() {
    fake_host::run(|_| {
        let stop = Arc::new(AtomicBool::new(false));
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let stop = Arc::clone(&stop);
                std::thread::spawn(move || {
                    let mut size = 1;
                    while !stop.load(Ordering::Relaxed) {
                        size = size % 5000 + 1;
                        std::hint::black_box(vec![0_u8; size]);
                    }
                })
            })
            .collect();
        for _ in 0..100 {
            assert!(shell("exit 0").unshare(OWN).status().unwrap().success());
        }
        stop.store(true, Ordering::Relaxed);
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn the_child_asks_for_no_memory_and_takes_no_lock_before_its_program() {
    if std::env::var_os("ROCKER_NS_UNDER_STRACE").is_some() {
        shell("true").unshare(OWN).status().unwrap();
        return;
    }
    fake_host::run(|host| {
        let log = host.dir("strace").join("log");
        let status = std::process::Command::new("strace")
            .args(["-f", "-o", log.to_str().unwrap(), "-e", "trace=all"])
            .arg(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "the_child_asks_for_no_memory_and_takes_no_lock_before_its_program",
            ])
            .env("ROCKER_NS_UNDER_STRACE", "1")
            .stdout(std::process::Stdio::null())
            .status()
            .expect("strace is installed");
        assert!(status.success());
        let log = fs::read_to_string(log).unwrap();
        // The child is the process that makes itself undumpable; its life before execve is what counts.
        let pid = log
            .lines()
            .find(|line| line.contains("PR_SET_DUMPABLE"))
            .unwrap()
            .split(' ')
            .next()
            .unwrap();
        let calls: Vec<&str> = log
            .lines()
            .filter_map(|line| line.strip_prefix(pid))
            .map(str::trim_start)
            .take_while(|call| !call.starts_with("execve"))
            .collect();
        assert!(calls.len() > 10, "{calls:?}");
        for call in &calls {
            for forbidden in [
                "brk",
                "mmap",
                "munmap",
                "mprotect",
                "futex",
                "clock_gettime",
            ] {
                assert!(!call.starts_with(forbidden), "{call}");
            }
        }
    });
}
