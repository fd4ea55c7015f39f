//! [bpf(2)](https://man7.org/linux/man-pages/man2/bpf.2.html), as far as the programs on devices need it (Linux 4.15; to replace
//! one: 5.6).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

// The commands,
const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const PROG_QUERY: libc::c_int = 16;
// a type of program, where it is attached,
const TYPE_CGROUP_DEVICE: u32 = 15;
const CGROUP_DEVICE: u32 = 6;
// and how.
const ALLOW_MULTI: u32 = 2;
const REPLACE: u32 = 4;

/// More programs on one cgroup than the kernel allows.
const MOST_PROGRAMS: usize = 64;

/// What `union bpf_attr` is for `BPF_PROG_LOAD`.
#[repr(C)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

/// The same for `BPF_PROG_ATTACH` and `BPF_PROG_DETACH`,
#[repr(C)]
struct Attach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

/// `BPF_PROG_QUERY`, whole: Linux 6.17 and later write `revision` back, however little of it they were given.
#[repr(C)]
#[derive(Default)]
struct Query {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
    prog_attach_flags: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
}

const _: () = assert!(size_of::<Query>() == 64 && std::mem::offset_of!(Query, revision) == 56);

/// `BPF_PROG_GET_FD_BY_ID`,
#[repr(C)]
struct ById {
    prog_id: u32,
    next_id: u32,
    open_flags: u32,
}

/// and `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct Info {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// The beginning of `struct bpf_prog_info`, up to the name.
#[repr(C)]
#[derive(Default)]
struct ProgramInfo {
    words: [u32; 6],
    pointers_to_code: [u64; 2],
    load_time: u64,
    created_by_uid: u32,
    nr_map_ids: u32,
    map_ids: u64,
    name: [u8; 16],
}

/// Makes the call. `T` is one of the structures above, which are what the command takes.
fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: the bytes there are exclusively ours. The kernel reads `size_of::<T>()` of them; of what it writes back, `Query` has all
    // members, and of `Info` it writes `info_len` alone. Pointers in them are set by the callers
    // below, to memory that they hold until the call is over and whose length stands beside them, or are null.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attributes),
            size_of::<T>(),
        )
    };
    match result < 0 {
        true => Err(io::Error::last_os_error()),
        false => Ok(result),
    }
}

fn number(fd: RawFd) -> u32 {
    // An open descriptor is no negative number.
    fd.unsigned_abs()
}

fn owned(fd: libc::c_long) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor for us (both commands return one that is close-on-exec), so that nobody
    // else owns it; it fits, as every descriptor is a non-negative int.
    unsafe { OwnedFd::from_raw_fd(fd as RawFd) }
}

/// Loads a program of the type `BPF_PROG_TYPE_CGROUP_DEVICE`.
pub(crate) fn bpf_load_device_program(code: &[u8], name: &[u8; 15]) -> io::Result<OwnedFd> {
    let mut prog_name = [0; 16];
    prog_name[..15].copy_from_slice(name);
    let count = u32::try_from(code.len() / 8).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut load = Load {
        prog_type: TYPE_CGROUP_DEVICE,
        insn_cnt: count,
        // It calls nothing of the kernel's, so no licence is asked for.
        insns: code.as_ptr() as u64,
        license: c"".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
        prog_name,
        prog_ifindex: 0,
        expected_attach_type: 0,
    };
    Ok(owned(bpf(PROG_LOAD, &mut load)?))
}

/// Attaches it, in the place of another where one is given.
pub(crate) fn bpf_attach_device_program(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    replaced: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut attach = Attach {
        target_fd: number(cgroup.as_raw_fd()),
        attach_bpf_fd: number(program.as_raw_fd()),
        attach_type: CGROUP_DEVICE,
        attach_flags: ALLOW_MULTI | replaced.map_or(0, |_| REPLACE),
        replace_bpf_fd: replaced.map_or(0, |one| number(one.as_raw_fd())),
    };
    bpf(PROG_ATTACH, &mut attach).map(drop)
}

/// Detaches it.
pub(crate) fn bpf_detach_device_program(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
) -> io::Result<()> {
    let mut attach = Attach {
        target_fd: number(cgroup.as_raw_fd()),
        attach_bpf_fd: number(program.as_raw_fd()),
        attach_type: CGROUP_DEVICE,
        attach_flags: 0,
        replace_bpf_fd: 0,
    };
    bpf(PROG_DETACH, &mut attach).map(drop)
}

/// The ids of the programs on devices that are attached to this very cgroup.
pub(crate) fn bpf_device_programs(cgroup: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut ids = vec![0_u32; MOST_PROGRAMS];
    let mut query = Query {
        target_fd: number(cgroup.as_raw_fd()),
        attach_type: CGROUP_DEVICE,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: MOST_PROGRAMS as u32,
        // Nothing is asked for but the ids; what is not zero here is an error to a kernel that does not know it.
        ..Query::default()
    };
    bpf(PROG_QUERY, &mut query)?;
    ids.truncate(query.prog_cnt as usize);
    Ok(ids)
}

/// A program by its id.
pub(crate) fn bpf_program_by_id(id: u32) -> io::Result<OwnedFd> {
    let mut by_id = ById {
        prog_id: id,
        next_id: 0,
        open_flags: 0,
    };
    Ok(owned(bpf(PROG_GET_FD_BY_ID, &mut by_id)?))
}

/// The name that a program was loaded with.
pub(crate) fn bpf_program_name(program: BorrowedFd<'_>) -> io::Result<[u8; 16]> {
    let mut info = ProgramInfo::default();
    let mut ask = Info {
        bpf_fd: number(program.as_raw_fd()),
        info_len: size_of::<ProgramInfo>() as u32,
        info: std::ptr::from_mut(&mut info) as u64,
    };
    bpf(OBJ_GET_INFO_BY_FD, &mut ask)?;
    Ok(info.name)
}
