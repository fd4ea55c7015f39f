//! Every change of a cgroup is reported to whoever listens.
#![allow(
    clippy::unwrap_used,
    reason = "a test panics, also in its helper functions"
)]

use std::fmt::Debug;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rocker_cgroup::{Cgroup, Compat, Hierarchy, Limits};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Collects the system calls as `call(args)`, and insists on a reason for each.
#[derive(Clone, Default)]
struct Listener(Arc<Mutex<Vec<String>>>);

#[derive(Default)]
struct Call {
    call: String,
    args: String,
    why: String,
}

impl Visit for Call {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "call" => self.call = value.to_owned(),
            "args" => self.args = value.to_owned(),
            "why" => self.why = value.to_owned(),
            _ => {}
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "rocker::syscall"
    }

    fn event(&self, event: &Event<'_>) {
        let mut call = Call::default();
        event.record(&mut call);
        assert!(
            call.why.starts_with("so that") || call.why.starts_with("since"),
            "{:?}",
            call.why
        );
        self.0
            .lock()
            .unwrap()
            .push(format!("{}({})", call.call, call.args));
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[test]
fn each_mkdir_write_and_rmdir_is_one_event_in_the_order_of_the_calls() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().display().to_string();
    let mountinfo = format!("1 0 0:1 / {root} rw - cgroup cgroup rw,pids\n");
    let hierarchy = Hierarchy::parse(&mountinfo, "1:pids:/\n").unwrap();
    let listener = Listener::default();
    tracing::subscriber::with_default(listener.clone(), || {
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
    assert_eq!(
        *listener.0.lock().unwrap(),
        [
            format!("mkdir(\"{root}/rocker\", 0755)"),
            format!("mkdir(\"{root}/rocker/one\", 0755)"),
            format!("write(<{root}/rocker/one/pids.max>, \"5\", 1)"),
            format!("rmdir(\"{root}/rocker/one\")"),
            format!("rmdir(\"{root}/rocker\")"),
        ]
    );
}
