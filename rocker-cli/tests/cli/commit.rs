//! `rocker commit`: a container becomes an image.

use std::fs;
use std::time::Instant;

use crate::fake_host;
use crate::support::{LIMIT, Scene};

/// What changes much of what there is.
const CHANGES: &str = "mkdir -p /etc /opt/d; echo hello >/etc/motd; chown 5:6 /etc/motd; chmod 6755 /etc/motd; ln /etc/motd /etc/motd2; ln -s /etc/motd /link; rm /bin/rm; mkfifo /opt/d/pipe; rm -rf /home; echo up; exec sleep 1000";

#[test]
fn a_container_that_runs_becomes_an_image_that_runs_and_is_pushed_and_is_the_same_tree_for_umoci() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.up("web", "-e A=1 -w /opt --label x=y -u 0:0", CHANGES);
        let name = scene.registry.name("mine");
        let id = scene.ok(&format!(
            "commit -a 'A. Author' -m 'with a message' -c 'CMD [\"cat\", \"/etc/motd\"]' -c 'ENV B=2' -c 'HEALTHCHECK CMD true' -c 'ONBUILD RUN x' -c 'EXPOSE 80' web {name}"
        ));
        assert!(id.starts_with("sha256:") && id.len() == 72, "{id}");
        assert_eq!(scene.ok(&format!("images -q --no-trunc {name}")), id);
        assert_eq!(scene.ok(&format!("run --rm {name}")), "hello\n");
        let look = "stat -c '%n %a %u:%g %h' /etc/motd; readlink /link; ls /bin/rm; stat -c %F /opt/d/pipe; pwd; echo $A $B";
        let done = scene.run(&format!(
            "run --rm {name} sh -c '{}'",
            look.replace('\'', "\"")
        ));
        assert_eq!(
            done.out, "/etc/motd 6755 5:6 2\n/etc/motd\nfifo\n/opt\n1 2\n",
            "{done:?}"
        );
        // What was made to mount on is no part of it, but for what the image had.
        let names = scene.script(&format!(
            "rocker diff web; rocker save {name} >/run/saved; tar -xOf /run/saved manifest.json"
        ));
        assert!(
            !names.out.contains("resolv.conf") && !names.out.contains(" /proc"),
            "{names:?}"
        );
        let inspected = scene.ok(&format!("inspect {name}"));
        for part in [
            "\"A. Author\"",
            "\"x\": \"y\"",
            "\"/opt\"",
            "\"80/tcp\"",
            "\"0:0\"",
        ] {
            assert!(inspected.contains(part), "{part} in {inspected}");
        }
        let history = scene.ok(&format!("history {name}"));
        assert!(
            history.contains("with a message") && history.lines().count() >= 3,
            "{history}"
        );
        // Somebody else's eyes.
        scene.ok(&format!("push -q {name}"));
        host.sh(&format!(
            "skopeo --insecure-policy copy -q --src-tls-verify=false docker://{name} oci:/run/oci:x; umoci unpack --image /run/oci:x /run/theirs; rocker_config=$(skopeo inspect --config --raw --tls-verify=false docker://{name}); echo \"$rocker_config\" >/run/config"
        ));
        let config = fs::read_to_string("/run/config").unwrap();
        assert!(
            config.contains("\"Healthcheck\":{\"Test\":[\"CMD-SHELL\",\"true\"]}"),
            "{config}"
        );
        assert!(config.contains("\"OnBuild\":[\"RUN x\"]"), "{config}");
        scene.ok("export -o /run/exported.tar web");
        host.sh("mkdir /run/exported; tar -xpf /run/exported.tar -C /run/exported --numeric-owner");
        let list = |dir: &str| {
            host.sh(&format!(
                "cd {dir}; find . ! -path './proc*' ! -path './sys*' ! -path './dev*' ! -name resolv.conf ! -name hosts ! -name hostname ! -path ./etc ! -path . -printf '%p %y %m %U:%G %n %s %l\\n' | sort"
            ))
        };
        let (ours, theirs) = (list("/run/exported"), list("/run/theirs/rootfs"));
        assert!(ours.contains("./etc/motd2 f 6755 5:6 2 6"), "{ours}");
        assert_eq!(
            ours.replace(|digit: char| digit.is_ascii_digit(), ""),
            theirs.replace(|digit: char| digit.is_ascii_digit(), "")
        );
        assert_eq!(ours, theirs);
        scene.ok("rm -f web");
        scene.assert_all_gone("a commit");
    });
}

#[test]
fn a_container_that_has_ended_becomes_an_image_without_a_name_and_the_same_layer_each_time() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.ok("run --name done $I sh -c 'echo x >/x; mkdir /d; rm /bin/rm'");
        assert_eq!(scene.ok("diff done"), "C /bin\nD /bin/rm\nA /d\nA /x\n");
        let layers = |id: &str| scene.ok(&format!("inspect -f '{{{{json .RootFS.Layers}}}}' {id}"));
        let one = scene.ok("commit done");
        let two = scene.ok("commit -c 'LABEL a=b' done");
        assert_ne!(one, two);
        assert_eq!(layers(one.trim()), layers(two.trim()));
        // As it was run.
        let third = scene.ok("commit -c 'ENTRYPOINT [\"echo\", \"entry\"]' done");
        assert_eq!(
            scene.ok(&format!("run --rm {} x", third.trim())),
            "entry x\n"
        );
        let again = scene.ok(&format!("run --rm --name again {} cat /x", one.trim()));
        assert_eq!(again, "x\n");
        // One made of that has one layer more, and nothing but what it changed.
        scene.ok(&format!("run --name more {} touch /y", one.trim()));
        assert_eq!(scene.ok("diff more"), "A /y\n");
        let more = scene.ok("commit more");
        assert_eq!(layers(more.trim()).matches("sha256").count(), 4);
        scene.ok("rm done more");
        for id in [more, third, two, one] {
            scene.ok(&format!("rmi {}", id.trim()));
        }
        scene.assert_all_gone("commits");
        let left = host.sh(&format!(
            "ls {0}/layers | wc -l; ls {0}/images/ingest 2>/dev/null",
            scene.root.display()
        ));
        assert_eq!(left, "2\n");
    });
}

#[test]
fn what_cannot_be_committed_is_said_and_leaves_nothing() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.ok("run --name done $I touch /x");
        for (args, said) in [
            ("commit none", "no container \"none\""),
            ("commit -c 'RUN x' done", "--change \"RUN x\""),
            ("commit -c 'HEALTHCHECK --x CMD y' done", "--change"),
            ("commit done UPPER", "UPPER"),
            ("diff none", "no container"),
            ("export none", "no container"),
        ] {
            let line = scene.run(args);
            assert!(line.code == 1 && line.err.contains(said), "{line:?}");
        }
        // A directory that was renamed by an overlay of another's making.
        let upper = host.sh(&format!("echo {}/containers/*/upper", scene.root.display()));
        let upper = upper.trim();
        host.sh(&format!("mkdir {upper}/d; python3 -c 'import os; os.setxattr(\"{upper}/d\", \"trusted.overlay.redirect\", b\"/x\")'"));
        let line = scene.run("commit done").failed(1);
        assert!(line.contains("renamed it by redirection"), "{line}");
        let left = host.sh(&format!(
            "ls {0}/layers | wc -l; ls {0}/images/ingest 2>/dev/null; true",
            scene.root.display()
        ));
        assert_eq!(left, "2\n");
        scene.ok("rm done");
        scene.assert_all_gone("a failed commit");
    });
}

/// Fills a container with so much that its commit takes a while.
const MUCH: &str = "dd if=/dev/urandom of=/big bs=1M count=100 2>/dev/null; echo up; i=0; while true; do i=$((i+1)); echo $i >/count; done";

#[test]
fn a_container_stands_still_for_its_commit_and_goes_on_however_that_ends() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.up("web", "", MUCH);
        let frozen = format!("{}/frozen", scene.run_dir_of("web"));
        let is_noted = || fs::read_to_string(&frozen).is_ok_and(|text| !text.is_empty());
        let id = scene.ok("inspect -f '{{.Id}}' web");
        let states = || {
            host.sh(&format!("cat /sys/fs/cgroup/freezer/rocker-{0}/freezer.state 2>/dev/null || grep frozen /sys/fs/cgroup/rocker-{0}/cgroup.events", id.trim()))
        };
        let stands = |state: &str| state.contains("FROZEN") || state.contains("frozen 1");
        assert!(!stands(&states()), "{}", states());
        // Interrupted.
        let commit = scene.start("commit web mine");
        host.wait_until("it stands still", LIMIT, || is_noted() && stands(&states()));
        host.sh(&format!("kill -INT {}", commit.pid()));
        let began = Instant::now();
        let done = commit.end();
        assert!(
            done.code == 1 && done.err.contains("interrupted"),
            "{done:?}"
        );
        assert!(
            began.elapsed() < LIMIT && !is_noted() && !stands(&states()),
            "{}",
            states()
        );
        // Killed: it stands still until the next command.
        let commit = scene.start("commit web mine");
        host.wait_until("it stands still", LIMIT, || is_noted() && stands(&states()));
        host.sh(&format!("kill -KILL {}", commit.pid()));
        commit.end();
        assert!(is_noted() && stands(&states()));
        scene.ok("ps");
        assert!(!is_noted() && !stands(&states()), "{}", states());
        assert!(scene.run("image inspect mine").code != 0);
        // Not at all.
        let commit = scene.start("commit --pause=false web mine");
        let mut stood = false;
        let state = format!("/proc/{}/stat", commit.pid());
        while !fs::read_to_string(&state).unwrap().contains(") Z") {
            stood |= stands(&states());
        }
        assert_eq!(commit.end().code, 0);
        assert!(!stood, "it stood still");
        // In good order, and with somebody who wants it gone meanwhile.
        let commit = scene.start("commit web mine");
        host.wait_until("it stands still", LIMIT, || stands(&states()));
        scene.ok("rm -f web");
        let done = commit.end();
        // Who was first.
        let gone = done.code == 1 && done.err.contains("no container");
        assert!(gone || done.code == 0, "{done:?}");
        scene.assert_all_gone("commits of a container that runs");
    });
}

#[test]
fn an_ordinary_user_has_all_that_too_but_mounts() {
    fake_host::run(|host| {
        let scene = Scene::of_alice(host);
        scene.ok("run --network none --name done $I sh -c 'mkdir -p /opt/d; echo x >/opt/d/x; rm /bin/rm; rm -rf /opt/d; mkdir /opt/d; echo y >/opt/d/y'");
        assert_eq!(
            scene.ok("diff done"),
            "C /bin\nD /bin/rm\nA /opt\nA /opt/d\nA /opt/d/y\n"
        );
        let id = scene.ok("commit -m text done mine");
        assert_eq!(scene.ok("images -q --no-trunc mine"), id);
        let look = "run --rm --network none mine sh -c 'cat /opt/d/y; ls /bin/rm; ls /opt/d'";
        assert_eq!(scene.run(look).out, "y\ny\n");
        let names = scene.script("rocker export done | tar -t | grep ^opt");
        assert_eq!(names.out, "opt/\nopt/d/\nopt/d/y\n", "{names:?}");
        let script = "cd; echo z >z; rocker cp -q z done:/opt && rocker cp -q done:/opt out && cat out/z out/d/y && stat -c %u out/z && rocker cp done:/opt - | tar --numeric-owner -tv | awk '{print $2}' | sort -u";
        let copied = scene.script(script);
        assert_eq!(copied.out, "z\ny\n1000\n0/0\n", "{copied:?}");
        let line = scene.run("mount done").failed(1);
        assert!(line.contains("a mount namespace of rocker's own"), "{line}");
        scene.up(
            "web",
            "--network none",
            "echo a >/a; echo up; exec sleep 1000",
        );
        let copied = scene.script("cd; rocker cp -q web:/a b && rocker cp -q b web:/c && rocker exec web cat /c && rocker commit -p=false web two");
        assert!(copied.out.starts_with("a\nsha256:"), "{copied:?}");
        scene.ok("rm -f web done");
    });
}
