//! From the start of /bin/true to its end: with `std`, with rocker-ns, and in namespaces.
//!
//!     sudo -E cargo bench --bench spawn
//!
//! Needs root. The namespaces are gone when their process is.

use std::process;

use divan::Bencher;
use rocker_ns::{Command, Namespace, Stdio};

const TRUE: &str = "/bin/true";

fn main() {
    divan::main();
}

fn command(namespaces: &[Namespace]) -> Command {
    let mut command = Command::new(TRUE);
    command
        .stdin(Stdio::null())
        .unshare(namespaces.iter().copied());
    command
}

fn run(bencher: Bencher<'_, '_>, namespaces: &[Namespace]) {
    let command = command(namespaces);
    bencher.bench_local(|| {
        let status = command.status().expect("/bin/true runs; this needs root");
        assert!(status.success());
    });
}

/// What there is to compare with.
#[divan::bench(sample_count = 100)]
fn std_process(bencher: Bencher<'_, '_>) {
    bencher.bench_local(|| {
        let status = process::Command::new(TRUE)
            .stdin(process::Stdio::null())
            .status()
            .expect("/bin/true runs");
        assert!(status.success());
    });
}

#[divan::bench(sample_count = 100)]
fn no_namespace(bencher: Bencher<'_, '_>) {
    run(bencher, &[]);
}

/// All but the network: what is dear in a network namespace is its end, on which nobody waits.
#[divan::bench(sample_count = 100)]
fn five_namespaces(bencher: Bencher<'_, '_>) {
    use Namespace::{Cgroup, Ipc, Mount, Pid, Uts};
    run(bencher, &[Cgroup, Ipc, Mount, Pid, Uts]);
}

/// What every container has.
#[divan::bench(sample_count = 100)]
fn six_namespaces(bencher: Bencher<'_, '_>) {
    use Namespace::{Cgroup, Ipc, Mount, Net, Pid, Uts};
    run(bencher, &[Cgroup, Ipc, Mount, Net, Pid, Uts]);
}

/// The list of system calls alone, before there is a process.
#[divan::bench]
fn plan(bencher: Bencher<'_, '_>) {
    let command = command(&[Namespace::Mount, Namespace::Pid]);
    bencher.bench_local(|| command.plan().expect("a plan"));
}
