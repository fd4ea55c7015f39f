//! Users and groups, and the files that name them.

use std::fs;

use super::{hostile_image, start_idle};
use crate::fake_host;
use crate::support::Scene;

/// The accounts of the image: one has a name that is a number, and one a number that is none.
const PASSWD: &str = "root:x:0:0::/:/bin/sh\n1000:x:0:0:a trap:/:/bin/sh\nbob:x:1001:1002::/:/bin/sh\n\
                      huge:x:4294967296:0::/:/bin/sh\nminus:x:-1:0::/:/bin/sh\n";
const GROUP: &str =
    "root:x:0:\nstaff:x:50:bob\nbob:x:1002:\nwheel:x:10:bob,root\n77:x:0:\nbig:x:4294967296:bob\n";

fn accounts(scene: &Scene<'_>) -> String {
    hostile_image(scene, "accounts", |root| {
        fs::write(root.join("etc/passwd"), PASSWD).unwrap();
        fs::write(root.join("etc/group"), GROUP).unwrap();
    })
}

#[test]
fn cve_2016_3697_2024_40635_2026_46680_and_2026_30892_a_user_is_the_id_or_the_name_that_it_says() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let image = accounts(&scene);
        let idle = start_idle(&scene, "", &image);
        let ids = "sh -c 'echo $(id -u):$(id -g)'";
        // Run and exec read it alike.
        let both = |user: &str| {
            [
                scene.run(&format!(
                    "run --rm --network none -u '{user}' {image} {ids}"
                )),
                scene.run(&format!("exec -u '{user}' web {ids}")),
            ]
        };
        for (user, expected) in [
            ("1", "1:0"),
            ("1:", "1:0"),
            (":1", "0:1"),
            ("1:2", "1:2"),
            ("1000", "1000:0"),
            ("1000:77", "1000:77"),
            ("bob", "1001:1002"),
            ("1001", "1001:1002"),
            ("bob:staff", "1001:50"),
            ("4294967294", "4294967294:0"),
            ("007", "7:0"),
        ] {
            for done in both(user) {
                assert_eq!(done.out.trim(), expected, "{done:?}");
            }
        }
        for user in [
            "4294967295",
            "4294967296",
            "4294968296",
            "18446744073709551616",
            "18446744073709551617",
            "-1",
            "-0",
            "0x1",
            "1e3",
            " 1",
            "1 ",
            "1\n",
            "huge",
            "minus",
            "0:4294967296",
            "0:-1",
            "0:0x0",
            "0:0:0",
            "bob:big",
            "nobody:0",
        ] {
            for done in both(user) {
                assert_eq!(
                    (done.code, done.out.as_str()),
                    (125, ""),
                    "{user:?}: {done:?}"
                );
            }
        }
        assert_eq!(idle.end().code, 0);
        scene.assert_all_gone("users");
    });
}

#[test]
fn cve_2022_2989_2022_2990_and_2023_25173_supplementary_groups_are_those_of_the_image_and_the_flags()
 {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let image = accounts(&scene);
        // Whoever starts rocker has others.
        let rocker = "exec setpriv --groups 4,27,999 rocker";
        for (flags, run) in [
            ("", "0 10"),
            ("-u 0", "0 10"),
            ("-u bob", "1002 10 50"),
            ("-u 1001", "1002 10 50"),
            ("-u bob:1002", "1002"),
            ("-u bob:staff", "50"),
            ("-u 4242", "0"),
            ("-u 4242:77", "77"),
            ("--group-add 99", "0 10 99"),
            ("-u bob --group-add wheel --group-add 7", "1002 7 10 50"),
            ("-u 5:6 --group-add staff --group-add 50", "6 50"),
            ("--privileged -u 5:6", "6"),
        ] {
            let done = scene.script(&format!(
                "{rocker} run --rm --network none {flags} {image} sh -c 'id -G; grep Groups: /proc/self/status'"
            ));
            let mut sorted: Vec<u32> = run.split(' ').map(|id| id.parse().unwrap()).collect();
            sorted.sort_unstable();
            let sorted: Vec<_> = sorted.iter().map(u32::to_string).collect();
            let expected = format!("{run}\nGroups:\t{} \n", sorted.join(" "));
            assert_eq!(done.out, expected, "{flags}: {done:?}");
        }
        let idle = start_idle(&scene, "-u bob --group-add 7", &image);
        for (flags, exec) in [
            ("", "1002 7 10 50"),
            // Those that were added to the container's are added to everybody's in there.
            ("-u bob", "1002 7 10 50"),
            ("-u bob:staff", "50 7"),
            ("-u 0", "0 7 10"),
            ("-u 4242", "0 7"),
            ("--privileged -u 5:6", "6 7"),
        ] {
            let done = scene.script(&format!("{rocker} exec {flags} web id -G"));
            assert_eq!(done.out.trim(), exec, "{flags}: {done:?}");
        }
        assert_eq!(idle.end().code, 0);
        scene.assert_all_gone("groups");
    });
}

#[test]
fn cve_2024_9676_and_2026_47262_accounts_are_read_from_a_file_of_the_image_that_is_small_or_not_at_all()
 {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let outside = host.dir("outside");
        fs::write(outside.join("passwd"), "mallory:x:0:0::/:/bin/sh\n").unwrap();
        // Neither by time nor by memory: what runs into a bound here would not have come back.
        let bounded = "exec timeout 20 prlimit --data=67108864 rocker";
        let idle = scene.start_idle("--rm --name web");
        let files = [
            ("a file of the host", "ln -s /run/outside/passwd $f"),
            (
                "one by way of the parents",
                "ln -s ../../../../../run/outside/passwd $f",
            ),
            (
                "one by way of /proc",
                "ln -s /proc/1/root/run/outside/passwd $f",
            ),
            ("the null device's neighbour", "ln -s /dev/zero $f"),
            ("a device", "mknod $f c 1 5"),
            ("a pipe", "mkfifo $f"),
            ("a link to a pipe", "mkfifo /pipe; ln -s /pipe $f"),
            ("a loop", "ln -s passwd /etc/group; ln -s group /etc/passwd"),
            ("a directory", "mkdir $f"),
            ("a terminal", "ln -s /dev/ptmx $f"),
            ("10 GB of nothing", "truncate -s 10G $f"),
            ("a list of an endless process", "ln -s /proc/kmsg $f"),
        ];
        for (what, make) in files {
            for file in ["/etc/passwd", "/etc/group"] {
                scene.ok(&format!(
                    "exec web sh -c 'rm -rf /etc/passwd /etc/group /pipe; f={file}; {make}'"
                ));
                let user = match file {
                    "/etc/passwd" => "mallory",
                    _ => "1:mallory",
                };
                let done = scene.script(&format!("{bounded} exec -u {user} web id"));
                assert_eq!(
                    (done.code, done.out.as_str()),
                    (125, ""),
                    "{what}: {done:?}"
                );
            }
        }
        assert_eq!(idle.end().code, 0);
        // And so it is for the first process: the same container, kept as an image.
        for (number, (what, make)) in files.into_iter().enumerate() {
            if ["mknod", "truncate"]
                .iter()
                .any(|call| make.starts_with(call))
                || number % 3 != 0
            {
                continue;
            }
            let image = hostile_image(&scene, &format!("accounts{number}"), |root| {
                let make = make.replace(" /", &format!(" {}/", root.display()));
                let make = match make.starts_with("ln -s") {
                    true => make.replacen(&format!(" {}/", root.display()), " /", 1),
                    false => make,
                };
                host.sh(&format!("f={}/etc/passwd; {make}", root.display()));
            });
            let done = scene.script(&format!("{bounded} run --rm -u mallory {image} id"));
            assert_eq!(
                (done.code, done.out.as_str()),
                (125, ""),
                "{what}: {done:?}"
            );
        }
        scene.assert_all_gone("accounts that are none");
    });
}

#[test]
fn the_root_of_a_container_with_users_of_its_own_is_nobody_outside() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let volume = host.dir("volume");
        fs::write(volume.join("secret"), "of root").unwrap();
        host.sh("chmod 600 /run/volume/secret; chmod 777 /run/volume");
        let out = scene.run(
            "run --rm --userns auto -v /run/volume:/v $I sh -c 'id -u; cat /v/secret; chown 0 /v/secret; touch /v/made; stat -c %u /v/secret'",
        );
        assert_eq!(out.out, "0\n65534\n", "{out:?}");
        let owner: u32 = host
            .sh("stat -c %u /run/volume/made")
            .trim()
            .parse()
            .unwrap();
        assert!(owner >= 524_288 && owner.is_multiple_of(65_536), "{owner}");
        let two = ["one", "two"].map(|name| {
            let idle = scene.start_idle(&format!("--rm --userns auto --name {name}"));
            (
                scene.ok(&format!("exec {name} cat /proc/self/uid_map")),
                idle,
            )
        });
        assert_ne!(two[0].0, two[1].0);
        for (_, idle) in two {
            assert_eq!(idle.end().code, 0);
        }
        scene.assert_all_gone("users of their own");
    });
}
