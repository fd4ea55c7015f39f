//! Where volumes are kept: what is in them, however much and deep, what is remembered of them, and what of that a sudden end leaves.

use std::fs;

use crate::fake_host;
use crate::support::{LIMIT, Scene};

#[test]
fn what_a_container_has_made_is_removed_however_deep_it_is() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let deeper = "i=0; while [ $i -lt 1500 ]; do mkdir d && cd d || exit; i=$((i+1)); done";
        scene.ok(&format!("run --name c --network none -v data:/data -v /own $I sh -c '(cd /data; {deeper}); (cd /own; {deeper}); mkdir /mine; cd /mine; {deeper}'"));
        let done = scene.script("ulimit -n 1024; rocker rm -v c && rocker volume rm data");
        assert_eq!(done.code, 0, "{done:?}");
        let left = fs::read_dir(scene.root.join("volumes")).unwrap().count();
        assert_eq!(left, 0);
        scene.assert_all_gone("deep directories");
    });
}

#[test]
fn a_volume_with_much_in_it_keeps_nobody_waiting_while_it_is_removed() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.ok("volume create data");
        let data = scene.root.join("volumes/data/_data");
        host.sh(&format!(
            "python3 -c \"import os; os.chdir('{}'); open('0', 'w').close(); [os.link('0', str(name)) for name in range(1, 100000)]\"",
            data.display()
        ));
        let gone = scene.root.join("volumes/.gone-0-data");
        let removal = scene.start("volume rm data");
        host.wait_until("the volume has lost its name", LIMIT, || gone.exists());
        removal.signal("STOP");
        scene.ok("create --name c --network none -v data:/data -v /own $I true");
        assert_eq!(scene.ok("volume ls -q").lines().count(), 2);
        scene.ok("rm -v c");
        scene.ok("volume rm data");
        assert!(gone.exists(), "it was over before anybody could wait");
        removal.signal("CONT");
        removal.end().succeeded();
        let left = fs::read_dir(scene.root.join("volumes")).unwrap().count();
        assert_eq!(left, 0);
        scene.assert_all_gone("a long removal");
    });
}

#[test]
fn what_gets_its_name_is_on_the_disk_before() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let said = host.dir("said").join("explained");
        for (flags, written, named) in [
            ("-v data:/data", "has its record", r#"".new-data", "#),
            ("--storage-opt driver=vfs", "syncfs(", "/.root\", "),
        ] {
            let explain = format!("--explain --explain-file {}", said.display());
            scene.ok(&format!(
                "run --rm --network none {explain} {flags} $I true"
            ));
            let said = fs::read_to_string(&said).unwrap();
            let renamed = said
                .lines()
                .position(|line| line.contains("rename") && line.contains(named));
            let renamed = renamed.unwrap();
            let written = said.lines().position(|line| line.contains(written));
            assert!(written.is_some_and(|at| at < renamed), "{flags}: {said}");
        }
        scene.ok("volume rm data");
        scene.assert_all_gone("written volumes");
    });
}

#[test]
fn a_volume_whose_record_is_damaged_still_has_what_is_in_it() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.ok("volume create --label a=b data");
        fs::write(scene.root.join("volumes/data/_data").join("file"), "kept").unwrap();
        let record = scene.root.join("volumes/data/volume.json");
        let whole = fs::read(&record).unwrap();
        for spoilt in [&b""[..], &whole[..20], &vec![0; whole.len()][..], b"{}"] {
            fs::write(&record, spoilt).unwrap();
            let done = scene.run("run --rm --network none -v data:/data $I cat /data/file");
            assert_eq!((done.code, done.out.as_str()), (0, "kept"), "{done:?}");
            assert!(done.err.contains("volume data is damaged"), "{done:?}");
            let listed = scene.run("volume ls -q");
            assert_eq!(listed.out, "data\n", "{listed:?}");
        }
        scene.run("volume rm data");
        assert_eq!(scene.ok("volume ls -q"), "");
        // What is a directory of the host's is not taken for an empty one of rocker's.
        scene.ok("volume create --opt type=none --opt o=bind --opt device=/run/device data");
        let whole = fs::read(&record).unwrap();
        fs::write(&record, &whole[..whole.len() - 3]).unwrap();
        let refused = scene.run("run --rm --network none -v data:/data $I true");
        assert!(
            refused.code == 125 && refused.err.contains("record of volume data is damaged"),
            "{refused:?}"
        );
        scene.ok("volume rm data");
        scene.assert_all_gone("a damaged volume");
    });
}
