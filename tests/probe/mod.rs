//! The probe of `probe.c`, compiled: a program that makes the system calls that it is told.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses its part of this module"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

/// A probe of the machine's own architecture in `dir`.
#[track_caller]
pub fn native(dir: &Path) -> PathBuf {
    compile(dir, "probe", &[])
}

/// A probe of 32 bits in `dir`, for x86.
#[track_caller]
pub fn of_32_bits(dir: &Path) -> PathBuf {
    compile(dir, "probe-32", &["-m32"])
}

#[track_caller]
fn compile(dir: &Path, name: &str, flags: &[&str]) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|dir| dir.join("tests/probe/probe.c"))
        .find(|source| source.exists())
        .expect("the workspace has tests/probe/probe.c");
    let program = dir.join(name);
    let output = Command::new("cc")
        .args(["-O1", "-static", "-nostdlib", "-ffreestanding"])
        .args(["-fno-stack-protector", "-fno-pie", "-no-pie"])
        .args(flags)
        .arg("-o")
        .args([&program, &source])
        .output()
        .expect("cc is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    program
}
