//! What has gone wrong in other engines does not here: tests named after the records of it.
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
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rocker_fs::{Error, Mount, Overlay, Rootfs, Sysctl, SysctlNamespaces, read_beneath};
use support::standard;

/// Does `work` while somebody exchanges two names in a directory without a pause.
fn against_a_racer<T>(dir: &Path, one: &str, other: &str, work: impl FnOnce() -> T) -> T {
    /// Ends the race also where the work panics.
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| {
            let flags = nix::fcntl::RenameFlags::RENAME_EXCHANGE;
            let dir = fs::File::open(dir).unwrap();
            while !stop.load(Ordering::Relaxed) {
                nix::fcntl::renameat2(&dir, one, &dir, other, flags).unwrap();
            }
        });
        work()
    })
}

/// All that is in a directory of the host's, with what changes when something is done to it.
fn all_in(host: &fake_host::Host, dir: &Path) -> String {
    host.sh(&format!(
        "find {} -printf '%p %y %m %U %n %s %T@ %C@\\n' | sort",
        dir.display()
    ))
}

#[test]
fn cve_2026_41579_and_2019_16884_links_of_a_hostile_image_lead_nowhere() {
    fake_host::run(|host| links_lead_nowhere(host, false));
}

#[test]
fn cve_2026_41579_and_2019_16884_without_openat2_links_lead_nowhere_either() {
    fake_host::run(|host| {
        executor::without_openat2(libc::ENOSYS, || links_lead_nowhere(host, true))
    });
}

fn links_lead_nowhere(host: &fake_host::Host, by_words: bool) {
    let outside = host.dir("outside");
    fs::create_dir(outside.join("dir")).unwrap();
    let list = || {
        host.sh("find /run/outside /dev -xdev -printf '%p %y %m %i %T@\\n' | sort; cat /proc/self/mounts")
    };
    for (index, name) in ["dev", "proc", "sys", "etc", "dev/pts"]
        .into_iter()
        .enumerate()
    {
        for target in [
            "/run/outside",
            "../../../../run/outside",
            "../run/outside",
            "/dev/fd/0/../..",
            "inside",
        ] {
            let image = host.dir(&format!("image{index}-{}", target.len()));
            fs::create_dir_all(image.join(name).parent().unwrap()).unwrap();
            fs::create_dir(image.join("inside")).unwrap();
            symlink(target, image.join(name)).unwrap();
            let before = list();
            let rootfs = standard(&image).mount(Mount::bind("/proc/version", "/etc/hostname"));
            let steps = rootfs.steps().unwrap();
            let report = executor::in_child(&steps, || "entered".to_owned());
            // Only beneath the container's own /dev the image has no say.
            // Nor is anything wrong with other links to places inside.
            // By its words, a way through a magic link and back is one to where it began.
            let expected = if name == "dev/pts"
                || (name, target) == ("etc", "inside")
                || (by_words && (name, target) == ("etc", "/dev/fd/0/../.."))
            {
                "entered"
            } else {
                "openat" // Or openat2.
            };
            assert!(report.starts_with(expected), "{name} -> {target}: {report}");
            drop((rootfs, steps));
            assert_eq!(list(), before, "{name} -> {target}");
            fs::remove_dir_all(&image).unwrap();
        }
    }
}

#[test]
fn cve_2026_41579_devices_are_made_in_the_new_dev_even_when_a_link_puts_a_volume_over_it() {
    fake_host::run(|host| {
        let (image, volume) = (host.dir("image"), host.dir("volume"));
        symlink("/dev", image.join("data")).unwrap();
        let steps = standard(&image)
            .mount(Mount::bind(&volume, "/data"))
            .steps()
            .unwrap();
        assert_eq!(executor::in_child(&steps, String::new), "");
        assert_eq!(
            fs::read_dir(&volume).unwrap().count(),
            0,
            "devices were made in the host's directory"
        );
    });
}

#[test]
fn cve_2021_30465_a_racer_on_a_shared_volume_redirects_no_mount() {
    fake_host::run(no_mount_is_redirected);
}

#[test]
fn cve_2021_30465_without_openat2_no_mount_is_redirected_either() {
    fake_host::run(|host| executor::without_openat2(libc::ENOSYS, || no_mount_is_redirected(host)));
}

fn no_mount_is_redirected(host: &fake_host::Host) {
    let (image, shared, outside) = (host.dir("image"), host.dir("shared"), host.dir("outside"));
    fs::create_dir(shared.join("sub")).unwrap();
    symlink("/run/outside", shared.join("other")).unwrap();
    fs::create_dir_all("/run/t").unwrap();
    let entered = against_a_racer(&shared, "sub", "other", || {
        let mut entered = 0;
        for _ in 0..150 {
            let root = Overlay::new([image.as_path(), outside.as_path()])
                .mount()
                .unwrap();
            fs::create_dir_all(image.join("volume")).unwrap();
            let steps = Rootfs::new(root, "/run/t")
                .mount(Mount::bind(&shared, "/volume"))
                .mount(Mount::filesystem("tmpfs", "/volume/sub/deep"))
                .steps()
                .unwrap();
            let report = executor::in_child(&steps, || {
                fs::read_to_string("/volume/sub/deep/x").map_or("entered".into(), |_| "host".into())
            });
            assert_ne!(report, "host");
            entered += usize::from(report == "entered");
        }
        entered
    });
    assert_eq!(
        fs::read_dir(&outside).unwrap().count(),
        0,
        "something was made outside"
    );
    assert!(entered > 0, "the racer always won, so nothing was tried");
}

#[test]
fn cve_2024_45310_a_racer_on_a_shared_volume_has_nothing_made_on_the_host() {
    fake_host::run(nothing_is_made_on_the_host);
}

#[test]
fn cve_2024_45310_without_openat2_nothing_is_made_on_the_host_either() {
    fake_host::run(|host| {
        executor::without_openat2(libc::ENOSYS, || nothing_is_made_on_the_host(host))
    });
}

fn nothing_is_made_on_the_host(host: &fake_host::Host) {
    let (image, shared, outside) = (host.dir("image"), host.dir("shared"), host.dir("outside"));
    fs::create_dir(outside.join("kept")).unwrap();
    let before = all_in(host, &outside);
    for (index, link) in ["/run/outside", "../../../../run/outside"]
        .into_iter()
        .enumerate()
    {
        let volume = shared.join(index.to_string());
        fs::create_dir_all(volume.join("sub")).unwrap();
        symlink(link, volume.join("other")).unwrap();
        let mut entered = 0;
        let reports = against_a_racer(&volume, "sub", "other", || {
            (0..100)
                .map(|turn| {
                    let steps = standard(&image)
                        .mount(Mount::bind(&volume, "/volume"))
                        .mount(Mount::filesystem(
                            "tmpfs",
                            format!("/volume/sub/{turn}/dir"),
                        ))
                        .mount(Mount::bind(
                            "/proc/version",
                            format!("/volume/sub/{turn}/file"),
                        ))
                        .directory(format!("/volume/sub/{turn}/work/below"))
                        .steps()
                        .unwrap();
                    executor::in_child(&steps, || "entered".into())
                })
                .collect::<Vec<_>>()
        });
        entered += reports.iter().filter(|report| *report == "entered").count();
        assert!(
            entered > 0,
            "the racer always won, so nothing was tried: {reports:?}"
        );
        assert_eq!(all_in(host, &outside), before);
    }
}

#[test]
fn cve_2025_31133_files_are_masked_by_the_null_device_whoever_exchanges_it() {
    fake_host::run(|host| {
        let (image, shared) = (host.dir("image"), host.dir("dev"));
        fs::create_dir(image.join("etc")).unwrap();
        fs::write(image.join("etc/secret"), "secret").unwrap();
        fs::write(image.join("etc/exposed"), "exposed").unwrap();
        // Two that are not the null device, in a volume that another container has too.
        fs::write(shared.join("null"), "a file").unwrap();
        symlink("/etc/exposed", shared.join("link")).unwrap();
        against_a_racer(&shared, "null", "link", || {
            for _ in 0..100 {
                let root = Overlay::new([&image]).upper(host.dir("upper"), host.dir("work"));
                let steps = Rootfs::new(root.mount().unwrap(), host.dir("t"))
                    .mount(Mount::bind(&shared, "/dev"))
                    .mask("/etc/secret")
                    .steps()
                    .unwrap();
                let report = executor::in_child(&steps, || {
                    let found = fs::metadata("/etc/secret").unwrap();
                    let null =
                        found.file_type().is_char_device() && found.rdev() == libc::makedev(1, 3);
                    format!("{null} {:?}", fs::read_to_string("/etc/secret"))
                });
                assert_eq!(report, "true Ok(\"\")");
            }
        });
    });
}

#[test]
fn cve_2025_52881_a_sysctl_is_written_to_the_real_proc_whatever_lies_over_it() {
    fake_host::run(|host| {
        let (image, fake) = (host.dir("image"), host.dir("fake"));
        fs::create_dir_all(fake.join("sys/net/ipv4")).unwrap();
        fs::write(fake.join("sys/net/ipv4/ip_forward"), "0\n").unwrap();
        symlink("/run/fake", image.join("elsewhere")).unwrap();
        let before = all_in(host, &fake);
        let sysctl = || Sysctl::new("net.ipv4.ip_forward", "1").unwrap();
        for over in ["/proc", "/proc/sys", "/proc/sys/net"] {
            let source = fake.join(over.trim_start_matches("/proc").trim_start_matches('/'));
            let steps = standard(&image)
                .mount(Mount::bind(source, over))
                .sysctl(sysctl())
                .own_namespaces(SysctlNamespaces::all())
                .steps()
                .unwrap();
            let report = executor::in_child(&steps, || {
                let seen = fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
                fs::create_dir("/real").unwrap();
                let (real, flags) = (Some("proc"), nix::mount::MsFlags::empty());
                nix::mount::mount(real, "/real", real, flags, None::<&str>).unwrap();
                let real = fs::read_to_string("/real/sys/net/ipv4/ip_forward").unwrap();
                format!("{seen}{real}")
            });
            assert_eq!(report, "0\n1\n", "{over}");
        }
        assert_eq!(all_in(host, &fake), before);
    });
}

#[test]
fn cve_2024_9676_accounts_are_read_from_a_regular_file_inside_or_not_at_all() {
    fake_host::run(|host| {
        let (root, outside) = (host.dir("root"), host.dir("outside"));
        fs::write(outside.join("passwd"), "of the host").unwrap();
        host.sh("mkdir /run/root/dev && mknod -m 666 /run/root/dev/zero c 1 5 && mkfifo /run/root/fifo && truncate -s 10G /run/root/sparse");
        let link = |target: &str, name: &str| symlink(target, root.join(name)).unwrap();
        link("/run/outside/passwd", "absolute");
        link("../../../../run/outside/passwd", "up");
        link("/proc/self/root/run/outside/passwd", "magic");
        link("/dev/zero", "endless");
        link("loop", "loop");
        link("fifo", "to-fifo");
        let open = fs::File::open(&root).unwrap();
        let read = |path: &str| read_beneath(open.as_fd(), path, 8 << 20);
        for outside in ["absolute", "up", "magic"] {
            assert_eq!(read(outside).unwrap(), None, "{outside}");
        }
        for irregular in ["endless", "fifo", "to-fifo", "dev", "dev/zero"] {
            let refused = read(irregular).unwrap_err();
            assert!(
                matches!(refused, Error::NotRegular { .. }),
                "{irregular}: {refused}"
            );
        }
        let refused = read("sparse").unwrap_err();
        assert!(
            matches!(
                refused,
                Error::FileTooLarge {
                    limit: 0x80_0000,
                    ..
                }
            ),
            "{refused}"
        );
        assert!(matches!(read("loop").unwrap_err(), Error::Resolve { .. }));
        // Held by a lease, which its owner has 45 s to give back.
        fs::write(root.join("leased"), "").unwrap();
        let leased = fs::File::options()
            .write(true)
            .open(root.join("leased"))
            .unwrap();
        executor::lease(&leased);
        let started = std::time::Instant::now();
        let refused = read("leased").unwrap_err();
        assert!(started.elapsed().as_secs() < 10, "{refused}");
        assert_eq!(refused.to_string(), "open \"leased\" beneath the root");
    });
}
