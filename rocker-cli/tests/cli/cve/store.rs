//! What other users of the host can get at.

use std::fs;

use super::hostile_image;
use crate::alice::Alice;
use crate::fake_host;
use crate::support::Scene;

#[test]
fn cve_2021_41091_2021_41103_and_2024_25621_no_other_user_enters_a_directory_of_rockers() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let image = hostile_image(&scene, "setuid", |root| {
            host.sh(&format!(
                "cp {0}/bin/busybox {0}/bin/su-root; chmod 4755 {0}/bin/su-root; mkdir -m 777 {0}/open",
                root.display()
            ));
        });
        // Directories that nobody has made for it.
        let own = "export ROCKER_ROOT=/run/new/root ROCKER_RUN=/run/fresh/run;";
        let shell = |script: &str| scene.script(&format!("{own} {script}"));
        shell(&format!("exec rocker run --name old {image} sh -c 'cp /bin/su-root /open/mine; chmod 6777 /open/mine; chmod 777 /'")).succeeded();
        let script = format!(
            "mkfifo /run/in; exec 3<>/run/in; rocker run -i --name web {image} sh -c 'chmod 777 /; cat' </run/in & until rocker exec web true 2>/dev/null; do :; done; kill -STOP $$; rocker rm -f web; wait"
        );
        let mut shell = scene.shell(&format!("{own} {script}"));
        let mut child = shell.stderr(std::process::Stdio::null()).spawn().unwrap();
        host.wait_until(
            "the container runs",
            std::time::Duration::from_secs(20),
            || {
                let state = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
                state.rsplit(") ").next().unwrap().starts_with('T')
            },
        );
        // There is something to be found.
        let inside = "find /run/new /run/fresh -mindepth 1";
        assert!(host.sh(inside).contains("su-root"));
        let as_alice = "setpriv --reuid=1000 --regid=1000 --clear-groups";
        let found = host.sh(&format!("{as_alice} {inside} 2>/dev/null || true"));
        assert_eq!(found, "", "uid 1000 finds something");
        // Each by itself, even where the one above it were open; of networks there are the addresses.
        let roots = "find /run/new/root /run/fresh/run -maxdepth 1 -type d ! -name networks -printf '%m %p\\n'";
        let roots = host.sh(roots);
        assert!(
            roots.lines().count() >= 6 && roots.lines().all(|line| line.starts_with("700 ")),
            "{roots}"
        );
        let of_containers = host.sh("find /run/new/root/containers /run/fresh/run/containers -mindepth 1 -maxdepth 1 -type d -printf '%m %p\\n'");
        assert!(
            of_containers.lines().count() >= 2
                && of_containers.lines().all(|line| line.starts_with("700 ")),
            "{of_containers}"
        );
        host.sh(&format!("kill -CONT {}", child.id()));
        child.wait().unwrap();
        scene.assert_nothing_left("directories of rocker's own");
    });
}

#[test]
fn cve_2020_15257_the_socket_to_be_spoken_to_is_a_file_that_no_container_reaches() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let sockets = || named(&fs::read_to_string("/proc/net/unix").unwrap());
        let before = sockets();
        let idle = scene.start_idle("--rm --name web --init");
        let detached = scene.run("exec -d web sleep 9000");
        detached.succeeded();
        let look = "cat /proc/net/unix";
        let in_a_container = named(&scene.ok(&format!("run --rm --network host $I {look}")));
        for seen in [sockets(), in_a_container] {
            let more: Vec<_> = seen.iter().filter(|name| !before.contains(name)).collect();
            // It is named by the descriptor of its directory, which says nothing to anybody else; none is abstract.
            assert!(
                !more.is_empty() && more.iter().all(|name| is_of_a_directory(name)),
                "{more:?}"
            );
        }
        let modes = host.sh(&format!(
            "stat -c %a {0} {0}/attach",
            scene.run_dir_of("web")
        ));
        assert_eq!(modes, "700\n600\n");
        // Nor does anything listen for the network, or where the container's own network is.
        assert_eq!(
            named(&scene.ok(&format!("exec web {look}"))),
            Vec::<String>::new()
        );
        let listens = host.sh("ss -Hlntup | grep -v docker-registry || true");
        assert_eq!(listens, "");
        assert_eq!(idle.end().code, 0);
        let alice = Alice::new(host, &scene);
        let before = sockets();
        let out = alice.ok("rocker run --rm --network none $I cat /proc/net/unix");
        assert_eq!(named(&out), Vec::<String>::new());
        assert_eq!(sockets(), before);
        drop(alice);
        scene.assert_all_gone("looks for sockets");
    });
}

/// Whether the name of a socket is `attach` in a directory that somebody has open.
fn is_of_a_directory(name: &str) -> bool {
    let rest = name.strip_prefix("/proc/self/fd/");
    let number = rest.and_then(|rest| rest.strip_suffix("/attach"));
    number.is_some_and(|number| number.parse::<u32>().is_ok())
}

/// The names of sockets in a table of the kernel's, on disk or in the namespace of the network.
fn named(table: &str) -> Vec<String> {
    let names = table
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().nth(7));
    names.map(str::to_owned).collect()
}
