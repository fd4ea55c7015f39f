//! Many values of one argument that come to the same, which are searched like the numbers of calls.

use std::ops::Range;

use super::condition::{self, Halves};
use super::filter::{EQUAL, Instruction, LOAD, RETURN};
use super::{SeccompAction, SeccompArg, SeccompOp, search};

/// Fewer are compared one after the other.
const FEWEST: usize = 3;

/// What the lower half of an argument can be.
const LOWER: u64 = 1 << 32;

/// The values of an argument that one of several conditions holds of, as runs.
#[derive(Debug)]
pub(super) struct Alternatives {
    halves: Halves,
    /// Where a run of the lower half begins, while the upper one is 0, and whether its values are among them.
    low: Vec<(u32, bool)>,
    /// Whether those are whose upper half is not 0.
    high: bool,
}

impl Alternatives {
    /// The values that `args` name, if they are conditions on one argument, and it is enough to look at its lower half.
    pub(super) fn of(args: &[SeccompArg], narrow: bool) -> Option<Self> {
        let one = args.first().filter(|_| args.len() >= FEWEST)?;
        let mut ranges = Vec::new();
        for arg in args {
            if arg.index != one.index {
                return None;
            }
            ranges.extend(values(arg, condition::meant(arg.value, narrow))?);
        }
        ranges.sort_unstable_by_key(|range| range.start);
        // What touches is one.
        let mut whole: Vec<Range<u128>> = Vec::new();
        for range in ranges.into_iter().filter(|range| !range.is_empty()) {
            match whole.last_mut().filter(|last| range.start <= last.end) {
                Some(last) => last.end = last.end.max(range.end),
                None => whole.push(range),
            }
        }
        let lower = u128::from(LOWER);
        let high = whole.last().is_some_and(|last| last.end > lower);
        let mixed = |range: &Range<u128>| {
            range.end > lower && (range.start > lower || range.end <= u128::from(u64::MAX))
        };
        if !narrow && whole.iter().any(mixed) {
            return None;
        }
        let mut low = vec![(0, false)];
        for range in whole {
            for (edge, inside) in [(range.start, true), (range.end, false)] {
                match u32::try_from(edge) {
                    Ok(0) => low[0].1 = inside,
                    Ok(edge) => low.push((edge, inside)),
                    Err(_) => {}
                }
            }
        }
        let halves = Halves::of(one, narrow);
        Some(Self { halves, low, high })
    }

    /// Instructions that end with `action` for those values, and otherwise with the other one.
    pub(super) fn emit(
        &self,
        action: SeccompAction,
        otherwise: SeccompAction,
        program: &mut Vec<Instruction>,
    ) {
        let code = |inside| {
            if inside {
                action.code()
            } else {
                otherwise.code()
            }
        };
        if let Some(high) = self.halves.high {
            program.push(Instruction::new(LOAD, high));
            program.push(Instruction::branch(EQUAL, 0, 1, 0));
            program.push(Instruction::new(RETURN, code(self.high)));
        }
        program.push(Instruction::new(LOAD, self.halves.low));
        search::emit(&self.low, program, &mut |inside, _| {
            Instruction::new(RETURN, code(*inside))
        });
    }
}

/// The values that a condition holds of; none if they are not runs.
fn values(arg: &SeccompArg, value: u64) -> Option<[Range<u128>; 2]> {
    let (value, end) = (u128::from(value), 1 << 64);
    Some(match arg.op {
        SeccompOp::NotEqual => [0..value, value + 1..end],
        SeccompOp::Less => [0..value, 0..0],
        SeccompOp::LessOrEqual => [0..value + 1, 0..0],
        SeccompOp::Equal => [value..value + 1, 0..0],
        SeccompOp::GreaterOrEqual => [value..end, 0..0],
        SeccompOp::Greater => [value + 1..end, 0..0],
        SeccompOp::MaskedEqual => return None,
    })
}
