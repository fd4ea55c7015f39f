//! Limits, as they are written and as they bite.

use std::time::{Duration, Instant};

use crate::fake_host;
use crate::support::Scene;

/// Prints what the kernel holds the container to, on either version of cgroups.
const SHOW: &str = "cd /sys/fs/cgroup
    if [ -e cgroup.controllers ]; then cat memory.max memory.swap.max pids.max cpu.max
    else cat memory/memory.limit_in_bytes memory/memory.memsw.limit_in_bytes pids/pids.max cpu/cpu.cfs_quota_us; fi";

#[test]
fn both_spellings_of_every_limit_are_written_to_the_cgroup() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let limits = |flags: &str| -> Vec<String> {
            let out = scene.ok(&format!("run --rm {flags} $I sh -c '{SHOW}'"));
            out.lines().map(str::to_owned).collect()
        };
        let v2 = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        let (swap, quota, mebi) = if v2 {
            (16, "50000 100000", 1 << 20)
        } else {
            (48, "50000", 1 << 20)
        };
        let expected = [
            (32 * mebi).to_string(),
            (swap * mebi).to_string(),
            "77".to_owned(),
            quota.to_owned(),
        ];
        assert_eq!(limits("--mem 32 --swap 16 --pids 77 --cpus 0.5"), expected);
        assert_eq!(
            limits("-m 32m --memory-swap 48m --pids-limit 77 --cpus .5"),
            expected
        );
        assert_eq!(
            limits("--memory 32768k --memory-swap 50331648 --pids-limit=77 --cpus=0.50"),
            expected
        );
        assert_eq!(limits("--pids -1")[2], "max");
        scene.assert_all_gone("runs with limits");
    });
}

#[test]
fn a_process_over_the_memory_limit_is_killed_and_rocker_says_so() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let eat = "dd if=/dev/zero of=/dev/shm/x bs=1M count=60";
        let done = scene.run(&format!("run --name eater --mem 32 --swap 0 $I {eat}"));
        assert_eq!(done.code, 137, "{done:?}");
        let line = done.err.lines().last().unwrap();
        assert!(
            line.starts_with("rocker: out of memory") && line.contains("32 MiB"),
            "{done:?}"
        );
        let table = scene.ok("ps -a");
        assert!(
            table.contains("Exited (137, out of memory within its own limit) "),
            "{table}"
        );
        scene.ok("rm eater");
        assert_eq!(
            scene
                .run(&format!("run --rm --mem 100 --swap 0 $I {eat}"))
                .code,
            0
        );
        // It is said as well where the one that is killed is not the first process.
        let done = scene.run(&format!(
            "run --rm -m 32m --memory-swap 32m $I sh -c '{eat} 2>/dev/null; exit 3'"
        ));
        assert_eq!(done.code, 3, "{done:?}");
        assert!(done.err.contains("out of memory"), "{done:?}");
        scene.assert_all_gone("runs out of memory");
    });
}

#[test]
fn a_fork_loop_ends_at_the_limit_of_processes() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let forks = "i=0; while [ $i -lt 60 ]; do sleep 1000 & i=$((i+1)); done; echo all";
        let done = scene.run(&format!("run --rm --pids 20 $I sh -c '{forks}'"));
        assert!(done.code != 0 && done.out.is_empty(), "{done:?}");
        assert!(done.err.contains("fork"), "{done:?}");
        scene.assert_all_gone("a fork loop");
        assert_eq!(
            scene.ok(&format!("run --rm --pids 100 $I sh -c '{forks}'")),
            "all\n"
        );
        scene.assert_all_gone("sixty processes");
    });
}

#[test]
fn half_a_cpu_is_half_a_cpu() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        // Two loops on two CPUs would use two; what they get is counted by the kernel.
        let mut run = scene.start("run -i --rm --cpus 0.5 $I sh -c 'while :; do :; done & while :; do :; done & echo up; cat'");
        assert_eq!(run.line(), "up");
        let usage = || {
            let v1 =
                "find /sys/fs/cgroup/cpuacct -path '*/rocker-*' -name cpuacct.usage -exec cat {} +";
            let v2 = "sed -n 's/usage_usec \\(.*\\)/\\1000/p' /sys/fs/cgroup/rocker-*/cpu.stat";
            let nanos = host.sh(&format!("{v1} 2>/dev/null || {v2}"));
            Duration::from_nanos(nanos.trim().parse().unwrap())
        };
        // Never more than half; and half, as soon as the machine has that much to give.
        let mut best = 0.0_f64;
        for _ in 0..20 {
            let (start, before) = (Instant::now(), usage());
            std::thread::sleep(Duration::from_millis(1500));
            let share = (usage() - before).as_secs_f64() / start.elapsed().as_secs_f64();
            assert!(share < 0.6, "used {share} of a CPU");
            best = best.max(share);
            if best > 0.35 {
                break;
            }
        }

        run.signal("TERM");
        run.end_input();
        assert_eq!(run.end().code, 0);
        assert!(best > 0.35, "used {best} of a CPU at best");
        scene.assert_all_gone("a busy run");
    });
}

#[test]
fn limits_that_make_no_sense_are_refused_by_name() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        for (flags, names) in [
            ("--cpus 0", "--cpus"),
            ("--cpus=-1", "--cpus"),
            ("--cpus many", "--cpus"),
            ("-m 1x", "--memory"),
            ("-m 0", "--memory"),
            ("--memory-swap 64m", "swap"),
            ("-m 64m --memory-swap 32m", "swap"),
            ("--swap 10", "--swap"),
            ("--mem 0", "memory"),
            ("-m 4k", "memory"),
            ("--network 5g", "no network \"5g\""),
            ("--network 5:g", "--network"),
            ("--pull often", "--pull"),
            ("-v relative/:x", "--volume"),
            ("-v not!a!name:/x", "--volume"),
            ("--name 'a b'", "a b"),
            ("--platform pdp11", "pdp11"),
        ] {
            let line = scene.fails(125, &format!("run {flags} $I true"));
            assert!(line.contains(names), "{flags}: {line}");
            scene.assert_all_gone(flags);
        }
        for flags in ["--mem many", "--pids many", "--nosuch", "--mem 64 -m 64m"] {
            let done = scene.run(&format!("run {flags} $I true"));
            assert!(done.code == 125 && !done.err.is_empty(), "{done:?}");
            scene.assert_all_gone(flags);
        }
    });
}
