//! From what must hold of an argument to instructions that find out.

use std::cmp::Ordering;

use super::filter::{AND, EQUAL, GREATER, Instruction, LOAD, NOT_LESS};
use super::{SeccompArg, SeccompOp};

/// Instructions that say whether a condition holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Test {
    /// It does, whatever the argument.
    Always,
    /// It does not, whatever the argument.
    Never,
    /// Each instruction, and where its two ends lead, if they do not both go on to the next one.
    Steps(Vec<(Instruction, Option<[To; 2]>)>),
}

/// Where a comparison leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    Next,
    Holds,
    Fails,
}

use To::{Fails, Holds, Next};

impl To {
    fn turned(self) -> Self {
        match self {
            Next => Next,
            Holds => Fails,
            Fails => Holds,
        }
    }
}

/// What of an argument is compared: where its halves lie in `struct seccomp_data`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Halves {
    /// None if it is 0.
    pub(super) high: Option<u32>,
    pub(super) low: u32,
}

impl Halves {
    pub(super) fn of(arg: &SeccompArg, narrow: bool) -> Self {
        // int nr, __u32 arch, __u64 instruction_pointer, __u64 args[6].
        let place = 16 + 8 * u32::from(arg.index);
        let (low, high) = if cfg!(target_endian = "little") {
            (place, place + 4)
        } else {
            (place + 4, place)
        };
        let high = (!narrow).then_some(high);
        Self { high, low }
    }
}

/// The test of a condition; `narrow` says that arguments have 32 bits.
pub(super) fn test(arg: &SeccompArg, narrow: bool) -> Test {
    let halves = Halves::of(arg, narrow);
    let meant = |value| meant(value, narrow);
    let value = meant(arg.value);
    match arg.op {
        SeccompOp::Equal => equal(halves, u64::MAX, value),
        SeccompOp::NotEqual => not(equal(halves, u64::MAX, value)),
        SeccompOp::Greater => above(halves, GREATER, value),
        SeccompOp::GreaterOrEqual => above(halves, NOT_LESS, value),
        SeccompOp::Less => not(above(halves, NOT_LESS, value)),
        SeccompOp::LessOrEqual => not(above(halves, GREATER, value)),
        SeccompOp::MaskedEqual => equal(halves, arg.value, meant(arg.value_two) & arg.value),
    }
}

/// What a profile's value means to an architecture: where arguments have 32 bits, a negative number of 32 bits that was widened to 64
/// is that number; any other value is what it is.
pub(super) fn meant(value: u64, narrow: bool) -> u64 {
    match i64::from_ne_bytes(value.to_ne_bytes()) {
        negative if narrow && (i64::from(i32::MIN)..0).contains(&negative) => {
            value & u64::from(u32::MAX)
        }
        _ => value,
    }
}

fn halves_of(value: u64) -> (u32, u32) {
    ((value >> 32) as u32, value as u32)
}

/// Whether the argument is `value` where `mask` has ones.
fn equal(halves: Halves, mask: u64, value: u64) -> Test {
    let ((high_mask, low_mask), (high, low)) = (halves_of(mask), halves_of(value));
    let mut steps = Vec::new();
    match halves.high {
        None if high != 0 => return Test::Never,
        Some(place) if high_mask != 0 => half(&mut steps, place, high_mask, high, Next),
        _ => {}
    }
    if low_mask != 0 {
        half(&mut steps, halves.low, low_mask, low, Holds);
    }
    match steps.last_mut() {
        None => return Test::Always,
        Some((_, ends)) => *ends = Some([Holds, Fails]),
    }
    Test::Steps(steps)
}

/// Compares one half.
fn half(
    steps: &mut Vec<(Instruction, Option<[To; 2]>)>,
    place: u32,
    mask: u32,
    value: u32,
    then: To,
) {
    steps.push((Instruction::new(LOAD, place), None));
    if mask != u32::MAX {
        steps.push((Instruction::new(AND, mask), None));
    }
    steps.push((Instruction::new(EQUAL, value), Some([then, Fails])));
}

/// Whether the argument is above `value`, by a comparison of the lower half where the upper ones are the same.
fn above(halves: Halves, comparison: u16, value: u64) -> Test {
    let (high, low) = halves_of(value);
    let mut steps = Vec::new();
    match halves.high {
        None if high.cmp(&0) == Ordering::Greater => return Test::Never,
        None => {}
        Some(place) => {
            steps.push((Instruction::new(LOAD, place), None));
            steps.push((Instruction::new(GREATER, high), Some([Holds, Next])));
            // Nothing is smaller than 0.
            if high != 0 {
                steps.push((Instruction::new(EQUAL, high), Some([Next, Fails])));
            }
        }
    }
    steps.push((Instruction::new(LOAD, halves.low), None));
    steps.push((Instruction::new(comparison, low), Some([Holds, Fails])));
    Test::Steps(steps)
}

fn not(test: Test) -> Test {
    match test {
        Test::Always => Test::Never,
        Test::Never => Test::Always,
        Test::Steps(steps) => {
            let turn = |(step, ends): (Instruction, Option<[To; 2]>)| {
                (step, ends.map(|ends| ends.map(To::turned)))
            };
            Test::Steps(steps.into_iter().map(turn).collect())
        }
    }
}
