//! What a run and an exec have in common: a process in a container's cgroup, and the person in front of it.

use std::io::{IsTerminal, stderr, stdin, stdout};
use std::process::ExitStatus;

use rocker_cgroup::{Cgroup, Hierarchy};
use rocker_ns::{
    Attach, Attendant, Child, Command, Created, DetachKeys, Process, Relay, Signals, Stdio,
    Terminal, WindowSize,
};

use crate::engine::options::Io;
use crate::engine::spec::steps;
use crate::trace::{listening, phase};
use crate::{Error, Result};

/// Who is at the other end of a program's standard streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Streams {
    /// The caller: they are its own.
    Callers,
    /// The caller, and others who hear what the program writes: they are pipes.
    Shared,
    /// Only others.
    Others,
}

/// Connects the standard streams of `command`, and ties its life to this process's.
pub(crate) fn connect(command: &mut Command, io: Io, streams: Streams) {
    // A terminal of the caller's is never handed over: the program could type into it, and change its mode.
    command.stdin(match stdin().is_terminal() || streams == Streams::Others {
        _ if !io.interactive => Stdio::null(),
        true => Stdio::piped(),
        false => Stdio::inherit(),
    });
    let output = |is_terminal| {
        if is_terminal || streams != Streams::Callers {
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
    mut command: Command,
    hierarchy: &Hierarchy,
    cgroup: Option<&Cgroup>,
) -> Result<Created> {
    command.timed(listening());
    let Some(cgroup) = cgroup else {
        return Ok(command.into_created()?);
    };
    let names = hierarchy.mounts_for_container();
    command.first(steps::joins(&names, cgroup.tasks()?)?);
    let Some(directory) = cgroup.as_fd() else {
        return Ok(command.into_created()?);
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
    Ok(command.into_created()?)
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
pub(crate) struct Care<'a, 'keys> {
    pub(crate) io: Io,
    /// It is noted there when the program has been left.
    pub(crate) leave: &'a mut Leave<'keys>,
    /// The signal that asks it to end.
    pub(crate) stop_signal: Option<i32>,
    /// What is to be passed on to it.
    pub(crate) signals: &'a Signals,
    /// Who else hears what it writes.
    pub(crate) attendant: Option<&'a mut dyn Attendant>,
    /// Where others attach to it.
    pub(crate) attach: Option<&'a mut Attach>,
}

/// When the program is left to itself: this process then leaves its session, and waits for the program in the background.
#[derive(Debug)]
pub(crate) enum Leave<'a> {
    Never,
    /// As soon as the program runs.
    AtOnce,
    /// When the person in front of it types these keys.
    At(&'a DetachKeys),
    /// It has been already.
    Left,
}

impl<'a> Leave<'a> {
    pub(crate) fn at(keys: Option<&'a DetachKeys>) -> Self {
        keys.map_or(Leave::Never, Leave::At)
    }
}

/// Tells `starting` of the process, and starts the program. From its first word on the program is known to run.
pub(crate) fn start(
    mut created: Created,
    starting: impl FnOnce(&Process) -> Result<()>,
) -> Result<(Child, Option<Terminal>)> {
    let terminal = created.terminal()?;
    if let (Some(terminal), Some(size)) = (&terminal, WindowSize::of(stdin())) {
        terminal.resize(size)?;
    }
    starting(&created.process()?)?;
    let child = created.start()?;
    phase("running");
    Ok((child, terminal))
}

/// Passes signals, streams and the terminal on until the program ends. Whatever goes wrong here, the program does not go on
/// without somebody to look after it: it is killed, and left to be waited for.
pub(crate) fn look_after(
    child: &mut Child,
    terminal: Option<&Terminal>,
    care: &mut Care<'_, '_>,
) -> Result<ExitStatus> {
    let ended = relay(child, terminal, care);
    if ended.is_err() {
        child.kill()?;
    }
    ended
}

fn relay(
    child: &mut Child,
    terminal: Option<&Terminal>,
    care: &mut Care<'_, '_>,
) -> Result<ExitStatus> {
    match *care.leave {
        Leave::Never => return Ok(between(child, terminal, care, false).run()?),
        Leave::AtOnce => rocker_ns::leave_session()?,
        Leave::Left => {}
        Leave::At(keys) => {
            let keys = keys.clone();
            let relay = between(child, terminal, care, false);
            if let Some(status) = relay.run_until_detached(keys)? {
                return Ok(status);
            }
            rocker_ns::leave_session()?;
        }
    }
    *care.leave = Leave::Left;
    Ok(between(child, terminal, care, true).run()?)
}

fn between<'a>(
    child: &'a mut Child,
    terminal: Option<&'a Terminal>,
    care: &'a mut Care<'_, '_>,
    background: bool,
) -> Relay<'a> {
    let mut relay = Relay::new(child, care.signals).in_background(background);
    if let Some(signal) = care.stop_signal {
        relay = relay.stop_signal(signal);
    }
    if let Some(attendant) = &mut care.attendant {
        relay = relay.attendant(*attendant);
    }
    if let Some(attach) = &mut care.attach {
        relay = relay.attach(attach);
    }
    match terminal {
        Some(terminal) => relay.terminal(terminal, care.io.interactive && !background),
        None => relay,
    }
}
