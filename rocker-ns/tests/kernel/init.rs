//! An init in front of the program.

use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::time::Duration;

use rocker_ns::{Capabilities, Command, Error, ExitCode, Stdio, Step};

use crate::fake_host::{self, Host};
use crate::{OWN, chain, devpts, output, read_all, shell, zombies};

/// A shell in a container that has an init.
fn with_init(script: &str) -> Command {
    let mut command = shell(script);
    command
        .init(true)
        .unshare(OWN)
        .setup([Step::private_mounts(), Step::mount_proc()])
        .capabilities(Capabilities::container_default());
    command
}

/// The state and the parent of each process, by the beginning of its status file.
fn children(pid: u32) -> Vec<String> {
    let statuses = fs::read_dir("/proc").unwrap().flatten();
    let statuses = statuses.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    let fields = statuses.map(|stat| stat.rsplit_once(')').unwrap().1.trim().to_owned());
    let of = format!(" {pid} ");
    fields
        .filter(|fields| fields[1..].starts_with(&of))
        .collect()
}

#[test]
fn the_program_is_process_2_and_its_end_is_the_containers() {
    fake_host::run(|_| {
        assert_eq!(
            output(&mut with_init("echo $$ $PPID; cat /proc/1/comm")),
            "2 1\nrocker-init\n"
        );
        assert_eq!(with_init("exit 7").status().unwrap().exit_code(), 7);
        assert_eq!(with_init("kill -9 $$").status().unwrap().exit_code(), 137);
        assert_eq!(zombies(), 0);
    });
}

#[test]
fn orphans_are_reaped_by_an_init_and_stay_zombies_without() {
    fake_host::run(|host| {
        for init in [false, true] {
            // The orphan dies when the shell has become cat, which waits for nobody.
            let orphan = "while grep -q sh /proc/$$/comm; do :; done";
            let mut command = with_init(&format!("({orphan} &); exec cat"));
            command.init(init).stdin(Stdio::piped());
            let mut child = command.spawn().unwrap();
            let of_init = || children(child.id());
            if init {
                host.wait_until("only the program is left", Duration::from_secs(5), || {
                    let of_init = of_init();
                    of_init.len() == 1 && !of_init[0].starts_with('Z')
                });
            } else {
                host.wait_until("there is a zombie", Duration::from_secs(5), || {
                    of_init().iter().any(|fields| fields.starts_with('Z'))
                });
            }
            assert_eq!(child.wait().unwrap().exit_code(), 0);
        }
    });
}

#[test]
fn signals_to_the_init_reach_the_program() {
    fake_host::run(|_| {
        let mut command = with_init("trap 'exit 9' TERM; echo ready; while :; do sleep 0.01; done");
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut ready = [0; 6];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
        child.process().signal(15).unwrap();
        assert_eq!(child.wait().unwrap().exit_code(), 9);
    });
}

#[test]
fn nothing_of_the_parent_is_left_in_the_init() {
    fake_host::run(|host| {
        let mut command = with_init("cat /proc/1/environ || true; read line");
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let init = format!("/proc/{}", child.id());
        let read = |file: &str| fs::read_to_string(format!("{init}/{file}")).unwrap();
        host.wait_until("the init has let go", Duration::from_secs(5), || {
            let maps = read("maps");
            !maps.contains("[stack]") && !maps.contains("[heap]")
        });
        let maps = read("maps");
        let program = fs::read_link("/proc/self/exe").unwrap();
        let anonymous = |line: &&str| line.split_whitespace().count() < 6;
        // What has no file is static data that starts out as zeros, and the init's own stack.
        assert!(maps.lines().filter(anonymous).count() <= 6, "{maps}");
        assert!(maps.contains(&*program.to_string_lossy()), "{maps}");
        assert_eq!(read("cmdline"), "");
        assert_eq!(read("comm"), "rocker-init\n");
        assert_eq!(fs::read_dir(format!("{init}/fd")).unwrap().count(), 0);
        drop(child.stdin.take());
        // Root of the container, without CAP_SYS_PTRACE, does not even get to see the environment.
        let mut seen = String::new();
        std::io::Read::read_to_string(child.stdout.as_mut().unwrap(), &mut seen).unwrap();
        assert_eq!(seen, "");
        assert_eq!(
            child.wait().unwrap().exit_code(),
            1,
            "read has found the end of the input"
        );
    });
}

#[test]
fn ctrl_c_on_a_terminal_reaches_the_program_and_not_its_init() {
    fake_host::run(|_| {
        let mut command = with_init(
            "trap 'echo interrupted; exit 3' INT; tty; ps -o tty= -p 1; echo ready; while :; do sleep 0.01; done",
        );
        command.setup([devpts()]).terminal(true);
        let mut created = command.create().unwrap();
        let terminal = created.terminal().unwrap().unwrap();
        let mut child = created.start().unwrap();
        let mut master = fs::File::from(terminal.as_fd().try_clone_to_owned().unwrap());
        let mut text = String::new();
        while !text.contains("ready") {
            let mut buffer = [0; 256];
            let count = std::io::Read::read(&mut master, &mut buffer).unwrap();
            text.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
        master.write_all(b"\x03").unwrap();
        text.push_str(&read_all(master));
        assert_eq!(child.wait().unwrap().exit_code(), 3, "{text}");
        assert_eq!(text.matches("interrupted").count(), 1, "{text}");
        assert!(text.starts_with("/dev/pts/0\r\n?"), "{text}");
    });
}

fn fails(host: &Host, command: &mut Command) -> Error {
    let before = host.state();
    let error = command.spawn().unwrap_err();
    assert_eq!(zombies(), 0);
    assert_eq!(host.state(), before);
    error
}

#[test]
fn a_program_that_is_missing_or_a_step_that_fails_ends_the_init_too() {
    fake_host::run(|host| {
        let mut command = Command::new("no-such-program");
        command.init(true).unshare(OWN);
        let error = fails(host, &mut command);
        assert_eq!(error.exit_code(), 127, "{}", chain(&error));
        let mut command = with_init("true");
        let steps = command.plan().unwrap().steps().len();
        for k in 0..steps {
            match fails(host, command.fail_at(Some(k))) {
                Error::Step { index, .. } => assert_eq!(index, k),
                other => panic!("step {k}: {}", chain(&other)),
            }
        }
    });
}
