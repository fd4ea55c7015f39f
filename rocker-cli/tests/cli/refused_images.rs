//! Images that are not what they say, or want to be more than an image.

use std::fs;
use std::path::{Path, PathBuf};

use tar::{EntryType, Header};

use crate::fake_host::{self, Host};
use crate::support::Scene;

/// What a layer may not touch.
const OUTSIDE: &str = "/run/outside";

/// One entry of a tar file, with names that tools would not write.
struct Entry {
    kind: EntryType,
    name: String,
    link: String,
}

fn entry(kind: EntryType, name: &str, link: &str) -> Entry {
    let (name, link) = (name.to_owned(), link.to_owned());
    Entry { kind, name, link }
}

/// Writes a tar file of these entries; a file's content is `evil`.
fn tar(host: &Host, entries: &[Entry]) -> PathBuf {
    let path = host.dir("tars").join("layer.tar");
    let mut tar = tar::Builder::new(fs::File::create(&path).unwrap());
    for entry in entries {
        let mut header = Header::new_gnu();
        let old = header.as_old_mut();
        old.name[..entry.name.len()].copy_from_slice(entry.name.as_bytes());
        old.linkname[..entry.link.len()].copy_from_slice(entry.link.as_bytes());
        header.set_entry_type(entry.kind);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        let content: &[u8] = if entry.kind == EntryType::Regular {
            b"evil"
        } else {
            b""
        };
        header.set_size(content.len() as u64);
        header.set_cksum();
        tar.append(&header, content).unwrap();
    }
    tar.finish().unwrap();
    path
}

#[test]
fn a_layer_that_tries_to_leave_its_directory_changes_nothing_outside_of_it() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        fs::create_dir(OUTSIDE).unwrap();
        fs::write(format!("{OUTSIDE}/victim"), "victim").unwrap();
        let up = format!("../../../../../../../..{OUTSIDE}");
        let (file, dir, symlink, hard) = (
            EntryType::Regular,
            EntryType::Directory,
            EntryType::Symlink,
            EntryType::Link,
        );
        let refused = [
            ("dotdot", vec![entry(file, &format!("{up}/new"), "")]),
            (
                "dotdot-inside",
                vec![
                    entry(dir, "a", ""),
                    entry(file, &format!("a/../{up}/new"), ""),
                ],
            ),
            ("dotdot-directory", vec![entry(dir, "..", "")]),
            (
                "hard-up",
                vec![
                    entry(hard, "a", &format!("{up}/victim")),
                    entry(file, "a", ""),
                ],
            ),
            (
                "hard-through-link",
                vec![
                    entry(symlink, "l", OUTSIDE),
                    entry(hard, "a", "l/victim"),
                    entry(file, "a", ""),
                ],
            ),
            (
                "hard-absolute",
                vec![
                    entry(hard, "a", &format!("{OUTSIDE}/victim")),
                    entry(file, "a", ""),
                ],
            ),
        ];
        let harmless = [
            (
                "absolute",
                vec![entry(file, &format!("{OUTSIDE}/victim"), "")],
            ),
            (
                "link",
                vec![entry(symlink, "l", OUTSIDE), entry(file, "l/victim", "")],
            ),
            (
                "link-up",
                vec![entry(symlink, "l", &up), entry(file, "l/new", "")],
            ),
            (
                "link-file",
                vec![
                    entry(symlink, "l", &format!("{OUTSIDE}/victim")),
                    entry(file, "l", ""),
                ],
            ),
            (
                "link-twice",
                vec![
                    entry(symlink, "k", "l"),
                    entry(symlink, "l", OUTSIDE),
                    entry(dir, "k/d", ""),
                ],
            ),
            (
                "whiteout",
                vec![
                    entry(symlink, "l", OUTSIDE),
                    entry(file, "l/.wh.victim", ""),
                    entry(file, "l/.wh..wh..opq", ""),
                ],
            ),
            (
                "whiteout-up",
                vec![entry(file, ".wh...", ""), entry(file, ".wh.", "")],
            ),
        ];
        let pull = |name: &str, entries: &[Entry]| {
            let evil = scene.push_layers(&[&tar(host, entries)], name, "{}");
            let done = scene.run(&format!("pull -q {evil}"));
            let here = host.sh(&format!("cd {OUTSIDE}; echo *; stat -c '%h %a' victim; cat victim; find /run/rocker-root -name new -path '*outside*' ! -path '*/layers/*'"));
            assert_eq!(here, "victim\n1 644\nvictim", "{name}");
            assert!(
                !Path::new("/new").exists() && !Path::new("/run/new").exists(),
                "{name}"
            );
            done
        };
        let clean = || host.sh("find /run/rocker-root/layers -mindepth 1 -maxdepth 2 | sort");
        let before = clean();
        for (name, entries) in &refused {
            let done = pull(name, entries);
            let line = done.failed(125);
            assert!(
                line.contains("layer") && line.contains("sha256:"),
                "{name}: {line}"
            );
            assert!(
                line.contains(&entries.last().unwrap().name)
                    || line.contains(&entries[entries.len().saturating_sub(2)].name),
                "{name}: {line}"
            );
            assert_eq!(clean(), before, "{name}");
            assert!(!scene.ok("images").contains(name), "{name}");
            scene.assert_all_gone(name);
        }
        for (name, entries) in &harmless {
            let done = pull(name, entries);
            assert!(
                done.code == 0 || !done.failed(125).is_empty(),
                "{name}: {done:?}"
            );
            scene.assert_all_gone(name);
        }
    });
}

#[test]
fn a_blob_with_the_wrong_digest_is_refused_and_leaves_nothing() {
    fake_host::run(|host| {
        let scene = Scene::without_image(host);
        // The registry's own copy is damaged, at its full length: first of the configuration, since a good one is kept.
        let raw =
            host.sh("skopeo inspect --tls-verify=false --raw docker://127.0.0.1:5000/busybox");
        let manifest: serde_json::Value = serde_json::from_str(&raw).unwrap();
        let digests = [
            &manifest["config"]["digest"],
            &manifest["layers"][1]["digest"],
        ];
        for digest in digests.map(|digest| digest.as_str().unwrap()) {
            let hex = digest.strip_prefix("sha256:").unwrap();
            let blob = format!(
                "/run/registry/data/docker/registry/v2/blobs/sha256/{}/{hex}/data",
                &hex[..2]
            );
            let honest = fs::read(&blob).unwrap();
            let mut damaged = honest.clone();
            let last = damaged.len() - 1;
            damaged[last] ^= 1;
            fs::write(&blob, damaged).unwrap();
            let done = scene.run("run --rm $I true");
            assert_eq!(done.code, 125, "{done:?}");
            let line = done.err.lines().last().unwrap();
            assert!(
                line.starts_with("rocker: ")
                    && line.contains("wrong digest")
                    && line.contains(digest),
                "{line}"
            );
            assert_eq!(
                done.err
                    .lines()
                    .filter(|line| line.starts_with("rocker: "))
                    .count(),
                1,
                "{done:?}"
            );
            assert_eq!(scene.ok("images -q"), "");
            scene.assert_all_gone("a pull with a damaged blob");
            fs::write(&blob, honest).unwrap();
        }
        assert_eq!(scene.ok("run --rm $I echo whole"), "whole\n");
        scene.ok("rmi $I");
        let left =
            host.sh("find /run/rocker-root/layers /run/rocker-root/images/blobs -mindepth 2");
        assert_eq!(left, "", "of the attempts before");
    });
}

#[test]
fn a_reference_by_digest_gets_those_bytes_or_nothing() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let other = format!("sha256:{}", "0".repeat(64));
        let line = scene.fails(125, &format!("run --rm $I@{other}"));
        assert!(line.contains(&other), "{line}");
        let line = scene.fails(125, "run --rm $I@sha256:short");
        assert!(line.contains("sha256:short"), "{line}");
        scene.assert_all_gone("wrong digests");
    });
}

#[test]
fn an_image_whose_directories_are_links_to_the_host_is_mounted_over_inside_of_itself() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let root = host.dir("image");
        crate::registry::busybox_root(&root);
        host.sh("mkdir -p /run/outside/etc && cd /run/image && ln -s /run/outside proc && ln -s /run/outside dev && ln -s ../../../run/outside/etc etc && ln -s /run/outside/passwd passwd");
        let name = scene.registry.push_dir(
            &root,
            "links",
            r#"{"WorkingDir":"/dev/deep","User":"nobody"}"#,
        );
        let done = scene.run(&format!("run --rm {name} /bin/true"));
        assert!(done.code <= 1 || done.code >= 125, "{done:?}");
        assert_eq!(
            host.sh("find /run/outside"),
            "/run/outside\n/run/outside/etc\n"
        );
        scene.assert_all_gone("an image with links for directories");
    });
}

#[test]
fn an_image_larger_than_images_may_be_is_refused_by_size_and_leaves_nothing() {
    fake_host::run(|host| {
        let scene = Scene::without_image(host);
        host.sh("cd /run && for name in one two three; do head -c 400000 /dev/zero >$name && tar -cf $name.tar $name; done");
        // Of which none is too large for itself.
        let tars = ["one", "two", "three"].map(|name| PathBuf::from(format!("/run/{name}.tar")));
        let tars: Vec<&Path> = tars.iter().map(PathBuf::as_path).collect();
        let large = scene.push_layers(&tars, "large", "{}");
        let left = || {
            host.sh("find /run/rocker-root/layers /run/rocker-root/images/blobs /run/rocker-root/images/ingest -mindepth 1 -not -name 'sha???'")
        };
        let done = scene.script(&format!("ROCKER_MAX_IMAGE=1m rocker pull -q {large}"));
        let line = done.failed(125);
        assert!(
            line.contains("/large:latest has more than 1048576 bytes"),
            "{line}"
        );
        let (_, remedy) = done.advised(125);
        assert!(remedy.contains("ROCKER_MAX_IMAGE=200g"), "{remedy}");
        assert_eq!(left(), "");
        let done = scene.script(&format!("ROCKER_MAX_IMAGE=1m rocker run --rm {large} true"));
        assert_eq!(done.code, 125, "{done:?}");
        assert!(done.err.contains("more than 1048576 bytes"), "{done:?}");
        assert_eq!(left(), "");
        assert_eq!(scene.ok("images -q"), "");
        scene.ok(&format!("pull -q {large}"));
        scene.ok(&format!("save -o /run/large.tar {large}"));
        scene.ok(&format!("rmi {large}"));
        assert_eq!(left(), "");
        for (command, code) in [
            ("load -i /run/large.tar", 1),
            ("import /run/large.tar", 1),
            ("pull -q $L", 125),
        ] {
            let set = format!("L={large}; export ROCKER_MAX_IMAGE=1000k");
            let done = scene.script(&format!("{set}; rocker {command}"));
            let line = done.failed(code);
            assert!(line.contains("1024000 bytes"), "{command}: {line}");
            assert_eq!(left(), "", "{command}");
        }
        let done = scene.script("ROCKER_MAX_IMAGE=much rocker images");
        let line = done.failed(1);
        assert!(line.contains("ROCKER_MAX_IMAGE"), "{line}");
        // One file that is a hole has few bytes in the archive, and its size counts all the same.
        host.sh("cd /run && truncate -s 2M hole && tar --sparse -cf hole.tar hole");
        let hole = scene.push_layers(&[Path::new("/run/hole.tar")], "hole", "{}");
        let done = scene.script(&format!("ROCKER_MAX_IMAGE=1m rocker pull -q {hole}"));
        assert!(done.failed(125).contains("1048576"), "{done:?}");
        let (_, remedy) = done.advised(125);
        assert!(remedy.contains("ROCKER_MAX_IMAGE"), "{remedy}");
        scene.ok(&format!("pull -q {hole}"));
        scene.assert_all_gone("images that are too large");
    });
}
