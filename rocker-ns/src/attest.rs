//! What a process is, by the kernel's own account, held against what was asked for.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, readlinkat};
use nix::sys::stat::{Mode, fstat};

use crate::command::Command;
use crate::trace::traced;
use crate::{Capabilities, Error, IdMap, Namespace, Result, Rlimit, User, kernel_file};

/// One thing that was asked for, and what the kernel says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fact {
    /// What it is about, such as `bounding capabilities`.
    pub what: String,
    /// What was asked for.
    pub asked: String,
    /// What there is.
    pub actual: String,
}

impl Fact {
    /// A fact, from what was asked for and what there is.
    pub fn new(
        what: impl Into<String>,
        asked: impl Into<String>,
        actual: impl Into<String>,
    ) -> Self {
        let (what, asked, actual) = (what.into(), asked.into(), actual.into());
        Self {
            what,
            asked,
            actual,
        }
    }

    /// Whether there is what was asked for.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.asked == self.actual
    }
}

/// What a [`Command`] asks for that the kernel can be asked about afterwards.
#[derive(Debug, Clone)]
pub struct Expected {
    user: Option<User>,
    keeps_groups: bool,
    capabilities: Option<Capabilities>,
    no_new_privileges: bool,
    seccomp: bool,
    umask: u32,
    oom_score_adj: Option<i16>,
    rlimits: Vec<Rlimit>,
    /// Each kind of namespace, and which one it is to be.
    namespaces: Vec<(Namespace, Which)>,
    uid_map: Vec<IdMap>,
    gid_map: Vec<IdMap>,
    /// The profile or label of the program, which an init in front of it does not have.
    label: Option<String>,
}

/// A namespace, known by the number of its inode: all are on one file system of the kernel's, see namespaces(7).
type Identity = u64;

/// The calling thread, in the manner of a process's id.
const CALLER: &str = "thread-self";

/// The thread that asks, as far as what it asked for depends on it. It can be looked at while the process is not ready yet.
#[derive(Debug)]
pub(crate) struct Caller {
    status: String,
    namespaces: Vec<(Namespace, Identity)>,
}

impl Caller {
    /// Looks at the calling thread, whose `status` may be known.
    ///
    /// # Errors
    /// [`Error::Proc`].
    pub(crate) fn look(status: Option<String>) -> Result<Self> {
        Ok(Self {
            status: status.map_or_else(own_status, Ok)?,
            namespaces: namespaces_of(CALLER)?,
        })
    }
}

/// What the kernel says of the calling thread, see proc_pid_status(5).
pub(crate) fn own_status() -> Result<String> {
    read(CALLER, "status")
}

/// Which namespace a process is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    New,
    Callers,
    This(Identity),
}

impl Command {
    /// What this command asks for, to be held against a process that was made of it.
    ///
    /// # Errors
    /// [`Error::Gone`] when the process that it [enters](Command::enter) has ended; [`Error::Unsupported`] as
    /// [`Command::plan`].
    pub fn expected(&self) -> Result<Expected> {
        let entered = self.enter.as_ref();
        let entered = entered
            .map(|(pidfd, kinds)| Ok::<_, Error>((namespaces_of(&pid_of(pidfd)?)?, kinds)))
            .transpose()?;
        let mut namespaces = Vec::new();
        for kind in Namespace::ALL {
            let which = if self.unshare.contains(&kind) {
                Which::New
            } else if let Some((_, fd)) = self.join.iter().find(|(joined, _)| *joined == kind) {
                let number = fd.as_raw_fd();
                let failed =
                    |errno| failed("self", &format!("fd/{number}"))(io::Error::from(errno));
                Which::This(fstat(fd).map_err(failed)?.st_ino)
            } else if let Some((namespaces, _)) =
                entered.as_ref().filter(|(_, kinds)| kinds.contains(&kind))
            {
                Which::This(of(namespaces, kind).unwrap_or_default())
            } else {
                Which::Callers
            };
            namespaces.push((kind, which));
        }
        let label = self
            .apparmor_profile
            .as_ref()
            .or(self.selinux_label.as_ref());
        Ok(Expected {
            user: self.user.clone(),
            keeps_groups: self.keeps_groups(),
            capabilities: self.capabilities,
            no_new_privileges: self.no_new_privileges,
            seccomp: self.seccomp.is_some(),
            umask: self.umask,
            oom_score_adj: self.oom_score_adj,
            rlimits: self.rlimits.clone(),
            namespaces,
            uid_map: self.uid_map.clone(),
            gid_map: self.gid_map.clone(),
            label: label.filter(|_| !self.init).cloned(),
        })
    }
}

impl Expected {
    /// Asks the kernel about the process `pid`, which runs its program.
    ///
    /// # Errors
    /// [`Error::Proc`] when the process is gone, or the caller may not look at it (ptrace access is needed).
    pub fn compare(&self, pid: u32) -> Result<Vec<Fact>> {
        let mut facts = self.compare_set_up(pid, &Caller::look(None)?)?;
        facts.extend(self.compare_label(pid)?);
        Ok(facts)
    }

    /// The label that the program has; the kernel tells nobody else which one the next program is to have.
    pub(crate) fn compare_label(&self, pid: u32) -> Result<Option<Fact>> {
        let Some(asked) = &self.label else {
            return Ok(None);
        };
        let actual = read(&pid.to_string(), crate::lsm::label_file())?;
        let actual = actual.trim_end_matches(['\0', '\n']);
        // AppArmor adds the mode, in brackets.
        let name = actual.split_once(" (").map_or(actual, |(name, _)| name);
        Ok(Some(Fact::new("label of the program", asked, name)))
    }

    /// The same of a process that has set itself up, whether or not its program runs.
    fn compare_set_up(&self, pid: u32, caller: &Caller) -> Result<Vec<Fact>> {
        let pid = &*pid.to_string();
        let status = read(pid, "status")?;
        let namespaces = namespaces_of(pid)?;
        let is_foreign =
            of(&namespaces, Namespace::User) != of(&caller.namespaces, Namespace::User);
        let mut facts = Vec::new();
        self.compare_ids(pid, &status, is_foreign, &mut facts)?;
        self.compare_privileges(&status, &caller.status, &mut facts);
        for (kind, which) in &self.namespaces {
            let actual = of(&namespaces, *kind);
            let callers = of(&caller.namespaces, *kind);
            let name = |which: Which| match which {
                Which::New => "its own".to_owned(),
                Which::Callers => "the caller's".to_owned(),
                Which::This(inode) => format!("{kind}:[{inode}]"),
            };
            let found = match which {
                Which::New if actual != callers => Which::New,
                Which::Callers if actual == callers => Which::Callers,
                Which::New => Which::Callers,
                _ => Which::This(actual.unwrap_or_default()),
            };
            let what = format!("{kind} namespace");
            facts.push(Fact::new(what, name(*which), name(found)));
        }
        for (file, maps) in [("uid_map", &self.uid_map), ("gid_map", &self.gid_map)] {
            if !maps.is_empty() {
                let asked = maps.iter().map(ToString::to_string).collect::<Vec<_>>();
                let actual = read(pid, file)?;
                let actual = actual.lines().map(words).collect::<Vec<_>>();
                facts.push(Fact::new(file, asked.join(", "), actual.join(", ")));
            }
        }
        if let Some(adjustment) = self.oom_score_adj {
            let actual = read(pid, "oom_score_adj")?;
            facts.push(Fact::new(
                "oom_score_adj",
                adjustment.to_string(),
                actual.trim(),
            ));
        }
        if !self.rlimits.is_empty() {
            let limits = read(pid, "limits")?;
            for limit in &self.rlimits {
                let actual = limit.found_in(&limits).map(|found| found.to_string());
                let what = format!("limit of {}", limit.name());
                facts.push(Fact::new(
                    what,
                    limit.to_string(),
                    actual.unwrap_or_default(),
                ));
            }
        }
        Ok(facts)
    }

    /// The same for a process that waits, whose files are its parent's to know.
    pub(crate) fn compare_before_start(
        &self,
        pid: u32,
        files: &BTreeSet<i32>,
        caller: &Caller,
    ) -> Result<Vec<Fact>> {
        let mut facts = self.compare_set_up(pid, caller)?;
        let open =
            fs::read_dir(format!("/proc/{pid}/fd")).map_err(failed(&pid.to_string(), "fd"))?;
        let open: BTreeSet<i32> = open
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect();
        // A standard stream that the caller does not have itself cannot be handed on.
        let extra: Vec<_> = open.difference(files).map(ToString::to_string).collect();
        facts.push(Fact::new("further open files", "", extra.join(" ")));
        Ok(facts)
    }

    /// The kernel answers in ids of the reader's own user namespace, to which that of the process may be `foreign`.
    fn compare_ids(
        &self,
        pid: &str,
        status: &str,
        foreign: bool,
        facts: &mut Vec<Fact>,
    ) -> Result<()> {
        let Some(user) = &self.user else {
            return Ok(());
        };
        let outside = |file: &str| -> Result<Vec<IdMap>> {
            match foreign {
                true => Ok(IdMap::parse_all(&read(pid, file)?)),
                false => Ok(Vec::new()),
            }
        };
        let shown = |map: &[IdMap], id: u32| match foreign {
            true => map
                .iter()
                .find_map(|run| run.outside_of(id))
                .map_or_else(|| format!("{id}, unmapped"), |id| id.to_string()),
            false => id.to_string(),
        };
        let (uids, gids) = (outside("uid_map")?, outside("gid_map")?);
        let all = |one: String| [one.as_str(); 4].join(" ");
        facts.push(Fact::new(
            "user",
            all(shown(&uids, user.uid)),
            field(status, "Uid"),
        ));
        facts.push(Fact::new(
            "group",
            all(shown(&gids, user.gid)),
            field(status, "Gid"),
        ));
        if self.keeps_groups {
            return Ok(());
        }
        let sorted = |mut groups: Vec<String>| {
            groups.sort();
            groups.dedup();
            groups.join(" ")
        };
        let asked = user.groups.iter().map(|group| shown(&gids, *group));
        let actual = field(status, "Groups");
        let actual = actual.split(' ').filter(|group| !group.is_empty());
        facts.push(Fact::new(
            "supplementary groups",
            sorted(asked.collect()),
            sorted(actual.map(str::to_owned).collect()),
        ));
        Ok(())
    }

    fn compare_privileges(&self, status: &str, own: &str, facts: &mut Vec<Fact>) {
        if let Some(capabilities) = self.capabilities {
            let root = self.user.as_ref().is_none_or(|user| user.uid == 0);
            let held = match root {
                true => capabilities,
                false => Capabilities::NONE,
            };
            for (name, what, asked) in [
                ("CapInh", "inheritable capabilities", Capabilities::NONE),
                ("CapPrm", "permitted capabilities", held),
                ("CapEff", "effective capabilities", held),
                ("CapBnd", "bounding capabilities", capabilities),
                ("CapAmb", "ambient capabilities", Capabilities::NONE),
            ] {
                let asked = format!("{:016x}", asked.bits());
                facts.push(Fact::new(what, asked, field(status, name)));
            }
        }
        let yes = |yes: bool| if yes { "1" } else { "0" }.to_owned();
        // What the caller itself cannot get rid of counts for the program too.
        let asked = self.no_new_privileges || field(own, "NoNewPrivs") == "1";
        facts.push(Fact::new(
            "no_new_privs",
            yes(asked),
            field(status, "NoNewPrivs"),
        ));
        let asked = match self.seccomp {
            true => "2".to_owned(),
            false => field(own, "Seccomp"),
        };
        facts.push(Fact::new("seccomp mode", asked, field(status, "Seccomp")));
        let umask = format!("{:04o}", self.umask);
        facts.push(Fact::new("umask", umask, field(status, "Umask")));
    }
}

/// The first fact that does not hold, as an error.
pub(crate) fn check(facts: Vec<Fact>) -> Result<()> {
    match facts.into_iter().find(|fact| !fact.holds()) {
        None => Ok(()),
        Some(Fact {
            what,
            asked,
            actual,
        }) => Err(Error::NotAsAsked {
            what,
            asked,
            actual,
        }),
    }
}

/// The value of a line of proc_pid_status(5), with single blanks in it.
fn field(status: &str, name: &str) -> String {
    let value = status.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        (found == name).then(|| words(value))
    });
    value.unwrap_or_default()
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The namespaces of a process or thread, by its name in /proc. To read such a link the kernel need not open the namespace.
fn namespaces_of(process: &str) -> Result<Vec<(Namespace, Identity)>> {
    let failed = |errno| failed(process, "ns")(io::Error::from(errno));
    let path = format!("/proc/{process}/ns");
    let directory = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let links = open(&*path, directory, Mode::empty()).map_err(failed)?;
    let of_kind = |kind: Namespace| match readlinkat(&links, kind.name()) {
        Ok(link) => match inode(&link.to_string_lossy()) {
            Some(number) => Ok((kind, number)),
            // What is not understood attests nothing.
            None => Err(failed(Errno::EBADMSG)),
        },
        // A kernel without this kind of namespace has one for all.
        Err(Errno::ENOENT) => Ok((kind, 0)),
        Err(errno) => Err(failed(errno)),
    };
    Namespace::ALL.into_iter().map(of_kind).collect()
}

/// The number in a link such as `net:[4026531840]`.
fn inode(link: &str) -> Option<Identity> {
    let (_, rest) = link.split_once(":[")?;
    rest.strip_suffix(']')?.parse().ok()
}

/// The one of a kind.
fn of(namespaces: &[(Namespace, Identity)], kind: Namespace) -> Option<Identity> {
    let found = namespaces.iter().find(|(other, _)| *other == kind);
    found.map(|(_, identity)| *identity)
}

fn pid_of(pidfd: impl AsFd) -> Result<String> {
    let number = pidfd.as_fd().as_raw_fd();
    let pid = field(&read("self", &format!("fdinfo/{number}"))?, "Pid");
    match pid.parse::<u32>() {
        Ok(_) => Ok(pid),
        Err(_) => Err(Error::Gone),
    }
}

/// What is in a file of a process or thread, by its name in /proc.
fn read(process: &str, file: &str) -> Result<String> {
    let path = format!("/proc/{process}/{file}");
    let args = || format!("AT_FDCWD, {path:?}, O_RDONLY|O_CLOEXEC");
    let why =
        "so that the kernel's own account of the process can be held against what was asked for";
    let opened = traced("openat", why, args, || File::open(&path));
    opened
        .and_then(kernel_file::text_of)
        .map_err(failed(process, file))
}

fn failed(process: &str, file: &str) -> impl FnOnce(io::Error) -> Error {
    let path = format!("/proc/{process}/{file}");
    move |source| Error::Proc {
        operation: "read",
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let status = "CapInhX:\t1\nCapInh:\t0\nUid:\t0\t1\t2\t3\nGroups:\t \n";
        assert_eq!(field(status, "CapInh"), "0");
        assert_eq!(field(status, "Uid"), "0 1 2 3");
        assert_eq!(field(status, "Groups"), "");
        assert_eq!(field(status, "Nothing"), "");
    }

    #[test]
    fn a_namespace_is_known_by_the_number_in_its_link_which_is_that_of_its_inode() {
        use std::os::unix::fs::MetadataExt;

        assert_eq!(inode("net:[4026531840]"), Some(4_026_531_840));
        assert_eq!(inode("net:4026531840"), None);
        for (kind, identity) in namespaces_of(CALLER).unwrap() {
            let file = fs::metadata(format!("/proc/thread-self/ns/{kind}")).unwrap();
            assert_eq!(identity, file.ino(), "{kind}");
        }
    }

    #[test]
    fn what_differs_is_named_with_both_values() {
        check(vec![Fact::new("umask", "022", "022")]).unwrap();
        let error = check(vec![Fact::new("umask", "022", "000")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the kernel says otherwise than was asked for: umask is \"000\" and not \"022\""
        );
    }
}
