//! Layers, overlays and root file systems for an ordinary user, who is root of a user namespace.
#![allow(
    clippy::unwrap_used,
    reason = "a failure of what a test prepares is a failure of the test"
)]

#[expect(unsafe_code, reason = "the steps are raw system calls")]
mod executor;
#[path = "../../tests/fake_host/mod.rs"]
mod fake_host;
mod support;
mod users;

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rocker_fs::{
    Device, DeviceKind, Error, Layers, MASKED_PATHS, Mount, MountAttributes, MountKind, Overlay,
    READ_ONLY_PATHS, Rootfs, Sysctl, SysctlNamespaces, UnpackOptions, XattrNamespace,
};
use support::Layer;
use tar::EntryType;

const CAPABILITY: &[u8] =
    b"\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
/// Of the root of user namespace 5, which is nobody in both maps' namespaces.
const OF_NOBODY: &[u8] =
    b"\x01\x00\x00\x03\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\x7f";

/// All that a user namespace has trouble with.
fn layer() -> Vec<u8> {
    let owned = |kind, mode, uid, gid| {
        let mut header = Layer::header(kind, mode, 0);
        header.set_uid(uid);
        header.set_gid(gid);
        header
    };
    let mut link = owned(EntryType::Symlink, 0o777, 33, 33);
    link.set_link_name_literal("other").unwrap();
    let mut null = Layer::header(EntryType::Char, 0o666, 0);
    null.set_device_major(1).unwrap();
    null.set_device_minor(3).unwrap();
    let mut disk = Layer::header(EntryType::Block, 0o660, 0);
    disk.set_device_major(7).unwrap();
    Layer::default()
        .dir("./", 0o755)
        .raw(b"shared/", owned(EntryType::Directory, 0o2775, 0, 50), b"")
        .file("shared/file", "")
        .raw(b"su", owned(EntryType::Regular, 0o4755, 0, 0), b"")
        .raw(b"mail", owned(EntryType::Regular, 0o2755, 0, 8), b"")
        .raw(b"other", owned(EntryType::Regular, 0o6755, 33, 33), b"")
        .raw(b"far", owned(EntryType::Regular, 0o4755, 200_000, 0), b"")
        .raw(b"link", link, b"")
        .hard_link("second", "other")
        .raw(b"fifo", owned(EntryType::Fifo, 0o620, 0, 0), b"")
        .pax(&[("SCHILY.xattr.security.capability", CAPABILITY)])
        .file("ping", "")
        .pax(&[("SCHILY.xattr.security.capability", OF_NOBODY)])
        .file("pong", "")
        .pax(&[
            ("SCHILY.xattr.trusted.note", b"x"),
            ("SCHILY.xattr.security.selinux", b"y"),
        ])
        .file("labelled", "")
        .pax(&[("SCHILY.xattr.user.note", b"z")])
        .file("noted", "")
        .raw(b"null", null.clone(), b"")
        .raw(b"disk", disk, b"")
        .dir("hidden", 0o755)
        .raw(b"hidden", null, b"")
        .hard_link("null2", "null")
        .file(".wh.gone", "")
        .file("emptied/.wh..wh..opq", "")
        .file("emptied/new", "")
        .end()
}

#[test]
fn an_ordinary_users_layers_are_whole_but_for_what_the_kernel_denies_and_that_is_counted() {
    fake_host::run(|host| {
        users::as_ordinary(|map, dir| {
            let layers = Layers::open(dir.join("layers")).unwrap();
            let below = Layer::default()
                .file("gone", "")
                .file("null", "a file of the layer below")
                .file("emptied/old", "")
                .dir("hidden", 0o755)
                .file("hidden/old", "")
                .end();
            let options = UnpackOptions::user_namespace();
            layers.unpack("a0", below.as_slice(), &options).unwrap();
            let done = layers.unpack("b0", layer().as_slice(), &options).unwrap();
            let one = map == users::ONE;
            // shared, mail, other, far, link; with IDs up to 65535 only far.
            assert_eq!(done.unmapped, if one { 5 } else { 1 });
            assert_eq!((done.devices_left_out, done.attributes_left_out), (3, 3));
            assert_eq!(done.whiteouts, 2);
            for name in ["upper", "work"] {
                fs::create_dir(dir.join(name)).unwrap();
            }
            let before = host.sh("cat /proc/self/mounts");
            for by in [|overlay| overlay, Overlay::by_mount] {
                let overlay = Overlay::new([layers.path("a0"), layers.path("b0")])
                    .upper(dir.join("upper"), dir.join("work"))
                    .xattr_namespace(XattrNamespace::User);
                let mount = by(overlay).mount().unwrap();
                let inside = at(&mount);
                look(&inside, one);
                // What the container deletes and makes goes up in the same form.
                fs::write(inside.join("made"), "").unwrap();
                fs::remove_file(inside.join("noted")).unwrap();
                let moved = fs::rename(inside.join("emptied"), inside.join("moved"));
                assert_eq!(moved.unwrap_err().raw_os_error(), Some(libc::EXDEV));
                assert_eq!(fs::metadata(dir.join("upper/made")).unwrap().uid(), 0);
                let whiteout = fs::symlink_metadata(dir.join("upper/noted")).unwrap();
                assert!(whiteout.file_type().is_char_device() && whiteout.rdev() == 0);
                drop(mount);
                fs::remove_file(dir.join("upper/noted")).unwrap();
            }
            assert_eq!(host.sh("cat /proc/self/mounts"), before);
            layers.remove("a0").unwrap();
            layers.remove("b0").unwrap();
            assert!(layers.names().unwrap().is_empty());
        });
    });
}

/// Where everybody finds a mount that is attached to nothing.
fn at(mount: &impl AsFd) -> PathBuf {
    let (pid, number) = (std::process::id(), mount.as_fd().as_raw_fd());
    PathBuf::from(format!("/proc/{pid}/fd/{number}"))
}

fn look(inside: &Path, one: bool) {
    let of = |name: &str| {
        let found = fs::symlink_metadata(inside.join(name)).unwrap();
        (found.uid(), found.gid(), found.mode() & 0o7777)
    };
    let either = |full, alone| if one { alone } else { full };
    assert_eq!(of("su"), (0, 0, 0o4755));
    assert_eq!(of("mail"), either((0, 8, 0o2755), (0, 0, 0o755)));
    assert_eq!(of("other"), either((33, 33, 0o6755), (0, 0, 0o755)));
    assert_eq!(of("far"), (0, 0, 0o755));
    assert_eq!(of("shared"), either((0, 50, 0o2775), (0, 0, 0o2775)));
    assert_eq!(of("shared/file"), (0, 0, 0o644));
    assert_eq!(of("fifo"), (0, 0, 0o620));
    let file = |name: &str| fs::symlink_metadata(inside.join(name)).unwrap();
    assert!(file("fifo").file_type().is_fifo());
    assert_eq!(file("second").ino(), file("other").ino());
    assert_eq!(
        fs::read_link(inside.join("link")).unwrap(),
        Path::new("other")
    );
    for absent in ["null", "null2", "disk", "hidden", "gone", "emptied/old"] {
        assert!(
            fs::symlink_metadata(inside.join(absent)).is_err(),
            "{absent}"
        );
    }
    assert!(inside.join("emptied/new").exists());
    let attribute = |name: &str, key| executor::attribute(&inside.join(name), key);
    // To the namespace the capability looks as it did in the layer; on the disk it counts in there alone.
    let capability = c"security.capability";
    assert_eq!(attribute("ping", capability).as_deref(), Some(CAPABILITY));
    assert_eq!(attribute("pong", capability), None);
    assert_eq!(attribute("labelled", c"trusted.note"), None);
    assert_eq!(attribute("labelled", c"security.selinux"), None);
    assert_eq!(attribute("noted", c"user.note").as_deref(), Some(&b"z"[..]));
}

/// What a container has, as far as IDs go: group 5 is in one of the maps only.
fn mounts(one: bool) -> Vec<Mount> {
    let mut mounts = Rootfs::standard_mounts();
    for mount in &mut mounts {
        if let MountKind::Filesystem { fstype, options } = &mut mount.kind
            && fstype == "devpts"
            && one
        {
            options.retain(|(key, _)| key != "gid");
        }
    }
    mounts.extend(cgroups());
    mounts
}

/// This host's cgroup file systems, as a container sees them.
fn cgroups() -> Vec<Mount> {
    const SAFE: MountAttributes = MountAttributes::NOSUID
        .union(MountAttributes::NODEV)
        .union(MountAttributes::NOEXEC)
        .union(MountAttributes::RDONLY);
    let table = fs::read_to_string("/proc/self/mounts").unwrap();
    let beneath = |line: &str| {
        let fields: Vec<_> = line.split(' ').collect();
        let (at, fstype) = (fields[1], fields[2]);
        if !at.starts_with("/sys/fs/cgroup") || fields[0] == "sysfs" {
            return None;
        }
        let mount = Mount::filesystem(fstype, at).attributes(SAFE);
        let general = [
            "rw", "ro", "nosuid", "nodev", "noexec", "relatime", "inode64",
        ];
        let options = fields[3]
            .split(',')
            .filter(|option| !general.contains(option));
        Some(
            options.fold(mount, |mount, option| match option.split_once('=') {
                Some((key, value)) => mount.option(key, value),
                None => mount.flag(option),
            }),
        )
    };
    table.lines().filter_map(beneath).collect()
}

/// A root file system over `root` with all the defaults of a container, and the host's devices.
fn container(root: impl Into<std::os::fd::OwnedFd>, target: &Path, one: bool) -> Rootfs {
    let rootfs = Rootfs::new(root, target)
        .mounts(mounts(one))
        .host_devices(true)
        .read_only(true);
    let rootfs = Device::standard().into_iter().fold(rootfs, Rootfs::device);
    let rootfs = MASKED_PATHS
        .iter()
        .fold(rootfs, |rootfs, path| rootfs.mask(*path));
    let paths = READ_ONLY_PATHS.iter();
    paths.fold(rootfs, |rootfs, path| rootfs.read_only_path(*path))
}

/// What is wrong with the container that this process is in.
fn wrong() -> String {
    let mut said = String::new();
    let mut check = |what: &str, holds: bool| {
        if !holds {
            said.push_str(&format!("{what}\n"));
        }
    };
    let standard = [
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("tty", 5, 0),
    ];
    for (name, major, minor) in standard {
        let found = fs::metadata(Path::new("/dev").join(name)).unwrap();
        check(name, found.rdev() == libc::makedev(major, minor));
    }
    check("null can be written", fs::write("/dev/null", "x").is_ok());
    let zero = fs::File::open("/dev/zero").and_then(|mut zero| {
        let mut byte = [1; 1];
        std::io::Read::read_exact(&mut zero, &mut byte).map(|()| byte[0])
    });
    check("zero can be read", zero.is_ok_and(|byte| byte == 0));
    check("a device's node is no program", {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let line = mounts.lines().find(|line| line.contains(" /dev/null "));
        line.is_some_and(|line| {
            line.contains("nosuid") && line.contains("noexec") && !line.contains("shared:")
        })
    });
    check(
        "own /proc",
        fs::read_link("/proc/self").is_ok_and(|pid| pid == Path::new("1")),
    );
    check(
        "own /sys",
        fs::read_dir("/sys/class/net").is_ok_and(|links| links.count() == 1),
    );
    check("/sys is read-only", fs::write("/sys/kernel/x", "").is_err());
    let cgroups = fs::read_to_string("/proc/self/cgroup").unwrap();
    for line in cgroups.lines() {
        check(line, line.ends_with(":/"));
    }
    let v2 = Path::new("/sys/fs/cgroup/cgroup.procs").exists();
    check(
        "cgroups",
        v2 || Path::new("/sys/fs/cgroup/memory/tasks").exists(),
    );
    check("shm", fs::write("/dev/shm/x", "").is_ok());
    check("mqueue", fs::write("/dev/mqueue/x", "").is_ok());
    let terminal = fs::File::open("/dev/ptmx");
    check("pts", terminal.is_ok() && Path::new("/dev/pts/0").exists());
    check(
        "keys are masked",
        fs::read("/proc/keys").is_ok_and(|keys| keys.is_empty()),
    );
    check(
        "sysctl",
        fs::write("/proc/sys/kernel/domainname", "x").is_err(),
    );
    check("root is read-only", fs::write("/x", "").is_err());
    check("no device can be made", {
        let (kind, mode) = (
            nix::sys::stat::SFlag::S_IFCHR,
            nix::sys::stat::Mode::S_IRWXU,
        );
        nix::sys::stat::mknod("/dev/made", kind, mode, libc::makedev(1, 3)).is_err()
    });
    said
}

/// One of each namespace that a user namespace's root may change.
const SYSCTLS: [(&str, &str); 4] = [
    ("net.ipv4.ip_forward", "1"),
    ("net/ipv4/conf/default/forwarding", "1"),
    ("kernel.msgmax", "1234"),
    ("fs.mqueue.msg_max", "9"),
];

fn check_sysctls() {
    for (name, value) in SYSCTLS {
        let sysctl = Sysctl::new(name, value).unwrap();
        let path = format!("/proc/sys/{}", sysctl.name().replace('.', "/"));
        assert_eq!(fs::read_to_string(path).unwrap().trim(), value, "{name}");
    }
}

#[test]
fn an_ordinary_users_container_has_all_that_one_of_roots_has() {
    fake_host::run(|_| {
        users::as_ordinary(|map, dir| {
            let one = map == users::ONE;
            for name in ["image/etc", "upper", "work", "t"] {
                fs::create_dir_all(dir.join(name)).unwrap();
            }
            fs::write(dir.join("image/etc/hosts"), "").unwrap();
            fs::write(dir.join("hosts"), "of the host").unwrap();
            let overlay = Overlay::new([dir.join("image")]).xattr_namespace(XattrNamespace::User);
            let overlay = overlay.upper(dir.join("upper"), dir.join("work"));
            let rootfs = container(overlay.mount().unwrap(), &dir.join("t"), one);
            let rootfs = rootfs
                .mount(Mount::bind(dir.join("hosts"), "/etc/hosts"))
                .mount(
                    Mount::filesystem("tmpfs", "/tmp")
                        .attributes(MountAttributes::NOSUID | MountAttributes::NODEV)
                        .option("size", "1m")
                        .option("mode", "1777"),
                );
            let rootfs = rootfs.directory("/srv/work");
            let rootfs = SYSCTLS.iter().fold(rootfs, |rootfs, (name, value)| {
                rootfs.sysctl(Sysctl::new(name, value).unwrap())
            });
            let rootfs = rootfs.own_namespaces(SysctlNamespaces::all());
            let report = executor::in_child(&rootfs.steps().unwrap(), || {
                check_sysctls();
                assert_eq!(fs::metadata("/srv/work").unwrap().uid(), 0);
                assert_eq!(fs::read_to_string("/etc/hosts").unwrap(), "of the host");
                fs::write("/tmp/x", "").unwrap();
                wrong()
            });
            assert_eq!(report, "");
        });
    });
}

#[test]
fn a_container_in_a_user_namespace_of_roots_has_all_that_one_without_has() {
    fake_host::run(|host| {
        let userns = users::namespace("0 100000 65536");
        // The tmpfs of a fake host takes maps from Linux 6.3.
        let disk =
            std::env::var_os("ROCKER_TEST_DISK").map(|disk| tempfile::tempdir_in(disk).unwrap());
        let base = disk.map_or_else(|| host.dir("base"), |dir| dir.keep());
        for name in ["image/etc", "c/upper", "c/work", "t"] {
            fs::create_dir_all(base.join(name)).unwrap();
        }
        let before = host.state();
        let overlay = Overlay::new([base.join("image")]);
        let overlay = overlay.upper(base.join("c/upper"), base.join("c/work"));
        let overlay = overlay.id_map(userns.try_clone().unwrap());
        let rootfs = container(overlay.mount().unwrap(), &base.join("t"), false);
        let steps = rootfs.steps().unwrap();
        assert_eq!(
            executor::in_child_of(Some(userns.as_fd()), &steps, wrong),
            ""
        );
        drop((rootfs, steps));
        assert_eq!(host.state(), before);
    });
}

#[test]
fn a_device_of_the_hosts_is_what_it_is_taken_for_or_refused() {
    fake_host::run(|host| {
        let dir = host.dir("dev");
        host.sh("cd /run/dev && mknod disk b 7 300 && chown 3:4 disk && chmod 640 disk && mknod real c 1 5 && ln -s real link && mkfifo pipe && : >file");
        let disk = Device::of_host(dir.join("disk"), "/dev/xvda").unwrap();
        assert_eq!(
            (disk.kind, disk.major, disk.minor),
            (DeviceKind::Block, 7, 300)
        );
        assert_eq!((disk.mode, disk.uid, disk.gid), (0o640, 3, 4));
        assert_eq!(
            (disk.path.to_str(), &disk.source),
            (Some("/dev/xvda"), &dir.join("disk"))
        );
        assert_eq!(disk.read_only().mode, 0o440);
        assert_eq!(
            Device::of_host(dir.join("link"), "/dev/z").unwrap().minor,
            5
        );
        for none in ["pipe", "file", "."] {
            let refused = Device::of_host(dir.join(none), "/dev/x").unwrap_err();
            assert!(
                matches!(refused, Error::NotADevice { .. }),
                "{none}: {refused}"
            );
        }
        let refused = Device::of_host(dir.join("absent"), "/dev/x").unwrap_err();
        assert!(matches!(refused, Error::HostDevice { .. }), "{refused}");
        // Between the look and the mount somebody puts another device there: the memory of the machine, say.
        let taken = Device::of_host(dir.join("real"), "/dev/zero").unwrap();
        host.sh("cd /run/dev && rm real && mknod real c 1 1");
        let rootfs = || {
            let root = Overlay::new([&dir]).mount().unwrap();
            Rootfs::new(root, "/run/t")
                .mounts(Rootfs::standard_mounts())
                .host_devices(true)
        };
        let refused = rootfs().device(taken).steps().unwrap_err();
        assert_eq!(
            refused.to_string(),
            "/run/dev/real is not the character device 1:5"
        );
    });
}

#[test]
fn a_read_only_device_has_no_permission_to_write_and_keeps_it_so() {
    fake_host::run(|host| {
        let image = host.dir("image");
        fs::create_dir_all("/run/t").unwrap();
        for of_host in [false, true] {
            let image = Overlay::new([&image]).upper(host.dir("upper"), host.dir("work"));
            let device = Device::of_host("/dev/zero", "/dev/sub/zero")
                .unwrap()
                .read_only();
            let rootfs = Rootfs::new(image.mount().unwrap(), "/run/t")
                .mounts(Rootfs::standard_mounts())
                .host_devices(of_host)
                .device(device);
            let report = executor::in_child(&rootfs.steps().unwrap(), || {
                let mode = fs::metadata("/dev/sub/zero").unwrap().mode() & 0o777;
                let loose = std::os::unix::fs::PermissionsExt::from_mode(0o666);
                let changed = fs::set_permissions("/dev/sub/zero", loose);
                let read = fs::File::open("/dev/sub/zero").is_ok();
                format!(
                    "{mode:o} {read} {:?}",
                    changed.map_err(|error| error.kind())
                )
            });
            let mode = if of_host { "666" } else { "444" };
            assert_eq!(report, format!("{mode} true Err(ReadOnlyFilesystem)"));
        }
    });
}

#[test]
fn what_the_kernel_shows_nobody_else_is_refused_in_a_user_namespace_by_name() {
    fake_host::run(|host| {
        let userns = users::namespace("0 100000 65536");
        let root = host.dir("image");
        let target = host.dir("t");
        let try_all = |mount: Mount, apart| {
            let overlay = Overlay::new([&root]).mount().unwrap();
            let steps = Rootfs::new(overlay, &target).mount(mount).steps().unwrap();
            executor::in_child_apart(Some(userns.as_fd()), apart, &steps, || {
                let write = fs::write("/sys/kernel/x", "").unwrap_err();
                format!("{} {}", Path::new("/sys/class").exists(), write.kind())
            })
        };
        host.sh("mkdir -p /run/image/proc /run/image/sys /run/image/dev/pts");
        // The network's devices are in /sys: who has no network of its own sees the host's.
        let with_network = executor::APART & !libc::CLONE_NEWNET;
        let refused = try_all(Mount::filesystem("sysfs", "/sys"), with_network);
        assert!(refused.starts_with("fsopen(\"sysfs\""), "{refused}");
        assert!(refused.contains("os error 1"), "{refused}");
        let bound = Mount::bind("/sys", "/sys").attributes(MountAttributes::RDONLY);
        assert_eq!(
            try_all(bound, with_network),
            "true read-only filesystem or storage medium"
        );
        // A /proc of which something is hidden on this host is not to be had whole in a namespace.
        host.sh("mount -t tmpfs tmpfs /proc/bus");
        let refused = try_all(Mount::filesystem("proc", "/proc"), executor::APART);
        assert!(refused.starts_with("fsmount("), "{refused}");
        assert!(refused.contains("os error 1"), "{refused}");
        // A group that is not mapped.
        let gid = Mount::filesystem("devpts", "/dev/pts")
            .flag("newinstance")
            .option("gid", "70000");
        let refused = try_all(gid, executor::APART);
        assert!(
            refused.contains("devpts") && refused.contains("os error 22"),
            "{refused}"
        );
    });
}
