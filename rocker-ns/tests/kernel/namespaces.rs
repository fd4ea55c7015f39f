//! Each kind of namespace: new, inherited, joined.

use std::fs;

use rocker_ns::{Command, IdMap, Namespace, Stdio, User};

use crate::fake_host;
use crate::{output, shell};

/// A program that says in which namespace of a kind it is.
fn which(kind: Namespace) -> Command {
    let mut command = Command::new("/bin/readlink");
    let path = format!("/proc/self/ns/{kind}");
    command.args(["-n", &path]).stdin(Stdio::null());
    command
}

#[test]
fn every_kind_is_inherited_new_or_joined_by_descriptor() {
    fake_host::run(|_| {
        let name = |pid: &str, kind| {
            let link = fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
            link.to_string_lossy().into_owned()
        };
        for kind in Namespace::ALL {
            let own = name("self", kind);
            assert_eq!(output(&mut which(kind)), own, "{kind} inherited");

            let mut first = shell("read line");
            first.unshare([kind]).stdin(Stdio::piped());
            let mut first = first.spawn().unwrap();
            let new = name(&first.id().to_string(), kind);
            assert_ne!(new, own, "{kind} new");

            if kind == Namespace::Pid {
                let mut joining = shell("echo $$");
                joining.enter(first.process().to_fd().unwrap(), [kind]);
                assert_eq!(output(&mut joining), "2\n");
            } else {
                let mut joining = which(kind);
                joining.join(kind, kind.of(first.id()).unwrap());
                assert_eq!(output(&mut joining), new, "{kind} joined");
            }
            first.kill().unwrap();
            first.wait().unwrap();
        }
    });
}

#[test]
fn a_user_namespace_maps_the_ids_it_was_given() {
    fake_host::run(|_| {
        let mut command = shell("id -u; cat /proc/self/uid_map | tr -s ' '");
        let map = [IdMap {
            inside: 0,
            outside: 1000,
            count: 1,
        }];
        command
            .unshare([Namespace::User])
            .id_maps(map, map)
            .user(User::resolve("", b"", b"").unwrap());
        assert_eq!(output(&mut command), "0\n 0 1000 1\n");
    });
}
