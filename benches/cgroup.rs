//! What a cgroup costs: making it with limits and removing it, and asking where the controllers are.
//!
//!     sudo -E cargo bench --bench cgroup
//!
//! Needs root. Every cgroup that it makes lies below `rocker-bench`, and is removed.

use rocker_cgroup::{Cgroup, Compat, CpuQuota, Hierarchy, Limits};

fn main() {
    divan::main();
}

/// Reads two files of /proc, and on v2 one of /sys/fs/cgroup.
#[divan::bench]
fn detect() -> Hierarchy {
    Hierarchy::detect().expect("cgroups are mounted")
}

/// What every container pays, with one, and with four made at the same time.
#[divan::bench(threads = [1, 4])]
fn create_limit_remove(bencher: divan::Bencher<'_, '_>) {
    let hierarchy = Hierarchy::detect().expect("cgroups are mounted");
    let quota = CpuQuota::from_cpus(0.5).expect("half a CPU is a limit");
    let limits = Limits::default()
        .memory_bytes(64_u64 << 20)
        .pids(50_u64)
        .cpu(quota);
    let names = std::sync::atomic::AtomicUsize::new(0);
    bencher.bench(|| {
        let name = format!(
            "bench-{}",
            names.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
        );
        let (cgroup, _) =
            Cgroup::create(&hierarchy, "rocker-bench", &name, &limits, Compat::Require)
                .expect("this needs root and the controllers cpu, memory and pids");
        cgroup.remove().expect("an empty cgroup can be removed");
    });
}
