//! The flags of `rocker run`, each by what it changes inside.

use std::fs;

use crate::fake_host;
use crate::support::Scene;

#[test]
fn variables_directory_host_name_and_user_are_as_asked_for() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let inside =
            |flags: &str, script: &str| scene.ok(&format!("run --rm {flags} $I sh -c '{script}'"));
        assert_eq!(
            inside("-e A=1 --env B='two words'", "echo $A $B"),
            "1 two words\n"
        );
        assert_eq!(
            inside("-e ROCKER_RUN", "echo $ROCKER_RUN"),
            "/run/rocker-run\n"
        );
        assert_eq!(inside("-e PATH=/bin:/x", "echo $PATH"), "/bin:/x\n");
        assert_eq!(inside("-w /etc", "pwd"), "/etc\n");
        assert_eq!(
            inside("--workdir /not/there/yet", "pwd"),
            "/not/there/yet\n"
        );
        assert_eq!(
            inside("--hostname web", "hostname; cat /etc/hostname"),
            "web\nweb\n"
        );
        assert!(inside("-h web", "cat /etc/hosts").contains("\tweb\n"));
        assert_eq!(
            inside("-u nobody", "id -u; id -g; echo $HOME"),
            "65534\n65534\n/\n"
        );
        assert_eq!(inside("-u 7:8", "id -u; id -g"), "7\n8\n");
        assert_eq!(inside("-u root:nogroup", "id -u; id -g"), "0\n65534\n");
        let line = scene.fails(125, "run --rm -u nosuch $I true");
        assert!(
            line.contains("nosuch") && line.contains("/etc/passwd"),
            "{line}"
        );
        scene.assert_all_gone("runs with -e, -w, -h and -u");
    });
}

#[test]
fn a_container_has_its_host_name_and_short_id_in_common() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let name = scene.ok("run $I hostname");
        assert_eq!(scene.ok("ps -aq"), name);
        assert_eq!(name.trim().len(), 12);
    });
}

#[test]
fn volumes_are_writable_read_only_or_files() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let dir = host.dir("volume");
        fs::write(dir.join("greeting"), "hello\n").unwrap();
        let out = scene.ok(
            "run --rm -v /run/volume:/data $I sh -c 'cat /data/greeting; echo answer >/data/new'",
        );
        assert_eq!(out, "hello\n");
        assert_eq!(fs::read_to_string(dir.join("new")).unwrap(), "answer\n");
        let done = scene.run("run --rm -v /run/volume:/data:ro $I touch /data/other");
        assert_eq!(done.code, 1, "{done:?}");
        assert!(done.err.contains("Read-only file system"), "{done:?}");
        assert!(!dir.join("other").exists());
        // A file on top of a file, and one where the image has neither file nor directory.
        let out = scene.ok(
            "run --rm -v /run/volume/greeting:/etc/passwd -v /run/volume/greeting:/a/b/c:ro $I cat /etc/passwd /a/b/c",
        );
        assert_eq!(out, "hello\nhello\n");
        // Relative to where rocker runs; and remounting it writable from inside is not possible.
        let done = scene
            .shell("cd /run && rocker run --rm -v ./volume:/data:ro $I mount -o remount,rw /data")
            .output()
            .unwrap();
        assert!(!done.status.success());
        let line = scene.fails(125, "run --rm -v /run/nothing:/data $I true");
        assert!(line.contains("/run/nothing"), "{line}");
        scene.assert_all_gone("runs with volumes");
    });
}

#[test]
fn a_volume_that_a_link_of_the_image_redirects_stays_inside() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let (root, volume) = (host.dir("image"), host.dir("volume"));
        crate::registry::busybox_root(&root);
        fs::write(volume.join("mark"), "").unwrap();
        std::os::unix::fs::symlink("/run/elsewhere", root.join("out")).unwrap();
        host.dir("elsewhere");
        let name = scene.registry.push_dir(&root, "links", "{}");
        // Whether the link is followed inside or refused, nothing of the host is reached.
        let done = scene.run(&format!(
            "run --rm -v /run/volume:/out/x {name} ls /run/elsewhere/x"
        ));
        assert!(
            (done.code, done.out.as_str()) == (0, "mark\n") || done.code == 125,
            "{done:?}"
        );
        assert!(!std::path::Path::new("/run/elsewhere/x").exists());
        scene.assert_all_gone("a run with a redirected volume");
    });
}

#[test]
fn a_read_only_root_takes_no_file_and_its_volumes_do() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        host.dir("volume");
        let done = scene.run("run --rm --read-only $I sh -c 'echo x >/x'");
        assert_eq!(done.code, 1, "{done:?}");
        assert!(done.err.contains("Read-only file system"), "{done:?}");
        for name in ["hosts", "hostname", "resolv.conf"] {
            let write = format!("sh -c 'cat /etc/{name} >/dev/null && echo x >>/etc/{name}'");
            let done = scene.run(&format!("run --rm --read-only $I {write}"));
            assert!(done.err.contains("Read-only file system"), "{done:?}");
            scene.ok(&format!("run --rm $I {write}"));
        }
        let out = scene.ok(
            "run --rm --read-only -v /run/volume:/v $I sh -c 'touch /v/x /dev/shm/x && echo written'",
        );
        assert_eq!(out, "written\n");
        scene.assert_all_gone("runs with --read-only");
    });
}

#[test]
fn capabilities_are_dropped_and_added() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let effective = |flags: &str| {
            let out = scene.ok(&format!(
                "run --rm {flags} $I grep CapEff /proc/self/status"
            ));
            u64::from_str_radix(out.split_whitespace().last().unwrap(), 16).unwrap()
        };
        let default = 0xa804_25fb;
        assert_eq!(effective(""), default);
        assert_eq!(effective("--cap-drop ALL"), 0);
        assert_eq!(effective("--cap-drop CHOWN"), default & !1);
        assert_eq!(
            effective("--cap-add NET_ADMIN --cap-add cap_sys_time"),
            default | 1 << 12 | 1 << 25
        );
        assert_eq!(effective("--cap-add NET_RAW --cap-drop all"), 1 << 13);
        assert_eq!(effective("-u nobody"), 0);
        let line = scene.fails(125, "run --rm --cap-add FLY $I true");
        assert!(line.contains("FLY"), "{line}");
        scene.assert_all_gone("runs with --cap-add and --cap-drop");
    });
}

#[test]
fn input_reaches_the_container_only_when_asked_for() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let piped = |flags: &str| {
            let script = format!("echo typed | rocker run --rm {flags} $I cat");
            let output = scene.shell(&script).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        assert_eq!(piped("-i"), "typed\n");
        assert_eq!(piped(""), "");
        // A terminal of its own without anybody's in front of it: programs see one, and lines end as on one.
        let out = scene.ok("run --rm -t $I sh -c 'test -t 0 && test -t 1 && tty'");
        assert_eq!(out, "/dev/pts/0\r\n");
        // Neither a large output nor a closed one loses anything but what nobody reads.
        let out = scene.ok("run --rm $I sh -c 'yes | head -n 300000' | wc -l");
        assert_eq!(out.trim(), "300000");
        scene.assert_all_gone("runs with input");
    });
}

#[test]
fn everything_behind_the_image_belongs_to_the_command() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        assert_eq!(
            scene.ok("run --rm $I echo --rm -it --name x"),
            "--rm -it --name x\n"
        );
        assert_eq!(scene.ok("run --rm $I echo -- --help"), "-- --help\n");
        scene.assert_all_gone("runs with flags behind the image");
    });
}

#[test]
fn an_init_runs_in_front_of_the_command_and_reaps_what_is_left_to_it() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let script = "echo $$ $PPID; cat /proc/1/comm; (sleep 0.01 &); until [ $(ls /proc | grep -c ^[0-9]) = 4 ]; do :; done; exit 6";
        let done = scene.run(&format!("run --rm --init $I sh -c '{script}'"));
        assert_eq!(
            (done.code, done.out.as_str()),
            (6, "2 1\nrocker-init\n"),
            "{done:?}"
        );
        assert_eq!(scene.run("run --rm --init $I nosuch").code, 127);
        assert_eq!(scene.run("run --rm --init $I sh -c 'kill -9 $$'").code, 137);
        scene.assert_all_gone("inits");
    });
}
