//! From what is asked for to the list of system calls.

mod attributes;
mod credentials;
mod directory;
mod terminal;

use std::ops::RangeInclusive;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use nix::sys::signal::Signal;

use crate::command::{Command, FurtherSteps, c_string};
use crate::plan::Plan;
use crate::step::{Arg, Role, Step, Strings};
use crate::{Namespace, Result, namespace, stdio};

/// A plan, and where in it the things stand that the parent needs.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) plan: Plan,
    /// The number under which the child keeps the parent's end of the terminal.
    pub(crate) terminal: Option<RawFd>,
    /// The step at which an intermediate process makes the one that goes on.
    pub(crate) fork: Option<usize>,
    /// The step at which the process becomes an init, and makes the one that goes on.
    pub(crate) init: Option<usize>,
    /// The steps that open the working directory, enter it and look where that was.
    pub(crate) directory: Option<RangeInclusive<usize>>,
}

/// The standard streams and the line to the parent, opened before the plan is made.
#[derive(Debug)]
pub(crate) struct Streams {
    pub(crate) standard: [stdio::Ready; 3],
    /// The line to the parent; none in a plan that is only shown.
    pub(crate) line: Option<Line>,
}

/// The line between a child and its parent.
#[derive(Debug)]
pub(crate) struct Line {
    /// The child's end.
    pub(crate) child: Arc<OwnedFd>,
    /// The number of the parent's end, of which the child is born with a copy.
    pub(crate) parent: RawFd,
}

impl Line {
    /// The number of the child's end, which is above those of the standard streams.
    fn number(&self) -> u32 {
        self.child.as_raw_fd().unsigned_abs()
    }
}

impl Streams {
    /// Opens what the command asks for.
    pub(crate) fn ready(command: &Command) -> Result<Self> {
        let standard = if command.terminal {
            Default::default()
        } else {
            [
                command.stdin.ready(0)?,
                command.stdout.ready(1)?,
                command.stderr.ready(2)?,
            ]
        };
        Ok(Self {
            standard,
            line: None,
        })
    }

    fn line(&self) -> Arg {
        match &self.line {
            Some(line) => Arg::Fd(Arc::clone(&line.child)),
            None => Arg::flags(u64::MAX, "<parent>"),
        }
    }

    fn parent_end(&self) -> Arg {
        match &self.line {
            Some(line) => Arg::Int(line.parent.into()),
            None => Arg::flags(u64::MAX, "<parent's end>"),
        }
    }
}

/// Makes the plan of a command: the only place that knows the order of things. `own_status` is what the kernel says of the maker.
pub(crate) fn build(
    command: &Command,
    steps: FurtherSteps,
    streams: &Streams,
    own_status: Option<&str>,
) -> Result<Built> {
    let FurtherSteps { first, setup } = steps;
    let has_setup = !setup.is_empty();
    let mut plan = Plan::with_room_for(first.len() + setup.len());
    orphan(&mut plan, command, streams);
    plan.append(first)?;
    wait(
        &mut plan,
        streams,
        "so that the parent can put this process into its cgroup and map its ids first",
    );
    attributes::declare(&mut plan, command)?;
    if !command.is_beside() {
        attributes::become_root(&mut plan, command);
    }
    attributes::hide(&mut plan);
    let fork = join(&mut plan, command, streams)?;
    plan.push(
        Step::internal("setsid", vec![])
            .because("so that the program cannot reach the terminal of whoever started it"),
    );
    if command.unshare.contains(&Namespace::Cgroup) {
        let (flag, name) = Namespace::Cgroup.flag();
        plan.push(
            Step::internal("unshare", vec![Arg::flags(flag, name)]).because(
                "so that the cgroup that this process was put into looks like the root of all",
            ),
        );
    }
    names(&mut plan, command)?;
    plan.push(umask(0).because("so that files get exactly the modes that the next steps name"));
    plan.append(setup)?;
    plan.push(
        umask(command.umask)
            .because("so that files which the program makes are not everybody's to write"),
    );
    let terminal = if command.terminal {
        Some(terminal::open(&mut plan, command, has_setup)?)
    } else {
        None
    };
    if !command.is_beside() {
        standard_streams(&mut plan, command, streams);
    }
    signals(&mut plan, command, own_status.unwrap_or_default());
    let directory = directory::enter(&mut plan, command)?;
    // Ahead of a filter, which need not know close_range(2).
    close_files(&mut plan, streams, terminal);
    if !command.is_beside() {
        attributes::limit(&mut plan, command);
    }
    credentials::change(&mut plan, command);
    plan.push(
        Step::internal(
            "write",
            vec![streams.line(), Arg::bytes(*b"R", "\"R\""), Arg::Int(1)],
        )
        .because("so that the parent knows that all is set up"),
    );
    wait(
        &mut plan,
        streams,
        "so that the parent can finish what concerns the outside, such as the network",
    );
    let init = command.init.then(|| init(&mut plan, command));
    execute(&mut plan, command)?;
    let beside = |line: &Line| line.child.as_raw_fd() + 1;
    let terminal = terminal.and(streams.line.as_ref().map(beside));
    Ok(Built {
        plan,
        terminal,
        fork,
        init,
        directory,
    })
}

/// Makes another process for the program, while this one becomes its init; returns the index of that step.
fn init(plan: &mut Plan, command: &Command) -> usize {
    let mut args = prctl_args("PR_SET_NAME", libc::PR_SET_NAME, 0);
    args[1] = Arg::Str(c"rocker-init".into());
    plan.push(
        Step::internal("prctl", args)
            .because("so that ps(1) shows what this process is from here on"),
    );
    let step = clone((0, "SIGCHLD")).role(Role::Init);
    let fork = plan.push(step.because(
        "so that the program has an init, which reaps what nobody waits for and passes signals on: this process",
    ));
    plan.push(
        Step::internal("setsid", vec![]).because(
            "so that the program, and not its init, is the one that the terminal speaks to",
        ),
    );
    if command.terminal {
        plan.push(terminal::control(Arg::Int(0)));
    }
    plan.push(mask([0; 8], "[]").because("so that the program starts with no signal blocked"));
    fork
}

/// Closes every file but the standard streams and the line to the parent, beside which the parent finds its end of the
/// terminal. Marking them as close-on-exec would be too late: `execve(2)` still finds its program, or the interpreter of
/// a script, by a path such as `/proc/self/fd/7/usr/bin/env`.
fn close_files(plan: &mut Plan, streams: &Streams, terminal: Option<usize>) {
    let why = "so that no file of the parent's is open when the program is looked for";
    let number = |line: Option<u32>, beside: u32, name: &'static str| match line {
        Some(line) => Arg::Int(i64::from(line + beside)),
        None => Arg::flags(0, name),
    };
    let line = streams.line.as_ref().map(Line::number);
    let mut first = number(line, 1, "<parent + 1>");
    if let Some(master) = terminal {
        let beside = std::mem::replace(&mut first, number(line, 2, "<parent + 2>"));
        let flags = Arg::flags(libc::O_CLOEXEC as u64, "O_CLOEXEC");
        plan.push(
            Step::internal("dup3", vec![Arg::Result(master), beside, flags])
                .tolerating(&[libc::EINVAL]) // it is there already
                .because("so that the parent finds its end of the terminal"),
        );
    }
    if line.is_none_or(|line| line > 3) {
        let last = match line {
            Some(line) => Arg::Int(i64::from(line - 1)),
            None => Arg::flags(0, "<parent - 1>"),
        };
        plan.push(Step::internal("close_range", vec![Arg::Int(3), last, Arg::Int(0)]).because(why));
    }
    let last = Arg::flags(u64::from(u32::MAX), "~0U");
    plan.push(Step::internal("close_range", vec![first, last, Arg::Int(0)]).because(why));
}

/// Sees to it that this process ends if its parent does: what it waits for would never come, and it shares the parent's
/// files, such as locks.
fn orphan(plan: &mut Plan, command: &Command, streams: &Streams) {
    if command.die_with_parent {
        plan.push(die_with_parent());
    }
    plan.push(Step::internal("close", vec![streams.parent_end()]).because(
        "so that the line to the parent is at its end when the parent is, also if that was before",
    ));
}

/// Whoever changes its user changes this back.
fn die_with_parent() -> Step {
    let mut args = prctl_args("PR_SET_PDEATHSIG", libc::PR_SET_PDEATHSIG, 0);
    args[1] = Arg::flags(libc::SIGKILL as u64, "SIGKILL");
    Step::internal("prctl", args)
        .because("so that the container does not outlive the one who looks after it")
}

fn wait(plan: &mut Plan, streams: &Streams, why: &'static str) {
    let buffer = Arg::bytes([0], "…");
    plan.push(
        Step::internal("read", vec![streams.line(), buffer, Arg::Int(1)])
            .role(Role::Wait)
            .because(why),
    );
}

/// Enters existing namespaces; returns the index of the fork that makes a process inside of a joined PID namespace.
fn join(plan: &mut Plan, command: &Command, streams: &Streams) -> Result<Option<usize>> {
    for (namespace, fd) in &command.join {
        let (flag, name) = namespace.flag();
        plan.push(
            Step::internal(
                "setns",
                vec![Arg::Fd(Arc::clone(fd)), Arg::flags(flag, name)],
            )
            .because(format!(
                "so that the program shares that {namespace} namespace"
            )),
        );
    }
    let Some((pidfd, namespaces)) = command.enter.as_ref() else {
        keyring(plan);
        return Ok(None);
    };
    let (value, names) = namespace::flags(namespaces);
    plan.push(
        Step::internal(
            "setns",
            vec![Arg::Fd(Arc::clone(pidfd)), Arg::flags(value, names)],
        )
        .because("so that the program sees what the container's own process sees"),
    );
    if command.is_beside() {
        attributes::become_root(plan, command);
        // Ahead of a filter, which for a container denies it: keys are not the container's own.
        keyring(plan);
        // Whoever may trace this process in there could reach the host by any directory that it has open.
        standard_streams(plan, command, streams);
        close_files(plan, streams, None);
        attributes::limit(plan, command);
        credentials::shed(plan, command)?;
    } else {
        keyring(plan);
    }
    // With CLONE_PARENT the new process is a child of the parent's, like this one.
    let step = clone((libc::CLONE_PARENT, "CLONE_PARENT|SIGCHLD")).role(Role::Fork);
    Ok(Some(plan.push(step.because(
        "so that there is a process inside of the PID namespace: joining it moves only the children of the one that joins",
    ))))
}

fn keyring(plan: &mut Plan) {
    let join = Arg::flags(
        u64::from(libc::KEYCTL_JOIN_SESSION_KEYRING),
        "KEYCTL_JOIN_SESSION_KEYRING",
    );
    plan.push(
        Step::internal("keyctl", vec![join, Arg::Null])
            .tolerating(&[libc::ENOSYS, libc::EPERM, libc::EDQUOT])
            .because("so that the program has a keyring of its own, and not the one of whoever started it"),
    );
}

/// A process like this one; by clone(2), which is everywhere.
fn clone((flags, names): (i32, &'static str)) -> Step {
    let flags = Arg::flags((flags | libc::SIGCHLD) as u64, names);
    let null = || Arg::Null;
    Step::internal("clone", vec![flags, null(), null(), null(), Arg::Int(0)])
}

fn names(plan: &mut Plan, command: &Command) -> Result<()> {
    for (call, name, why) in [
        (
            "sethostname",
            &command.hostname,
            "so that the container has a host name of its own",
        ),
        (
            "setdomainname",
            &command.domainname,
            "so that the container has a domain name of its own",
        ),
    ] {
        if let Some(name) = name {
            let name = c_string(name.as_encoded_bytes())?;
            let length = name.count_bytes() as i64;
            plan.push(Step::internal(call, vec![Arg::Str(name), Arg::Int(length)]).because(why));
        }
    }
    Ok(())
}

fn standard_streams(plan: &mut Plan, command: &Command, streams: &Streams) {
    for (fd, (ready, stream)) in streams
        .standard
        .iter()
        .zip(["standard input", "standard output", "standard error"])
        .enumerate()
    {
        if let Some(source) = &ready.child {
            debug_assert!(source.as_raw_fd() > 2, "duplicates start at 3");
            plan.push(
                Step::internal(
                    "dup3",
                    vec![
                        Arg::Fd(Arc::clone(source)),
                        Arg::Int(fd as i64),
                        Arg::Int(0),
                    ],
                )
                .because(format!("so that the program has its {stream}")),
            );
        }
        let user = command
            .user
            .as_ref()
            .filter(|user| user.uid != 0 && ready.is_pipe);
        if let Some(user) = user {
            plan.push(
                Step::internal(
                    "fchown",
                    vec![
                        Arg::Int(fd as i64),
                        Arg::Int(i64::from(user.uid)),
                        Arg::Int(-1),
                    ],
                )
                .tolerating(&[libc::EPERM, libc::EINVAL, libc::EROFS])
                .because(format!(
                    "so that the program's user can open /dev/std* for its {stream}"
                )),
            );
        }
    }
}

fn signals(plan: &mut Plan, command: &Command, own_status: &str) {
    for (number, name) in ignored_signals(own_status) {
        let default = Arg::bytes([0; 32], "{sa_handler=SIG_DFL}");
        plan.push(
            Step::internal(
                "rt_sigaction",
                vec![Arg::flags(number, name), default, Arg::Null, Arg::Int(8)],
            )
            .because("so that the program does not inherit that its parent ignores this signal"),
        );
    }
    plan.push(if command.init {
        mask([u8::MAX; 8], "~[]")
            .because("so that no signal is lost before this process, as an init, looks for it")
    } else {
        mask([0; 8], "[]").because("so that the program starts with no signal blocked")
    });
}

fn mask(signals: [u8; 8], shown: &'static str) -> Step {
    let set = Arg::bytes(signals, shown);
    let how = Arg::flags(libc::SIG_SETMASK as u64, "SIG_SETMASK");
    Step::internal("rt_sigprocmask", vec![how, set, Arg::Null, Arg::Int(8)])
}

/// The signals that a process of this `status` (proc_pid_status(5)) ignores, and their names. Handlers do not reach the
/// child, but an ignored signal stays so through `clone3(2)` and `execve(2)`.
fn ignored_signals(status: &str) -> Vec<(u64, String)> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // Every Rust program ignores SIGPIPE; where the kernel does not tell, that much is known.
    let mask = mask.unwrap_or(1 << (libc::SIGPIPE - 1));
    let name = |number: u64| {
        let known = i32::try_from(number)
            .ok()
            .and_then(|number| Signal::try_from(number).ok());
        known.map_or_else(|| number.to_string(), |signal| signal.as_str().to_owned())
    };
    (1..=64)
        .filter(|number| mask >> (number - 1) & 1 == 1)
        .map(|number| (number, name(number)))
        .collect()
}

fn execute(plan: &mut Plan, command: &Command) -> Result<()> {
    let argv = std::iter::once(&command.program).chain(&command.args);
    let argv = Strings::new(argv.map(|arg| c_string(arg.as_encoded_bytes())))?;
    let environment = Strings::new(command.env.iter().map(|(name, value)| {
        c_string(&[name.as_encoded_bytes(), b"=", value.as_encoded_bytes()].concat())
    }))?;
    let (argv, environment) = (Arc::new(argv), Arc::new(environment));
    let candidates = command.candidates()?;
    let why = match candidates.len() {
        1 => "so that this process becomes the program",
        _ => {
            "so that this process becomes the program; where the file is missing, the next directory is tried"
        }
    };
    for path in candidates {
        let args = vec![
            Arg::Str(path),
            Arg::Strings(Arc::clone(&argv)),
            Arg::Strings(Arc::clone(&environment)),
        ];
        plan.push(
            Step::internal("execve", args)
                .role(Role::Exec)
                .tolerating(&[libc::ENOENT, libc::ENOTDIR, libc::EACCES])
                .because(why),
        );
    }
    Ok(())
}

fn umask(mask: u32) -> Step {
    Step::internal(
        "umask",
        vec![Arg::flags(u64::from(mask), format!("{mask:03o}"))],
    )
}

fn prctl(name: &'static str, option: i32, value: i64) -> Step {
    Step::internal("prctl", prctl_args(name, option, value))
}

fn prctl_args(name: &'static str, option: i32, value: i64) -> Vec<Arg> {
    let mut args = vec![Arg::flags(option as u64, name), Arg::Int(value)];
    args.resize(5, Arg::Int(0));
    args
}
