//! Where to read on: the manual page of each system call.

/// The page about a call with these arguments, as `name(section)`. Most calls have a page of their own name; here are
/// those that share one, and those whose subject says more than the call.
pub(crate) fn page(primitive: &str, call: &str, args: &str) -> String {
    let page = match call {
        "write" | "openat" | "read" if args.contains("/uid_map") || args.contains("/gid_map") => {
            "user_namespaces(7)"
        }
        "write" if args.contains("/setgroups") => "user_namespaces(7)",
        "write" | "mkdir" | "mkdirat" | "rmdir" if primitive == "cgroup" => "cgroups(7)",
        "sendto" | "sendmsg" | "recvfrom" | "recvmsg" if primitive == "net" => {
            if args.contains("NETLINK_NETFILTER")
                || args.contains("NFNL")
                || args.contains("NFT_")
                || args.contains("IPCTNL_")
                || args.contains("nf_tables")
            {
                "netlink(7)"
            } else {
                "rtnetlink(7)"
            }
        }
        "socket" if args.contains("AF_NETLINK") => "netlink(7)",
        // HTTP has no page in the manual.
        "GET" | "HEAD" | "POST" => return "RFC 9110".to_owned(),
        "clone3" => "clone(2)",
        "umount2" => "umount(2)",
        "setresgid" => "setresuid(2)",
        "setdomainname" => "getdomainname(2)",
        "sethostname" => "gethostname(2)",
        "rt_sigaction" => "sigaction(2)",
        "rt_sigprocmask" => "sigprocmask(2)",
        "prlimit64" => "getrlimit(2)",
        "pread64" => "pread(2)",
        "pwrite64" => "pwrite(2)",
        "signalfd4" => "signalfd(2)",
        "epoll_create1" => "epoll_create(2)",
        "epoll_pwait" | "epoll_pwait2" => "epoll_wait(2)",
        "eventfd2" => "eventfd(2)",
        "pipe2" => "pipe(2)",
        "dup3" | "dup2" => "dup(2)",
        "openat" => "open(2)",
        "mkdirat" => "mkdir(2)",
        "mknodat" => "mknod(2)",
        "symlinkat" => "symlink(2)",
        "linkat" => "link(2)",
        "unlinkat" => "unlink(2)",
        "renameat" | "renameat2" => "rename(2)",
        "readlinkat" => "readlink(2)",
        "fchmod" | "fchmodat" | "fchmodat2" => "chmod(2)",
        "fchown" | "fchownat" | "lchown" => "chown(2)",
        "fchdir" => "chdir(2)",
        "ftruncate" => "truncate(2)",
        "fstat" | "lstat" | "newfstatat" => "stat(2)",
        "faccessat" | "faccessat2" => "access(2)",
        "fsetxattr" | "lsetxattr" => "setxattr(2)",
        "fgetxattr" | "lgetxattr" => "getxattr(2)",
        "fdatasync" => "fsync(2)",
        "fstatfs" => "statfs(2)",
        "getdents64" => "getdents(2)",
        "ppoll" => "poll(2)",
        "waitid" | "wait4" => "wait(2)",
        "capset" | "capget" => "capget(2)",
        "setsockopt" => "getsockopt(2)",
        own => return format!("{own}(2)"),
    };
    page.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pages of section 2 that the calls of rocker's crates are found on.
    const PAGES: &str = "access bind bpf capget chdir chmod chown clone close close_range copy_file_range dup execve fcntl flock fsconfig \
        fsmount fsopen fsync getdents getdomainname gethostname getrlimit getsockopt getxattr ioctl keyctl link listen listxattr lseek mkdir mknod \
        mount mount_setattr move_mount open open_tree openat2 pidfd_getfd pidfd_open pidfd_send_signal pipe pivot_root \
        poll prctl pread pwrite read readlink recv rename rmdir seccomp send setgroups setns setresuid setsid setxattr sigaction \
        signalfd sigprocmask socket socketpair stat statfs statx symlink sync syncfs truncate umask umount unlink unshare \
        utimensat wait write";

    /// The calls that a plan can make, and those that the crates report.
    const CALLS: &str = "chdir close fchdir fchmod fchown fchownat fsconfig fsmount fsopen mkdirat mknodat mount \
        mount_setattr move_mount open_tree openat openat2 pivot_root setdomainname sethostname setns setsid symlinkat \
        umask umount2 unlinkat unshare write capset clone3 close_range dup3 execve fcntl keyctl ioctl prctl prlimit64 \
        read rt_sigaction rt_sigprocmask setgroups setresgid setresuid chmod faccessat2 flock fstat fsync ftruncate \
        getdents64 getxattr fsetxattr lsetxattr mkdir newfstatat pidfd_getfd pidfd_open pidfd_send_signal pread64 \
        pwrite64 rename renameat2 rmdir setsockopt signalfd4 ppoll waitid pipe2 socketpair statfs statx syncfs unlink \
        utimensat seccomp bpf copy_file_range linkat listxattr lseek readlinkat \
        bind listen poll socket symlink wait4";

    #[test]
    fn every_call_of_the_crates_has_a_page_that_exists() {
        let pages: Vec<&str> = PAGES.split_whitespace().collect();
        for call in CALLS.split_whitespace() {
            let found = page("ns", call, "");
            let name = found.strip_suffix("(2)").unwrap_or_default();
            assert!(pages.contains(&name), "{call} is said to be on {found}");
        }
    }

    #[test]
    fn a_call_is_found_under_the_page_that_describes_it() {
        for (primitive, call, args, expected) in [
            ("ns", "clone3", "{flags=CLONE_NEWNS}, 88", "clone(2)"),
            ("fs", "mount_setattr", "3, \"\", 0", "mount_setattr(2)"),
            ("ns", "prctl", "PR_SET_NO_NEW_PRIVS, 1", "prctl(2)"),
            (
                "cgroup",
                "write",
                "</sys/fs/cgroup/a/memory.max>, \"1\", 1",
                "cgroups(7)",
            ),
            (
                "cgroup",
                "openat",
                "AT_FDCWD, \"/sys/fs/cgroup\"",
                "open(2)",
            ),
            (
                "ns",
                "write",
                "/proc/7/uid_map, \"0 1000 1\\n\"",
                "user_namespaces(7)",
            ),
            (
                "ns",
                "write",
                "/proc/7/setgroups, \"deny\"",
                "user_namespaces(7)",
            ),
            ("net", "sendto", "<RTM_NEWLINK>, 96", "rtnetlink(7)"),
            ("net", "sendto", "<NFT_MSG_NEWTABLE>, 96", "netlink(7)"),
            ("state", "write", "5, \"…\", 3", "write(2)"),
            ("image", "GET", "https://registry.example/v2/", "RFC 9110"),
        ] {
            assert_eq!(page(primitive, call, args), expected, "{call}({args})");
        }
    }
}
