//! What a process is beside its privileges, and that it is what was asked for.

use rocker_ns::{Arg, Capabilities, Error, IdMap, Namespace, Rlimit, Step, User};

use crate::fake_host;
use crate::{OWN, chain, output, shell, zombies};

#[test]
fn limits_umask_and_oom_score_are_as_asked_for() {
    fake_host::run(|_| {
        let mut command =
            shell("ulimit -Sn; ulimit -Hn; ulimit -c; umask; cat /proc/self/oom_score_adj");
        command
            .rlimit("nofile=100:200".parse().unwrap())
            .rlimit("core=0".parse().unwrap())
            .umask(0o077)
            .oom_score_adj(500)
            .user(User::resolve("1000", b"", b"").unwrap())
            .capabilities(Capabilities::container_default());
        assert_eq!(output(&mut command), "100\n200\n0\n0077\n500\n");
        let mut first = shell("sleep 1000");
        first.unshare(OWN);
        let mut first = first.spawn().unwrap();
        command.enter(first.process().to_fd().unwrap(), OWN);
        assert_eq!(output(&mut command), "100\n200\n0\n0077\n500\n");
        first.kill().unwrap();
        first.wait().unwrap();
    });
}

#[test]
fn a_limit_that_cannot_be_raised_is_named() {
    fake_host::run(|_| {
        // The kernel's own bound, which no privilege lifts.
        let limit = Rlimit::new("nofile", 1 << 40, 1 << 40).unwrap();
        let error = shell("true").rlimit(limit).spawn().unwrap_err();
        let text = chain(&error);
        assert!(text.contains("prlimit64(0, RLIMIT_NOFILE"), "{text}");
        assert!(text.contains("its limit of nofile"), "{text}");
    });
}

#[test]
fn cve_2024_21626_a_working_directory_outside_of_the_root_is_refused() {
    fake_host::run(|_| {
        // The process is in a mount that is attached to nothing, and so beneath no root.
        let flags = Arg::flags(1 | 0o2_000_000, "OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC");
        let tree = vec![Arg::Cwd, Arg::string("/usr").unwrap(), flags];
        let steps = [
            Step::new("open_tree", tree).unwrap(),
            Step::new("fchdir", vec![Arg::Result(0)]).unwrap(),
        ];
        let mut command = shell("pwd");
        command
            .unshare([Namespace::Mount])
            .setup(steps)
            .current_dir("bin");
        let error = command.spawn().unwrap_err();
        assert!(
            matches!(error, Error::WorkingDirectory { .. }),
            "{}",
            chain(&error)
        );
        assert!(chain(&error).contains("getcwd("), "{}", chain(&error));
        assert_eq!(zombies(), 0);
    });
}

#[test]
fn the_kernel_attests_what_was_asked_for() {
    fake_host::run(|_| {
        let map = |inside, outside, count| IdMap {
            inside,
            outside,
            count,
        };
        let maps = [map(0, 100_000, 65_536), map(65_536, 70_000, 1)];
        for user in ["", "33:44", "65536"] {
            for with_users in [false, true] {
                let mut command = shell("exit 0");
                let mut user = User::resolve(user, b"", b"").unwrap();
                user.groups.push(7);
                command
                    .unshare(OWN)
                    .user(user)
                    .capabilities(Capabilities::container_default())
                    .rlimit("nofile=64:128".parse().unwrap())
                    .rlimit("stack=-1".parse().unwrap())
                    .oom_score_adj(1)
                    .no_new_privileges(true);
                if with_users {
                    command.unshare([Namespace::User]).id_maps(maps, maps);
                }
                let mut created = command.create().unwrap();
                created.attest().unwrap();
                assert!(created.start().unwrap().wait().unwrap().success());
            }
        }
    });
}

#[test]
fn a_difference_to_what_was_asked_for_stops_the_start() {
    fake_host::run(|_| {
        let strange = [
            (
                Step::new("unshare", vec![Arg::flags(0x0400_0000, "CLONE_NEWUTS")]),
                "uts namespace",
            ),
            (
                Step::new("unshare", vec![Arg::flags(0x4000_0000, "CLONE_NEWNET")]),
                "net namespace",
            ),
        ];
        for (step, what) in strange {
            let mut command = shell("exit 0");
            command.setup([step.unwrap()]);
            let mut created = command.create().unwrap();
            let error = created.attest().unwrap_err();
            let Error::NotAsAsked {
                what: found, asked, ..
            } = &error
            else {
                panic!("{}", chain(&error));
            };
            assert_eq!((found.as_str(), asked.as_str()), (what, "the caller's"));
            drop(created);
            assert_eq!(zombies(), 0);
        }
    });
}

#[test]
fn a_process_that_entered_another_ones_namespaces_is_attested_too() {
    fake_host::run(|_| {
        let mut first = shell("sleep 1000");
        first.unshare(OWN);
        let mut first = first.spawn().unwrap();
        let mut command = shell("exit 0");
        command
            .enter(first.process().to_fd().unwrap(), OWN)
            .capabilities(Capabilities::container_default());
        let mut created = command.create().unwrap();
        created.attest().unwrap();
        assert!(created.start().unwrap().wait().unwrap().success());
        // And the other way round: what runs in there is not what runs out here.
        let mut outside = shell("exit 0").create().unwrap();
        outside.ready().unwrap();
        let facts = command.expected().unwrap().compare(outside.id()).unwrap();
        let wrong: Vec<_> = facts.iter().filter(|fact| !fact.holds()).collect();
        assert!(wrong.len() >= OWN.len(), "{wrong:?}");
        drop(outside);
        first.kill().unwrap();
        first.wait().unwrap();
    });
}
