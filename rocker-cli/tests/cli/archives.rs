//! Images that go from one machine to another in a file.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::fake_host;
use crate::support::Scene;

#[test]
fn an_image_goes_through_a_pipe_to_another_machine_and_runs_there() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let other = "env ROCKER_ROOT=/run/other-root ROCKER_RUN=/run/other-run rocker";
        for (format, packer) in [
            ("docker-archive", "cat"),
            ("oci-archive", "cat"),
            ("docker-archive", "gzip -1"),
            ("oci-archive", "zstd -q"),
        ] {
            let done = scene.script(&format!(
                "rocker save --format {format} $I | {packer} | {other} load -q"
            ));
            done.succeeded();
            assert_eq!(done.out, format!("Loaded image: {}:latest\n", scene.image));
            let done = scene.script(&format!("{other} run --rm --network none $I echo here"));
            assert_eq!((done.code, done.out.as_str()), (0, "here\n"), "{done:?}");
            assert_eq!(
                scene.script(&format!("{other} image ls -q --no-trunc")).out,
                scene.ok("images -q --no-trunc")
            );
            host.sh("rm -r /run/other-root");
        }
        scene.assert_all_gone("save and load");
    });
}

#[test]
fn podman_and_skopeo_read_what_is_saved_and_what_they_write_is_loaded() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let name = format!("{}:latest", scene.image);
        for format in ["docker-archive", "oci-archive"] {
            scene.ok(&format!("save --format {format} -o /run/{format}.tar $I"));
            host.sh(&format!(
                "skopeo --insecure-policy copy -q {format}:/run/{format}.tar oci:/run/{format}-layout:x
                 skopeo --insecure-policy copy -q oci:/run/{format}-layout:x {format}:/run/back-{format}.tar:back.example/{format}:1"
            ));
            assert_eq!(
                scene.ok(&format!("load -i /run/back-{format}.tar")),
                format!("Loaded image: back.example/{format}:1\n")
            );
            let done = scene.ok(&format!(
                "run --rm --network none back.example/{format}:1 echo x"
            ));
            assert_eq!(done, "x\n");
        }
        let podman = "podman --root /run/podman --runroot /run/podman-run --storage-driver vfs";
        let loaded = host.sh(&format!(
            "{podman} load -qi /run/docker-archive.tar; {podman} load -qi /run/oci-archive.tar; {podman} images -q --no-trunc"
        ));
        assert_eq!(
            loaded.matches(&format!("Loaded image: {name}")).count(),
            2,
            "{loaded}"
        );
        let id = scene.ok("images -q --no-trunc");
        assert!(loaded.contains(id.lines().next().unwrap()), "{loaded}");
        scene.assert_all_gone("saves and loads");
    });
}

#[test]
fn a_repository_is_saved_with_all_its_tags_and_an_id_without_a_name() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        for tag in ["one", "two"] {
            let name = scene.registry.push_busybox(&format!("team/app:{tag}"));
            scene.ok(&format!("pull -q {name}"));
        }
        let app = scene.registry.name("team/app");
        scene.ok(&format!("image save -o /run/all.tar {app} $I"));
        let mode = fs::metadata("/run/all.tar").unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let id = scene.ok("images -q");
        scene.ok(&format!("save -o /run/id.tar {}", id.trim()));
        scene.ok(&format!("save -o /run/one.tar {app}:one"));
        scene.ok(&format!("rmi {app}:one"));
        scene.ok(&format!("rmi {app}:two"));
        scene.ok("rmi $I");
        let out = scene.ok("load -i /run/id.tar");
        assert!(out.starts_with("Loaded image ID: sha256:"), "{out}");
        assert_eq!(
            scene.ok("load -i /run/one.tar"),
            format!("Loaded image: {app}:one\n")
        );
        let out = scene.ok("load -i /run/all.tar");
        for name in [
            format!("{app}:one"),
            format!("{app}:two"),
            format!("{}:latest", scene.image),
        ] {
            assert!(out.contains(&format!("Loaded image: {name}\n")), "{out}");
        }
        let left = host.sh("ls -A /run | grep -c 'rocker-[0-9]' || true");
        assert_eq!(left, "0\n", "no half archive");
    });
}

#[test]
fn an_image_whose_name_an_archive_takes_is_told_of() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.ok("save -o /run/old.tar $I");
        let old = scene.ok("images -q --no-trunc");
        let tree = host.dir("tree");
        fs::write(tree.join("file"), "").unwrap();
        scene.registry.push_dir(&tree, "busybox:latest", "{}");
        scene.ok("pull -q $I");
        let new = scene.ok("inspect --type image -f {{.Id}} $I");
        assert_ne!(old, new);
        assert_eq!(
            scene.ok("load -i /run/old.tar"),
            format!(
                "The image {0}:latest already exists, renaming the old one with ID {1} to empty string\nLoaded image: {0}:latest\n",
                scene.image,
                new.trim()
            )
        );
        assert!(scene.ok("images").contains("<none>"));
    });
}

#[test]
fn what_is_no_archive_is_refused_and_leaves_nothing() {
    fake_host::run(|host| {
        let scene = Scene::without_image(host);
        scene.fails(1, "save nosuch");
        scene.fails(1, "load -i /run/nosuch.tar");
        scene.fails(1, "load </dev/null");
        let line = scene.run("load </bin/sh").failed(1);
        assert!(line.contains("archive"), "{line}");
        // On a terminal, nothing is written and nothing is waited for.
        let done = scene
            .script("script -qec 'rocker save x' /dev/null; script -qec 'rocker load' /dev/null");
        assert_eq!(done.out.matches("terminal").count(), 2, "{done:?}");

        // A layer that climbs out of its root is the sink's to refuse, and what was read goes.
        host.sh(
            r#"mkdir /run/e; cd /run/e; echo evil >evil; tar -cPf l.tar --transform 's,^,../../../run/,' evil
            id=$(sha256sum l.tar | cut -c-64)
            printf '{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' $id >c.json
            printf '[{"Config":"c.json","RepoTags":["e:1"],"Layers":["l.tar"]}]' >manifest.json
            tar -cf /run/evil.tar l.tar c.json manifest.json"#,
        );
        let done = scene.run("load -i /run/evil.tar");
        assert!(done.failed(1).contains("`..` in its name"), "{done:?}");
        let blobs = host.sh(&format!(
            "find {} -path '*blobs*' -type f; ls /run | grep evil$ || true",
            scene.root.display()
        ));
        assert_eq!(blobs, "");
        scene.assert_all_gone("refused archives");
    });
}

#[test]
fn an_ordinary_user_saves_loads_and_imports() {
    fake_host::run(|host| {
        let scene = Scene::of_alice(host);
        let done = scene.script(
            "cd; rocker save -o a.tar $I && rocker rmi $I && rocker load -i a.tar && rocker image verify && rocker run --rm $I echo x",
        );
        done.succeeded();
        assert!(done.out.ends_with("x\n"), "{done:?}");
        let done = scene.script("cd; mkdir r; echo y >r/f; tar -cC r . | rocker import - files && rocker save files | rocker load");
        done.succeeded();
        assert!(
            done.out.ends_with("Loaded image: files:latest\n"),
            "{done:?}"
        );
    });
}
