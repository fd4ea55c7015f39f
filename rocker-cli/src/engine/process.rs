//! What a run and an exec have in common: a process in a container's cgroup, and the person in front of it.

use std::io::{IsTerminal, stderr, stdin, stdout};
use std::process::ExitStatus;

use rocker_cgroup::{Cgroup, Hierarchy};
use rocker_ns::{Child, Command, Created, Relay, Signals, Stdio, WindowSize};

use super::options::Io;
use super::steps;
use crate::trace::{listening, phase};
use crate::{Error, Result};

/// Connects the standard streams of `command`, and ties its life to this process's.
pub(crate) fn connect(command: &mut Command, io: Io) {
    // A terminal of the caller's is never handed over: the program could type into it, and change its mode.
    command.stdin(match stdin().is_terminal() {
        _ if !io.interactive => Stdio::null(),
        true => Stdio::piped(),
        false => Stdio::inherit(),
    });
    let output = |is_terminal| {
        if is_terminal {
            Stdio::piped()
        } else {
            Stdio::inherit()
        }
    };
    command
        .stdout(output(stdout().is_terminal()))
        .stderr(output(stderr().is_terminal()))
        .die_with_parent(true);
}

/// Makes the process of `command` as a member of `cgroup`, before it does anything.
pub(crate) fn create_in(
    command: &mut Command,
    hierarchy: &Hierarchy,
    cgroup: &Cgroup,
    io: Io,
) -> Result<Created> {
    connect(command, io);
    command.timed(listening());
    let names = hierarchy.mounts_for_container();
    command.first(steps::joins(&names, cgroup.tasks()?)?);
    let Some(directory) = cgroup.as_fd() else {
        return Ok(command.create()?);
    };
    // On v2 it is made in there.
    let directory = directory
        .try_clone_to_owned()
        .map_err(|source| Error::State {
            operation: "duplicate the descriptor of",
            path: "the cgroup".into(),
            source,
        })?;
    command.cgroup(directory);
    Ok(command.create()?)
}

/// What came of something that was done for a process; where that failed because the process is gone, what the process
/// has to say for itself.
pub(crate) fn or_its_own<T>(created: &mut Created, outcome: Result<T>) -> Result<T> {
    if outcome.is_err() {
        created.ready()?;
    }
    outcome
}

/// Starts the program, tells `started` of it, and passes signals and the terminal on until it ends.
pub(crate) fn supervise(
    mut created: Created,
    io: Io,
    signals: &Signals,
    stop_signal: Option<i32>,
    started: impl FnOnce(&Child) -> Result<()>,
) -> Result<ExitStatus> {
    let terminal = created.terminal()?;
    if let (Some(terminal), Some(size)) = (&terminal, WindowSize::of(stdin())) {
        terminal.resize(size)?;
    }
    let mut child = created.start()?;
    let ended = started(&child).and_then(|()| {
        phase("running");
        let mut relay = Relay::new(&mut child, signals);
        if let Some(signal) = stop_signal {
            relay = relay.stop_signal(signal);
        }
        if let Some(terminal) = &terminal {
            relay = relay.terminal(terminal, io.interactive);
        }
        Ok(relay.run()?)
    });
    if ended.is_err() {
        // Whatever went wrong here, the program does not go on without somebody to look after it.
        child.kill()?;
        child.wait()?;
    }
    ended
}
