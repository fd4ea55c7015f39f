//! Steps that are needed often.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::Step;
use crate::step::Arg;

impl Step {
    /// Writes `text` to an open file, in one [write(2)](https://man7.org/linux/man-pages/man2/write.2.html), as the files
    /// of the kernel want it: `0` to the `tasks` file of a cgroup of v1, for one.
    #[must_use]
    pub fn write(file: impl Into<OwnedFd>, text: &str) -> Self {
        let length = Arg::Int(text.len() as i64);
        let bytes = Arg::bytes(text.as_bytes(), format!("{text:?}"));
        let file = Arg::Fd(Arc::new(file.into()));
        Self::internal("write", vec![file, bytes, length])
    }

    /// Cuts the mounts of a new mount namespace off from those of the host, which it is born a peer of: without this
    /// step a mount that the container makes appears on the host too, see
    /// [mount_namespaces(7)](https://man7.org/linux/man-pages/man7/mount_namespaces.7.html). To be the first step of a
    /// program with [`Namespace::Mount`](crate::Namespace::Mount).
    #[doc(alias = "MS_PRIVATE")]
    #[must_use]
    pub fn private_mounts() -> Self {
        let flags = libc::MS_REC | libc::MS_PRIVATE;
        let flags = Arg::flags(flags, "MS_REC|MS_PRIVATE");
        let root = Arg::Str(c"/".into());
        Self::internal("mount", vec![Arg::Null, root, Arg::Null, flags, Arg::Null])
            .because("so that no mount of the container's appears on the host")
    }

    /// Mounts a new `/proc`, which shows the processes of the new PID namespace and none of the host's, see
    /// [proc(5)](https://man7.org/linux/man-pages/man5/proc.5.html). For a program with
    /// [`Namespace::Pid`](crate::Namespace::Pid), behind [`Step::private_mounts`].
    #[must_use]
    pub fn mount_proc() -> Self {
        let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
        let flags = Arg::flags(flags, "MS_NOSUID|MS_NODEV|MS_NOEXEC");
        let proc = || Arg::Str(c"proc".into());
        let target = Arg::Str(c"/proc".into());
        Self::internal("mount", vec![proc(), target, proc(), flags, Arg::Null])
            .because("so that /proc shows the container's processes and none of the host's")
    }
}
