//! What the parent does for a process that is to be in another user namespace, before it does anything: there it has no privilege over the
//! machine's resources any more, which the parent may have.

use std::fs;

use crate::command::Command;
use crate::trace::traced;
use crate::{Error, Namespace, Result, id_map, sys};

/// Maps the ids of process `pid`, and gives it what only its parent can.
pub(crate) fn give(command: &Command, pid: u32) -> Result<()> {
    id_map::write(pid, &command.uid_map, &command.gid_map)?;
    let new = command.unshare.contains(&Namespace::User);
    let entered = command.enter.as_ref();
    let entered = entered.is_some_and(|(_, kinds)| kinds.contains(&Namespace::User));
    if let Some(adjustment) = command.oom_score_adj.filter(|_| new) {
        let path = format!("/proc/{pid}/oom_score_adj");
        let text = adjustment.to_string();
        let why = "so that the kernel knows how readily to kill the program when memory runs out";
        let args = || format!("{path}, {text:?}");
        traced("write", why, args, || fs::write(&path, &text)).map_err(|source| Error::Proc {
            operation: "write",
            path: path.clone(),
            source,
        })?;
    }
    for limit in command.rlimits.iter().filter(|_| new || entered) {
        // The process lowers its limits itself, when it needs no more than they let it have.
        sys::raise_hard_limit(pid, limit.number(), limit.constant(), limit.hard)?;
    }
    Ok(())
}
