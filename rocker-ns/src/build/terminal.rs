//! The steps that give the program a terminal of its own.

use crate::Result;
use crate::command::Command;
use crate::plan::Plan;
use crate::step::{Arg, Step};

/// A terminal of the container's own devpts. Returns the step whose result is the end for the parent. With `has_setup` the
/// root file system is the program's own, and the terminal its console too.
pub(super) fn open(plan: &mut Plan, command: &Command, has_setup: bool) -> Result<usize> {
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
    let unlock = Arg::bytes([0; 4], "[0]");
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
    if !command.init {
        plan.push(control(Arg::Result(slave)));
    }
    if has_setup {
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

/// Makes a terminal that of this process's session.
pub(super) fn control(terminal: Arg) -> Step {
    let request = Arg::flags(libc::TIOCSCTTY, "TIOCSCTTY");
    Step::internal("ioctl", vec![terminal, request, Arg::Int(0)])
        .because("so that Ctrl-C and job control work: it is the session's controlling terminal")
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
