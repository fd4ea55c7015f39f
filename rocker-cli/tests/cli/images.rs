//! Images: pulled, listed and removed.

use std::collections::BTreeSet;
use std::fs;

use crate::debian;
use crate::fake_host;
use crate::support::Scene;

/// The unpacked layers.
fn layers(scene: &Scene<'_>) -> BTreeSet<String> {
    let all = fs::read_dir(scene.root.join("layers")).unwrap().flatten();
    all.flat_map(|entry| {
        let nested = fs::read_dir(entry.path()).unwrap().flatten();
        let parent = entry.file_name().into_string().unwrap();
        // Either `<digest>` or `sha256/<digest>`.
        if parent.len() == 64 {
            vec![parent]
        } else {
            nested
                .map(|entry| entry.file_name().into_string().unwrap())
                .collect()
        }
    })
    .filter(|name| name.len() == 64)
    .collect()
}

#[test]
fn a_pull_shows_a_line_a_layer_and_then_is_up_to_date() {
    fake_host::run(|host| {
        let scene = Scene::without_image(host);
        let first = scene.run("pull $I");
        assert_eq!(first.code, 0, "{first:?}");
        let (mut lines, image) = (first.err.lines(), &scene.image);
        let head = lines.next().unwrap();
        assert!(
            head.starts_with("Pulling sha256:") && head.contains("layers: 2"),
            "{head}"
        );
        let layers: Vec<_> = lines.collect();
        assert_eq!(layers.len(), 2, "{first:?}");
        assert!(
            layers.iter().all(|line| line.ends_with(": Pull complete")),
            "{first:?}"
        );
        let digest = first
            .out
            .lines()
            .next()
            .unwrap()
            .strip_prefix("Digest: ")
            .unwrap();
        assert!(head.contains(digest), "{first:?}");
        assert!(first.out.ends_with(&format!(
            "Status: Downloaded newer image for {image}:latest\n"
        )));
        let second = scene.ok("pull $I");
        assert!(
            second.contains("Status: Image is up to date for"),
            "{second}"
        );
        assert_eq!(scene.ok("pull -q $I"), format!("{digest}\n"));
        assert_eq!(
            scene.ok(&format!("run --rm $I@{digest} echo by digest")),
            "by digest\n"
        );
        scene.assert_all_gone("pulls");
    });
}

#[test]
fn the_first_run_pulls_and_the_next_does_not() {
    fake_host::run(|host| {
        let scene = Scene::without_image(host);
        let line = scene.fails(125, "run --rm --pull never $I true");
        assert!(line.contains(&scene.image), "{line}");
        let first = scene.run("run --rm $I echo x");
        assert_eq!((first.code, first.out.as_str()), (0, "x\n"));
        assert!(first.err.contains("Pull complete"), "{first:?}");
        let second = scene.run("run --rm $I echo x");
        assert_eq!((second.code, second.err.as_str()), (0, ""));
        // The registry is not even asked.
        let Scene {
            registry, rocker, ..
        } = scene;
        drop(registry);
        assert_eq!(rocker.ok("run --rm $I echo still"), "still\n");
        rocker.fails(125, "run --rm --pull always $I echo not");
    });
}

#[test]
fn of_an_index_the_image_for_this_machine_is_taken_or_the_one_asked_for() {
    fake_host::run(|host| {
        let scene = Scene::without_image(host);
        let name = scene.registry.push_index("multi");
        let (own, other) = if cfg!(target_arch = "aarch64") {
            ("arm64", "amd64")
        } else {
            ("amd64", "arm64")
        };
        let done = scene.run(&format!("run --rm {name} cat /arch"));
        assert_eq!(done.out, own, "{done:?}");
        // Its busybox is this machine's in both, so that it runs.
        let done = scene.run(&format!(
            "run --rm --platform linux/{other} {name} cat /arch"
        ));
        assert_eq!(done.out, other, "{done:?}");
        let line = scene
            .run(&format!("pull --platform linux/s390x {name}"))
            .failed(125);
        assert!(line.contains("s390x"), "{line}");
        scene.assert_all_gone("runs of an index");
    });
}

#[test]
fn a_zstd_image_has_the_files_of_the_gzip_one() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let zstd = scene.registry.push_zstd("zstd");
        let raw = host.sh(&format!(
            "skopeo inspect --tls-verify=false --raw docker://{zstd}"
        ));
        assert!(raw.contains("tar+zstd"), "{raw}");
        scene.ok(&format!("pull -q {zstd}"));
        let list = "find /bin /etc/passwd /etc/group /tmp -type f -exec md5sum {} ';' -o -type l -exec readlink {} ';'";
        let gzip = scene.ok(&format!("run --rm $I sh -c \"{list}\""));
        assert!(gzip.lines().count() > 200, "{gzip}");
        assert_eq!(scene.ok(&format!("run --rm {zstd} sh -c \"{list}\"")), gzip);
        // Compressed in another way, the layers are the same ones.
        assert_eq!(layers(&scene).len(), 2);
    });
}

#[test]
fn debian_runs_with_every_file_as_its_packages_have_it() {
    debian::make();
    fake_host::run(|host| {
        let scene = Scene::without_image(host);
        let name = scene.push_layers(&[debian::tar()], "debian", r#"{"Cmd":["bash"]}"#);
        scene.ok(&format!("pull -q {name}"));
        assert_eq!(scene.ok(&format!("run --rm {name} dpkg --verify")), "");
        let script =
            "stat -c '%a %U:%G %n' /usr/bin/passwd /tmp /etc/shadow /usr/bin/chage /var/mail";
        let inside = scene.ok(&format!("run --rm {name} {script}"));
        assert_eq!(
            inside,
            "4755 root:root /usr/bin/passwd\n1777 root:root /tmp\n640 root:shadow /etc/shadow\n\
             2755 root:shadow /usr/bin/chage\n2775 root:mail /var/mail\n"
        );
        let out = scene.ok(&format!(
            "run --rm {name} bash -c 'apt-get --version | head -n1; perl -e \"print 6*7\"'"
        ));
        assert!(out.starts_with("apt ") && out.ends_with("42"), "{out}");
        scene.assert_all_gone("runs of Debian");
    });
}

#[test]
fn debian_is_entry_by_entry_what_umoci_and_podman_make_of_it() {
    debian::make();
    fake_host::run(|host| {
        let scene = Scene::without_image(host);
        let name = scene.push_layers(&[debian::tar()], "debian", r#"{"Cmd":["bash"]}"#);
        scene.ok(&format!("pull -q {name}"));
        host.sh(&format!(
            "skopeo --insecure-policy copy -q --src-tls-verify=false docker://{name} oci:/run/layout:debian
             umoci unpack --image /run/layout:debian /run/bundle 2>/dev/null"
        ));
        let podman = "podman --root /run/podman --runroot /run/podman-run --tmpdir /run/podman-tmp --storage-driver vfs";
        host.sh(&format!("{podman} pull -q --tls-verify=false {name}"));
        let mounted = host.sh(&format!("{podman} image mount {name}"));
        // Names, kinds, modes, owners, sizes, links, times in nanoseconds, devices and contents.
        let tree = |dir: &str| {
            host.sh(&format!(
                "cd {dir} && {{ find . -mindepth 1 -type d -printf '%P d %m %U:%G %T@\\n'
                 find . ! -type d -printf '%P %y %m %U:%G %s %n %T@ %l\\n'
                 find . -type c -o -type b | xargs -r stat -c '%n %t:%T'
                 find . -type f -exec sha256sum {{}} +; }} | LC_ALL=C sort"
            ))
        };
        let layer = layers(&scene).pop_first().unwrap();
        let own = tree(&format!("{}/layers/{layer}", scene.root.display()));
        assert!(own.lines().count() > 10_000, "{own}");
        for (who, dir) in [("umoci", "/run/bundle/rootfs"), ("podman", mounted.trim())] {
            let theirs = tree(dir);
            let differ = own
                .lines()
                .zip(theirs.lines())
                .find(|(own, their)| own != their);
            assert_eq!(differ, None, "{who}");
            assert_eq!(own.lines().count(), theirs.lines().count(), "{who}");
        }
    });
}

#[test]
fn images_are_listed_with_dockers_columns() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let other = scene.registry.push_busybox("team/other:v1");
        scene.ok(&format!("pull -q {other}"));
        let table = scene.ok("images");
        let rows: Vec<Vec<_>> = table
            .lines()
            .map(|line| {
                line.split("   ")
                    .map(str::trim)
                    .filter(|cell| !cell.is_empty())
                    .collect()
            })
            .collect();
        assert_eq!(
            rows[0],
            ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"]
        );
        assert_eq!(rows.len(), 3, "{table}");
        let find = |repository: &str| rows.iter().find(|row| row[0] == repository).unwrap();
        let (one, two) = (
            find("127.0.0.1:5000/busybox"),
            find("127.0.0.1:5000/team/other"),
        );
        assert_eq!((one[1], two[1]), ("latest", "v1"));
        assert_eq!(one[2], two[2], "one image with two names");
        assert_eq!(scene.ok("images -q"), format!("{}\n", one[2]));
        assert_eq!(one[3], two[3]);
        assert!(one[3].ends_with("years ago"), "{table}");
        assert!(one[4].ends_with("MB"), "{table}");
    });
}

#[test]
fn an_image_is_removed_by_name_or_id_and_shared_layers_stay_while_needed() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let multi = scene.registry.push_index("multi");
        scene.ok(&format!("pull -q {multi}"));
        let all = layers(&scene);
        assert_eq!(all.len(), 3, "busybox is one layer of both");
        let out = scene.ok("rmi $I");
        assert!(
            out.starts_with(&format!(
                "Untagged: {}:latest\nDeleted: sha256:",
                scene.image
            )),
            "{out}"
        );
        assert_eq!(layers(&scene).len(), 2);
        assert_eq!(scene.ok(&format!("run --rm {multi} echo here")), "here\n");
        assert!(!scene.ok("images").contains("5000/busybox "));
        let id = scene.ok("images -q");
        scene.ok(&format!("rmi {}", id.trim()));
        assert_eq!(layers(&scene).len(), 0);
        assert_eq!(scene.ok("images -q"), "");
        let blobs = host.sh(&format!(
            "find {} -path '*blobs*' -type f",
            scene.root.display()
        ));
        assert_eq!(blobs, "");
        let done = scene.run(&format!("rmi {multi}"));
        assert_eq!(done.code, 1);
        assert!(done.err.contains("no image"), "{done:?}");
    });
}

#[test]
fn a_name_of_two_is_taken_away_and_the_image_stays() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let other = scene.registry.push_busybox("other");
        scene.ok(&format!("pull -q {other}"));
        assert_eq!(
            scene.ok("rmi $I"),
            format!("Untagged: {}:latest\n", scene.image)
        );
        assert_eq!(scene.ok(&format!("run --rm {other} echo here")), "here\n");
    });
}

#[test]
fn an_image_in_use_is_not_removed() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let idle = scene.start_idle("--rm --name user");
        let id = scene.ok("ps -q");
        for name in ["$I".to_owned(), scene.ok("images -q").trim().to_owned()] {
            let done = scene.run(&format!("rmi {name}"));
            assert!(done.failed(1).contains(id.trim()), "{done:?}");
        }

        assert_eq!(idle.end().code, 0);
        // A container that has ended uses it as well, until it is removed.
        scene.ok("run --name kept $I true");
        assert!(
            scene
                .run("rmi $I")
                .failed(1)
                .contains(scene.ok("ps -aq").trim())
        );
        scene.ok("rm kept");
        scene.ok("rmi $I");
        scene.assert_all_gone("rmi");
    });
}
