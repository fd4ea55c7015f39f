/* What an attacker in a container would try, once each; a line says what came of it: "ok", the name of the errno, or a word.
 *
 *     attempts [NAME]...    all of them, or those
 *     attempts terminal     typing into the terminal of standard input
 *
 * Each is made in a process of its own, and does no harm where it succeeds: it opens what it might write to, and sets what is set already.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define LENGTH(list) (sizeof(list) / sizeof *(list))

/* Numbers that are the same on every machine, and that older headers lack. */
enum {
    OPEN_TREE = 428, MOVE_MOUNT, FSOPEN, FSCONFIG, FSMOUNT, FSPICK, PIDFD_OPEN = 434, CLONE3, OPENAT2 = 437, PIDFD_GETFD,
    PROCESS_MADVISE = 440, MOUNT_SETATTR = 442, QUOTACTL_FD, LANDLOCK_CREATE_RULESET, MEMFD_SECRET = 447,
    PROCESS_MRELEASE, SET_MEMPOLICY_HOME_NODE = 450, STATMOUNT = 457, LISTMOUNT, IO_URING_SETUP = 425, IO_URING_ENTER,
    IO_URING_REGISTER, LSM_SET_SELF_ATTR = 460, OPEN_TREE_ATTR = 467
};

static const char *named(long result) {
    if (result >= 0) return "ok";
    const char *name = strerrorname_np(errno);
    return name ? name : "?";
}

#define CALL(...) named(syscall(__VA_ARGS__))

/* Opens a file, and says whether there was something in it to read. */
static const char *reads(const char *path) {
    char byte;
    int fd = open(path, O_RDONLY | O_NONBLOCK);
    if (fd < 0) return named(fd);
    ssize_t count = read(fd, &byte, 1);
    return count == 0 ? "empty" : named(count);
}

static const char *opens(const char *path) {
    return named(open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC));
}

/* The first of several files that there may be. */
static const char *opens_one(const char *const *paths) {
    const char *result = "ENOENT";
    for (; *paths && !strcmp(result, "ENOENT"); paths++) result = opens(*paths);
    return result;
}

static const char *clones(unsigned long flags) {
    long pid = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) _exit(0);
    return named(pid);
}

/* ---- mounts */

static const char *mount_tmpfs(void) { return named(mount("tmpfs", "/tmp", "tmpfs", 0, "")); }
static const char *mount_bind(void) { return named(mount("/proc", "/tmp", NULL, MS_BIND, NULL)); }
static const char *mount_remount(void) { return named(mount(NULL, "/proc/sys", NULL, MS_REMOUNT | MS_BIND, NULL)); }
static const char *mount_proc(void) { return named(mount("proc", "/tmp", "proc", 0, NULL)); }
static const char *umount_sys(void) { return named(umount2("/sys", MNT_DETACH)); }
static const char *fsopen_(void) { return CALL(FSOPEN, "tmpfs", 0); }
static const char *fsconfig_(void) { return CALL(FSCONFIG, -1, 6, NULL, NULL, 0); }
static const char *fsmount_(void) { return CALL(FSMOUNT, -1, 0, 0); }
static const char *fspick_(void) { return CALL(FSPICK, AT_FDCWD, "/proc", 0); }
static const char *move_mount_(void) { return CALL(MOVE_MOUNT, AT_FDCWD, "/proc", AT_FDCWD, "/tmp", 0); }
static const char *open_tree_(void) { return CALL(OPEN_TREE, AT_FDCWD, "/proc", 0); }
static const char *open_tree_clone(void) { return CALL(OPEN_TREE, AT_FDCWD, "/proc", 1); }
static const char *open_tree_attr_(void) { return CALL(OPEN_TREE_ATTR, AT_FDCWD, "/proc", 1, NULL, 0); }
static const char *mount_setattr_(void) {
    unsigned long long attributes[4] = {0, 1, 0, 0};
    return CALL(MOUNT_SETATTR, AT_FDCWD, "/proc/sys", 0, attributes, sizeof attributes);
}
static const char *pivot_root_(void) { return CALL(SYS_pivot_root, ".", "."); }
static const char *chroot_(void) { return named(chroot("/")); }

/* ---- namespaces */

static const char *unshare_user(void) { return named(unshare(CLONE_NEWUSER)); }
static const char *unshare_mount(void) { return named(unshare(CLONE_NEWNS)); }
static const char *unshare_pid(void) { return named(unshare(CLONE_NEWPID)); }
static const char *unshare_net(void) { return named(unshare(CLONE_NEWNET)); }
static const char *unshare_ipc(void) { return named(unshare(CLONE_NEWIPC)); }
static const char *unshare_uts(void) { return named(unshare(CLONE_NEWUTS)); }
static const char *unshare_cgroup(void) { return named(unshare(0x02000000)); }
static const char *unshare_time(void) { return named(unshare(0x00000080)); }
static const char *unshare_files(void) { return named(unshare(CLONE_FILES)); }
static const char *setns_(void) { return named(setns(open("/proc/self/ns/uts", O_RDONLY), 0)); }
static const char *setns_pidfd(void) { return named(setns((int)syscall(PIDFD_OPEN, getppid(), 0), CLONE_NEWUTS)); }
static const char *clone_user(void) { return clones(CLONE_NEWUSER); }
static const char *clone_mount(void) { return clones(CLONE_NEWNS); }
static const char *clone3_(void) {
    unsigned long long args[11] = {0x10000000}; /* CLONE_NEWUSER */
    long pid = syscall(CLONE3, args, sizeof args);
    if (pid == 0) _exit(0);
    return named(pid);
}

/* ---- sockets */

static const char *socket_raw(void) { return named(socket(AF_INET, SOCK_RAW, 1)); }
static const char *socket_packet(void) { return named(socket(AF_PACKET, SOCK_RAW, 0)); }
static const char *socket_alg(void) { return named(socket(AF_ALG, SOCK_SEQPACKET, 0)); }
static const char *socket_alg_high(void) { return CALL(SYS_socket, 1UL << 32 | AF_ALG, SOCK_SEQPACKET, 0); }
static const char *socket_vsock(void) { return named(socket(40, SOCK_STREAM, 0)); }
static const char *socket_route(void) { return named(socket(AF_NETLINK, SOCK_RAW, 0)); }
static const char *socket_audit(void) { return named(socket(AF_NETLINK, SOCK_RAW, 9)); }
static const char *socket_crypto(void) { return named(socket(AF_NETLINK, SOCK_RAW, 21)); }
static const char *socket_nft(void) { return named(socket(AF_NETLINK, SOCK_RAW, 12)); }
static const char *link_down(void) {
    struct { char name[16]; short flags; char rest[22]; } request = {"lo", 0, ""};
    return named(ioctl(socket(AF_INET, SOCK_DGRAM, 0), 0x8914, &request)); /* SIOCSIFFLAGS */
}

/* ---- other processes */

static const char *ptrace_first(void) { return named(ptrace(PTRACE_SEIZE, 1, 0, 0)); }
static const char *process_vm_readv_(void) {
    static int here, there;
    struct iovec local = {&here, sizeof here}, remote = {&there, sizeof there};
    return named(process_vm_readv(getppid(), &local, 1, &remote, 1, 0));
}
static const char *process_vm_writev_(void) {
    static int here, there;
    struct iovec local = {&here, sizeof here}, remote = {&there, sizeof there};
    return named(process_vm_writev(getppid(), &local, 1, &remote, 1, 0));
}
static const char *kcmp_(void) { return CALL(SYS_kcmp, getpid(), getppid(), 2, 0, 0); }
static const char *pidfd_getfd_(void) { return CALL(PIDFD_GETFD, (int)syscall(PIDFD_OPEN, getppid(), 0), 1, 0); }
static const char *process_madvise_(void) { return CALL(PROCESS_MADVISE, -1, NULL, 0, 0, 0); }
static const char *exe_write(void) { return opens("/proc/1/exe"); }
static const char *mem_write(void) { return opens("/proc/1/mem"); }
static const char *setpriority_(void) { return named(setpriority(PRIO_PROCESS, 0, -20)); }
static const char *scheduler_fifo(void) {
    struct sched_param param = {1};
    return named(sched_setscheduler(0, SCHED_FIFO, &param));
}
static const char *limit_raise(void) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_max++;
    return named(setrlimit(RLIMIT_NOFILE, &limit));
}
static const char *oom_score_lower(void) {
    int fd = open("/proc/self/oom_score_adj", O_WRONLY);
    return named(fd < 0 ? fd : write(fd, "-1000", 5));
}

/* ---- keys, programs for the kernel, memory */

static const char *keyctl_all(void) {
    const char *all = CALL(SYS_keyctl, 0, 0, 0, 0, 0);
    for (int operation = 1; operation < 40; operation++)
        if (strcmp(all, CALL(SYS_keyctl, operation, 0, 0, 0, 0))) return "several";
    return all;
}
static const char *add_key_(void) { return CALL(SYS_add_key, "user", "probe", "x", 1, -2); }
static const char *request_key_(void) { return CALL(SYS_request_key, "user", "probe", NULL, 0); }
static const char *bpf_(void) {
    unsigned map[32] = {1, 4, 4, 1}; /* BPF_MAP_TYPE_HASH */
    return CALL(SYS_bpf, 0, map, sizeof map);
}
static const char *perf_event_open_(void) {
    unsigned event[32] = {1, sizeof event}; /* PERF_TYPE_SOFTWARE */
    return CALL(SYS_perf_event_open, event, 0, -1, -1, 0);
}
static const char *userfaultfd_(void) { return CALL(SYS_userfaultfd, 0); }
static const char *io_uring_setup_(void) {
    char params[120] = "";
    return CALL(IO_URING_SETUP, 1, params);
}
static const char *io_uring_enter_(void) { return CALL(IO_URING_ENTER, -1, 0, 0, 0, NULL, 0); }
static const char *io_uring_register_(void) { return CALL(IO_URING_REGISTER, -1, 0, NULL, 0); }
static const char *memfd_secret_(void) { return CALL(MEMFD_SECRET, 0); }
static const char *move_pages_(void) { return CALL(SYS_move_pages, 0, 0, NULL, NULL, NULL, 0); }
static const char *migrate_pages_(void) { return CALL(SYS_migrate_pages, 0, 0, NULL, NULL); }
static const char *mbind_(void) { return CALL(SYS_mbind, NULL, 0, 0, NULL, 0, 0); }
static const char *personality_query(void) { return named(personality(0xffffffff)); }
static const char *personality_fixed(void) { return named(personality(ADDR_NO_RANDOMIZE)); }
static const char *landlock_version(void) { return CALL(LANDLOCK_CREATE_RULESET, NULL, 0, 1); }
static const char *seccomp_available(void) {
    unsigned action = SECCOMP_RET_KILL_PROCESS;
    return CALL(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action);
}

/* ---- the machine */

static const char *init_module_(void) { return CALL(SYS_init_module, "", 0, ""); }
static const char *finit_module_(void) { return CALL(SYS_finit_module, -1, "", 0); }
static const char *delete_module_(void) { return CALL(SYS_delete_module, "no_such_module", 0); }
static const char *kexec_load_(void) { return CALL(SYS_kexec_load, 0, -1, NULL, 0); }
static const char *kexec_file_load_(void) { return CALL(SYS_kexec_file_load, -1, -1, 0, NULL, 0); }
static const char *reboot_(void) { return CALL(SYS_reboot, 0xfee1dead, 672274793, 0, NULL); } /* CAD_OFF */
static const char *swapon_(void) { return CALL(SYS_swapon, "/nowhere", 0); }
static const char *swapoff_(void) { return CALL(SYS_swapoff, "/nowhere"); }
static const char *acct_(void) { return CALL(SYS_acct, "/nowhere"); }
static const char *quotactl_(void) { return CALL(SYS_quotactl, 0x800002 << 8, "/nowhere", 0, NULL); }
static const char *quotactl_fd_(void) { return CALL(QUOTACTL_FD, -1, 0, 0, NULL); }
static const char *syslog_(void) { return CALL(SYS_syslog, 3, NULL, 0); }
static const char *sethostname_(void) { return named(sethostname("probe", 5)); }
static const char *setdomainname_(void) { return named(setdomainname("probe", 5)); }
static const char *vhangup_(void) { return CALL(SYS_vhangup); }
static const char *clock_settime_(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return named(clock_settime(CLOCK_REALTIME, &now));
}
static const char *settimeofday_(void) {
    struct timeval now;
    gettimeofday(&now, NULL);
    return CALL(SYS_settimeofday, &now, NULL);
}
static const char *adjtimex_read(void) {
    struct timex timex = {0};
    return named(adjtimex(&timex));
}
static const char *adjtimex_set(void) {
    struct timex timex = {0};
    adjtimex(&timex);
    timex.modes = ADJ_TIMECONST;
    return named(adjtimex(&timex));
}
static const char *clock_adjtime_set(void) {
    struct timex timex = {0};
    timex.modes = ADJ_SETOFFSET;
    return named(clock_adjtime(CLOCK_REALTIME, &timex));
}
static const char *fanotify_init_(void) { return CALL(SYS_fanotify_init, 0, 0); }
static const char *open_by_handle(void) {
    struct { struct file_handle handle; char bytes[128]; } at = {{128, 0, {}}, ""};
    int mount;
    if (name_to_handle_at(AT_FDCWD, "/", &at.handle, &mount, 0) < 0 && errno == EPERM) return "EPERM by name_to_handle_at";
    return CALL(SYS_open_by_handle_at, AT_FDCWD, &at, O_PATH);
}
#if defined(__x86_64__)
static const char *iopl_(void) { return CALL(SYS_iopl, 3); }
static const char *ioperm_(void) { return CALL(SYS_ioperm, 0x80, 1, 1); }
static const char *arch_prctl_(void) {
    unsigned long base;
    return CALL(SYS_arch_prctl, 0x1003, &base); /* ARCH_GET_FS */
}
static const char *lookup_dcookie_(void) { return CALL(SYS_lookup_dcookie, 0, NULL, 0); }
static const char *nfsservctl_(void) { return CALL(SYS_nfsservctl, 0, NULL, NULL); }
static const char *sysfs_(void) { return CALL(SYS_sysfs, 3); }
static const char *ustat_(void) {
    char buffer[64];
    return CALL(SYS_ustat, 0, buffer);
}
static const char *uselib_(void) { return CALL(SYS_uselib, "/nowhere"); }
static const char *create_module_(void) { return CALL(SYS_create_module, "probe", 0); }
static const char *sysctl_(void) { return CALL(SYS__sysctl, NULL); }
static const char *modify_ldt_(void) { return CALL(SYS_modify_ldt, 0, NULL, 0); }
#endif
static const char *no_such_call(void) { return CALL(1000); }

/* ---- the files of the kernel */

static const char *core_pattern(void) { return opens("/proc/sys/kernel/core_pattern"); }
static const char *ip_forward(void) { return opens("/proc/sys/net/ipv4/ip_forward"); }
static const char *binfmt(void) { return opens("/proc/sys/fs/binfmt_misc/register"); }
static const char *sysrq(void) { return opens("/proc/sysrq-trigger"); }
static const char *irq(void) { return opens("/proc/irq/default_smp_affinity"); }
static const char *kcore(void) { return reads("/proc/kcore"); }
static const char *keys(void) { return reads("/proc/keys"); }
static const char *timer_list(void) { return reads("/proc/timer_list"); }
static const char *kmsg(void) { return reads("/proc/kmsg"); }
static const char *kpagecount(void) { return reads("/proc/kpagecount"); }
static const char *uevent_helper(void) { return opens("/sys/kernel/uevent_helper"); }
static const char *rescan(void) { return opens("/sys/bus/pci/rescan"); }
static const char *power_state(void) { return opens("/sys/power/state"); }
static const char *firmware(void) { return named(open("/sys/firmware/acpi", O_RDONLY)); }
static const char *debugfs(void) { return named(open("/sys/kernel/debug/tracing", O_RDONLY)); }
static const char *release_agent(void) {
    return opens_one((const char *const[]){"/sys/fs/cgroup/memory/release_agent", "/sys/fs/cgroup/rdma/release_agent",
                                           "/sys/fs/cgroup/systemd/release_agent", "/sys/fs/cgroup/release_agent", NULL});
}
static const char *cgroup_procs(void) {
    return opens_one((const char *const[]){"/sys/fs/cgroup/memory/cgroup.procs", "/sys/fs/cgroup/cgroup.procs", NULL});
}
static const char *dev_mem(void) { return opens("/dev/mem"); }
static const char *dev_kmsg(void) { return opens("/dev/kmsg"); }
static const char *dev_fuse(void) { return opens("/dev/fuse"); }
static const char *dev_tun(void) { return opens("/dev/net/tun"); }
static const char *dev_console(void) { return opens("/dev/console"); }
static const char *dev_tty(void) { return opens("/dev/tty"); }
static const char *dev_tty0(void) { return opens("/dev/tty0"); }

/* A device made where there is most hope, and opened. */
static const char *makes(const char *path, mode_t kind, unsigned major, unsigned minor) {
    unlink(path);
    long made = mknod(path, kind | 0666, makedev(major, minor));
    return named(made);
}
static const char *make_sda(void) { return makes("/tmp/sda", S_IFBLK, 8, 0); }
static const char *open_sda(void) { return opens("/tmp/sda"); }
static const char *make_loop(void) { return makes("/dev/loop", S_IFBLK, 7, 0); }
static const char *open_loop(void) { return opens("/dev/loop"); }
static const char *make_mem(void) { return makes("/tmp/mem", S_IFCHR, 1, 1); }
static const char *open_mem(void) { return opens("/tmp/mem"); }
static const char *make_kmem(void) { return makes("/tmp/kmem", S_IFCHR, 1, 2); }
static const char *open_kmem(void) { return opens("/tmp/kmem"); }
static const char *make_console(void) { return makes("/dev/shm/console", S_IFCHR, 5, 1); }
static const char *open_console(void) { return opens("/dev/shm/console"); }
static const char *make_tun(void) { return makes("/dev/tun", S_IFCHR, 10, 200); }
static const char *open_tun(void) { return opens("/dev/tun"); }
static const char *make_zero(void) { return makes("/tmp/null", S_IFCHR, 1, 3); }
static const char *open_zero(void) { return opens("/tmp/null"); }

/* Whether a program takes the user of its file. */
static const char *takes_its_user(const char *path) {
    static char bytes[1 << 16];
    int from = open("/proc/self/exe", O_RDONLY), to = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0700);
    if (to < 0) return named(to);
    ssize_t count;
    while ((count = read(from, bytes, sizeof bytes)) > 0)
        if (write(to, bytes, (size_t)count) != count) return "not written";
    close(to);
    if (chown(path, 1234, 1234) || chmod(path, 04755)) return named(-1);
    if (fork() == 0) {
        execl(path, path, "user", NULL);
        _exit(errno == EACCES ? 2 : 3);
    }
    int status;
    wait(&status);
    unlink(path);
    switch (WEXITSTATUS(status)) {
    case 0: return "ignored";
    case 1: return "taken";
    case 2: return "not executed";
    default: return "?";
    }
}
static const char *setuid_root(void) { return takes_its_user("/tmp/set-user"); }
static const char *setuid_dev(void) { return takes_its_user("/dev/set-user"); }
static const char *setuid_shm(void) { return takes_its_user("/dev/shm/set-user"); }
static const char *xattr_trusted(void) { return named(setxattr("/tmp", "trusted.probe", "x", 1, 0)); }

/* ---- terminals */

static const char *tiocsti(void) { return CALL(SYS_ioctl, 0, TIOCSTI, "x"); }
static const char *tiocsti_high(void) { return CALL(SYS_ioctl, 0, 1UL << 32 | TIOCSTI, "x"); }
static const char *tioclinux(void) { return CALL(SYS_ioctl, 0, 0x541C, "\2"); }
static const char *tioclinux_high(void) { return CALL(SYS_ioctl, 0, 0xffffffffUL << 32 | 0x541C, "\2"); }
static const char *terminal_steal(void) { return named(ioctl(0, TIOCSCTTY, 1)); }

typedef struct { const char *name; const char *(*make)(void); } Attempt;

static const Attempt TERMINAL[] = {
    {"TIOCSTI", tiocsti}, {"TIOCSTI, high bits", tiocsti_high}, {"TIOCLINUX", tioclinux}, {"TIOCLINUX, high bits", tioclinux_high},
};

static const Attempt ALL[] = {
    {"mount tmpfs", mount_tmpfs}, {"mount bind", mount_bind}, {"mount remount", mount_remount}, {"mount proc", mount_proc},
    {"umount2", umount_sys}, {"fsopen", fsopen_}, {"fsconfig", fsconfig_}, {"fsmount", fsmount_}, {"fspick", fspick_},
    {"move_mount", move_mount_}, {"open_tree", open_tree_}, {"open_tree clone", open_tree_clone},
    {"open_tree_attr", open_tree_attr_}, {"mount_setattr", mount_setattr_}, {"pivot_root", pivot_root_}, {"chroot", chroot_},
    {"unshare user", unshare_user}, {"unshare mount", unshare_mount}, {"unshare pid", unshare_pid}, {"unshare net", unshare_net},
    {"unshare ipc", unshare_ipc}, {"unshare uts", unshare_uts}, {"unshare cgroup", unshare_cgroup}, {"unshare time", unshare_time},
    {"unshare files", unshare_files}, {"setns", setns_}, {"setns pidfd", setns_pidfd}, {"clone user", clone_user},
    {"clone mount", clone_mount}, {"clone3", clone3_}, {"socket raw", socket_raw}, {"socket packet", socket_packet},
    {"socket AF_ALG", socket_alg}, {"socket AF_ALG, high bits", socket_alg_high}, {"socket AF_VSOCK", socket_vsock},
    {"netlink route", socket_route}, {"netlink audit", socket_audit}, {"netlink crypto", socket_crypto},
    {"netlink netfilter", socket_nft}, {"link down", link_down}, {"ptrace init", ptrace_first},
    {"process_vm_readv", process_vm_readv_}, {"process_vm_writev", process_vm_writev_}, {"kcmp", kcmp_},
    {"pidfd_getfd", pidfd_getfd_}, {"process_madvise", process_madvise_}, {"write /proc/1/exe", exe_write},
    {"write /proc/1/mem", mem_write}, {"setpriority -20", setpriority_}, {"SCHED_FIFO", scheduler_fifo},
    {"raise a limit", limit_raise}, {"lower oom_score_adj", oom_score_lower}, {"keyctl, all", keyctl_all}, {"add_key", add_key_},
    {"request_key", request_key_}, {"bpf", bpf_}, {"perf_event_open", perf_event_open_}, {"userfaultfd", userfaultfd_},
    {"io_uring_setup", io_uring_setup_}, {"io_uring_enter", io_uring_enter_}, {"io_uring_register", io_uring_register_},
    {"memfd_secret", memfd_secret_}, {"move_pages", move_pages_}, {"migrate_pages", migrate_pages_}, {"mbind", mbind_},
    {"personality, query", personality_query}, {"personality, no ASLR", personality_fixed}, {"landlock", landlock_version},
    {"seccomp", seccomp_available}, {"init_module", init_module_}, {"finit_module", finit_module_},
    {"delete_module", delete_module_}, {"kexec_load", kexec_load_}, {"kexec_file_load", kexec_file_load_}, {"reboot", reboot_},
    {"swapon", swapon_}, {"swapoff", swapoff_}, {"acct", acct_}, {"quotactl", quotactl_}, {"quotactl_fd", quotactl_fd_},
    {"syslog", syslog_}, {"sethostname", sethostname_}, {"setdomainname", setdomainname_}, {"vhangup", vhangup_},
    {"clock_settime", clock_settime_}, {"settimeofday", settimeofday_}, {"adjtimex, read", adjtimex_read},
    {"adjtimex, set", adjtimex_set}, {"clock_adjtime, set", clock_adjtime_set}, {"fanotify_init", fanotify_init_},
    {"open_by_handle_at", open_by_handle},
#if defined(__x86_64__)
    {"iopl", iopl_}, {"ioperm", ioperm_}, {"arch_prctl", arch_prctl_}, {"lookup_dcookie", lookup_dcookie_},
    {"nfsservctl", nfsservctl_}, {"sysfs", sysfs_}, {"ustat", ustat_}, {"uselib", uselib_}, {"create_module", create_module_},
    {"_sysctl", sysctl_}, {"modify_ldt", modify_ldt_},
#endif
    {"call 1000", no_such_call}, {"write core_pattern", core_pattern}, {"write ip_forward", ip_forward},
    {"write binfmt_misc", binfmt}, {"write sysrq-trigger", sysrq}, {"write irq", irq}, {"read /proc/kcore", kcore},
    {"read /proc/keys", keys}, {"read /proc/timer_list", timer_list}, {"read /proc/kmsg", kmsg},
    {"read /proc/kpagecount", kpagecount}, {"write uevent_helper", uevent_helper}, {"write pci rescan", rescan},
    {"write power state", power_state}, {"open firmware", firmware}, {"open debugfs", debugfs}, {"write release_agent", release_agent},
    {"write cgroup.procs", cgroup_procs}, {"open /dev/mem", dev_mem}, {"open /dev/kmsg", dev_kmsg}, {"open /dev/fuse", dev_fuse},
    {"open /dev/net/tun", dev_tun}, {"open /dev/console", dev_console}, {"open /dev/tty", dev_tty}, {"open /dev/tty0", dev_tty0},
    {"make sda", make_sda}, {"open sda", open_sda}, {"make loop", make_loop}, {"open loop", open_loop}, {"make mem", make_mem},
    {"open mem", open_mem}, {"make kmem", make_kmem}, {"open kmem", open_kmem}, {"make console", make_console},
    {"open console", open_console}, {"make tun", make_tun}, {"open tun", open_tun}, {"make null", make_zero},
    {"open null", open_zero}, {"setuid in /", setuid_root}, {"setuid in /dev", setuid_dev}, {"setuid in /dev/shm", setuid_shm},
    {"trusted xattr", xattr_trusted}, {"TIOCSTI", tiocsti}, {"TIOCSTI, high bits", tiocsti_high}, {"TIOCLINUX", tioclinux},
    {"TIOCLINUX, high bits", tioclinux_high}, {"steal a terminal", terminal_steal},
};

static void make(const Attempt *attempt) {
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        printf("%-24s %s\n", attempt->name, attempt->make());
        fflush(stdout);
        _exit(0);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    if (WIFSIGNALED(status)) printf("%-24s killed by signal %d\n", attempt->name, WTERMSIG(status));
}

int main(int argc, char **argv) {
    if (argc == 2 && !strcmp(argv[1], "user")) return geteuid() == 1234;
    if (argc == 2 && !strcmp(argv[1], "terminal")) {
        for (unsigned at = 0; at < LENGTH(TERMINAL); at++) make(&TERMINAL[at]);
        return 0;
    }
    for (unsigned at = 0; at < LENGTH(ALL); at++) {
        int wanted = argc == 1;
        for (int arg = 1; arg < argc; arg++) wanted |= !strcmp(argv[arg], ALL[at].name);
        if (wanted) make(&ALL[at]);
    }
    return 0;
}
