//! The crate on the real kernel, on whichever layout of cgroups this machine has: v1, v2 or hybrid.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test panics and prints, also in its helper functions"
)]

#[path = "../../tests/fake_host/mod.rs"]
mod fake_host;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rocker_cgroup::{Applied, Cgroup, Compat, CpuQuota, Error, Hierarchy, Limits, Max, Version};

const MIB: u64 = 1 << 20;
/// Generous, since a virtual machine without hardware support is some 50 times slower.
const LONG: Duration = Duration::from_secs(60);
/// Says to a copy of this test binary which part it plays.
const ROLE: &str = "ROCKER_TEST_ROLE";

/// How many times longer things may take, on a machine that says so.
fn slower() -> u32 {
    match std::env::var_os("ROCKER_TEST_LONG") {
        Some(_) => 20,
        None => 1,
    }
}

fn hierarchy() -> Hierarchy {
    Hierarchy::detect().expect("the fake host has cgroups")
}

#[track_caller]
fn create(name: &str, limits: &Limits) -> Cgroup {
    let (cgroup, applied) =
        Cgroup::create(&hierarchy(), "rocker", name, limits, Compat::Require).unwrap();
    assert!(applied.skipped.is_empty());
    cgroup
}

/// Starts a command that waits for a line on its standard input, moves it into the cgroup, and lets it go.
fn run_in(cgroup: &Cgroup, command: &mut Command) -> Child {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    cgroup.add(child.id()).unwrap();
    writeln!(child.stdin.take().unwrap(), "go").unwrap();
    child
}

/// A shell script in the cgroup.
fn sh_in(cgroup: &Cgroup, script: &str) -> Child {
    run_in(
        cgroup,
        Command::new("sh")
            .args(["-c", &format!("read line; {script}")])
            .stderr(Stdio::null()),
    )
}

/// Waits for the end of a process; its parent has to, or it stays as a zombie.
fn finish(mut child: Child) -> ExitStatus {
    child.wait().unwrap()
}

#[test]
fn the_layout_is_what_the_machine_declares() {
    fake_host::run(|_| {
        let version = hierarchy().version();
        assert!(
            version != Version::V2 || !fake_host::expected("cgroup1"),
            "only cgroup v2 is mounted"
        );
        assert!(
            version == Version::V2 || !fake_host::expected("cgroup2"),
            "cgroup v1 is mounted: {version:?}"
        );
        let cgroup = create("layout", &Limits::default());
        assert_eq!(cgroup.as_fd().is_some(), version != Version::V1);
        assert_eq!(
            cgroup.paths().len(),
            hierarchy().mounts_for_container().len()
        );
        cgroup.remove().unwrap();
    });
}

#[test]
fn a_process_over_its_memory_limit_is_killed_and_one_below_lives() {
    fake_host::run(|host| {
        let before = host.state();
        let cgroup = create("memory", &Limits::default().memory_bytes(32 * MIB));
        let dd = |size| {
            sh_in(
                &cgroup,
                &format!("exec dd if=/dev/zero of=/dev/null bs={size} count=1"),
            )
        };
        assert!(finish(dd("8M")).success());
        assert_eq!(cgroup.oom_kills().unwrap(), 0);
        assert_eq!(finish(dd("100M")).signal(), Some(9));
        assert_eq!(cgroup.oom_kills().unwrap(), 1);
        cgroup.remove().unwrap();
        assert_eq!(host.state(), before);
    });
}

#[test]
fn a_fork_beyond_the_pids_limit_fails_with_eagain() {
    if std::env::var_os(ROLE).is_some() {
        return fork_until_refused();
    }
    fake_host::run(|_| {
        let cgroup = create("pids", &Limits::default().pids(20_u64));
        let this = std::env::current_exe().unwrap();
        let mut child = run_in(
            &cgroup,
            Command::new(this)
                .args([
                    "a_fork_beyond_the_pids_limit_fails_with_eagain",
                    "--exact",
                    "--nocapture",
                ])
                .env(ROLE, "forker")
                .stdout(Stdio::piped()),
        );
        let mut said = String::new();
        child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        assert!(finish(child).success(), "{said}");
        // EAGAIN is 11 on every architecture that Rust's standard library knows but MIPS and SPARC.
        assert!(said.contains("refused with 11"), "{said}");
        cgroup.remove().unwrap();
    });
}

fn fork_until_refused() {
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let mut children: Vec<Child> = Vec::new();
    let error = loop {
        match Command::new("sleep")
            .arg("1000")
            .stdout(Stdio::null())
            .spawn()
        {
            Ok(child) => children.push(child),
            Err(error) => break error,
        }
        assert!(children.len() < 20, "the limit of 20 does not hold");
    };
    println!("refused with {}", error.raw_os_error().unwrap());
    for mut child in children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn half_a_cpu_measures_as_half_a_cpu() {
    fake_host::run(|_| {
        let cgroup = create(
            "cpu",
            &Limits::default().cpu(CpuQuota::from_cpus(0.5).unwrap()),
        );
        let child = sh_in(&cgroup, "while :; do :; done");
        let used = || cgroup.stats().unwrap().cpu_usage.unwrap();
        // On a busy machine it may get less than it is allowed, but never more.
        let mut shares = Vec::new();
        for _ in 0..10 {
            let (start, before) = (Instant::now(), used());
            thread::sleep(Duration::from_millis(1500));
            let share = (used() - before).as_secs_f64() / start.elapsed().as_secs_f64();
            assert!(share < 0.65, "{share} of a CPU, where 0.5 is allowed");
            shares.push(share);
            if share > 0.35 {
                break;
            }
        }
        println!("measured, of 0.5 CPUs: {shares:?}");
        assert!(shares.iter().any(|share| *share > 0.35), "{shares:?}");
        cgroup.kill().unwrap();
        assert_eq!(finish(child).signal(), Some(9));
        cgroup.remove().unwrap();
    });
}

#[test]
fn cpu_time_stands_still_while_frozen_and_goes_on_when_thawed() {
    fake_host::run(|host| {
        let cgroup = create("freezer", &Limits::default());
        let child = sh_in(&cgroup, "while :; do (:); done");
        let used = || cgroup.stats().unwrap().cpu_usage.unwrap();
        host.wait_until("it runs", LONG, || used() > Duration::from_millis(20));
        cgroup.freeze().unwrap();
        let frozen = used();
        thread::sleep(Duration::from_millis(300));
        assert_eq!(used(), frozen);
        cgroup.thaw().unwrap();
        host.wait_until("it runs again", LONG, || {
            used() > frozen + Duration::from_millis(20)
        });
        // A frozen one can be killed, too.
        cgroup.freeze().unwrap();
        cgroup.kill().unwrap();
        assert_eq!(finish(child).signal(), Some(9));
        assert_eq!(cgroup.procs().unwrap(), [0_u32; 0]);
        cgroup.remove().unwrap();
    });
}

#[test]
fn removing_takes_a_fork_bomb_and_nested_cgroups_along() {
    fake_host::run(|host| {
        let before = host.state();
        let cgroup = create("bomb", &Limits::default().pids(60_u64));
        for path in cgroup.paths() {
            fs::create_dir_all(path.join("nested/deeper")).unwrap();
        }
        let pids_path = cgroup
            .paths()
            .into_iter()
            .find(|path| path.join("pids.max").exists())
            .unwrap();
        let sleeper = sh_in(&cgroup, "exec sleep 1000");
        fs::write(
            pids_path.join("nested/deeper/cgroup.procs"),
            sleeper.id().to_string(),
        )
        .unwrap();
        let bomb = sh_in(
            &cgroup,
            "bomb() { while :; do bomb & sleep 1000 & done; }; bomb",
        );
        host.wait_until("the limit is reached", LONG, || {
            cgroup.stats().unwrap().pids >= Some(55)
        });
        assert!(cgroup.procs().unwrap().contains(&sleeper.id()));
        let start = Instant::now();
        cgroup.remove().unwrap();
        let took = start.elapsed();
        println!("removed in {took:?}");
        assert!(took < Duration::from_secs(1) * slower(), "{took:?}");
        assert_eq!(finish(sleeper).signal(), Some(9));
        finish(bomb);
        assert_eq!(host.state(), before);
    });
}

#[test]
fn two_hundred_at_once_come_and_go_and_take_the_parent_along() {
    fake_host::run(|host| {
        let before = host.state();
        let shared = hierarchy();
        thread::scope(|scope| {
            // Emulated, the others keep the one that is to die from running for longer than is waited for it.
            for number in 0..if slower() > 1 { 30 } else { 200 } {
                let shared = &shared;
                scope.spawn(move || {
                    let name = format!("c{number}");
                    let limits = Limits::default().memory_bytes(64 * MIB).pids(10_u64);
                    let (cgroup, _) =
                        Cgroup::create(shared, "rocker", &name, &limits, Compat::Require).unwrap();
                    let child = sh_in(&cgroup, "exec sleep 1000");
                    assert!(cgroup.procs().unwrap().contains(&child.id()));
                    if number % 2 == 0 {
                        cgroup.remove().unwrap();
                    } else {
                        cgroup.detach();
                        Cgroup::remove_by_name(shared, "rocker", &name).unwrap();
                    }
                    assert_eq!(finish(child).signal(), Some(9));
                });
            }
        });
        assert_eq!(host.state(), before);
    });
}

#[test]
fn limits_change_while_processes_run() {
    fake_host::run(|_| {
        let cgroup = create("live", &Limits::default());
        let child = sh_in(&cgroup, "exec sleep 1000");
        let set = |limits: &Limits| -> Vec<String> {
            let applied: Applied = cgroup.apply(limits, Compat::BestEffort).unwrap();
            applied
                .in_force
                .iter()
                .map(|one| format!("{}: {}", one.write.file, one.reads))
                .collect()
        };
        let memory = |mib| {
            Limits::default()
                .memory_bytes(mib * MIB)
                .memory_swap_bytes(mib * MIB)
        };
        // Up and down again: on v1 each bounds the other.
        for mib in [32, 96, 48] {
            let lines = set(&memory(mib));
            assert!(
                lines
                    .iter()
                    .any(|line| line.ends_with(&format!(": {}", mib * MIB))),
                "{lines:?}"
            );
        }
        let none = set(&Limits::default()
            .memory_bytes(Max::Unlimited)
            .memory_swap_bytes(Max::Unlimited));
        assert!(!none.is_empty());
        let all = Limits::default()
            .cpu(CpuQuota::from_cpus(0.004).unwrap())
            .cpu_shares(512)
            .cpuset_cpus("0")
            .cpuset_mems("0")
            .memory_reservation_bytes(MIB)
            .pids(7_u64);
        cgroup.apply(&all, Compat::Require).unwrap();
        cgroup
            .apply(
                &Limits::default()
                    .cpu(CpuQuota::UNLIMITED)
                    .pids(Max::Unlimited),
                Compat::Require,
            )
            .unwrap();
        cgroup.remove().unwrap();
        finish(child);
    });
}

#[test]
fn a_value_that_the_kernel_refuses_names_controller_and_file_and_leaves_nothing() {
    fake_host::run(|host| {
        let before = host.state();
        let limits = Limits::default().cpuset_cpus("4095");
        let error = Cgroup::create(
            &hierarchy(),
            "rocker",
            "refused",
            &limits,
            Compat::BestEffort,
        )
        .unwrap_err();
        match &error {
            // v2 takes a CPU that the machine does not have, and reads it back.
            Error::Limit { path, source, .. } => {
                assert!(path.ends_with("refused/cpuset.cpus"));
                // ERANGE beyond what the kernel was built for, EINVAL beyond what the machine has.
                assert!(
                    matches!(source.raw_os_error(), Some(libc::EINVAL | libc::ERANGE)),
                    "{source}"
                );
            }
            Error::NotInForce { path, .. } => assert!(path.ends_with("refused/cpuset.cpus")),
            other => panic!("{other:?}"),
        }
        assert!(
            error.to_string().starts_with("set the cpuset limit"),
            "{error}"
        );
        assert_eq!(host.state(), before);
    });
}

#[test]
fn a_name_that_is_taken_is_an_error_and_the_first_stays() {
    fake_host::run(|host| {
        let before = host.state();
        let hierarchy = hierarchy();
        let first = create("twice", &Limits::default());
        let child = sh_in(&first, "exec sleep 1000");
        let again = Cgroup::create(
            &hierarchy,
            "rocker",
            "twice",
            &Limits::default(),
            Compat::Require,
        );
        assert!(matches!(again, Err(Error::Exists { .. })));
        assert!(first.procs().unwrap().contains(&child.id()));
        assert_eq!(Cgroup::names(&hierarchy, "rocker").unwrap(), ["twice"]);
        first.remove().unwrap();
        finish(child);
        assert!(matches!(
            Cgroup::open(&hierarchy, "rocker", "twice"),
            Err(Error::NotFound { .. })
        ));
        Cgroup::remove_by_name(&hierarchy, "rocker", "twice").unwrap();
        assert_eq!(Cgroup::names(&hierarchy, "rocker").unwrap(), [""; 0]);
        assert_eq!(host.state(), before);
    });
}

#[test]
fn dropping_the_guard_removes_and_keeping_it_does_not() {
    fake_host::run(|host| {
        let before = host.state();
        drop(create("guard", &Limits::default()));
        assert_eq!(host.state(), before);
        drop(create("kept", &Limits::default()).keep());
        let opened = Cgroup::open(&hierarchy(), "rocker", "kept").unwrap();
        drop(opened);
        assert_eq!(Cgroup::names(&hierarchy(), "rocker").unwrap(), ["kept"]);
        Cgroup::remove_by_name(&hierarchy(), "rocker", "kept").unwrap();
        assert_eq!(host.state(), before);
    });
}

#[test]
fn on_v2_processes_in_the_parent_are_an_error_that_says_so() {
    fake_host::run(|host| {
        let before = host.state();
        let hierarchy = hierarchy();
        let parent = create("parent", &Limits::default());
        let child = sh_in(&parent, "exec sleep 1000");
        let limits = Limits::default().memory_bytes(32 * MIB);
        let nested = Cgroup::create(
            &hierarchy,
            "rocker/parent",
            "child",
            &limits,
            Compat::Require,
        );
        match nested {
            Err(error @ Error::InternalProcesses { .. }) => {
                assert_eq!(hierarchy.version(), Version::V2);
                assert!(
                    error.to_string().contains("move them into a child"),
                    "{error}"
                );
            }
            Ok((nested, _)) => {
                assert_ne!(hierarchy.version(), Version::V2);
                // Its parent has a process and stays.
                nested.remove().unwrap();
            }
            Err(other) => panic!("{other:?}"),
        }
        assert!(parent.procs().unwrap().contains(&child.id()));
        parent.remove().unwrap();
        finish(child);
        assert_eq!(host.state(), before);
    });
}

#[test]
fn a_caller_inside_is_told_so_and_neither_freezes_nor_kills_itself() {
    fake_host::run(|host| {
        let before = host.state();
        let cgroup = create("inside", &Limits::default());
        let paths = cgroup.paths();
        cgroup.add(std::process::id()).unwrap();
        assert!(matches!(cgroup.freeze(), Err(Error::CallerInside { .. })));
        assert!(matches!(cgroup.kill(), Err(Error::CallerInside { .. })));
        assert!(matches!(cgroup.remove(), Err(Error::CallerInside { .. })));
        for path in paths {
            // Back to where enter.sh had put us: the root, or on v2 a leaf of it.
            let root = path.ancestors().nth(2).unwrap();
            let home = Some(root.join("self")).filter(|home| home.exists());
            fs::write(home.as_deref().unwrap_or(root).join("cgroup.procs"), "0").unwrap();
        }
        Cgroup::remove_by_name(&hierarchy(), "rocker", "inside").unwrap();
        assert_eq!(host.state(), before);
    });
}
