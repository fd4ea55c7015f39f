//! What an image says about how it is run.

use crate::fake_host;
use crate::registry::busybox_root;
use crate::support::Scene;

/// Pushes and pulls a busybox image with this configuration, and returns its name.
fn image(scene: &Scene<'_>, name: &str, config: &str) -> String {
    let root = scene.host.dir(&format!("image-{name}"));
    busybox_root(&root);
    scene.host.sh(&format!(
        "mkdir -p {0}/srv {0}/etc {0}/opt; cp {0}/bin/busybox {0}/opt/only-here; echo 'app:x:70:71::/srv:/bin/sh' >{0}/etc/passwd",
        root.display()
    ));
    let name = scene.registry.push_dir(&root, name, config);
    scene.ok(&format!("pull -q {name}"));
    name
}

#[test]
fn entrypoint_and_cmd_of_the_image_count_until_replaced() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let both = image(
            &scene,
            "both",
            r#"{"Env":["PATH=/bin"],"Entrypoint":["echo","entry"],"Cmd":["cmd"]}"#,
        );
        assert_eq!(scene.ok(&format!("run --rm {both}")), "entry cmd\n");
        assert_eq!(scene.ok(&format!("run --rm {both} mine")), "entry mine\n");
        assert_eq!(
            scene.ok(&format!("run --rm --entrypoint basename {both} /a/b")),
            "b\n"
        );
        assert_eq!(
            scene.ok(&format!("run --rm --entrypoint '' {both} echo bare")),
            "bare\n"
        );
        let none = image(&scene, "none", "{}");
        let line = scene.fails(125, &format!("run --rm {none}"));
        assert!(line.contains("command"), "{line}");
        assert_eq!(scene.ok(&format!("run --rm {none} /bin/echo x")), "x\n");
        scene.assert_all_gone("runs of an image with an entrypoint");
    });
}

#[test]
fn env_user_and_working_directory_of_the_image_count_until_replaced() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let app = image(
            &scene,
            "app",
            r#"{"Env":["PATH=/opt:/bin","A=1","B=a=b"],"User":"app","WorkingDir":"/srv/deep","Cmd":["sh","-c","echo $A $B; id -u; id -g; pwd; echo $HOME"]}"#,
        );
        assert_eq!(
            scene.ok(&format!("run --rm {app}")),
            "1 a=b\n70\n71\n/srv/deep\n/srv\n"
        );
        let out = scene.ok(&format!(
            "run --rm -e A=2 -u 0 -w / {app} sh -c 'echo $A $B; id -u; pwd'"
        ));
        assert_eq!(out, "2 a=b\n0\n/\n");
        scene.assert_all_gone("runs of an image with Env, User and WorkingDir");
    });
}

#[test]
fn commands_are_looked_up_on_the_path_of_the_container() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let app = image(&scene, "app", r#"{"Env":["PATH=/opt:/bin"]}"#);
        // busybox knows itself by the name it was called by.
        let done = scene.run(&format!("run --rm {app} only-here"));
        assert!(done.err.contains("only-here: applet not found"), "{done:?}");
        let line = scene.fails(127, &format!("run --rm -e PATH=/bin {app} only-here"));
        assert!(line.contains("only-here"), "{line}");
        // The host's PATH does not count: it has this command, and the image does not.
        scene.fails(127, &format!("run --rm {app} skopeo --version"));
        // A relative path is one from the working directory.
        assert_eq!(scene.ok(&format!("run --rm -w /bin {app} ./echo x")), "x\n");
        // Without a PATH of the image there is the usual one.
        let bare = image(&scene, "bare", "{}");
        let out = scene.ok(&format!("run --rm {bare} sh -c 'echo $PATH'"));
        assert_eq!(
            out,
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
        );
        scene.assert_all_gone("runs of commands found and not found");
    });
}

#[test]
fn exit_codes_are_dockers() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        for (command, code) in [
            ("true", 0),
            ("false", 1),
            ("sh -c 'exit 7'", 7),
            ("sh -c 'exit 255'", 255),
        ] {
            let done = scene.run(&format!("run --rm $I {command}"));
            assert_eq!((done.code, done.err.as_str()), (code, ""), "{command}");
            scene.assert_all_gone(command);
        }
        for (signal, number) in [("KILL", 9), ("TERM", 15), ("SEGV", 11)] {
            // PID 1 cannot kill itself: a program that is not the first one does.
            let done = scene.run(&format!(
                "run --rm $I sh -c 'sh -c \"kill -{signal} \\$\\$\"; exit $?'"
            ));
            assert_eq!(done.code, 128 + number, "{done:?}");
        }
        let line = scene.fails(127, "run --rm $I nosuch");
        assert!(
            line.contains("nosuch") && line.contains("not found"),
            "{line}"
        );
        let line = scene.fails(126, "run --rm $I /etc/passwd");
        assert!(
            line.contains("/etc/passwd") && line.contains("Permission denied"),
            "{line}"
        );
        let line = scene.fails(126, "run --rm $I /etc");
        assert!(line.contains("/etc"), "{line}");
        let line = scene.fails(125, "run --rm --cpus 0 $I true");
        assert!(line.contains("--cpus"), "{line}");
        scene.assert_all_gone("runs that fail");
    });
}

#[test]
fn the_images_stop_signal_is_what_asks_its_program_to_end() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let image = image(&scene, "stopped", r#"{"StopSignal": "SIGQUIT"}"#);
        let script = "trap \"exit 44\" QUIT; trap \"exit 42\" TERM; echo up; sleep 1000 & wait";
        let mut run = scene.start(&format!("run --rm {image} sh -c '{script}'"));
        assert_eq!(run.line(), "up");
        run.signal("TERM");
        assert_eq!(run.end().code, 44);
        scene.assert_all_gone("a stopped program");
    });
}
