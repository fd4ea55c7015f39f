//! What a container has in common with the host or with others, as a person types it.

use clap::Args;
use rocker_ns::IdMap;

use super::value;
use crate::{Result, RunOptions, Share, Users};

/// Namespaces, and users.
#[derive(Debug, Args)]
pub(super) struct Sharing {
    /// Share processes: host, or container:NAME
    #[arg(long, value_name = "WHOSE", help_heading = "Namespaces")]
    pid: Option<String>,
    /// Share memory, semaphores and queues: host, private, or container:NAME
    #[arg(long, value_name = "WHOSE", help_heading = "Namespaces")]
    ipc: Option<String>,
    /// Share the host name: host
    #[arg(long, value_name = "WHOSE", help_heading = "Namespaces")]
    uts: Option<String>,
    /// Whose users the container's are: host, auto, keep-id or nomap
    #[arg(
        long,
        value_name = "USERS",
        conflicts_with_all = ["uidmap", "gidmap"],
        help_heading = "Namespaces"
    )]
    userns: Option<String>,
    /// Map users: the first in the container, the first on the host, how many
    #[arg(long, value_name = "IN:OUT:COUNT", help_heading = "Namespaces")]
    uidmap: Vec<String>,
    /// Map groups likewise
    #[arg(long, value_name = "IN:OUT:COUNT", help_heading = "Namespaces")]
    gidmap: Vec<String>,
}

impl Sharing {
    /// Adds the same, in the words of the engine.
    pub(super) fn add_to(&self, options: &mut RunOptions<'_>) -> Result<()> {
        options.pid = share("--pid", self.pid.as_deref(), true)?;
        options.ipc = share("--ipc", self.ipc.as_deref(), true)?;
        options.uts = share("--uts", self.uts.as_deref(), false)?;
        options.users = match self.userns.as_deref() {
            None if self.uidmap.is_empty() && self.gidmap.is_empty() => Users::Host,
            None => Users::Maps {
                uids: maps("--uidmap", &self.uidmap)?,
                gids: maps("--gidmap", &self.gidmap)?,
            },
            Some("host") => Users::Host,
            // Root's own id is not among those that a container of root gets by itself.
            Some("auto" | "nomap") => Users::Auto,
            Some("keep-id") => Users::KeepId,
            Some(other) => {
                return Err(value::bad(
                    "--userns",
                    other,
                    "host, auto, keep-id or nomap",
                ));
            }
        };
        Ok(())
    }
}

fn share(flag: &'static str, text: Option<&str>, containers: bool) -> Result<Share> {
    let expected = match containers {
        true => "host, private or container:NAME",
        false => "host or private",
    };
    match text {
        None | Some("" | "private" | "shareable") => Ok(Share::Own),
        Some("host") => Ok(Share::Host),
        Some(text) => match text.strip_prefix("container:") {
            Some(name) if containers && !name.is_empty() => Ok(Share::Container(name.to_owned())),
            _ => Err(value::bad(flag, text, expected)),
        },
    }
}

fn maps(flag: &'static str, texts: &[String]) -> Result<Vec<IdMap>> {
    let one = |text: &String| {
        let mut numbers = text.split(':').map(str::parse::<u32>);
        match (
            numbers.next(),
            numbers.next(),
            numbers.next(),
            numbers.next(),
        ) {
            (Some(Ok(inside)), Some(Ok(outside)), Some(Ok(count)), None) => Ok(IdMap {
                inside,
                outside,
                count,
            }),
            _ => Err(value::bad(
                flag,
                text,
                "IN:OUT:COUNT, such as 0:100000:65536",
            )),
        }
    };
    texts.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_are_the_hosts_anothers_or_the_containers_own() {
        let share = |text| share("--pid", Some(text), true);
        assert_eq!(share("host").unwrap(), Share::Host);
        assert_eq!(share("private").unwrap(), Share::Own);
        assert_eq!(
            share("container:web").unwrap(),
            Share::Container("web".into())
        );
        for text in ["container:", "web", "Host"] {
            assert!(share(text).is_err(), "{text}");
        }
        assert!(super::share("--uts", Some("container:web"), false).is_err());
    }

    #[test]
    fn maps_are_three_numbers() {
        let map = maps("--uidmap", &["0:100000:65536".to_owned()]).unwrap();
        assert_eq!(map[0].to_string(), "0 100000 65536");
        for text in ["0:1", "0:1:2:3", "0:-1:2", "a:b:c", "0:1:4294967296"] {
            assert!(maps("--uidmap", &[text.to_owned()]).is_err(), "{text}");
        }
    }
}
