//! Plans are data: what a command would do is known without doing it, and without privileges.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use rocker_ns::{Capabilities, Command, Namespace, Seccomp, SeccompAction, User};

/// The calls of the plan, but for those that depend on which signals whoever started the tests ignores.
fn calls(command: &Command) -> Vec<String> {
    let plan = command.plan().unwrap();
    let calls = plan.steps().iter().map(ToString::to_string);
    calls
        .filter(|call| !call.starts_with("rt_sigaction"))
        .collect()
}

#[test]
fn the_plan_of_a_small_command_is_these_calls() {
    let mut command = Command::new("/bin/true");
    command
        .arg("x")
        .env("A", "b")
        .unshare([Namespace::Uts, Namespace::Cgroup])
        .hostname("inner")
        .current_dir("/tmp");
    let plan = command.plan().unwrap();
    let opened = plan
        .steps()
        .iter()
        .position(|step| step.call() == "openat2")
        .unwrap();
    let expected = [
        "close(<parent's end>)",
        "read(<parent>, …, 1)",
        "prctl(PR_SET_DUMPABLE, SUID_DUMP_DISABLE, 0, 0, 0)",
        "keyctl(KEYCTL_JOIN_SESSION_KEYRING, NULL)",
        "setsid()",
        "unshare(CLONE_NEWCGROUP)",
        r#"sethostname("inner", 5)"#,
        "umask(000)",
        "umask(022)",
        "rt_sigprocmask(SIG_SETMASK, [], NULL, 8)",
        r#"openat2(AT_FDCWD, "/tmp", {flags=O_PATH|O_DIRECTORY|O_CLOEXEC, resolve=RESOLVE_NO_MAGICLINKS}, 24)"#,
        &format!("fchdir(<{opened}>)"),
        "getcwd(…, 4096)",
        "close_range(3, <parent - 1>, 0)",
        "close_range(<parent + 1>, ~0U, 0)",
        r#"write(<parent>, "R", 1)"#,
        "read(<parent>, …, 1)",
        r#"execve("/bin/true", ["/bin/true", "x"], ["A=b"])"#,
    ];
    assert_eq!(calls(&command), expected);
}

#[test]
fn privileges_are_given_up_in_the_only_order_that_works() {
    let mut command = Command::new("/bin/true");
    let user = User::resolve("1000:7", b"", b"").unwrap();
    command
        .capabilities(Capabilities::container_default())
        .user(user)
        .no_new_privileges(true)
        .die_with_parent(true);
    let calls = calls(&command);
    let place = |start: &str| {
        calls
            .iter()
            .rposition(|call| call.starts_with(start))
            .unwrap_or_else(|| panic!("{start} in {calls:#?}"))
    };
    let order = [
        "close_range(",
        "prctl(PR_CAPBSET_DROP",
        "setgroups(1, [7])",
        "setresgid(7, 7, 7)",
        "setresuid(1000, 1000, 1000)",
        "capset({version=_LINUX_CAPABILITY_VERSION_3, pid=0}, {effective=0x0, permitted=0x0, inheritable=0})",
        "prctl(PR_SET_NO_NEW_PRIVS, 1",
        "prctl(PR_SET_PDEATHSIG, SIGKILL",
        "execve(",
    ];
    assert!(order.map(place).is_sorted(), "{calls:#?}");
    assert!(
        !calls
            .iter()
            .any(|call| call.contains("PR_CAPBSET_DROP, CAP_CHOWN"))
    );
}

#[test]
fn a_filter_is_loaded_while_it_may_be_and_no_sooner() {
    let user = User::resolve("1000:7", b"", b"").unwrap();
    let filter = Seccomp::new(SeccompAction::Allow).compile().unwrap();
    let length = filter.len();
    let mut command = Command::new("/bin/true");
    command
        .capabilities(Capabilities::container_default())
        .user(user)
        .die_with_parent(true)
        .seccomp(filter);
    let load = format!("seccomp(SECCOMP_SET_MODE_FILTER, 0, {{len={length}, filter=…}})");
    let around = |command: &Command| {
        let calls = calls(command);
        let place = calls.iter().position(|call| *call == load);
        let place = place.unwrap_or_else(|| panic!("{load} in {calls:#?}"));
        let name = |call: &String| call.split(['(', ',']).take(2).collect::<Vec<_>>().join(" ");
        [name(&calls[place - 1]), name(&calls[place + 1])]
    };
    // It takes CAP_SYS_ADMIN, which goes with the user.
    assert_eq!(around(&command), ["setresgid 7", "setresuid 1000"]);
    let own = || std::fs::File::open("/proc/self/status").unwrap();
    // Who enters a container has it no longer than until the container can see that.
    command.enter(own(), [Namespace::Mount]);
    let expected = ["close_range <parent + 1>", "prctl PR_CAPBSET_DROP"];
    assert_eq!(around(&command), expected);
    command.no_new_privileges(true);
    assert_eq!(
        around(&command),
        ["prctl PR_SET_PDEATHSIG", "write <parent>"]
    );
}

#[test]
fn every_step_says_what_it_is_for() {
    let mut command = Command::new("sh");
    command
        .unshare(Namespace::ALL)
        .hostname("x")
        .domainname("y")
        .terminal(true)
        .capabilities(Capabilities::NONE)
        .seccomp(Seccomp::new(SeccompAction::Allow).compile().unwrap());
    for step in command.plan().unwrap().steps() {
        assert!(
            step.why().starts_with("so that "),
            "{step}: {:?}",
            step.why()
        );
    }
}

#[test]
fn a_name_is_tried_in_each_directory_of_the_path() {
    let mut command = Command::new("prog");
    command.env("PATH", "/a::/b");
    let tried: Vec<_> = calls(&command)
        .into_iter()
        .filter(|call| call.starts_with("execve"))
        .collect();
    assert_eq!(
        tried,
        ["/a/prog", "./prog", "/b/prog"]
            .map(|path| format!(r#"execve("{path}", ["prog"], ["PATH=/a::/b"])"#))
    );
}
