//! Programs in C, compiled into one static file that runs in any image.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses its part of this module"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

/// The program of `tests/probe/NAME.c`, as `dir/NAME`.
#[track_caller]
pub fn compile(dir: &Path, name: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|dir| dir.join(format!("tests/probe/{name}.c")))
        .find(|source| source.exists())
        .expect("the workspace has that program");
    let program = dir.join(name);
    let output = Command::new("cc")
        .args(["-static", "-O1", "-Wall", "-Wextra", "-Werror", "-o"])
        .args([&program, &source])
        .output()
        .expect("cc is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    program
}
