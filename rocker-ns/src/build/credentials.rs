//! The steps by which the program becomes its user, with the privileges that are left to it.

use super::{die_with_parent, prctl, prctl_args};
use crate::command::Command;
use crate::plan::Plan;
use crate::step::{Arg, Step};
use crate::{Capabilities, Result};

/// Gives up privileges, in the only order that works: each step needs what the next one takes away.
pub(super) fn change(plan: &mut Plan, command: &Command) {
    if let Some(capabilities) = command.capabilities.filter(|_| !command.is_beside()) {
        bound(plan, capabilities);
    }
    if let Some(user) = &command.user {
        let groups = user.groups.iter().flat_map(|group| group.to_ne_bytes());
        let list = Arg::bytes(groups.collect::<Vec<_>>(), format!("{:?}", user.groups));
        plan.push(
            Step::internal("setgroups", vec![Arg::Int(user.groups.len() as i64), list])
                .tolerating(match command.keeps_groups() {
                    true => &[libc::EPERM][..],
                    false => &[],
                })
                .because("so that the program has its user's groups and none of the caller's"),
        );
        plan.push(change_id("setresgid", user.gid, "group"));
    }
    if !command.no_new_privileges && !command.is_beside() {
        // The last moment: what follows may take CAP_SYS_ADMIN away.
        filter(plan, command);
    }
    if let Some(user) = &command.user {
        plan.push(change_id("setresuid", user.uid, "user"));
    }
    if let Some(capabilities) = command.capabilities {
        let root = command.user.as_ref().is_none_or(|user| user.uid == 0);
        let held = if root {
            capabilities
        } else {
            Capabilities::NONE
        };
        plan.push(
            capset(held)
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
        // Once more, since the change of user has undone the first.
        plan.push(die_with_parent());
    }
    if command.no_new_privileges {
        filter(plan, command);
    }
}

fn change_id(call: &'static str, id: u32, what: &str) -> Step {
    Step::internal(call, vec![Arg::Int(i64::from(id)); 3]).because(format!(
        "so that the program runs as its {what}, with no way back"
    ))
}

/// Loads the filter of system calls. It takes CAP_SYS_ADMIN or `no_new_privileges`, and all later steps are under it.
fn filter(plan: &mut Plan, command: &Command) {
    let Some(filter) = &command.seccomp else {
        return;
    };
    let mode = Arg::flags(
        u64::from(libc::SECCOMP_SET_MODE_FILTER),
        "SECCOMP_SET_MODE_FILTER",
    );
    let (flags, names) = filter.flags();
    let args = vec![
        mode,
        Arg::flags(u64::from(flags), names),
        Arg::Filter(filter.clone()),
    ];
    plan.push(
        Step::internal("seccomp", args).because(
            "so that the program can make no system call but those that its profile allows",
        ),
    );
}

/// What the last steps of a process need that enters a container: to change its groups, and where it becomes another user than root, that
/// user, and to give that user its streams.
fn for_last_steps(command: &Command) -> Vec<&'static str> {
    match &command.user {
        None => Vec::new(),
        Some(user) if user.uid == 0 => vec!["SETGID"],
        Some(_) => vec!["SETGID", "SETUID", "CHOWN"],
    }
}

/// Gives up, before a process shows itself in a container that it enters, what the program is not to have: from then on
/// it can be traced by whoever has CAP_SYS_PTRACE in there.
pub(super) fn shed(plan: &mut Plan, command: &Command) -> Result<()> {
    if !command.no_new_privileges {
        // CAP_SYS_ADMIN goes with the next steps, and nobody may find it in this process later.
        filter(plan, command);
    }
    let Some(capabilities) = command.capabilities else {
        return Ok(());
    };
    bound(plan, capabilities);
    let held = for_last_steps(command)
        .into_iter()
        .try_fold(capabilities, Capabilities::with)?;
    plan.push(capset(held).because(
        "so that nobody in the container, who might trace this process, gets more from it than the program will have, and what makes it \
         its user",
    ));
    Ok(())
}

/// Takes all but `capabilities` out of the bounding set.
fn bound(plan: &mut Plan, capabilities: Capabilities) {
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

fn capset(held: Capabilities) -> Step {
    let held = held.bits();
    let (low, high) = (held as u32, (held >> 32) as u32);
    // struct __user_cap_header_struct (version 3, this process), and twice effective, permitted, inheritable.
    let header = [0x2008_0522_u32, 0].map(u32::to_ne_bytes).concat();
    let data = [low, low, 0, high, high, 0].map(u32::to_ne_bytes).concat();
    let shown = format!("{{effective={held:#x}, permitted={held:#x}, inheritable=0}}");
    let header = Arg::bytes(header, "{version=_LINUX_CAPABILITY_VERSION_3, pid=0}");
    Step::internal("capset", vec![header, Arg::bytes(data, shown)])
}
