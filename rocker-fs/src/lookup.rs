//! The steps that look up a path beneath a directory: by openat2(2), and where that is missing, name by name.
//!
//! It is missing before Linux 5.6, and behind a filter of system calls that is older than it. Then no symbolic link is followed by the child at
//! all. Those of the image are followed by their words here, before there is a child ([`crate::walk`]); one that somebody
//! puts there later is refused.

use std::borrow::Cow;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use crate::encode;
use crate::error::{Error, Result};
use crate::plan::{MAY_BE_UNOPENED, MUST, Plan, Resolution, constant, structure, text};
use crate::resolve::components;
use crate::step::Arg;
use crate::walk;

/// How the last name of a path is opened.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Opened {
    /// As a place in the tree, whatever is there.
    Place,
    /// As a place that is a directory.
    Directory,
    /// As a file to write to.
    ToWrite,
}

impl Opened {
    pub(crate) fn place(is_directory: bool) -> Self {
        match is_directory {
            true => Self::Directory,
            false => Self::Place,
        }
    }

    fn encode(self) -> (i32, &'static str) {
        match self {
            Self::Place => (libc::O_PATH | libc::O_CLOEXEC, "O_PATH|O_CLOEXEC"),
            Self::Directory => (
                libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC,
                "O_PATH|O_DIRECTORY|O_CLOEXEC",
            ),
            Self::ToWrite => (libc::O_WRONLY | libc::O_CLOEXEC, "O_WRONLY|O_CLOEXEC"),
        }
    }
}

impl Plan {
    /// Opens `path` beneath `dir`.
    pub(crate) fn open(
        &mut self,
        dir: &Arg,
        path: &Path,
        opened: Opened,
        resolution: Resolution,
        tolerates: &'static [i32],
        why: impl Into<Cow<'static, str>>,
    ) -> Result<Arg> {
        if !self.has_openat2 {
            return self.walk(dir, path, opened, resolution, tolerates, why.into());
        }
        let (flags, names) = opened.encode();
        let (resolve, resolve_names) = resolution.encode();
        let how = encode::open_how(flags as u64, 0, resolve);
        let shown = format!("{{flags={names}, resolve={resolve_names}}}");
        let args = vec![
            dir.clone(),
            text(path)?,
            structure(&how, shown),
            Arg::Int(how.len() as i64),
        ];
        Ok(self.add("openat2", args, tolerates, why))
    }

    fn walk(
        &mut self,
        dir: &Arg,
        path: &Path,
        opened: Opened,
        resolution: Resolution,
        tolerates: &'static [i32],
        why: Cow<'static, str>,
    ) -> Result<Arg> {
        let real = match (resolution, dir) {
            (Resolution::InRoot, Arg::Fd(root)) => {
                walk::resolved(root.as_fd(), path).map_err(|errno| Error::Resolve {
                    operation: "readlinkat",
                    path: path.into(),
                    source: errno.into(),
                })?
            }
            _ => path.to_owned(),
        };
        let mut names: Vec<PathBuf> = components(&real)?.into_iter().map(Into::into).collect();
        if names.is_empty() {
            names.push(if path.is_absolute() { "/" } else { "." }.into());
        }
        let gone = match tolerates {
            [] => MUST,
            _ => MAY_BE_UNOPENED,
        };
        let mut here = dir.clone();
        for (index, name) in names.iter().enumerate() {
            let is_last = index + 1 == names.len();
            let (flags, shown) = if is_last { opened } else { Opened::Directory }.encode();
            let flags = constant(
                (flags | libc::O_NOFOLLOW) as u64,
                format!("{shown}|O_NOFOLLOW"),
            );
            let args = vec![here.clone(), text(name)?, flags, Arg::Int(0)];
            let below = self.add("openat", args, tolerates, why.clone());
            if index > 0 {
                self.close(&here, gone);
            }
            here = below;
        }
        Ok(here)
    }
}
