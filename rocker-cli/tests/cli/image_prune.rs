//! Images that nobody needs any more.

use std::fs;
use std::thread;
use std::time::Duration;

use crate::fake_host;
use crate::support::Scene;

/// Pulls an image of one layer of a megabyte that no other has, with a label.
fn pull_noise(scene: &Scene<'_>, name: &str) -> String {
    let tree = scene.host.dir(&format!("tree-{name}"));
    scene.host.sh(&format!(
        "head -c 1000000 /dev/urandom >{}/noise",
        tree.display()
    ));
    let config = format!(r#"{{"Labels":{{"name":"{name}"}},"Cmd":["/noise"]}}"#);
    let image = scene.registry.push_dir(&tree, name, &config);
    scene.ok(&format!("pull -q {image}"));
    image
}

fn names(scene: &Scene<'_>) -> Vec<String> {
    let all = scene.ok("images --format '{{.Repository}}'");
    let last = |name: &str| name.rsplit('/').next().unwrap().to_owned();
    let mut names: Vec<_> = all.lines().map(last).collect();
    names.sort();
    names
}

#[test]
fn only_images_without_a_name_and_a_container_go_unless_all_are_to() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let (one, two) = (pull_noise(&scene, "one"), pull_noise(&scene, "two"));
        assert_eq!(scene.ok("image prune -f"), "Total reclaimed space: 0B\n");
        // One loses its name to the other, and a container keeps what it is made of.
        let old = scene.ok(&format!("inspect --type image -f {{{{.Id}}}} {one}"));
        scene.ok(&format!("tag {two} {one}"));
        let planned = scene.ok("image prune --dry-run");
        assert!(
            planned.starts_with("Images that would be deleted:\n"),
            "{planned}"
        );
        assert!(planned.contains(&format!("Deleted: {old}")), "{planned}");
        assert!(
            planned.contains("Space that would be reclaimed: 2.0"),
            "{planned}"
        );
        assert_eq!(names(&scene).len(), 4);
        // Nobody there to be asked is a no.
        assert_eq!(scene.ok("image prune"), "");
        let done = scene.ok("image prune -f");
        assert!(done.starts_with("Deleted Images:\n"), "{done}");
        assert!(done.contains(&format!("Deleted: {old}")), "{done}");
        assert!(done.contains("Total reclaimed space: 2.0"), "{done}");
        assert_eq!(names(&scene), ["busybox", "one", "two"]);

        scene.ok("create --name keeper $I true");
        assert_eq!(
            scene.ok("image prune -af --filter label=name=nobody"),
            "Total reclaimed space: 0B\n"
        );
        assert_eq!(
            scene.ok("image prune -af --filter label!=name"),
            "Total reclaimed space: 0B\n"
        );
        assert_eq!(
            scene.ok("image prune -af --filter until=2000-01-01"),
            "Total reclaimed space: 0B\n"
        );
        scene.ok("image prune -af --filter label=name=two --filter until=1h");
        assert_eq!(names(&scene), ["busybox"]);
        scene.ok("start -a keeper");
        scene.ok("rm keeper");
        scene.ok("image prune -af");
        let blobs = host.sh(&format!(
            "find {} -path '*blobs*' -type f",
            scene.root.display()
        ));
        assert_eq!(blobs, "");
        scene.fails(1, "image prune -f --filter nosuch=1");
        scene.fails(1, "image prune -f --keep-storage much");
    });
}

#[test]
fn what_was_used_last_is_kept_when_there_is_too_much() {
    fake_host::run(|host| {
        let scene = Scene::without_image(host);
        let mut images = Vec::new();
        for name in ["one", "two", "three"] {
            images.push(pull_noise(&scene, name));
            thread::sleep(Duration::from_millis(20));
        }
        // The first is used once more, be it for a program that cannot be started.
        scene.run(&format!("run --rm --network none {}", images[0]));
        assert_eq!(
            scene.ok("image prune -f --keep-storage 1g"),
            "Total reclaimed space: 0B\n"
        );
        assert_eq!(names(&scene).len(), 3);
        let planned = scene.ok("image prune --keep-storage 5000000 --dry-run");
        assert!(planned.contains(&images[1]), "{planned}");
        scene.ok("image prune -f --keep-storage 5000000");
        assert_eq!(names(&scene), ["one", "three"]);
        scene.ok("image prune -f --keep-storage 3m");
        assert_eq!(names(&scene), ["one"]);
        scene.ok("image prune -f --keep-storage 0");
        assert_eq!(names(&scene).len(), 0);
        assert_eq!(
            fs::read_dir(scene.root.join("images/blobs/sha256"))
                .unwrap()
                .count(),
            0
        );
        scene.assert_all_gone("prunes");
    });
}

#[test]
fn a_download_that_broke_off_is_left_to_whoever_goes_on_with_it_for_a_day() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let ingest = scene.root.join("images/ingest");
        let young = ingest.join(format!("sha256-{}.partial", "0".repeat(64)));
        let old = ingest.join(format!("sha256-{}.partial", "1".repeat(64)));
        for path in [&young, &old] {
            fs::write(path, "the beginning").unwrap();
        }
        host.sh(&format!("touch -d '25 hours ago' {}", old.display()));
        scene.ok("rmi $I");
        assert!(young.exists() && !old.exists());
        scene.ok("image prune -f");
        assert!(young.exists());
        scene.ok("image prune -a --dry-run");
        assert!(young.exists());
        scene.ok("image prune -af");
        assert!(!young.exists());
        scene.assert_all_gone("prunes");
    });
}
