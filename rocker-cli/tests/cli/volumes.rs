//! Named volumes and those without a name: made, filled, listed, shared, removed.

use std::fs;
use std::path::{Path, PathBuf};

use crate::fake_host;
use crate::registry::busybox_root;
use crate::support::Scene;

/// An image with a directory that has owners, and volumes that it wants.
fn image_with_data(scene: &Scene<'_>, name: &str, volumes: &str) -> String {
    let root = scene.host.dir(&format!("image-{name}"));
    busybox_root(&root);
    scene.host.sh(&format!(
        "cd {} && mkdir -p etc tmp data/sub && echo one >data/file && echo two >data/sub/file && ln -s /etc/x data/link
         printf 'root:x:0:0::/:/bin/sh\\nweb:x:33:44::/:/bin/sh\\n' >etc/passwd
         chown -R 33:44 data && chmod 2750 data && chmod 4711 data/sub/file",
        root.display()
    ));
    let config = format!(r#"{{"Env":["PATH=/bin"],"Volumes":{volumes}}}"#);
    // With its owners, which the registry's own archives have not.
    let tar = scene.host.dir("archives").join(format!("{name}.tar"));
    scene.host.sh(&format!(
        "tar -C {} --numeric-owner -cf {} .",
        root.display(),
        tar.display()
    ));
    let image = scene.push_layers(&[&tar], name, &config);
    scene.ok(&format!("pull -q {image}"));
    image
}

fn volume_dir(scene: &Scene<'_>, name: &str) -> PathBuf {
    scene.root.join("volumes").join(name).join("_data")
}

#[test]
fn a_volume_is_made_shown_and_removed_in_dockers_words() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        assert_eq!(scene.ok("volume ls"), "DRIVER   VOLUME NAME\n");
        assert_eq!(
            scene.ok("volume create --label a=b --label c data"),
            "data\n"
        );
        assert_eq!(scene.ok("volume create data"), "data\n");
        let made_up = scene.ok("volume create");
        let made_up = made_up.trim();
        assert_eq!(made_up.len(), 64);
        let names = scene.ok("volume ls -q");
        let mut expected = vec![made_up, "data"];
        expected.sort_unstable();
        assert_eq!(names.lines().collect::<Vec<_>>(), expected);
        assert_eq!(scene.ok("volume ls -qf label=a=b"), "data\n");
        assert_eq!(scene.ok("volume ls -qf name=at"), "data\n");
        assert_eq!(scene.ok("volume ls -qf driver=other"), "");
        assert_eq!(
            scene.ok("volume ls --format '{{.Driver}} {{.Name}} {{.Labels}}' -f name=data"),
            "local data a=b,c=\n"
        );
        let shown = scene.ok("volume inspect data");
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        let data = volume_dir(&scene, "data");
        assert_eq!(shown[0]["Name"], "data");
        assert_eq!(shown[0]["Driver"], "local");
        assert_eq!(shown[0]["Scope"], "local");
        assert_eq!(shown[0]["Labels"]["a"], "b");
        assert_eq!(shown[0]["Options"], serde_json::Value::Null);
        assert_eq!(shown[0]["Mountpoint"], data.to_str().unwrap());
        assert!(shown[0]["CreatedAt"].as_str().unwrap().contains('T'));
        assert_eq!(
            scene.ok("inspect --type volume -f '{{.Mountpoint}}' data"),
            format!("{}\n", data.display())
        );
        assert_eq!(scene.ok("inspect -f '{{.Name}}' data"), "data\n");
        let none = scene.fails(1, "volume rm none");
        assert!(none.contains("no volume \"none\""), "{none}");
        assert_eq!(scene.ok("volume rm -f none"), "none\n");
        for bad in ["..", ".x", "a/b", "'a b'"] {
            let refused = scene.fails(1, &format!("volume create {bad}"));
            assert!(refused.contains("does not name a volume"), "{refused}");
        }
        assert!(scene.fails(1, "volume create -d nfs x").contains("local"));
        assert!(
            scene
                .fails(1, "volume create -o type=nfs x")
                .contains("type=none")
        );
        // In use, also by one that does not run.
        scene.ok("create --name holder -v data:/d $I true");
        let id = scene.at("holder", "/Id");
        let used = scene.fails(1, "volume rm data");
        assert!(
            used.contains(&format!("volume data is in use - [{id}]")),
            "{used}"
        );
        assert_eq!(scene.ok("volume ls -qf dangling=true").trim(), made_up);
        assert_eq!(scene.ok("volume ls -qf dangling=0"), "data\n");
        assert_eq!(scene.ok("ps -aq --filter volume=data").lines().count(), 1);
        assert_eq!(scene.ok("ps -aq --filter volume=/d").lines().count(), 1);
        assert_eq!(scene.ok("ps -aq --filter volume=other"), "");
        scene.ok("rm -v holder");
        assert!(
            data.exists(),
            "a volume with a name was removed with a container"
        );
        // Those that nobody named, or all.
        let text = scene.ok("volume prune -f");
        assert!(
            text.starts_with(&format!(
                "Deleted Volumes:\n{made_up}\n\nTotal reclaimed space: "
            )),
            "{text}"
        );
        assert_eq!(scene.ok("volume ls -q"), "data\n");
        scene.ok("volume prune -af --filter label!=a");
        assert_eq!(scene.ok("volume ls -q"), "data\n");
        scene.ok("volume prune -af --filter label=a=b");
        assert_eq!(scene.ok("volume ls -q"), "");
        scene.assert_all_gone("volumes");
    });
}

#[test]
fn a_named_volume_is_filled_at_its_first_use_and_outlives_its_containers() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let image = image_with_data(&scene, "data", "{}");
        let look =
            "stat -c '%u:%g %a %n' /data /data/sub/file; cat /data/file; readlink /data/link";
        let expected = "33:44 2750 /data\n33:44 4711 /data/sub/file\none\n/etc/x\n";
        let run = |flags: &str, command: &str| {
            scene.ok(&format!(
                "run --rm --network none {flags} {image} sh -c \"{command}\""
            ))
        };
        assert_eq!(run("-v data:/data", look), expected);
        assert_eq!(
            run("-v data:/data", "echo changed >/data/file; rm /data/link"),
            ""
        );
        assert_eq!(
            run("-v data:/d", "cat /d/file; ls /d"),
            "changed\nfile\nsub\n"
        );
        assert_eq!(
            run(
                "--mount type=volume,src=data,dst=/data,ro",
                "(echo x >/data/file) 2>&1; cat /data/file"
            ),
            "sh: can't create /data/file: Read-only file system\nchanged\n"
        );
        // Not asked for, nothing there, not empty.
        assert_eq!(run("-v empty:/data:nocopy", "ls -A /data"), "");
        assert_eq!(
            run("--mount src=other,dst=/data,volume-nocopy", "ls -A /data"),
            ""
        );
        assert_eq!(run("-v none:/nothing/there", "ls -A /nothing/there"), "");
        assert_eq!(run("-v empty:/data", look), expected);
        assert_eq!(scene.ok("volume ls -q"), "data\nempty\nnone\nother\n");
        // Nodes of a volume are no devices, and setuid programs of it are none of the host's: nobody else can enter.
        let mode = host.sh(&format!(
            "stat -c %a {}",
            scene.root.join("volumes").display()
        ));
        assert_eq!(mode.trim(), "700");
        // A volume of which a part is meant.
        assert_eq!(
            run(
                "--mount src=empty,dst=/part,volume-subpath=sub",
                "ls /part; stat -c %a /part/file"
            ),
            "file\n4711\n"
        );
        let refused = scene.fails(
            125,
            &format!("run --rm --mount src=empty,dst=/part,volume-subpath=no/such {image} true"),
        );
        assert!(
            refused.contains("_data/no/such does not exist"),
            "{refused}"
        );
        scene.ok("volume prune -af");
        scene.assert_all_gone("named volumes");
    });
}

#[test]
fn volumes_without_a_name_go_with_their_container_if_they_shall() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let image = image_with_data(&scene, "anonymous", r#"{"/data":{},"/new/place":{}}"#);
        let script = "cat /data/file; echo x >/new/place/x; grep -c -E ' /(data|new/place|more) ' /proc/mounts";
        assert_eq!(
            scene.ok(&format!("run --rm -v /more {image} sh -c \"{script}\"")),
            "one\n3\n"
        );
        assert_eq!(scene.ok("volume ls -q"), "", "--rm leaves them");
        scene.ok(&format!("run --name a -v /more {image} true"));
        let names = scene.ok("volume ls -q");
        assert_eq!(names.lines().count(), 3);
        assert!(
            names
                .lines()
                .all(|name| name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())),
            "{names}"
        );
        let shown: serde_json::Value = serde_json::from_str(&scene.ok("inspect a")).unwrap();
        let mounts = shown[0]["Mounts"].as_array().unwrap();
        let data = mounts
            .iter()
            .find(|one| one["Destination"] == "/data")
            .unwrap();
        let name = data["Name"].as_str().unwrap();
        assert_eq!(data["Type"], "volume");
        assert_eq!(data["Driver"], "local");
        assert_eq!(data["Source"], volume_dir(&scene, name).to_str().unwrap());
        assert_eq!(
            (&data["RW"], &data["Mode"], &data["Propagation"]),
            (&true.into(), &"".into(), &"".into())
        );
        // What it has written is there when it is started again.
        scene.ok(&format!(
            "run --name b {image} sh -c 'cat /data/own 2>/dev/null; echo mine >>/data/own'"
        ));
        assert_eq!(scene.ok("start -a b"), "mine\n");
        // Another one has them too: then they stay.
        scene.ok(&format!("create --name c --volumes-from a {image} true"));
        scene.ok("rm -v a");
        assert_eq!(scene.ok("volume ls -q").lines().count(), 5);
        scene.ok("rm -v c");
        assert_eq!(scene.ok("volume ls -q").lines().count(), 2);
        scene.ok("rm b");
        assert_eq!(
            scene.ok("volume ls -q").lines().count(),
            2,
            "without -v they stay"
        );
        scene.ok("volume prune -f");
        assert_eq!(scene.ok("volume ls -q"), "");
        // A run that fails leaves none.
        scene.fails(125, &format!("run --rm -v /no/such/dir:/x {image} true"));
        assert_eq!(scene.ok("volume ls -q"), "");
        scene.assert_all_gone("volumes without a name");
    });
}

#[test]
fn the_volumes_of_another_container_are_seen_where_nothing_else_is_asked_for() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        fs::write(host.dir("dir").join("host"), "").unwrap();
        scene.ok("run --name a -v data:/data -v /run/dir:/bound -v /anonymous $I sh -c 'echo x >/data/x; echo y >/anonymous/y'");
        let look = "ls /data /bound /anonymous; touch /data/new 2>&1";
        assert_eq!(
            scene.ok(&format!("run --rm --volumes-from a $I sh -c '{look}'")),
            "/anonymous:\ny\n\n/bound:\nhost\n\n/data:\nx\n"
        );
        let done = scene.run("run --rm --volumes-from a:ro $I touch /data/newer");
        assert!(
            done.code == 1 && done.err.contains("Read-only file system"),
            "{done:?}"
        );
        assert_eq!(
            scene.ok("run --rm --volumes-from a -v other:/data $I ls /data"),
            ""
        );
        let none = scene.fails(125, "run --rm --volumes-from none $I true");
        assert!(none.contains("no container \"none\""), "{none}");
        scene.ok("rm -v a");
        assert_eq!(scene.ok("volume ls -q"), "data\nother\n");
        scene.ok("volume prune -af");
        scene.assert_all_gone("--volumes-from");
    });
}

#[test]
fn volumes_count_in_system_df_and_go_with_system_prune_if_asked() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.ok("run --name a -v used:/u -v /anonymous $I sh -c 'dd if=/dev/zero of=/u/file bs=1M count=3 2>/dev/null'");
        scene.ok(
            "run --rm -v idle:/i $I sh -c 'dd if=/dev/zero of=/i/file bs=1M count=2 2>/dev/null'",
        );
        let rows = scene.ok("system df --format json");
        let row = rows
            .lines()
            .find(|row| row.contains("Local Volumes"))
            .unwrap();
        let row: serde_json::Value = serde_json::from_str(row).unwrap();
        assert_eq!(
            (&row["TotalCount"], &row["Active"]),
            (&"3".into(), &"2".into()),
            "{row}"
        );
        let size = |text: &serde_json::Value| text.as_str().unwrap().to_owned();
        assert!(size(&row["Size"]).starts_with("5."), "{row}");
        assert!(size(&row["Reclaimable"]).starts_with("2."), "{row}");
        scene.ok("rm a");
        assert!(!scene.ok("system prune -f").contains("Deleted Volumes"));
        let text = scene.ok("system prune -f --volumes");
        assert!(text.contains("Deleted Volumes:\n"), "{text}");
        assert_eq!(scene.ok("volume ls -q"), "idle\nused\n");
        let text = scene.ok("volume prune -af");
        assert!(text.contains("Total reclaimed space: 5."), "{text}");
        scene.assert_all_gone("system df");
    });
}

#[test]
fn a_volume_can_be_a_directory_of_the_host() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        fs::write(host.dir("srv").join("file"), "of the host").unwrap();
        scene.ok("volume create -o type=none -o o=bind,ro -o device=/run/srv srv");
        assert_eq!(scene.ok("run --rm -v srv:/s $I cat /s/file"), "of the host");
        assert_eq!(scene.run("run --rm -v srv:/s $I touch /s/new").code, 1);
        scene.ok("volume rm srv");
        assert!(Path::new("/run/srv/file").exists());
        assert_eq!(
            scene.ok("run --rm --mount 'src=two,dst=/s,volume-opt=type=none,volume-opt=o=bind,volume-opt=device=/run/srv,volume-label=a=b' $I cat /s/file"),
            "of the host"
        );
        assert_eq!(
            scene.ok("volume inspect -f '{{.Labels.a}} {{.Options.device}}' two"),
            "b /run/srv\n"
        );
        scene.ok("volume rm two");
        scene.assert_all_gone("a volume of the host's");
    });
}

#[test]
fn whoever_has_users_of_its_own_shares_a_volume_with_whoever_has_others() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let image = image_with_data(&scene, "users", "{}");
        let run = |flags: &str, command: &str| {
            scene.ok(&format!(
                "run --rm --network none {flags} -v data:/data {image} sh -c \"{command}\""
            ))
        };
        let look = "stat -c '%u:%g %n' /data /data/file";
        assert_eq!(
            run("--userns auto", look),
            "33:44 /data\n33:44 /data/file\n"
        );
        assert_eq!(
            run("--userns auto", "echo new >/data/new; chown 5:6 /data/new"),
            ""
        );
        assert_eq!(run("", "stat -c '%u:%g' /data/new"), "5:6\n");
        assert_eq!(
            run("--userns auto", "stat -c '%u:%g' /data/new; rm /data/new"),
            "5:6\n"
        );
        scene.ok("volume rm data");
        scene.assert_all_gone("volumes of several users");
    });
}

#[test]
fn an_ordinary_user_has_volumes_too() {
    fake_host::run(|host| {
        let scene = Scene::of_alice(host);
        let root = busybox_root(&host.dir("image"));
        fs::create_dir_all(root.join("data/sub")).unwrap();
        fs::write(root.join("data/sub/file"), "of the image").unwrap();
        let image = scene
            .registry
            .push_dir(&root, "data", r#"{"Volumes":{"/anonymous":{}}}"#);
        scene.ok(&format!("pull -q {image}"));
        let run = |flags: &str, command: &str| {
            scene.ok(&format!(
                "run --rm --network none {flags} {image} sh -c '{command}'"
            ))
        };
        assert_eq!(
            run(
                "-v data:/data",
                "cat /data/sub/file; echo mine >/data/own; touch /anonymous/x"
            ),
            "of the image"
        );
        assert_eq!(
            run("-v data:/d:ro", "cat /d/own; stat -c %u /d/own"),
            "mine\n0\n"
        );
        assert_eq!(scene.ok("volume ls -q"), "data\n");
        let owner = host.sh(&format!(
            "stat -c %u {}",
            volume_dir(&scene, "data").join("own").display()
        ));
        assert_eq!(owner, "1000\n");
        let refused = scene.fails(
            125,
            &format!("run --rm -v '/run/alice:/h:idmap=uids=0-0-1' {image} true"),
        );
        assert!(refused.contains("only the machine's root"), "{refused}");
        scene.ok("volume rm data");
        scene.ok("system prune -af");
    });
}
