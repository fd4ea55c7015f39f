//! Images that have rotted on the disk.

use std::fs;

use crate::fake_host;
use crate::support::Scene;

#[test]
fn a_rotten_layer_is_found_moved_away_and_pulled_again() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let other = scene.registry.push_index("multi");
        scene.ok(&format!("pull -q {other}"));
        let table = scene.ok("image verify");
        assert_eq!(
            table.lines().filter(|line| line.ends_with("   ok")).count(),
            2,
            "{table}"
        );
        scene.fails(1, "image verify nosuch");

        // The layer that the other image does not have.
        let layers = host.sh("skopeo inspect --tls-verify=false --format '{{.Layers}}' docker://127.0.0.1:5000/busybox");
        let layers = layers.trim().trim_matches(['[', ']']);
        let digest = layers.split_whitespace().nth(1).unwrap();
        let blob = scene.root.join("images/blobs/sha256").join(&digest[7..]);
        let right = fs::read(&blob).unwrap();
        let mut wrong = right.clone();
        wrong[20] ^= 1;
        fs::write(&blob, wrong).unwrap();
        let done = scene.run("image verify");
        assert_eq!(done.code, 1, "{done:?}");
        assert!(
            done.out.contains("DAMAGED") && done.out.contains("   ok\n"),
            "{done:?}"
        );
        assert!(
            done.out.contains(&format!(
                "layer {digest}: blob {digest} has the wrong digest"
            )),
            "{done:?}"
        );
        assert!(!blob.exists());
        let line = scene.run("image verify --format json $I");
        assert_eq!(line.code, 1);
        assert!(
            line.out.contains("\"Damaged\":true") && line.out.contains(digest),
            "{line:?}"
        );
        scene.ok(&format!("image verify {other}"));

        let done = scene.run("pull $I");
        assert_eq!(done.err.matches("Pull complete").count(), 1, "{done:?}");
        assert!(fs::read(&blob).unwrap() == right);
        scene.ok("image verify");

        // The same for what leads to layers, of which none is lost meanwhile.
        for pointer in ["/Id", "/Digest"] {
            let digest = scene.ok(&format!("inspect --type image -f {pointer} $I"));
            let blob = scene
                .root
                .join("images/blobs/sha256")
                .join(digest.trim().trim_start_matches("sha256:"));
            fs::write(&blob, "{}").unwrap();
            let done = scene.run("image verify $I");
            assert_eq!(done.code, 1, "{done:?}");
            assert!(done.out.contains("DAMAGED"), "{done:?}");
            let done = scene.run("pull $I");
            assert_eq!(
                (done.code, done.err.matches("Pull complete").count()),
                (0, 0),
                "{done:?}"
            );
            scene.ok("image verify");
        }
        assert_eq!(scene.ok("run --rm --network none $I echo x"), "x\n");
        scene.assert_all_gone("rot");
    });
}

#[test]
fn a_rotten_image_is_removed_as_any_other_and_keeps_none_from_being_removed() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let other = scene.registry.push_index("multi");
        // With warnings of what is damaged.
        let warned = |args: &str| {
            let done = scene.run(args);
            assert_eq!(done.code, 0, "{args}: {done:?}");
            done.out
        };
        let blobs = scene.root.join("images/blobs/sha256");
        for pointer in ["/Id", "/Digest"] {
            for by_name in [true, false] {
                for wrong in [Some("{}"), None] {
                    scene.ok("pull -q $I");
                    scene.ok(&format!("pull -q {other}"));
                    let digest = scene.ok(&format!("inspect --type image -f {pointer} $I"));
                    let hex = digest.trim().trim_start_matches("sha256:");
                    match wrong {
                        Some(wrong) => fs::write(blobs.join(hex), wrong).unwrap(),
                        None => fs::remove_file(blobs.join(hex)).unwrap(),
                    }
                    // Another one goes, but nothing that might be the damaged one's.
                    let before = fs::read_dir(&blobs).unwrap().count();
                    let done = scene.run(&format!("rmi {other}"));
                    assert_eq!(done.code, 0, "{done:?}");
                    assert!(done.out.starts_with("Untagged: "), "{done:?}");
                    assert!(done.err.contains("damaged") && done.err.contains(hex));
                    assert_eq!(fs::read_dir(&blobs).unwrap().count(), before);
                    warned("image prune -f");

                    let which = if by_name { "$I" } else { digest.trim() };
                    let done = warned(&format!("rmi {which}"));
                    assert!(done.starts_with("Untagged: "), "{done}");
                    assert!(
                        done.contains(&format!("\nDeleted: sha256:{hex}\n")),
                        "{done}"
                    );
                    assert!(done.contains("\nDeleted: layer "), "{done}");
                    assert_eq!(fs::read_dir(&blobs).unwrap().count(), 0);
                    scene.fails(1, &format!("rmi {which}"));
                }
            }
        }

        // What a container is made of stays for it.
        scene.ok("run -d --name user --network none $I sleep 60");
        let digest = scene.ok("inspect --type image -f /Digest $I");
        let hex = digest.trim().trim_start_matches("sha256:");
        fs::write(blobs.join(hex), "{}").unwrap();
        scene.fails(1, "rmi $I");
        let done = warned("rmi -f $I");
        assert!(
            done.starts_with("Untagged: ") && !done.contains("Deleted"),
            "{done}"
        );
        let done = scene.run(&format!("rmi -f {}", digest.trim()));
        assert!(done.code == 1 && done.err.contains("in use by"), "{done:?}");
        assert_eq!(warned("exec user echo x"), "x\n");
        warned("rm -f user");
        warned(&format!("rmi {}", digest.trim()));
        assert_eq!(fs::read_dir(&blobs).unwrap().count(), 0);
        scene.assert_all_gone("rotten");
    });
}
