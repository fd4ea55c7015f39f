//! Where the standard streams of a child lead.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use nix::sys::stat::{FileStat, fstat};

use crate::{Error, Result};

/// What a standard stream of the child is connected to, as [`std::process::Stdio`] has it.
#[derive(Debug)]
pub struct Stdio(Kind);

#[derive(Debug)]
enum Kind {
    Inherit,
    Null,
    Piped,
    Fd(OwnedFd),
}

impl Stdio {
    /// The parent's own stream.
    #[must_use]
    pub const fn inherit() -> Self {
        Self(Kind::Inherit)
    }

    /// `/dev/null`.
    #[must_use]
    pub const fn null() -> Self {
        Self(Kind::Null)
    }

    /// A pipe, whose other end is found in the [`Child`](crate::Child).
    #[must_use]
    pub const fn piped() -> Self {
        Self(Kind::Piped)
    }
}

impl From<OwnedFd> for Stdio {
    fn from(fd: OwnedFd) -> Self {
        Self(Kind::Fd(fd))
    }
}

impl From<File> for Stdio {
    fn from(file: File) -> Self {
        Self(Kind::Fd(file.into()))
    }
}

/// One stream, made ready for a child.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    /// What the child gets; none where it keeps the parent's.
    pub(crate) child: Option<Arc<OwnedFd>>,
    /// The parent's end of a pipe.
    pub(crate) parent: Option<OwnedFd>,
    /// Whether it is a pipe, made here or inherited.
    pub(crate) is_pipe: bool,
}

impl Stdio {
    /// Opens what the stream of this number needs.
    pub(crate) fn ready(&self, number: u8) -> Result<Ready> {
        let input = number == 0;
        let failed = |call: &str| {
            let call = call.to_owned();
            move |source| Error::Call {
                call,
                why: "so that the new process has its standard streams",
                source,
            }
        };
        let (child, parent) = match &self.0 {
            Kind::Inherit => return Ok(Ready::inherited(number)),
            Kind::Null => {
                let null = OpenOptions::new()
                    .read(input)
                    .write(!input)
                    .open("/dev/null");
                (
                    OwnedFd::from(null.map_err(failed("open(\"/dev/null\")"))?),
                    None,
                )
            }
            Kind::Piped => {
                let (reader, writer) = io::pipe().map_err(failed("pipe2(O_CLOEXEC)"))?;
                if input {
                    (reader.into(), Some(writer.into()))
                } else {
                    (writer.into(), Some(reader.into()))
                }
            }
            Kind::Fd(fd) => (
                fd.try_clone().map_err(failed("fcntl(F_DUPFD_CLOEXEC)"))?,
                None,
            ),
        };
        Ok(Ready {
            is_pipe: is_pipe(&child),
            child: Some(Arc::new(child)),
            parent,
        })
    }
}

impl Ready {
    fn inherited(number: u8) -> Self {
        let is_pipe = match number {
            0 => is_pipe(io::stdin()),
            1 => is_pipe(io::stdout()),
            _ => is_pipe(io::stderr()),
        };
        Self {
            is_pipe,
            ..Self::default()
        }
    }
}

fn is_pipe(fd: impl AsFd) -> bool {
    let kind = |found: FileStat| found.st_mode & libc::S_IFMT;
    fstat(fd).is_ok_and(|found| kind(found) == libc::S_IFIFO)
}
