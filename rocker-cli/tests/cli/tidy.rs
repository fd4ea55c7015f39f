//! What an ended container leaves on the network, to be taken back a little later.

use std::time::Duration;

use crate::fake_host;
use crate::support::Scene;

/// As it is for users: somebody else takes it back.
const LATER: &str = "unset ROCKER_LINGER;";

/// Longer than it takes.
const LIMIT: Duration = Duration::from_secs(20);

fn run_later(scene: &Scene<'_>, args: &str) {
    let done = scene.script(&format!("{LATER} rocker {args}"));
    assert_eq!((done.code, done.err.as_str()), (0, ""), "{done:?}");
}

fn pid_of_tidier(scene: &Scene<'_>) -> Option<String> {
    let found = scene.script("pgrep -f '^rocker-tidier'");
    found.out.lines().next().map(str::to_owned)
}

#[test]
fn the_network_of_the_last_container_goes_by_itself() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        run_later(&scene, "run --rm $I true");
        // The next container finds the network as it was left.
        let index = host.sh("cat /sys/class/net/rocker0/ifindex");
        run_later(&scene, "run --rm $I true");
        assert_eq!(host.sh("cat /sys/class/net/rocker0/ifindex"), index);
        host.wait_until("the network is gone", LIMIT, || {
            pid_of_tidier(&scene).is_none()
        });
        scene.assert_all_gone("some seconds");
    });
}

#[test]
fn a_container_that_runs_keeps_its_network_when_another_one_ends() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let idle = scene.start_idle("--rm");
        run_later(&scene, "run --rm $I true");
        host.wait_until("what the other one had is taken back", LIMIT, || {
            pid_of_tidier(&scene).is_none()
        });
        let leases = host.sh(&format!(
            "ls {}/networks/bridge/leases",
            scene.root.display()
        ));
        assert_eq!(
            leases.lines().count(),
            2,
            "one, and which was the last: {leases}"
        );
        assert_eq!(host.sh("ls /sys/class/net/rocker0/brif").lines().count(), 1);
        assert_eq!(idle.end().code, 0);
        scene.assert_all_gone("both");
    });
}

#[test]
fn what_a_killed_tidier_leaves_is_taken_back_by_the_next_command() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        run_later(&scene, "run --rm $I true");
        let tidier = pid_of_tidier(&scene).expect("somebody is about to take it back");
        host.sh(&format!("kill -9 {tidier}"));
        host.wait_until("it is dead", LIMIT, || pid_of_tidier(&scene).is_none());
        host.wait_until("its cable has gone with its namespace", LIMIT, || {
            host.sh("ls /sys/class/net").lines().count() == 2
        });
        scene.ok("ps");
        scene.assert_all_gone("the next command");
    });
}

#[test]
fn a_container_is_started_again_while_its_place_on_the_network_is_not_taken_back_yet() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        run_later(&scene, "run --name web $I true");
        run_later(&scene, "start -a web");
        run_later(&scene, "rm web");
        host.wait_until("the network is gone", LIMIT, || {
            pid_of_tidier(&scene).is_none()
        });
        scene.assert_all_gone("some seconds");
    });
}
