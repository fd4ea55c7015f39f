//! A profile as a program of classic BPF, in the form that the kernel takes.

use std::fmt;
use std::sync::Arc;

/// A program that decides about each system call, for [`Command::seccomp`](crate::Command::seccomp); made by
/// [`Seccomp::compile`](crate::Seccomp::compile).
///
/// To clone it costs nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct SeccompFilter {
    program: Arc<[Instruction]>,
    /// The flags of seccomp(2).
    flags: u32,
}

/// One instruction: `struct sock_filter`.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Instruction {
    pub(super) code: u16,
    /// How many instructions are skipped if a comparison holds.
    pub(super) yes: u8,
    /// How many if it does not.
    pub(super) no: u8,
    pub(super) k: u32,
}

/// What the instructions do: load a word of `struct seccomp_data`, mask it, compare it, jump, return.
pub(super) const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
pub(super) const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
pub(super) const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
pub(super) const GREATER: u16 = (libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K) as u16;
pub(super) const NOT_LESS: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
pub(super) const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
pub(super) const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// The flags that a filter is loaded with.
pub(super) const LOG: u32 = libc::SECCOMP_FILTER_FLAG_LOG as u32;
pub(super) const SPEC_ALLOW: u32 = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW as u32;
const LOG_AND_SPEC_ALLOW: u32 = LOG | SPEC_ALLOW;

impl Instruction {
    pub(super) const fn new(code: u16, k: u32) -> Self {
        Self {
            code,
            yes: 0,
            no: 0,
            k,
        }
    }

    pub(super) const fn branch(code: u16, k: u32, yes: u8, no: u8) -> Self {
        Self { code, yes, no, k }
    }
}

impl SeccompFilter {
    pub(super) fn new(program: Vec<Instruction>, flags: u32) -> Self {
        Self {
            program: program.into(),
            flags,
        }
    }

    /// How many instructions the program has.
    #[must_use]
    #[expect(
        clippy::len_without_is_empty,
        reason = "a program without instructions is none"
    )]
    pub fn len(&self) -> usize {
        self.program.len()
    }

    /// The program as the kernel takes it: `struct sock_filter`, 8 bytes an instruction.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let bytes = |one: &Instruction| {
            let [code_0, code_1] = one.code.to_ne_bytes();
            let [k_0, k_1, k_2, k_3] = one.k.to_ne_bytes();
            [code_0, code_1, one.yes, one.no, k_0, k_1, k_2, k_3]
        };
        self.program.iter().flat_map(bytes).collect()
    }

    /// The instructions as the kernel wants to hear of them, for as long as the filter exists.
    pub(crate) fn program(&self) -> libc::sock_fprog {
        libc::sock_fprog {
            len: self.program.len() as u16, // of at most 4096
            filter: self.program.as_ptr().cast_mut().cast(),
        }
    }

    /// The flags of the system call that loads it, and their names.
    pub(crate) fn flags(&self) -> (u32, &'static str) {
        let names = match self.flags {
            LOG => "SECCOMP_FILTER_FLAG_LOG",
            SPEC_ALLOW => "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
            LOG_AND_SPEC_ALLOW => "SECCOMP_FILTER_FLAG_LOG|SECCOMP_FILTER_FLAG_SPEC_ALLOW",
            _ => "0",
        };
        (self.flags, names)
    }
}

impl fmt::Debug for SeccompFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&*self.program).finish()
    }
}

impl fmt::Debug for Instruction {
    /// As bpf_dbg(8) and other disassemblers write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (yes, no, k) = (self.yes, self.no, self.k);
        match self.code {
            LOAD => write!(f, "ld [{k}]"),
            AND => write!(f, "and #{k:#x}"),
            EQUAL => write!(f, "jeq #{k:#x}, +{yes}, +{no}"),
            GREATER => write!(f, "jgt #{k:#x}, +{yes}, +{no}"),
            NOT_LESS => write!(f, "jge #{k:#x}, +{yes}, +{no}"),
            JUMP => write!(f, "ja +{k}"),
            _ => write!(f, "ret #{k:#x}"),
        }
    }
}
