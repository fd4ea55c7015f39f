//! What a failed system call most likely means, and what helps.

/// A guess that is right more often than not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Advice {
    /// Why the kernel most likely refused.
    pub(crate) cause: &'static str,
    /// What to do about it.
    pub(crate) remedy: &'static str,
}

/// The errnos that are spoken of here; the same on every Linux that rocker runs on.
const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const ENOEXEC: i32 = 8;
const EACCES: i32 = 13;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;
const ENOSYS: i32 = 38;
const ELOOP: i32 = 40;

/// What most likely is behind this errno of this call; none where nobody knows.
pub(crate) fn likely(call: &str, args: &str, errno: i32) -> Option<Advice> {
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
        ("openat", ENOENT) if args.contains("O_PATH") => (
            "the path of a volume does not exist on the host",
            "make it first: mkdir -p PATH",
        ),
        ("openat2", ELOOP) => (
            "a symbolic link of the image lies in the way of a mount",
            "mount at the place that the link points to",
        ),
        ("clone3" | "unshare", ENOSPC) => (
            "the limit of namespaces is reached, see /proc/sys/user",
            "end other containers, or raise the limit: sysctl user.max_mnt_namespaces",
        ),
        ("mkdir" | "write", EROFS) if args.contains("cgroup") => (
            "the cgroup file system is read-only, as it is inside of a container",
            "run rocker on the host, or in a container with a writable cgroup",
        ),
        ("write" | "mkdir" | "openat" | "pwrite64", ENOSPC) => (
            "the disk is full, or out of inodes",
            "rocker rm and rocker rmi free what is not needed",
        ),
        (_, ENOSYS) => (
            "the kernel is older than this call, or a seccomp filter hides it",
            "Linux 5.12 has all that rocker needs",
        ),
        (
            "clone3" | "unshare" | "setns" | "mount" | "fsopen" | "fsmount" | "move_mount"
            | "open_tree" | "mount_setattr" | "pivot_root" | "sethostname",
            EPERM,
        ) => (
            "this root lacks CAP_SYS_ADMIN, or a security module forbids it: is this a container already?",
            "run rocker on the host, or in a privileged container",
        ),
        _ => return None,
    };
    Some(Advice { cause, remedy })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_for_the_call_it_fits_and_silent_elsewhere() {
        let program = likely("execve", "\"/bin/x\"", ENOENT).unwrap();
        assert!(program.cause.contains("no such program"));
        let volume = likely("openat", "AT_FDCWD, \"/x\", O_PATH", ENOENT).unwrap();
        assert!(volume.remedy.contains("mkdir"));
        assert_eq!(likely("openat", "AT_FDCWD, \"/x\", O_RDONLY", ENOENT), None);
        assert_eq!(likely("close", "3", EPERM), None);
    }
}
