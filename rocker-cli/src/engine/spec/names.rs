//! What a container is called on its network.

use super::Facts;
use crate::engine::options::Share;
use crate::{Error, Result};

/// The container's host name, which also stands in files and variables.
pub(super) fn hostname(facts: &Facts<'_>) -> Result<String> {
    match (&facts.options.hostname, &facts.options.uts) {
        (Some(name), Share::Own) => checked("--hostname", name),
        (None, _) => {
            let of_network = facts.surroundings.hostname.clone();
            Ok(of_network.unwrap_or_else(|| facts.id[..12].to_owned()))
        }
        (Some(name), _) => Err(Error::bad_value(
            "--hostname",
            name.clone(),
            "no name of its own for a container that has the host's (--uts host)",
        )),
    }
}

fn checked(flag: &'static str, name: &str) -> Result<String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if name.is_empty() || name.len() > 64 || !name.bytes().all(good) {
        return Err(Error::bad_value(
            flag,
            name.to_owned(),
            "1 to 64 letters, digits, `-`, `.` and `_`",
        ));
    }
    Ok(name.to_owned())
}

/// The name in the specification: none where it is the host's own.
pub(super) fn own_hostname(facts: &Facts<'_>) -> Result<Option<String>> {
    match facts.options.uts {
        Share::Own => hostname(facts).map(Some),
        _ => Ok(None),
    }
}

/// The NIS domain name in the specification.
pub(super) fn domainname(facts: &Facts<'_>) -> Result<Option<String>> {
    match (&facts.options.domainname, &facts.options.uts) {
        (Some(name), Share::Own) => checked("--domainname", name).map(Some),
        (None, _) => Ok(None),
        (Some(name), _) => Err(Error::bad_value(
            "--domainname",
            name.clone(),
            "no name of its own for a container that has the host's (--uts host)",
        )),
    }
}
