//! `ps` and `inspect`: which containers are shown, and how.

use crate::fake_host;
use crate::rootless::{grant_ids, internet};
use crate::support::Scene;

/// Some containers: `old` and `mid` have ended, `new` was made, `web` runs.
fn populate(scene: &Scene<'_>) {
    assert_eq!(
        scene
            .run("run --name old -l tier=back $I sh -c 'echo 12345 >/file; exit 3'")
            .code,
        3
    );
    scene.ok("run --name mid --network none -l tier=front -l hot $I true");
    scene.ok("create --name new $I sh -c 'echo a rather long command line'");
    scene.ok("run -d --init --name web -l tier=front -l app=site $I sleep 1000");
}

/// The names that `ps` shows with these flags, in order.
#[track_caller]
fn names(scene: &Scene<'_>, flags: &str) -> String {
    let names = scene.ok(&format!("ps --format '{{{{.Names}}}}' {flags}"));
    names.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn ps_shows_those_that_fit_all_filters_the_newest_first() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        populate(&scene);
        let id = scene.at("mid", "/Id");
        let image = scene.image.clone();
        for (flags, wanted) in [
            ("", "web"),
            ("-a", "web new mid old"),
            ("-l", "web"),
            ("-n 2", "web new"),
            ("-n 9", "web new mid old"),
            ("-a --filter name=e", "web new"),
            ("-a --filter name=web --filter name=old", "web old"),
            ("-a --filter name=^/web$", "web"),
            ("-a --filter name=^e", ""),
            ("-a --filter name=d$", "mid old"),
            (&format!("-a --filter id={}", &id[..10]), "mid"),
            ("-a --filter label=tier", "web mid old"),
            ("-a --filter label=tier=front", "web mid"),
            ("-a --filter label=tier=front --filter label=hot", "mid"),
            ("--filter label=tier=back", ""),
            ("--filter status=exited", "mid old"),
            ("--filter status=created", "new"),
            (
                "--filter status=exited --filter status=running",
                "web mid old",
            ),
            ("--filter exited=3", "old"),
            ("--filter exited=0", "mid"),
            ("-a --filter before=mid", "old"),
            ("-a --filter since=mid", "web new"),
            ("-a --filter network=none", "mid"),
            (&format!("-a --filter ancestor={image}"), "web new mid old"),
            (
                &format!("-a --filter ancestor={image}:latest"),
                "web new mid old",
            ),
            ("-a --filter ancestor=other", ""),
            ("-a --filter health=none", "web new mid old"),
            ("-a --filter status=paused", ""),
        ] {
            assert_eq!(names(&scene, flags), wanted, "ps {flags}");
        }
        for wrong in [
            "--filter nosuch=1",
            "--filter name",
            "--filter before=nosuch",
            "-n x",
            "-l -n 2",
        ] {
            assert_eq!(scene.run(&format!("ps {wrong}")).code, 125, "{wrong}");
        }
        scene.ok("rm -f old mid new web");
        scene.assert_all_gone("ps");
    });
}

#[test]
fn ps_prints_tables_templates_and_json() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        populate(&scene);
        let table = scene.ok("ps -a --format 'table {{.Names}}\\t{{.Status}}'");
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines.len(), 5, "{table}");
        assert_eq!(
            lines[0].split_whitespace().collect::<Vec<_>>(),
            ["NAMES", "STATUS"]
        );
        assert!(
            lines[2].starts_with("new ") && lines[2].ends_with(" Created"),
            "{table}"
        );
        assert!(
            lines[4].starts_with("old ") && lines[4].contains(" Exited (3) "),
            "{table}"
        );
        let column = lines[0].find("STATUS").unwrap();
        assert!(lines[1][column..].starts_with("Up "), "{table}");

        let line =
            scene.ok("ps --format '{{.ID}}|{{.State}}|{{.Image}}|{{.Label \"app\"}}|{{.Labels}}'");
        let id = scene.at("web", "/Id");
        let image = &scene.image;
        assert_eq!(
            line,
            format!("{}|running|{image}|site|app=site,tier=front\n", &id[..12])
        );

        let lines = scene.ok("ps -a --no-trunc --format json");
        assert_eq!(lines.lines().count(), 4);
        let new: serde_json::Value = serde_json::from_str(lines.lines().nth(1).unwrap()).unwrap();
        assert_eq!(new["Names"], "new");
        assert_eq!(new["State"], "created");
        assert_eq!(new["Command"], "\"sh -c echo a rather long command line\"");
        assert_eq!(new["ID"].as_str().unwrap().len(), 64);

        let sizes = scene.ok("ps -a -s --format '{{.Names}} {{.Size}}'");
        let of = |name: &str| sizes.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(
            of("mid").contains(" 0B (virtual ") && of("mid").contains("MB)"),
            "{sizes}"
        );
        assert!(of("old").contains("kB (virtual "), "{sizes}");
        let table = scene.ok("ps -s");
        assert!(table.lines().next().unwrap().ends_with("SIZE"), "{table}");

        let error = scene.fails(125, "ps -a --format '{{.Nosuch}}'");
        assert!(error.contains("Nosuch"), "{error}");
        assert_eq!(scene.run("ps --format '{{.Names'").code, 125);
        scene.ok("rm -f old mid new web");
        scene.assert_all_gone("ps");
    });
}

#[test]
fn inspect_shows_all_or_what_is_picked() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        populate(&scene);
        let all: serde_json::Value = serde_json::from_str(&scene.ok("inspect web old")).unwrap();
        let [web, old] = &all.as_array().unwrap()[..] else {
            panic!("{all}")
        };
        assert_eq!(web["Name"], "/web");
        assert_eq!(web["State"]["Status"], "running");
        let pid = web["State"]["Pid"].as_u64().unwrap();
        assert_eq!(
            host.sh(&format!("tr '\\0' ' ' </proc/{pid}/cmdline"))
                .split(' ')
                .next_back(),
            Some("")
        );
        assert_eq!(old["State"]["ExitCode"], 3);
        assert_eq!(old["State"]["Pid"], 0);
        assert_eq!(old["Path"], "sh");
        assert_eq!(old["Config"]["Labels"]["tier"], "back");
        let address = web["NetworkSettings"]["IPAddress"].as_str().unwrap();
        assert!(
            scene
                .ok("exec web ip -4 addr show eth0")
                .contains(&format!("inet {address}/"))
        );
        assert_eq!(old["NetworkSettings"]["IPAddress"], "");

        let template = "'{{.Name}} {{.State.ExitCode}} {{json .Config.Labels}} {{len .Args}}'";
        assert_eq!(
            scene.ok(&format!("inspect -f {template} old")),
            "/old 3 {\"tier\":\"back\"} 2\n"
        );
        assert_eq!(scene.ok("inspect -f /State/ExitCode old mid"), "3\n0\n");
        assert_eq!(
            scene.ok("inspect -f /Config/Labels mid"),
            "{\"hot\":\"\",\"tier\":\"front\"}\n"
        );
        let lines = scene.ok("inspect -f json web old");
        assert_eq!(lines.lines().count(), 2);
        let line: serde_json::Value = serde_json::from_str(lines.lines().nth(1).unwrap()).unwrap();
        assert_eq!(line["Id"], old["Id"]);

        let error = scene.fails(1, "inspect -f '{{.State.Pidd}}' web");
        assert!(error.contains("Pidd"), "{error}");
        let error = scene.fails(1, "inspect -f /State/Pidd web");
        assert!(error.contains("/State/Pidd"), "{error}");
        scene.fails(125, "inspect -f '{{.State' web");
        let done = scene.run("inspect nosuch web -f /Name");
        assert_eq!((done.code, done.out.as_str()), (1, "/web\n"), "{done:?}");
        assert!(done.err.contains("nosuch"), "{done:?}");
        scene.ok("rm -f old mid new web");
        scene.assert_all_gone("inspect");
    });
}

#[test]
fn ps_and_port_show_the_ports_of_what_runs() {
    fake_host::run(|host| {
        grant_ids(host);
        internet(host);
        let scene = Scene::of_alice(host);
        let ports = "-p 8080:80 -p 127.0.0.1:5353:5353/udp";
        scene.ok(&format!("run -d --init --name web {ports} $I sleep 1000"));
        assert_eq!(
            scene.ok("port web"),
            "80/tcp -> 0.0.0.0:8080\n5353/udp -> 127.0.0.1:5353\n"
        );
        assert_eq!(scene.ok("port web 80"), "0.0.0.0:8080\n");
        assert_eq!(scene.ok("port web 5353/udp"), "127.0.0.1:5353\n");
        scene.fails(125, "port web 5353");
        let shown = scene.ok("ps --format '{{.Ports}}'");
        assert_eq!(shown, "0.0.0.0:8080->80/tcp, 127.0.0.1:5353->5353/udp\n");
        assert_eq!(names(&scene, "--filter publish=8080"), "web");
        assert_eq!(names(&scene, "--filter publish=80"), "");
        assert_eq!(
            scene.at("web", "/NetworkSettings/Ports/80~1tcp/0/HostPort"),
            "8080"
        );
        assert_ne!(host.sh("ss -Hlnt 'sport = 8080'"), "");
        scene.ok("stop web");
        assert_eq!(scene.ok("port web"), "");
        assert_eq!(host.sh("ss -Hlnt 'sport = 8080'"), "");
        scene.ok("start web");
        assert_ne!(host.sh("ss -Hlnt 'sport = 8080'"), "");
        scene.ok("rm -f web");
        assert_eq!(host.sh("ss -Hlnt 'sport = 8080'"), "");
    });
}

#[test]
fn inspect_shows_images_too() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let all: serde_json::Value = serde_json::from_str(&scene.ok("inspect $I")).unwrap();
        let image = &all[0];
        assert_eq!(image["RepoTags"][0], format!("{}:latest", scene.image));
        assert_eq!(image["Config"]["Cmd"][0], "/bin/sh");
        assert_eq!(image["RootFS"]["Layers"].as_array().unwrap().len(), 2);
        let id = image["Id"].as_str().unwrap();
        assert!(id.starts_with("sha256:"), "{image}");
        assert_eq!(
            scene.ok("inspect --type image -f /Id $I"),
            format!("{id}\n")
        );
        assert_eq!(scene.run("inspect --type container $I").code, 1);
        scene.ok("create --name web $I true");
        assert_eq!(scene.run("inspect --type image web").code, 1);
        assert_eq!(scene.at("web", "/Image"), id);
        scene.ok("rm web");
        scene.assert_all_gone("inspect");
    });
}
