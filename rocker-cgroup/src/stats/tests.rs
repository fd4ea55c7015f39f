//! Numbers as the kernel writes them, from files in a directory.

use std::fs;

use proptest::prelude::*;

use super::*;
use crate::Hierarchy;

/// A cgroup of these files in a directory, on a tree of this line of mountinfo behind the dash.
fn cgroup(tree: &str, files: &[(&str, &str)]) -> (tempfile::TempDir, Cgroup) {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("one")).unwrap();
    fs::write(
        dir.path().join("cgroup.controllers"),
        "cpu io memory pids hugetlb",
    )
    .unwrap();
    for (name, text) in files {
        fs::write(dir.path().join("one").join(name), text).unwrap();
    }
    let mountinfo = format!("1 0 0:1 / {} rw - {tree}\n", dir.path().display());
    let hierarchy = Hierarchy::parse(&mountinfo, "0::/\n").unwrap();
    let hierarchy = hierarchy.with_base(dir.path()).unwrap();
    let cgroup = Cgroup::open(&hierarchy, "", "one").unwrap();
    (dir, cgroup)
}

#[test]
fn v2_says_what_is_used() {
    let (_dir, cgroup) = cgroup(
        "cgroup2 c rw",
        &[
            (
                "cpu.stat",
                "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 9\nnr_throttled 4\nthrottled_usec 7\n",
            ),
            ("memory.current", "1000\n"),
            ("memory.max", "max\n"),
            ("memory.stat", "anon 5\nfile 800\ninactive_file 600\n"),
            ("memory.swap.current", "3\n"),
            ("pids.current", "2\n"),
            ("pids.max", "10\n"),
            (
                "io.stat",
                "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n7:0 \n",
            ),
            (
                "memory.pressure",
                "some avg10=1.50 avg60=0.00 avg300=0.25 total=12\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
            ),
            ("hugetlb.2MB.current", "4194304\n"),
            ("hugetlb.2MB.rsvd.current", "1\n"),
        ],
    );
    let stats = cgroup.stats().unwrap();
    let micros = |count| Some(Duration::from_micros(count));
    assert_eq!(
        (stats.cpu_usage, stats.cpu_user, stats.cpu_system),
        (micros(30), micros(20), micros(10))
    );
    assert_eq!(
        (stats.cpu_throttled_periods, stats.cpu_throttled),
        (Some(4), micros(7))
    );
    assert_eq!(stats.memory_in_use_bytes(), Some(400));
    assert_eq!(
        (stats.memory_limit, stats.pids_limit),
        (Some(Max::Unlimited), Some(Max::At(10)))
    );
    assert_eq!(stats.memory_peak_bytes, None);
    assert_eq!(
        (
            stats.io[0].read_bytes,
            stats.io[0].write_bytes,
            stats.io[0].writes
        ),
        (1, 2, 4)
    );
    let pressure = stats.memory_pressure.unwrap();
    assert_eq!(
        (pressure.some.avg10, pressure.some.total),
        (1.5, Duration::from_micros(12))
    );
    assert!(pressure.full.is_some() && stats.io_pressure.is_none());
    assert_eq!(
        stats.hugetlb_bytes,
        BTreeMap::from([("2MB".to_owned(), 4_194_304)])
    );
}

#[test]
fn v1_says_the_same_in_its_own_words() {
    let (_dir, cgroup) = cgroup(
        "cgroup c rw,memory,blkio,cpuacct",
        &[
            ("cpuacct.usage", "30000\n"),
            ("memory.usage_in_bytes", "1000\n"),
            ("memory.limit_in_bytes", "9223372036854771712\n"),
            (
                "memory.stat",
                "inactive_file 1\ntotal_inactive_file 600\ntotal_rss 5\ntotal_cache 8\n",
            ),
            (
                "blkio.throttle.io_service_bytes_recursive",
                "8:0 Read 1\n8:0 Write 2\n8:0 Total 3\nTotal 3\n",
            ),
            (
                "blkio.throttle.io_serviced_recursive",
                "8:0 Read 3\n8:0 Write 4\nTotal 7\n",
            ),
        ],
    );
    let stats = cgroup.stats().unwrap();
    assert_eq!(stats.cpu_usage, Some(Duration::from_micros(30)));
    assert_eq!(
        (stats.memory_in_use_bytes(), stats.memory_limit),
        (Some(400), Some(Max::Unlimited))
    );
    let io = stats.io[0];
    assert_eq!(
        (io.read_bytes, io.write_bytes, io.reads, io.writes),
        (1, 2, 3, 4)
    );
    assert_eq!((stats.pids, stats.cpu_pressure), (None, None));
}

proptest! {
    #[test]
    fn no_text_makes_the_parsers_panic(text in "\\PC*") {
        io_of_v1(&text, &text);
        io_of_v2(&text);
        stall(&text, "some");
        value_of(&text, "x");
    }
}
