//! User namespaces for tests: one to look through, and a test as root of one that an ordinary user made.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test binary uses its part of this module, and a failure here is one of the test"
)]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Set in a test that is root of a user namespace: which IDs it has.
const MAP: &str = "ROCKER_TEST_USER";
/// Set there too: the directory that it may write to.
const DIR: &str = "ROCKER_TEST_DIR";
/// The ordinary user, and all that it has: itself, as root.
pub const ONE: &str = "0 1000 1";
/// What newuidmap(1) gives it where it has subordinate IDs.
pub const FULL: &str = "0 1000 1\n1 100000 65535";

/// A user namespace with this map for users and groups, which no process is in any more.
pub fn namespace(map: &str) -> OwnedFd {
    let mut child =
        waiting(Command::new("unshare").args(["--user", "sh", "-c", "echo; read line"]));
    write_maps(&child, map);
    let namespace = File::open(format!("/proc/{}/ns/user", child.id())).unwrap();
    drop(child.stdin.take());
    child.wait().unwrap();
    namespace.into()
}

/// Runs `body` once with each map, as root of a user namespace that user 1000 made, in a mount namespace of that. To be
/// called in a fake host, as all of a test. `body` gets an empty directory of that user's.
#[track_caller]
pub fn as_ordinary<F: FnOnce(&'static str, &Path)>(body: F) {
    if let (Ok(map), Some(dir)) = (std::env::var(MAP), std::env::var_os(DIR)) {
        let map = if map == ONE { ONE } else { FULL };
        return body(map, Path::new(&dir));
    }
    let path = std::any::type_name::<F>();
    let path = path
        .split_once("::{{closure}}")
        .map_or(path, |(path, _)| path);
    let test = path.split_once("::").unwrap().1;
    // The attributes user.* of a tmpfs are of Linux 6.6.
    let base = std::env::var_os("ROCKER_TEST_DISK").unwrap_or_else(|| "/run".into());
    for map in [ONE, FULL] {
        let dir = tempfile::tempdir_in(&base).unwrap();
        chown(dir.path(), Some(1000), Some(1000)).unwrap();
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=1000", "--regid=1000", "--clear-groups"])
            .args(["unshare", "--user", "--mount"])
            .args(["sh", "-c", "echo; read line; exec \"$@\"", "sh"])
            .arg(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture", "--include-ignored"])
            .env(MAP, map)
            .env(DIR, dir.path());
        let mut child = waiting(&mut command);
        if map == ONE {
            fs::write(format!("/proc/{}/setgroups", child.id()), "deny").unwrap();
        }
        write_maps(&child, map);
        child.stdin.take().unwrap().write_all(b"\n").unwrap();
        let mut said = String::new();
        child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        assert!(
            child.wait().unwrap().success(),
            "with the map {map:?}: {said}"
        );
        assert!(said.contains(" 1 passed"), "{test} did not run: {said}");
    }
}

/// Starts a process that says something when it is in its user namespace, and then waits to be told to go on.
fn waiting(command: &mut Command) -> Child {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut said = [0; 1];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut said)
        .unwrap();
    child
}

fn write_maps(child: &Child, map: &str) {
    for file in ["uid_map", "gid_map"] {
        fs::write(format!("/proc/{}/{file}", child.id()), map).unwrap();
    }
}
