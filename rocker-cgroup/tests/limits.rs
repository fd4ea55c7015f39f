//! Each limit on the real kernel, measured: what is below it is left alone, and what is beyond it is not.
//!
//! The programs that are limited are this test binary itself, in one of several roles.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test panics and prints, also in its helper functions"
)]

#[path = "../../tests/fake_host/mod.rs"]
mod fake_host;
mod limited;

use std::fs::{self};
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rocker_cgroup::{Cgroup, Compat, Controller, CpuQuota, Error, Event, Limits, Max, OomLevel};

use limited::*;

#[test]
fn cpu_time_is_shared_out_by_weight_within_five_points() {
    fake_host::run(|host| {
        let before = host.state();
        let make = |name, shares| {
            let limits = Limits::default().cpu_shares(shares).cpuset_cpus("0");
            create("rocker", name, &limits)
        };
        let (light, heavy) = (make("light", 512), make("heavy", 2048));
        let burn = "while :; do :; done";
        let children = [sh(&light, burn), sh(&heavy, burn)];
        // 512 and 2048 are 1 to 4 on v1, and by the formula of weights 59 to 175 on v2.
        let expected = if on_v2(Controller::Cpu) {
            175.0 / 234.0
        } else {
            0.8
        };
        let mut shares = Vec::new();
        for _ in 0..10 {
            let (one, two) = (used(&light), used(&heavy));
            thread::sleep(Duration::from_secs(3));
            let (one, two) = (used(&light) - one, used(&heavy) - two);
            shares.push(two.as_secs_f64() / (one + two).as_secs_f64());
            if (shares.last().unwrap() - expected).abs() <= 0.05 {
                break;
            }
        }
        println!("measured, of {expected}: {shares:?}");
        assert!(
            (shares.last().unwrap() - expected).abs() <= 0.05,
            "{shares:?}"
        );
        light.remove().unwrap();
        heavy.remove().unwrap();
        for child in children {
            outcome(child);
        }
        assert_eq!(host.state(), before);
    });
}

#[test]
fn a_quota_holds_within_five_points_and_an_update_changes_it() {
    fake_host::run(|host| {
        let before = host.state();
        let quota = |cpus| Limits::default().cpu(CpuQuota::from_cpus(cpus).unwrap());
        let cgroup = create("rocker", "quota", &quota(0.3));
        let child = sh(&cgroup, "while :; do :; done");
        for cpus in [0.3, 0.6, 0.04] {
            cgroup.apply(&quota(cpus), Compat::Require).unwrap();
            // On a busy machine it may get less than it may, but never more.
            let mut shares = Vec::new();
            for _ in 0..20 {
                let (start, before) = (Instant::now(), used(&cgroup));
                thread::sleep(Duration::from_secs(3));
                let share = (used(&cgroup) - before).as_secs_f64() / start.elapsed().as_secs_f64();
                assert!(
                    share <= cpus + 0.05,
                    "{share} of a CPU, where {cpus} is allowed"
                );
                shares.push(share);
                if share >= cpus - 0.05 {
                    break;
                }
            }
            println!("measured, of {cpus} CPUs: {shares:?}");
            assert!(*shares.last().unwrap() >= cpus - 0.05, "{shares:?}");
        }
        let stats = cgroup.stats().unwrap();
        assert!(
            stats.cpu_throttled_periods.unwrap() > 10 && !stats.cpu_throttled.unwrap().is_zero()
        );
        cgroup.remove().unwrap();
        outcome(child);
        assert_eq!(host.state(), before);
    });
}

/// Uses so many bytes of memory of its own, page by page.
fn touch(bytes: usize) {
    let mut memory = vec![0_u8; bytes];
    for page in memory.chunks_mut(PAGE) {
        page[0] = 1;
    }
    std::hint::black_box(&memory);
    println!("lives with {bytes}");
}

#[test]
fn a_program_dies_of_the_page_over_its_memory_and_lives_with_what_is_below() {
    const TEST: &str = "a_program_dies_of_the_page_over_its_memory_and_lives_with_what_is_below";
    if let Some(bytes) = role() {
        return touch(bytes.parse().unwrap());
    }
    fake_host::run(|host| {
        let before = host.state();
        let limit = 64 * MIB;
        let limits = Limits::default().memory_bytes(limit);
        let cgroup = create("rocker", "memory", &limits);
        let mut events = cgroup.events().unwrap();
        // What the program itself takes counts too, with the tables of its pages: that much is below.
        let (said, signal) = outcome(play(&cgroup, TEST, &(limit - 4 * MIB).to_string()));
        assert!(said.contains("lives with"), "{said} {signal:?}");
        assert_eq!(cgroup.oom_kills().unwrap(), 0);
        assert_eq!(cgroup.oom_level().unwrap(), None);
        let (said, signal) = outcome(play(&cgroup, TEST, &(limit + PAGE as u64).to_string()));
        assert_eq!(signal, Some(9), "{said}");
        assert_eq!(cgroup.oom_kills().unwrap(), 1);
        assert!(
            matches!(cgroup.oom_level().unwrap(), Some(OomLevel::Own(path)) if path.ends_with("rocker/memory"))
        );
        let seen = wait_for(&mut events, |event| matches!(event, Event::OomKill(1)));
        assert!(
            seen.iter().any(|event| matches!(event, Event::Oom(_))),
            "{seen:?}"
        );
        // With more it lives, from now on.
        cgroup
            .apply(&Limits::default().memory_bytes(2 * limit), Compat::Require)
            .unwrap();
        let (said, _) = outcome(play(&cgroup, TEST, &(limit + PAGE as u64).to_string()));
        assert!(said.contains("lives with"), "{said}");
        assert!(
            cgroup
                .stats()
                .unwrap()
                .memory_peak_bytes
                .is_none_or(|peak| peak >= limit)
        );
        cgroup.remove().unwrap();
        assert_eq!(host.state(), before);
    });
}

/// Waits until the descriptor is readable and one of the events is the one that is waited for; returns all.
#[track_caller]
fn wait_for(events: &mut rocker_cgroup::Events, wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
    let (start, mut all) = (Instant::now(), Vec::new());
    while !all.iter().any(&wanted) {
        assert!(start.elapsed() < LONG, "only {all:?}");
        let timeout = PollTimeout::try_from(LONG).unwrap();
        poll(
            &mut [PollFd::new(events.as_fd(), PollFlags::POLLIN)],
            timeout,
        )
        .unwrap();
        all.extend(events.take().unwrap());
    }
    all
}

#[test]
fn the_level_whose_memory_was_used_up_is_named() {
    const TEST: &str = "the_level_whose_memory_was_used_up_is_named";
    if let Some(bytes) = role() {
        return touch(bytes.parse().unwrap());
    }
    fake_host::run(|host| {
        let before = host.state();
        let small = Limits::default().memory_bytes(16 * MIB);
        let large = Limits::default().memory_bytes(64 * MIB);
        // Its own, also where memory and swap together are what is used up first,
        let both = small.clone().memory_swap_bytes(16 * MIB);
        let own = create("rocker", "own", &Limits::default());
        own.apply(&both, Compat::BestEffort).unwrap();
        assert_eq!(
            outcome(play(&own, TEST, &(32 * MIB).to_string())).1,
            Some(9)
        );
        let level = own.oom_level().unwrap();
        assert!(matches!(level, Some(OomLevel::Own(_))), "{level:?}");
        own.remove().unwrap();
        // a limit above,
        let parent = create("rocker", "parent", &small);
        let child = create("rocker/parent", "child", &large);
        assert_eq!(
            outcome(play(&child, TEST, &(32 * MIB).to_string())).1,
            Some(9)
        );
        let level = child.oom_level().unwrap();
        assert!(
            matches!(&level, Some(OomLevel::Above(path)) if path.ends_with("rocker/parent")),
            "{level:?}"
        );
        child.remove().unwrap();
        parent.remove().unwrap();
        // and one below.
        let parent = create("rocker", "parent", &large);
        let child = create("rocker/parent", "child", &small);
        assert_eq!(
            outcome(play(&child, TEST, &(32 * MIB).to_string())).1,
            Some(9)
        );
        let level = parent.oom_level().unwrap();
        assert!(
            matches!(&level, Some(OomLevel::Below(path)) if path.ends_with("parent/child")),
            "{level:?}"
        );
        parent.remove().unwrap();
        assert_eq!(host.state(), before);
    });
}

#[test]
fn a_fork_that_failed_and_the_last_process_are_events() {
    fake_host::run(|host| {
        let before = host.state();
        let cgroup = create("rocker", "events", &Limits::default().pids(3_u64));
        let mut events = cgroup.events().unwrap();
        assert_eq!(events.take().unwrap(), []);
        let child = sh(
            &cgroup,
            "sleep 1000 & sleep 1000 & sleep 1000 & sleep 1000; wait",
        );
        let seen = wait_for(&mut events, |event| matches!(event, Event::PidsMax(_)));
        println!("{seen:?}");
        let tells = on_v2(Controller::Freezer);
        cgroup.kill().unwrap();
        outcome(child);
        if tells {
            wait_for(&mut events, |event| *event == Event::Populated(false));
        }
        cgroup.remove().unwrap();
        assert_eq!(host.state(), before);
    });
}

#[test]
fn the_removal_of_a_cgroup_is_no_lack_of_memory() {
    fake_host::run(|host| {
        let before = host.state();
        let cgroup = create("rocker", "events", &Limits::default());
        let mut events = cgroup.events().unwrap();
        cgroup.remove().unwrap();
        // v1 says a little later that it is gone.
        let quiet = PollTimeout::from(500_u16);
        loop {
            let mut fds = [PollFd::new(events.as_fd(), PollFlags::POLLIN)];
            let woken = poll(&mut fds, quiet).unwrap();
            let seen = events.take().unwrap();
            assert!(
                !seen.iter().any(|one| matches!(one, Event::Oom(_))),
                "{seen:?}"
            );
            if woken == 0 {
                break;
            }
        }
        assert_eq!(host.state(), before);
    });
}

#[test]
fn a_list_of_cpus_that_is_not_granted_is_an_error_and_what_was_before_comes_back() {
    fake_host::run(|host| {
        let before = host.state();
        let parent = create("rocker", "parent", &Limits::default().cpuset_cpus("0"));
        let child = create("rocker/parent", "child", &Limits::default());
        let limits = Limits::default().pids(7_u64).cpuset_cpus("0-1");
        let former = child.former(&limits);
        let error = child.apply(&limits, Compat::Require).unwrap_err();
        let expected = match on_v2(Controller::Cpuset) {
            true => matches!(&error, Error::NotInForce { found, .. } if found == "0"),
            false => matches!(error, Error::Limit { .. } | Error::PermissionDenied { .. }),
        };
        assert!(expected, "{error:?}");
        let pids = |cgroup: &Cgroup| cgroup.stats().unwrap().pids_limit;
        assert_eq!(pids(&child), Some(Max::At(7)));
        child.restore(&former).unwrap();
        assert_eq!(pids(&child), Some(Max::Unlimited));
        assert_eq!(child.former(&limits), former);
        child.remove().unwrap();
        parent.remove().unwrap();
        assert_eq!(host.state(), before);
    });
}

#[test]
fn a_process_that_was_moved_out_by_hand_lives_and_does_not_block_the_removal() {
    fake_host::run(|host| {
        let before = host.state();
        let cgroup = create("rocker", "left", &Limits::default().pids(10_u64));
        let stays = sh(&cgroup, "exec sleep 1000");
        let mut leaves = sh(&cgroup, "exec sleep 1000");
        let elsewhere = create("rocker", "elsewhere", &Limits::default());
        for path in elsewhere.paths() {
            // As somebody does it who knows of one tree only, and then of another.
            fs::write(path.join("cgroup.procs"), leaves.id().to_string()).unwrap();
        }
        cgroup.remove().unwrap();
        assert_eq!(outcome(stays).1, Some(9));
        assert!(
            leaves.try_wait().unwrap().is_none(),
            "it was none of ours any more"
        );
        elsewhere.remove().unwrap();
        assert_eq!(outcome(leaves).1, Some(9));
        assert_eq!(host.state(), before);
    });
}

#[test]
fn what_docker_counts_is_counted() {
    const TEST: &str = "what_docker_counts_is_counted";
    if let Some(bytes) = role() {
        let memory = vec![1_u8; bytes.parse().unwrap()];
        thread::sleep(LONG);
        std::hint::black_box(memory);
    }
    fake_host::run(|host| {
        let before = host.state();
        let limits = Limits::default().memory_bytes(256 * MIB).pids(20_u64);
        let cgroup = create("rocker", "stats", &limits);
        let child = play(&cgroup, TEST, &(32 * MIB).to_string());
        host.wait_until("it has its memory", LONG, || {
            cgroup.stats().unwrap().memory_anonymous_bytes.unwrap() >= 32 * MIB
        });
        let stats = cgroup.stats().unwrap();
        let in_use = stats.memory_in_use_bytes().unwrap();
        assert!(
            (32 * MIB..=stats.memory_bytes.unwrap()).contains(&in_use),
            "{stats:?}"
        );
        assert_eq!(stats.memory_limit, Some(Max::At(256 * MIB)));
        assert_eq!(stats.pids_limit, Some(Max::At(20)));
        assert!(stats.pids >= Some(1), "{stats:?}");
        let parts = stats.cpu_user.unwrap() + stats.cpu_system.unwrap();
        assert!(
            !parts.is_zero() && parts <= stats.cpu_usage.unwrap() + Duration::from_millis(20),
            "{stats:?}"
        );
        assert_eq!(
            stats.memory_pressure.is_some(),
            fake_host::require("psi", stats.memory_pressure.is_some())
        );
        cgroup.remove().unwrap();
        assert_eq!(outcome(child).1, Some(9));
        assert_eq!(host.state(), before);
    });
}
