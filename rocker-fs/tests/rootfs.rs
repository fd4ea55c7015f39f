//! The steps into a root file system, as text and as executed by a child.
#![allow(
    clippy::unwrap_used,
    reason = "a failure of what a test prepares is a failure of the test"
)]

#[expect(unsafe_code, reason = "the steps are raw system calls")]
mod executor;
#[path = "../../tests/fake_host/mod.rs"]
mod fake_host;
mod support;

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::Path;

use rocker_fs::{
    Device, DeviceKind, Error, Mount, MountAttributes, Overlay, Propagation, Rootfs, Sysctl,
    SysctlNamespaces,
};
use support::standard;

fn lines(rootfs: &Rootfs) -> Vec<String> {
    rootfs
        .steps()
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn any_fd() -> OwnedFd {
    fs::File::open("/").unwrap().into()
}

#[test]
fn a_mount_is_these_steps() {
    let rootfs = Rootfs::new(any_fd(), "/run/t")
        .mount(
            Mount::filesystem("tmpfs", "/var/tmp")
                .attributes(MountAttributes::NOSUID)
                .option("size", "1m"),
        )
        .read_only(true);
    let shown = lines(&rootfs);
    let root = shown[1]
        .trim_start_matches("mount_setattr(")
        .split(',')
        .next()
        .unwrap()
        .to_owned();
    let expected = [
        r#"mount(NULL, "/", NULL, MS_REC|MS_SLAVE, NULL)"#,
        r#"mount_setattr(@, "", AT_EMPTY_PATH, {attr_set=MOUNT_ATTR_NODEV, propagation=MS_PRIVATE}, 32)"#,
        r#"move_mount(@, "", AT_FDCWD, "/run/t", MOVE_MOUNT_F_EMPTY_PATH)"#,
        r#"mkdirat(@, "var", 0755)"#,
        r#"openat2(@, "var", {flags=O_PATH|O_DIRECTORY|O_CLOEXEC, resolve=RESOLVE_IN_ROOT|RESOLVE_NO_MAGICLINKS}, 24)"#,
        r#"mkdirat(<4>, "tmp", 0755)"#,
        r#"openat2(@, "var/tmp", {flags=O_PATH|O_DIRECTORY|O_CLOEXEC, resolve=RESOLVE_IN_ROOT|RESOLVE_NO_MAGICLINKS}, 24)"#,
        "close(<4>)",
        r#"fsopen("tmpfs", FSOPEN_CLOEXEC)"#,
        r#"fsconfig(<8>, FSCONFIG_SET_STRING, "source", "tmpfs", 0)"#,
        r#"fsconfig(<8>, FSCONFIG_SET_STRING, "size", "1m", 0)"#,
        "fsconfig(<8>, FSCONFIG_CMD_CREATE, NULL, NULL, 0)",
        "fsmount(<8>, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID)",
        "close(<8>)",
        r#"move_mount(<12>, "", <6>, "", MOVE_MOUNT_F_EMPTY_PATH|MOVE_MOUNT_T_EMPTY_PATH)"#,
        "close(<6>)",
        "close(<12>)",
        "fchdir(@)",
        r#"pivot_root(".", ".")"#,
        r#"umount2(".", MNT_DETACH)"#,
        r#"chdir("/")"#,
        r#"openat2(AT_FDCWD, "/", {flags=O_PATH|O_DIRECTORY|O_CLOEXEC, resolve=RESOLVE_IN_ROOT|RESOLVE_NO_MAGICLINKS}, 24)"#,
        r#"mount_setattr(<21>, "", AT_EMPTY_PATH, {attr_set=MOUNT_ATTR_RDONLY}, 32)"#,
        "close(<21>)",
    ];
    assert_eq!(shown, expected.map(|line| line.replace('@', &root)));
    assert!(
        rootfs
            .steps()
            .unwrap()
            .iter()
            .all(|step| step.why.starts_with("so that "))
    );
}

#[test]
fn what_a_mask_lies_over_is_no_way_to_a_read_only_path() {
    let way = |masked: &[&str]| {
        let rootfs = Rootfs::new(any_fd(), "/run/t")
            .mount(Mount::filesystem("sysfs", "/sys"))
            .mount(Mount::filesystem("tmpfs", "/sys/fs/cgroup"))
            .read_only_path("/sys/fs/cgroup/cpu");
        let rootfs = masked.iter().fold(rootfs, |rootfs, path| rootfs.mask(path));
        let steps = rootfs.steps().unwrap();
        let opened = steps
            .iter()
            .find(|step| step.why == "so that /sys/fs/cgroup/cpu can be made read-only");
        opened.unwrap().args[1].to_string()
    };
    assert_eq!(way(&[]), "\"cpu\"");
    assert_eq!(way(&["/sys/firmware"]), "\"cpu\"");
    // It is not what is seen there any more.
    assert_eq!(way(&["/sys/fs"]), "\"fs/cgroup/cpu\"");
}

#[test]
fn paths_that_cannot_be_meant_are_refused() {
    let rootfs = || Rootfs::new(any_fd(), "/run/t");
    let destination = |rootfs: Rootfs| matches!(rootfs.steps(), Err(Error::Destination { .. }));
    assert!(destination(rootfs().mount(Mount::filesystem("tmpfs", "/"))));
    assert!(destination(
        rootfs().mount(Mount::filesystem("tmpfs", "/a/../../b"))
    ));
    assert!(destination(rootfs().device(Device::new(
        "/dev/null",
        DeviceKind::Char,
        1,
        3
    ))));
    let own_dev = || rootfs().mounts(Rootfs::standard_mounts());
    assert!(destination(own_dev().device(Device::new(
        "/etc/null",
        DeviceKind::Char,
        1,
        3
    ))));
    assert!(destination(own_dev().mask("/")));
    let absent = rootfs()
        .mount(Mount::bind("/no/such/source", "/x"))
        .steps()
        .unwrap_err();
    assert!(
        matches!(&absent, Error::BindSource { path, .. } if path == Path::new("/no/such/source")),
        "{absent}"
    );
}

#[test]
fn the_child_finds_itself_in_its_root_file_system_and_the_host_is_gone() {
    fake_host::run(in_its_root_file_system);
}

#[test]
fn without_openat2_the_child_finds_itself_there_too() {
    fake_host::run(|host| {
        executor::without_openat2(libc::ENOSYS, || in_its_root_file_system(host))
    });
}

fn in_its_root_file_system(host: &fake_host::Host) {
    let image = host.dir("image");
    fs::create_dir_all(image.join("etc")).unwrap();
    fs::write(image.join("etc/secret"), "s").unwrap();
    fs::create_dir(image.join("run")).unwrap();
    symlink("/run", image.join("volume-link")).unwrap();
    let shared = host.dir("shared");
    fs::write(shared.join("file"), "of the host").unwrap();
    let before = host.state();
    let rootfs = standard(&image)
        .device(
            Device::new("/dev/net/tun", DeviceKind::Char, 10, 200)
                .mode(0o600)
                .owner(5, 6),
        )
        .mount(Mount::bind(&shared, "/volume-link/made/here").attributes(MountAttributes::RDONLY))
        .mount(Mount::bind(shared.join("file"), "/etc/hosts").propagation(Propagation::Slave))
        .mask("/etc/secret")
        .mask("/etc/absent/entirely")
        .read_only(true);
    let steps = rootfs.steps().unwrap();
    let report = executor::in_child(&steps, || {
        let mut said = String::new();
        let mut check = |what: &str, holds: bool| {
            if !holds {
                said.push_str(&format!("{what}\n"));
            }
        };
        check(
            "PID 1 in /proc",
            fs::read_link("/proc/self").is_ok_and(|pid| pid == Path::new("1")),
        );
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        check(
            "host mounts",
            !mounts.contains(" /run/t ") && !mounts.contains("/var/lib/rocker"),
        );
        check(
            "root is overlay",
            mounts
                .lines()
                .next()
                .is_some_and(|line| line.contains(" - overlay ")),
        );
        check(
            "parent of root",
            std::env::current_dir().unwrap() == Path::new("/")
                && fs::metadata("/..").unwrap().ino() == fs::metadata("/").unwrap().ino(),
        );
        for device in ["null", "zero", "full", "random", "urandom", "tty"] {
            let found = fs::symlink_metadata(Path::new("/dev").join(device)).unwrap();
            check(
                device,
                found.file_type().is_char_device() && found.mode() & 0o7777 == 0o666,
            );
        }
        let tun = fs::symlink_metadata("/dev/net/tun").unwrap();
        check(
            "tun",
            (tun.mode() & 0o7777, tun.uid(), tun.gid()) == (0o600, 5, 6),
        );
        check(
            "links",
            fs::read_link("/dev/ptmx").unwrap() == Path::new("pts/ptmx")
                && Path::new("/dev/pts/ptmx").exists(),
        );
        check(
            "volume",
            fs::read_to_string("/run/made/here/file").unwrap() == "of the host",
        );
        check(
            "volume is read-only",
            fs::write("/run/made/here/file", "x").is_err(),
        );
        check(
            "file bind",
            fs::read_to_string("/etc/hosts").unwrap() == "of the host",
        );
        let null = |path| fs::metadata(path).is_ok_and(|found| found.rdev() == libc::makedev(1, 3));
        check("keys masked", null("/proc/keys"));
        check(
            "kcore masked",
            null("/proc/kcore") || !Path::new("/proc/kcore").exists(),
        );
        check(
            "firmware masked",
            fs::read_dir("/sys/firmware").unwrap().count() == 0,
        );
        check(
            "mask is read-only",
            fs::write("/sys/firmware/x", "").is_err(),
        );
        check("secret masked", fs::read("/etc/secret").unwrap().is_empty());
        check("no mask made", !Path::new("/etc/absent").exists());
        check("sysrq", fs::write("/proc/sysrq-trigger", "").is_err());
        check(
            "sysctl",
            fs::write("/proc/sys/kernel/hostname", "x").is_err(),
        );
        check("root is read-only", fs::write("/new", "").is_err());
        check("shm is writable", fs::write("/dev/shm/new", "").is_ok());
        let open: Vec<_> = fs::read_dir("/proc/self/fd")
            .unwrap()
            .map(|fd| fs::read_link(fd.unwrap().path()).unwrap_or_default())
            .collect();
        check(
            "steps close what they open",
            !open.iter().any(|path| {
                path.starts_with("/proc/") && !path.ends_with("fd") || path.starts_with("/dev/pts")
            }),
        );
        said
    });
    assert_eq!(report, "");
    drop((rootfs, steps));
    assert_eq!(host.state(), before);
}

#[test]
fn no_device_can_be_opened_but_those_that_were_asked_for() {
    fake_host::run(|host| {
        let image = host.dir("image");
        host.sh(&format!("mknod -m 666 {}/brought c 1 5", image.display()));
        let volume = host.dir("volume");
        host.sh(&format!("mknod -m 666 {}/shared c 1 5", volume.display()));
        let bind = || Mount::bind(&volume, "/volume").attributes(MountAttributes::NODEV);
        let try_all = || {
            // Made by the container's own root, which has CAP_MKNOD: beside the standard ones, and anywhere else.
            let make = |path: &str| {
                let device = nix::sys::stat::makedev(1, 5);
                let (kind, mode) = (
                    nix::sys::stat::SFlag::S_IFCHR,
                    nix::sys::stat::Mode::S_IRWXU,
                );
                nix::sys::stat::mknod(path, kind, mode, device).unwrap();
            };
            make("/dev/made");
            make("/made");
            [
                "/dev/zero",
                "/dev/made",
                "/made",
                "/brought",
                "/volume/shared",
            ]
            .into_iter()
            .filter(|path| fs::File::open(path).is_ok())
            .fold(String::new(), |open, path| open + path + " ")
        };
        let steps = standard(&image).mount(bind()).steps().unwrap();
        assert_eq!(executor::in_child(&steps, try_all), "/dev/zero ");
        let all = standard(&image).all_devices(true).mount(bind());
        let open = executor::in_child(&all.steps().unwrap(), try_all);
        assert_eq!(open, "/dev/zero /dev/made /made /brought ");
    });
}

#[test]
fn a_read_only_file_system_holds_the_mounts_beneath_it() {
    fake_host::run(|host| {
        let rootfs = standard(&host.dir("image"))
            .mount(Mount::filesystem("tmpfs", "/hold").attributes(MountAttributes::RDONLY))
            .mount(Mount::filesystem("tmpfs", "/hold/below"));
        let report = executor::in_child(&rootfs.steps().unwrap(), || {
            let write = |path: &str| fs::write(path, "").map_err(|error| error.kind()).err();
            format!("{:?} {:?}", write("/hold/file"), write("/hold/below/file"))
        });
        assert_eq!(report, "Some(ReadOnlyFilesystem) None");
    });
}

#[test]
fn a_guard_does_nothing_in_another_process() {
    fake_host::run(|host| {
        let (image, merged) = (host.dir("image"), host.dir("merged"));
        let before = host.state();
        let attached = Overlay::new([image])
            .mount()
            .unwrap()
            .attach(&merged)
            .unwrap();
        let report = executor::in_child(&[], move || {
            drop(attached);
            fs::read_to_string("/proc/self/mountinfo").unwrap()
        });
        assert!(
            report.contains(" /run/merged "),
            "the child's copy of the guard unmounted"
        );
        // The parent's own was dropped with the closure.
        assert_eq!(host.state(), before);
    });
}

#[test]
fn a_sysctl_is_the_containers_own_and_written_before_proc_can_not_be() {
    fake_host::run(sysctls_are_its_own);
}

#[test]
fn without_openat2_a_sysctl_is_its_own_too() {
    fake_host::run(|host| executor::without_openat2(libc::ENOSYS, || sysctls_are_its_own(host)));
}

fn sysctls_are_its_own(host: &fake_host::Host) {
    // From a namespace of the test's own to the container's.
    let of_host = || {
        host.sh(
            "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/sem /proc/sys/kernel/domainname",
        )
    };
    let before = of_host();
    let image = host.dir("image");
    let with = |sysctls: &[&str], own| {
        sysctls
            .iter()
            .fold(standard(&image), |rootfs, text| {
                rootfs.sysctl(text.parse().unwrap())
            })
            .own_namespaces(own)
    };
    let all = [
        "net.ipv4.ip_forward=1",
        "kernel.sem=10 320 11 12",
        "kernel/domainname=inside",
        "fs.mqueue.queues_max=7",
    ];
    let steps = with(&all, SysctlNamespaces::all()).steps().unwrap();
    let report = executor::in_child(&steps, || {
        let read = |path: &str| fs::read_to_string(Path::new("/proc/sys").join(path)).unwrap();
        assert!(fs::write("/proc/sys/net/ipv4/ip_forward", "0").is_err());
        [
            "net/ipv4/ip_forward",
            "kernel/sem",
            "kernel/domainname",
            "fs/mqueue/queues_max",
        ]
        .map(read)
        .concat()
    });
    assert_eq!(report, "1\n10\t320\t11\t12\ninside\n7\n");
    assert_eq!(of_host(), before);
    let refused = with(&all, SysctlNamespaces::NET | SysctlNamespaces::IPC).steps();
    let refused = refused.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "sysctl kernel.domainname needs a UTS namespace of the container's own"
    );
    let absent = with(&["net.no.such=1"], SysctlNamespaces::all())
        .steps()
        .unwrap();
    let report = executor::in_child(&absent, String::new);
    assert!(
        report.contains("net.no.such is found") && report.contains("os error 2"),
        "{report}"
    );
    // Nothing of the host's is taken for the container's /proc.
    let root = Overlay::new([&image]).mount().unwrap();
    let sysctl = Sysctl::new("net.ipv4.ip_forward", "1").unwrap();
    let bound = Rootfs::new(root, "/run/t")
        .mount(Mount::bind("/proc", "/proc"))
        .own_namespaces(SysctlNamespaces::all())
        .sysctl(sysctl.clone());
    assert!(matches!(bound.steps(), Err(Error::Destination { .. })));
    // One that is mounted read-only is so when it is written.
    let root = Overlay::new([&image]).mount().unwrap();
    fs::create_dir_all(image.join("proc")).unwrap();
    let closed = Rootfs::new(root, "/run/t")
        .mount(Mount::filesystem("proc", "/proc").attributes(MountAttributes::RDONLY))
        .own_namespaces(SysctlNamespaces::all())
        .sysctl(sysctl);
    let report = executor::in_child(&closed.steps().unwrap(), || {
        assert!(fs::write("/proc/sys/net/ipv4/ip_forward", "0").is_err());
        fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap()
    });
    assert_eq!(report, "1\n");
}

#[test]
fn a_directory_is_made_inside_wherever_links_lead() {
    fake_host::run(directories_are_made_inside);
}

#[test]
fn without_openat2_a_directory_is_made_inside_too() {
    fake_host::run(|host| {
        executor::without_openat2(libc::ENOSYS, || directories_are_made_inside(host))
    });
}

fn directories_are_made_inside(host: &fake_host::Host) {
    let (image, outside) = (host.dir("image"), host.dir("outside"));
    symlink("/run/outside", image.join("srv")).unwrap();
    symlink("../../../../run/outside", image.join("up")).unwrap();
    fs::create_dir_all(image.join("run/outside")).unwrap();
    fs::write(image.join("file"), "").unwrap();
    let at = |path: &str| standard(&image).directory(path).steps().unwrap();
    for path in ["/srv/a/b", "up/a/b", "/", "/dev/shm/a/b"] {
        let report = executor::in_child(&at(path), || {
            format!("{}", Path::new("/").join(path).is_dir())
        });
        assert_eq!(report, "true", "{path}");
    }
    assert!(executor::in_child(&at("/file"), String::new).contains("os error 20"));
    let up = standard(&image).directory("/a/../../b").steps();
    assert!(matches!(up, Err(Error::Destination { .. })));
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn a_tmpfs_has_the_size_owner_and_mode_that_it_is_given() {
    fake_host::run(|host| {
        let image = host.dir("image");
        fs::create_dir(image.join("scratch")).unwrap();
        fs::write(image.join("scratch/of-the-image"), "").unwrap();
        let tmpfs = Mount::filesystem("tmpfs", "/scratch")
            .attributes(MountAttributes::NOSUID | MountAttributes::NODEV | MountAttributes::NOEXEC)
            .option("size", "64m")
            .option("mode", "1777")
            .option("uid", "5")
            .option("gid", "6")
            .option("nr_inodes", "100");
        let steps = standard(&image).mount(tmpfs).steps().unwrap();
        let report = executor::in_child(&steps, || {
            let found = fs::metadata("/scratch").unwrap();
            let room = nix::sys::statvfs::statvfs("/scratch").unwrap();
            let files = fs::read_dir("/scratch").unwrap().count();
            let (mode, bytes) = (found.mode() & 0o7777, room.blocks() * room.fragment_size());
            let inodes = room.files();
            let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
            let line = mounts
                .lines()
                .find(|line| line.contains(" /scratch "))
                .unwrap();
            assert!(line.contains("nosuid,nodev,noexec"), "{line}");
            format!(
                "{mode:o} {} {} {bytes} {inodes} {files}",
                found.uid(),
                found.gid()
            )
        });
        assert_eq!(report, "1777 5 6 67108864 100 0");
        let wrong = Mount::filesystem("tmpfs", "/scratch").option("size", "much");
        let report =
            executor::in_child(&standard(&image).mount(wrong).steps().unwrap(), String::new);
        assert!(report.contains("\"size\", \"much\""), "{report}");
    });
}
