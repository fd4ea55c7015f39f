//! Runs a filter of system calls as the kernel does, for one call at a time, and counts.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses its part of this module"
)]

/// How the kernel tells a filter where a call comes from.
pub const X86_64: u32 = 0xc000_003e;
pub const X86: u32 = 0x4000_0003;
pub const AARCH64: u32 = 0xc000_00b7;
pub const ARM: u32 = 0x4000_0028;

/// A system call, as a filter sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    pub number: u32,
    pub audit: u32,
    pub args: [u64; 6],
}

/// What a filter says of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// What it returns.
    pub action: u32,
    /// How many instructions that took.
    pub steps: usize,
}

/// Runs `program`, instructions of 8 bytes each. Panics where the kernel would not have taken it.
#[track_caller]
pub fn run(program: &[u8], call: &Call) -> Verdict {
    let mut data = Vec::with_capacity(64);
    data.extend(call.number.to_ne_bytes());
    data.extend(call.audit.to_ne_bytes());
    data.extend(0_u64.to_ne_bytes());
    data.extend(call.args.iter().flat_map(|arg| arg.to_ne_bytes()));
    let word = |from: &[u8]| u32::from_ne_bytes(from.try_into().expect("4 bytes"));
    let (mut accumulator, mut place, mut steps) = (0, 0_usize, 0);
    loop {
        let step = &program[8 * place..8 * place + 8];
        let code = u16::from_ne_bytes([step[0], step[1]]);
        let (yes, no) = (usize::from(step[2]), usize::from(step[3]));
        let k = word(&step[4..]);
        place += 1;
        steps += 1;
        let branch = |holds: bool| if holds { yes } else { no };
        match code {
            // BPF_LD|BPF_W|BPF_ABS
            0x20 => {
                assert!(k % 4 == 0, "{k} is no word's place");
                accumulator = word(&data[k as usize..k as usize + 4]);
            }
            // BPF_ALU|BPF_AND|BPF_K
            0x54 => accumulator &= k,
            // BPF_JMP|BPF_JA, and with BPF_JEQ, BPF_JGT and BPF_JGE
            0x05 => place += k as usize,
            0x15 => place += branch(accumulator == k),
            0x25 => place += branch(accumulator > k),
            0x35 => place += branch(accumulator >= k),
            // BPF_RET|BPF_K
            0x06 => return Verdict { action: k, steps },
            other => panic!("{other:#x} is not an instruction of these filters"),
        }
    }
}
