//! From the start of a program to its end: with `posix_spawn`, with rocker-ns, and in namespaces.
//!
//!     cargo bench --no-run
//!     sudo -E tests/fake_host/enter.sh bench cargo bench --offline --bench spawn
//!
//! The program is an executable of some 130 bytes that makes one system call (see static_true). Needs root. The
//! namespaces are gone when their process is. Beside crun, runc, bwrap and unshare: benches/spawn.sh.

mod static_true;

use std::path::Path;
use std::process;
use std::sync::OnceLock;

use divan::Bencher;
use rocker_ns::{Capabilities, Command, Namespace, Seccomp, Stdio};
use tempfile::TempDir;

fn main() {
    divan::main();
}

fn program() -> &'static Path {
    static PROGRAM: OnceLock<(std::path::PathBuf, TempDir)> = OnceLock::new();
    let make = || {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("true");
        static_true::write(&path).expect("an executable");
        (path, place)
    };
    &PROGRAM.get_or_init(make).0
}

fn command(namespaces: &[Namespace]) -> Command {
    let mut command = Command::new(program());
    command
        .stdin(Stdio::inherit())
        .unshare(namespaces.iter().copied());
    command
}

fn run(bencher: Bencher<'_, '_>, namespaces: &[Namespace]) {
    let command = command(namespaces);
    bencher.bench_local(|| {
        let status = command.status().expect("it runs; this needs root");
        assert!(status.success());
    });
}

/// What there is to compare with: the standard library takes posix_spawn(3) where nothing keeps it from that.
#[divan::bench(sample_count = 200)]
fn posix_spawn(bencher: Bencher<'_, '_>) {
    let mut command = process::Command::new(program());
    bencher.bench_local(|| assert!(command.status().expect("it runs").success()));
}

#[divan::bench(sample_count = 200)]
fn no_namespace(bencher: Bencher<'_, '_>) {
    run(bencher, &[]);
}

/// All but the network: what is dear in a network namespace is its making, and its end, on which nobody waits.
#[divan::bench(sample_count = 200)]
fn five_namespaces(bencher: Bencher<'_, '_>) {
    use Namespace::{Cgroup, Ipc, Mount, Pid, Uts};
    run(bencher, &[Cgroup, Ipc, Mount, Pid, Uts]);
}

/// What every container has.
#[divan::bench(sample_count = 200)]
fn six_namespaces(bencher: Bencher<'_, '_>) {
    use Namespace::{Cgroup, Ipc, Mount, Net, Pid, Uts};
    run(bencher, &[Cgroup, Ipc, Mount, Net, Pid, Uts]);
}

/// The kernel's own account of a process that waits, held against what was asked for. Only that is measured.
#[divan::bench(sample_count = 200, sample_size = 1)]
fn attest(bencher: Bencher<'_, '_>) {
    use Namespace::{Cgroup, Ipc, Mount, Net, Pid, Uts};
    let mut command = command(&[Cgroup, Ipc, Mount, Net, Pid, Uts]);
    command.capabilities(Capabilities::container_default());
    let ready = || {
        let mut created = command.create().expect("it is made; this needs root");
        created.ready().expect("it is ready");
        created
    };
    bencher
        .with_inputs(ready)
        .bench_local_values(|mut created| {
            created.attest().expect("it is what was asked for");
            created
        });
}

/// The default profile of system calls as a program for the kernel.
#[divan::bench]
fn compile_seccomp() -> rocker_ns::SeccompFilter {
    let profile = Seccomp::container_default(Capabilities::container_default());
    profile.compile().expect("a program")
}

/// From a process with as much memory in use, in pages of 4 KiB: the child begins as a copy of its page tables.
#[divan::bench(args = [0, 256, 1024], sample_count = 20, sample_size = 1)]
fn no_namespace_beside_mebibytes(bencher: Bencher<'_, '_>, mebibytes: usize) {
    let memory = vec![1_u8; mebibytes << 20];
    run(bencher, &[]);
    divan::black_box(&memory);
}

/// The list of system calls alone, before there is a process.
#[divan::bench]
fn plan(bencher: Bencher<'_, '_>) {
    let command = command(&[Namespace::Mount, Namespace::Pid]);
    bencher.bench_local(|| command.plan().expect("a plan"));
}
