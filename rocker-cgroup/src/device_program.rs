//! Device rules as a program of eBPF, which cgroup v2 asks in the place of a controller.
//!
//! The kernel runs it whenever a process of the cgroup opens a device or makes a node of one, with a
//! `struct bpf_cgroup_dev_ctx`, and refuses with EPERM what it returns 0 for: see
//! [the kernel's own words](https://docs.kernel.org/admin-guide/cgroup-v2.html#device-controller). It is assembled here, an
//! instruction being eight bytes.

use crate::device::{DeviceKind, DeviceRule, Policy};

/// `BPF_DEVCG_DEV_BLOCK` and `BPF_DEVCG_DEV_CHAR`.
const BLOCK: i32 = 1;
const CHAR: i32 = 2;

/// Any of the three uses.
const EVERY_USE: i32 = 0b111;

// What the registers hold.
const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
/// Free once the context has been read.
const SCRATCH: u8 = CONTEXT;

/// One instruction: `struct bpf_insn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instruction {
    pub(crate) code: u8,
    pub(crate) to: u8,
    pub(crate) from: u8,
    pub(crate) offset: i16,
    pub(crate) number: i32,
}

// The codes of the instructions that are used, see the kernel's BPF instruction set.
/// Loads a word of the memory at `from` and `offset`.
pub(crate) const LOAD: u8 = 0x61;
/// Copies a register, all 64 bits.
pub(crate) const COPY: u8 = 0xbf;
/// Sets a register to a number.
pub(crate) const SET: u8 = 0xb7;
/// Keeps the bits of a number, in 32 bits.
pub(crate) const AND: u8 = 0x54;
/// Shifts to the right, in 32 bits.
pub(crate) const SHIFT: u8 = 0x74;
/// Goes on `offset` instructions further if the lower 32 bits are another number,
pub(crate) const UNLESS: u8 = 0x56;
/// or if they are that number.
pub(crate) const IF: u8 = 0x16;
/// Ends, with the result in register 0.
pub(crate) const EXIT: u8 = 0x95;

impl Instruction {
    fn new(code: u8, to: u8, from: u8, offset: i16, number: i32) -> Instruction {
        Instruction {
            code,
            to,
            from,
            offset,
            number,
        }
    }

    /// As the kernel takes it.
    fn bytes(self) -> [u8; 8] {
        let registers = match cfg!(target_endian = "little") {
            true => self.to | self.from << 4,
            false => self.to << 4 | self.from,
        };
        let mut bytes = [self.code, registers, 0, 0, 0, 0, 0, 0];
        bytes[2..4].copy_from_slice(&self.offset.to_ne_bytes());
        bytes[4..].copy_from_slice(&self.number.to_ne_bytes());
        bytes
    }
}

/// The program for these rules, as the kernel takes it.
pub(crate) fn assemble(rules: &[DeviceRule]) -> Vec<u8> {
    let program = program(&Policy::of(rules));
    program.into_iter().flat_map(Instruction::bytes).collect()
}

fn program(policy: &Policy) -> Vec<Instruction> {
    let new = Instruction::new;
    let mut program = vec![
        // The first word has the kind in its lower half, and the use in its upper one.
        new(LOAD, KIND, CONTEXT, 0, 0),
        new(COPY, ACCESS, KIND, 0, 0),
        new(SHIFT, ACCESS, 0, 0, 16),
        new(AND, KIND, 0, 0, 0xffff),
        new(LOAD, MAJOR, CONTEXT, 4, 0),
        new(LOAD, MINOR, CONTEXT, 8, 0),
    ];
    // The last rule that speaks of a use decides, so it is asked first.
    for rule in policy.exceptions.iter().rev() {
        program.extend(exception(rule));
    }
    program.extend(verdict(policy.allow));
    program
}

fn verdict(allow: bool) -> [Instruction; 2] {
    [
        Instruction::new(SET, RESULT, 0, 0, i32::from(allow)),
        Instruction::new(EXIT, 0, 0, 0, 0),
    ]
}

/// Decides if the rule speaks of this use, and else goes on to the next.
fn exception(rule: &DeviceRule) -> Vec<Instruction> {
    let new = Instruction::new;
    let bits = i32::try_from(rule.access.bits()).unwrap_or(EVERY_USE);
    let mut tests = Vec::new();
    match rule.kind {
        DeviceKind::All => {}
        DeviceKind::Block => tests.push(new(UNLESS, KIND, 0, 0, BLOCK)),
        DeviceKind::Char => tests.push(new(UNLESS, KIND, 0, 0, CHAR)),
    }
    // The kernel compares the bits; numbers of devices have at most 32.
    let number = |number: u32| i32::from_ne_bytes(number.to_ne_bytes());
    for (register, wanted) in [(MAJOR, rule.major), (MINOR, rule.minor)] {
        if let Some(wanted) = wanted {
            tests.push(new(UNLESS, register, 0, 0, number(wanted)));
        }
    }
    if bits != EVERY_USE {
        tests.push(new(COPY, SCRATCH, ACCESS, 0, 0));
        // What is allowed must be all that is asked for; what is forbidden, some of it.
        if rule.allow {
            tests.push(new(AND, SCRATCH, 0, 0, !bits & EVERY_USE));
            tests.push(new(UNLESS, SCRATCH, 0, 0, 0));
        } else {
            tests.push(new(AND, SCRATCH, 0, 0, bits));
            tests.push(new(IF, SCRATCH, 0, 0, 0));
        }
    }
    tests.extend(verdict(rule.allow));
    let end = tests.len();
    for (at, test) in tests.iter_mut().enumerate() {
        if matches!(test.code, UNLESS | IF) {
            test.offset = i16::try_from(end - at - 1).unwrap_or(0);
        }
    }
    tests
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::device::DeviceAccess;

    /// Runs the program as the kernel does.
    fn run(program: &[Instruction], kind: i32, access: u32, major: u32, minor: u32) -> bool {
        let context = [kind as u32 | access << 16, major, minor];
        let mut registers = [0_u64; 6];
        let mut at = 0;
        loop {
            let Instruction {
                code,
                to,
                from,
                offset,
                number,
            } = program[at];
            let (to, from) = (usize::from(to), usize::from(from));
            at += 1;
            let low = |value: u64| value as u32;
            let mut jump = |holds: bool| {
                if holds {
                    at = at.checked_add_signed(isize::from(offset)).unwrap();
                }
            };
            match code {
                LOAD => registers[to] = context[usize::try_from(offset / 4).unwrap()].into(),
                COPY => registers[to] = registers[from],
                SET => registers[to] = number as u64,
                AND => registers[to] = (low(registers[to]) & number as u32).into(),
                SHIFT => registers[to] = (low(registers[to]) >> number).into(),
                UNLESS => jump(low(registers[to]) != number as u32),
                IF => jump(low(registers[to]) == number as u32),
                EXIT => return registers[0] == 1,
                other => panic!("{other:#x}"),
            }
        }
    }

    /// What the rules say, word by word.
    fn decide(policy: &Policy, kind: DeviceKind, access: u32, major: u32, minor: u32) -> bool {
        let of = |wanted: Option<u32>, number| wanted.is_none_or(|wanted| wanted == number);
        let speaks = |rule: &&DeviceRule| {
            let bits = rule.access.bits();
            rule.kind == kind
                && of(rule.major, major)
                && of(rule.minor, minor)
                && if rule.allow {
                    access & !bits == 0
                } else {
                    access & bits != 0
                }
        };
        let last = policy.exceptions.iter().rev().find(speaks);
        last.map_or(policy.allow, |rule| rule.allow)
    }

    fn rule() -> impl Strategy<Value = DeviceRule> {
        let kind = prop_oneof![
            Just(DeviceKind::All),
            Just(DeviceKind::Block),
            Just(DeviceKind::Char)
        ];
        let number = || prop::option::of(prop_oneof![0..3_u32, Just(u32::MAX)]);
        (any::<bool>(), kind, number(), number(), 1..8_u32).prop_map(
            |(allow, kind, major, minor, bits)| {
                let access = DeviceAccess {
                    mknod: bits & 1 != 0,
                    read: bits & 2 != 0,
                    write: bits & 4 != 0,
                };
                DeviceRule {
                    allow,
                    ..DeviceRule::allow(kind, major, minor, access)
                }
            },
        )
    }

    proptest! {
        #[test]
        fn the_program_says_what_the_rules_say(
            rules in prop::collection::vec(rule(), 0..12),
            block in any::<bool>(), access in 1..8_u32, major in 0..4_u32, minor in 0..4_u32,
        ) {
            let policy = Policy::of(&rules);
            let (number, kind) = if block { (BLOCK, DeviceKind::Block) } else { (CHAR, DeviceKind::Char) };
            let said = run(&program(&policy), number, access, major, minor);
            prop_assert_eq!(said, decide(&policy, kind, access, major, minor));
        }

        #[test]
        fn a_use_that_was_forbidden_last_is_forbidden(
            rules in prop::collection::vec(rule(), 0..8), last in rule(), access in 1..8_u32,
        ) {
            // Whatever came before, and whatever was made one rule.
            let last = DeviceRule { allow: false, ..last };
            let all: Vec<_> = rules.into_iter().chain([last]).collect();
            let policy = Policy::of(&all);
            if last.access.bits() & access != 0 {
                let (number, kind) = match last.kind { DeviceKind::Block => (BLOCK, DeviceKind::Block), _ => (CHAR, DeviceKind::Char) };
                let (major, minor) = (last.major.unwrap_or(2), last.minor.unwrap_or(2));
                prop_assert!(!run(&program(&policy), number, access, major, minor));
                prop_assert!(!decide(&policy, kind, access, major, minor));
            }
        }
    }

    #[test]
    fn instructions_are_eight_bytes_in_the_kernels_order() {
        let bytes = Instruction::new(LOAD, KIND, CONTEXT, 4, -2).bytes();
        if cfg!(target_endian = "little") {
            assert_eq!(bytes, [0x61, 0x12, 4, 0, 0xfe, 0xff, 0xff, 0xff]);
        }
        assert_eq!(assemble(&[DeviceRule::DENY_ALL]).len(), 8 * 8);
    }
}
