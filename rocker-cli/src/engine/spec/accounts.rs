//! Who a container's program runs as, by the accounts of its own files.

use std::os::fd::AsFd;

use oci_spec::image::ImageConfiguration;
use rocker_fs::read_beneath;
use rocker_ns::User;

use super::users;
use crate::engine::options::{RunOptions, Users};
use crate::{Error, Result};

/// The most that is read of an image's `/etc/passwd` or `/etc/group`.
pub(crate) const ACCOUNTS_LIMIT: u64 = 8 << 20;

/// Who the container is asked to run as.
pub(crate) fn wanted_user(options: &RunOptions<'_>, image: &ImageConfiguration) -> String {
    let of_image = || image.config().as_ref()?.user().clone();
    // Whoever keeps an id wants to be it.
    let kept = || match options.users {
        Users::KeepId => users::callers_own().ok(),
        _ => None,
    };
    let wanted = options.user.clone().or_else(kept).or_else(of_image);
    wanted.unwrap_or_default()
}

/// Who the container runs as, by its own accounts.
pub(crate) fn user_of(root: impl AsFd, spec: &str, groups: &[String]) -> Result<User> {
    let file = |name| {
        Ok::<_, Error>(read_beneath(root.as_fd(), name, ACCOUNTS_LIMIT)?.unwrap_or_default())
    };
    let group = file("/etc/group")?;
    let mut user = User::resolve(spec, &file("/etc/passwd")?, &group)?;
    for wanted in groups {
        user.add_group(wanted, &group)?;
    }
    Ok(user)
}
