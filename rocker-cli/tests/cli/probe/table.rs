//! What comes of each attempt of `tests/probe/attempts.c`.

/// The attempt; what comes of it in a container of root's, and in one in a user namespace where that is something else. Where there are
/// several, it depends on what the kernel was built with, and each of them is harmless.
#[rustfmt::skip]
pub const TABLE: &str = "\
mount tmpfs              EPERM
mount bind               EPERM
mount remount            EPERM
mount proc               EPERM
umount2                  EPERM
fsopen                   EPERM
fsconfig                 EPERM
fsmount                  EPERM
fspick                   EPERM
move_mount               EPERM
open_tree                EPERM
open_tree clone          EPERM
open_tree_attr           ENOSYS
mount_setattr            EPERM
pivot_root               EPERM
chroot                   ok
unshare user             EPERM
unshare mount            EPERM
unshare pid              EPERM
unshare net              EPERM
unshare ipc              EPERM
unshare uts              EPERM
unshare cgroup           EPERM
unshare time             EPERM
unshare files            EPERM
setns                    EPERM
setns pidfd              EPERM
clone user               EPERM
clone mount              EPERM
clone3                   ENOSYS
socket raw               ok
socket packet            ok
socket AF_ALG            EPERM
socket AF_ALG, high bits EPERM
socket AF_VSOCK          EPERM
netlink route            ok
netlink audit            ok|EPROTONOSUPPORT
netlink crypto           ok|EPROTONOSUPPORT
netlink netfilter        ok|EPROTONOSUPPORT
link down                EPERM
ptrace init              ok
process_vm_readv         ok
process_vm_writev        ok
kcmp                     EPERM
pidfd_getfd              EPERM
process_madvise          EPERM
write /proc/1/exe        ETXTBSY
write /proc/1/mem        ok
setpriority -20          EACCES
SCHED_FIFO               EPERM
raise a limit            EPERM
lower oom_score_adj      EACCES
keyctl, all              EPERM
add_key                  EPERM
request_key              EPERM
bpf                      EPERM
perf_event_open          EPERM
userfaultfd              EPERM
io_uring_setup           EPERM
io_uring_enter           EPERM
io_uring_register        EPERM
memfd_secret             ok|ENOSYS
move_pages               EPERM
migrate_pages            EPERM
mbind                    EPERM
personality, query       ok
personality, no ASLR     EPERM
landlock                 ok|EOPNOTSUPP|ENOSYS
seccomp                  ok
init_module              EPERM
finit_module             EPERM
delete_module            EPERM
kexec_load               EPERM
kexec_file_load          EPERM
reboot                   EPERM
swapon                   EPERM
swapoff                  EPERM
acct                     EPERM
quotactl                 EPERM
quotactl_fd              EPERM
syslog                   EPERM
sethostname              EPERM
setdomainname            EPERM
vhangup                  EPERM
clock_settime            EPERM
settimeofday             EPERM
adjtimex, read           ok
adjtimex, set            EPERM
clock_adjtime, set       EPERM
fanotify_init            EPERM
open_by_handle_at        EPERM
iopl                     EPERM
ioperm                   EPERM
arch_prctl               ok
lookup_dcookie           EPERM
nfsservctl               EPERM
sysfs                    EPERM
ustat                    EPERM
uselib                   EPERM
create_module            EPERM
_sysctl                  EPERM
modify_ldt               ok|ENOSYS
call 1000                ENOSYS
write core_pattern       EROFS                  EACCES
write ip_forward         EROFS                  EACCES
write binfmt_misc        ENOENT|EROFS           ENOENT|EACCES
write sysrq-trigger      ENOENT|EROFS           ENOENT|EACCES
write irq                EROFS|ENOENT           EACCES|ENOENT
read /proc/kcore         empty|ENOENT
read /proc/keys          empty|ENOENT
read /proc/timer_list    empty|ENOENT
read /proc/kmsg          EPERM                  EACCES
read /proc/kpagecount    EINVAL|ENOENT          EACCES|ENOENT
write uevent_helper      EROFS|ENOENT           EACCES|ENOENT
write pci rescan         EROFS|ENOENT           EACCES|ENOENT
write power state        EROFS|ENOENT           EACCES|ENOENT
open firmware            ok|ENOENT
open debugfs             ENOENT
write release_agent      ENOENT
write cgroup.procs       EROFS                  EACCES
open /dev/mem            ENOENT
open /dev/kmsg           ENOENT
open /dev/fuse           ENOENT
open /dev/net/tun        ENOENT
open /dev/console        ENOENT
open /dev/tty            ENXIO
open /dev/tty0           ENOENT
make sda                 ok                     EPERM
open sda                 EACCES                 ENOENT
make loop                ok                     EPERM
open loop                EACCES                 ENOENT
make mem                 ok                     EPERM
open mem                 EACCES                 ENOENT
make kmem                ok                     EPERM
open kmem                EACCES                 ENOENT
make console             ok                     EPERM
open console             EACCES                 ENOENT
make tun                 ok                     EPERM
open tun                 EACCES                 ENOENT
make null                ok                     EPERM
open null                EACCES                 ENOENT
setuid in /              taken
setuid in /dev           ignored
setuid in /dev/shm       not executed
trusted xattr            EPERM
TIOCSTI                  EPERM
TIOCSTI, high bits       EPERM
TIOCLINUX                EPERM
TIOCLINUX, high bits     EPERM
steal a terminal         ENOTTY
";
