//! How long overlays and layers take, beside mount(2) called as it is and the program mount(8). Needs root:
//!
//!     cargo bench --no-run
//!     sudo -E tests/fake_host/enter.sh bench cargo bench --offline --bench overlay
//!
//! What mounts in the mount table does so in a mount namespace of the benchmark's own.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use divan::Bencher;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use rocker_fs::{Layers, Overlay, UnpackOptions};
use tempfile::TempDir;

const COUNTS: [usize; 4] = [1, 10, 100, 500];
/// There is nothing where mount(2) wants none.
const NOTHING: Option<&str> = None;

fn main() {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_FS).expect("root");
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(NOTHING, "/", NOTHING, private, NOTHING).expect("mounts that spread nowhere");
    divan::main();
}

/// On a tmpfs: what is measured are system calls, and an upper directory cannot lie on overlayfs.
fn place() -> TempDir {
    TempDir::new_in("/dev/shm").expect("/dev/shm is writable")
}

fn stack(place: &TempDir, count: usize) -> Overlay {
    let dir = |name: String| -> PathBuf {
        let path = place.path().join(name);
        fs::create_dir(&path).expect("a new directory");
        path
    };
    dir("merged".into());
    let lower: Vec<_> = (0..count).map(|index| dir(format!("l{index}"))).collect();
    Overlay::new(lower).upper(dir("upper".into()), dir("work".into()))
}

/// The same in the words of mount(2), relative to the place: 500 absolute paths would exceed its page.
fn options(count: usize) -> String {
    let names: Vec<_> = (0..count).rev().map(|index| format!("l{index}")).collect();
    let lower = names.join(":");
    format!("lowerdir={lower},upperdir=upper,workdir=work")
}

/// Mounted, and in no mount table: what a container needs.
#[divan::bench(args = COUNTS)]
fn mount_and_drop(bencher: Bencher<'_, '_>, layers: usize) {
    let place = place();
    let overlay = stack(&place, layers);
    bencher.bench_local(|| overlay.mount().expect("an overlay"));
}

#[divan::bench(args = COUNTS)]
fn mount_and_drop_before_linux_6_8(bencher: Bencher<'_, '_>, layers: usize) {
    let place = place();
    let overlay = stack(&place, layers).by_mount();
    bencher.bench_local(|| overlay.mount().expect("an overlay"));
}

/// Mounted at a directory, and unmounted there, as the next two do it.
#[divan::bench(args = COUNTS)]
fn mount_attach_and_unmount(bencher: Bencher<'_, '_>, layers: usize) {
    let place = place();
    let overlay = stack(&place, layers);
    let target = place.path().join("merged");
    bencher.bench_local(|| {
        let mount = overlay.mount().expect("an overlay");
        let attached = mount.attach(&target).expect("a mount point");
        attached
            .unmount()
            .map_err(|(_, error)| error)
            .expect("nothing is open");
    });
}

/// Two system calls with all that is to be said prepared beforehand: nothing is checked, and no error is explained.
#[expect(
    clippy::disallowed_methods,
    reason = "this process is the benchmark's own, and mount(2) has no other way for 500 layers"
)]
#[divan::bench(args = COUNTS)]
fn bare_mount_2_and_umount_2(bencher: Bencher<'_, '_>, layers: usize) {
    let place = place();
    stack(&place, layers);
    let options = options(layers);
    nix::unistd::chdir(place.path()).expect("the place is there");
    bencher.bench_local(|| {
        let (none, overlay) = (MsFlags::empty(), Some("overlay"));
        mount(overlay, "merged", overlay, none, Some(options.as_str())).expect("an overlay");
        umount2("merged", MntFlags::empty()).expect("nothing is open");
    });
    nix::unistd::chdir("/").expect("/ is there");
}

/// As a person does it.
#[divan::bench(args = COUNTS, sample_count = 50, sample_size = 1)]
fn programs_mount_8_and_umount_8(bencher: Bencher<'_, '_>, layers: usize) {
    let place = place();
    stack(&place, layers);
    let options = options(layers);
    let run = |program: &str, args: &[&str]| {
        let mut command = Command::new(program);
        let status = command.args(args).current_dir(place.path()).status();
        assert!(status.expect("util-linux is there").success());
    };
    let merged = place.path().join("merged");
    let merged = merged.to_str().expect("a name of letters");
    bencher.bench_local(|| {
        run(
            "mount",
            &["-t", "overlay", "-o", &options, "overlay", merged],
        );
        run("umount", &[merged]);
    });
}

/// What of that is the start and end of two programs.
#[divan::bench(sample_count = 50, sample_size = 1)]
fn programs_true_twice(bencher: Bencher<'_, '_>) {
    bencher.bench_local(|| {
        for _ in 0..2 {
            let status = Command::new("true").status();
            assert!(status.expect("coreutils are there").success());
        }
    });
}

/// Layers with files in them, for an overlay and for a copy in its place.
fn full_layers(place: &Path) -> Vec<PathBuf> {
    let layer = |name: &str| {
        let path = place.join(name);
        fs::create_dir(&path).expect("a new directory");
        let dir = fs::File::open(&path).expect("a directory");
        let options = UnpackOptions::default();
        rocker_fs::unpack(tar().as_slice(), dir.as_fd(), &options).expect("a layer");
        path
    };
    vec![layer("l0"), layer("l1")]
}

/// What there is where no overlay can be: 2,000 files of two layers, 4 KiB each.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn merge_2000_files(bencher: Bencher<'_, '_>) {
    let place = place();
    let layers = full_layers(place.path());
    let to = place.path().join("to");
    bencher
        .with_inputs(|| {
            let _ = fs::remove_dir_all(&to);
            fs::create_dir(&to).expect("a new directory");
            fs::File::open(&to).expect("a directory")
        })
        .bench_local_values(|dir| {
            let xattrs = rocker_fs::XattrNamespace::Trusted;
            rocker_fs::merge(&layers, dir.as_fd(), xattrs).expect("a copy")
        });
}

/// 2,000 files of 4 KiB in 100 directories.
fn tar() -> Vec<u8> {
    let mut tar = Vec::new();
    for index in 0..2_000 {
        let mut header = [0; 512];
        let mut put =
            |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, &format!("usr/share/d{}/file{index}", index / 20));
        put(100, "0000644 0000000 0000000 ");
        put(124, "00000010000 00000000000         0");
        put(257, "ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        tar.extend_from_slice(&header);
        tar.resize(tar.len() + 4096, b'x');
    }
    tar.resize(tar.len() + 1024, 0);
    tar
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn unpack_2000_files(bencher: Bencher<'_, '_>) {
    let place = place();
    let layers = Layers::open(place.path().join("layers")).expect("a store");
    let tar = tar();
    bencher
        .with_inputs(|| layers.remove("sha256:00").expect("no layer"))
        .bench_local_values(|()| {
            layers
                .unpack("sha256:00", tar.as_slice(), &UnpackOptions::default())
                .expect("a layer")
        });
}
