//! How a container is: what its check finds.

use std::time::{Duration, Instant};

use crate::fake_host;
use crate::registry::busybox_root;
use crate::support::{LIMIT, Scene};

/// Checks that follow each other closely.
const SOON: &str = "--health-interval 50ms --health-retries 2";

#[test]
fn a_container_starts_and_becomes_healthy_and_unhealthy_and_healthy_again() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let check = "[ -e /well ] && echo fine || { echo ill; exit 3; }";
        scene.up(
            "web",
            &format!("--health-cmd '{check}' {SOON} --health-start-period 100s --health-start-interval 50ms"),
            "echo up; exec sleep 1000",
        );
        assert_eq!(scene.at("web", "/State/Health/Status"), "starting");
        assert!(scene.ok("ps").contains(" (health: starting)"));
        host.wait_until("it was checked", LIMIT, || {
            scene.at("web", "/State/Health/Log") != "[]"
        });
        // What fails in the beginning does not count.
        assert_eq!(scene.at("web", "/State/Health/FailingStreak"), "0");
        assert_eq!(scene.at("web", "/State/Health/Log/0/ExitCode"), "3");
        assert_eq!(scene.at("web", "/State/Health/Log/0/Output"), "ill");
        for (change, status) in [
            ("touch /well", "healthy"),
            ("rm /well", "unhealthy"),
            ("touch /well", "healthy"),
        ] {
            scene.ok(&format!("exec web {change}"));
            host.wait_until(status, LIMIT, || {
                scene.at("web", "/State/Health/Status") == status
            });
            assert!(scene.ok("ps").contains(&format!(" ({status})")));
            let found = scene.ok(&format!("ps -q --filter health={status}"));
            assert_eq!(found.lines().count(), 1);
        }
        host.wait_until("there are five", LIMIT, || {
            scene.run("inspect -f /State/Health/Log/4/ExitCode web").out == "0\n"
        });
        assert_eq!(scene.run("inspect -f /State/Health/Log/5 web").code, 1);
        let told = scene
            .ok("events --since 1h --until 0s --filter event=health_status --format '{{.Action}}'");
        assert_eq!(
            told,
            "health_status: healthy\nhealth_status: unhealthy\nhealth_status: healthy\n"
        );
        // What a check says is not what the program says.
        assert_eq!(scene.ok("logs web"), "up\n");
        scene.ok("rm -f web");
        scene.assert_all_gone("checks");
    });
}

#[test]
fn a_check_that_hangs_is_killed_and_counts_as_failed() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.up(
            "web",
            &format!("--health-cmd 'exec sleep 7777' --health-timeout 200ms {SOON}"),
            "echo up; exec sleep 1000",
        );
        host.wait_until("it counts", LIMIT, || {
            scene.at("web", "/State/Health/Status") == "unhealthy"
        });
        assert_eq!(scene.at("web", "/State/Health/Log/0/ExitCode"), "-1");
        let output = scene.at("web", "/State/Health/Log/0/Output");
        assert!(output.contains("200ms"), "{output}");
        // One at a time.
        assert!(
            host.sh("pgrep -cxf 'sleep 7777' || true")
                .trim()
                .parse::<u32>()
                .unwrap()
                <= 1
        );
        scene.ok("rm -f web");
        scene.assert_all_gone("a check that hangs");
    });
}

#[test]
fn a_check_during_a_pause_has_its_time_afterwards() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.up(
            "web",
            "--health-cmd 'while [ ! -e /go ]; do sleep 0.0555; done' --health-interval 50ms --health-retries 1 --health-timeout 3s",
            "echo up; exec sleep 1000",
        );
        host.wait_until("a check runs", LIMIT, || {
            host.try_sh("pgrep -xf 'sleep 0.0555'").status.success()
        });
        scene.ok("pause web");
        // Longer than a check may take.
        std::thread::sleep(Duration::from_millis(3500));
        assert_eq!(scene.at("web", "/State/Health/Status"), "starting");
        scene.ok("unpause web");
        scene.ok("exec web touch /go");
        host.wait_until("it is healthy", LIMIT, || {
            scene.at("web", "/State/Health/Status") == "healthy"
        });
        assert_eq!(scene.at("web", "/State/Health/Log/0/ExitCode"), "0");
        scene.ok("rm -f web");
        scene.assert_all_gone("a check during a pause");
    });
}

#[test]
fn a_check_that_runs_keeps_no_container_from_ending() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        for flags in ["", "--init"] {
            let check = "trap \"\" TERM; sleep 8888";
            scene.up(
                "web",
                &format!(
                    "{flags} --health-cmd '{check}' --health-interval 50ms --health-timeout 1h"
                ),
                "trap \"exit 4\" TERM; echo up; while :; do sleep 0.01; done",
            );
            host.wait_until("a check runs", LIMIT, || {
                host.try_sh("pgrep -xf 'sleep 8888'").status.success()
            });
            let start = Instant::now();
            scene.ok("stop web");
            assert!(
                start.elapsed() < Duration::from_secs(4),
                "{:?}",
                start.elapsed()
            );
            assert_eq!(scene.at("web", "/State/ExitCode"), "4");
            scene.ok("rm web");
            scene.assert_all_gone("a container that was being checked");
        }
    });
}

#[test]
fn an_image_brings_a_check_that_flags_change_or_forbid() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let root = busybox_root(&host.dir("checked"));
        let config = r#"{"Env":["PATH=/bin"],"Healthcheck":{"Test":["CMD","test","-e","/bin/sh"],"Interval":50000000,"Retries":7}}"#;
        let image = scene.registry.push_dir(&root, "checked", config);
        scene.ok(&format!("run -d --init --name plain {image} sleep 1000"));
        host.wait_until("it is well", LIMIT, || {
            scene.at("plain", "/State/Health/Status") == "healthy"
        });
        assert_eq!(scene.at("plain", "/Config/Healthcheck/Retries"), "7");
        scene.ok(&format!(
            "run -d --init --name other --health-cmd false --health-retries 1 {image} sleep 1000"
        ));
        host.wait_until("it is ill", LIMIT, || {
            scene.at("other", "/State/Health/Status") == "unhealthy"
        });
        scene.ok(&format!(
            "run -d --init --name none --no-healthcheck {image} sleep 1000"
        ));
        assert_eq!(scene.run("inspect -f /State/Health none").code, 1);
        assert!(!scene.ok("ps --filter name=none").contains("health"));
        for wrong in [
            "--health-interval soon --health-cmd x",
            "--no-healthcheck --health-cmd x",
        ] {
            scene.fails(125, &format!("run {wrong} $I true"));
        }
        scene.ok("rm -f plain other none");
        scene.assert_all_gone("checks of images");
    });
}

#[test]
fn a_check_that_cannot_run_is_a_check_that_fails() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let root = busybox_root(&host.dir("odd"));
        let config = r#"{"Env":["PATH=/bin"],"Healthcheck":{"Test":["CMD","/nosuch"],"Interval":50000000,"Retries":2}}"#;
        let image = scene.registry.push_dir(&root, "odd", config);
        scene.ok(&format!("run -d --init --name odd {image} sleep 1000"));
        host.wait_until("it is ill", LIMIT, || {
            scene.at("odd", "/State/Health/Status") == "unhealthy"
        });
        assert!(
            scene
                .at("odd", "/State/Health/Log/0/Output")
                .contains("/nosuch")
        );
        scene.ok("rm -f odd");
        scene.assert_all_gone("a check that cannot run");
    });
}
