//! The steps by which the program becomes its user, with the privileges that are left to it.

use super::{die_with_parent, prctl, prctl_args};
use crate::command::Command;
use crate::plan::Plan;
use crate::step::{Arg, Step};

/// Gives up privileges, in the only order that works: each step needs what the next one takes away.
pub(super) fn change(plan: &mut Plan, command: &Command) {
    if let Some(capabilities) = command.capabilities {
        for (number, name) in capabilities.missing() {
            let mut args = prctl_args("PR_CAPBSET_DROP", libc::PR_CAPBSET_DROP, 0);
            args[1] = Arg::flags(u64::from(number), name);
            plan.push(
                Step::internal("prctl", args)
                    .tolerating(&[libc::EINVAL]) // a capability that this kernel does not know
                    .because("so that no program of the container can ever gain this capability"),
            );
        }
    }
    if let Some(user) = &command.user {
        let bytes = user
            .groups
            .iter()
            .flat_map(|group| group.to_ne_bytes())
            .collect();
        let list = Arg::Bytes {
            bytes,
            shown: format!("{:?}", user.groups).into(),
        };
        plan.push(
            Step::internal("setgroups", vec![Arg::Int(user.groups.len() as i64), list])
                .because("so that the program has its user's groups and none of the caller's"),
        );
        for (call, id, what) in [
            ("setresgid", user.gid, "group"),
            ("setresuid", user.uid, "user"),
        ] {
            plan.push(
                Step::internal(call, vec![Arg::Int(i64::from(id)); 3]).because(format!(
                    "so that the program runs as its {what}, with no way back"
                )),
            );
        }
    }
    if let Some(capabilities) = command.capabilities {
        let root = command.user.as_ref().is_none_or(|user| user.uid == 0);
        let held = if root { capabilities.bits() } else { 0 };
        let (low, high) = (held as u32, (held >> 32) as u32);
        // struct __user_cap_header_struct (version 3, this process), and twice effective, permitted, inheritable.
        let header = [0x2008_0522_u32, 0].map(u32::to_ne_bytes).concat();
        let data = [low, low, 0, high, high, 0].map(u32::to_ne_bytes).concat();
        let shown = format!("{{effective={held:#x}, permitted={held:#x}, inheritable=0}}");
        plan.push(
            Step::internal(
                "capset",
                vec![
                    Arg::Bytes {
                        bytes: header,
                        shown: "{version=_LINUX_CAPABILITY_VERSION_3, pid=0}".into(),
                    },
                    Arg::Bytes {
                        bytes: data,
                        shown: shown.into(),
                    },
                ],
            )
            .because("so that the program holds the container's capabilities and no others"),
        );
    }
    if command.no_new_privileges {
        plan.push(
            prctl("PR_SET_NO_NEW_PRIVS", libc::PR_SET_NO_NEW_PRIVS, 1)
                .because("so that setuid programs give nobody new privileges"),
        );
    }
    if command.die_with_parent {
        // Once more, since the change of user has undone the first.
        plan.push(die_with_parent());
    }
}
