//! Limits of devices and of what is read from and written to them, and those that few hosts have, on the real kernel.
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
mod limited;

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rocker_cgroup::{
    Cgroup, Compat, Controller, CpuQuota, DeviceRule, Error, IoLimit, Limits, Max,
};

use limited::*;

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
        if !fake_host::require("devices", hierarchy().is_v2(Controller::Devices).is_some()) {
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
            false => {
                assert!(matches!(high, Err(Error::FileOfV2 { file, .. }) if file == "memory.high"))
            }
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
