//! The architectures whose system calls a kernel of x86-64 or AArch64 takes.

/// A set of system calls with numbers of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SeccompArchitecture {
    /// 64-bit x86.
    X86_64,
    /// 32-bit x86, which 64-bit kernels take as well, also from a 64-bit program by `int 0x80`.
    X86,
    /// x86-64 with pointers of 32 bits: its calls are those of x86-64 with a bit set, and some of its own.
    X32,
    /// 64-bit ARM.
    Aarch64,
    /// 32-bit ARM, which some 64-bit kernels take as well.
    Arm,
}

use SeccompArchitecture::{Aarch64, Arm, X32, X86, X86_64};

impl SeccompArchitecture {
    /// That of this program.
    #[cfg(target_arch = "x86_64")]
    pub const NATIVE: Self = X86_64;
    /// That of this program.
    #[cfg(target_arch = "aarch64")]
    pub const NATIVE: Self = Aarch64;

    /// All whose calls a kernel takes whose native architecture this is, with the native one in front.
    #[must_use]
    pub fn family(self) -> &'static [Self] {
        match self {
            X86_64 | X86 | X32 => &[X86_64, X86, X32],
            Aarch64 | Arm => &[Aarch64, Arm],
        }
    }

    /// How the kernel tells a filter where a call comes from (`AUDIT_ARCH_*`); x32 is told apart by its numbers.
    pub(super) fn audit(self) -> u32 {
        match self {
            X86_64 | X32 => 0xc000_003e,
            X86 => 0x4000_0003,
            Aarch64 => 0xc000_00b7,
            Arm => 0x4000_0028,
        }
    }

    /// Whether arguments have 32 bits. (Those of x32 come in registers of 64.)
    pub(super) fn is_narrow(self) -> bool {
        matches!(self, X86 | Arm)
    }
}
