//! What is asked for: a program, and how it is to be contained.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::mem;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nix::unistd::Uid;

use crate::created::Created;
use crate::plan::Plan;
use crate::{
    Capabilities, Child, IdMap, Namespace, Result, Rlimit, SeccompFilter, Stdio, Step, User,
    attest, build, kernel_file,
};

/// A program to start in namespaces, in the manner of [`std::process::Command`].
///
/// Unlike there, the environment starts out empty, and every open file but the standard streams is closed.
#[derive(Debug)]
pub struct Command {
    pub(crate) program: OsString,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: BTreeMap<OsString, OsString>,
    pub(crate) current_dir: Option<PathBuf>,
    pub(crate) stdin: Stdio,
    pub(crate) stdout: Stdio,
    pub(crate) stderr: Stdio,
    pub(crate) terminal: bool,
    pub(crate) init: bool,
    pub(crate) unshare: Vec<Namespace>,
    pub(crate) join: Vec<(Namespace, Arc<OwnedFd>)>,
    pub(crate) enter: Option<(Arc<OwnedFd>, Vec<Namespace>)>,
    pub(crate) uid_map: Vec<IdMap>,
    pub(crate) gid_map: Vec<IdMap>,
    pub(crate) cgroup: Option<OwnedFd>,
    pub(crate) hostname: Option<OsString>,
    pub(crate) domainname: Option<OsString>,
    pub(crate) steps: FurtherSteps,
    pub(crate) user: Option<User>,
    pub(crate) capabilities: Option<Capabilities>,
    pub(crate) no_new_privileges: bool,
    pub(crate) apparmor_profile: Option<String>,
    pub(crate) selinux_label: Option<String>,
    pub(crate) rlimits: Vec<Rlimit>,
    pub(crate) oom_score_adj: Option<i16>,
    pub(crate) umask: u32,
    pub(crate) seccomp: Option<SeccompFilter>,
    pub(crate) die_with_parent: bool,
    pub(crate) timed: bool,
    pub(crate) ready_within: Option<Duration>,
    pub(crate) fail_at: Option<usize>,
    /// Whether setgroups(2) is denied to the caller; looked up once.
    denied_groups: OnceLock<bool>,
}

/// The steps of a plan that somebody else has made.
#[derive(Debug, Clone, Default)]
pub(crate) struct FurtherSteps {
    /// What the child does before it waits for its parent.
    pub(crate) first: Vec<Step>,
    /// What it does in its namespaces, with its privileges.
    pub(crate) setup: Vec<Step>,
}

impl Command {
    /// A command that runs `program`: a path, or a name to be looked up on the `PATH` of the command's own environment
    /// (the conventional directories where it has none).
    #[must_use]
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: BTreeMap::new(),
            current_dir: None,
            stdin: Stdio::inherit(),
            stdout: Stdio::inherit(),
            stderr: Stdio::inherit(),
            terminal: false,
            init: false,
            unshare: Vec::new(),
            join: Vec::new(),
            enter: None,
            uid_map: Vec::new(),
            gid_map: Vec::new(),
            cgroup: None,
            hostname: None,
            domainname: None,
            steps: FurtherSteps::default(),
            user: None,
            capabilities: None,
            no_new_privileges: false,
            apparmor_profile: None,
            selinux_label: None,
            rlimits: Vec::new(),
            oom_score_adj: None,
            umask: 0o022,
            seccomp: None,
            die_with_parent: false,
            timed: false,
            ready_within: None,
            fail_at: None,
            denied_groups: OnceLock::new(),
        }
    }

    /// Adds an argument.
    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args(&mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> &mut Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable of the program's environment, which starts out empty.
    pub fn env(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Self {
        self.env
            .insert(name.as_ref().to_owned(), value.as_ref().to_owned());
        self
    }

    /// Sets variables of the program's environment.
    pub fn envs(
        &mut self,
        variables: impl IntoIterator<Item = (impl AsRef<OsStr>, impl AsRef<OsStr>)>,
    ) -> &mut Self {
        for (name, value) in variables {
            self.env(name, value);
        }
        self
    }

    /// The program's working directory, as the program sees it. It is opened without following magic links such as
    /// `/proc/self/fd/7`, which could lead out of the container, and must lie beneath the program's root.
    pub fn current_dir(&mut self, dir: impl AsRef<Path>) -> &mut Self {
        self.current_dir = Some(dir.as_ref().to_owned());
        self
    }

    /// Standard input; the parent's own by default.
    pub fn stdin(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.stdin = stdio.into();
        self
    }

    /// Standard output; the parent's own by default.
    pub fn stdout(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.stdout = stdio.into();
        self
    }

    /// Standard error; the parent's own by default.
    pub fn stderr(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.stderr = stdio.into();
        self
    }

    /// Gives the program a terminal of its own, made in the `/dev/pts` that it sees, for all three streams and as its
    /// controlling terminal. The other end comes from [`Created::terminal`].
    pub fn terminal(&mut self, terminal: bool) -> &mut Self {
        self.terminal = terminal;
        self
    }

    /// Makes the process that is created the init of the program, in place of the program itself: it waits for every
    /// process that is left to it, passes signals on, and ends with the program's exit status, or 128 and the number of
    /// the signal that killed the program. With [`Namespace::Pid`]; without it only the program's own end is noticed.
    ///
    /// The init is a loop in this crate, not a program: it unmaps all memory that it has from its parent but code and
    /// static data, so that nothing else of the parent is to be found in the container.
    pub fn init(&mut self, init: bool) -> &mut Self {
        self.init = init;
        self
    }

    /// Gives the program namespaces of its own.
    pub fn unshare(&mut self, namespaces: impl IntoIterator<Item = Namespace>) -> &mut Self {
        self.unshare.extend(namespaces);
        self.unshare.sort_unstable();
        self.unshare.dedup();
        self
    }

    /// Puts the program into an existing namespace. (PID namespaces are joined by [`Command::enter`].)
    #[doc(alias = "setns")]
    pub fn join(&mut self, namespace: Namespace, fd: impl Into<OwnedFd>) -> &mut Self {
        self.join.push((namespace, Arc::new(fd.into())));
        self
    }

    /// Puts the program beside a running process, by its pidfd: into those of its namespaces that are named, and so
    /// into its root directory if `Mount` is among them (Linux 5.8).
    pub fn enter(
        &mut self,
        pidfd: impl Into<OwnedFd>,
        namespaces: impl IntoIterator<Item = Namespace>,
    ) -> &mut Self {
        self.enter = Some((Arc::new(pidfd.into()), namespaces.into_iter().collect()));
        self
    }

    /// Which ids a new user namespace maps, written by the parent before the child does anything.
    pub fn id_maps(
        &mut self,
        uids: impl IntoIterator<Item = IdMap>,
        gids: impl IntoIterator<Item = IdMap>,
    ) -> &mut Self {
        self.uid_map = uids.into_iter().collect();
        self.gid_map = gids.into_iter().collect();
        self
    }

    /// Creates the process in a cgroup, by the file descriptor of its v2 directory (Linux 5.7). On v1, add
    /// [`Created::id`] to the cgroup instead: the child waits for it.
    #[doc(alias = "CLONE_INTO_CGROUP")]
    pub fn cgroup(&mut self, directory: impl Into<OwnedFd>) -> &mut Self {
        self.cgroup = Some(directory.into());
        self
    }

    /// Adds steps that the child makes first of all, before it waits for its parent: such as to write `0` to the `tasks`
    /// file of a cgroup of v1, by which a process moves itself. [`Arg::Result`](crate::Arg::Result) counts from the
    /// beginning of `steps`.
    pub fn first(&mut self, steps: impl IntoIterator<Item = Step>) -> &mut Self {
        self.steps.first.extend(steps);
        self
    }

    /// The host name in a new UTS namespace; at most 64 bytes.
    pub fn hostname(&mut self, name: impl AsRef<OsStr>) -> &mut Self {
        self.hostname = Some(name.as_ref().to_owned());
        self
    }

    /// The NIS domain name in a new UTS namespace; at most 64 bytes.
    pub fn domainname(&mut self, name: impl AsRef<OsStr>) -> &mut Self {
        self.domainname = Some(name.as_ref().to_owned());
        self
    }

    /// Adds steps that the child makes after it is in its namespaces and before it gives up its privileges: where a
    /// root file system is set up. [`Arg::Result`](crate::Arg::Result) counts from the beginning of `steps`. The umask is 0.
    pub fn setup(&mut self, steps: impl IntoIterator<Item = Step>) -> &mut Self {
        self.steps.setup.extend(steps);
        self
    }

    /// Who the program runs as.
    pub fn user(&mut self, user: User) -> &mut Self {
        self.user = Some(user);
        self
    }

    /// The capabilities that the program and all it starts can ever have: the bounding set. The root user also holds
    /// them; another user holds none. The inheritable and ambient sets are empty.
    pub fn capabilities(&mut self, capabilities: Capabilities) -> &mut Self {
        self.capabilities = Some(capabilities);
        self
    }

    /// Whether `execve(2)` may no longer give privileges, as setuid programs do
    /// (`PR_SET_NO_NEW_PRIVS`, Linux 3.5).
    pub fn no_new_privileges(&mut self, on: bool) -> &mut Self {
        self.no_new_privileges = on;
        self
    }

    /// The AppArmor profile that the program runs under, which is loaded; see
    /// [apparmor(7)](https://manpages.debian.org/bookworm/apparmor/apparmor.7.en.html).
    pub fn apparmor_profile(&mut self, name: impl Into<String>) -> &mut Self {
        self.apparmor_profile = Some(name.into());
        self
    }

    /// The SELinux label that the program runs under, such as `system_u:system_r:container_t:s0:c1,c2`.
    pub fn selinux_label(&mut self, label: impl Into<String>) -> &mut Self {
        self.selinux_label = Some(label.into());
        self
    }

    /// A limit of the program's own, and of all that it starts. To raise a hard limit needs CAP_SYS_RESOURCE.
    #[doc(alias = "setrlimit")]
    pub fn rlimit(&mut self, limit: Rlimit) -> &mut Self {
        self.rlimits.retain(|other| other.name() != limit.name());
        self.rlimits.push(limit);
        self
    }

    /// How readily the kernel kills the program when memory runs out: from -1000, never, to 1000. To lower it needs
    /// CAP_SYS_RESOURCE. See
    /// [proc_pid_oom_score_adj(5)](https://man7.org/linux/man-pages/man5/proc_pid_oom_score_adj.5.html).
    pub fn oom_score_adj(&mut self, adjustment: i16) -> &mut Self {
        self.oom_score_adj = Some(adjustment);
        self
    }

    /// The permissions that files which the program makes do not get, see
    /// [umask(2)](https://man7.org/linux/man-pages/man2/umask.2.html); 022 by default.
    pub fn umask(&mut self, mask: u32) -> &mut Self {
        self.umask = mask & 0o777;
        self
    }

    /// Which system calls the program and all that it starts can make, see
    /// [seccomp(2)](https://man7.org/linux/man-pages/man2/seccomp.2.html). It takes `CAP_SYS_ADMIN` of the caller, or
    /// [`Command::no_new_privileges`]. [`Seccomp::compile`](crate::Seccomp::compile) makes the filter.
    ///
    /// The process is under the filter a little before its program is, and an init ([`Command::init`]) stays so. What has to be allowed,
    /// or the process does not get there: `capset`, `execve`, `exit_group`, `prctl`, `read`, `setresuid` and `write`; with an init also
    /// `clone`, `kill`, `munmap`, `rt_sigprocmask`, `rt_sigtimedwait`, `setsid` and `wait4`, and with a terminal `ioctl`. A process that
    /// [enters](Command::enter) a container without `no_new_privileges` is under it from then on, and needs in addition all that follows in
    /// its [plan](Command::plan): what opens its directory, its terminal and its streams, and makes it its user.
    pub fn seccomp(&mut self, filter: SeccompFilter) -> &mut Self {
        self.seccomp = Some(filter);
        self
    }

    /// Kills the program when the *thread* that created it ends (`PR_SET_PDEATHSIG`): for single-threaded supervisors.
    pub fn die_with_parent(&mut self, on: bool) -> &mut Self {
        self.die_with_parent = on;
        self
    }

    /// Notes when each step ran, for the events on the `tracing` target `rocker::syscall`.
    pub fn timed(&mut self, on: bool) -> &mut Self {
        self.timed = on;
        self
    }

    /// Kills the process when it takes longer than that until it is ready for its program. A container that is
    /// [entered](Self::enter) can stop what comes among its processes.
    pub fn ready_within(&mut self, limit: Duration) -> &mut Self {
        self.ready_within = Some(limit);
        self
    }

    /// Fails the plan at step `index` with `EIO`, for tests that nothing is left behind.
    pub fn fail_at(&mut self, index: Option<usize>) -> &mut Self {
        self.fail_at = index;
        self
    }

    /// The list of system calls that the child will make. Nothing is started, and no privilege is needed.
    ///
    /// # Errors
    /// [`Error::Nul`](crate::Error::Nul) for a NUL byte in an argument or variable, [`Error::Call`](crate::Error::Call) when a standard stream
    /// cannot be opened.
    pub fn plan(&self) -> Result<Plan> {
        let streams = build::Streams::ready(self)?;
        let own_status = attest::own_status().ok();
        Ok(build::build(self, self.steps.clone(), &streams, own_status.as_deref())?.plan)
    }

    /// Makes the process, up to the point where it is in its namespaces and waits: first for [`Created::set_up`], and
    /// before its program runs for [`Created::start`].
    ///
    /// # Errors
    /// [`Error::Call`](crate::Error::Call) when the process cannot be made; as [`Command::plan`] otherwise.
    pub fn create(&self) -> Result<Created> {
        Created::new(self, self.steps.clone())
    }

    /// The same by a command that makes no other process: its further steps become those of the process, without a copy. What they
    /// hold open, such as a root file system, is let go as soon as the process has it.
    ///
    /// # Errors
    /// As [`Command::create`].
    pub fn into_created(mut self) -> Result<Created> {
        let steps = mem::take(&mut self.steps);
        Created::new(&self, steps)
    }

    /// Makes the process and starts its program.
    ///
    /// # Errors
    /// As [`Command::create`] and [`Created::start`].
    pub fn spawn(&self) -> Result<Child> {
        self.create()?.start()
    }

    /// Runs the program to its end.
    ///
    /// # Errors
    /// As [`Command::spawn`] and [`Child::wait`].
    pub fn status(&self) -> Result<ExitStatus> {
        self.spawn()?.wait()
    }

    /// Whether it is to run beside a container's processes, in the file system that they see: from the moment when it can be
    /// seen there it is to have no more than they.
    pub(crate) fn is_beside(&self) -> bool {
        let kinds = self.enter.as_ref().map(|(_, kinds)| kinds);
        kinds.is_some_and(|kinds| {
            kinds.contains(&Namespace::Mount) || kinds.contains(&Namespace::User)
        })
    }

    /// Whether the supplementary groups stay the caller's: where an ordinary user may map its own ids alone, setgroups(2)
    /// is given up for that, see user_namespaces(7).
    pub(crate) fn keeps_groups(&self) -> bool {
        let look = || {
            kernel_file::read("/proc/self/setgroups").is_ok_and(|answer| answer.trim() == "deny")
        };
        self.unshare.contains(&Namespace::User) && !Uid::effective().is_root()
            || *self.denied_groups.get_or_init(look)
    }

    /// The paths at which `execve(2)` tries the program, in order.
    pub(crate) fn candidates(&self) -> Result<Vec<Box<CStr>>> {
        let program = self.program.as_bytes();
        if program.contains(&b'/') || program.is_empty() {
            return Ok(vec![c_string(program)?]);
        }
        let path = self
            .env
            .get(OsStr::new("PATH"))
            .map_or(DEFAULT_PATH.as_bytes(), |path| path.as_bytes());
        path.split(|byte| *byte == b':')
            .map(|dir| {
                let dir = if dir.is_empty() { b"." } else { dir };
                c_string(&[dir, b"/", program].concat())
            })
            .collect()
    }
}

/// Where programs are looked up when the environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(crate) fn c_string(bytes: &[u8]) -> Result<Box<CStr>> {
    let text = CString::new(bytes).map_err(|source| crate::Error::Nul { source })?;
    Ok(text.into())
}
