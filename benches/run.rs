//! The whole of `rocker run --rm --network none`: from the call of the engine until nothing is left of the container.
//!
//!     cargo bench --no-run
//!     sudo -E tests/fake_host/enter.sh bench cargo bench --offline --bench run
//!
//! Needs root and a fake host; elsewhere it says so and does nothing.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::OnceLock;

use divan::Bencher;
use rocker_cli::{Engine, Network, Roots, RunOptions};
use tempfile::TempDir;

fn main() -> ExitCode {
    // The image `hello` is made of the program that calls the engine. Inside, it is to end at once.
    let name = std::env::args_os().next().unwrap_or_default();
    if Path::new(&name).file_name() == Some("hello".as_ref()) {
        return ExitCode::SUCCESS;
    }
    let root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if root && host.trim() == "fake-host" {
        divan::main();
    } else {
        say("run: not measured, for want of root in a fake host (see tests/fake_host/enter.sh)");
    }
    ExitCode::SUCCESS
}

/// One engine for all, with the image in its store.
fn engine() -> &'static Engine {
    static ENGINE: OnceLock<(Engine, TempDir)> = OnceLock::new();
    let make = || {
        let place = TempDir::new_in("/run").expect("/run is writable in a fake host");
        let roots = Roots::new(place.path().join("data"), place.path().join("run"));
        (Engine::open(roots).expect("an engine"), place)
    };
    &ENGINE.get_or_init(make).0
}

fn run(bencher: Bencher<'_, '_>, network: Network) {
    let mut options = RunOptions::new("hello");
    options.remove = true;
    options.network = network;
    let once = || {
        let exit = engine().run(&options).expect("the container runs");
        assert_eq!(exit.code, 0);
    };
    once(); // makes the image
    bencher.bench_local(once);
}

#[divan::bench(sample_size = 1, sample_count = 100)]
fn without_network(bencher: Bencher<'_, '_>) {
    run(bencher, Network::None);
}

#[divan::bench(sample_size = 1, sample_count = 100)]
fn on_the_bridge(bencher: Bencher<'_, '_>) {
    run(bencher, Network::Bridge);
}

#[expect(clippy::print_stdout, reason = "a benchmark speaks to whoever runs it")]
fn say(line: &str) {
    println!("{line}");
}
