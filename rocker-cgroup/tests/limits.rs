//! Each limit on the real kernel, measured: what is below it is left alone, and what is beyond it is not.
//!
//! The programs that are limited are this test binary itself, in one of several roles.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test panics and prints, also in its helper functions"
)]

#[path = "../../tests/fake_host/mod.rs"]
mod fake_host;

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rocker_cgroup::{
    Cgroup, Compat, Controller, CpuQuota, DeviceRule, Error, Event, Hierarchy, IoLimit, Limits,
    Max, OomLevel,
};

const MIB: u64 = 1 << 20;
const PAGE: usize = 4096;
/// Generous, since a virtual machine without hardware support is some 50 times slower.
const LONG: Duration = Duration::from_secs(60);
/// Says to a copy of this test binary which part it plays, and with how much.
const ROLE: &str = "ROCKER_TEST_ROLE";

fn hierarchy() -> Hierarchy {
    Hierarchy::detect().expect("the fake host has cgroups")
}

fn has(controller: Controller) -> bool {
    hierarchy().controllers().contains(&controller)
}

fn on_v2(controller: Controller) -> bool {
    hierarchy().is_v2(controller) == Some(true)
}

#[track_caller]
fn create(parent: &str, name: &str, limits: &Limits) -> Cgroup {
    Cgroup::create(&hierarchy(), parent, name, limits, Compat::Require)
        .unwrap()
        .0
}

/// A process that waits for a line on its standard input, is moved into the cgroup, and goes on.
fn start(cgroup: &Cgroup, command: &mut Command) -> Child {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    cgroup.add(child.id()).unwrap();
    writeln!(child.stdin.take().unwrap(), "go").unwrap();
    child
}

/// A shell script in the cgroup.
fn sh(cgroup: &Cgroup, script: &str) -> Child {
    let script = format!("read line; {script}");
    let mut command = Command::new("sh");
    start(cgroup, command.args(["-c", &script]).stderr(Stdio::null()))
}

/// This binary in the cgroup, as `role` of the test `test`.
fn play(cgroup: &Cgroup, test: &str, role: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([test, "--exact", "--nocapture"])
        .env(ROLE, role);
    start(cgroup, command.stdout(Stdio::piped()))
}

/// The part that this process plays, once it is where it belongs.
fn role() -> Option<String> {
    let role = std::env::var(ROLE).ok()?;
    std::io::stdin().read_line(&mut String::new()).unwrap();
    Some(role)
}

/// What it printed, and the signal that ended it.
fn outcome(mut child: Child) -> (String, Option<i32>) {
    let mut said = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_string(&mut said).unwrap();
    }
    (said, child.wait().unwrap().signal())
}

fn used(cgroup: &Cgroup) -> Duration {
    cgroup.stats().unwrap().cpu_usage.unwrap()
}

#[test]
fn cpu_time_is_shared_out_by_weight_within_five_points() {
    fake_host::run(|host| {
        let before = host.state();
        let make = |name, shares| {
            let limits = Limits::default().cpu_shares(shares).cpuset_cpus("0");
            create("rocker", name, &limits)
        };
        let (light, heavy) = (make("light", 512), make("heavy", 2048));
        let burn = "while :; do :; done";
        let children = [sh(&light, burn), sh(&heavy, burn)];
        // 512 and 2048 are 1 to 4 on v1, and by the formula of weights 59 to 175 on v2.
        let expected = if on_v2(Controller::Cpu) {
            175.0 / 234.0
        } else {
            0.8
        };
        let mut shares = Vec::new();
        for _ in 0..4 {
            let (one, two) = (used(&light), used(&heavy));
            thread::sleep(Duration::from_secs(3));
            let (one, two) = (used(&light) - one, used(&heavy) - two);
            shares.push(two.as_secs_f64() / (one + two).as_secs_f64());
            if (shares.last().unwrap() - expected).abs() <= 0.05 {
                break;
            }
        }
        println!("measured, of {expected}: {shares:?}");
        assert!(
            (shares.last().unwrap() - expected).abs() <= 0.05,
            "{shares:?}"
        );
        light.remove().unwrap();
        heavy.remove().unwrap();
        for child in children {
            outcome(child);
        }
        assert_eq!(host.state(), before);
    });
}

#[test]
fn a_quota_holds_within_five_points_and_an_update_changes_it() {
    fake_host::run(|host| {
        let before = host.state();
        let quota = |cpus| Limits::default().cpu(CpuQuota::from_cpus(cpus).unwrap());
        let cgroup = create("rocker", "quota", &quota(0.3));
        let child = sh(&cgroup, "while :; do :; done");
        for cpus in [0.3, 0.6, 0.04] {
            cgroup.apply(&quota(cpus), Compat::Require).unwrap();
            // On a busy machine it may get less than it may, but never more.
            let mut shares = Vec::new();
            for _ in 0..4 {
                let (start, before) = (Instant::now(), used(&cgroup));
                thread::sleep(Duration::from_secs(3));
                let share = (used(&cgroup) - before).as_secs_f64() / start.elapsed().as_secs_f64();
                assert!(
                    share <= cpus + 0.05,
                    "{share} of a CPU, where {cpus} is allowed"
                );
                shares.push(share);
                if share >= cpus - 0.05 {
                    break;
                }
            }
            println!("measured, of {cpus} CPUs: {shares:?}");
            assert!(*shares.last().unwrap() >= cpus - 0.05, "{shares:?}");
        }
        let stats = cgroup.stats().unwrap();
        assert!(
            stats.cpu_throttled_periods.unwrap() > 10 && !stats.cpu_throttled.unwrap().is_zero()
        );
        cgroup.remove().unwrap();
        outcome(child);
        assert_eq!(host.state(), before);
    });
}

/// Uses so many bytes of memory of its own, page by page.
fn touch(bytes: usize) {
    let mut memory = vec![0_u8; bytes];
    for page in memory.chunks_mut(PAGE) {
        page[0] = 1;
    }
    std::hint::black_box(&memory);
    println!("lives with {bytes}");
}

#[test]
fn a_program_dies_of_the_page_over_its_memory_and_lives_with_what_is_below() {
    const TEST: &str = "a_program_dies_of_the_page_over_its_memory_and_lives_with_what_is_below";
    if let Some(bytes) = role() {
        return touch(bytes.parse().unwrap());
    }
    fake_host::run(|host| {
        let before = host.state();
        let limit = 64 * MIB;
        let limits = Limits::default().memory_bytes(limit);
        let cgroup = create("rocker", "memory", &limits);
        let mut events = cgroup.events().unwrap();
        // What the program itself takes counts too, with the tables of its pages: that much is below.
        let (said, signal) = outcome(play(&cgroup, TEST, &(limit - 4 * MIB).to_string()));
        assert!(said.contains("lives with"), "{said} {signal:?}");
        assert_eq!(cgroup.oom_kills().unwrap(), 0);
        assert_eq!(cgroup.oom_level().unwrap(), None);
        let (said, signal) = outcome(play(&cgroup, TEST, &(limit + PAGE as u64).to_string()));
        assert_eq!(signal, Some(9), "{said}");
        assert_eq!(cgroup.oom_kills().unwrap(), 1);
        assert!(
            matches!(cgroup.oom_level().unwrap(), Some(OomLevel::Own(path)) if path.ends_with("rocker/memory"))
        );
        let seen = wait_for(&mut events, |event| matches!(event, Event::OomKill(1)));
        assert!(
            seen.iter().any(|event| matches!(event, Event::Oom(_))),
            "{seen:?}"
        );
        // With more it lives, from now on.
        cgroup
            .apply(&Limits::default().memory_bytes(2 * limit), Compat::Require)
            .unwrap();
        let (said, _) = outcome(play(&cgroup, TEST, &(limit + PAGE as u64).to_string()));
        assert!(said.contains("lives with"), "{said}");
        assert!(
            cgroup
                .stats()
                .unwrap()
                .memory_peak_bytes
                .is_none_or(|peak| peak >= limit)
        );
        cgroup.remove().unwrap();
        assert_eq!(host.state(), before);
    });
}

/// Waits until the descriptor is readable and one of the events is the one that is waited for; returns all.
#[track_caller]
fn wait_for(events: &mut rocker_cgroup::Events, wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
    let (start, mut all) = (Instant::now(), Vec::new());
    while !all.iter().any(&wanted) {
        assert!(start.elapsed() < LONG, "only {all:?}");
        let timeout = PollTimeout::try_from(LONG).unwrap();
        poll(
            &mut [PollFd::new(events.as_fd(), PollFlags::POLLIN)],
            timeout,
        )
        .unwrap();
        all.extend(events.take().unwrap());
    }
    all
}

#[test]
fn the_level_whose_memory_was_used_up_is_named() {
    const TEST: &str = "the_level_whose_memory_was_used_up_is_named";
    if let Some(bytes) = role() {
        return touch(bytes.parse().unwrap());
    }
    fake_host::run(|host| {
        let before = host.state();
        let small = Limits::default().memory_bytes(16 * MIB);
        let large = Limits::default().memory_bytes(64 * MIB);
        // Its own, also where memory and swap together are what is used up first,
        let both = small.clone().memory_swap_bytes(16 * MIB);
        let own = create("rocker", "own", &Limits::default());
        own.apply(&both, Compat::BestEffort).unwrap();
        assert_eq!(
            outcome(play(&own, TEST, &(32 * MIB).to_string())).1,
            Some(9)
        );
        let level = own.oom_level().unwrap();
        assert!(matches!(level, Some(OomLevel::Own(_))), "{level:?}");
        own.remove().unwrap();
        // a limit above,
        let parent = create("rocker", "parent", &small);
        let child = create("rocker/parent", "child", &large);
        assert_eq!(
            outcome(play(&child, TEST, &(32 * MIB).to_string())).1,
            Some(9)
        );
        let level = child.oom_level().unwrap();
        assert!(
            matches!(&level, Some(OomLevel::Above(path)) if path.ends_with("rocker/parent")),
            "{level:?}"
        );
        child.remove().unwrap();
        parent.remove().unwrap();
        // and one below.
        let parent = create("rocker", "parent", &large);
        let child = create("rocker/parent", "child", &small);
        assert_eq!(
            outcome(play(&child, TEST, &(32 * MIB).to_string())).1,
            Some(9)
        );
        let level = parent.oom_level().unwrap();
        assert!(
            matches!(&level, Some(OomLevel::Below(path)) if path.ends_with("parent/child")),
            "{level:?}"
        );
        parent.remove().unwrap();
        assert_eq!(host.state(), before);
    });
}

#[test]
fn a_fork_that_failed_and_the_last_process_are_events() {
    fake_host::run(|host| {
        let before = host.state();
        let cgroup = create("rocker", "events", &Limits::default().pids(3_u64));
        let mut events = cgroup.events().unwrap();
        assert_eq!(events.take().unwrap(), []);
        let child = sh(
            &cgroup,
            "sleep 1000 & sleep 1000 & sleep 1000 & sleep 1000; wait",
        );
        let seen = wait_for(&mut events, |event| matches!(event, Event::PidsMax(_)));
        println!("{seen:?}");
        let tells = on_v2(Controller::Freezer);
        cgroup.kill().unwrap();
        outcome(child);
        if tells {
            wait_for(&mut events, |event| *event == Event::Populated(false));
        }
        cgroup.remove().unwrap();
        assert_eq!(host.state(), before);
    });
}

#[test]
fn the_removal_of_a_cgroup_is_no_lack_of_memory() {
    fake_host::run(|host| {
        let before = host.state();
        let cgroup = create("rocker", "events", &Limits::default());
        let mut events = cgroup.events().unwrap();
        cgroup.remove().unwrap();
        // v1 says a little later that it is gone.
        let quiet = PollTimeout::from(500_u16);
        loop {
            let mut fds = [PollFd::new(events.as_fd(), PollFlags::POLLIN)];
            let woken = poll(&mut fds, quiet).unwrap();
            let seen = events.take().unwrap();
            assert!(
                !seen.iter().any(|one| matches!(one, Event::Oom(_))),
                "{seen:?}"
            );
            if woken == 0 {
                break;
            }
        }
        assert_eq!(host.state(), before);
    });
}

#[test]
fn a_list_of_cpus_that_is_not_granted_is_an_error_and_what_was_before_comes_back() {
    fake_host::run(|host| {
        let before = host.state();
        let parent = create("rocker", "parent", &Limits::default().cpuset_cpus("0"));
        let child = create("rocker/parent", "child", &Limits::default());
        let limits = Limits::default().pids(7_u64).cpuset_cpus("0-1");
        let former = child.former(&limits);
        let error = child.apply(&limits, Compat::Require).unwrap_err();
        let expected = match on_v2(Controller::Cpuset) {
            true => matches!(&error, Error::NotInForce { found, .. } if found == "0"),
            false => matches!(error, Error::Limit { .. } | Error::PermissionDenied { .. }),
        };
        assert!(expected, "{error:?}");
        let pids = |cgroup: &Cgroup| cgroup.stats().unwrap().pids_limit;
        assert_eq!(pids(&child), Some(Max::At(7)));
        child.restore(&former).unwrap();
        assert_eq!(pids(&child), Some(Max::Unlimited));
        assert_eq!(child.former(&limits), former);
        child.remove().unwrap();
        parent.remove().unwrap();
        assert_eq!(host.state(), before);
    });
}

#[test]
fn a_device_that_the_cgroup_above_forbids_is_reported_and_stays_forbidden() {
    fake_host::run(|host| {
        let before = host.state();
        let rules = |texts: &[&str]| {
            let allowed = texts.iter().map(|text| text.parse().unwrap());
            let mut limits = Limits::default();
            limits.devices = Some([DeviceRule::DENY_ALL].into_iter().chain(allowed).collect());
            limits
        };
        if !fake_host::require("devices", has(Controller::Devices)) {
            return;
        }
        let parent = create("rocker", "parent", &rules(&["c 1:3 rwm"]));
        let child = create("rocker/parent", "child", &Limits::default());
        let applied = child
            .apply(&rules(&["c 1:3 rwm", "c 1:5 r"]), Compat::Require)
            .unwrap();
        let skipped: Vec<_> = applied.skipped.iter().map(ToString::to_string).collect();
        // On v2 the program of the cgroup above is asked as well.
        match on_v2(Controller::Devices) {
            true => assert_eq!(skipped, [""; 0]),
            false => assert_eq!(
                skipped,
                ["devices.allow = c 1:5 r: the cgroup above does not allow this device"]
            ),
        }
        let opened = |node: &str| {
            let status = sh(&child, &format!("exec 3<{node}")).wait().unwrap();
            status.success()
        };
        assert!(opened("/dev/null") && !opened("/dev/zero"));
        child.remove().unwrap();
        parent.remove().unwrap();
        assert_eq!(host.state(), before);
    });
}

/// What came of opening and making devices in the cgroup, in the words of the shell: `ok`, or the error.
fn devices(cgroup: &Cgroup) -> String {
    let script = "read line
        try() { \"$@\" 2>/dev/null && printf 'y' || printf 'n'; }
        try sh -c ': </dev/null'; try sh -c ': >/dev/null'; try sh -c ': </dev/zero'; try sh -c ': <>/dev/zero'
        try mknod /run/node c 1 3; rm -f /run/node
        sh -c ': </dev/zero' 2>&1 | grep -o 'Operation not permitted' || true";
    let mut command = Command::new("sh");
    command
        .args(["-c", script])
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    outcome(start(cgroup, &mut command))
        .0
        .trim_end()
        .replace('\n', " ")
}

#[test]
fn a_device_that_is_not_allowed_gives_eperm_and_an_update_replaces_the_rules() {
    fake_host::run(|host| {
        if !fake_host::require("devices", hierarchy().is_v2(Controller::Devices).is_some()) {
            return;
        }
        let before = host.state();
        let rules = |texts: &[&str]| {
            let allowed = texts.iter().map(|text| text.parse::<DeviceRule>().unwrap());
            Limits::default().devices([DeviceRule::DENY_ALL].into_iter().chain(allowed))
        };
        let cgroup = create("rocker", "devices", &rules(&["c 1:3 rw"]));
        // Nothing that the shell writes to but /dev/null, which no other one is.
        assert_eq!(devices(&cgroup), "yynnnOperation not permitted");
        let set = |limits: &Limits| cgroup.apply(limits, Compat::Require).unwrap();
        set(&rules(&[
            "c 1:3 r", "c 1:3 w", "c 1:5 r", "b *:* m", "c *:* m",
        ]));
        assert_eq!(devices(&cgroup), "yyyny");
        set(&rules(&["c *:* rwm"]));
        assert_eq!(devices(&cgroup), "yyyyy");
        set(&rules(&["c 1:3 rwm"]));
        assert_eq!(devices(&cgroup), "yynnyOperation not permitted");
        // All but one.
        let one = "c 1:5 r".parse::<DeviceRule>().unwrap();
        let denied = DeviceRule::deny(one.kind, one.major, one.minor, one.access);
        set(&Limits::default().devices([denied]));
        assert_eq!(devices(&cgroup), "yynnyOperation not permitted");
        cgroup.remove().unwrap();
        assert_eq!(host.state(), before);
    });
}

#[test]
fn v1_says_of_a_rule_that_it_could_not_take_back_and_v2_takes_it_back() {
    fake_host::run(|_| {
        if !fake_host::require("devices", hierarchy().is_v2(Controller::Devices).is_some()) {
            return;
        }
        let all: DeviceRule = "c *:* rwm".parse().unwrap();
        let one: DeviceRule = "c 1:5 r".parse().unwrap();
        let denied = DeviceRule::deny(one.kind, one.major, one.minor, one.access);
        let limits = Limits::default().devices([DeviceRule::DENY_ALL, all, denied]);
        let cgroup = create("rocker", "taken-back", &Limits::default());
        let outcome = cgroup.apply(&limits, Compat::Require);
        if on_v2(Controller::Devices) {
            outcome.unwrap();
            assert_eq!(devices(&cgroup), "yynnyOperation not permitted");
        } else {
            let error = outcome.unwrap_err();
            assert!(
                matches!(&error, Error::NotInForce { path, .. } if path.ends_with("devices.list")),
                "{error}"
            );
        }
        cgroup.remove().unwrap();
    });
}

/// Reads so many bytes of a file from its disk.
fn read_directly(path: &Path, bytes: usize) {
    const CHUNK: usize = 128 << 10;
    let mut options = OpenOptions::new();
    let mut file = options
        .read(true)
        .custom_flags(libc::O_DIRECT)
        .open(path)
        .unwrap();
    // O_DIRECT wants memory that begins at a sector.
    let mut memory = vec![0_u8; CHUNK + PAGE];
    let from = PAGE - memory.as_ptr() as usize % PAGE;
    let start = Instant::now();
    for _ in 0..bytes / CHUNK {
        file.read_exact(&mut memory[from..from + CHUNK]).unwrap();
    }
    println!("took {}", start.elapsed().as_secs_f64());
}

/// A directory on a disk, and the numbers of the whole disk. Files in memory, or of a network, have none.
fn disk() -> Option<(PathBuf, u32, u32)> {
    let dir = std::env::var_os("ROCKER_TEST_DISK").map_or_else(std::env::temp_dir, PathBuf::from);
    let device = fs::metadata(&dir).ok()?.dev();
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let place = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()?;
    let whole = match place.join("partition").exists() {
        true => place.parent()?.to_owned(),
        false => place,
    };
    let numbers = fs::read_to_string(whole.join("dev")).ok()?;
    let (major, minor) = numbers.trim().split_once(':')?;
    Some((dir, major.parse().ok()?, minor.parse().ok()?))
}

#[test]
fn a_disk_is_read_as_fast_as_the_limit_says_within_15_percent() {
    const TEST: &str = "a_disk_is_read_as_fast_as_the_limit_says_within_15_percent";
    if let Some(path) = role() {
        return read_directly(Path::new(&path), 8 * MIB as usize);
    }
    fake_host::run(|host| {
        let before = host.state();
        let found = disk().filter(|_| has(Controller::Io));
        fake_host::require("disk", found.is_some());
        let Some((dir, major, minor)) = found else {
            return;
        };
        let path = dir.join(format!("rocker-io-{}", std::process::id()));
        fs::write(&path, vec![7; 8 * MIB as usize]).unwrap();
        host.sh(&format!("sync {}", dir.display()));
        let limit = |bps| IoLimit::new(major, minor).read_bps(bps);
        let cgroup = create(
            "rocker",
            "io",
            &Limits::default().io(limit(Max::At(2 * MIB))),
        );
        let read = |cgroup: &Cgroup| {
            let (said, _) = outcome(play(cgroup, TEST, path.to_str().unwrap()));
            let took = said.lines().find_map(|line| line.split("took ").nth(1));
            8.0 / took
                .unwrap_or_else(|| panic!("{said}"))
                .parse::<f64>()
                .unwrap()
        };
        let mut speeds = Vec::new();
        for asked in [2, 4] {
            cgroup
                .apply(
                    &Limits::default().io(limit(Max::At(asked * MIB))),
                    Compat::Require,
                )
                .unwrap();
            let speed = read(&cgroup);
            println!("{speed} MiB/s where {asked} is allowed");
            assert!(
                (speed / asked as f64 - 1.0).abs() <= 0.15,
                "{speed} MiB/s where {asked} is allowed"
            );
            speeds.push(speed);
        }
        cgroup
            .apply(
                &Limits::default().io(limit(Max::Unlimited)),
                Compat::Require,
            )
            .unwrap();
        assert!(read(&cgroup) > 8.0, "it is as slow without a limit");
        let io = cgroup.stats().unwrap().io;
        let disk = io
            .iter()
            .find(|one| (one.major, one.minor) == (major, minor))
            .unwrap();
        // What nobody limits, some kernels do not count on v1.
        let least = if on_v2(Controller::Io) { 24 } else { 16 };
        assert!(disk.read_bytes >= least * MIB && disk.reads > 0, "{disk:?}");
        fs::remove_file(path).unwrap();
        cgroup.remove().unwrap();
        assert_eq!(host.state(), before);
    });
}

#[test]
fn what_few_hosts_have_is_set_or_an_error_that_names_the_file() {
    fake_host::run(|host| {
        let before = host.state();
        let cgroup = create("rocker", "rare", &Limits::default());
        let (v2, memory) = (on_v2(Controller::Memory), |limits: &Limits| {
            cgroup.apply(limits, Compat::Require)
        });
        for (limits, of_v1, file) in [
            (
                Limits::default().memory_swappiness(10),
                true,
                "memory.swappiness",
            ),
            (
                Limits::default().oom_kill_disable(true),
                true,
                "memory.oom_control",
            ),
            (Limits::default().oom_group(true), false, "memory.oom.group"),
        ] {
            match memory(&limits) {
                Ok(applied) => {
                    assert!(of_v1 != v2, "{file}");
                    assert_eq!(applied.in_force[0].write.file, file);
                }
                Err(Error::MissingFile { path, .. }) => {
                    assert!(of_v1 == v2 && path.ends_with(file), "{}", path.display());
                }
                Err(other) => panic!("{other}"),
            }
            let skipped = cgroup.apply(&limits, Compat::BestEffort).unwrap().skipped;
            assert_eq!(skipped.len(), usize::from(of_v1 == v2), "{file}");
        }
        let high = cgroup.apply(
            &Limits::default().unified("memory.high", "8M"),
            Compat::Require,
        );
        match v2 {
            true => assert_eq!(high.unwrap().in_force[0].reads, (8 * MIB).to_string()),
            false => assert!(
                matches!(high, Err(Error::FileOfV2 { file, .. }) if file == "memory.high")
            ),
        }
        cgroup
            .apply(
                &Limits::default()
                    .cpu(CpuQuota::from_cpus(0.5).unwrap())
                    .cpu_burst(Duration::from_millis(20)),
                Compat::Require,
            )
            .unwrap();
        cgroup
            .apply(&Limits::default().cpu_idle(true), Compat::Require)
            .unwrap();
        cgroup
            .apply(
                &Limits::default().cpu_idle(false).cpu_shares(100),
                Compat::Require,
            )
            .unwrap();
        cgroup.remove().unwrap();
        let limits = Limits::default().hugetlb("2MB", 4 * MIB);
        match Cgroup::create(&hierarchy(), "rocker", "pages", &limits, Compat::Require) {
            Ok((cgroup, applied)) => {
                let reads: Vec<_> = applied.in_force.iter().map(|one| &*one.reads).collect();
                assert_eq!(reads, ["4194304", "4194304"]);
                assert_eq!(cgroup.stats().unwrap().hugetlb_bytes.get("2MB"), Some(&0));
                cgroup.remove().unwrap();
            }
            Err(error) => assert!(
                matches!(
                    &error,
                    Error::MissingController { .. } | Error::MissingFile { .. }
                ) && !fake_host::expected("hugetlb"),
                "{error}"
            ),
        }
        assert_eq!(host.state(), before);
    });
}

#[test]
fn a_process_that_was_moved_out_by_hand_lives_and_does_not_block_the_removal() {
    fake_host::run(|host| {
        let before = host.state();
        let cgroup = create("rocker", "left", &Limits::default().pids(10_u64));
        let stays = sh(&cgroup, "exec sleep 1000");
        let mut leaves = sh(&cgroup, "exec sleep 1000");
        let elsewhere = create("rocker", "elsewhere", &Limits::default());
        for path in elsewhere.paths() {
            // As somebody does it who knows of one tree only, and then of another.
            fs::write(path.join("cgroup.procs"), leaves.id().to_string()).unwrap();
        }
        cgroup.remove().unwrap();
        assert_eq!(outcome(stays).1, Some(9));
        assert!(
            leaves.try_wait().unwrap().is_none(),
            "it was none of ours any more"
        );
        elsewhere.remove().unwrap();
        assert_eq!(outcome(leaves).1, Some(9));
        assert_eq!(host.state(), before);
    });
}

#[test]
fn what_docker_counts_is_counted() {
    const TEST: &str = "what_docker_counts_is_counted";
    if let Some(bytes) = role() {
        let memory = vec![1_u8; bytes.parse().unwrap()];
        thread::sleep(LONG);
        std::hint::black_box(memory);
    }
    fake_host::run(|host| {
        let before = host.state();
        let limits = Limits::default().memory_bytes(256 * MIB).pids(20_u64);
        let cgroup = create("rocker", "stats", &limits);
        let child = play(&cgroup, TEST, &(32 * MIB).to_string());
        host.wait_until("it has its memory", LONG, || {
            cgroup.stats().unwrap().memory_anonymous_bytes.unwrap() >= 32 * MIB
        });
        let stats = cgroup.stats().unwrap();
        let in_use = stats.memory_in_use_bytes().unwrap();
        assert!(
            (32 * MIB..=stats.memory_bytes.unwrap()).contains(&in_use),
            "{stats:?}"
        );
        assert_eq!(stats.memory_limit, Some(Max::At(256 * MIB)));
        assert_eq!(stats.pids_limit, Some(Max::At(20)));
        assert!(stats.pids >= Some(1), "{stats:?}");
        let parts = stats.cpu_user.unwrap() + stats.cpu_system.unwrap();
        assert!(
            !parts.is_zero() && parts <= stats.cpu_usage.unwrap() + Duration::from_millis(20),
            "{stats:?}"
        );
        assert_eq!(
            stats.memory_pressure.is_some(),
            fake_host::require("psi", stats.memory_pressure.is_some())
        );
        cgroup.remove().unwrap();
        assert_eq!(outcome(child).1, Some(9));
        assert_eq!(host.state(), before);
    });
}
