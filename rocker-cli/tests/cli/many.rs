//! Many containers at once, of which a third is killed at a moment that nobody chose.

use std::fs;
use std::io::Write;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::crash_steps::reap_all_but;
use crate::fake_host;
use crate::support::Scene;

/// How many run at the same time.
const AT_ONCE: usize = 50;
/// How long one may take, with all the others.
const LIMIT: Duration = Duration::from_secs(90);

/// Numbers by lot, the same ones each time (xorshift).
fn lot(seed: usize) -> u64 {
    let mut number = (seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for _ in 0..3 {
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
    }
    number
}

/// What the `number`th of them does.
fn command(number: usize) -> String {
    match number % 5 {
        0 => "run --rm $I true".to_owned(),
        1 => format!("run -d --name detached-{number} $I true"),
        2 => format!("run --name named-{number} --mem 64 $I true"),
        3 => "exec web true".to_owned(),
        _ => "run -d --rm --network none $I true".to_owned(),
    }
}

/// Waits for its end; at most until `end`.
fn ends(child: &mut Child, end: Instant) -> Option<i32> {
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        assert!(Instant::now() < end, "it hangs");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Runs one command, and kills every third after a while; whether it was killed.
fn run_one(scene: &Scene<'_>, number: usize) -> bool {
    let args = command(number);
    let report = scene.host.dir("reports").join(number.to_string());
    let mut child = scene
        .shell(&format!("exec rocker {args}"))
        .stdout(Stdio::null())
        // A file, since those who are detached keep a pipe open.
        .stderr(fs::File::create(&report).unwrap())
        .spawn()
        .unwrap();
    let end = Instant::now() + LIMIT;
    if lot(number).is_multiple_of(3) {
        // No synchronisation: any moment will do.
        thread::sleep(Duration::from_millis(lot(number) / 3 % 800));
        child.kill().unwrap();
    }
    match ends(&mut child, end) {
        None => true,
        Some(0) => false,
        Some(code) => panic!("{args}: {code}: {}", fs::read_to_string(report).unwrap()),
    }
}

/// Checks that each blob holds what its name says.
fn verify(scene: &Scene<'_>) {
    let script = format!(
        "cd {}/images/blobs/sha256; for blob in *; do echo \"$blob  $blob\"; done | sha256sum -c --quiet",
        scene.root.display()
    );
    scene.host.sh(&script);
}

#[test]
fn many_at_once_of_which_a_third_is_killed_leave_nothing() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let long = std::env::var_os("ROCKER_TEST_LONG").is_some();
        let count = if long { 1000 } else { 200 };
        let mut web = scene.start_idle("--rm --name web");
        let (next, killed) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let start = Instant::now();
        thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= count {
                            return;
                        }
                        let was_killed = run_one(&scene, number);
                        killed.fetch_add(usize::from(was_killed), Ordering::Relaxed);
                    }
                });
            }
        });
        let killed = killed.into_inner();
        let _ = writeln!(
            std::io::stderr(),
            "{count} commands, of which {killed} were killed, in {:?}",
            start.elapsed()
        );
        assert!(killed > count / 10, "only {killed} were killed");
        web.end_input();
        // As a host's init does for it: the programs of killed execs.
        host.wait_until("the one that ran all the time has ended", LIMIT, || {
            reap_all_but(web.pid())
        });
        assert_eq!(web.end().code, 0);
        host.wait_until("the detached ones have ended", LIMIT, || {
            scene.ok("ps -q").is_empty()
        });
        scene.assert_nothing_left("many containers");
        // Whoever was not killed has a container of his name.
        let names = scene.ok("ps -a --format '{{.Names}}'");
        for name in names.lines() {
            assert!(
                name.starts_with("detached-") || name.starts_with("named-"),
                "{name}"
            );
        }
        scene.ok("rm $(rocker ps -aq)");
        scene.assert_all_gone("many containers");
        verify(&scene);
        assert_eq!(scene.ok("run --rm $I echo whole"), "whole\n");
    });
}
