//! A fake host for tests on the real kernel.
//!
//! [`run`] starts the calling test again as a child in namespaces of its own (see `enter.sh`), where it is root of a
//! machine without neighbours: it can make bridges, mounts, cgroups and firewall rules, run in parallel with other
//! tests, and leave nothing behind. The parent waits, passes the outcome on, and fails when a cgroup is left.
//!
//! ```ignore
//! #[path = "../../tests/fake_host/mod.rs"]
//! mod fake_host;
//!
//! #[test]
//! fn a_bridge_is_removed_again() {
//!     fake_host::run(|host| {
//!         let before = host.state();
//!         host.sh("ip link add br0 type bridge && ip link del br0");
//!         assert_eq!(host.state(), before);
//!     });
//! }
//! ```
#![allow(
    dead_code,
    unreachable_pub,
    clippy::print_stderr,
    reason = "each test binary uses its part of this module"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Once;
use std::thread;
use std::time::{Duration, Instant};

/// Set in the child, so that it knows that it is inside.
const INSIDE: &str = "ROCKER_FAKE_HOST";

/// The machine that a test has for itself.
#[derive(Debug)]
pub struct Host(());

/// What the names of fake hosts begin with; the process that made them, and the test, follow.
const NAME: &str = "rocker-test-";

/// Everything that rocker could leave behind on a host, one line a thing.
#[derive(Debug, PartialEq, Eq)]
pub struct State(Vec<String>);

/// Runs `body` in a fake host. To be called once, as the whole of a `#[test]` function.
///
/// Without root the test cannot run. That is a failure where `ROCKER_TEST_EXPECT` lists `root`, and elsewhere a line
/// on stderr that says so.
#[track_caller]
pub fn run<F: FnOnce(&Host)>(body: F) {
    if std::env::var_os(INSIDE).is_some() {
        return body(&Host(()));
    }
    if !is_root() {
        assert!(
            !expected("root"),
            "ROCKER_TEST_EXPECT promises root, and this is not root"
        );
        eprintln!("not run: this test needs root (ROCKER_TEST_EXPECT=root makes that a failure)");
        return;
    }
    // The name of the closure's type holds the path of the test function, behind the name of the test binary.
    let path = std::any::type_name::<F>().trim_end_matches("::{{closure}}");
    let test = path
        .split_once("::")
        .expect("a test function lies in a crate")
        .1;
    static SWEPT: Once = Once::new();
    SWEPT.call_once(remove_cgroups_of_the_dead);
    let name = format!("{NAME}{}-{}", std::process::id(), test.replace("::", "-"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|dir| dir.join("tests/fake_host/enter.sh"));
    let script = script
        .into_iter()
        .find(|script| script.exists())
        .expect("the workspace has tests/fake_host/enter.sh");
    let status = Command::new(script)
        .arg(&name)
        .arg(std::env::current_exe().expect("a test knows its executable"))
        .args([test, "--exact", "--nocapture", "--include-ignored"])
        .env(INSIDE, "1")
        .status()
        .expect("the fake host starts");
    let left = remove_cgroups(&name);
    assert!(status.success(), "{test} failed in its fake host: {status}");
    assert!(left.is_empty(), "{test} left cgroups: {left:?}");
}

/// Whether `ROCKER_TEST_EXPECT` declares that this machine has `feature`.
pub fn expected(feature: &str) -> bool {
    std::env::var("ROCKER_TEST_EXPECT")
        .is_ok_and(|list| list.split(',').any(|item| item == feature))
}

/// Whether this machine has `feature`, as `probe` found; panics where that is not what `ROCKER_TEST_EXPECT` declares.
#[track_caller]
pub fn require(feature: &str, probe: bool) -> bool {
    assert!(
        probe || !expected(feature),
        "ROCKER_TEST_EXPECT promises {feature}, and this machine does not have it"
    );
    if !probe {
        eprintln!("not run: this test needs {feature}");
    }
    probe
}

impl Host {
    /// Runs a shell script and returns its standard output; panics with what it printed when it fails.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        let output = self.try_sh(script);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{script}: {}\n{text}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        text
    }

    /// Runs a shell script and returns what came of it.
    pub fn try_sh(&self, script: &str) -> Output {
        Command::new("sh")
            .args(["-euc", script])
            .output()
            .expect("sh runs")
    }

    /// A new empty directory on a tmpfs, on which overlayfs can have its upper layer.
    pub fn dir(&self, name: &str) -> PathBuf {
        let dir = Path::new("/run").join(name);
        fs::create_dir_all(&dir).expect("/run is writable in a fake host");
        dir
    }

    /// What is on this host now: mounts, links, addresses, routes, rules, cgroups and processes.
    #[track_caller]
    pub fn state(&self) -> State {
        let mut lines = Vec::new();
        for script in [
            "sed 's/^/mount /' /proc/self/mounts",
            "ip -o link | sed 's/^[0-9]*: /link /; s/ \\(state\\|qlen\\) .*//'",
            // That an address is the only one of its kind the kernel finds out some seconds later, and has a route to itself then.
            "ip -o addr | sed 's/^[0-9]*: /address /; s/valid_lft.*//; s/ tentative//'",
            "ip route show table all | sed '/^local fe80/d; s/^/route /'",
            "nft list ruleset 2>/dev/null | sed 's/^/rule /' || true",
            "find /sys/fs/cgroup -type d | sed 's/^/cgroup /'",
        ] {
            lines.extend(self.sh(script).lines().map(str::to_owned));
        }
        lines.sort();
        State(lines)
    }

    /// Waits until `ready` says so, looking again every few milliseconds; panics after `limit`.
    #[track_caller]
    pub fn wait_until(&self, what: &str, limit: Duration, mut ready: impl FnMut() -> bool) {
        let start = Instant::now();
        while !ready() {
            assert!(
                start.elapsed() < limit,
                "waited {limit:?} in vain until {what}"
            );
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    status
        .lines()
        .any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(2) == Some("0"))
}

/// Removes the cgroups that `enter.sh` made for `name`, and returns those that the test had left inside of them.
fn remove_cgroups(name: &str) -> Vec<PathBuf> {
    let mut left = Vec::new();
    for dir in own_cgroups().iter().map(|own| own.join(name)) {
        if dir.is_dir() {
            remove_tree(&dir, &mut left);
        }
    }
    left
}

/// Removes the cgroups of tests that were killed, and could not do it themselves: those named after a process that is gone, beneath
/// this process's own cgroups and those beside them.
fn remove_cgroups_of_the_dead() {
    let names = |dir: &Path| {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.path())
            .collect::<Vec<_>>()
    };
    let is_of_the_dead = |dir: &PathBuf| {
        let name = dir.file_name().and_then(|name| name.to_str());
        let rest = name.and_then(|name| name.strip_prefix(NAME));
        let pid = rest.and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
    };
    for own in own_cgroups() {
        let beside = match own.join("../cgroup.procs").exists() {
            true => names(&own.join("..")),
            false => Vec::new(),
        };
        for dir in beside.iter().chain([&own]).flat_map(|dir| names(dir)) {
            if is_of_the_dead(&dir) {
                remove_empty_tree(&dir);
            }
        }
    }
}

/// Removes a cgroup and those in it, where no process is in them.
fn remove_empty_tree(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_empty_tree(&entry.path());
        }
    }
    // One that somebody is in stays, and so does the one around it.
    let _ = fs::remove_dir(dir);
}

/// The cgroups of this process, in each tree that is mounted.
fn own_cgroups() -> Vec<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut dirs = Vec::new();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let mount = match controllers.trim_start_matches("name=") {
            "" => "unified",
            controllers => controllers,
        };
        let tree = Path::new("/sys/fs/cgroup").join(mount);
        dirs.push(tree.join(path.trim_start_matches('/')));
    }
    dirs
}

fn remove_tree(dir: &Path, left: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            left.push(entry.path());
            remove_tree(&entry.path(), left);
        }
    }
    // The kernel lets go of a cgroup a moment after its last process is gone.
    let start = Instant::now();
    while fs::remove_dir(dir).is_err() && start.elapsed() < Duration::from_secs(5) {
        thread::sleep(Duration::from_millis(5));
    }
}
