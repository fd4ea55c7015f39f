//! What a failure most likely means, and what helps: by call, arguments and errno, and by facts about the machine.

use crate::engine::View;
use crate::engine::host::Host;
use crate::{Error, error::FailedCall};

mod errno;
mod machine;
mod program;
mod registry;

use errno::*;
pub(crate) use machine::{controller_missing, no_namespaces, no_user_namespace, not_permitted};
use machine::{name_too_long, no_overlay, no_such_call, too_many_files, too_many_files_of_all};

/// A guess that is right more often than not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Advice {
    /// Why the kernel most likely refused.
    pub(crate) cause: String,
    /// What to do about it.
    pub(crate) remedy: String,
}

impl Advice {
    pub(crate) fn new(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            cause: cause.into(),
            remedy: remedy.into(),
        }
    }
}

/// What most likely is behind an error; none where nobody knows, or where the error says it itself.
///
/// `view` is what the program would have seen, made only where that is looked at.
pub(crate) fn of(
    error: &Error,
    host: &Host,
    view: impl FnOnce() -> Option<View>,
) -> Option<Advice> {
    match error {
        Error::Ns(rocker_ns::Error::NotFound { program, tried, .. }) => {
            let seen = view().and_then(|view| program::why(&view, program, tried, error.errno()?));
            seen.or_else(|| of_call(&error.call()?, host))
        }
        Error::Ns(rocker_ns::Error::NotExecutable { program, .. }) => {
            let seen = view().and_then(|view| program::why(&view, program, &[], error.errno()?));
            seen.or_else(|| of_call(&error.call()?, host))
        }
        Error::Fs(rocker_fs::Error::UpperOnOverlay { .. }) => Some(Advice::new(
            "rocker's data are on an overlay themselves, as in a container without a volume",
            "ROCKER_ROOT=DIR on a disk or a tmpfs, in a container a volume at /var/lib/rocker, or --storage-opt driver=vfs, which copies the image",
        )),
        Error::Fs(error) if error.is_unfit() => Some(Advice::new(
            "overlayfs cannot keep what containers change where rocker's data are",
            "ROCKER_ROOT=DIR on ext4, xfs, btrfs or tmpfs, or --storage-opt driver=vfs, which copies the image",
        )),
        Error::Cgroup(error) => of_cgroup(error),
        Error::Image(error) => registry::of(error),
        Error::ElsewhereLimited { .. } => Some(Advice::new(
            "a process goes from one cgroup to another only for those who may write to the one above both",
            "systemd-run --user --scope rocker exec CONTAINER COMMAND, which runs it beside the unit that the container is in",
        )),
        Error::NoLimit { .. } => Some(Advice::new(
            "limits are kept by cgroups, which an ordinary user cannot make",
            "leave the limit out, or run rocker as root",
        )),
        _ => None,
    }
    .or_else(|| of_call(&error.call()?, host))
}

fn of_call(failed: &FailedCall, host: &Host) -> Option<Advice> {
    likely(&failed.call, &failed.args, failed.errno, host)
}

fn of_cgroup(error: &rocker_cgroup::Error) -> Option<Advice> {
    use rocker_cgroup::Error as E;
    Some(match error {
        E::MissingController { controller, .. } => controller_missing(controller.name()),
        E::NoHierarchy => Advice::new(
            "nothing is mounted at /sys/fs/cgroup, as in a bare chroot or a minimal container",
            "mount -t cgroup2 cgroup2 /sys/fs/cgroup",
        ),
        E::ReadOnly { .. } => Advice::new(
            "rocker runs inside of a container, which may only look at its cgroups",
            "run rocker on the host, or in a container with --privileged",
        ),
        _ => return None,
    })
}

/// What most likely is behind this errno of this call; none where nobody knows.
pub(crate) fn likely(call: &str, args: &str, errno: i32, host: &Host) -> Option<Advice> {
    let (cause, remedy) = match (call, errno) {
        ("execve", ENOENT) => (
            "the image has no such program, or lacks the interpreter or loader that the program names",
            "look into the image: rocker run --rm -it IMAGE sh",
        ),
        ("execve", EACCES) => (
            "the file is no program, has no x permission, or its mount is noexec",
            "chmod +x it in the image, or name its interpreter: sh FILE",
        ),
        ("execve", ENOEXEC) => (
            "the program is for another architecture, or a script without #!",
            "pull the image for this machine, or name the script's interpreter",
        ),
        ("execve", E2BIG) => (
            "one argument or variable is longer than 128 KiB, or all together take more than a quarter of the stack",
            "hand long values over in a file (-v) or on standard input (-i), or raise the stack: ulimit -s",
        ),
        ("execve", ELOOP) => (
            "symbolic links lead in a circle, or scripts are each other's interpreters",
            "name the program that is meant by its own path",
        ),
        (_, EMFILE) => return Some(too_many_files(host)),
        (_, ENFILE) => return Some(too_many_files_of_all(host)),
        (_, ENAMETOOLONG) => return Some(name_too_long(host)),
        ("openat", ENOENT) if args.contains("O_PATH") => (
            "the path of a volume does not exist on the host",
            "make it first: mkdir -p PATH",
        ),
        ("openat2" | "mkdirat", ENOTDIR) => (
            "the image has a file where a directory is needed",
            "choose another directory for -w or -v",
        ),
        ("mkdirat", ENOENT | EPERM | EACCES) => (
            "the file system there makes no directories, as /proc and /sys do not",
            "choose another place in the container for the volume",
        ),
        ("openat2", ELOOP) => (
            "a symbolic link of the image lies in the way of a mount",
            "mount at the place that the link points to",
        ),
        ("clone3" | "clone" | "unshare", ENOSPC | EUSERS)
            if args.contains("CLONE_NEWUSER") && host.user_namespaces_barred_by().is_some() =>
        {
            return Some(no_user_namespace(host));
        }
        ("clone3" | "clone" | "unshare", ENOSPC | EUSERS) => return Some(no_namespaces(host)),
        ("setresuid" | "setresgid" | "setgroups", EINVAL) => (
            "the user namespace has no user or group of that number",
            "a map that has it; for an ordinary user subordinate ids: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER",
        ),
        ("write", ENOENT) if args.contains("\"exec ") => (
            "no AppArmor profile of this name is loaded",
            "aa-status lists those that are; as root: apparmor_parser --replace FILE",
        ),
        ("setgroups", EPERM) => (
            "in a user namespace of one group nobody has other groups",
            "subordinate ids: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER",
        ),
        ("clone3" | "clone", EAGAIN) => (
            "the limit of processes is reached, of this user or of this cgroup (pids.max)",
            "end some, or raise it: ulimit -u",
        ),
        ("clone3" | "clone" | "unshare", EINVAL) => (
            "the kernel was built without one of these kinds of namespaces",
            "rocker doctor says which",
        ),
        ("mkdir" | "write", EROFS) if args.contains("cgroup") => (
            "the cgroup file system is read-only, as it is inside of a container",
            "run rocker on the host, or in a container with a writable cgroup",
        ),
        (_, EROFS) if args.contains("/proc/sys") => (
            "/proc/sys is read-only, as it is inside of a container",
            "run rocker on the host, or in a privileged container; or do without: --network none",
        ),
        ("mkdirat" | "mknodat" | "symlinkat" | "openat2", EROFS) => (
            "something would have to be made in a volume that is read-only, such as a place to mount on",
            "make it on the host first, or mount that volume without :ro",
        ),
        (_, EROFS) => (
            "the file system is mounted read-only",
            "ROCKER_ROOT=DIR and ROCKER_RUN=DIR on file systems that can be written",
        ),
        // What a network or a mount cannot have more of is no disk.
        ("sendto" | "mount" | "fsmount" | "move_mount", ENOSPC) => (
            "the kernel has no room for more mounts or addresses: see fs.mount-max",
            "remove some, or raise it: sysctl fs.mount-max",
        ),
        (_, ENOSPC) => (
            "the disk is full, or out of inodes",
            "rocker rm and rocker rmi free what is not needed; df -h and df -i show what is",
        ),
        (_, EDQUOT) => (
            "this user's quota of the disk is used up",
            "rocker rm and rocker rmi free what is not needed",
        ),
        (_, ENOMEM) => (
            "the machine, or the cgroup that rocker itself is in, is out of memory",
            "end something else, or give rocker's cgroup more",
        ),
        ("fsopen" | "mount" | "fsconfig" | "overlayfs", ENODEV) => (
            "the kernel has no such file system, or its module is not loaded",
            "modprobe overlay; a kernel has it with CONFIG_OVERLAY_FS",
        ),
        ("fsconfig" | "mount", EINVAL) if args.contains("overlay") => {
            return Some(no_overlay(host));
        }
        ("sendto", EOPNOTSUPP) => (
            "the kernel lacks a module for the container's network: bridge, veth or nf_tables",
            "modprobe -a bridge veth nf_tables nft_masq nft_chain_nat, or do without: --network none",
        ),
        (_, ENOENT) if args.contains("/proc/") && !host.has_proc() => {
            ("/proc is not mounted here", "mount -t proc proc /proc")
        }
        (_, ENETUNREACH | EHOSTUNREACH) => (
            "this machine has no route to that address, or no network at all",
            "ip route shows the routes",
        ),
        (_, ECONNREFUSED) => (
            "nothing listens at that address and port, or a firewall refuses it",
            "check the name and the port, or start the registry",
        ),
        (_, ENOSYS) => return Some(no_such_call(call, host)),
        ("clone3" | "clone" | "unshare", EPERM) if args.contains("CLONE_NEWUSER") => {
            return Some(no_user_namespace(host));
        }
        (
            "clone3" | "clone" | "unshare" | "setns" | "mount" | "fsopen" | "fsmount" | "fsconfig"
            | "move_mount" | "open_tree" | "mount_setattr" | "pivot_root" | "sethostname"
            | "umount2" | "execveat",
            EPERM | EACCES,
        ) => return Some(not_permitted(host)),
        _ => return None,
    };
    Some(Advice::new(cause, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::host::tests::with;

    #[test]
    fn advice_is_for_the_call_it_fits_and_silent_elsewhere() {
        let (_dir, host) = with(&[]);
        let program = likely("execve", "\"/bin/x\"", ENOENT, &host).unwrap();
        assert!(program.cause.contains("no such program"));
        let volume = likely("openat", "AT_FDCWD, \"/x\", O_PATH", ENOENT, &host).unwrap();
        assert!(volume.remedy.contains("mkdir"));
        let reading = "AT_FDCWD, \"/x\", O_RDONLY";
        assert_eq!(likely("openat", reading, ENOENT, &host), None);
        assert_eq!(likely("close", "3", EPERM, &host), None);
    }

    /// What is said of a call on a machine with these files in /proc.
    fn said(call: &str, args: &str, errno: i32, files: &[(&str, &str)]) -> String {
        let (_dir, host) = with(files);
        let advice = likely(call, args, errno, &host).unwrap();
        format!("{} / {}", advice.cause, advice.remedy)
    }

    #[test]
    fn facts_of_the_machine_decide_between_causes() {
        let lacking = ("self/status", "CapEff:\t0000000000000000\n");
        let filtered = ("self/status", "CapEff:\tffffffffffffffff\nSeccomp:\t2\n");
        let new = ("sys/kernel/osrelease", "6.8.0\n");
        let limits = ("self/limits", "Max open files   20   4096   files\n");
        let none = ("sys/user/max_net_namespaces", "0\n");
        let barred = ("sys/kernel/apparmor_restrict_unprivileged_userns", "1\n");
        let nfs = ("self/mountinfo", "1 0 0:1 / / rw - nfs4 x:/ rw\n");
        let encrypted = ("self/mountinfo", "1 0 0:1 / / rw - ecryptfs x rw\n");
        let profile = ("self/attr/current", "docker-default (enforce)\n");
        let old = ("sys/kernel/osrelease", "4.19.0\n");
        for (call, args, errno, files, says) in [
            (
                "mount",
                "",
                EPERM,
                vec![lacking],
                "CAP_SYS_ADMIN, as root inside",
            ),
            ("mount", "", EPERM, vec![filtered], "seccomp filter"),
            ("mount", "", EPERM, vec![profile], "docker-default"),
            ("openat2", "", ENOSYS, vec![filtered, new], "hides openat2"),
            (
                "openat2",
                "",
                ENOSYS,
                vec![old],
                "Linux 4.19, which is too old",
            ),
            ("read", "", EMFILE, vec![limits], "may have 20 files open"),
            (
                "clone3",
                "",
                ENOSPC,
                vec![none],
                "user.max_net_namespaces=10000",
            ),
            (
                "clone3",
                "",
                ENOSPC,
                vec![],
                "limit of namespaces is reached",
            ),
            (
                "unshare",
                "CLONE_NEWUSER",
                EPERM,
                vec![barred],
                "restrict_unprivileged_userns=0",
            ),
            (
                "fsconfig",
                "\"overlay\"",
                EINVAL,
                vec![nfs],
                "data are on nfs4",
            ),
            ("openat", "", ENAMETOOLONG, vec![encrypted], "143 bytes"),
            ("openat", "", ENAMETOOLONG, vec![nfs], "255 bytes"),
            ("write", "8, \"exec x\", 6", ENOENT, vec![], "aa-status"),
            (
                "openat",
                "\"/proc/self/x\"",
                ENOENT,
                vec![],
                "mount -t proc",
            ),
        ] {
            let said = said(call, args, errno, &files);
            assert!(said.contains(says), "{call} {errno}: {said}");
        }
    }
}
