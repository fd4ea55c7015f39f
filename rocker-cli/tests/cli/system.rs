//! What there is in all, and what can be given up.

use crate::fake_host;
use crate::support::Scene;

/// The cells of the row of `df` that begins so.
fn row(table: &str, name: &str) -> Vec<String> {
    let line = table.lines().find(|line| line.starts_with(name));
    line.unwrap()
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

#[test]
fn df_counts_what_is_there_and_what_could_be_freed() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let table = scene.ok("system df");
        let images = row(&table, "Images");
        assert_eq!(images[1..3], ["1", "0"], "{table}");
        assert!(
            images[3].ends_with("MB") && images[5] == "(100%)",
            "{table}"
        );
        assert_eq!(row(&table, "Containers")[1..3], ["0", "0"], "{table}");
        let write = "dd if=/dev/urandom of=/file bs=1M count=3";
        scene.run(&format!("run --name done $I {write}"));
        scene.ok("run -d --init --name web $I sleep 1000");
        let lines = scene.ok("system df --format json");
        let lines: Vec<serde_json::Value> = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines[0]["Type"], "Images");
        assert_eq!(lines[0]["Active"], "1");
        assert_eq!(lines[0]["Reclaimable"], "0B (0%)");
        assert_eq!(lines[1]["TotalCount"], "2");
        assert_eq!(lines[1]["Active"], "1");
        let size = lines[1]["Reclaimable"].as_str().unwrap();
        assert!(size.starts_with("3.") && size.contains("MB"), "{size}");
        scene.ok("rm -f done web");
        scene.assert_all_gone("df");
    });
}

#[test]
fn prune_removes_what_does_not_run_and_asks_before() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.ok("run --name done -l keep $I true");
        scene.ok("create --name made $I true");
        scene.ok("run -d --init --name web $I sleep 1000");
        let none = scene.run("container prune");
        assert_eq!((none.code, none.out.as_str()), (0, ""), "{none:?}");
        assert!(none.err.contains("[y/N]"), "{none:?}");
        assert_eq!(scene.script("echo n | rocker container prune").code, 0);
        assert_eq!(scene.ok("ps -aq").lines().count(), 3);
        assert_eq!(
            scene.ok("container prune -f --filter until=1h"),
            "Total reclaimed space: 0B\n"
        );
        let id = scene.at("done", "/Id");
        let text = scene.ok("container prune -f --filter label=keep");
        assert!(
            text.starts_with(&format!(
                "Deleted Containers:\n{id}\n\nTotal reclaimed space: "
            )),
            "{text}"
        );
        let id = scene.at("made", "/Id");
        let text = scene.script("echo y | rocker container prune").out;
        assert!(text.contains(&id), "{text}");
        assert_eq!(scene.ok("ps -a --format '{{.Names}}'"), "web\n");
        scene.fails(125, "container prune -f --filter name=x");
        scene.ok("rm -f web");
        scene.assert_all_gone("container prune");
    });
}

#[test]
fn system_prune_takes_images_that_nobody_needs() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let root = crate::registry::busybox_root(&host.dir("other"));
        let other = scene
            .registry
            .push_dir(&root, "other", r#"{"Env":["PATH=/bin"]}"#);
        scene.ok(&format!("pull -q {other}"));
        scene.ok("run -d --init --name web $I sleep 1000");
        scene.ok(&format!("create --name made {other} true"));
        scene.fails(1, &format!("rmi {other}"));
        let text = scene.ok("system prune -f");
        assert!(
            text.contains("Deleted Containers:\n") && !text.contains("Deleted Images"),
            "{text}"
        );
        assert_eq!(scene.ok("images -q").lines().count(), 2);
        let text = scene.ok("system prune -af");
        assert!(
            text.contains("Deleted Images:\n") && text.contains("other"),
            "{text}"
        );
        assert!(!text.contains("space: 0B"), "{text}");
        assert_eq!(scene.ok("images -q").lines().count(), 1);
        assert_eq!(scene.ok("exec web echo in"), "in\n");
        scene.ok("rm -f web");
        scene.ok("system prune -af");
        assert_eq!(scene.ok("images -q"), "");
        let layers = host.sh(&format!("ls {}/layers", scene.root.display()));
        assert_eq!(layers, "");
        assert_eq!(row(&scene.ok("system df"), "Images")[3], "0B");
        scene.assert_all_gone("system prune");
    });
}

#[test]
fn info_and_version_say_what_this_is() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.ok("create --name made $I true");
        scene.ok("run -d --init --name web $I sleep 1000");
        let format =
            "'{{.Containers}} {{.ContainersRunning}} {{.ContainersStopped}} {{.Images}} {{.NCPU}}'";
        let cpus = host.sh("nproc");
        assert_eq!(
            scene.ok(&format!("info -f {format}")),
            format!("2 1 1 1 {cpus}")
        );
        let text = scene.ok("info");
        let kernel = host.sh("uname -r");
        let root = scene.root.display();
        for line in [
            "Containers: 2".to_owned(),
            " Running: 1".to_owned(),
            format!("Kernel: {}", kernel.trim()),
            format!("Data: {root}"),
            "Rootless: false".to_owned(),
        ] {
            assert!(text.lines().any(|one| one == line), "{line}: {text}");
        }
        let info: serde_json::Value = serde_json::from_str(&scene.ok("info -f json")).unwrap();
        assert_eq!(info["Driver"], "overlay");
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            scene.ok("version -f '{{.Version}}'"),
            format!("{version}\n")
        );
        assert!(scene.ok("version").contains(version));
        assert_eq!(scene.ok("--version"), format!("rocker {version}\n"));
        scene.fails(125, "info -f '{{.Nosuch}}'");
        scene.ok("rm -f made web");
        scene.assert_all_gone("info");
    });
}
