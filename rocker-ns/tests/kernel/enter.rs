//! A second program beside a first.

use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rocker_ns::{Child, Command, Error, Namespace, Stdio};

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
        let status = format!("/proc/{}/environ", first.id());
        let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(status).unwrap());
        assert_eq!(owner, 0);
        assert_eq!(output(&mut beside(&first, "hostname")), "first\n");
        first.kill().unwrap();
        first.wait().unwrap();
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
