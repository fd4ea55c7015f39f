//! Every change of a cgroup is reported to whoever listens.
#![allow(
    clippy::unwrap_used,
    reason = "a test panics, also in its helper functions"
)]

#[path = "../../tests/against_strace/mod.rs"]
mod against_strace;

use std::fs;
use std::path::Path;

use against_strace::Listener;
use rocker_cgroup::{Cgroup, Compat, Hierarchy, Limits};

#[test]
fn each_mkdir_write_and_rmdir_is_one_event_in_the_order_of_the_calls() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().display().to_string();
    let mountinfo = format!("1 0 0:1 / {root} rw - cgroup cgroup rw,pids\n");
    let hierarchy = Hierarchy::parse(&mountinfo, "1:pids:/\n").unwrap();
    let calls = Listener::during(|| {
        let (cgroup, _) = Cgroup::create(
            &hierarchy,
            "rocker",
            "one",
            &Limits::default(),
            Compat::Require,
        )
        .unwrap();
        let file = Path::new(&root).join("rocker/one/pids.max");
        fs::write(&file, "").unwrap();
        cgroup
            .apply(&Limits::default().pids(5_u64), Compat::Require)
            .unwrap();
        fs::remove_file(file).unwrap();
        cgroup.remove().unwrap();
    });
    // The number of a descriptor is another each time.
    let changes = calls.iter().filter_map(|call| {
        let call = call.strip_prefix("write(").map_or_else(
            || call.clone(),
            |args| format!("write({}", args.trim_start_matches(char::is_numeric)),
        );
        let names = ["mkdir(", "write(", "rmdir("];
        names
            .iter()
            .any(|name| call.starts_with(name))
            .then_some(call)
    });
    assert_eq!(
        changes.collect::<Vec<_>>(),
        [
            format!("mkdir(\"{root}/rocker\", 0755) = 0"),
            format!("mkdir(\"{root}/rocker/one\", 0755) = 0"),
            format!("write(<{root}/rocker/one/pids.max>, \"5\", 1) = 1"),
            format!("rmdir(\"{root}/rocker/one\") = 0"),
            format!("rmdir(\"{root}/rocker\") = 0"),
        ]
    );
}
