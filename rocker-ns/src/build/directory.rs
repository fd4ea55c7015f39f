//! The steps into the program's working directory.

use std::ops::RangeInclusive;

use crate::Result;
use crate::command::{Command, c_string};
use crate::plan::Plan;
use crate::step::{Arg, Role, Step};

/// Returns the steps that open the working directory, enter it, and look where it is.
pub(super) fn enter(plan: &mut Plan, command: &Command) -> Result<Option<RangeInclusive<usize>>> {
    let Some(dir) = &command.current_dir else {
        return Ok(None);
    };
    // struct open_how: flags, mode, resolve.
    let flags = (libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC) as u64;
    let bytes = [flags, 0, libc::RESOLVE_NO_MAGICLINKS]
        .map(u64::to_ne_bytes)
        .concat();
    let how = Arg::bytes(
        bytes,
        "{flags=O_PATH|O_DIRECTORY|O_CLOEXEC, resolve=RESOLVE_NO_MAGICLINKS}",
    );
    let path = Arg::Str(c_string(dir.as_os_str().as_encoded_bytes())?);
    let opened = plan.push(
        Step::internal("openat2", vec![Arg::Cwd, path, how, Arg::Int(24)]).because(
            "so that the working directory is one of the container's own, not one behind a leaked file",
        ),
    );
    plan.push(
        Step::internal("fchdir", vec![Arg::Result(opened)])
            .because("so that the program starts in its working directory"),
    );
    let buffer = Arg::bytes([0; libc::PATH_MAX as usize], "…");
    let size = Arg::Int(libc::PATH_MAX.into());
    let looked = plan.push(
        Step::internal("getcwd", vec![buffer, size])
            .role(Role::Inside)
            .because("so that it is known to lie beneath the root, and not outside of it"),
    );
    Ok(Some(opened..=looked))
}
