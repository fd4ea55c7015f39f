//! What grows with what somebody else sends, or is sent.

use std::fs;
use std::io::Read;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::stat::Mode;

use crate::fake_host;
use crate::support::Scene;

#[test]
fn cve_2021_43784_lists_of_any_length_arrive_whole_or_are_refused() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let idle = scene.start_idle("--rm --name web");
        for command in ["run --rm --network none $I", "exec web"] {
            // Close to the 128 KiB that the kernel takes in one piece.
            let long = "a=$(head -c 70000 /dev/zero | tr '\\0' x); b=$(head -c 131000 /dev/zero | tr '\\0' y)";
            let done = scene.script(&format!(
                "{long}; exec rocker {command} sh -c 'echo ${{#1}} ${{#2}} $#' sh $a $b $(seq 5000)"
            ));
            assert_eq!(done.out, "70000 131000 5002\n", "{command}: {}", done.err);
            let flags = "-e A=$a -e B=$b $(for n in $(seq 4000); do echo -e V$n=$n; done)";
            let (verb, rest) = command.split_once(' ').unwrap();
            let done = scene.script(&format!(
                "{long}; b=${{b%yy}}; exec rocker {verb} {flags} {rest} sh -c 'echo ${{#A}} ${{#B}} $V1 $V4000; env | grep -c ^V'"
            ));
            assert_eq!(
                done.out, "70000 130998 1 4000\n4000\n",
                "{command}: {}",
                done.err
            );
        }
        // 65,536 is where a length of 16 bits would begin anew.
        host.sh("mkdir /run/v");
        let volumes = |count: u32| {
            format!(
                "run --rm --network none $(for n in $(seq {count}); do echo -v /run/v:/$n; done) $I grep -cE ' /[0-9]+ ' /proc/mounts"
            )
        };
        let done = scene.script(&format!(
            "exec prlimit --nofile=4096 rocker {}",
            volumes(300)
        ));
        assert_eq!(done.out, "300\n", "{}", done.err);
        // Where there are too few descriptors that is an error like any other.
        let done = scene.script(&format!(
            "exec prlimit --nofile=256 rocker {}",
            volumes(300)
        ));
        assert_eq!(done.code, 125, "{}", done.err);
        // More than the kernel has room for in one map.
        let maps = "$(for n in $(seq 0 400); do echo --uidmap $n:$((100000 + n)):1; done)";
        let done = scene.script(&format!("exec rocker run --rm {maps} $I true"));
        assert_eq!((done.code, done.out.as_str()), (125, ""), "{}", done.err);
        let groups = scene.script("exec rocker run --rm --network none $(for n in $(seq 3000); do echo --group-add $n; done) $I sh -c 'id -G | wc -w'");
        assert_eq!(groups.out, "3001\n", "{}", groups.err);
        assert_eq!(idle.end().code, 0);
        scene.assert_all_gone("long lists");
    });
}

/// The most memory that a process had, in KiB.
fn peak(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn cve_2022_31030_and_2025_64329_output_that_nobody_reads_is_kept_nowhere() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let idle = scene.start_idle("--rm --name web");
        for command in ["exec web", "exec -t web", "run --rm --network none -t $I"] {
            let pipe = host.dir("pipes").join("pipe");
            nix::unistd::mkfifo(&pipe, Mode::S_IRWXU).unwrap();
            let mut reader = fs::File::options()
                .read(true)
                .write(true)
                .open(&pipe)
                .unwrap();
            let mut rocker = scene
                .shell(&format!("exec rocker {command} yes {}", "y".repeat(500)))
                .stdout(Stdio::from(reader.try_clone().unwrap()))
                .spawn()
                .unwrap();
            // One program that writes, and a pipe that is full: all that is on its way waits.
            let waits = || {
                host.wait_until("yes waits", Duration::from_secs(20), || {
                let state = "pgrep -x yes >/dev/null && ! grep -l 'State:.[RD]' $(printf '/proc/%s/status ' $(pgrep -x yes; pgrep -x rocker)) >/dev/null";
                (0..3).all(|_| host.try_sh(state).status.success())
            })
            };
            waits();
            let before = peak(rocker.id());
            let mut read = vec![0; 64 << 10];
            for _ in 0..64 {
                reader.read_exact(&mut read).unwrap();
            }
            waits();
            let grown = peak(rocker.id()) - before;
            assert!(grown < 512, "{command}: {grown} KiB more after 4 MiB");
            assert!(before < 64 << 10, "{command}: {before} KiB");
            host.sh("pkill -KILL -x yes");
            std::thread::spawn(move || while reader.read(&mut read).is_ok() {});
            rocker.wait().unwrap();
            fs::remove_file(pipe).unwrap();
        }
        assert_eq!(idle.end().code, 0);
        scene.assert_all_gone("output that nobody read");
    });
}
