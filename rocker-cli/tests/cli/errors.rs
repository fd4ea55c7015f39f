//! What can go wrong before a container runs: one clear line each, the right exit code, and nothing left.

use crate::fake_host;
use crate::support::{Rocker, Scene};

#[test]
fn an_unknown_image_is_named_with_what_the_registry_says() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let name = scene.registry.name("nosuch");
        for command in ["run --rm", "run", "pull"] {
            let line = scene.fails(125, &format!("{command} {name}:v9"));
            assert!(
                line.contains(&format!("{name}:v9")) && line.contains("404"),
                "{line}"
            );
        }
        let line = scene.fails(125, "pull $I:nosuchtag");
        assert!(line.contains("nosuchtag"), "{line}");
        let line = scene.fails(125, "run example.org/UPPER");
        assert!(line.contains("example.org/UPPER"), "{line}");
        scene.assert_all_gone("unknown images");
    });
}

#[test]
fn an_unreachable_registry_is_named_with_what_keeps_from_it() {
    fake_host::run(|host| {
        let rocker = Rocker::new(host);
        for (name, says) in [
            ("127.0.0.1:1/image", "Connection refused"),
            ("192.0.2.1/image", "unreachable"),
            ("registry.invalid/image", "registry.invalid"),
        ] {
            let line = rocker.fails(125, &format!("run --rm {name}"));
            assert!(
                line.contains("cannot reach") && line.contains(name.split('/').next().unwrap()),
                "{line}"
            );
            assert!(line.contains(says), "{line}");
            if says != name.split('/').next().unwrap() {
                let (likely, _) = rocker.run(&format!("run --rm {name}")).advised(125);
                assert!(likely.contains("address"), "{likely}");
            }
            rocker.assert_all_gone(name);
        }
    });
}

#[test]
fn an_ordinary_user_is_told_what_takes_root() {
    fake_host::run(|host| {
        let rocker = Rocker::of_alice(host);
        for (flags, says) in [
            ("--network bridge", "pasta"),
            ("--userns auto", "keep-id"),
            ("--uidmap 0:100000:65536", "keep-id"),
            ("--mem 64", "memory"),
            ("-p 80:80", "1024"),
        ] {
            let line = rocker.fails(125, &format!("run --rm {flags} hello"));
            assert!(line.contains(says), "{flags}: {line}");
            rocker.assert_all_gone(flags);
        }
        // All else is done without it: see rootless.rs.
        assert_eq!(rocker.ok("ps -aq"), "");
    });
}

#[test]
fn an_image_for_another_architecture_is_refused_before_it_is_downloaded() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let other = if cfg!(target_arch = "aarch64") {
            "amd64"
        } else {
            "arm64"
        };
        let (multi, alien) = (
            scene.registry.push_index("multi"),
            scene.registry.name("alien"),
        );
        host.sh(&format!(
            "skopeo --insecure-policy --override-arch {other} copy -q --src-tls-verify=false --dest-tls-verify=false docker://{multi} docker://{alien}"
        ));
        let line = scene.fails(125, &format!("run --rm {alien}"));
        assert!(line.contains(&alien) && line.contains(other), "{line}");
        assert!(!scene.ok("images").contains("alien"));
        // Whoever asks for it gets it.
        assert_eq!(
            scene
                .run(&format!(
                    "run --rm --platform linux/{other} {alien} cat /arch"
                ))
                .out,
            other
        );
        scene.assert_all_gone("an image for another machine");
    });
}

#[test]
fn a_command_line_that_is_none_is_explained_with_exit_code_125() {
    fake_host::run(|host| {
        let rocker = Rocker::new(host);
        for args in [
            "run",
            "exec",
            "nosuch",
            "run --nosuch hello",
            "exec web",
            "rm",
            "pull",
            "ps extra",
        ] {
            let done = rocker.run(args);
            assert!(done.failed(125).contains("--help"), "{done:?}");
        }
        for args in ["--help", "run --help", "--version", "help run"] {
            assert!(rocker.ok(args).contains("rocker"), "{args}");
        }
        let line = rocker.run("rm nosuch").failed(1);
        assert!(
            line.contains("nosuch") && line.contains("rocker ps -a"),
            "{line}"
        );
        rocker.assert_all_gone("nonsense");
    });
}

#[test]
fn what_a_hostile_name_holds_reaches_no_terminal() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        for args in [
            "run --rm $I \"$(printf '\\033[31mred')\"",
            "run --rm --name \"$(printf 'a\\033[2J')\" $I true",
            "exec \"$(printf '\\033]0;x\\007')\" true",
            "pull \"$(printf 'x\\033[2J')\"",
        ] {
            let done = scene.run(args);
            assert!(done.code >= 125, "{done:?}");
            assert!(!done.err.contains('\x1b'), "{done:?}");
        }
        scene.ok("run $I \"$(printf 'echo')\" \"$(printf '\\033[2J')\"");
        assert!(!scene.ok("ps -a --no-trunc").contains('\x1b'));
    });
}
