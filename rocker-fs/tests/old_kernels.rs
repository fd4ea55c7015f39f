//! Kernels that lack a call: a filter hides it from the test's thread, so that what there is in its place is really taken.
#![allow(
    clippy::unwrap_used,
    reason = "a failure of what a test prepares is a failure of the test"
)]

#[path = "../../tests/fake_host/mod.rs"]
mod fake_host;
#[expect(unsafe_code, reason = "a seccomp filter has no safe wrapper here")]
mod hide;
mod support;

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use hide::{Hidden, hide};
use rocker_fs::{Error, Overlay, OverlayMount, XattrNamespace};

/// `fsconfig(2)` with `FSCONFIG_SET_STRING`: what overlayfs says of `lowerdir+` from Linux 6.5 to 6.7.
const NO_LOWERDIR_PLUS: Hidden = Hidden {
    call: libc::SYS_fsconfig,
    second: Some(1),
    errno: libc::EINVAL,
};
/// `fsconfig(2)` with `FSCONFIG_CMD_CREATE`: what it says until 6.4, where any text is taken before.
const NO_LAYERS_AT_THE_END: Hidden = Hidden {
    call: libc::SYS_fsconfig,
    second: Some(6),
    errno: libc::EINVAL,
};
const NO_FSOPEN: Hidden = missing(libc::SYS_fsopen);
const NO_FSCONFIG: Hidden = missing(libc::SYS_fsconfig);
const NO_FSMOUNT: Hidden = missing(libc::SYS_fsmount);
const NO_MOUNT_SETATTR: Hidden = missing(libc::SYS_mount_setattr);
const NO_OPEN_TREE: Hidden = missing(libc::SYS_open_tree);
const NO_MOVE_MOUNT: Hidden = missing(libc::SYS_move_mount);

const fn missing(call: libc::c_long) -> Hidden {
    Hidden {
        call,
        second: None,
        errno: libc::ENOSYS,
    }
}

/// What a process sees of a mount that is attached nowhere.
fn inside(mount: &OverlayMount) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", mount.as_fd().as_raw_fd()))
}

/// Layers with a file of their own each, and an upper and a work directory.
fn stack(base: &Path, count: usize) -> Overlay {
    let layers: Vec<_> = (0..count).map(|at| base.join(format!("l{at}"))).collect();
    for (at, layer) in layers.iter().enumerate() {
        fs::create_dir_all(layer).unwrap();
        fs::write(layer.join(format!("f{at}")), "").unwrap();
        fs::write(layer.join("all"), at.to_string()).unwrap();
    }
    for dir in ["upper", "work"] {
        fs::create_dir(base.join(dir)).unwrap();
    }
    Overlay::new(layers).upper(base.join("upper"), base.join("work"))
}

#[test]
fn without_a_call_of_the_new_ones_the_old_one_mounts_the_same() {
    fake_host::run(|host| {
        let masks: [(&str, &[Hidden]); 6] = [
            ("6.7", &[NO_LOWERDIR_PLUS]),
            ("6.4", &[NO_LAYERS_AT_THE_END]),
            ("fsopen", &[NO_FSOPEN]),
            ("fsconfig", &[NO_FSCONFIG]),
            ("fsmount", &[NO_FSMOUNT]),
            ("5.11", &[NO_LAYERS_AT_THE_END, NO_MOUNT_SETATTR]),
        ];
        for (name, masks) in masks {
            for count in [1, 2, 500] {
                let base = host.dir(&format!("{name}-{count}"));
                let overlay = stack(&base, count);
                let before = host.state();
                let mount = hide(masks, || overlay.mount()).unwrap();
                assert_eq!(host.state(), before, "{name}: it is in a mount table");
                let files = fs::read_dir(inside(&mount)).unwrap().count();
                assert_eq!(files, count + 1, "without {name}");
                fs::write(inside(&mount).join("all"), "changed").unwrap();
                let changed = fs::read_to_string(base.join("upper/all")).unwrap();
                assert_eq!(changed, "changed");
            }
        }
    });
}

#[test]
fn what_is_asked_for_beside_layers_is_had_by_the_old_way_too() {
    fake_host::run(|host| {
        for (name, mask) in [("new", None), ("old", Some(NO_LAYERS_AT_THE_END))] {
            let masks: Vec<_> = mask.into_iter().collect();
            let base = host.dir(name);
            let overlay = stack(&base, 3);
            // Read-only, though there is an upper directory.
            let mount = hide(&masks, || overlay.clone().read_only(true).mount()).unwrap();
            let error = fs::write(inside(&mount).join("new"), "").unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EROFS), "{name}");
            drop(mount);
            // Marks that an ordinary user may set.
            let user = overlay.clone().xattr_namespace(XattrNamespace::User);
            let mount = hide(&masks, || user.mount()).unwrap();
            drop(mount.attach("/mnt").unwrap().detach());
            let mounts = host.sh("grep ' /mnt ' /proc/self/mounts; umount /mnt");
            assert!(mounts.contains("userxattr"), "{name}: {mounts}");
        }
    });
}

#[test]
fn changes_are_kept_in_memory_both_ways() {
    fake_host::run(|host| {
        for name in ["fsopen", "mount"] {
            let base = host.dir(name);
            let mut overlay = stack(&base, 3).upper_in_memory(Some(1 << 20));
            if name == "mount" {
                overlay = overlay.by_mount();
            }
            let before = host.state();
            let mount = overlay.mount().unwrap();
            assert_eq!(host.state(), before, "{name}");
            fs::write(inside(&mount).join("all"), "changed").unwrap();
            fs::remove_file(inside(&mount).join("f0")).unwrap();
            let error = fs::write(inside(&mount).join("big"), vec![1; 2 << 20]).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ENOSPC), "{name}");
            drop(mount);
            // Another one begins anew.
            let mount = overlay.mount().unwrap();
            let all = fs::read_to_string(inside(&mount).join("all")).unwrap();
            assert_eq!(all, "2");
            assert!(inside(&mount).join("f0").exists());
            assert_eq!(fs::read_dir(base.join("upper")).unwrap().count(), 0);
        }
    });
}

#[test]
fn a_single_layer_is_read_only_without_mount_setattr_and_keeps_what_its_mount_forbids() {
    fake_host::run(|host| {
        host.sh("mkdir /run/quiet; mount -t tmpfs -o nosuid,nodev,noexec tmpfs /run/quiet; echo content >/run/quiet/file");
        let before = host.state();
        let layer = Overlay::new(["/run/quiet"]);
        let mount = hide(&[NO_MOUNT_SETATTR], || layer.mount()).unwrap();
        assert_eq!(host.state(), before);
        let file = inside(&mount).join("file");
        assert_eq!(fs::read_to_string(&file).unwrap(), "content\n");
        let error = fs::write(file, "").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EROFS));
        fs::write("/run/quiet/file", "writable elsewhere").unwrap();
        let attached = mount.attach("/mnt").unwrap();
        let mounts = host.sh("grep ' /mnt ' /proc/self/mounts");
        assert!(mounts.contains("ro,nosuid,nodev,noexec"), "{mounts}");
        attached.unmount().map_err(|(_, error)| error).unwrap();
        assert_eq!(host.state(), before);
    });
}

#[test]
fn where_no_mount_can_be_held_by_a_descriptor_the_kernel_that_is_needed_is_named() {
    fake_host::run(|host| {
        let overlay = stack(&host.dir("base"), 2);
        let before = host.state();
        let refused = |masks: &[Hidden], overlay: &Overlay| {
            let error = hide(masks, || overlay.mount().map(drop)).unwrap_err();
            assert!(
                matches!(&error, Error::Unsupported { needs, .. } if *needs == "Linux 5.2"),
                "{error:?}"
            );
            assert!(
                !error.is_unfit(),
                "a copy would not help: it is mounted as well"
            );
            assert_eq!(host.state(), before);
        };
        refused(&[NO_FSOPEN, NO_OPEN_TREE], &overlay);
        refused(&[NO_OPEN_TREE], &Overlay::new(["/run/base/l0"]));
        let mount = overlay.mount().unwrap();
        let error = hide(&[NO_MOVE_MOUNT], || mount.attach("/mnt").map(drop)).unwrap_err();
        let text = format!("{error}: {}", std::error::Error::source(&error).unwrap());
        assert!(text.contains("Linux 5.2"), "{text}");
        assert_eq!(host.state(), before);
    });
}
