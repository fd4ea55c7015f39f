//! Tells the linker where the `rocker` command begins; see `src/entry.rs`.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(own_entry)");
    let is = |name: &str, value: &str| {
        env::var(name).is_ok_and(|found| found.split(',').any(|one| one == value))
    };
    let is_static =
        is("CARGO_CFG_TARGET_FEATURE", "crt-static") && is("CARGO_CFG_TARGET_OS", "linux");
    // Of the C libraries only GNU's tells the standard library its arguments where that has no main of its own.
    let is_gnu = is("CARGO_CFG_TARGET_ENV", "gnu");
    if is_static && is_gnu && is("CARGO_CFG_TARGET_ARCH", "x86_64") {
        println!("cargo::rustc-cfg=own_entry");
        println!("cargo::rustc-link-arg-bin=rocker=-Wl,--entry=rocker_entry");
    }
}
