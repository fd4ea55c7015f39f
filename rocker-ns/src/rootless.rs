//! Being root without being root: a user namespace for the calling process itself.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process;

use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{Gid, Uid};

use crate::command::Command;
use crate::trace::traced;
use crate::{Error, IdMap, Namespace, Process, Result, sys};

/// Which ids a user namespace of an ordinary user's can have.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubordinateIds {
    /// Users: the caller is 0, and those that subuid(5) grants follow.
    pub uids: Vec<IdMap>,
    /// Groups, likewise by subgid(5).
    pub gids: Vec<IdMap>,
    /// The programs that may write such maps; none where only the caller's own ids can be mapped.
    helpers: Option<[PathBuf; 2]>,
}

/// The helpers that may map ids which are not the caller's own, see newuidmap(1): no system call without privilege can.
const HELPERS: [&str; 2] = ["newuidmap", "newgidmap"];
/// Where they are looked for beside the `PATH`.
const HELPER_DIRS: &str = "/usr/bin:/bin:/usr/local/bin";

impl SubordinateIds {
    /// The ids that the calling user has: of its own and, where newuidmap(1) and newgidmap(1) are installed, those that
    /// [subuid(5)](https://man7.org/linux/man-pages/man5/subuid.5.html) and subgid(5) grant it.
    #[must_use]
    pub fn of_caller() -> Self {
        let (uid, gid) = (Uid::effective().as_raw(), Gid::effective().as_raw());
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        let name = user_name(&text("/etc/passwd"), uid);
        let granted = |file| grants(&text(file), name.as_deref(), uid);
        let (uids, gids) = (granted("/etc/subuid"), granted("/etc/subgid"));
        let helpers = helpers().filter(|_| !uids.is_empty() && !gids.is_empty());
        let map = |own, granted: &[(u32, u32)]| match helpers {
            Some(_) => id_map(own, granted),
            None => id_map(own, &[]),
        };
        Self {
            uids: map(uid, &uids),
            gids: map(gid, &gids),
            helpers,
        }
    }

    /// The caller's own ids and no others.
    #[must_use]
    pub fn own() -> Self {
        let one = |id| id_map(id, &[]);
        Self {
            uids: one(Uid::effective().as_raw()),
            gids: one(Gid::effective().as_raw()),
            helpers: None,
        }
    }

    /// Whether only the caller's own ids can be mapped: every other owner of a file is nobody then.
    #[must_use]
    pub fn is_single(&self) -> bool {
        self.helpers.is_none()
    }
}

/// Makes the calling process root of a new user namespace, with a mount namespace of its own: what a container takes that needs
/// root is allowed in there, to files of the caller's and of its [subordinate ids](SubordinateIds), and to nothing else.
///
/// The process keeps its working directory, its files and its other namespaces. To be called while it has one thread. Where it is
/// to make containers, it has to [start over](crate::start_over) then: its memory belongs to the user namespace that it was executed in,
/// and the kernel tells nobody about a child with such memory.
///
/// # Errors
/// [`Error::Call`] where the machine lets nobody make user namespaces, or the process has several threads;
/// [`Error::Helper`] when `newuidmap` refuses.
///
/// See [user_namespaces(7)](https://man7.org/linux/man-pages/man7/user_namespaces.7.html).
#[doc(alias = "CLONE_NEWUSER")]
pub fn become_root(ids: &SubordinateIds) -> Result<()> {
    // The maps have to be written from outside, and a process that is in cannot get out again. So another one is made in there,
    // which does nothing but be in there until this one is.
    let mut placeholder = Command::new("/proc/self/exe");
    placeholder.unshare([Namespace::User]);
    if ids.is_single() {
        placeholder.id_maps(ids.uids.clone(), ids.gids.clone());
    }
    let placeholder = placeholder.create()?;
    if let Some(helpers) = &ids.helpers {
        for (helper, maps) in helpers.iter().zip([&ids.uids, &ids.gids]) {
            map(helper, placeholder.id(), maps)?;
        }
    }
    enter(&placeholder.namespace(Namespace::User)?)
}

/// Makes the calling process root of the user namespace that `process` is in, and that the caller has made earlier, with a mount namespace
/// of its own. To be called while it has one thread.
///
/// # Errors
/// [`Error::Gone`] when the process has ended, [`Error::Call`] when the user namespace is not the caller's, or the process has several threads.
#[doc(alias = "setns")]
pub fn become_root_beside(process: &Process) -> Result<()> {
    let user = Namespace::User.of(process.id())?;
    // Asked behind the opening, so that the number was still its own.
    match process.is_alive() {
        true => enter(&user),
        false => Err(Error::Gone),
    }
}

fn enter(user: &OwnedFd) -> Result<()> {
    let failed = |call: &str, why| {
        let call = call.to_owned();
        move |source| Error::Call { call, why, source }
    };
    let why =
        "so that this process is root of a user namespace, where it may mount and make namespaces";
    let args = || format!("{}, CLONE_NEWUSER", user.as_raw_fd());
    traced("setns", why, args, || {
        Ok(setns(user, CloneFlags::CLONE_NEWUSER)?)
    })
    .map_err(failed("setns(CLONE_NEWUSER)", why))?;
    let why = "so that what is mounted is mounted for this process alone";
    let args = || "CLONE_NEWNS".to_owned();
    traced("unshare", why, args, || {
        Ok(unshare(CloneFlags::CLONE_NEWNS)?)
    })
    .map_err(failed("unshare(CLONE_NEWNS)", why))
}

/// Has a helper write one of the maps of process `pid`.
fn map(helper: &Path, pid: u32, maps: &[IdMap]) -> Result<()> {
    let mut args = vec![pid.to_string()];
    for map in maps {
        args.extend([map.inside, map.outside, map.count].map(|number| number.to_string()));
    }
    let why = "so that the user namespace has the ids that this user was granted; only a setuid program can";
    let shown = || format!("{helper:?}, [{}]", args.join(", "));
    let mut said = Vec::new();
    let ended = traced("execve", why, shown, || {
        let mut command = process::Command::new(helper);
        let output = command.args(&args).stdin(process::Stdio::null()).output()?;
        said = output.stderr;
        Ok(output.status)
    });
    let source = match ended {
        Ok(status) if status.success() => return Ok(()),
        Ok(_) => None,
        Err(source) => Some(source),
    };
    Err(Error::Helper {
        program: helper.to_owned(),
        said: String::from_utf8_lossy(&said).trim().to_owned(),
        source,
    })
}

fn helpers() -> Option<[PathBuf; 2]> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let others = OsString::from(HELPER_DIRS);
    let find = |name: &str| {
        let dirs = std::env::split_paths(&path).chain(std::env::split_paths(&others));
        dirs.map(|dir| dir.join(name)).find(|path| path.is_file())
    };
    let [uids, gids] = HELPERS.map(find);
    Some([uids?, gids?])
}

/// The caller as 0, and behind it one id after the other of those that are granted.
fn id_map(own: u32, granted: &[(u32, u32)]) -> Vec<IdMap> {
    let mut map = vec![IdMap {
        inside: 0,
        outside: own,
        count: 1,
    }];
    let mut inside = 1_u32;
    for (outside, count) in granted {
        let count = (*count).min(u32::MAX - inside);
        if count > 0 {
            map.push(IdMap {
                inside,
                outside: *outside,
                count,
            });
            inside += count;
        }
    }
    map
}

/// The name of a user in the text of passwd(5).
fn user_name(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let id = fields.nth(1)?.parse::<u32>().ok()?;
        (id == uid).then(|| name.to_owned())
    })
}

/// The runs of ids that subuid(5) or subgid(5) grants a user, by name or number: the first id, and how many.
fn grants(text: &str, name: Option<&str>, uid: u32) -> Vec<(u32, u32)> {
    let is_caller = |who: &str| Some(who) == name || who.parse() == Ok(uid);
    let lines = text.lines().filter_map(grant);
    lines
        .filter(|(who, _)| is_caller(who))
        .map(|(_, run)| run)
        .collect()
}

/// A line of subuid(5): who, and which ids.
fn grant(line: &str) -> Option<(&str, (u32, u32))> {
    let mut fields = line.trim().split(':');
    let who = fields.next()?;
    let run = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((who, run))
}

/// The runs of ids that subuid(5) and subgid(5) grant to anybody: the first id, and how many.
#[must_use]
pub fn granted_ids() -> Vec<(u32, u32)> {
    let runs = |path| {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines()
            .filter_map(|line| Some(grant(line)?.1))
            .collect::<Vec<_>>()
    };
    [runs("/etc/subuid"), runs("/etc/subgid")].concat()
}

/// A user namespace with these ids that no process is in: for what sees files through an id map, see
/// [mount_setattr(2)](https://man7.org/linux/man-pages/man2/mount_setattr.2.html).
///
/// # Errors
/// As [`Command::create`](crate::Command::create) for a new user namespace.
#[doc(alias = "MOUNT_ATTR_IDMAP")]
pub fn id_map_namespace(
    uids: impl IntoIterator<Item = IdMap>,
    gids: impl IntoIterator<Item = IdMap>,
) -> Result<OwnedFd> {
    let mut placeholder = Command::new("/proc/self/exe");
    placeholder.unshare([Namespace::User]).id_maps(uids, gids);
    placeholder.create()?.namespace(Namespace::User)
}

/// The users that there are in the calling process's user namespace.
///
/// # Errors
/// [`Error::Proc`] when the kernel does not tell.
pub fn own_uid_map() -> Result<Vec<IdMap>> {
    read_map("/proc/self/uid_map").map(|text| IdMap::parse_all(&text))
}

/// The groups that there are in the calling process's user namespace.
///
/// # Errors
/// [`Error::Proc`] when the kernel does not tell.
pub fn own_gid_map() -> Result<Vec<IdMap>> {
    read_map("/proc/self/gid_map").map(|text| IdMap::parse_all(&text))
}

/// What the first user namespace is called since Linux 3.8, `PROC_USER_INIT_INO`. Its map tells nothing: another one may have the same.
const FIRST: &str = "user:[4026531837]";

/// Whether the calling process is in a user namespace that is not the machine's first: its root has less privilege than the machine's,
/// even where it is the same user.
///
/// # Errors
/// [`Error::Proc`] when the kernel does not tell.
pub fn in_user_namespace() -> Result<bool> {
    let path = "/proc/self/ns/user";
    match fs::read_link(path) {
        Ok(link) => Ok(link != Path::new(FIRST)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(Error::Proc {
            operation: "read",
            path: path.to_owned(),
            source,
        }),
    }
}

/// The text of a map; that of all ids where the kernel has no user namespaces.
fn read_map(path: &str) -> Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok("0 0 4294967295".to_owned()),
        read => read.map_err(|source| Error::Proc {
            operation: "read",
            path: path.to_owned(),
            source,
        }),
    }
}

/// Whether the calling process's namespace of this kind belongs to its own user namespace, so that its capabilities count there: see
/// [ioctl_ns(2)](https://man7.org/linux/man-pages/man2/ioctl_ns.2.html).
///
/// # Errors
/// [`Error::Proc`] when the namespace cannot be looked at.
#[doc(alias = "NS_GET_USERNS")]
pub fn owns(namespace: Namespace) -> Result<bool> {
    let namespace = namespace.of(process::id())?;
    let own = Namespace::User.of(process::id())?;
    // One that is not beneath the caller's own is refused.
    Ok(sys::owner_of_namespace(&namespace).is_ok_and(|owner| sys::is_same_file(&owner, &own)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caller_is_root_and_its_subordinate_ids_follow() {
        let text = "alice:100000:65536\nbob:1:1\n1000:300000:10\nbroken\nalice:x:1\n";
        let granted = grants(text, Some("alice"), 1000);
        assert_eq!(granted, [(100_000, 65_536), (300_000, 10)]);
        let map: Vec<_> = id_map(1000, &granted)
            .iter()
            .map(IdMap::to_string)
            .collect();
        assert_eq!(map, ["0 1000 1", "1 100000 65536", "65537 300000 10"]);
        assert_eq!(id_map(7, &[]).len(), 1);
        let huge = id_map(7, &[(0, u32::MAX), (5, 5)]);
        assert_eq!(huge.last().unwrap().count, u32::MAX - 1);
    }

    #[test]
    fn users_are_known_by_the_machines_accounts() {
        let passwd = "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n";
        assert_eq!(user_name(passwd, 1000).as_deref(), Some("alice"));
        assert_eq!(user_name(passwd, 1), None);
    }
}
