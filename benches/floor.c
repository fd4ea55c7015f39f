// What the kernel itself takes for the work of `rocker run --rm IMAGE PROGRAM`: the floor beneath benches/run.sh.
//
//     cc -O2 -static -o floor benches/floor.c
//     floor ROOTFS WORKDIR [--bridge NAME ADDRESS/PREFIX GATEWAY] PROGRAM [ARGUMENT]...
//
// A container as `docker run` makes it, of bare system calls: an overlay over the directory ROOTFS, a cgroup in every
// hierarchy with limits of memory and processes, six namespaces, Docker's mounts, devices, masked and read-only paths
// and capabilities; with --bridge a veth pair to a bridge that is there already. It waits, and takes all of it away.
// ADDRESS and GATEWAY are of IPv4.
//
// It keeps no state, locks nothing, trusts the paths of the image, and loads no system call filter: which one, and so what
// it costs, is the engine's choice. Nor does it wait for the veth, which goes with the network namespace soon after.
// Needs root, and a host of its own (tests/fake_host/enter.sh). The exit status is the program's; 125 where a call failed.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/capability.h>
#include <linux/if_link.h>
#include <linux/keyctl.h>
#include <linux/magic.h>
#include <linux/rtnetlink.h>
#include <linux/sched.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

// Every call either succeeds or ends the process that made it.
#define CHECK(call) checked(call, #call)
#define LENGTH(array) (sizeof(array) / sizeof *(array))

static long checked(long result, const char *call) {
    if (result < 0) {
        dprintf(2, "floor: %s: %s\n", call, strerror(errno));
        _exit(125);
    }
    return result;
}

static char *text(const char *format, ...) __attribute__((format(printf, 1, 2)));
static char *text(const char *format, ...) {
    char *made;
    va_list arguments;
    va_start(arguments, format);
    CHECK(vasprintf(&made, format, arguments));
    va_end(arguments);
    return made;
}

static void write_file(const char *path, const char *content) {
    int file = CHECK(open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    CHECK(write(file, content, strlen(content)));
    close(file);
}

// Cgroups: those of v1 have a tree for each controller, v2 has a single one, and a machine may have both.

static struct tree {
    char path[256], options[256];
    bool unified;
    int tasks;
} trees[32];
static size_t tree_count;

static void find_trees(void) {
    FILE *mounts = fopen("/proc/self/mountinfo", "re");
    CHECK(mounts ? 0 : -1);
    char line[4096], type[32];
    while (fgets(line, sizeof line, mounts)) {
        struct tree tree = {.tasks = -1};
        const char *rest = strstr(line, " - ");
        if (!rest || sscanf(line, "%*s %*s %*s %*s %255s", tree.path) != 1 ||
            sscanf(rest, " - %31s %*s rw,%255s", type, tree.options) < 1 || strncmp(type, "cgroup", 6) != 0)
            continue;
        // What has been mounted over is listed too.
        struct statfs seen;
        if (statfs(tree.path, &seen) < 0 || (seen.f_type != CGROUP_SUPER_MAGIC && seen.f_type != CGROUP2_SUPER_MAGIC))
            continue;
        for (size_t i = 0; i < tree_count; i++)
            if (strcmp(trees[i].path, tree.path) == 0)
                tree.path[0] = 0;
        tree.unified = seen.f_type == CGROUP2_SUPER_MAGIC;
        if (tree.path[0] && tree_count < LENGTH(trees))
            trees[tree_count++] = tree;
    }
    fclose(mounts);
}

static char *cgroup_of(const struct tree *tree, int pid) {
    return text("%s/floor-%d", tree->path, pid);
}

// Returns the directory to make the process in, or -1 where the machine has no v2.
static int make_cgroups(int pid) {
    static const char *const limits[][2] = {
        {"memory.limit_in_bytes", "1073741824"}, {"memory.max", "1073741824"}, {"pids.max", "2048"}};
    int unified = -1;
    for (struct tree *tree = trees; tree < trees + tree_count; tree++) {
        char *cgroup = cgroup_of(tree, pid);
        if (tree->unified) {
            char *given = text("%s/cgroup.subtree_control", tree->path), have[256] = "";
            int controllers = CHECK(open(text("%s/cgroup.controllers", tree->path), O_RDONLY | O_CLOEXEC));
            CHECK(read(controllers, have, sizeof have - 1));
            close(controllers);
            for (char *name = strtok(have, " \n"); name; name = strtok(NULL, " \n"))
                if (strcmp(name, "memory") == 0 || strcmp(name, "pids") == 0)
                    write_file(given, text("+%s", name));
        }
        CHECK(mkdir(cgroup, 0755));
        for (size_t i = 0; i < LENGTH(limits); i++) {
            char *file = text("%s/%s", cgroup, limits[i][0]);
            if (access(file, F_OK) == 0)
                write_file(file, limits[i][1]);
        }
        if (tree->unified) {
            unified = CHECK(open(cgroup, O_PATH | O_DIRECTORY | O_CLOEXEC));
            continue;
        }
        // A new cpuset has no CPU and no memory, and takes no process.
        for (int i = 0; strstr(tree->options, "cpuset") && i < 2; i++) {
            const char *file = i ? "cpuset.mems" : "cpuset.cpus";
            char set[256] = "";
            int from = CHECK(open(text("%s/%s", tree->path, file), O_RDONLY | O_CLOEXEC));
            CHECK(read(from, set, sizeof set - 1));
            close(from);
            write_file(text("%s/%s", cgroup, file), set);
        }
        tree->tasks = CHECK(open(text("%s/tasks", cgroup), O_WRONLY | O_CLOEXEC));
    }
    return unified;
}

static void remove_cgroups(int pid) {
    for (struct tree *tree = trees; tree < trees + tree_count; tree++)
        CHECK(rmdir(cgroup_of(tree, pid)));
}

// The network: requests to the kernel are written one behind the other, and sent at once.

static struct {
    char bytes[1024] __attribute__((aligned(NLMSG_ALIGNTO)));
    size_t length;
    int count;
    struct nlmsghdr *last;
} requests;

static void *put(const void *data, size_t length) {
    void *at = requests.bytes + requests.length;
    memcpy(at, data, length);
    requests.length += NLMSG_ALIGN(length);
    if (requests.last)
        requests.last->nlmsg_len = requests.bytes + requests.length - (char *)requests.last;
    return at;
}

static void request(int type, int flags, const void *header, size_t length) {
    requests.last = NULL;
    struct nlmsghdr message = {.nlmsg_type = type, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags};
    requests.last = put(&message, sizeof message);
    put(header, length);
    requests.count++;
}

static struct rtattr *attribute(int type, const void *data, size_t length) {
    struct rtattr *attribute = put(&(struct rtattr){RTA_LENGTH(length), type}, sizeof *attribute);
    if (length)
        put(data, length);
    return attribute;
}

static void end(struct rtattr *nest) {
    nest->rta_len = requests.bytes + requests.length - (char *)nest;
}

static void send_requests(int socket) {
    CHECK(send(socket, requests.bytes, requests.length, 0));
    while (requests.count > 0) {
        char answer[4096] __attribute__((aligned(NLMSG_ALIGNTO)));
        int length = CHECK(recv(socket, answer, sizeof answer, 0));
        for (struct nlmsghdr *at = (void *)answer; NLMSG_OK(at, length); at = NLMSG_NEXT(at, length)) {
            if (at->nlmsg_type != NLMSG_ERROR)
                continue;
            errno = -((struct nlmsgerr *)NLMSG_DATA(at))->error;
            checked(errno ? -1 : 0, "a request for the network");
            requests.count--;
        }
    }
    requests.length = 0;
    requests.last = NULL;
}

static int netlink_socket(void) {
    return CHECK(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
}

// The container's end of the cable: the kernel is told the number, so that nobody has to ask for it.
enum { LOOPBACK = 1, ETH0 = 2 };

static void lay_cable(const char *bridge, int pid) {
    unsigned master = if_nametoindex(bridge);
    CHECK(master ? 0 : -1);
    char *name = text("floor%d", pid);
    struct ifinfomsg host = {.ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    struct ifinfomsg peer = {.ifi_index = ETH0};
    request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &host, sizeof host);
    attribute(IFLA_IFNAME, name, strlen(name) + 1);
    attribute(IFLA_MASTER, &master, sizeof master);
    struct rtattr *info = attribute(IFLA_LINKINFO, NULL, 0);
    attribute(IFLA_INFO_KIND, "veth", 4);
    struct rtattr *data = attribute(IFLA_INFO_DATA, NULL, 0);
    struct rtattr *other = attribute(VETH_INFO_PEER, NULL, 0);
    put(&peer, sizeof peer);
    attribute(IFLA_IFNAME, "eth0", 5);
    attribute(IFLA_NET_NS_PID, &pid, sizeof pid);
    end(other), end(data), end(info);
    int socket = netlink_socket();
    send_requests(socket);
    close(socket);
}

static void up(int index) {
    struct ifinfomsg link = {.ifi_index = index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    request(RTM_NEWLINK, 0, &link, sizeof link);
}

// Without an address the loopback is all that the network has.
static void configure(int pidfd, const char *address_and_prefix, const char *gateway) {
    int own = CHECK(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
    CHECK(setns(pidfd, CLONE_NEWNET));
    int socket = netlink_socket();
    CHECK(setns(own, CLONE_NEWNET));
    close(own);
    up(LOOPBACK);
    if (address_and_prefix) {
        char written[64] = "";
        struct in_addr address, router;
        unsigned prefix = 0, index = ETH0;
        bool valid = sscanf(address_and_prefix, "%63[0-9.]/%u", written, &prefix) == 2 &&
                     inet_pton(AF_INET, written, &address) == 1 && inet_pton(AF_INET, gateway, &router) == 1;
        errno = EINVAL;
        checked(valid ? 0 : -1, "ADDRESS/PREFIX or GATEWAY");
        struct ifaddrmsg on = {.ifa_family = AF_INET, .ifa_prefixlen = prefix, .ifa_index = ETH0};
        request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &on, sizeof on);
        attribute(IFA_LOCAL, &address, sizeof address);
        attribute(IFA_ADDRESS, &address, sizeof address);
        up(ETH0);
        struct rtmsg route = {.rtm_family = AF_INET, .rtm_table = RT_TABLE_MAIN, .rtm_protocol = RTPROT_BOOT,
                              .rtm_scope = RT_SCOPE_UNIVERSE, .rtm_type = RTN_UNICAST};
        request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &route, sizeof route);
        attribute(RTA_GATEWAY, &router, sizeof router);
        attribute(RTA_OIF, &index, sizeof index);
    }
    send_requests(socket);
    close(socket);
}

// The root file system.

static int make_overlay(const char *rootfs, const char *dir) {
    const char *const options[][2] = {{"source", "overlay"},
                                      {"lowerdir", rootfs},
                                      {"upperdir", text("%s/upper", dir)},
                                      {"workdir", text("%s/work", dir)}};
    CHECK(mkdir(dir, 0700));
    CHECK(mkdir(options[2][1], 0755));
    CHECK(mkdir(options[3][1], 0700));
    int context = CHECK(fsopen("overlay", FSOPEN_CLOEXEC));
    for (size_t i = 0; i < LENGTH(options); i++)
        CHECK(fsconfig(context, FSCONFIG_SET_STRING, options[i][0], options[i][1], 0));
    CHECK(fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
    int root = CHECK(fsmount(context, FSMOUNT_CLOEXEC, 0));
    close(context);
    return root;
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *place) {
    (void)status, (void)kind, (void)place;
    return remove(path);
}

// Files that the container has from its host.
static const char *const files[][2] = {
    {"hostname", "floor\n"}, {"hosts", "127.0.0.1 localhost\n"}, {"resolv.conf", "nameserver 192.0.2.53\n"}};

enum { SAFE = MS_NOSUID | MS_NODEV | MS_NOEXEC };

static void mount_on(const char *at, const char *type, unsigned long flags, const char *options) {
    if (mkdir(at, 0755) < 0 && errno != EEXIST)
        checked(-1, at);
    checked(mount(type, at, type, flags, options), at);
}

static void mount_all(void) {
    mount_on("proc", "proc", SAFE, NULL);
    mount_on("dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k");
    mount_on("dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5");
    mount_on("dev/mqueue", "mqueue", SAFE, NULL);
    mount_on("dev/shm", "tmpfs", SAFE, "mode=1777,size=67108864");
    mount_on("sys", "sysfs", SAFE, NULL);
    if (tree_count == 1 && trees[0].unified) {
        mount_on("sys/fs/cgroup", "cgroup2", SAFE | MS_RDONLY, NULL);
    } else {
        mount_on("sys/fs/cgroup", "tmpfs", SAFE, "mode=755");
        for (struct tree *tree = trees; tree < trees + tree_count; tree++)
            mount_on(text("sys/fs/cgroup%s", strrchr(tree->path, '/')), tree->unified ? "cgroup2" : "cgroup",
                     SAFE | MS_RDONLY, tree->unified ? NULL : tree->options);
        CHECK(mount(NULL, "sys/fs/cgroup", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | SAFE, NULL));
    }
    CHECK(mount(NULL, "sys", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | SAFE, NULL));
}

static void make_devices(void) {
    static const struct {
        const char *path;
        int major, minor;
    } nodes[] = {{"dev/null", 1, 3},   {"dev/zero", 1, 5},    {"dev/full", 1, 7},
                 {"dev/random", 1, 8}, {"dev/urandom", 1, 9}, {"dev/tty", 5, 0}};
    static const char *const links[][2] = {
        {"/proc/self/fd", "dev/fd"},         {"/proc/self/fd/0", "dev/stdin"}, {"/proc/self/fd/1", "dev/stdout"},
        {"/proc/self/fd/2", "dev/stderr"},   {"/proc/kcore", "dev/core"},      {"pts/ptmx", "dev/ptmx"}};
    for (size_t i = 0; i < LENGTH(nodes); i++)
        CHECK(mknod(nodes[i].path, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)));
    for (size_t i = 0; i < LENGTH(links); i++)
        CHECK(symlink(links[i][0], links[i][1]));
}

// The kernel may be built without some of them.
static void hide_paths(void) {
    static const char *const masked[] = {
        "proc/acpi", "proc/asound", "proc/interrupts", "proc/kcore", "proc/keys", "proc/latency_stats", "proc/sched_debug",
        "proc/scsi", "proc/timer_list", "proc/timer_stats", "sys/devices/virtual/powercap", "sys/firmware"};
    static const char *const read_only[] = {"proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"};
    for (size_t i = 0; i < LENGTH(masked); i++) {
        struct stat status;
        if (stat(masked[i], &status) < 0)
            CHECK(errno == ENOENT ? 0 : -1);
        else if (S_ISDIR(status.st_mode))
            checked(mount("tmpfs", masked[i], "tmpfs", SAFE | MS_RDONLY, NULL), masked[i]);
        else
            checked(mount("dev/null", masked[i], NULL, MS_BIND, NULL), masked[i]);
    }
    for (size_t i = 0; i < LENGTH(read_only); i++) {
        if (mount(read_only[i], read_only[i], NULL, MS_BIND | MS_REC, NULL) < 0) {
            CHECK(errno == ENOENT ? 0 : -1);
            continue;
        }
        checked(mount(NULL, read_only[i], NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | SAFE, NULL), read_only[i]);
    }
}

static void drop_capabilities(void) {
    static const int kept[] = {CAP_CHOWN,  CAP_DAC_OVERRIDE, CAP_FOWNER,           CAP_FSETID,  CAP_KILL,
                               CAP_SETGID, CAP_SETUID,       CAP_SETPCAP,          CAP_NET_RAW, CAP_SYS_CHROOT,
                               CAP_MKNOD,  CAP_AUDIT_WRITE,  CAP_NET_BIND_SERVICE, CAP_SETFCAP};
    uint64_t set = 0;
    for (size_t i = 0; i < LENGTH(kept); i++)
        set |= UINT64_C(1) << kept[i];
    // The kernel may know fewer than its headers do.
    for (int cap = 0; cap <= CAP_LAST_CAP; cap++)
        if (!(set >> cap & 1) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 && errno != EINVAL)
            checked(-1, "drop a capability");
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {{set, set, 0}, {set >> 32, set >> 32, 0}};
    CHECK(syscall(SYS_capset, &header, data));
}

// The first process of the container, until it is the program.
static void contain(const char *rootfs, const char *dir, int root, int ready, char **program) {
    CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0));
    // A process that moves itself spares the kernel a wait.
    for (struct tree *tree = trees; tree < trees + tree_count; tree++)
        if (!tree->unified)
            CHECK(write(tree->tasks, "0", 1));
    // Not in clone3, where the root of the namespace would be the cgroup of the parent.
    CHECK(unshare(CLONE_NEWCGROUP));
    CHECK(syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL, 0, 0, 0));
    CHECK(setsid());
    CHECK(sethostname("floor", 5));
    umask(0);

    CHECK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
    CHECK(move_mount(root, "", AT_FDCWD, rootfs, MOVE_MOUNT_F_EMPTY_PATH));
    CHECK(fchdir(root));
    mount_all();
    for (size_t i = 0; i < LENGTH(files); i++) {
        char *at = text("etc/%s", files[i][0]);
        close(CHECK(open(at, O_WRONLY | O_CREAT | O_CLOEXEC, 0644)));
        CHECK(mount(text("%s/%s", dir, files[i][0]), at, NULL, MS_BIND, NULL));
    }
    make_devices();
    hide_paths();
    CHECK(syscall(SYS_pivot_root, ".", "."));
    CHECK(umount2(".", MNT_DETACH));
    CHECK(chdir("/"));
    umask(022);

    drop_capabilities();
    char word;
    CHECK(read(ready, &word, 1) == 1 ? 0 : -1);
    char *environment[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", NULL};
    CHECK(execvpe(program[0], program, environment));
}

int main(int argc, char **argv) {
    const char *bridge = NULL, *address = NULL, *gateway = NULL;
    char **program = argv + 3;
    if (argc > 7 && strcmp(argv[3], "--bridge") == 0) {
        bridge = argv[4], address = argv[5], gateway = argv[6];
        program = argv + 7;
    }
    if (argc < 4 || program[0][0] == '-') {
        dprintf(2, "usage: floor ROOTFS WORKDIR [--bridge NAME ADDRESS/PREFIX GATEWAY] PROGRAM [ARGUMENT]...\n");
        return 125;
    }
    int own = getpid();
    char *rootfs = realpath(argv[1], NULL), *workdir = realpath(argv[2], NULL);
    CHECK(rootfs && workdir ? 0 : -1);
    char *dir = text("%s/floor-%d", workdir, own);

    int root = make_overlay(rootfs, dir);
    for (size_t i = 0; i < LENGTH(files); i++)
        write_file(text("%s/%s", dir, files[i][0]), files[i][1]);
    find_trees();
    int unified = make_cgroups(own);

    int ready[2], pidfd = -1;
    CHECK(pipe2(ready, O_CLOEXEC));
    struct clone_args args = {
        .flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_PIDFD,
        .pidfd = (uintptr_t)&pidfd,
        .exit_signal = SIGCHLD,
    };
    if (unified >= 0) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = unified;
    }
    int pid = CHECK(syscall(SYS_clone3, &args, sizeof args));
    if (pid == 0) {
        // So that the end of the parent ends the wait for it.
        close(ready[1]);
        contain(rootfs, dir, root, ready[0], program);
    }
    // The overlay is the container's alone, and ends with it.
    close(root);
    if (bridge)
        lay_cable(bridge, pid);
    configure(pidfd, address, gateway);
    CHECK(write(ready[1], "G", 1));
    siginfo_t end;
    CHECK(waitid(P_PIDFD, pidfd, &end, WEXITED));

    remove_cgroups(own);
    CHECK(nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS));
    return end.si_code == CLD_EXITED ? end.si_status : 128 + end.si_status;
}
