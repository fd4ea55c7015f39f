//! What becomes of one system call: the rules that concern it, in the order in which they count.

use super::alternatives::Alternatives;
use super::condition::{self, Test, To};
use super::filter::{Instruction, JUMP, RETURN};
use super::{Seccomp, SeccompAction, SeccompArg, SeccompRule};

/// What becomes of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decision<'profile> {
    /// What counts if all conditions hold, the strictest first.
    cases: Vec<(&'profile [SeccompArg], SeccompAction)>,
    /// What counts if none of the cases does.
    otherwise: SeccompAction,
    /// Whether arguments have 32 bits; it does not matter without cases.
    narrow: bool,
}

impl<'profile> Decision<'profile> {
    /// The same for every argument.
    pub(super) fn fixed(action: SeccompAction) -> Self {
        Self {
            cases: Vec::new(),
            otherwise: action,
            narrow: false,
        }
    }

    /// What `rules` make of a call.
    pub(super) fn of<'a>(
        profile: &Seccomp,
        rules: impl Iterator<Item = &'a &'profile SeccompRule> + Clone,
        narrow: bool,
    ) -> Self
    where
        'profile: 'a,
    {
        let default = profile.default_action;
        let rules = rules
            .copied()
            .filter(|rule| !rule.args.is_empty() || rule.action != default);
        // Of two that are as strict the first counts, here as below.
        if rules.clone().all(|rule| rule.args.is_empty()) {
            let strictest = rules.min_by_key(|rule| strictness(rule.action));
            return Self::fixed(strictest.map_or(default, |rule| rule.action));
        }
        let mut rules: Vec<_> = rules.collect();
        rules.sort_by_key(|rule| strictness(rule.action));
        let mut decision = Self::fixed(default);
        for rule in rules {
            if rule.args.is_empty() {
                decision.otherwise = rule.action;
                break;
            }
            decision.cases.push((&rule.args, rule.action));
        }
        // What comes to the same in the end need not be looked at.
        while let Some((_, action)) = decision.cases.last()
            && *action == decision.otherwise
        {
            decision.cases.pop();
        }
        decision.narrow = narrow && !decision.cases.is_empty();
        decision
    }

    /// The action, if it is the same whatever the arguments.
    pub(super) fn unconditional(&self) -> Option<SeccompAction> {
        self.cases.is_empty().then_some(self.otherwise)
    }

    /// The instructions that end with it.
    pub(super) fn emit(&self, program: &mut Vec<Instruction>) {
        if let Some((alternatives, action)) = self.alternatives() {
            return alternatives.emit(action, self.otherwise, program);
        }
        for (args, action) in &self.cases {
            case(args, *action, self.narrow, program);
        }
        program.push(Instruction::new(RETURN, self.otherwise.code()));
    }
}

impl Decision<'_> {
    /// The cases as values of one argument that lead to the same action, such as the kinds of sockets, if they are that.
    fn alternatives(&self) -> Option<(Alternatives, SeccompAction)> {
        let mut cases = self.cases.iter();
        let same = self.cases.first().map(|(_, action)| *action)?;
        let args = cases.by_ref().map(|(args, action)| match args {
            [arg] if *action == same => Some(*arg),
            _ => None,
        });
        let args: Vec<SeccompArg> = args.collect::<Option<_>>()?;
        Some((Alternatives::of(&args, self.narrow)?, same))
    }
}

/// The lower, the stricter, in the kernel's order.
fn strictness(action: SeccompAction) -> u8 {
    match action {
        SeccompAction::KillProcess => 0,
        SeccompAction::KillThread => 1,
        SeccompAction::Trap => 2,
        SeccompAction::Errno(_) => 3,
        SeccompAction::Trace(_) => 4,
        SeccompAction::Log => 5,
        SeccompAction::Allow => 6,
    }
}

/// Instructions that return `action` if all conditions hold, and go on behind themselves otherwise.
fn case(args: &[SeccompArg], action: SeccompAction, narrow: bool, program: &mut Vec<Instruction>) {
    let mut tests = Vec::new();
    for arg in args {
        match condition::test(arg, narrow) {
            Test::Always => {}
            Test::Never => return,
            Test::Steps(steps) => tests.push(steps),
        }
    }
    // A failed test jumps over all that follows it, so the last is laid out first.
    let mut blocks: Vec<Vec<Instruction>> = Vec::new();
    let mut behind = 1;
    for steps in tests.into_iter().rev() {
        let length = steps.len();
        // Where the end is out of reach of a comparison, there is a jump in front of it.
        let bridge = length + behind > usize::from(u8::MAX);
        let (holds, fails) = match bridge {
            true => (length + 1, length),
            false => (length, length + behind),
        };
        let mut block = Vec::with_capacity(length + 1);
        for (place, (step, ends)) in steps.into_iter().enumerate() {
            let [yes, no] = ends.unwrap_or([To::Next; 2]).map(|end| match end {
                To::Next => 0,
                To::Holds => (holds - place - 1) as u8,
                To::Fails => (fails - place - 1) as u8,
            });
            block.push(Instruction::branch(step.code, step.k, yes, no));
        }
        if bridge {
            block.push(Instruction::new(JUMP, behind as u32));
        }
        behind += block.len();
        blocks.push(block);
    }
    program.extend(blocks.into_iter().rev().flatten());
    program.push(Instruction::new(RETURN, action.code()));
}
