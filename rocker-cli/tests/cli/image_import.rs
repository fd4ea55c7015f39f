//! Images made of a directory, and what is said of how an image was made.

use std::fs;

use crate::fake_host;
use crate::support::Scene;

/// What would have a terminal write into the clipboard, and be red.
const EVIL: &str = r"\u001b]52;c;aGk=\u0007\u001b[31m\u009b31m";

/// A root directory with busybox, as an archive.
fn root(scene: &Scene<'_>) {
    scene.ok("save -o /run/busybox.tar $I");
    scene.host.sh(
        "mkdir /run/root /run/x; tar -xC /run/x -f /run/busybox.tar
         for layer in /run/x/*.tar; do tar -xC /run/root -f $layer; done; tar -cC /run/root -f /run/root.tar .",
    );
}

#[test]
fn an_archive_of_a_root_directory_becomes_an_image_that_runs() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        root(&scene);
        let id = scene.ok(
            r#"import /run/root.tar made:1 -m 'from files' -c 'CMD ["echo", "made"]' -c 'ENV A="b c"' -c 'LABEL x=y' -c 'WORKDIR /tmp'"#,
        );
        assert!(id.starts_with("sha256:") && id.len() == 72, "{id}");
        assert_eq!(scene.ok("run --rm --network none made:1"), "made\n");
        assert_eq!(
            scene.ok("run --rm --network none made:1 sh -c 'echo $A; pwd'"),
            "b c\n/tmp\n"
        );
        assert_eq!(scene.ok("images -q --filter label=x=y --no-trunc"), id);
        assert!(scene.ok("history made:1").contains("from files"));
        for packer in ["gzip -1", "zstd -q"] {
            let done = scene.script(&format!("{packer} </run/root.tar | rocker image import -"));
            done.succeeded();
            assert_eq!(
                scene.ok(&format!(
                    "run --rm --network none {} echo x",
                    done.out.trim()
                )),
                "x\n"
            );
        }
        assert_eq!(
            scene.ok("images -q --filter dangling=true").lines().count(),
            2
        );
        scene.ok("image prune -f");
        // What is none leaves nothing.
        let blobs = || {
            host.sh(&format!(
                "find {} -path '*blobs*' -type f | wc -l",
                scene.root.display()
            ))
        };
        let before = blobs();
        for wrong in [
            "import /bin/sh x",
            "import /run/nosuch x",
            "import /run/root.tar Wrong",
            "import /run/root.tar x -c 'RUN true'",
        ] {
            scene.fails(1, wrong);
        }
        assert_eq!(blobs(), before);
        scene.assert_all_gone("imports");
    });
}

#[test]
fn what_an_image_says_of_itself_is_shown_and_not_obeyed() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let layer = host.dir("evil").join("layer.tar");
        host.sh(&format!(
            "cd /run/evil; echo x >f; tar -cf {} f",
            layer.display()
        ));
        let digest = host.sh(&format!("sha256sum <{}", layer.display()));
        let config = format!(
            r#"{{"os":"linux","architecture":"amd64","created":"2024-02-03T04:05:06Z","author":"{EVIL}",
            "config":{{"Labels":{{"{EVIL}":"{EVIL}","nice":"{EVIL}"}},"Env":["A={EVIL}"],"Cmd":["{EVIL}"]}},
            "history":[{{"created_by":"first {EVIL}","comment":"{EVIL}"}},{{"created_by":"second and long, {EVIL} and longer","empty_layer":true}}],
            "rootfs":{{"type":"layers","diff_ids":["sha256:{}"]}}}}"#,
            &digest[..64]
        );
        fs::write("/run/evil/c.json", config).unwrap();
        let pack = |tag: &str| {
            let manifest =
                format!(r#"[{{"Config":"c.json","RepoTags":["{tag}"],"Layers":["layer.tar"]}}]"#);
            fs::write("/run/evil/manifest.json", manifest).unwrap();
            host.sh("cd /run/evil; tar -cf ../evil.tar layer.tar c.json manifest.json");
        };
        pack(EVIL);
        let refused = scene.run("load -i /run/evil.tar");
        refused.failed(1);
        pack("evil:1");
        scene.ok("load -i /run/evil.tar");
        let mut all = vec![refused];
        for command in [
            "images",
            "images --digests --no-trunc --filter label=nice",
            "images --format json evil",
            "images --format '{{.Labels}} {{.Label \"nice\"}}' evil",
            "images --format 'table {{.Repository}}\\t{{.Labels}}'",
            "history evil:1",
            "history --no-trunc evil:1",
            "history --format json evil:1",
            "history --format '{{.CreatedBy}} {{.Comment}}' evil:1",
            "inspect evil:1",
            "image inspect evil:1",
            "inspect -f json evil:1",
            "inspect -f /Config evil:1",
            "image verify",
            "image prune -af --dry-run",
            "run --rm --network none evil:1",
            "rmi nosuch \"$(printf 'a\\033]52;c;x\\007')\"",
            "tag evil:1 \"$(printf 'a\\033]52;c;x\\007')\"",
            "push \"$(printf 'a\\033]52;c;x\\007')\"",
            "load -i \"$(printf 'a\\033]52;c;x\\007')\"",
        ] {
            all.push(scene.run(command));
        }
        // Where a person looks, also what programs get as it is.
        all.push(scene.script("script -qec 'rocker inspect -f \"{{.Author}} {{.Config.Labels.nice}}\" evil:1' /dev/null | tr -d '\\r'"));
        for done in all {
            let shown = format!("{}{}", done.out, done.err);
            assert!(!shown.is_empty(), "{done:?}");
            let obeyed = shown
                .chars()
                .find(|c| c.is_control() && !matches!(c, '\n' | '\t'));
            assert_eq!(obeyed, None, "{done:?}");
        }
        let table = scene.ok("history evil:1");
        let lines: Vec<_> = table.lines().collect();
        assert!(lines[0].starts_with("IMAGE"), "{table}");
        assert!(
            lines[1].contains("second and long, ") && lines[1].contains('…'),
            "{table}"
        );
        assert!(
            lines[2].starts_with("<missing>") && lines[2].contains("first \\u{1b}]52"),
            "{table}"
        );
        let ids = scene.ok("history -q evil:1");
        assert_eq!(ids, format!("{}<missing>\n", scene.ok("images -q evil")));
        let raw = scene.ok("history --human=false --no-trunc evil:1 --format '{{.Size}}'");
        assert_eq!(raw, "0\n10240\n");
        let id = scene.ok("images -q evil");
        assert_eq!(
            scene.ok(&format!("inspect -f /Id {}", id.trim())),
            scene.ok("inspect --type image -f /Id evil:1")
        );
        scene.fails(1, "history nosuch");
        scene.assert_all_gone("evil");
    });
}
