//! The program that guards the devices of a cgroup of v2: loaded, attached, and replaced by another in one step.
//!
//! See [bpf(2)](https://man7.org/linux/man-pages/man2/bpf.2.html). Other programs, such as systemd's on the cgroups above, are
//! left alone: a use is allowed if all of them allow it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use crate::device::DeviceRule;
use crate::trace::traced;
use crate::{device_program, sys};

/// By this name our own program is known among others; the kernel has room for 15 characters.
const NAME: &[u8; 15] = b"rocker_devices\0";

/// Puts the rules in force for the cgroup whose directory is open as `cgroup`, in the place of our earlier ones. There is no moment
/// without rules.
pub(crate) fn guard(cgroup: BorrowedFd<'_>, rules: &[DeviceRule]) -> io::Result<()> {
    let code = device_program::assemble(rules);
    let program = load(&code)?;
    let ours: Vec<OwnedFd> = attached(cgroup)?;
    match ours.split_first() {
        None => attach(cgroup, program.as_fd(), None)?,
        Some((first, others)) => {
            attach(cgroup, program.as_fd(), Some(first.as_fd()))?;
            for other in others {
                detach(cgroup, other.as_fd())?;
            }
        }
    }
    Ok(())
}

fn load(code: &[u8]) -> io::Result<OwnedFd> {
    let why =
        "so that the kernel has a program that says which devices may be used, and has checked it";
    let args = || {
        let count = code.len() / 8;
        format!(
            "BPF_PROG_LOAD, {{prog_type=BPF_PROG_TYPE_CGROUP_DEVICE, insn_cnt={count}, insns=…, license=\"\", prog_name=\"rocker_devices\"}}"
        )
    };
    traced("bpf", why, args, || {
        sys::bpf_load_device_program(code, NAME)
    })
}

/// Our programs that the cgroup has already.
fn attached(cgroup: BorrowedFd<'_>) -> io::Result<Vec<OwnedFd>> {
    let number = cgroup.as_raw_fd();
    let why = "so that an earlier program of ours is replaced, and no other one";
    let args = || format!("BPF_PROG_QUERY, {{target_fd={number}, attach_type=BPF_CGROUP_DEVICE}}");
    let mut ids = Vec::new();
    traced("bpf", why, args, || {
        ids = sys::bpf_device_programs(cgroup)?;
        Ok(())
    })?;
    let mut ours = Vec::new();
    for id in ids {
        let args = || format!("BPF_PROG_GET_FD_BY_ID, {{prog_id={id}}}");
        match traced("bpf", why, args, || sys::bpf_program_by_id(id)) {
            Ok(program) => {
                let number = program.as_raw_fd();
                let args = || format!("BPF_OBJ_GET_INFO_BY_FD, {{info={{bpf_fd={number}}}}}");
                let mut name = [0; 16];
                traced("bpf", why, args, || {
                    name = sys::bpf_program_name(program.as_fd())?;
                    Ok(())
                })?;
                if name.starts_with(NAME) {
                    ours.push(program);
                }
            }
            // Detached by somebody meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(ours)
}

fn attach(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    replaced: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let (target, new) = (cgroup.as_raw_fd(), program.as_raw_fd());
    let why = "so that no process of the cgroup can use a device that it was not given";
    let args = || {
        let flags = match replaced {
            None => "BPF_F_ALLOW_MULTI".to_owned(),
            Some(old) => format!(
                "BPF_F_ALLOW_MULTI|BPF_F_REPLACE, replace_bpf_fd={}",
                old.as_raw_fd()
            ),
        };
        format!(
            "BPF_PROG_ATTACH, {{target_fd={target}, attach_bpf_fd={new}, attach_type=BPF_CGROUP_DEVICE, attach_flags={flags}}}"
        )
    };
    traced("bpf", why, args, || {
        sys::bpf_attach_device_program(cgroup, program, replaced)
    })
}

fn detach(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let (target, old) = (cgroup.as_raw_fd(), program.as_raw_fd());
    let why = "so that one program of ours decides";
    let args = || {
        format!(
            "BPF_PROG_DETACH, {{target_fd={target}, attach_bpf_fd={old}, attach_type=BPF_CGROUP_DEVICE}}"
        )
    };
    traced("bpf", why, args, || {
        sys::bpf_detach_device_program(cgroup, program)
    })
}
