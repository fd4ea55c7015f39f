//! The system calls that a plan may make.
//!
//! The table is what makes it safe to build steps from outside: a call that is not in it cannot be made, numbers and
//! pointers stand where the kernel expects them, and no length exceeds its buffer.

use crate::step::Arg;
use crate::{Error, Result};

/// A system call: how the kernel and the reader know it.
#[derive(Debug)]
pub(crate) struct Call {
    /// Its name, as in section 2 of the manual.
    pub(crate) name: &'static str,
    /// Its number on this architecture.
    pub(crate) number: libc::c_long,
    /// What its arguments are.
    kinds: &'static [Kind],
    /// Whether other crates may put it into a plan.
    pub(crate) public: bool,
}

/// What stands at one place of a call's arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A number, a flag set or a file descriptor.
    Number,
    /// A pointer to a string, or null.
    Text,
    /// A pointer to a structure of a size that the call gets at another place.
    Struct,
    /// The size in bytes of what stands at the given place.
    SizeOf(usize),
    /// The number of 32-bit integers at the given place.
    CountOf(usize),
    /// A pointer to something of the size that the call expects by its own definition.
    Fixed(usize),
    /// An array of strings.
    Strings,
    /// One of these numbers.
    Among(&'static [u64]),
    /// A filter of system calls.
    Filter,
    /// Whatever the call takes there, by its other arguments.
    Any,
}

use Kind::{Among, Any, CountOf, Filter, Fixed, Number, SizeOf, Strings, Struct, Text};

/// The commands of fsconfig(2) that take a flag or a string, and no buffer whose length nobody checks:
/// FSCONFIG_SET_FLAG, FSCONFIG_SET_STRING, FSCONFIG_CMD_CREATE, FSCONFIG_CMD_RECONFIGURE.
const FSCONFIG: &[u64] = &[0, 1, 6, 7];

macro_rules! calls {
    ($($access:ident $name:literal $number:ident [$($kind:expr),*];)*) => {
        /// Every call of the table, in the order of the source.
        const CALLS: &[Call] = &[$(Call {
            name: $name,
            number: libc::$number,
            kinds: &[$($kind),*],
            public: calls!(@$access),
        }),*];
    };
    (@public) => { true };
    (@private) => { false };
}

calls! {
    public  "chdir"         SYS_chdir          [Text];
    public  "close"         SYS_close          [Number];
    public  "fchdir"        SYS_fchdir         [Number];
    public  "fchmod"        SYS_fchmod         [Number, Number];
    public  "fchown"        SYS_fchown         [Number, Number, Number];
    public  "fchownat"      SYS_fchownat       [Number, Text, Number, Number, Number];
    public  "fsconfig"      SYS_fsconfig       [Number, Among(FSCONFIG), Text, Text, Number];
    public  "fsmount"       SYS_fsmount        [Number, Number, Number];
    public  "fsopen"        SYS_fsopen         [Text, Number];
    public  "mkdirat"       SYS_mkdirat        [Number, Text, Number];
    public  "mknodat"       SYS_mknodat        [Number, Text, Number, Number];
    public  "mount"         SYS_mount          [Text, Text, Text, Number, Text];
    public  "mount_setattr" SYS_mount_setattr  [Number, Text, Number, Struct, SizeOf(3)];
    public  "move_mount"    SYS_move_mount     [Number, Text, Number, Text, Number];
    public  "open_tree"     SYS_open_tree      [Number, Text, Number];
    public  "openat"        SYS_openat         [Number, Text, Number, Number];
    public  "openat2"       SYS_openat2        [Number, Text, Struct, SizeOf(2)];
    public  "pivot_root"    SYS_pivot_root     [Text, Text];
    public  "setdomainname" SYS_setdomainname  [Text, SizeOf(0)];
    public  "sethostname"   SYS_sethostname    [Text, SizeOf(0)];
    public  "setns"         SYS_setns          [Number, Number];
    public  "setsid"        SYS_setsid         [];
    public  "symlinkat"     SYS_symlinkat      [Text, Number, Text];
    public  "umask"         SYS_umask          [Number];
    public  "umount2"       SYS_umount2        [Text, Number];
    public  "unlinkat"      SYS_unlinkat       [Number, Text, Number];
    public  "unshare"       SYS_unshare        [Number];
    public  "write"         SYS_write          [Number, Struct, SizeOf(1)];
    private "capset"        SYS_capset         [Fixed(8), Fixed(24)];
    private "clone"         SYS_clone          [Number, Text, Text, Text, Number];
    private "close_range"   SYS_close_range    [Number, Number, Number];
    private "dup3"          SYS_dup3           [Number, Number, Number];
    private "execve"        SYS_execve         [Text, Strings, Strings];
    private "fcntl"         SYS_fcntl          [Number, Number, Number];
    private "getcwd"        SYS_getcwd         [Struct, SizeOf(0)];
    private "keyctl"        SYS_keyctl         [Number, Text];
    private "ioctl"         SYS_ioctl          [Number, Number, Any];
    private "prctl"         SYS_prctl          [Number, Any, Number, Number, Number];
    private "prlimit64"     SYS_prlimit64      [Number, Number, Fixed(16), Text];
    private "read"          SYS_read           [Number, Struct, SizeOf(1)];
    private "rt_sigaction"  SYS_rt_sigaction   [Number, Fixed(32), Text, Number];
    private "rt_sigprocmask" SYS_rt_sigprocmask [Number, Fixed(8), Text, Number];
    private "seccomp"       SYS_seccomp        [Number, Number, Filter];
    private "setgroups"     SYS_setgroups      [CountOf(1), Struct];
    private "setresgid"     SYS_setresgid      [Number, Number, Number];
    private "setresuid"     SYS_setresuid      [Number, Number, Number];
}

/// The call of that name.
pub(crate) fn find(name: &str) -> Option<&'static Call> {
    CALLS.iter().find(|call| call.name == name)
}

impl Call {
    /// Whether `args` are what the call takes.
    pub(crate) fn check(&self, args: &[Arg]) -> Result<()> {
        let places = self.kinds.len().max(args.len());
        for place in 0..places {
            let fits = match (self.kinds.get(place), args.get(place)) {
                (Some(kind), Some(arg)) => kind.fits(arg, args),
                _ => false,
            };
            if !fits {
                return Err(Error::BadArgument {
                    call: self.name,
                    place,
                });
            }
        }
        Ok(())
    }
}

impl Kind {
    fn fits(self, arg: &Arg, args: &[Arg]) -> bool {
        match self {
            Number => matches!(
                arg,
                Arg::Int(_) | Arg::Flags { .. } | Arg::Fd(_) | Arg::Result(_) | Arg::Cwd
            ),
            Text => matches!(arg, Arg::Str(_) | Arg::Null),
            Struct => matches!(arg, Arg::Bytes { .. }),
            Strings => matches!(arg, Arg::Strings(_)),
            Filter => matches!(arg, Arg::Filter(_)),
            Any => true,
            Among(numbers) => matches!(arg, Arg::Flags { value, .. } if numbers.contains(value)),
            Fixed(size) => matches!(arg, Arg::Bytes { bytes, .. } if bytes.len() == size),
            SizeOf(place) => number(arg) == size(args.get(place)),
            CountOf(place) => number(arg).map(|count| count * 4) == size(args.get(place)),
        }
    }
}

fn number(arg: &Arg) -> Option<usize> {
    match arg {
        Arg::Int(number) => usize::try_from(*number).ok(),
        _ => None,
    }
}

fn size(arg: Option<&Arg>) -> Option<usize> {
    match arg {
        Some(Arg::Bytes { bytes, .. }) => Some(bytes.len()),
        Some(Arg::Str(text)) => Some(text.count_bytes()),
        _ => None,
    }
}
