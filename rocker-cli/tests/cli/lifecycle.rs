//! Containers as `ps` and `rm` see them, and what is left of one after its end.

use crate::fake_host;
use crate::support::Scene;

/// The cells of a table's rows; columns are three spaces apart.
fn cells(table: &str) -> Vec<Vec<&str>> {
    table
        .lines()
        .map(|line| {
            line.split("   ")
                .map(str::trim)
                .filter(|cell| !cell.is_empty())
                .collect()
        })
        .collect()
}

#[test]
fn ps_shows_what_runs_and_ps_a_also_what_ended() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let mut idle = scene.start("run -i --rm --name web $I sh -c 'echo up, and waiting; cat'");
        assert_eq!(idle.line(), "up, and waiting");
        assert_eq!(scene.run("run --name done $I sh -c 'exit 3'").code, 3);
        let header = [
            "CONTAINER ID",
            "IMAGE",
            "COMMAND",
            "CREATED",
            "STATUS",
            "PORTS",
            "NAMES",
        ];
        let table = scene.ok("ps");
        let rows = cells(&table);
        assert_eq!(rows.len(), 2, "{table}");
        assert_eq!(rows[0], header);
        let web = &rows[1];
        assert_eq!(
            (web[0].len(), web[1], web[5]),
            (12, scene.image.as_str(), "web"),
            "{table}"
        );
        assert!(
            web[2].starts_with("\"sh -c ") && web[2].ends_with("…\""),
            "{table}"
        );
        assert!(
            web[3].ends_with(" ago") && web[4].starts_with("Up "),
            "{table}"
        );
        let table = scene.ok("ps -a");
        let rows = cells(&table);
        assert_eq!(rows.len(), 3, "{table}");
        let done = rows.iter().find(|row| row[5] == "done").unwrap();
        assert!(
            done[4].starts_with("Exited (3) ") && done[4].ends_with(" ago"),
            "{table}"
        );
        assert_eq!(scene.ok("ps -q"), format!("{}\n", web[0]));
        assert_eq!(scene.ok("ps -aq").lines().count(), 2);
        let whole = scene.ok("ps -q --no-trunc");
        assert!(
            whole.starts_with(web[0]) && whole.trim().len() == 64,
            "{whole}"
        );
        assert_eq!(idle.end().code, 0);
        scene.ok("rm done");
        assert_eq!(cells(&scene.ok("ps -a")), [header]);
        scene.assert_all_gone("two containers");
    });
}

#[test]
fn without_rm_a_container_is_kept_with_its_files_until_it_is_removed() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.ok("run --name kept $I sh -c 'echo mine >/file'");
        scene.assert_nothing_left("a run without --rm");
        let found = host.sh(&format!(
            "cat {}/containers/*/upper/file",
            scene.root.display()
        ));
        assert_eq!(found, "mine\n");
        let line = scene.fails(125, "run --name kept $I true");
        let id = scene.ok("ps -aq");
        assert!(line.contains("kept") && line.contains(id.trim()), "{line}");
        scene.assert_nothing_left("a run with a name that is taken");
        assert_eq!(scene.ok("ps -aq"), id);
        // The beginning of its ID will do.
        assert_eq!(
            scene.ok(&format!("rm {}", &id[..6])),
            format!("{}\n", &id[..6])
        );
        scene.assert_all_gone("rm");
        assert_eq!(scene.ok("run --rm --name kept $I echo again"), "again\n");
        let line = scene.run("rm kept").failed(1);
        assert!(line.contains("kept"), "{line}");
    });
}

#[test]
fn a_running_container_is_removed_only_by_force() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let idle = scene.start_idle("--name web");
        let line = scene.run("rm web").failed(1);
        assert!(line.contains("web") && line.contains("-f"), "{line}");
        assert_eq!(scene.ok("ps -q").lines().count(), 1);
        assert_eq!(scene.ok("rm -f web"), "web\n");
        assert_eq!(idle.end().code, 137);
        scene.assert_all_gone("rm -f");
    });
}

#[test]
fn nothing_is_left_after_any_end() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        for (args, code) in [
            ("run --rm $I true", 0),
            ("run --rm $I sh -c 'exit 9'", 9),
            ("run --rm -t $I true", 0),
            ("run --rm --network none $I true", 0),
            ("run --rm --network host $I true", 0),
            ("run --rm --cpus 1 --mem 64 --pids 50 $I true", 0),
            ("run --rm $I sh -c 'sleep 1000 & sleep 1000 & exit 4'", 4),
            ("run --rm $I nosuch", 127),
            ("run $I nosuch", 127),
            ("run $I /etc", 126),
            ("run --name bad/name $I true", 125),
            ("run -u nosuch $I true", 125),
            ("run -v /nothing:/x $I true", 125),
            ("run -v /etc/hostname:/bin $I true", 125),
            ("run -v /run:/etc/passwd $I true", 125),
            ("run -w /etc/passwd $I true", 125),
            ("run --cap-add FLY $I true", 125),
            ("run --network nosuch $I true", 125),
            ("run --mem 0 $I true", 125),
            (
                "run --hostname 12345678901234567890123456789012345678901234567890123456789012345 $I true",
                125,
            ),
        ] {
            let done = scene.run(args);
            assert_eq!(done.code, code, "{done:?}");
            if code >= 125 {
                done.failed(code);
            }
            scene.assert_all_gone(args);
        }
    });
}

#[test]
fn twenty_containers_at_once_have_addresses_of_their_own_and_leave_nothing() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let mut all: Vec<_> = (0..20)
            .map(|_| scene.start("run -i --rm $I sh -c 'ip -4 -o addr show eth0; hostname; cat'"))
            .collect();
        let mut addresses: Vec<_> = all
            .iter_mut()
            .map(|one| {
                let line = one.line();
                let address = line.split_whitespace().nth(3).map(str::to_owned);
                address.unwrap_or_else(|| panic!("{line:?}"))
            })
            .collect();
        let mut names: Vec<_> = all.iter_mut().map(|one| one.line()).collect();
        assert_eq!(scene.ok("ps -q").lines().count(), 20);
        for one in all {
            let done = one.end();
            assert_eq!((done.code, done.err.as_str()), (0, ""), "{done:?}");
        }
        for list in [&mut addresses, &mut names] {
            list.sort();
            list.dedup();
            assert_eq!(list.len(), 20, "{list:?}");
        }
        scene.assert_all_gone("twenty containers");
    });
}

#[test]
fn a_container_whose_supervisor_was_stopped_can_be_removed_by_force() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let mut run = scene.start("run --name held $I sh -c 'echo up; exec sleep 1000'");
        assert_eq!(run.line(), "up");
        run.signal("STOP");
        scene.ok("rm -f held");
        assert_eq!(run.end().code, 137);
        scene.assert_all_gone("rm -f");
    });
}
