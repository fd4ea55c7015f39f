//! What an attacker would try in a container, all of it, held against a table; and the same under podman.

mod table;

use std::collections::BTreeMap;

use crate::alice::Alice;
use crate::fake_host::{self, Host};
use crate::registry::busybox_root;
use crate::static_c;
use crate::support::Scene;
use table::TABLE;

/// A directory with what an image needs to be probed.
fn probe_root(host: &Host) -> std::path::PathBuf {
    let root = host.dir("probe");
    busybox_root(&root);
    for dir in ["etc", "tmp"] {
        std::fs::create_dir(root.join(dir)).unwrap();
    }
    static_c::compile(&root.join("bin"), "attempts");
    root
}

/// What the probe printed: names and results.
fn results(out: &str) -> BTreeMap<&str, &str> {
    out.lines()
        .map(|line| {
            let (name, result) = line.split_at(24.min(line.len()));
            (name.trim(), result.trim())
        })
        .collect()
}

/// The rows of the table: name, result, and result in a user namespace.
fn expected() -> impl Iterator<Item = (&'static str, [&'static str; 2])> {
    TABLE.lines().map(|row| {
        let (name, cells) = row.split_at(24);
        let mut cells = cells.split_whitespace().collect::<Vec<_>>();
        // A result of two words is one.
        if let ["not", "executed", ..] = cells[..] {
            cells = vec!["not executed"];
        }
        let first = cells[0];
        (name.trim(), [first, cells.get(1).unwrap_or(&first)])
    })
}

/// Holds what the probe printed against a column of the table.
#[track_caller]
fn assert_as_in_table(out: &str, column: usize, of: &str) {
    let found = results(out);
    let mut wrong = Vec::new();
    for (name, cells) in expected() {
        let result = found.get(name).copied().unwrap_or("nothing");
        if !cells[column].split('|').any(|cell| cell == result) {
            wrong.push(format!("{name}: {result}, and not {}", cells[column]));
        }
    }
    assert!(wrong.is_empty(), "{of}: {wrong:#?}");
    assert_eq!(found.len(), expected().count(), "{of}: {out}");
}

#[test]
fn cve_2022_0185_and_2026_31431_what_a_container_tries_comes_to_what_the_table_says() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let image = scene.registry.push_dir(&probe_root(host), "probe", "{}");
        let out = scene.run(&format!("run --rm {image} attempts")).out;
        assert_as_in_table(&out, 0, "run");
        // rocker's own init is nobody's to look into.
        let init = "'ptrace init' 'write /proc/1/exe' 'write /proc/1/mem'";
        let out = scene.ok(&format!("run --rm --init {image} attempts {init}"));
        let found: Vec<_> = results(&out).into_values().collect();
        assert_eq!(found, ["EPERM", "EACCES", "EACCES"]);
        let mut idle = scene.start(&format!(
            "run -i --rm --name web {image} sh -c 'echo up; cat'"
        ));
        assert_eq!(idle.line(), "up");
        assert_as_in_table(&scene.ok("exec web attempts"), 0, "exec");
        assert_eq!(idle.end().code, 0);
        let out = scene.ok(&format!("run --rm --userns auto {image} attempts"));
        assert_as_in_table(&out, 1, "run --userns auto");
        scene.assert_all_gone("attempts");
    });
}

#[test]
fn what_an_ordinary_users_container_tries_comes_to_what_the_table_says() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let image = scene.registry.push_dir(&probe_root(host), "probe", "{}");
        let alice = Alice::new(host, &scene);
        alice.ok(&format!("rocker pull -q {image}"));
        let out = alice.ok(&format!("rocker run --rm --network none {image} attempts"));
        assert_as_in_table(&out, 1, "run");
        let out = alice.ok(&format!(
            "mkfifo in; exec 3<>in; rocker run -i --rm --network none --name web {image} cat <in &
             until rocker exec web true 2>/dev/null; do :; done; rocker exec web attempts; rocker rm -f web >/dev/null; wait"
        ));
        assert_as_in_table(&out, 1, "exec");
        drop(alice);
        scene.assert_all_gone("attempts of an ordinary user");
    });
}

#[test]
fn a_privileged_containers_attempts_succeed_so_the_probe_is_one() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let image = scene.registry.push_dir(&probe_root(host), "probe", "{}");
        let succeeds = [
            "mount tmpfs",
            "fsopen",
            "open_tree clone",
            "unshare user",
            "unshare mount",
            "unshare net",
            "clone user",
            "clone3",
            "kcmp",
            "pidfd_getfd",
            "add_key",
            "bpf",
            "perf_event_open",
            "userfaultfd",
            "io_uring_setup",
            "personality, no ASLR",
            "sethostname",
            "write core_pattern",
            "write ip_forward",
            "make null",
            "open null",
        ];
        let names: String = succeeds.iter().map(|name| format!(" '{name}'")).collect();
        let out = scene.ok(&format!("run --rm --privileged {image} attempts {names}"));
        let found = results(&out);
        let failed: Vec<_> = succeeds
            .iter()
            .filter(|name| found[**name] != "ok")
            .collect();
        assert!(failed.is_empty(), "{failed:?} {out}");
        scene.assert_all_gone("attempts that succeed");
    });
}

/// Where podman's default container differs, what comes of it there, and why.
#[rustfmt::skip]
const PODMAN: &[(&[&str], &str, &str)] = &[
    (&["socket raw", "socket packet"], "EPERM", "it has no CAP_NET_RAW; Docker's and rocker's have, for ping(8)"),
    (&["netlink audit"], "EINVAL", "it has no CAP_AUDIT_WRITE; Docker's and rocker's have, for login(1) and sshd(8)"),
    (&["make sda", "make loop", "make mem", "make kmem", "make console", "make tun", "make null"], "EPERM", "it has no CAP_MKNOD"),
    (&["open sda", "open loop", "open mem", "open kmem", "open console", "open tun", "open null"], "ENOENT", "what cannot be made is not there"),
    (&["setuid in /dev"], "not executed", "its /dev is noexec; in rocker's, as in Docker's, programs run, and never as another user"),
    (&["unshare user", "unshare files", "clone user", "clone3"], "ok", "it lets containers make user namespaces, for podman in podman"),
    (&["open_tree", "fsconfig"], "ok|EINVAL", "it allows what of the mount API does nothing by itself"),
    (&["socket AF_ALG", "socket AF_ALG, high bits"], "EAFNOSUPPORT|ok", "it does not filter AF_ALG, which this kernel may lack"),
    (&["socket AF_VSOCK"], "ok|EAFNOSUPPORT", "it does not filter AF_VSOCK"),
    (&["pidfd_getfd"], "ok", "it allows it between processes that may trace each other"),
    (&["keyctl, all"], "several", "it allows keys"),
    (&["add_key", "request_key"], "ENOSYS|ok|ENOKEY", "it allows keys, or denies them by another error"),
    (&["mbind"], "ok", "it allows placing memory"),
    (&["TIOCSTI", "TIOCSTI, high bits", "TIOCLINUX", "TIOCLINUX, high bits"], "ENOTTY", "it does not filter ioctl(2)"),
    (&["io_uring_setup", "io_uring_enter", "io_uring_register", "personality, no ASLR", "quotactl_fd", "create_module", "_sysctl"], "ENOSYS", "it denies them by another error"),
];

#[test]
fn a_container_may_do_nothing_that_podmans_may_not_but_for_the_capabilities_that_dockers_has() {
    fake_host::run(|host| {
        let root = probe_root(host);
        // crun refuses to look at two trees of cgroups; this container is in none.
        host.sh("if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi");
        let out = host.sh(&format!(
            "podman --runtime crun --cgroup-manager cgroupfs --events-backend none --storage-driver vfs --root /run/podman/root --runroot \
             /run/podman/run --tmpdir /run/podman/tmp run --rm --cgroups=disabled --network none --rootfs {} attempts",
            root.display()
        ));
        let found = results(&out);
        let is_4 = host.sh("podman --version").contains(" 4.");
        for (name, [ours, _]) in expected() {
            let theirs = found.get(name).copied().unwrap_or("nothing");
            let differs = PODMAN.iter().find(|(names, ..)| names.contains(&name));
            let expected = differs.map_or(ours, |(_, result, _)| result);
            let as_expected = expected.split('|').any(|result| result == theirs);
            // What another version of podman allows or denies is its own affair, unless it denies what rocker allows.
            let stricter =
                ours.split('|').any(|result| result == "ok") && theirs != "ok" && differs.is_none();
            assert!(
                as_expected || !is_4 && !stricter,
                "{name}: {theirs}, and not {expected}: {differs:?}"
            );
        }
    });
}
