//! What an ended container leaves on the network, to be taken back a little later.

use std::time::Duration;

use crate::crash_steps::{Hit, kill_at_each_step};
use crate::fake_host;
use crate::ports::{neighbour, seen_from_lan, serve};
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

/// Leaves the place of a container on the default network, with a published port, and nobody who is about to take it back.
fn leave_a_place(scene: &Scene<'_>) {
    let host = scene.host;
    run_later(scene, "run --rm -p 8081:80 $I true");
    let tidier = pid_of_tidier(scene).expect("somebody is about to take it back");
    host.sh(&format!("kill -9 {tidier}"));
    host.wait_until("it is dead", LIMIT, || pid_of_tidier(scene).is_none());
    host.sh("test -e /sys/class/net/rocker0");
}

/// What the container `web` needs on its network `front`: its rules, its lease, and that the host forwards for it.
fn of_front(scene: &Scene<'_>) -> String {
    scene.host.sh(&format!(
        "nft -s list table inet rocker-front; nft -s list table bridge rocker-front; nft -s list table inet rocker_ports-front
         cat /proc/sys/net/ipv4/conf/up0/forwarding /proc/sys/net/ipv4/conf/br-front/forwarding
         ls {}/networks/front/leases; ls /sys/class/net/br-front/brif",
        scene.root.display()
    ))
}

#[test]
fn who_takes_back_a_place_and_is_killed_takes_nothing_from_another_network() {
    fake_host::run(|host| {
        neighbour(host);
        let scene = Scene::new(host);
        scene.ok("network create -o com.docker.network.bridge.name=br-front front");
        serve(&scene, "--network front -p 8080:80 --name web");
        let client = || seen_from_lan(host, "198.51.100.2:8080").expect("the server is reached");
        let (state, front) = (host.state(), of_front(&scene));
        assert!(front.starts_with("table inet rocker-front"), "{front}");
        let whole = |after: &str| {
            assert_eq!(of_front(&scene), front, "after {after}");
            assert_eq!(client(), "198.51.100.1", "after {after}");
        };
        whole("the start");
        let before = || {
            leave_a_place(&scene);
            whole("a place that is left");
        };
        kill_at_each_step(&scene, Hit::First, "ps -q", before, |after| {
            whole(after);
            // What is left of it is taken back by the next one, and by the same way if there is nothing.
            scene.ok("ps -q");
            assert_eq!(host.state(), state, "after {after}");
            whole(after);
        });
        scene.ok("rm -f web");
        scene.ok("network rm front");
        scene.assert_all_gone("all of them");
    });
}

#[test]
fn a_tidier_that_is_killed_at_its_work_takes_nothing_from_another_network() {
    fake_host::run(|host| {
        neighbour(host);
        let scene = Scene::new(host);
        scene.ok("network create -o com.docker.network.bridge.name=br-front front");
        serve(&scene, "--network front -p 8080:80 --name web");
        let (state, front) = (host.state(), of_front(&scene));
        let whole = |after: &str| {
            assert_eq!(of_front(&scene), front, "after {after}");
            let client = seen_from_lan(host, "198.51.100.2:8080");
            assert_eq!(client.as_deref(), Some("198.51.100.1"), "after {after}");
        };
        let mut kills = 0;
        for (call, count) in [
            ("unlink", 1),
            ("sendto", 1),
            ("sendto", 3),
            ("sendto", 5),
            ("openat", 12),
            ("ftruncate", 1),
        ] {
            run_later(&scene, "run --rm -p 8081:80 $I true");
            let tidier = pid_of_tidier(&scene).expect("somebody is about to take it back");
            // It waits some seconds, in which it can be had under the eyes of somebody who kills it.
            host.sh(&format!(
                "strace -q -o /run/killed -e trace={call} -e signal=none -e inject={call}:signal=KILL:when={count} -p {tidier} || true"
            ));
            let after = format!("the tidier killed at {call} number {count}");
            kills += usize::from(host.sh("cat /run/killed").contains("= ?\n"));
            whole(&after);
            scene.ok("ps -q");
            assert_eq!(host.state(), state, "after {after}");
            whole(&after);
        }
        assert_eq!(kills, 6, "kills");
        scene.ok("rm -f web");
        scene.ok("network rm front");
        scene.assert_all_gone("all of them");
    });
}
