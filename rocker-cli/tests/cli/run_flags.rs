//! The flags of `run` and `create` that say how a container lives.

use std::fs;
use std::time::{Duration, Instant};

use crate::fake_host;
use crate::support::{LIMIT, Scene};

#[test]
fn labels_and_annotations_come_from_flags_and_files_and_flags_win() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let file = host.dir("files").join("labels");
        fs::write(&file, "# a comment\n\ntier=back\nowner=me = you\nbare\n").unwrap();
        let file = file.display();
        scene.ok(&format!("create --name web --label-file {file} -l tier=front -l empty --annotation a.b=c --annotation d $I true"));
        assert_eq!(
            scene.at("web", "/Config/Labels"),
            r#"{"bare":"","empty":"","owner":"me = you","tier":"front"}"#
        );
        scene.ok("start -a web");
        let config = host.sh(&format!(
            "cat {}/containers/*/config.json",
            scene.root.display()
        ));
        let config: serde_json::Value = serde_json::from_str(&config).unwrap();
        assert_eq!(config["annotations"]["a.b"], "c");
        assert_eq!(config["annotations"]["d"], "");
        scene.fails(125, "run --label-file /nosuch $I true");
        scene.ok("rm web");
        scene.assert_all_gone("labels");
    });
}

#[test]
fn variables_come_from_files_and_from_the_caller_and_flags_win() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let file = host.dir("files").join("env");
        fs::write(
            &file,
            "# a comment\nA=of the file\nB=two words\nMOOD\nABSENT\nEMPTY=\n",
        )
        .unwrap();
        let file = file.display();
        let print = "for name in A B MOOD ABSENT EMPTY; do eval echo $name=\\${$name-unset}; done";
        let done = scene.script(&format!(
            "MOOD=calm exec rocker run --rm --env-file {file} -e A=flag $I sh -c '{print}'"
        ));
        assert_eq!(
            done.out, "A=flag\nB=two words\nMOOD=calm\nABSENT=unset\nEMPTY=\n",
            "{done:?}"
        );
        let wrong = host.dir("files").join("wrong");
        fs::write(&wrong, "A B=1\n").unwrap();
        let line = scene.fails(125, &format!("run --env-file {} $I true", wrong.display()));
        assert!(line.contains("--env-file"), "{line}");
        scene.fails(125, "run --env-file /nosuch $I true");
        scene.assert_all_gone("variables");
    });
}

#[test]
fn the_id_and_the_process_are_written_to_files() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let dir = host.dir("files");
        let (id, pid) = (dir.join("id"), dir.join("pid"));
        let flags = format!("--cidfile {} --pidfile {}", id.display(), pid.display());
        let printed = scene.ok(&format!("run -d {flags} $I sleep 3333"));
        assert_eq!(fs::read_to_string(&id).unwrap(), printed.trim());
        let number = fs::read_to_string(&pid).unwrap();
        assert_eq!(number, host.sh("pgrep -xf 'sleep 3333'"));
        // A file that is there is somebody else's.
        let line = scene.fails(125, &format!("run {flags} $I true"));
        assert!(line.contains(&id.display().to_string()), "{line}");
        assert_eq!(fs::read_to_string(&id).unwrap(), printed.trim());
        assert_eq!(scene.ok("ps -aq").lines().count(), 1);
        // The process of the next start is another one.
        scene.ok(&format!("restart -t 0 {}", printed.trim()));
        assert_eq!(
            fs::read_to_string(&pid).unwrap(),
            host.sh("pgrep -xf 'sleep 3333'")
        );
        scene.ok(&format!("rm -f {}", printed.trim()));
        fs::remove_file(&id).unwrap();
        // Of a container that there is not, nothing says that there is one.
        for args in [
            "-u nosuch $I true",
            "$I nosuch",
            "--name 'a b' $I true",
            "--cpus 0.00001 $I true",
        ] {
            for command in ["run", "run -d"] {
                let done = scene.run(&format!("{command} --cidfile {} {args}", id.display()));
                assert!(done.code >= 125, "{done:?}");
                assert!(!id.exists(), "{command} {args}");
            }
        }
        scene.assert_all_gone("files");
    });
}

#[test]
fn what_is_named_from_the_callers_directory_is_found_from_everywhere() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let dir = host.dir("files");
        fs::create_dir(dir.join("shown")).unwrap();
        fs::write(dir.join("shown/file"), "shown\n").unwrap();
        fs::write(
            dir.join("open.json"),
            r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#,
        )
        .unwrap();
        scene
            .script("cd /run/files; ROCKER_ROOT=../rocker-root exec rocker create --name web --restart always --security-opt seccomp=open.json -v ./shown:/x --pidfile pid $I sh -c 'cat /x/file; exec sleep 5555'")
            .succeeded();
        scene
            .script("cd /; ROCKER_ROOT=run/rocker-root exec rocker start web")
            .succeeded();
        host.wait_until("it runs", LIMIT, || scene.ok("logs web") == "shown\n");
        // Nobody's directory is that of the one who starts it again.
        host.sh("pkill -KILL -xf 'sleep 5555'");
        host.wait_until("it runs again", LIMIT, || {
            scene.ok("logs web") == "shown\nshown\n"
        });
        host.wait_until("its number is there", LIMIT, || {
            fs::read_to_string(dir.join("pid")).unwrap()
                == host.sh("pgrep -xf 'sleep 5555' || true")
        });
        scene.ok("rm -f web");
        scene.assert_all_gone("relative paths");
    });
}

#[test]
fn replace_removes_another_container_of_that_name_also_one_that_runs() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let first = scene.ok("run -d --name web $I sleep 4444");
        scene.fails(125, "run -d --name web $I true");
        let second = scene.ok("run -d --name web --replace $I sleep 4444");
        assert_ne!(first, second);
        assert_eq!(host.sh("pgrep -cxf 'sleep 4444'"), "1\n");
        assert_eq!(scene.ok("ps -aq --no-trunc"), second);
        // Where there is none, nothing is replaced.
        scene.ok("create --name other --replace $I true");
        let line = scene.fails(125, "run --replace $I true");
        assert!(line.contains("--name"), "{line}");
        scene.ok("rm -f web other");
        scene.assert_all_gone("--replace");
    });
}

#[test]
fn after_its_time_a_container_is_killed() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let start = Instant::now();
        let done = scene.run(
            "run --rm --timeout 1 $I sh -c 'trap \"\" TERM; echo up; while :; do sleep 0.01; done'",
        );
        let took = start.elapsed();
        assert_eq!((done.code, done.out.as_str()), (137, "up\n"), "{done:?}");
        assert!(
            took >= Duration::from_secs(1) && took < Duration::from_secs(6),
            "{took:?}"
        );
        scene.ok("run -d --name web --timeout 1 $I sleep 1000");
        assert_eq!(scene.ok("wait web"), "137\n");
        assert_eq!(scene.run("run --rm --timeout 100 $I true").code, 0);
        assert_eq!(scene.run("run --rm --timeout 0 $I true").code, 0);
        scene.ok("rm web");
        scene.assert_all_gone("--timeout");
    });
}

#[test]
fn an_image_is_pulled_when_it_is_missing_always_or_never() {
    fake_host::run(|host| {
        let scene = Scene::without_image(host);
        let line = scene.fails(125, "run --rm --pull never $I true");
        assert!(line.contains("busybox"), "{line}");
        scene.fails(125, "create --pull never $I true");
        let done = scene.run("run --rm $I echo in");
        assert_eq!((done.code, done.out.as_str()), (0, "in\n"), "{done:?}");
        // Another image of that name, which is seen only by who looks.
        let old = scene.ok("images -q");
        let root = crate::registry::busybox_root(&host.dir("newer"));
        scene
            .registry
            .push_dir(&root, "busybox", r#"{"Env":["PATH=/bin","NEW=yes"]}"#);
        for (when, new) in [
            ("never", "no"),
            ("missing", "no"),
            ("always", "yes"),
            ("never", "yes"),
        ] {
            let text = scene.ok(&format!(
                "run --rm --pull {when} $I sh -c 'echo ${{NEW:-no}}'"
            ));
            assert_eq!(text, format!("{new}\n"), "{when}");
        }
        assert_ne!(scene.ok("images -q").lines().next(), old.lines().next());
        scene.fails(125, "run --pull sometimes $I true");
        scene.assert_all_gone("--pull");
    });
}

#[test]
fn a_flag_that_there_is_not_is_an_error_that_suggests_one_that_there_is() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        for (args, wanted) in [
            ("run --lable a $I true", "--label"),
            ("run --restrt always $I true", "--restart"),
            ("logs --folow x", "--follow"),
            ("strat x", "start"),
        ] {
            let line = scene.fails(125, args);
            assert!(line.contains("similar") && line.contains(wanted), "{line}");
        }
        for wrong in [
            "--stop-signal NOSUCH",
            "--stop-timeout x",
            "--timeout -1",
            "--restart",
        ] {
            scene.fails(125, &format!("run {wrong} $I true"));
        }
        scene.assert_all_gone("flags");
    });
}

#[test]
fn a_standard_stream_that_nobody_opened_is_dev_null_and_no_file_of_rockers() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        for stream in [0, 2] {
            let done = scene.script(&format!(
                "exec rocker run --rm -i --network none $I readlink /proc/self/fd/{stream} {stream}>&-"
            ));
            done.succeeded();
            assert!(done.out.ends_with("null\n"), "{stream}: {done:?}");
        }
        // What is written to it is lost, and that is all.
        scene.script("exec rocker version >&-").succeeded();
        scene.assert_all_gone("closed streams");
    });
}
