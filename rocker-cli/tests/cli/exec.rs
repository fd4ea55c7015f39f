//! A second command in a container.

use std::time::Duration;

use rocker_cli::{Engine, Error, ExecOptions, Roots};

use crate::fake_host;
use crate::support::Scene;

#[test]
fn exec_runs_beside_by_name_and_by_the_beginning_of_the_id() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let idle = scene.start_idle("--rm --name web -e A=1 -w /tmp --hostname inside");
        let id = scene.ok("ps -q");
        for name in ["web", id.trim(), &id[..4]] {
            assert_eq!(scene.ok(&format!("exec {name} hostname")), "inside\n");
        }
        // What it changes, the container sees.
        scene.ok("exec web touch /tmp/mark");
        assert_eq!(scene.ok("exec web ls /tmp"), "mark\n");
        assert_eq!(scene.ok("exec web sh -c 'echo $A; pwd'"), "1\n/tmp\n");
        assert_eq!(
            scene.ok("exec -e A=2 -e B=3 -w / web sh -c 'echo $A $B; pwd'"),
            "2 3\n/\n"
        );
        assert_eq!(
            scene.ok("exec -u nobody web sh -c 'id -u; id -g; echo $HOME'"),
            "65534\n65534\n/\n"
        );
        assert_eq!(scene.ok("exec -t web tty"), "/dev/pts/0\r\n");
        let typed =
            scene.shell("echo typed | rocker exec -i web cat; echo lost | rocker exec web cat");
        let output = { typed }.output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "typed\n");
        assert_eq!(idle.end().code, 0);
        scene.assert_all_gone("exec");
    });
}

#[test]
fn exec_returns_the_commands_exit_code_or_says_why_it_did_not_run() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let idle = scene.start_idle("--name web");
        assert_eq!(scene.run("exec web sh -c 'exit 5'").code, 5);
        assert_eq!(scene.run("exec web sh -c 'kill -9 $$'").code, 137);
        assert!(scene.fails(127, "exec web nosuch").contains("nosuch"));
        assert!(
            scene
                .fails(126, "exec web /etc/passwd")
                .contains("/etc/passwd")
        );
        assert!(
            scene
                .fails(125, "exec -u nosuch web true")
                .contains("nosuch")
        );
        assert!(scene.fails(125, "exec other true").contains("other"));
        assert_eq!(scene.run("exec web").code, 125);
        assert_eq!(idle.end().code, 0);
        let line = scene.fails(125, "exec web true");
        assert!(
            line.contains("web") && line.contains("not running"),
            "{line}"
        );
        scene.ok("rm web");
        scene.assert_all_gone("failed exec");
    });
}

#[test]
fn exec_is_as_contained_as_the_container() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let idle = scene.start_idle("--rm --name web --mem 64");
        let one = scene.ok("exec web sh -c 'cd /proc/1/ns && for n in *; do readlink $n; done'");
        let own = scene.ok("exec web sh -c 'cd /proc/self/ns && for n in *; do readlink $n; done'");
        assert_eq!(one, own);
        assert!(one.lines().count() >= 8, "{one}");
        let status = "grep -E \"Cap|NoNewPrivs|Seccomp:|Groups\" /proc/";
        assert_eq!(
            scene.ok(&format!("exec web sh -c '{status}1/status'")),
            scene.ok(&format!("exec web sh -c '{status}self/status'"))
        );
        assert_eq!(
            scene.ok("exec web cat /proc/1/cgroup"),
            scene.ok("exec web cat /proc/self/cgroup")
        );
        // So the host sees it too: the process is in all the cgroups of the container.
        let mut beside = scene.start("exec web sh -c 'echo up; exec sleep 4321'");
        assert_eq!(beside.line(), "up");
        let cgroups = host
            .sh("until pid=$(pgrep -xof 'sleep 4321'); do sleep 0.05; done; cat /proc/$pid/cgroup");
        let own = format!("/rocker-{}", scene.containers()[0].0);
        assert!(
            cgroups.lines().all(|line| line.ends_with(&own)),
            "{cgroups}"
        );
        let fds = scene
            .shell("exec 9</etc/hostname; rocker exec web sh -c 'ls /proc/$$/fd; true'")
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&fds.stdout), "0\n1\n2\n");
        assert_eq!(idle.end().code, 0);
        assert_eq!(beside.end().code, 137);
        scene.assert_all_gone("exec");
    });
}

#[test]
fn exec_ends_with_its_container_and_by_signals() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let idle = scene.start_idle("--rm --name web");
        let mut trapped = scene.start(
            "exec web sh -c 'trap \"exit 8\" TERM; echo up; sleep 1000 >/dev/null 2>&1 & wait'",
        );
        assert_eq!(trapped.line(), "up");
        trapped.signal("TERM");
        assert_eq!(trapped.end().code, 8);
        let mut beside = scene.start("exec web sh -c 'echo up; exec sleep 1000'");
        assert_eq!(beside.line(), "up");
        assert_eq!(idle.end().code, 0);
        assert_eq!(beside.end().code, 137);
        scene.assert_all_gone("a container with an exec in it");
    });
}

#[test]
fn an_empty_user_or_directory_is_the_containers_own() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let idle = scene.start_idle("--rm --name web -u 1000 -w /tmp");
        assert_eq!(
            scene.ok("exec -u '' -w '' web sh -c 'id -u; pwd'"),
            "1000\n/tmp\n"
        );
        assert_eq!(idle.end().code, 0);
        scene.assert_all_gone("empty values");
    });
}

#[test]
fn a_working_directory_that_is_none_is_126_and_named() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let idle = scene.start_idle("--rm --name web");
        for dir in ["/nosuch", "/bin/sh"] {
            let line = scene.fails(126, &format!("exec -w {dir} web true"));
            assert!(
                line.contains(&format!("the working directory \"{dir}\"")),
                "{line}"
            );
        }
        assert_eq!(idle.end().code, 0);
        scene.assert_all_gone("working directories");
    });
}

#[test]
fn a_detached_program_goes_on_in_the_container_and_ends_with_it() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let idle = scene.start_idle("--rm --name web");
        assert_eq!(
            scene.ok("exec -d web sh -c 'echo lost; touch /mark; exec sleep 9000'"),
            ""
        );
        host.wait_until("it runs", Duration::from_secs(10), || {
            host.try_sh("pgrep -xf 'sleep 9000'").status.success()
        });
        assert_eq!(scene.ok("exec web ls /mark"), "/mark\n");
        // It counts for the container's limits, and has no file but the three streams.
        let pid = host.sh("pgrep -xf 'sleep 9000'");
        let pid = pid.trim();
        let container = scene.ok("ps -q --no-trunc");
        assert!(
            host.sh(&format!("cat /proc/{pid}/cgroup"))
                .contains(container.trim())
        );
        assert_eq!(
            host.sh(&format!("ls /proc/{pid}/fd | tr '\\n' ' '")),
            "0 1 2 "
        );
        scene.fails(127, "exec -d web nosuch");
        scene.fails(125, "exec -d -t web true");
        assert_eq!(idle.end().code, 0);
        assert!(!host.try_sh("pgrep -xf 'sleep 9000'").status.success());
        scene.assert_all_gone("a detached program");
    });
}

#[test]
fn a_privileged_second_program_has_every_capability() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let idle = scene.start_idle("--rm --name web --cap-drop ALL");
        let held =
            |flags: &str| scene.ok(&format!("exec {flags} web grep CapEff /proc/self/status"));
        assert_eq!(held(""), "CapEff:\t0000000000000000\n");
        let own = host.sh("grep CapEff /proc/self/status");
        assert_eq!(held("--privileged"), own);
        assert_eq!(held("--privileged -u 1000"), "CapEff:\t0000000000000000\n");
        assert_eq!(idle.end().code, 0);
        scene.assert_all_gone("a privileged exec");
    });
}

#[test]
fn a_container_with_an_init_that_nobody_can_trace_is_joined_all_the_same() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let idle = scene.start_idle("--rm --name web --init");
        let script =
            "cat /proc/1/comm; cat /proc/1/cmdline; cat /proc/1/environ 2>&1; ls /proc/1/fd";
        assert_eq!(
            scene.ok(&format!("exec web sh -c '{script}'")),
            "rocker-init\ncat: can't open '/proc/1/environ': Permission denied\n"
        );
        assert_eq!(
            scene.ok("exec web sh -c 'echo $((PPID > 0)) $(($$ > 2))'"),
            "0 1\n"
        );
        assert_eq!(idle.end().code, 0);
        scene.assert_all_gone("exec beside an init");
    });
}

#[test]
fn a_failure_at_each_step_of_an_exec_is_named_and_leaves_the_container_as_it_was() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let idle = scene.start_idle("--rm --name web");
        let engine = Engine::open(Roots::new(&scene.root, &scene.run)).unwrap();
        let before = host.state();
        for step in 0.. {
            let mut options = ExecOptions::default();
            options.command = vec!["true".to_owned()];
            options.fail_at = Some(step);
            match engine.exec("web", &options) {
                Err(error @ Error::Ns(rocker_ns::Error::Step { index, .. })) => {
                    assert_eq!((index, error.exit_code()), (step, 125), "{error}");
                }
                Err(other) => panic!("step {step}: {other:?}"),
                Ok(code) => {
                    assert_eq!(code, 0);
                    assert!(step > 40, "a plan of only {step} steps");
                    break;
                }
            }
        }
        assert_eq!(host.state(), before);
        assert_eq!(
            scene.ok("exec web sh -c 'set -- /proc/[0-9]*; echo $#'"),
            "2\n"
        );
        assert_eq!(idle.end().code, 0);
        scene.assert_all_gone("failing execs");
    });
}
