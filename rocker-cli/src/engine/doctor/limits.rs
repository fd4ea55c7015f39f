//! How many of each thing there may be.

use super::Check;
use crate::advice::{self, Advice};
use crate::engine::host::Host;

/// A run with many volumes needs this many open files; a plain one some 40.
const FILES: u64 = 64;

pub(super) fn checks(host: &Host) -> Vec<Check> {
    vec![
        open_files(host),
        all_files(host),
        namespaces(host),
        users(host),
    ]
}

fn open_files(host: &Host) -> Check {
    let name = "open files";
    let Some(files) = host.open_files() else {
        return Check::note(name, "not known without /proc/self/limits");
    };
    let found = format!("{} of {} in use by this process", files.now, files.limit);
    if files.limit.saturating_sub(files.now) >= FILES {
        return Check::ok(name, found);
    }
    let few = Advice::new(
        format!("a run needs some 40 of its own, and {FILES} with volumes"),
        "raise the limit: ulimit -n 1024",
    );
    Check::problem(name, found, Some(few))
}

fn all_files(host: &Host) -> Check {
    let name = "files of all";
    match host.all_files() {
        Some(files) if files.limit.saturating_sub(files.now) < FILES => Check::problem(
            name,
            format!("{} of {} open on the machine", files.now, files.limit),
            Some(Advice::new(
                "other programs hold nearly all that there may be",
                "end what holds them, or raise the limit: sysctl fs.file-max",
            )),
        ),
        Some(files) => Check::ok(name, format!("{} open on the machine", files.now)),
        None => Check::note(name, "not known without /proc/sys/fs/file-nr"),
    }
}

fn namespaces(host: &Host) -> Check {
    let name = "namespace limits";
    match host.forbidden_namespaces().as_slice() {
        [] => Check::ok(name, "some of each kind are allowed"),
        kinds => Check::problem(
            name,
            format!("none allowed: {}", kinds.join(", ")),
            Some(advice::no_namespaces(host)),
        ),
    }
}

/// rocker makes user namespaces for nobody yet; ordinary users would need them.
fn users(host: &Host) -> Check {
    let name = "user namespaces";
    match host.user_namespaces_barred_by() {
        None => Check::ok(name, "allowed for ordinary users; a run as root needs none"),
        Some(setting) => Check {
            advice: Some(advice::no_user_namespace(host)),
            ..Check::note(name, format!("{setting}; a run as root needs none"))
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::doctor::Health;
    use crate::engine::host::tests::with;

    #[test]
    fn a_limit_that_is_reached_is_a_problem_with_a_remedy() {
        let (_dir, host) = with(&[
            ("self/limits", "Max open files   20   4096   files\n"),
            ("sys/fs/file-nr", "99\t0\t100\n"),
            ("sys/user/max_net_namespaces", "0\n"),
            ("sys/user/max_user_namespaces", "0\n"),
        ]);
        let checks = checks(&host);
        let health: Vec<_> = checks.iter().map(|check| check.health).collect();
        let (problem, note) = (Health::Problem, Health::Note);
        assert_eq!(health, [problem, problem, problem, note]);
        for (check, remedy) in checks
            .iter()
            .zip(["ulimit", "file-max", "max_net", "max_user"])
        {
            let advice = check.advice.as_ref().unwrap();
            assert!(advice.remedy.contains(remedy), "{advice:?}");
        }
    }
}
