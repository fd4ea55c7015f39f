//! `rocker cp`: files between a container and the host.

use crate::fake_host;
use crate::support::Scene;

/// What is there to be copied, in the container and on the host alike.
const FILES: &str = "mkdir -p /run/t/dir/sub /run/t/there /run/t/out; echo f >/run/t/file; echo o >/run/t/other; echo s >/run/t/dir/sub/deep; echo d >/run/t/dir/in; ln -s file /run/t/link; ln -s dir /run/t/dirlink; ln -s /run/t/dir /run/t/abslink";

/// Docker's rules: what is copied, where to, and what is there then, or what is said.
const RULES: &[(&str, &str, &str)] = &[
    // To what is not there.
    ("/run/t/file", "/run/t/out/new", "./new"),
    ("/run/t/file", "/run/t/out/none/", "!does not exist"),
    ("/run/t/file", "/run/t/none/new", "!could not find"),
    (
        "/run/t/dir",
        "/run/t/out/new",
        "./new ./new/in ./new/sub ./new/sub/deep",
    ),
    (
        "/run/t/dir",
        "/run/t/out/new/",
        "./new ./new/in ./new/sub ./new/sub/deep",
    ),
    (
        "/run/t/dir/.",
        "/run/t/out/new",
        "./new ./new/in ./new/sub ./new/sub/deep",
    ),
    // To a directory.
    ("/run/t/file", "/run/t/out", "./file"),
    ("/run/t/file", "/run/t/out/", "./file"),
    (
        "/run/t/dir",
        "/run/t/out",
        "./dir ./dir/in ./dir/sub ./dir/sub/deep",
    ),
    (
        "/run/t/dir/",
        "/run/t/out",
        "./dir ./dir/in ./dir/sub ./dir/sub/deep",
    ),
    ("/run/t/dir/.", "/run/t/out", "./in ./sub ./sub/deep"),
    ("/run/t/none/../dir/sub", "/run/t/out", "./sub ./sub/deep"),
    // To a file, and through links.
    ("/run/t/file", "/run/t/other", ""),
    ("/run/t/dir", "/run/t/other", "!cannot copy directory"),
    ("/run/t/file", "/run/t/other/", "!not a directory"),
    ("/run/t/link", "/run/t/out", "./link>file"),
    ("-L /run/t/link", "/run/t/out", "./link"),
    ("/run/t/dirlink", "/run/t/out", "./dirlink>dir"),
    (
        "/run/t/dirlink/",
        "/run/t/out",
        "./dirlink ./dirlink/in ./dirlink/sub ./dirlink/sub/deep",
    ),
    ("/run/t/abslink/in", "/run/t/out", "./in"),
    ("/run/t/abslink/.", "/run/t/out", "./in ./sub ./sub/deep"),
    ("/run/t/file", "/run/t/abslink", ""),
    // What is not there, or is no directory.
    ("/run/t/none", "/run/t/out", "!could not find"),
    ("/run/t/file/", "/run/t/out", "!not a directory"),
    ("/run/t/file/x", "/run/t/out", "!could not find"),
];

/// What is in a directory, with where links lead.
fn list(scene: &Scene<'_>, dir: &str) -> String {
    let listed = scene.host.sh(&format!(
        "cd {dir}; {{ find . ! -name . ! -type l; find . -type l -printf '%p>%l\\n'; }} | sort"
    ));
    listed.lines().collect::<Vec<_>>().join(" ")
}

/// Tries all rules in both directions, with files of the container's that are found in `upper`, and made anew by `reset`.
fn check(scene: &Scene<'_>, upper: &str, mut reset: impl FnMut()) {
    for (source, target, expected) in RULES {
        for inwards in [false, true] {
            scene.host.sh(&format!("rm -rf /run/t; {FILES}"));
            reset();
            let (flag, source) = source.split_once(' ').unwrap_or(("", source));
            let (args, there) = match inwards {
                true => (
                    format!("cp {flag} {source} web:{target}"),
                    format!("{upper}/run/t"),
                ),
                false => (
                    format!("cp {flag} web:{source} {target}"),
                    "/run/t".to_owned(),
                ),
            };
            let done = scene.run(&args);
            if let Some(said) = expected.strip_prefix('!') {
                assert!(done.failed(1).contains(said), "{done:?}");
                continue;
            }
            assert_eq!(done.code, 0, "{done:?}");
            assert!(done.err.starts_with("Successfully copied "), "{done:?}");
            assert_eq!(list(scene, &format!("{there}/out")), *expected, "{args}");
            match *target {
                "/run/t/other" => assert_eq!(scene.host.sh(&format!("cat {there}/other")), "f\n"),
                "/run/t/abslink" => {
                    assert_eq!(scene.host.sh(&format!("cat {there}/dir/file")), "f\n")
                }
                _ => {}
            }
        }
    }
}

fn upper_of(scene: &Scene<'_>, name: &str) -> String {
    let id = scene.ok(&format!("inspect -f '{{{{.Id}}}}' {name}"));
    format!("{}/containers/{}/upper", scene.root.display(), id.trim())
}

#[test]
fn files_are_copied_by_dockers_rules_from_and_to_a_container_that_runs() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.up("web", "", "echo up; exec sleep 1000");
        check(&scene, &upper_of(&scene, "web"), || {
            scene.ok(&format!("exec web sh -c 'rm -rf /run/t; {FILES}'"));
        });
        scene.ok("rm -f web");
        scene.assert_all_gone("copies");
    });
}

#[test]
fn files_are_copied_by_dockers_rules_from_and_to_a_container_that_does_not_run() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.ok("run --name web $I true");
        let upper = upper_of(&scene, "web");
        check(&scene, &upper, || {
            let files = FILES.replace(" /run/", &format!(" {upper}/run/"));
            let files = files.replace(">/run/", &format!(">{upper}/run/"));
            // Its own links lead where they led.
            let files = files.replace(&format!("ln -s {upper}"), "ln -s ");
            host.sh(&format!("rm -rf {upper}/run/t; {files}"));
        });
        // Nor need it ever have run.
        scene.ok("create --name new $I cat /it");
        scene.ok("cp /run/t/file new:/it");
        assert_eq!(scene.ok("start -a new"), "f\n");
        scene.assert_nothing_left("copies");
        scene.ok("rm web new");
        scene.assert_all_gone("copies");
    });
}

#[test]
fn no_file_takes_the_place_of_a_device_a_fifo_or_a_socket() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let make = "mknod /run/t/null c 1 3; mkfifo /run/t/fifo; ln -s null /run/t/tonull";
        host.sh(&format!("{FILES}; {make}"));
        let _socket = std::os::unix::net::UnixListener::bind("/run/t/socket").unwrap();
        scene.up(
            "web",
            "",
            &format!("mkdir -p /run/t; echo f >/run/t/file; {make}; echo up; exec sleep 1000"),
        );
        let look = "cd /run/t; stat -c '%n %F %t:%T' null fifo";
        let before = host.sh(look);
        for (args, place) in [
            ("cp web:/run/t/file /run/t/null", "the host"),
            ("cp web:/run/t/file /run/t/fifo", "the host"),
            ("cp web:/run/t/file /run/t/tonull", "the host"),
            ("cp web:/run/t/file /run/t/socket", "the host"),
            ("cp web:/run/t /run/t/null", "the host"),
            ("cp /run/t/file web:/run/t/null", "container web"),
            ("cp -a /run/t/file web:/run/t/fifo", "container web"),
        ] {
            let line = scene.fails(1, args);
            let says = format!("in {place} must be a directory or a regular file");
            assert!(line.contains(&says), "{args}: {line}");
        }
        assert_eq!(host.sh(look), before);
        let inside = scene.ok(&format!("exec web sh -c \"{look}\""));
        assert_eq!(inside, before);
        host.sh("[ -S /run/t/socket ]");
        scene.ok("rm -f web");
        scene.assert_all_gone("copies to devices");
    });
}

#[test]
fn archives_are_copied_from_and_to_standard_streams() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        host.sh(FILES);
        scene.up(
            "web",
            "",
            "mkdir /d; echo x >/d/x; chown 7:8 /d/x; echo up; exec sleep 1000",
        );
        let names =
            scene.script("rocker cp web:/d - | tar --numeric-owner -tv | awk '{print $2, $6}'");
        assert_eq!(names.out, "0/0 d/\n7/8 d/x\n", "{names:?}");
        let names = scene.script("rocker cp web:/d/x - | tar -t");
        assert_eq!(names.out, "x\n", "{names:?}");
        scene.script("tar -C /run/t -c --owner=5 --group=6 file dir | rocker cp - web:/d && tar -C /run/t -c --owner=5 --group=6 other | rocker cp -a - web:/d").succeeded();
        let look = "exec web sh -c 'cd /d; stat -c \"%n %u:%g\" file dir/in other x'";
        assert_eq!(scene.ok(look), "file 0:0\ndir/in 0:0\nother 5:6\nx 7:8\n");
        for (script, said) in [
            (
                "tar -C /run/t -c file | rocker cp - web:/none",
                "is not a directory",
            ),
            (
                "tar -C /run/t -c file | rocker cp - web:/d/x",
                "is not a directory",
            ),
            ("echo no tar | rocker cp - web:/d", "tar stream"),
            (
                "tar -C /run/t -c file | rocker cp - /run/t",
                "must specify at least one container source",
            ),
            (
                "rocker cp web:/d web:/e",
                "copying between containers is not supported",
            ),
            (
                "rocker cp /run/t /run/u",
                "must specify at least one container source",
            ),
            ("rocker cp none:/d /run", "no container"),
            ("rocker cp web:/proc/uptime /run", "made up by the kernel"),
            ("rocker cp web:/proc/1/root/etc /run", "/proc/1/root"),
        ] {
            let done = scene.script(script);
            assert!(done.code == 1 && done.err.contains(said), "{done:?}");
        }
        // A whole root, without what the kernel makes up.
        scene.ok("cp -q web:/ /run/root");
        assert_eq!(
            host.sh("ls /run/root/proc /run/root/sys | wc -w; cat /run/root/d/x"),
            "2\nx\n"
        );
        scene.ok("rm -f web");
        scene.assert_all_gone("archives");
    });
}

#[test]
fn owners_and_what_gives_privileges_are_kept_only_if_that_is_asked_for() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let script = "mkdir -m 710 /d; cp /bin/busybox /d/su; chown 7:8 /d/su; chmod 6755 /d/su; mknod /d/null c 1 3; touch -d 1999-01-02 /d/old; echo up; exec sleep 1000";
        scene.up("web", "", script);
        let out = scene.run("cp web:/d /run/plain");
        assert!(
            out.code == 0 && out.err.contains("1 file left out that are devices"),
            "{out:?}"
        );
        scene.ok("cp -a web:/d /run/kept");
        let look = |dir: &str| {
            host.sh(&format!(
                "cd /run/{dir}; stat -c '%n %a %u:%g %F' . su null 2>/dev/null || true; date -r old +%F"
            ))
        };
        assert_eq!(
            look("plain"),
            ". 710 0:0 directory\nsu 755 0:0 regular file\n1999-01-02\n"
        );
        assert_eq!(
            look("kept"),
            ". 710 0:0 directory\nsu 6755 7:8 regular file\nnull 644 0:0 character special file\n1999-01-02\n"
        );
        // And back; a directory that is there stays as it is.
        host.sh("chmod 777 /run/kept; chown 9:9 /run/kept; chown 1000:1000 /run/kept/old");
        scene.ok("cp /run/kept/. web:/d");
        assert_eq!(
            scene.ok("exec web stat -c '%n %a %u:%g' /d /d/old"),
            "/d 710 0:0\n/d/old 644 0:0\n"
        );
        scene.ok("cp -a /run/kept/. web:/d");
        assert_eq!(
            scene.ok("exec web stat -c '%n %a %u:%g' /d /d/old"),
            "/d 710 0:0\n/d/old 644 1000:1000\n"
        );
        // Neither takes the other's place.
        host.sh("mkdir -p /run/odd/su; touch /run/odd/su/x");
        let done = scene.run("cp /run/odd/. web:/d");
        assert!(
            done.code == 1 && done.err.contains("cannot overwrite non-directory"),
            "{done:?}"
        );
        scene.ok("rm -f web");
        scene.assert_all_gone("owners");
    });
}

#[test]
fn volumes_are_seen_as_the_container_sees_them_whether_it_runs_or_not() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        host.sh(
            "mkdir -p /run/vol /run/ro; echo v >/run/vol/v; echo r >/run/ro/r; echo n >/run/new",
        );
        scene.up(
            "web",
            "-v /run/vol:/data/vol -v /run/ro:/ro:ro --tmpfs /tmpfs",
            "echo t >/tmpfs/t; echo up; exec sleep 1000",
        );
        for runs in [true, false] {
            if !runs {
                scene.ok("stop -t 0 web");
            }
            scene.ok("cp -q web:/data/vol/v /run/got");
            assert_eq!(host.sh("cat /run/got; rm /run/got"), "v\n");
            scene.ok("cp -q web:/data /run/data");
            assert_eq!(host.sh("cat /run/data/vol/v; rm -r /run/data"), "v\n");
            scene.ok("cp -q /run/new web:/data/vol/");
            assert_eq!(host.sh("cat /run/vol/new; rm /run/vol/new"), "n\n");
            let done = scene.run("cp -q /run/new web:/ro");
            assert!(done.code == 1 && done.err.contains("EROFS"), "{done:?}");
        }
        scene.ok("start web");
        scene.ok("cp -q web:/tmpfs/t /run/got");
        scene.ok("run -d --read-only --name fixed $I sleep 1000");
        for _ in 0..2 {
            let done = scene.run("cp -q /run/new fixed:/");
            assert!(done.code == 1 && done.err.contains("EROFS"), "{done:?}");
            scene.ok("stop -t 0 fixed");
        }
        scene.ok("rm -f web fixed");
        scene.assert_all_gone("volumes");
    });
}

/// Neither the image nor anybody else has the places by then.
#[test]
fn what_is_copied_into_a_volume_before_the_first_start_is_there_at_the_start() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        host.sh("mkdir -p /run/vol /run/other; echo n >/run/new; echo old >/run/file; echo o >/run/other/o");
        scene.ok("create --name web -v data:/none/data -v /run/vol:/none/vol -v /run/file:/etc/none/file -v /run/other:/none/data/sub $I sh -c 'cat /none/data/new /none/vol/new /etc/none/file /none/data/sub/*'");
        for target in ["/none/data/", "/none/vol/", "/none/data/sub/"] {
            scene.ok(&format!("cp -q /run/new web:{target}"));
        }
        // A file that is mounted is looked at through its place as well.
        scene.ok("cp -q web:/etc/none/file /run/got");
        assert_eq!(
            host.sh("cat /run/got /run/vol/new /run/other/new"),
            "old\nn\nn\n"
        );
        assert_eq!(scene.ok("diff web"), "", "the places are no change");
        assert_eq!(scene.ok("start -a web"), "n\nn\nold\nn\no\n");
        scene.ok("rm web");
        scene.ok("volume rm data");
        scene.assert_all_gone("copies into volumes");
    });
}

#[test]
fn a_directory_with_the_ids_of_users_yet_to_be_chosen_can_be_copied_to() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        host.sh("mkdir -p /run/vol; echo o >/run/vol/old; chown 3:4 /run/vol/old; echo n >/run/new; chown 7:8 /run/new");
        scene.ok("create --name web --userns auto --network none -v /run/vol:/vol:idmap $I stat -c '%n %u:%g' /vol/old /vol/new /vol/kept");
        scene.ok("cp -qa web:/vol/old /run/got");
        scene.ok("cp -q /run/new web:/vol/new");
        scene.ok("cp -qa /run/new web:/vol/kept");
        let owners = host.sh("stat -c '%n %u:%g' /run/got /run/vol/new /run/vol/kept");
        assert_eq!(
            owners,
            "/run/got 3:4\n/run/vol/new 0:0\n/run/vol/kept 7:8\n"
        );
        assert_eq!(
            scene.ok("start -a web"),
            "/vol/old 3:4\n/vol/new 0:0\n/vol/kept 7:8\n"
        );
        // As it was in its last run.
        scene.ok("cp -qa web:/vol/kept /run/again");
        assert_eq!(host.sh("stat -c %u:%g /run/again"), "7:8\n");
        scene.ok("rm web");
        scene.assert_all_gone("ids of users yet to be chosen");
    });
}

/// Each of them needs the one overlay that there may be of its layer.
#[test]
fn who_copies_from_a_container_that_does_not_run_is_waited_for_by_all_who_would_change_that() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.ok("run --name web $I sh -c '[ -e /big ] || { yes | head -c 1000000 >/big; echo f >/f; }; cat /f'");
        let status = || scene.ok("ps -a --format '{{.State}}'");
        for (args, gets) in [
            ("cp web:/f /run/got", ""),
            ("cp /run/new web:/f", ""),
            ("mount web", "mounts"),
            ("umount web", ""),
            ("start -a web", "n\n"),
            ("rm -f web", "web\n"),
        ] {
            host.sh("echo n >/run/new");
            // It has more to say than anybody reads for now.
            let mut copying = scene.start("cp web:/big -");
            assert!(!copying.line().is_empty());
            let mut waiting = scene.start(&format!("{args} 2>&1"));
            if args != "umount web" {
                assert!(waiting.line().ends_with("waiting until that is done"));
            }
            assert_eq!(status(), "exited\n", "nobody takes it for one that runs");
            let copied = copying.end();
            assert!(copied.code == 0 && copied.out.len() > 900_000, "{copied:?}");
            let done = waiting.end();
            assert!(done.code == 0 && done.out.contains(gets), "{done:?}");
        }
        assert_eq!(host.sh("cat /run/got"), "f\n");
        scene.assert_all_gone("copies that were waited for");
    });
}

#[test]
fn in_a_container_with_users_of_its_own_files_belong_to_its_root() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        host.sh("mkdir -p /run/in /run/vol; echo x >/run/in/x; echo y >/run/in/y; chown 7:8 /run/in/y; chmod 777 /run/vol");
        scene.up(
            "web",
            "--userns auto -v /run/vol:/vol",
            "mkdir /d; echo a >/d/a; chown 3:4 /d/a; echo up; exec sleep 1000",
        );
        let outside = host.sh(&format!(
            "awk '{{print $2}}' /proc/{}/uid_map",
            scene.at("web", "/State/Pid")
        ));
        for runs in [true, false] {
            if !runs {
                scene.ok("stop -t 0 web");
            }
            scene.ok("cp -q /run/in web:/d");
            scene.ok("cp -qa /run/in/y web:/d/kept");
            scene.ok("cp -q /run/in/x web:/vol/x");
            assert_eq!(host.sh("stat -c %u /run/vol/x; rm -r /run/vol/x"), outside);
            scene.ok("cp -qa web:/d /run/out");
            let owners =
                host.sh("cd /run/out; stat -c '%n %u:%g' a in/x in/y kept; rm -r /run/out");
            assert_eq!(owners, "a 3:4\nin/x 0:0\nin/y 0:0\nkept 7:8\n", "{runs}");
        }
        scene.ok("start web");
        let look = "cd /d; stat -c '%n %u:%g' a in/x in/y kept";
        assert_eq!(
            scene.ok(&format!("exec web sh -c \"{look}\"")),
            "a 3:4\nin/x 0:0\nin/y 0:0\nkept 7:8\n"
        );
        scene.ok("rm -f web");
        scene.assert_all_gone("users");
    });
}

#[test]
fn a_program_of_another_users_does_not_run_as_root_where_it_is_copied_to() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        host.sh("mkdir /run/t && cd /run/t && touch alices roots && chown 1000:1000 alices && chmod 6755 alices roots && tar -cf all.tar alices roots");
        for flags in ["", "--userns auto"] {
            scene.ok(&format!(
                "run -d --name c --network none {flags} $I sh -c 'mkdir /tmp/tar; sleep 1000'"
            ));
            let look = "exec c sh -c 'cd /tmp; stat -c \"%n %u:%g %a\" alices roots tar/*'";
            scene.ok("cp /run/t/alices c:/tmp");
            scene.ok("cp /run/t/roots c:/tmp");
            scene.script("rocker cp - c:/tmp/tar </run/t/all.tar");
            assert_eq!(
                scene.ok(look),
                "alices 0:0 755\nroots 0:0 6755\ntar/alices 0:0 755\ntar/roots 0:0 6755\n",
                "{flags}"
            );
            scene.ok("cp -a /run/t/alices c:/tmp");
            assert!(
                scene.ok(look).starts_with("alices 1000:1000 6755\n"),
                "{flags}"
            );
            scene.ok("rm -f c");
        }
        scene.assert_all_gone("cp of programs");
    });
}
