//! A second program beside a first.

use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rocker_ns::{Capabilities, Child, Command, Error, Namespace, Signals, Stdio, User};

use crate::fake_host;
use crate::{OWN, chain, output, shell, zombies};

/// A program in namespaces of its own that runs until its input ends.
fn first(init: bool) -> Child {
    let mut command = shell("read line");
    command
        .unshare(OWN)
        .hostname("first")
        .init(init)
        .stdin(Stdio::piped());
    command.spawn().unwrap()
}

/// A shell beside `first`.
fn beside(first: &Child, script: &str) -> Command {
    let mut command = shell(script);
    command.enter(first.process().to_fd().unwrap(), OWN);
    command
}

#[test]
fn a_second_program_enters_the_namespaces_of_the_first() {
    fake_host::run(|_| {
        let mut first = first(false);
        let mut second = beside(&first, "hostname; echo $(( $$ > 1 ))");
        assert_eq!(output(&mut second), "first\n1\n");
        first.kill().unwrap();
        first.wait().unwrap();
        assert_eq!(zombies(), 0);
    });
}

#[test]
fn a_program_whose_process_1_cannot_be_traced_is_entered_all_the_same() {
    fake_host::run(|_| {
        let mut first = first(true);
        assert_eq!(output(&mut beside(&first, "hostname")), "first\n");
        first.kill().unwrap();
        first.wait().unwrap();
    });
}

#[test]
fn whoever_traces_what_enters_a_container_gets_no_more_than_the_container_has() {
    let own = Capabilities::NONE.with("DAC_OVERRIDE").unwrap();
    let set = |user: Option<(u32, u32)>| {
        let mut command = shell("true");
        let status = std::fs::File::open("/proc/self/status").unwrap();
        command.enter(status, OWN).capabilities(own);
        if let Some((uid, gid)) = user {
            command.user(User::resolve(&format!("{uid}:{gid}"), b"", b"").unwrap());
        }
        let plan = command.plan().unwrap();
        let calls: Vec<_> = plan.steps().iter().map(ToString::to_string).collect();
        let place = |call: &str| calls.iter().position(|one| one.starts_with(call)).unwrap();
        // It is to be seen in there from clone(2) on. Until then a directory of the host's that it has open would be a way out.
        assert!(place("setns") < place("close_range") && place("close_range") < place("clone"));
        assert!(place("setns") < place("prctl(PR_CAPBSET_DROP, CAP_SYS_ADMIN"));
        let drop = calls
            .iter()
            .rposition(|one| one.contains("PR_CAPBSET_DROP"))
            .unwrap();
        assert!(drop < place("capset") && place("capset") < place("clone"));
        calls[place("capset")].clone()
    };
    // CAP_DAC_OVERRIDE is 1 << 1, CAP_CHOWN 1 << 0, CAP_SETGID 1 << 6, CAP_SETUID 1 << 7: see linux/capability.h.
    let cases = [
        (None, "effective=0x2"),
        (Some((0, 0)), "effective=0x42"),
        (Some((1000, 1000)), "effective=0xc3"),
    ];
    for (user, held) in cases {
        let call = set(user);
        assert!(call.contains(held), "{user:?}: {call}");
    }
}

#[test]
fn a_process_that_a_container_has_stopped_ends_when_its_parent_is_asked_to() {
    fake_host::run(|host| {
        let mut first = shell("while :; do kill -STOP -1; done");
        first.unshare(OWN).stdin(Stdio::null());
        let mut first = first.spawn().unwrap();
        let _signals = Signals::hold().unwrap();
        let mut created = beside(&first, "true").create().unwrap();
        created.set_up().unwrap();
        let stat = format!("/proc/{}/stat", created.id());
        host.wait_until("it is stopped", Duration::from_secs(10), || {
            std::fs::read_to_string(&stat).unwrap().contains(") T ")
        });
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGTERM).unwrap();
        let error = created.start().unwrap_err();
        assert!(matches!(error, Error::Killed { .. }), "{}", chain(&error));
        first.kill().unwrap();
        first.wait().unwrap();
        assert_eq!(zombies(), 0);
    });
}

#[test]
fn entering_what_has_ended_or_ends_meanwhile_says_so() {
    fake_host::run(|host| {
        // How far the second program has come when the first one ends.
        for stage in 0..3 {
            let mut first = first(false);
            let second = beside(&first, "true");
            let mut created = match stage {
                0 => None,
                _ => Some(second.create().unwrap()),
            };
            if let Some(created) = created.as_mut().filter(|_| stage == 2) {
                created.ready().unwrap();
            }
            first.kill().unwrap();
            if let Some(created) = created.as_ref().filter(|_| stage == 2) {
                // The first one dies with all that are inside, and is gone when they are waited for.
                host.wait_until("the second is dead", Duration::from_secs(5), || {
                    let mut fds = [PollFd::new(created.as_fd(), PollFlags::POLLIN)];
                    poll(&mut fds, PollTimeout::ZERO).unwrap() > 0
                });
            } else {
                first.wait().unwrap();
            }
            let started = match created {
                Some(created) => created.start(),
                None => second.spawn(),
            };
            let error = started.unwrap_err();
            assert!(
                matches!(error, Error::Gone),
                "stage {stage}: {}",
                chain(&error)
            );
            assert_eq!(chain(&error), "the process to join has ended");
            first.wait().unwrap();
            assert_eq!(zombies(), 0);
        }
    });
}

#[test]
fn only_the_namespaces_that_are_named_are_entered() {
    fake_host::run(|_| {
        let mut first = first(false);
        let mut second = shell("hostname");
        second.enter(first.process().to_fd().unwrap(), [Namespace::Pid]);
        assert_eq!(output(&mut second), "fake-host\n");
        first.kill().unwrap();
        first.wait().unwrap();
    });
}
