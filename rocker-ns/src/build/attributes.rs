//! The steps that give the process its attributes: how the kernel treats it beside its privileges.

use super::prctl_args;
use crate::command::{Command, c_string};
use crate::plan::Plan;
use crate::step::{Arg, Step};
use crate::{Namespace, Result, lsm};

/// What the process says of itself to the kernel by files of `/proc`: while that is still the host's.
pub(super) fn declare(plan: &mut Plan, command: &Command) -> Result<()> {
    // In a new user namespace this process has lost the privilege: its parent does it.
    let adjustment = command.oom_score_adj;
    if let Some(adjustment) = adjustment.filter(|_| !command.unshare.contains(&Namespace::User)) {
        let why = "so that the kernel knows how readily to kill the program when memory runs out";
        write(
            plan,
            "/proc/self/oom_score_adj",
            adjustment.to_string(),
            why,
        )?;
    }
    if let Some(profile) = &command.apparmor_profile {
        let why = "so that the program runs under its AppArmor profile";
        write(plan, lsm::apparmor_file()?, format!("exec {profile}"), why)?;
    }
    if let Some(label) = &command.selinux_label {
        let why = "so that the program runs under its SELinux label";
        write(plan, lsm::selinux_file()?, label.clone(), why)?;
    }
    Ok(())
}

fn write(plan: &mut Plan, path: &str, text: String, why: &'static str) -> Result<()> {
    let flags = Arg::flags(
        (libc::O_WRONLY | libc::O_CLOEXEC) as u64,
        "O_WRONLY|O_CLOEXEC",
    );
    let args = vec![
        Arg::Cwd,
        Arg::Str(c_string(path.as_bytes())?),
        flags,
        Arg::Int(0),
    ];
    let file = plan.push(Step::internal("openat", args).because(why));
    let shown = format!("{text:?}");
    let length = Arg::Int(text.len() as i64);
    let text = Arg::bytes(text.into_bytes(), shown);
    let args = vec![Arg::Result(file), text, length];
    plan.push(Step::internal("write", args).because(why));
    let close = Step::internal("close", vec![Arg::Result(file)]);
    plan.push(close.because("so that the file is not in the way of later ones"));
    Ok(())
}

/// Whoever may raise them does it here: the privilege goes soon.
pub(super) fn limit(plan: &mut Plan, command: &Command) {
    for limit in &command.rlimits {
        let bytes = [limit.soft, limit.hard].map(u64::to_ne_bytes).concat();
        let number = |limit: u64| match limit {
            u64::MAX => "RLIM64_INFINITY".to_owned(),
            limit => limit.to_string(),
        };
        let (soft, hard) = (number(limit.soft), number(limit.hard));
        let shown = format!("{{rlim_cur={soft}, rlim_max={hard}}}");
        let resource = Arg::flags(u64::from(limit.number()), limit.constant());
        let new = Arg::bytes(bytes, shown);
        let args = vec![Arg::Int(0), resource, new, Arg::Null];
        plan.push(Step::internal("prlimit64", args).because(format!(
            "so that the program has its limit of {}",
            limit.name()
        )));
    }
}

/// Makes the process root of a user namespace that it is new in, and whose ids are mapped by now: what it makes from here
/// on belongs to somebody who is known in there.
pub(super) fn become_root(plan: &mut Plan, command: &Command) {
    let new = command.unshare.contains(&Namespace::User)
        && command.uid_map.iter().any(|map| map.inside == 0)
        && command.gid_map.iter().any(|map| map.inside == 0);
    let entered = command.enter.as_ref();
    let entered = entered.is_some_and(|(_, kinds)| kinds.contains(&Namespace::User));
    if !new && !entered {
        return;
    }
    for (call, what) in [("setresgid", "group"), ("setresuid", "user")] {
        plan.push(Step::internal(call, vec![Arg::Int(0); 3]).because(format!(
            "so that this process is of a {what} that its user namespace knows"
        )));
    }
    if command.die_with_parent {
        // The change of user has undone the first.
        plan.push(super::die_with_parent());
    }
}

/// Keeps others from tracing the process, and from opening its files, until its program runs.
pub(super) fn hide(plan: &mut Plan) {
    let mut args = prctl_args("PR_SET_DUMPABLE", libc::PR_SET_DUMPABLE, 0);
    args[1] = Arg::flags(0, "SUID_DUMP_DISABLE");
    plan.push(Step::internal("prctl", args).because(
        "so that no process of the container can trace this one or open its files before it is one of them",
    ));
}
