//! What a run and an exec have in common: a process in a container's cgroup, and the person in front of it.

use std::io::{IsTerminal, stderr, stdin, stdout};
use std::process::ExitStatus;

use rocker_cgroup::{Cgroup, Hierarchy};
use rocker_ns::{
    Child, Command, Created, DetachKeys, Process, Relay, Signals, Stdio, Terminal, WindowSize,
};

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

/// Makes the process of `command` as a member of `cgroup`, if there is one, before it does anything.
pub(crate) fn create_in(
    command: &mut Command,
    hierarchy: &Hierarchy,
    cgroup: Option<&Cgroup>,
) -> Result<Created> {
    command.timed(listening());
    let Some(cgroup) = cgroup else {
        return Ok(command.create()?);
    };
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

/// How a program is looked after.
#[derive(Debug)]
pub(crate) struct Care<'a> {
    pub(crate) io: Io,
    pub(crate) leave: Leave<'a>,
    /// The signal that asks it to end.
    pub(crate) stop_signal: Option<i32>,
    /// What is to be passed on to it.
    pub(crate) signals: &'a Signals,
}

/// When the program is left to itself: this process then leaves its session, and waits for the program in the background.
#[derive(Debug)]
pub(crate) enum Leave<'a> {
    Never,
    /// As soon as the program runs.
    AtOnce,
    /// When the person in front of it types these keys.
    At(&'a DetachKeys),
}

impl<'a> Leave<'a> {
    pub(crate) fn at(keys: Option<&'a DetachKeys>) -> Self {
        keys.map_or(Leave::Never, Leave::At)
    }
}

/// Tells `starting` of the process, starts the program, and passes signals and the terminal on until it ends. From its first word on
/// the program is known to run.
pub(crate) fn supervise(
    mut created: Created,
    care: &Care<'_>,
    starting: impl FnOnce(&Process) -> Result<()>,
) -> Result<ExitStatus> {
    let terminal = created.terminal()?;
    if let (Some(terminal), Some(size)) = (&terminal, WindowSize::of(stdin())) {
        terminal.resize(size)?;
    }
    starting(&created.process()?)?;
    let mut child = created.start()?;
    phase("running");
    let ended = relay(&mut child, terminal.as_ref(), care);
    if ended.is_err() {
        // Whatever went wrong here, the program does not go on without somebody to look after it.
        child.kill()?;
        child.wait()?;
    }
    ended
}

fn relay(child: &mut Child, terminal: Option<&Terminal>, care: &Care<'_>) -> Result<ExitStatus> {
    fn between<'a>(
        child: &'a mut Child,
        terminal: Option<&'a Terminal>,
        care: &Care<'a>,
        interactive: bool,
    ) -> Relay<'a> {
        let mut relay = Relay::new(child, care.signals);
        if let Some(signal) = care.stop_signal {
            relay = relay.stop_signal(signal);
        }
        match terminal {
            Some(terminal) => relay.terminal(terminal, interactive),
            None => relay,
        }
    }
    let with_the_person = between(child, terminal, care, care.io.interactive);
    match care.leave {
        Leave::Never => return Ok(with_the_person.run()?),
        Leave::AtOnce => {}
        Leave::At(keys) => {
            if let Some(status) = with_the_person.run_until_detached(keys.clone())? {
                return Ok(status);
            }
        }
    }
    // What the program writes from here on goes to /dev/null, so that it does not wait for somebody to read it.
    rocker_ns::leave_session()?;
    Ok(between(child, terminal, care, false).run()?)
}
