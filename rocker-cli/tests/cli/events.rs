//! What happens to containers and images, as others learn of it.

use crate::fake_host;
use crate::support::Scene;

/// What has happened so far, as the template shows it.
#[track_caller]
fn told(scene: &Scene<'_>, flags: &str) -> Vec<String> {
    let text = scene.ok(&format!("events --since 1h --until 0s {flags}"));
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_whole_life_is_told_in_order() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let actions = |name: &str| {
            told(
                &scene,
                &format!("--filter container={name} --format '{{{{.Action}}}}'"),
            )
        };
        scene.run("run --rm --name short $I sh -c 'exit 3'");
        assert_eq!(actions("short"), ["create", "start", "die", "destroy"]);
        scene.ok("create --name long $I sh -c 'echo up; exec sleep 1000'");
        scene.ok("start long");
        scene.ok("kill -s WINCH long");
        scene.ok("stop -t 0 long");
        scene.ok("rm long");
        let long = ["create", "start", "kill", "die", "stop", "destroy"];
        assert_eq!(actions("long"), long);
        scene.run("run --name odd $I nosuch");
        assert!(
            !actions("odd").contains(&"start".to_owned()),
            "{:?}",
            actions("odd")
        );
        scene.assert_all_gone("events");
    });
}

#[test]
fn each_event_is_a_line_or_an_object_with_all_there_is_to_know() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.run("run --name web -l tier=front $I sh -c 'exit 3'");
        let id = scene.at("web", "/Id");
        let lines = told(&scene, "--filter event=die");
        assert_eq!(lines.len(), 1);
        let line = &lines[0];
        let image = &scene.image;
        let end = format!(" container die {id} (exitCode=3, image={image}, name=web, tier=front)");
        assert!(line.starts_with("20") && line.ends_with(&end), "{line}");
        let lines = told(&scene, "--filter event=die --format json");
        let event: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(event["Type"], "container");
        assert_eq!(event["Action"], "die");
        assert_eq!(event["Actor"]["ID"], id);
        assert_eq!(event["Actor"]["Attributes"]["exitCode"], "3");
        assert!(event["timeNano"].as_u64().unwrap() > event["time"].as_u64().unwrap());
        scene.ok("rm web");
        scene.assert_all_gone("events");
    });
}

#[test]
fn filters_and_times_choose() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.ok("run --name one -l tier=front $I true");
        let between = host.sh("date -u +%FT%T.%NZ");
        let between = between.trim();
        scene.ok("run --name two -l tier=back $I true");
        let format = "--format '{{.Type}} {{.Action}} {{.Actor.Attributes.name}}'";
        let image = &scene.image;
        for (flags, wanted) in [
            (
                "--filter container=one".to_owned(),
                "container create one,container start one,container die one".to_owned(),
            ),
            (
                "--filter event=start".to_owned(),
                "container start one,container start two".to_owned(),
            ),
            (
                "--filter event=start --filter label=tier=back".to_owned(),
                "container start two".to_owned(),
            ),
            (
                "--filter event=start --filter event=die --filter container=two".to_owned(),
                "container start two,container die two".to_owned(),
            ),
            (
                "--filter event=die --filter label=nosuch".to_owned(),
                String::new(),
            ),
            (
                "--filter event=die --filter image=nosuch".to_owned(),
                String::new(),
            ),
            (
                format!("--filter event=die --filter image={image}"),
                "container die one,container die two".to_owned(),
            ),
            (
                format!("--since {between} --filter type=container"),
                "container create two,container start two,container die two".to_owned(),
            ),
        ] {
            let flags = match flags.contains("--since") {
                true => flags,
                false => format!("--since 1h {flags}"),
            };
            let text = scene.ok(&format!("events --until 0s {flags} {format}"));
            assert_eq!(
                text.lines().collect::<Vec<_>>().join(","),
                wanted,
                "{flags}"
            );
        }
        let text = scene.ok(&format!(
            "events --since 1h --until {between} --filter event=die {format}"
        ));
        assert_eq!(text, "container die one\n");
        let pulls = told(&scene, "--filter type=image --format '{{.Action}}'");
        assert_eq!(pulls, ["pull"]);
        scene.fails(125, "events --filter nosuch=1 --until 0s");
        scene.fails(125, "events --since never --until 0s");
        scene.ok("rm one two");
        scene.assert_all_gone("events");
    });
}

#[test]
fn who_listens_hears_what_happens_then() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.ok("create --name old $I true");
        let mut listens =
            scene.start("events --since 1h --filter type=container --format '{{.Action}} {{.Actor.Attributes.name}}'");
        assert_eq!(listens.line(), "create old");
        scene.ok("rename old new");
        assert_eq!(listens.line(), "rename new");
        scene.ok("start -a new");
        assert_eq!(listens.line(), "start new");
        assert_eq!(listens.line(), "die new");
        scene.ok("rm new");
        assert_eq!(listens.line(), "destroy new");
        let old = told(
            &scene,
            "--filter event=rename --format '{{.Actor.Attributes.oldName}}'",
        );
        assert_eq!(old, ["old"]);
        listens.signal("TERM");
        drop(listens.end());
        // Until a moment that is still to come, and no longer.
        let text = scene.ok(
            "events --since 1h --until $(date -u -d '+1 sec' +%FT%T.%NZ) --filter event=destroy",
        );
        assert_eq!(text.lines().count(), 1);
        scene.assert_all_gone("events");
    });
}
