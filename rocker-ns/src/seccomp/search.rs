//! Instructions that find out in which of many runs of numbers a number is, by halving.

use super::filter::{Instruction, JUMP, NOT_LESS};

/// The most runs that are searched without a jump: comparisons and what they lead to are in reach of each other.
const REACH: usize = 100;

/// Where a comparison leads.
#[derive(Debug, Clone, Copy)]
enum End {
    Comparison(usize),
    Leaf(usize),
}

/// Appends instructions that go from the number which is loaded to the one instruction that `leaf` makes of its run. A run begins at
/// its number and ends before the next one; the first begins at 0. `leaf` is also told where the instruction will stand.
pub(super) fn emit<'runs, Run: PartialEq>(
    runs: &'runs [(u32, Run)],
    program: &mut Vec<Instruction>,
    leaf: &mut impl FnMut(&'runs Run, usize) -> Instruction,
) {
    if runs.len() > REACH {
        let (lower, upper) = runs.split_at(runs.len() / 2);
        program.push(Instruction::branch(NOT_LESS, upper[0].0, 0, 1));
        let jump = program.len();
        program.push(Instruction::new(JUMP, 0));
        emit(lower, program, leaf);
        program[jump].k = (program.len() - jump - 1) as u32;
        return emit(upper, program, leaf);
    }
    let mut tree = Tree {
        runs,
        comparisons: Vec::new(),
        leaves: Vec::new(),
    };
    tree.grow(0, runs.len());
    let leaves = tree.comparisons.len();
    let offset = |from: usize, end: End| match end {
        // Both are less than REACH, and lie behind.
        End::Comparison(to) => (to - from - 1) as u8,
        End::Leaf(to) => (leaves + to - from - 1) as u8,
    };
    for (place, (first, [yes, no])) in tree.comparisons.iter().enumerate() {
        let (yes, no) = (offset(place, *yes), offset(place, *no));
        program.push(Instruction::branch(NOT_LESS, *first, yes, no));
    }
    for run in tree.leaves {
        program.push(leaf(run, program.len()));
    }
}

/// Comparisons, each in front of those that it leads to, and behind them what all lead to in the end.
struct Tree<'runs, Run> {
    runs: &'runs [(u32, Run)],
    comparisons: Vec<(u32, [End; 2])>,
    leaves: Vec<&'runs Run>,
}

impl<'runs, Run: PartialEq> Tree<'runs, Run> {
    /// Adds what finds a run from `from` on and before `to`.
    fn grow(&mut self, from: usize, to: usize) -> End {
        if to - from == 1 {
            let run = &self.runs[from].1;
            let known = self.leaves.iter().position(|leaf| *leaf == run);
            return End::Leaf(known.unwrap_or_else(|| {
                self.leaves.push(run);
                self.leaves.len() - 1
            }));
        }
        let middle = from.midpoint(to);
        let place = self.comparisons.len();
        self.comparisons
            .push((self.runs[middle].0, [End::Leaf(0); 2]));
        let no = self.grow(from, middle);
        let yes = self.grow(middle, to);
        self.comparisons[place].1 = [yes, no];
        End::Comparison(place)
    }
}
