//! The profile of a container that asks for nothing: that of Docker, in effect.

use super::{Seccomp, SeccompAction, SeccompArchitecture, SeccompArg, SeccompOp, SeccompRule};
use crate::Capabilities;

/// Files by descriptor.
#[rustfmt::skip]
const FILES: &[&str] = &[
    "_llseek", "cachestat", "close", "close_range", "copy_file_range", "creat", "dup", "dup2", "dup3", "fadvise64",
    "fadvise64_64", "fallocate", "fcntl", "fcntl64", "fdatasync", "flock", "fsync", "ftruncate", "ftruncate64",
    "lseek", "open", "openat", "openat2", "pread64", "preadv", "preadv2", "pwrite64", "pwritev", "pwritev2", "read",
    "readahead", "readv", "sendfile", "sendfile64", "splice", "sync", "sync_file_range", "syncfs", "tee", "truncate",
    "truncate64", "vmsplice", "write", "writev",
];

/// Directories, names, and what is known of a file.
#[rustfmt::skip]
const NAMES: &[&str] = &[
    "access", "chdir", "chmod", "chown", "chown32", "faccessat", "faccessat2", "fchdir", "fchmod", "fchmodat",
    "fchmodat2", "fchown", "fchown32", "fchownat", "fstat", "fstat64", "fstatat64", "fstatfs", "fstatfs64",
    "futimesat", "getcwd", "getdents", "getdents64", "lchown", "lchown32", "link", "linkat", "listmount", "lstat",
    "lstat64", "mkdir", "mkdirat", "mknod", "mknodat", "name_to_handle_at", "newfstatat", "readlink", "readlinkat",
    "rename", "renameat", "renameat2", "rmdir", "stat", "stat64", "statfs", "statfs64", "statmount", "statx",
    "symlink", "symlinkat", "umask", "unlink", "unlinkat", "utime", "utimensat", "utimensat_time64", "utimes",
];

/// Extended attributes.
#[rustfmt::skip]
const ATTRIBUTES: &[&str] = &[
    "fgetxattr", "flistxattr", "fremovexattr", "fsetxattr", "getxattr", "getxattrat", "lgetxattr", "listxattr",
    "listxattrat", "llistxattr", "lremovexattr", "lsetxattr", "removexattr", "removexattrat", "setxattr", "setxattrat",
];

/// To wait for files, and to be told of what happens to them.
#[rustfmt::skip]
const EVENTS: &[&str] = &[
    "_newselect", "epoll_create", "epoll_create1", "epoll_ctl", "epoll_ctl_old", "epoll_pwait", "epoll_pwait2",
    "epoll_wait", "epoll_wait_old", "eventfd", "eventfd2", "fanotify_mark", "inotify_add_watch", "inotify_init",
    "inotify_init1", "inotify_rm_watch", "io_cancel", "io_destroy", "io_getevents", "io_pgetevents",
    "io_pgetevents_time64", "io_setup", "io_submit", "poll", "ppoll", "ppoll_time64", "pselect6", "pselect6_time64",
    "select",
];

/// Sockets, but for how they are made. `socketcall` has its arguments behind a pointer, where no filter sees them. Docker allows it
/// whatever it is for: Go and Wine have no other call on i386. So of a 32-bit program a filter denies no kind of socket.
#[rustfmt::skip]
const SOCKETS: &[&str] = &[
    "accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "listen", "recv", "recvfrom",
    "recvmmsg", "recvmmsg_time64", "recvmsg", "send", "sendmmsg", "sendmsg", "sendto", "setsockopt", "shutdown",
    "socketcall", "socketpair",
];

/// What processes send each other.
#[rustfmt::skip]
const MESSAGES: &[&str] = &[
    "ipc", "mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive", "mq_timedreceive_time64", "mq_timedsend",
    "mq_timedsend_time64", "mq_unlink", "msgctl", "msgget", "msgrcv", "msgsnd", "pipe", "pipe2", "semctl", "semget",
    "semop", "semtimedop", "semtimedop_time64", "shmat", "shmctl", "shmdt", "shmget",
];

#[rustfmt::skip]
const MEMORY: &[&str] = &[
    "brk", "madvise", "map_shadow_stack", "membarrier", "memfd_create", "memfd_secret", "mincore", "mlock", "mlock2",
    "mlockall", "mmap", "mmap2", "mprotect", "mremap", "mseal", "msync", "munlock", "munlockall", "munmap",
    "pkey_alloc", "pkey_free", "pkey_mprotect", "remap_file_pages",
];

/// Processes and threads. Tracing is only dangerous to a filter before Linux 4.8, which nothing here runs on.
#[rustfmt::skip]
const PROCESSES: &[&str] = &[
    "execve", "execveat", "exit", "exit_group", "fork", "futex", "futex_requeue", "futex_time64", "futex_wait",
    "futex_waitv", "futex_wake", "get_robust_list", "get_thread_area", "getcpu", "getpgid", "getpgrp", "getpid",
    "getppid", "getsid", "gettid", "pidfd_open", "prctl", "process_mrelease", "process_vm_readv", "process_vm_writev",
    "ptrace", "rseq", "set_robust_list", "set_thread_area", "set_tid_address", "setpgid", "setsid", "uretprobe",
    "vfork", "wait4", "waitid", "waitpid",
];

#[rustfmt::skip]
const SIGNALS: &[&str] = &[
    "kill", "pause", "pidfd_send_signal", "restart_syscall", "rt_sigaction", "rt_sigpending", "rt_sigprocmask",
    "rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait", "rt_sigtimedwait_time64",
    "rt_tgsigqueueinfo", "sigaltstack", "signalfd", "signalfd4", "sigprocmask", "sigreturn", "tgkill", "tkill",
];

/// Whose the process is, what it may do, and what it may not from then on.
#[rustfmt::skip]
const CREDENTIALS: &[&str] = &[
    "capget", "capset", "getegid", "getegid32", "geteuid", "geteuid32", "getgid", "getgid32", "getgroups",
    "getgroups32", "getresgid", "getresgid32", "getresuid", "getresuid32", "getuid", "getuid32", "landlock_add_rule",
    "landlock_create_ruleset", "landlock_restrict_self", "seccomp", "setfsgid", "setfsgid32", "setfsuid", "setfsuid32",
    "setgid", "setgid32", "setgroups", "setgroups32", "setregid", "setregid32", "setresgid", "setresgid32",
    "setresuid", "setresuid32", "setreuid", "setreuid32", "setuid", "setuid32",
];

/// Shares of the machine.
#[rustfmt::skip]
const RESOURCES: &[&str] = &[
    "getpriority", "getrlimit", "getrusage", "ioprio_get", "ioprio_set", "prlimit64", "sched_get_priority_max",
    "sched_get_priority_min", "sched_getaffinity", "sched_getattr", "sched_getparam", "sched_getscheduler",
    "sched_rr_get_interval", "sched_rr_get_interval_time64", "sched_setaffinity", "sched_setattr", "sched_setparam",
    "sched_setscheduler", "sched_yield", "setpriority", "setrlimit", "ugetrlimit",
];

/// Time, and what the machine is. To set the clock takes CAP_SYS_TIME, which the kernel looks for.
#[rustfmt::skip]
const TIME: &[&str] = &[
    "adjtimex", "alarm", "clock_adjtime", "clock_adjtime64", "clock_getres", "clock_getres_time64", "clock_gettime",
    "clock_gettime64", "clock_nanosleep", "clock_nanosleep_time64", "getitimer", "getrandom", "gettimeofday",
    "nanosleep", "setitimer", "sysinfo", "time", "timer_create", "timer_delete", "timer_getoverrun", "timer_gettime",
    "timer_gettime64", "timer_settime", "timer_settime64", "timerfd_create", "timerfd_gettime", "timerfd_gettime64",
    "timerfd_settime", "timerfd_settime64", "times", "uname",
];

const X86: &[&str] = &["arch_prctl", "modify_ldt"];

const ARM: &[&str] = &[
    "arm_fadvise64_64",
    "arm_sync_file_range",
    "breakpoint",
    "cacheflush",
    "set_tls",
    "sync_file_range2",
];

/// What takes a capability: without it the kernel would refuse most of this, but not before it has looked at what it was given.
#[rustfmt::skip]
const PRIVILEGED: &[(&str, &[&str])] = &[
    ("CAP_BPF", &["bpf"]),
    ("CAP_DAC_READ_SEARCH", &["open_by_handle_at"]),
    ("CAP_PERFMON", &["perf_event_open"]),
    ("CAP_SYS_ADMIN", &[
        "bpf", "clone", "clone3", "fanotify_init", "fsconfig", "fsmount", "fsopen", "fspick", "lookup_dcookie",
        "lsm_get_self_attr", "lsm_list_modules", "lsm_set_self_attr", "mount", "mount_setattr", "move_mount",
        "open_tree", "perf_event_open", "quotactl", "quotactl_fd", "setdomainname", "sethostname", "setns",
        "syslog", "umount", "umount2", "unshare",
    ]),
    ("CAP_SYS_BOOT", &["reboot"]),
    ("CAP_SYS_CHROOT", &["chroot"]),
    ("CAP_SYS_MODULE", &["delete_module", "finit_module", "init_module"]),
    ("CAP_SYS_NICE", &["get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"]),
    ("CAP_SYS_PACCT", &["acct"]),
    ("CAP_SYS_PTRACE", &["kcmp", "pidfd_getfd", "process_madvise"]),
    ("CAP_SYS_RAWIO", &["ioperm", "iopl"]),
    ("CAP_SYS_TIME", &["clock_settime", "clock_settime64", "settimeofday", "stime"]),
    ("CAP_SYS_TTY_CONFIG", &["vhangup"]),
    ("CAP_SYSLOG", &["syslog"]),
];

/// The kinds of sockets from 12 on that the kernel still has and a container may make; below 12 it may make all. Not among them are
/// AF_ALG (38), the kernel's cryptography, which no container needs and which has given root away (CVE-2026-31431); AF_VSOCK (40), by
/// which a container speaks to virtual machines and their host beside all of its networks; and what comes after AF_MCTP (45).
const SOCKET_KINDS: &[u64] = &[
    13, 14, 15, 16, 17, 18, 21, 22, 24, 26, 27, 28, 29, 30, 31, 32, 33, 35, 36, 39, 41, 42, 43, 44,
    45,
];

/// PER_LINUX and PER_LINUX32, each also with UNAME26, and the question which one there is.
const PERSONALITIES: &[u64] = &[0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// What of the flags of clone(2) makes a namespace: CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET.
const NAMESPACES: u64 = 0x7e02_0000;

/// To type on a terminal as if it were its user (TIOCSTI), or on the machine's console (TIOCLINUX): a program could have the shell
/// outside, on whose terminal it runs, execute commands. Docker relies on that it runs on none.
const TYPING: [u64; 2] = [0x5412, 0x541c];

const EPERM: u16 = libc::EPERM as u16;
const ENOSYS: u16 = libc::ENOSYS as u16;

impl Seccomp {
    /// The profile of a container whose bounding set is `capabilities`: in effect Docker's of 2026, which allows what programs use
    /// and the kernel does not offer by a capability that they lack. What is not allowed fails with `EPERM`.
    ///
    /// It differs from Docker's in that nobody can type on a terminal by ioctl(2): `TIOCSTI` and `TIOCLINUX` fail with `EPERM`, whatever
    /// the upper half of the argument, which the kernel does not look at (CVE-2017-5226, CVE-2019-10063). As there, `clone3(2)` fails with
    /// `ENOSYS` where a filter would have to look at its flags and cannot, so that a C library takes `clone(2)`; and what a
    /// 32-bit program does by `socketcall(2)` is not seen.
    #[must_use]
    pub fn container_default(capabilities: Capabilities) -> Self {
        Self::container_default_on(capabilities, SeccompArchitecture::NATIVE)
    }

    pub(super) fn container_default_on(
        capabilities: Capabilities,
        native: SeccompArchitecture,
    ) -> Self {
        let own = match native {
            SeccompArchitecture::X86_64 | SeccompArchitecture::X86 | SeccompArchitecture::X32 => {
                X86
            }
            SeccompArchitecture::Aarch64 | SeccompArchitecture::Arm => ARM,
        };
        let everybody = [
            FILES,
            NAMES,
            ATTRIBUTES,
            EVENTS,
            SOCKETS,
            MESSAGES,
            MEMORY,
            PROCESSES,
            SIGNALS,
            CREDENTIALS,
            RESOURCES,
            TIME,
            &["ioctl"],
            own,
        ];
        let privileged = PRIVILEGED
            .iter()
            .filter(|(capability, _)| capabilities.contains(capability))
            .map(|(_, names)| *names);
        let mut profile = Self::new(SeccompAction::Errno(EPERM));
        profile.architectures = native.family().to_vec();
        profile.rules = everybody.into_iter().chain(privileged).map(allow).collect();
        let rules = &mut profile.rules;
        rules.push(allow(&["socket"]).arg(SeccompArg::new(0, SeccompOp::Less, 12)));
        for kind in SOCKET_KINDS {
            rules.push(allow(&["socket"]).arg(SeccompArg::new(0, SeccompOp::Equal, *kind)));
        }
        for personality in PERSONALITIES {
            let is = SeccompArg::new(0, SeccompOp::Equal, *personality);
            rules.push(allow(&["personality"]).arg(is));
        }
        for request in TYPING {
            let rule = SeccompRule::new(["ioctl"], SeccompAction::Errno(EPERM));
            rules.push(rule.arg(SeccompArg::masked(1, 0xffff_ffff, request)));
        }
        if !capabilities.contains("CAP_SYS_ADMIN") {
            rules.push(allow(&["clone"]).arg(SeccompArg::masked(0, NAMESPACES, 0)));
            rules.push(SeccompRule::new(["clone3"], SeccompAction::Errno(ENOSYS)));
        }
        profile
    }
}

fn allow(names: &[&'static str]) -> SeccompRule {
    SeccompRule::new(names.iter().copied(), SeccompAction::Allow)
}
