//! A root file system made by Debian's own tools, once for all test runs.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Where it is.
const TAR: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/debian-minbase.tar");

/// The tar file.
pub fn tar() -> &'static Path {
    Path::new(TAR)
}

/// Makes it, outside of the fake host, where the archive of Debian's packages can be reached.
pub fn make() {
    if std::env::var_os("ROCKER_FAKE_HOST").is_some() {
        return;
    }
    let lock = fs::File::create(format!("{TAR}.lock")).unwrap();
    lock.lock().unwrap();
    if tar().exists() {
        return;
    }
    let new = format!("{TAR}.new.tar");
    let script = r#". /etc/os-release
        unshare --mount mmdebstrap --quiet --variant=minbase "$VERSION_CODENAME" "$0" $(ls /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2>/dev/null | head -n 1)"#;
    let made = Command::new("sh")
        .args(["-euc", script, &new])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(
        made.status.success(),
        "mmdebstrap, which needs a Debian machine and its package archive: {said}"
    );
    fs::rename(new, TAR).unwrap();
}
