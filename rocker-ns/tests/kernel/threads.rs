//! Processes made in a program with threads.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rocker_ns::ExitCode;

use crate::fake_host;
use crate::{OWN, shell};

#[test]
fn processes_made_side_by_side_do_not_hold_up_each_other() {
    fake_host::run(|_| {
        let created = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| shell("exit 5").create().unwrap()))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect::<Vec<_>>()
        });
        // Each waits for the end of its line while the others have not run their programs yet.
        for process in created {
            assert_eq!(process.start().unwrap().wait().unwrap().exit_code(), 5);
        }
    });
}

#[test]
fn spawning_beside_eight_threads_that_allocate_never_hangs() {
    fake_host::run(|_| {
        let stop = Arc::new(AtomicBool::new(false));
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let stop = Arc::clone(&stop);
                std::thread::spawn(move || {
                    let mut size = 1;
                    while !stop.load(Ordering::Relaxed) {
                        size = size % 5000 + 1;
                        std::hint::black_box(vec![0_u8; size]);
                    }
                })
            })
            .collect();
        for _ in 0..100 {
            assert!(shell("exit 0").unshare(OWN).status().unwrap().success());
        }
        stop.store(true, Ordering::Relaxed);
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn the_child_asks_for_no_memory_and_takes_no_lock_before_its_program() {
    const TEST: &str = "threads::the_child_asks_for_no_memory_and_takes_no_lock_before_its_program";
    if std::env::var_os("ROCKER_NS_UNDER_STRACE").is_some() {
        for init in [false, true] {
            shell("true").unshare(OWN).init(init).status().unwrap();
        }
        return;
    }
    fake_host::run(|host| {
        let log = host.dir("strace").join("log");
        let status = std::process::Command::new("strace")
            .args(["-f", "-o", log.to_str().unwrap()])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", TEST])
            .env("ROCKER_NS_UNDER_STRACE", "1")
            .stdout(std::process::Stdio::null())
            .status()
            .expect("strace is installed");
        assert!(status.success());
        let log = fs::read_to_string(log).unwrap();
        let of = |pid: &str| -> Vec<String> {
            let lines = log.lines().filter_map(|line| line.strip_prefix(pid));
            let calls = lines.map(|call| call.trim_start().to_owned());
            calls
                .take_while(|call| !call.starts_with("execve"))
                .collect()
        };
        // The child is the process that makes itself undumpable.
        let undumpable = log.lines().filter(|line| line.contains("PR_SET_DUMPABLE"));
        let mut children: Vec<_> = undumpable
            .filter_map(|line| line.split(' ').next())
            .collect();
        assert_eq!(children.len(), 2, "{log}");
        // With an init, the one that executes the program comes right behind it.
        let program: i32 = children[1].parse().unwrap();
        let program = (program + 1).to_string();
        children.push(&program);
        for (child, least) in children.into_iter().zip([10, 10, 2]) {
            let calls = of(child);
            assert!(calls.len() >= least, "{child}: {calls:?}");
            for call in &calls {
                for forbidden in ["brk", "mmap", "mprotect", "futex", "clock_gettime"] {
                    assert!(!call.starts_with(forbidden), "{call}");
                }
            }
        }
    });
}
