//! What happens to a cgroup, as a descriptor to wait on.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::directory::Directory;
use crate::stats::{read_if_there, value_of};
use crate::trace::traced;
use crate::{Cgroup, Controller, Error, Result, file};

/// Something that has happened to a cgroup, or to one below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Its memory was used up, so many times; that need not kill.
    Oom(u64),
    /// So many of its processes were killed for want of memory.
    OomKill(u64),
    /// So many forks have failed at the limit of processes.
    PidsMax(u64),
    /// Whether there are processes in it now; of v2 only.
    Populated(bool),
}

/// Tells what happens to a cgroup from [`Cgroup::events`] on. Its descriptor is readable when there may be something to be had
/// from [`take`](Events::take); it is closed on exec, and fit for poll(2) and epoll(7).
#[derive(Debug)]
pub struct Events {
    epoll: Epoll,
    inotify: Inotify,
    /// v1's way to tell of memory that is used up.
    used_up: Option<EventFd>,
    /// How often it has done so.
    reached: u64,
    /// Whether v1 has said that the cgroup was removed.
    is_gone: bool,
    memory: Option<Directory>,
    pids: Option<Directory>,
    core: Option<Directory>,
    last: Counts,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    oom: u64,
    oom_kill: u64,
    pids_max: u64,
    populated: Option<bool>,
}

/// What is reported besides the file's own name, and why.
const WHY: &str = "so that what happens to the cgroup is known when it happens";

impl Cgroup {
    /// What happens to the cgroup from now on. On v2 it is what its files of events say of it and of those below (inotify(7));
    /// on v1 memory that is used up (an eventfd(2) at `memory.oom_control`) and the limit of processes.
    ///
    /// # Errors
    ///
    /// [`Error::Watch`], and those of reading the files.
    #[doc(alias = "memory.events")]
    #[doc(alias = "cgroup.events")]
    #[doc(alias = "cgroup.event_control")]
    pub fn events(&self) -> Result<Events> {
        let flags = "IN_NONBLOCK|IN_CLOEXEC".to_owned();
        let own = self.name.path();
        let inotify = watched(
            &own,
            traced_value(
                "inotify_init1",
                || flags,
                || Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC),
            ),
        )?;
        let epoll = watched(
            &own,
            traced_value(
                "epoll_create1",
                || "EPOLL_CLOEXEC".to_owned(),
                || Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map(|epoll| epoll.0),
            ),
        )?;
        let of = |controller| self.directory_of(controller).cloned();
        let v2 = self.directories.iter().find(|dir| dir.is_v2());
        let mut events = Events {
            epoll: Epoll(epoll),
            inotify,
            used_up: None,
            reached: 0,
            is_gone: false,
            memory: of(Controller::Memory),
            pids: of(Controller::Pids),
            core: v2.cloned(),
            last: Counts::default(),
        };
        if let Some(dir) = &events.pids {
            events.watch(&dir.path.join("pids.events"))?;
        }
        if let Some(dir) = &events.core {
            events.watch(&dir.path.join("cgroup.events"))?;
        }
        match events.memory.clone() {
            Some(dir) if dir.is_v2() => events.watch(&dir.path.join("memory.events"))?,
            Some(dir) => events.used_up = Some(register(&dir)?),
            None => {}
        }
        add(&events.epoll, events.inotify.as_fd()).map_err(|source| watch_error(&own, source))?;
        if let Some(used_up) = &events.used_up {
            add(&events.epoll, used_up.as_fd()).map_err(|source| watch_error(&own, source))?;
        }
        events.last = events.count()?;
        Ok(events)
    }
}

impl Events {
    /// What has happened since the last time; nothing if the descriptor became readable for something else. It does not wait.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub fn take(&mut self) -> Result<Vec<Event>> {
        // What is in them only says that it is time to look.
        while self
            .inotify
            .read_events()
            .is_ok_and(|events| !events.is_empty())
        {}
        if let Some(used_up) = &self.used_up {
            let mut count = used_up.read().unwrap_or(0);
            if count > 0 && !self.is_gone && self.memory.as_ref().is_some_and(is_removed) {
                // The kernel counts once more to say that the cgroup has been removed, and so has its file by then.
                self.is_gone = true;
                count -= 1;
            }
            self.reached += count;
        }
        let now = self.count()?;
        let last = std::mem::replace(&mut self.last, now);
        let more = |now: u64, last: u64, event: fn(u64) -> Event| {
            let count = now.saturating_sub(last);
            (count > 0).then(|| event(count))
        };
        let populated = now.populated.filter(|_| now.populated != last.populated);
        let all = [
            more(now.oom, last.oom, Event::Oom),
            more(now.oom_kill, last.oom_kill, Event::OomKill),
            more(now.pids_max, last.pids_max, Event::PidsMax),
            populated.map(Event::Populated),
        ];
        Ok(all.into_iter().flatten().collect())
    }

    fn count(&self) -> Result<Counts> {
        let mut counts = Counts::default();
        let value = |dir: &Option<Directory>, name: &str, keys: [&str; 2]| {
            let Some(dir) = dir else { return Ok([0, 0]) };
            let text = match read_if_there(dir, name, WHY) {
                // It is gone, with all that was in it.
                Err(error) if error.is_vanished() => return Ok([0, 0]),
                text => text?.unwrap_or_default(),
            };
            Ok::<_, Error>(keys.map(|key| value_of(&text, key).unwrap_or(0)))
        };
        [counts.pids_max, _] = value(&self.pids, "pids.events", ["max", "max"])?;
        let is_v2 = self.memory.as_ref().is_some_and(Directory::is_v2);
        let name = if is_v2 {
            "memory.events"
        } else {
            "memory.oom_control"
        };
        [counts.oom, counts.oom_kill] = value(&self.memory, name, ["oom", "oom_kill"])?;
        if !is_v2 {
            counts.oom = self.reached;
        }
        if self.core.is_some() {
            let [populated, _] = value(&self.core, "cgroup.events", ["populated", "frozen"])?;
            counts.populated = Some(populated > 0);
        }
        Ok(counts)
    }

    fn watch(&self, path: &Path) -> Result<()> {
        let number = self.inotify.as_fd().as_raw_fd();
        let args = || format!("{number}, {path:?}, IN_MODIFY");
        match traced("inotify_add_watch", WHY, args, || {
            self.inotify.add_watch(path, AddWatchFlags::IN_MODIFY)?;
            Ok(())
        }) {
            // A controller that is not enabled has no events.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            watched => watched.map_err(|source| watch_error(path, source)),
        }
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

fn is_removed(dir: &Directory) -> bool {
    let why = "so that the end of a cgroup is not taken for memory that was used up";
    !file::exists(&dir.path.join("memory.oom_control"), why)
}

/// Has v1 count in a descriptor how often memory was used up.
fn register(dir: &Directory) -> Result<EventFd> {
    let path = dir.path.join("memory.oom_control");
    let flags = || "0, EFD_CLOEXEC|EFD_NONBLOCK".to_owned();
    let used_up = watched(
        &path,
        traced_value("eventfd2", flags, || {
            EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
        }),
    )?;
    let opened = file::open(&path, WHY).map_err(|source| watch_error(&path, source))?;
    let line = format!("{} {}", used_up.as_fd().as_raw_fd(), opened.as_raw_fd());
    dir.write("cgroup.event_control", &line, WHY)?;
    Ok(used_up)
}

fn add(epoll: &Epoll, fd: BorrowedFd<'_>) -> io::Result<()> {
    let args = || {
        format!(
            "{}, EPOLL_CTL_ADD, {}, {{events=EPOLLIN}}",
            epoll.0.as_raw_fd(),
            fd.as_raw_fd()
        )
    };
    let why = "so that there is one descriptor to wait on for all of it";
    traced("epoll_ctl", why, args, || {
        Ok(epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, 0))?)
    })
}

/// Makes a call that returns something of nix's, which has a descriptor.
fn traced_value<T: AsFd>(
    call: &'static str,
    args: impl FnOnce() -> String,
    run: impl FnOnce() -> nix::Result<T>,
) -> io::Result<T> {
    let mut made = None;
    traced(call, WHY, args, || {
        let value = run()?;
        let number = usize::try_from(value.as_fd().as_raw_fd()).unwrap_or(0);
        made = Some(value);
        Ok(number)
    })?;
    made.ok_or_else(|| io::ErrorKind::Other.into())
}

fn watched<T>(path: &Path, outcome: io::Result<T>) -> Result<T> {
    outcome.map_err(|source| watch_error(path, source))
}

fn watch_error(path: &Path, source: io::Error) -> Error {
    Error::at("watch", path, source, |path: PathBuf, source| {
        Error::Watch { path, source }
    })
}
