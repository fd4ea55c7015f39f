//! What a container may use: every flag of Docker's, in the cgroup of one that runs.

use std::time::Duration;

use crate::fake_host;
use crate::support::{LIMIT, Rocker};

/// Whether this machine has cgroup v2 alone.
pub fn is_v2() -> bool {
    std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// What a file of the container's cgroup holds: `v1` as `tree/file`, or `v2`.
#[track_caller]
pub fn held(rocker: &Rocker<'_>, name: &str, v1: &str, v2: &str) -> String {
    let id = rocker.at(name, "/Id");
    let parent = rocker.at(name, "/HostConfig/CgroupParent");
    let path = match is_v2() {
        true => format!("/sys/fs/cgroup{parent}/rocker-{id}/{v2}"),
        false => {
            let (controller, file) = v1.split_once('/').unwrap();
            // One tree may have several, and then it is called by all of them.
            let tree = std::fs::read_dir("/sys/fs/cgroup")
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .find(|tree| tree.split(',').any(|one| one == controller))
                .unwrap();
            format!("/sys/fs/cgroup/{tree}{parent}/rocker-{id}/{file}")
        }
    };
    std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{path}: {error}"))
        .trim()
        .replace('\n', ", ")
}

#[test]
fn every_resource_flag_is_in_the_cgroup_of_the_container_and_in_what_inspect_says() {
    fake_host::run(|host| {
        let rocker = Rocker::with_busybox(host);
        rocker.up(
            "web",
            "--network none --cpu-quota 30000 --cpu-period 60000 --cpu-shares 512 --cpuset-cpus 0 --cpuset-mems 0 -m 64m \
             --memory-reservation 32m --memory-swap 96m --pids-limit 33 --device-cgroup-rule \"c 42:* rw\" \
             --oom-score-adj 500",
            "echo up; exec sleep 1000",
        );
        for (v1, v2, expected) in [
            (
                "cpu/cpu.cfs_quota_us",
                "cpu.max",
                if is_v2() { "30000 60000" } else { "30000" },
            ),
            (
                "cpu/cpu.shares",
                "cpu.weight",
                if is_v2() { "59" } else { "512" },
            ),
            ("cpuset/cpuset.cpus", "cpuset.cpus", "0"),
            ("cpuset/cpuset.mems", "cpuset.mems", "0"),
            ("memory/memory.limit_in_bytes", "memory.max", "67108864"),
            (
                "memory/memory.soft_limit_in_bytes",
                "memory.low",
                "33554432",
            ),
            (
                "memory/memory.memsw.limit_in_bytes",
                "memory.swap.max",
                if is_v2() { "33554432" } else { "100663296" },
            ),
            ("pids/pids.max", "pids.max", "33"),
        ] {
            assert_eq!(held(&rocker, "web", v1, v2), expected, "{v2}");
        }
        if !is_v2() {
            let list = held(&rocker, "web", "devices/devices.list", "");
            assert!(
                list.contains("c 42:* rw") && list.contains("c 1:3 rwm") && !list.contains("a *:*"),
                "{list}"
            );
        }
        let pid = rocker.at("web", "/State/Pid");
        assert_eq!(host.sh(&format!("cat /proc/{pid}/oom_score_adj")), "500\n");
        for (pointer, expected) in [
            ("CpuQuota", "30000"),
            ("CpuPeriod", "60000"),
            ("CpuShares", "512"),
            ("CpusetCpus", "0"),
            ("Memory", "67108864"),
            ("MemoryReservation", "33554432"),
            ("MemorySwap", "100663296"),
            ("PidsLimit", "33"),
            ("CgroupnsMode", "private"),
        ] {
            let said = rocker.at("web", &format!("/HostConfig/{pointer}"));
            assert_eq!(said, expected, "{pointer}");
        }
        rocker.ok("rm -f web");
        // What only one of the two versions has is an error that names the file, on the other.
        for (flags, file, of_v1) in [
            ("--memory-swappiness 10", "memory.swappiness", true),
            ("-m 64m --oom-kill-disable", "memory.oom_control", true),
            ("--cgroup-conf memory.high=8M", "memory.high", false),
        ] {
            let done = rocker.run(&format!("run --rm --network none {flags} $I true"));
            if of_v1 == is_v2() {
                let line = done.failed(125);
                assert!(line.contains(file), "{line}");
                assert!(of_v1 || line.contains("cgroup v1 here"), "{line}");
            } else {
                done.succeeded();
            }
        }
        for (flags, expected) in [
            ("--cpus 1 --cpu-quota 5000", "cannot be used with"),
            ("--cpu-shares 1", "cpu shares"),
            ("--cpuset-cpus x", "cpuset"),
            ("--blkio-weight 5", "io weight"),
            ("--device-read-bps /dev/null:1mb", "--device-read-bps"),
            ("--device-read-bps /dev/nothing:1mb", "--device-read-bps"),
            ("--device-write-iops /dev/vda", "--device-write-iops"),
            ("--memory-swappiness 101", "swappiness"),
            ("--device-cgroup-rule 'x 1:2 r'", "--device-cgroup-rule"),
            ("--cgroup-parent ../x", "--cgroup-parent"),
            ("--cgroupns other", "--cgroupns"),
            ("--cgroup-conf x", "--cgroup-conf"),
            ("--cgroup-conf ../x=1", "unified key"),
        ] {
            let done = rocker.run(&format!("run --rm --network none {flags} $I true"));
            assert!(
                done.code == 125 && done.err.contains(expected),
                "{flags}: {done:?}"
            );
        }
        rocker.assert_all_gone("runs with limits");
    });
}

#[test]
fn stats_has_dockers_columns_and_counts() {
    fake_host::run(|host| {
        let rocker = Rocker::with_busybox(host);
        rocker.up(
            "busy",
            "-m 64m --cpus 0.5 --network none",
            "echo up; while :; do :; done",
        );
        rocker.up(
            "idle",
            "--network none",
            "dd if=/dev/zero of=/dev/shm/x bs=1M count=8 2>/dev/null; echo up; exec sleep 1000",
        );
        let table = rocker.ok("stats --no-stream");
        let head = table.lines().next().unwrap();
        for column in [
            "CONTAINER ID",
            "NAME",
            "CPU %",
            "MEM USAGE / LIMIT",
            "MEM %",
            "NET I/O",
            "BLOCK I/O",
            "PIDS",
        ] {
            assert!(head.contains(column), "{head}");
        }
        assert_eq!(table.lines().count(), 3, "{table}");
        let field = |name: &str, field: &str| {
            let said = rocker.ok(&format!(
                "stats --no-stream --format '{{{{.{field}}}}}' {name}"
            ));
            said.trim().to_owned()
        };
        // Of half a CPU, as far as the machine has it to give.
        host.wait_until("it gets its share", Duration::from_secs(60), || {
            let cpu: f64 = field("busy", "CPUPerc")
                .trim_end_matches('%')
                .parse()
                .unwrap();
            assert!(cpu < 60.0, "{cpu}");
            cpu > 15.0
        });
        assert!(field("busy", "MemUsage").ends_with(" / 64MiB"));
        let idle = field("idle", "MemUsage");
        let mebibytes: f64 = idle.split("MiB").next().unwrap().parse().unwrap();
        assert!((8.0..20.0).contains(&mebibytes), "{idle}");
        assert_eq!(field("idle", "PIDs"), "1");
        assert_eq!(field("idle", "NetIO"), "0B / 0B");
        let json = rocker.ok("stats --no-stream --format json --no-trunc idle");
        let id = rocker.at("idle", "/Id");
        assert!(
            json.contains(&format!("\"ID\":\"{id}\"")) && json.contains("\"MemPressure\":"),
            "{json}"
        );
        // Again and again, until nobody reads it.
        let mut stream = rocker.start("stats --format '{{.Name}}' busy");
        assert_eq!([stream.line(), stream.line()], ["busy", "busy"]);
        drop(stream);
        rocker.ok("stop -t 0 busy");
        assert!(!rocker.ok("stats --no-stream").contains("busy"));
        let all = rocker.ok("stats --no-stream -a");
        let line = all.lines().find(|line| line.contains("busy")).unwrap();
        assert!(line.contains("0.00%") && line.contains("0B / 0B"), "{all}");
        assert_eq!(rocker.run("stats --no-stream nobody").code, 125);
        rocker.ok("rm -f busy idle");
        rocker.assert_all_gone("stats");
    });
}

#[test]
fn top_lists_the_processes_of_the_container_without_running_anything() {
    fake_host::run(|host| {
        let rocker = Rocker::with_busybox(host);
        // A ps of the container's own would lie.
        rocker.up(
            "web",
            "--network none --user 1000",
            "echo up; sleep 777 & exec sleep 888",
        );
        host.wait_until("both are there", LIMIT, || {
            rocker.ok("top web").lines().count() == 3
        });
        let table = rocker.ok("top web");
        let head: Vec<_> = table.lines().next().unwrap().split_whitespace().collect();
        assert_eq!(
            head,
            ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
        );
        assert!(
            table.contains("sleep 777") && table.contains("sleep 888"),
            "{table}"
        );
        let pid = rocker.at("web", "/State/Pid");
        let first = table.lines().find(|line| line.contains("888")).unwrap();
        assert_eq!(
            first.split_whitespace().nth(1),
            Some(pid.as_str()),
            "{table}"
        );
        let table = rocker.ok("top web -o pid,uid,comm,args");
        assert!(
            table
                .lines()
                .any(|line| line.split_whitespace().collect::<Vec<_>>()
                    == [&pid, "1000", "sleep", "sleep", "888"]),
            "{table}"
        );
        assert!(rocker.ok("top web aux").starts_with("USER "));
        assert!(rocker.fails(125, "top web --forest").contains("--forest"));
        rocker.ok("stop -t 0 web");
        assert!(rocker.fails(125, "top web").contains("not running"));
        rocker.ok("rm web");
        rocker.assert_all_gone("top");
    });
}
