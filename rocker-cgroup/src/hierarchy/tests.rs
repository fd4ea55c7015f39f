use std::path::PathBuf;

use std::fs;

use super::*;

/// Debian 12 as installed, seen by a shell of root.
const DEBIAN_12: (&str, &str) = (
    "24 30 0:22 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw\n\
     29 24 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n",
    "0::/user.slice/user-0.slice/session-1.scope\n",
);

/// A machine with a tree for each controller of v1, an empty v2 beside them, and a memory cgroup for this process.
const HYBRID: (&str, &str) = (
    "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
     32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
     33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct\n\
     34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n\
     35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
     38 31 0:35 / /sys/fs/cgroup/blkio rw,relatime - cgroup cgroup rw,blkio\n\
     39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids\n\
     40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd\n\
     41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n",
    "9:name=systemd:/\n8:pids:/\n7:blkio:/\n4:memory:/process_api/f8df\n3:cpuset:/\n2:cpuacct:/\n1:cpu:/\n0::/\n",
);

/// An older distribution that mounts cpu and cpuacct together.
const CO_MOUNTED: (&str, &str) = (
    "30 25 0:26 / /sys/fs/cgroup ro,nosuid,nodev,noexec shared:9 - tmpfs tmpfs ro,mode=755\n\
     33 30 0:29 / /sys/fs/cgroup/systemd rw,nosuid shared:11 - cgroup cgroup rw,xattr,name=systemd\n\
     36 30 0:32 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:15 - cgroup cgroup rw,cpu,cpuacct\n\
     37 30 0:33 / /sys/fs/cgroup/memory rw,nosuid shared:16 - cgroup cgroup rw,memory\n\
     38 30 0:34 / /sys/fs/cgroup/net_cls,net_prio rw,nosuid shared:17 - cgroup cgroup rw,net_cls,net_prio\n",
    "5:memory:/user.slice\n4:cpu,cpuacct:/user.slice\n1:name=systemd:/user.slice\n",
);

/// Docker on v1 without a cgroup namespace: the mount shows only the container's own cgroup.
const CONTAINER: (&str, &str) = (
    "740 730 0:32 /docker/abc /sys/fs/cgroup/memory ro,nosuid - cgroup cgroup rw,memory\n",
    "4:memory:/docker/abc/inner\n",
);

fn parse(texts: (&str, &str)) -> Hierarchy {
    Hierarchy::parse(texts.0, texts.1).unwrap()
}

fn base_of(hierarchy: &Hierarchy, controller: Controller) -> PathBuf {
    hierarchy.tree_of(controller).unwrap().base.clone()
}

#[test]
fn each_layout_is_named_for_what_it_is() {
    assert_eq!(parse(DEBIAN_12).version(), Version::V2);
    assert_eq!(parse(HYBRID).version(), Version::Hybrid);
    assert_eq!(parse(CO_MOUNTED).version(), Version::V1);
    assert_eq!(parse(CONTAINER).version(), Version::V1);
    assert!(matches!(
        Hierarchy::parse("", "0::/\n"),
        Err(Error::NoHierarchy)
    ));
}

#[test]
fn on_hybrid_each_controller_is_found_where_it_is_mounted() {
    let hybrid = parse(HYBRID);
    assert_eq!(
        base_of(&hybrid, Controller::Io),
        PathBuf::from("/sys/fs/cgroup/blkio")
    );
    assert_eq!(
        base_of(&hybrid, Controller::Cpu),
        PathBuf::from("/sys/fs/cgroup/cpu")
    );
    assert_eq!(hybrid.is_v2(Controller::Memory), Some(false));
    // v2 freezes by itself where v1 has no freezer.
    assert_eq!(hybrid.is_v2(Controller::Freezer), Some(true));
    assert_eq!(hybrid.is_v2(Controller::Hugetlb), None);
    assert_eq!(parse(CO_MOUNTED).is_v2(Controller::Freezer), None);
}

#[test]
fn the_own_cgroup_is_seen_from_the_root_of_the_mount() {
    let own = |texts, controller| {
        parse(texts)
            .tree_of(controller)
            .unwrap()
            .own
            .clone()
            .unwrap()
    };
    let memory = Controller::Memory;
    assert_eq!(
        own(HYBRID, memory),
        PathBuf::from("/sys/fs/cgroup/memory/process_api/f8df")
    );
    assert_eq!(
        own(CO_MOUNTED, Controller::Cpuacct),
        PathBuf::from("/sys/fs/cgroup/cpu,cpuacct/user.slice")
    );
    assert_eq!(
        own(CONTAINER, memory),
        PathBuf::from("/sys/fs/cgroup/memory/inner")
    );
}

#[test]
fn the_mount_that_shows_more_of_a_tree_wins() {
    let both = format!(
        "{}741 730 0:32 / /mnt/memory rw - cgroup cgroup rw,memory\n\
         742 730 0:32 /docker/abc/inner /mnt/inner rw - cgroup cgroup rw,memory\n",
        CONTAINER.0
    );
    assert_eq!(
        base_of(&parse((&both, CONTAINER.1)), Controller::Memory),
        PathBuf::from("/mnt/memory")
    );
}

#[test]
fn a_mount_from_outside_the_cgroup_namespace_hides_where_we_are() {
    let texts = ("1 0 0:1 /../.. /c rw - cgroup2 cgroup2 rw\n", "0::/\n");
    assert_eq!(parse(texts).trees()[0].own, None);
}

#[test]
fn containers_live_in_the_highest_cgroup_that_may_be_written() {
    let texts = (
        "1 0 0:1 / /c rw - cgroup2 cgroup2 rw\n",
        "0::/user.slice/user@1000.service/app.slice\n",
    );
    let mut tree = parse(texts).trees()[0].clone();
    let delegated = "/c/user.slice/user@1000.service";
    tree.choose_base(|dir| match dir.starts_with(delegated) {
        true => Access::Granted,
        false => Access::Denied,
    });
    assert_eq!(tree.base, PathBuf::from(delegated));
    assert_eq!(tree.access, Access::Granted);
    for access in [Access::Denied, Access::ReadOnly] {
        let mut tree = parse(texts).trees()[0].clone();
        tree.choose_base(|_| access);
        assert_eq!(tree.base, PathBuf::from("/c"));
        assert_eq!(tree.access, access);
    }
}

#[test]
fn a_fake_tree_is_detected_like_a_real_one() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("fs");
    fs::create_dir_all(dir.path().join("self")).unwrap();
    fs::create_dir(&root).unwrap();
    fs::write(
        root.join("cgroup.controllers"),
        "cpuset cpu io memory pids new_in_7.5\n",
    )
    .unwrap();
    let mountinfo = format!("29 24 0:26 / {} rw - cgroup2 cgroup2 rw\n", root.display());
    fs::write(dir.path().join("self/mountinfo"), mountinfo).unwrap();
    fs::write(dir.path().join("self/cgroup"), "0::/\n").unwrap();
    let hierarchy = Hierarchy::detect_in(dir.path()).unwrap();
    use Controller::{Cpu, Cpuset, Io, Memory, Pids};
    assert_eq!(hierarchy.controllers(), [Cpu, Cpuset, Memory, Pids, Io]);
    assert_eq!(hierarchy.version(), Version::V2);
}

#[test]
fn a_container_mounts_what_its_host_mounts() {
    let v2 = parse(DEBIAN_12).mounts_for_container();
    assert_eq!(v2.len(), 1);
    assert_eq!((v2[0].destination.as_str(), v2[0].fstype), ("", "cgroup2"));

    let hybrid = parse(HYBRID).mounts_for_container();
    let of = |destination: &str| {
        hybrid
            .iter()
            .find(|view| view.destination == destination)
            .unwrap()
    };
    assert_eq!(of("memory").options, ["memory"]);
    assert_eq!(of("blkio").options, ["blkio"]);
    assert_eq!(of("systemd").options, ["none", "name=systemd"]);
    assert_eq!(of("unified").fstype, "cgroup2");
    assert_eq!(hybrid.len(), 8);

    let co_mounted = parse(CO_MOUNTED).mounts_for_container();
    let cpu = co_mounted
        .iter()
        .find(|view| view.destination == "cpu,cpuacct")
        .unwrap();
    assert_eq!(cpu.options, ["cpu", "cpuacct"]);
    assert_eq!(cpu.aliases, ["cpu", "cpuacct"]);
}
