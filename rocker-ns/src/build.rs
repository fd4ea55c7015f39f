//! From what is asked for to the list of system calls.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use crate::command::{Command, c_string};
use crate::plan::Plan;
use crate::step::{Arg, Role, Step};
use crate::{Namespace, Result, namespace, stdio};

/// A plan, and where in it the things stand that the parent needs.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) plan: Plan,
    /// The step that opens the terminal's end for the parent.
    pub(crate) terminal: Option<usize>,
    /// The step at which an intermediate process makes the one that goes on.
    pub(crate) fork: Option<usize>,
}

/// The standard streams and the line to the parent, opened before the plan is made.
#[derive(Debug)]
pub(crate) struct Streams {
    pub(crate) standard: [stdio::Ready; 3],
    /// The child's end of the line to the parent; none in a plan that is only shown.
    pub(crate) line: Option<Arc<OwnedFd>>,
}

impl Streams {
    /// Opens what the command asks for.
    pub(crate) fn ready(command: &Command) -> Result<Self> {
        let standard = if command.terminal {
            Default::default()
        } else {
            [
                command.stdin.ready(true)?,
                command.stdout.ready(false)?,
                command.stderr.ready(false)?,
            ]
        };
        Ok(Self {
            standard,
            line: None,
        })
    }

    fn line(&self) -> Arg {
        match &self.line {
            Some(line) => Arg::Fd(Arc::clone(line)),
            None => Arg::flags(u64::MAX, "parent"),
        }
    }
}

/// Makes the plan of a command: the only place that knows the order of things.
pub(crate) fn build(command: &Command, streams: &Streams) -> Result<Built> {
    let mut plan = Plan::default();
    wait(
        &mut plan,
        streams,
        "so that the parent can put this process into its cgroup and map its ids first",
    );
    plan.push(prctl("PR_SET_DUMPABLE", libc::PR_SET_DUMPABLE, 0).because(
        "so that no process of the container can trace this one or open its files before it is one of them",
    ));
    let fork = join(&mut plan, command);
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
    plan.append(&command.setup);
    plan.push(umask(0o022).because("so that the program starts with the customary umask"));
    let terminal = if command.terminal {
        Some(terminal(&mut plan, command)?)
    } else {
        None
    };
    standard_streams(&mut plan, streams);
    signals(&mut plan);
    directory(&mut plan, command)?;
    credentials(&mut plan, command);
    plan.push(
        Step::internal(
            "close_range",
            vec![
                Arg::Int(3),
                Arg::flags(u64::from(u32::MAX), "~0U"),
                Arg::flags(u64::from(libc::CLOSE_RANGE_CLOEXEC), "CLOSE_RANGE_CLOEXEC"),
            ],
        )
        .because("so that no file but the standard streams stays open in the program"),
    );
    plan.push(
        Step::internal(
            "write",
            vec![
                streams.line(),
                Arg::Bytes {
                    bytes: b"R".to_vec(),
                    shown: "\"R\"".into(),
                },
                Arg::Int(1),
            ],
        )
        .because("so that the parent knows that all is set up"),
    );
    wait(
        &mut plan,
        streams,
        "so that the parent can finish what concerns the outside, such as the network",
    );
    execute(&mut plan, command)?;
    Ok(Built {
        plan,
        terminal,
        fork,
    })
}

fn wait(plan: &mut Plan, streams: &Streams, why: &'static str) {
    let buffer = Arg::Bytes {
        bytes: vec![0],
        shown: "…".into(),
    };
    plan.push(
        Step::internal("read", vec![streams.line(), buffer, Arg::Int(1)])
            .role(Role::Wait)
            .because(why),
    );
}

/// Enters existing namespaces; returns the index of the fork that makes a process inside of a joined PID namespace.
fn join(plan: &mut Plan, command: &Command) -> Option<usize> {
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
    let (pidfd, namespaces) = command.enter.as_ref()?;
    let (value, names) = namespace::flags(namespaces);
    plan.push(
        Step::internal(
            "setns",
            vec![Arg::Fd(Arc::clone(pidfd)), Arg::flags(value, names)],
        )
        .because("so that the program sees what the container's own process sees"),
    );
    // struct clone_args: eleven 64-bit words, flags first. With CLONE_PARENT the exit signal is that of the caller.
    let mut bytes = (libc::CLONE_PARENT as u64).to_ne_bytes().to_vec();
    bytes.resize(88, 0);
    let args = Arg::Bytes {
        bytes,
        shown: "{flags=CLONE_PARENT}".into(),
    };
    Some(plan.push(Step::internal("clone3", vec![args, Arg::Int(88)]).role(Role::Fork).because(
        "so that there is a process inside of the PID namespace: joining it moves only the children of the one that joins",
    )))
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
            let length = name.as_bytes().len() as i64;
            plan.push(Step::internal(call, vec![Arg::Str(name), Arg::Int(length)]).because(why));
        }
    }
    Ok(())
}

/// A terminal of the container's own devpts. Returns the step whose result is the end for the parent.
fn terminal(plan: &mut Plan, command: &Command) -> Result<usize> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    let flags = Arg::flags(flags as u64, "O_RDWR|O_NOCTTY|O_CLOEXEC");
    let master = plan.push(
        Step::internal(
            "openat",
            vec![
                Arg::Cwd,
                Arg::string("/dev/pts/ptmx")?,
                flags.clone(),
                Arg::Int(0),
            ],
        )
        .because("so that the container gets a terminal out of its own devpts; this end is for the parent"),
    );
    let unlock = Arg::Bytes {
        bytes: vec![0; 4],
        shown: "[0]".into(),
    };
    plan.push(
        Step::internal(
            "ioctl",
            vec![
                Arg::Result(master),
                Arg::flags(libc::TIOCSPTLCK, "TIOCSPTLCK"),
                unlock,
            ],
        )
        .because("so that the other end may be opened"),
    );
    let slave = plan.push(
        Step::internal(
            "ioctl",
            vec![
                Arg::Result(master),
                Arg::flags(libc::TIOCGPTPEER, "TIOCGPTPEER"),
                flags,
            ],
        )
        .because("so that the other end is opened without a path that somebody could exchange"),
    );
    if let Some(user) = command.user.as_ref().filter(|user| user.uid != 0) {
        plan.push(
            Step::internal(
                "fchown",
                vec![
                    Arg::Result(slave),
                    Arg::Int(i64::from(user.uid)),
                    Arg::Int(-1),
                ],
            )
            .because("so that the terminal belongs to the program's user"),
        );
    }
    plan.push(
        Step::internal(
            "ioctl",
            vec![
                Arg::Result(slave),
                Arg::flags(libc::TIOCSCTTY, "TIOCSCTTY"),
                Arg::Int(0),
            ],
        )
        .because("so that Ctrl-C and job control work: it is the session's controlling terminal"),
    );
    if !command.setup.is_empty() {
        console(plan, slave)?;
    }
    for (fd, stream) in ["standard input", "standard output", "standard error"]
        .into_iter()
        .enumerate()
    {
        plan.push(
            Step::internal(
                "dup3",
                vec![Arg::Result(slave), Arg::Int(fd as i64), Arg::Int(0)],
            )
            .because(format!("so that the terminal is the program's {stream}")),
        );
    }
    Ok(master)
}

/// Binds the terminal to `/dev/console`, by descriptor.
fn console(plan: &mut Plan, slave: usize) -> Result<()> {
    let mode = Arg::flags(u64::from(libc::S_IFREG | 0o600), "S_IFREG|0600");
    plan.push(
        Step::internal(
            "mknodat",
            vec![Arg::Cwd, Arg::string("/dev/console")?, mode, Arg::Int(0)],
        )
        .tolerating(&[libc::EEXIST])
        .because("so that there is a file to bind the console to"),
    );
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_EMPTY_PATH as u32;
    let tree = plan.push(
        Step::internal(
            "open_tree",
            vec![
                Arg::Result(slave),
                Arg::string("")?,
                Arg::flags(
                    u64::from(flags),
                    "OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC|AT_EMPTY_PATH",
                ),
            ],
        )
        .because("so that the terminal can be mounted"),
    );
    plan.push(
        Step::internal(
            "move_mount",
            vec![
                Arg::Result(tree),
                Arg::string("")?,
                Arg::Cwd,
                Arg::string("/dev/console")?,
                Arg::flags(
                    u64::from(libc::MOVE_MOUNT_F_EMPTY_PATH),
                    "MOVE_MOUNT_F_EMPTY_PATH",
                ),
            ],
        )
        .because("so that programs that write to the console reach the terminal"),
    );
    Ok(())
}

fn standard_streams(plan: &mut Plan, streams: &Streams) {
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
    }
}

fn signals(plan: &mut Plan) {
    plan.push(
        Step::internal(
            "rt_sigaction",
            vec![
                Arg::flags(libc::SIGPIPE as u64, "SIGPIPE"),
                Arg::Bytes {
                    bytes: vec![0; 32],
                    shown: "{sa_handler=SIG_DFL}".into(),
                },
                Arg::Null,
                Arg::Int(8),
            ],
        )
        .because("so that the program does not inherit that Rust programs ignore broken pipes"),
    );
    plan.push(
        Step::internal(
            "rt_sigprocmask",
            vec![
                Arg::flags(libc::SIG_SETMASK as u64, "SIG_SETMASK"),
                Arg::Bytes {
                    bytes: vec![0; 8],
                    shown: "[]".into(),
                },
                Arg::Null,
                Arg::Int(8),
            ],
        )
        .because("so that the program starts with no signal blocked"),
    );
}

fn directory(plan: &mut Plan, command: &Command) -> Result<()> {
    let Some(dir) = &command.current_dir else {
        return Ok(());
    };
    // struct open_how: flags, mode, resolve.
    let flags = (libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC) as u64;
    let bytes = [flags, 0, libc::RESOLVE_NO_MAGICLINKS]
        .map(u64::to_ne_bytes)
        .concat();
    let how = Arg::Bytes {
        bytes,
        shown: "{flags=O_PATH|O_DIRECTORY|O_CLOEXEC, resolve=RESOLVE_NO_MAGICLINKS}".into(),
    };
    let path = Arg::Str(c_string(dir.as_os_str().as_encoded_bytes())?);
    let opened = plan.push(
        Step::internal("openat2", vec![Arg::Cwd, path, how, Arg::Int(24)]).because(
            "so that the working directory is one of the container's own, not one behind a leaked file",
        ),
    );
    plan.push(
        Step::internal("fchdir", vec![Arg::Result(opened)])
            .because("so that the program starts in its working directory"),
    );
    Ok(())
}

/// Gives up privileges, in the only order that works: each step needs what the next one takes away.
fn credentials(plan: &mut Plan, command: &Command) {
    if let Some(capabilities) = command.capabilities {
        for (number, name) in capabilities.missing() {
            let mut args = prctl_args("PR_CAPBSET_DROP", libc::PR_CAPBSET_DROP, 0);
            args[1] = Arg::flags(u64::from(number), name);
            plan.push(
                Step::internal("prctl", args)
                    .tolerating(&[libc::EINVAL]) // a capability that this kernel does not know
                    .because("so that no program of the container can ever gain this capability"),
            );
        }
    }
    if let Some(user) = &command.user {
        let bytes = user
            .groups
            .iter()
            .flat_map(|group| group.to_ne_bytes())
            .collect();
        let list = Arg::Bytes {
            bytes,
            shown: format!("{:?}", user.groups).into(),
        };
        plan.push(
            Step::internal("setgroups", vec![Arg::Int(user.groups.len() as i64), list])
                .because("so that the program has its user's groups and none of the caller's"),
        );
        for (call, id, what) in [
            ("setresgid", user.gid, "group"),
            ("setresuid", user.uid, "user"),
        ] {
            plan.push(
                Step::internal(call, vec![Arg::Int(i64::from(id)); 3]).because(format!(
                    "so that the program runs as its {what}, with no way back"
                )),
            );
        }
    }
    if let Some(capabilities) = command.capabilities {
        let root = command.user.as_ref().is_none_or(|user| user.uid == 0);
        let held = if root { capabilities.bits() } else { 0 };
        let (low, high) = (held as u32, (held >> 32) as u32);
        // struct __user_cap_header_struct (version 3, this process), and twice effective, permitted, inheritable.
        let header = [0x2008_0522_u32, 0].map(u32::to_ne_bytes).concat();
        let data = [low, low, 0, high, high, 0].map(u32::to_ne_bytes).concat();
        let shown = format!("{{effective={held:#x}, permitted={held:#x}, inheritable=0}}");
        plan.push(
            Step::internal(
                "capset",
                vec![
                    Arg::Bytes {
                        bytes: header,
                        shown: "{version=_LINUX_CAPABILITY_VERSION_3, pid=0}".into(),
                    },
                    Arg::Bytes {
                        bytes: data,
                        shown: shown.into(),
                    },
                ],
            )
            .because("so that the program holds the container's capabilities and no others"),
        );
    }
    if command.no_new_privileges {
        plan.push(
            prctl("PR_SET_NO_NEW_PRIVS", libc::PR_SET_NO_NEW_PRIVS, 1)
                .because("so that setuid programs give nobody new privileges"),
        );
    }
    if command.die_with_parent {
        // After the change of user, which would reset it.
        let mut args = prctl_args("PR_SET_PDEATHSIG", libc::PR_SET_PDEATHSIG, 0);
        args[1] = Arg::flags(libc::SIGKILL as u64, "SIGKILL");
        plan.push(
            Step::internal("prctl", args)
                .because("so that the container does not outlive the one who looks after it"),
        );
    }
}

fn execute(plan: &mut Plan, command: &Command) -> Result<()> {
    let argv = std::iter::once(&command.program).chain(&command.args);
    let argv = argv
        .map(|arg| c_string(arg.as_encoded_bytes()))
        .collect::<Result<Vec<_>>>()?;
    let mut environment = Vec::new();
    for (name, value) in &command.env {
        environment.push(c_string(
            &[name.as_encoded_bytes(), b"=", value.as_encoded_bytes()].concat(),
        )?);
    }
    for path in command.candidates()? {
        let args = vec![
            Arg::Str(path),
            Arg::Strings(argv.clone()),
            Arg::Strings(environment.clone()),
        ];
        plan.push(
            Step::internal("execve", args)
                .role(Role::Exec)
                .tolerating(&[libc::ENOENT, libc::ENOTDIR, libc::EACCES])
                .because("so that this process becomes the program; where the file is missing, the next directory is tried"),
        );
    }
    Ok(())
}

fn umask(mask: u32) -> Step {
    Step::internal(
        "umask",
        vec![Arg::flags(
            u64::from(mask),
            format!("{mask:#05o}").replace("0o", "0"),
        )],
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
