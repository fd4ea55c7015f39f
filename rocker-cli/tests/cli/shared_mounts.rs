//! On a host that shares its mounts, as systemd has it: what is mounted in one mount namespace is mounted in all.

use std::fs;
use std::path::Path;

use crate::fake_host::{self, Host};
use crate::support::Scene;

fn shared(host: &Host) -> Scene<'_> {
    host.sh("mount --make-rshared /");
    Scene::new(host)
}

fn mounts() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap()
}

#[test]
fn every_kind_of_root_runs_and_mounts_nothing_on_a_host_that_shares_its_mounts() {
    fake_host::run(|host| {
        let scene = shared(host);
        crate::registry::busybox_root(&host.dir("root"));
        let before = mounts();
        for what in [
            "$I",
            "--storage-opt driver=vfs $I",
            "--storage-opt driver=tmpfs $I",
            "--userns auto $I",
            "--privileged $I",
            "--rootfs /run/root",
            "--privileged --rootfs /run/root",
            "--rootfs --userns auto /run/root:O",
        ] {
            let said = scene.ok(&format!("run --rm --network none --tmpfs /t {what} sh -c 'grep -c \" /t \" /proc/mounts; cat /proc/1/comm'"));
            assert!(said.starts_with("1\n"), "{what}: {said}");
            assert_eq!(mounts(), before, "{what}");
        }
        for driver in ["overlay", "vfs"] {
            scene.ok(&format!(
                "run --name c --network none --storage-opt driver={driver} $I touch /new"
            ));
            let mounted = scene.ok("mount c");
            let mounted = Path::new(mounted.trim());
            let with_one = mounts();
            assert_eq!(scene.ok("start -a c"), "", "{driver}, while it is mounted");
            assert!(mounted.join("new").exists());
            assert_eq!(mounts(), with_one, "{driver}");
            scene.ok("umount c");
            scene.ok("rm c");
            assert_eq!(mounts(), before, "{driver}");
        }
        scene.assert_all_gone("all kinds of roots");
    });
}

#[test]
fn cp_with_volumes_within_volumes_leaves_a_host_that_shares_its_mounts_as_it_was() {
    fake_host::run(|host| {
        let scene = shared(host);
        host.sh("mkdir /run/src; echo of-the-host >/run/src/file");
        for driver in ["overlay", "vfs"] {
            scene.ok("volume create data");
            fs::create_dir(scene.root.join("volumes/data/_data/src")).unwrap();
            scene.ok(&format!("create --name c --network none --storage-opt driver={driver} -v data:/tmp -v /run/src:/tmp/src $I true"));
            let before = mounts();
            host.sh("echo new >/run/new");
            scene.ok("cp /run/new c:/tmp/new");
            assert_eq!(scene.ok("cp c:/tmp/src/file - | tar -xO"), "of-the-host\n");
            assert_eq!(mounts(), before, "{driver}");
            scene.ok("rm c");
            scene.ok("volume rm data");
            assert_eq!(
                fs::read_to_string("/run/src/file").unwrap(),
                "of-the-host\n"
            );
        }
        scene.assert_all_gone("cp");
    });
}
