//! Names of images: given, taken away, lost, pushed, and listed.

use std::fs;

use crate::fake_host;
use crate::support::Scene;

/// Has `latest` of the scene's image mean another image in the registry.
fn push_another(scene: &Scene<'_>, config: &str) {
    let tree = scene.host.dir("another");
    fs::write(tree.join("file"), config).unwrap();
    scene.registry.push_dir(&tree, "busybox:latest", config);
}

#[test]
fn a_tag_is_another_name_of_the_same_image() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        assert_eq!(scene.ok("tag $I app"), "");
        assert_eq!(scene.ok("run --rm --network none app echo x"), "x\n");
        let id = scene.ok("images -q");
        scene.ok(&format!("image tag {} app:2", id.trim()));
        assert_eq!(scene.ok("images -q"), id);
        assert_eq!(
            scene.ok("images app --format '{{.Repository}}:{{.Tag}}'"),
            "app:latest\napp:2\n"
        );
        scene.fails(1, "tag nosuch app:3");
        scene.fails(1, "tag $I Wrong");
        let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        scene.fails(1, &format!("tag $I app@{digest}"));
        // Of three names, two can go; by its ID, only who insists takes them all.
        scene.ok("rmi app:2");
        let line = scene.run(&format!("rmi {}", id.trim())).failed(1);
        assert!(line.contains("2 names"), "{line}");
        let done = scene.ok(&format!("rmi -f {}", id.trim()));
        assert!(done.contains("Untagged: app:latest\n"), "{done}");
        assert!(done.contains("Deleted: sha256:"), "{done}");
        assert_eq!(scene.ok("images -q"), "");
    });
}

#[test]
fn several_are_removed_at_once_and_one_that_is_not_there_stops_nothing() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.ok("tag $I one");
        scene.ok("tag $I two");
        let done = scene.run("rmi one nosuch two");
        assert_eq!(done.code, 1);
        assert_eq!(done.out, "Untagged: one:latest\nUntagged: two:latest\n");
        assert!(done.err.contains("no image \"nosuch\""), "{done:?}");
        scene.ok("rmi -f nosuch");
    });
}

#[test]
fn an_image_in_use_loses_its_name_by_force_and_its_containers_go_on() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let idle = scene.start_idle("--name user");
        scene.run("rmi $I").failed(1);
        let id = scene.ok("images -q").trim().to_owned();
        scene.run(&format!("rmi -f {id}")).failed(1);
        assert_eq!(
            scene.ok("rmi -f $I"),
            format!("Untagged: {}:latest\n", scene.image)
        );
        assert_eq!(scene.ok("exec user echo here"), "here\n");
        assert_eq!(idle.end().code, 0);
        assert_eq!(
            scene.ok("images -q --filter dangling=true"),
            format!("{id}\n")
        );
        scene.ok("start user");
        scene.ok("rm -f user");
        assert!(scene.ok(&format!("rmi {id}")).contains("Deleted: sha256:"));
        scene.assert_all_gone("rmi -f");
    });
}

#[test]
fn a_new_latest_leaves_the_old_one_without_a_name() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let old = scene.ok("images -q").trim().to_owned();
        push_another(&scene, "{}");
        scene.ok("pull -q $I");
        let table = scene.ok("images");
        let row = table.lines().find(|line| line.contains(&old)).unwrap();
        assert!(row.starts_with("<none>"), "{table}");
        assert_eq!(
            scene.ok("images -q --filter dangling=true"),
            format!("{old}\n")
        );
        assert_eq!(scene.ok("images -q -f dangling=false").lines().count(), 1);
        assert_eq!(scene.ok("images -aq").lines().count(), 2);
        assert_eq!(
            scene.ok(&format!("run --rm --network none {old} echo x")),
            "x\n"
        );
        scene.ok("tag $I new");
        scene.ok(&format!("tag {old} $I"));
        assert_eq!(scene.ok("run --rm --network none $I echo x"), "x\n");
    });
}

#[test]
fn images_are_filtered_and_shown_in_any_form() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let tree = host.dir("labelled");
        fs::write(tree.join("f"), "").unwrap();
        let labelled =
            scene
                .registry
                .push_dir(&tree, "team/app:1", r#"{"Labels":{"a":"b","c":""}}"#);
        scene.ok(&format!("pull -q {labelled}"));
        scene.ok(&format!("tag {labelled} app"));
        for (filter, count) in [
            ("reference=app", 1),
            ("reference='127.*/team/*'", 1),
            ("reference='*:latest'", 1),
            ("reference=*:latest --filter reference=127.*/team/app:*", 2),
            ("label=a", 2),
            ("label=a=b", 2),
            ("label=a=x", 0),
            ("label=a --filter label=c", 2),
            ("label=a --filter label=d", 0),
            ("dangling=true", 0),
            ("until=24h", 3),
            ("until=2000-01-01T00:00:00Z", 0),
            ("before=app", 0),
        ] {
            let rows = scene.ok(&format!("images --format x --filter {filter}"));
            assert_eq!(rows.lines().count(), count, "{filter}: {rows}");
        }
        for wrong in ["dangling=maybe", "nosuch=1", "before=nosuch"] {
            scene.fails(1, &format!("images --filter {wrong}"));
        }
        let line = scene.ok("images app --format json");
        for part in [
            "\"Repository\":\"app\"",
            "\"Tag\":\"latest\"",
            "\"ID\":\"",
            "\"Digest\":\"sha256:",
        ] {
            assert!(line.contains(part), "{line}");
        }
        let table = scene.ok("image ls app --digests --no-trunc");
        assert_eq!(table.matches("sha256:").count(), 2, "{table}");
        let table = scene.ok("image ls app --format 'table {{.Repository}}\\t{{.ID}}'");
        assert!(
            table.starts_with("REPOSITORY   IMAGE ID\napp          "),
            "{table}"
        );
        assert_eq!(scene.ok("images app --format '{{.Label \"a\"}}'"), "b\n");
    });
}

#[test]
fn what_is_pushed_under_a_new_name_is_what_skopeo_gets() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let name = scene.registry.name("team/pushed:1");
        let line = scene.run(&format!("push {name}")).failed(1);
        assert!(line.contains("no image"), "{line}");
        scene.ok(&format!("tag $I {name}"));
        let done = scene.run(&format!("push {name}"));
        done.succeeded();
        assert_eq!(
            done.err
                .matches(": Mounted from another repository")
                .count(),
            2,
            "{done:?}"
        );
        let digest = host.sh(&format!(
            "skopeo inspect --tls-verify=false --format '{{{{.Digest}}}}' docker://{name}"
        ));
        assert!(
            done.out
                .contains(&format!("1: digest: {} size: ", digest.trim())),
            "{done:?}"
        );
        let again = scene.run(&format!("image push {name}"));
        assert_eq!(
            again.err.matches(": Layer already exists").count(),
            2,
            "{again:?}"
        );
        assert_eq!(scene.ok(&format!("push -q {name}")), format!("{name}\n"));
        // What came in an archive has layers that no registry has seen.
        scene.ok("save -o /run/a.tar $I");
        scene.ok(&format!("rmi {name} $I"));
        scene.ok("load -i /run/a.tar");
        let loaded = scene.registry.name("loaded:1");
        scene.ok(&format!("tag $I {loaded}"));
        let done = scene.run(&format!("push {loaded}"));
        assert_eq!(done.err.matches(": Pushed").count(), 2, "{done:?}");
        scene.ok("rmi -f $(rocker images -q)");
        assert_eq!(
            scene.ok(&format!("run --rm --network none {loaded} echo x")),
            "x\n"
        );
        let explained = scene.run(&format!("push --explain=json {loaded}"));
        assert!(
            explained.err.contains("\"HEAD\"") && explained.err.contains("\"PUT\""),
            "{explained:?}"
        );
        let gone = scene
            .registry
            .name("x@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        scene.run(&format!("push {gone}")).failed(1);
        scene.assert_all_gone("pushes");
    });
}
