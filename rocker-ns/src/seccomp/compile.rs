//! From a profile to a program: each architecture's numbers are cut into runs that are decided in the same way, and the run of a
//! call is found by halving.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::decision::Decision;
use super::filter::{EQUAL, Instruction, JUMP, LOAD, LOG, RETURN, SPEC_ALLOW};
use super::numbers::{self, APART, X32_BIT};
use super::{Seccomp, SeccompAction, SeccompArchitecture, SeccompFilter, SeccompRule, search};
use crate::{Error, Result};

/// The most instructions that the kernel takes (`BPF_MAXINSNS`).
const LONGEST: usize = 4096;

/// From here on, as negative numbers, there are no calls; tracers put -1 in the place of one that is not to be made.
const NEGATIVE: u32 = 0x8000_0000;

/// Where `struct seccomp_data` has the number of the call and the architecture.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

/// The rules by the names that they concern.
type Named<'profile> =
    HashMap<&'profile str, Vec<&'profile SeccompRule>, BuildHasherDefault<OfNames>>;

/// A hash of eight letters at a time: a name is looked for a thousand times a profile, and the names are the kernel's, which nobody
/// chooses to collide.
#[derive(Debug, Default)]
struct OfNames(u64);

impl Hasher for OfNames {
    fn write(&mut self, bytes: &[u8]) {
        for letters in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..letters.len()].copy_from_slice(letters);
            let mixed = (self.0 ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            self.0 = mixed ^ (mixed >> 32);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Numbers from the first one on, up to the next run, that are decided in the same way.
type Run<'profile> = (u32, Decision<'profile>);

/// The program of a profile on a machine whose native architecture is `native`.
pub(super) fn compile(profile: &Seccomp, native: SeccompArchitecture) -> Result<SeccompFilter> {
    let names = profile.rules.iter().map(|rule| rule.names.len()).sum();
    let mut named = Named::with_capacity_and_hasher(names, BuildHasherDefault::default());
    for rule in &profile.rules {
        if let Some(arg) = rule.args.iter().find(|arg| arg.index > 5) {
            return Err(Error::SeccompArgument {
                names: rule.names.join(", "),
                index: arg.index,
            });
        }
        for name in &rule.names {
            named.entry(name).or_default().push(rule);
        }
    }
    let listed = |one: &SeccompArchitecture| *one == native || profile.architectures.contains(one);
    let mut program = vec![Instruction::new(LOAD, ARCHITECTURE)];
    for architecture in native.family().iter().copied() {
        // x32 has the calls of x86-64 with other numbers, and not an architecture of its own.
        if architecture == SeccompArchitecture::X32 || !listed(&architecture) {
            continue;
        }
        let with_x32 = listed(&SeccompArchitecture::X32);
        let runs = runs(profile, &named, architecture, with_x32);
        program.push(Instruction::branch(EQUAL, architecture.audit(), 1, 0));
        let jump = program.len();
        program.push(Instruction::new(JUMP, 0));
        program.push(Instruction::new(LOAD, NUMBER));
        decide(&runs, &mut program);
        program[jump].k = (program.len() - jump - 1) as u32;
    }
    let foreign = SeccompAction::KillProcess.code();
    program.push(Instruction::new(RETURN, foreign));
    if program.len() > LONGEST {
        return Err(Error::SeccompTooLong {
            instructions: program.len(),
        });
    }
    Ok(SeccompFilter::new(program, flags(profile)))
}

fn flags(profile: &Seccomp) -> u32 {
    let flag = |set: bool, flag: u32| if set { flag } else { 0 };
    flag(profile.log, LOG) | flag(profile.allow_speculation, SPEC_ALLOW)
}

/// All numbers of an architecture, those of x32 included.
fn runs<'profile>(
    profile: &Seccomp,
    named: &Named<'profile>,
    architecture: SeccompArchitecture,
    with_x32: bool,
) -> Vec<Run<'profile>> {
    let mut runs = Vec::new();
    calls(profile, named, architecture, 0, &mut runs);
    if architecture == SeccompArchitecture::X86_64 {
        if with_x32 {
            let x32 = SeccompArchitecture::X32;
            calls(profile, named, x32, X32_BIT, &mut runs);
        } else {
            let foreign = Decision::fixed(SeccompAction::KillProcess);
            push(&mut runs, X32_BIT, foreign);
        }
        push(&mut runs, NEGATIVE, Decision::fixed(unknown(profile)));
    }
    runs
}

/// The numbers of an architecture from `first` on.
fn calls<'profile>(
    profile: &Seccomp,
    named: &Named<'profile>,
    architecture: SeccompArchitecture,
    first: u32,
    runs: &mut Vec<Run<'profile>>,
) {
    let all = numbers::all(architecture);
    let rules = |name: &str| named.get(name).map_or(&[][..], Vec::as_slice);
    let in_line = |number: u32| number - first < APART;
    let newest = all
        .iter()
        .rfind(|(number, name)| in_line(*number) && named.contains_key(name))
        .map(|(number, _)| *number);
    let newer = |number: u32| in_line(number) && newest.is_some_and(|newest| number > newest);
    let unknown = Decision::fixed(unknown(profile));
    let mut next = first;
    for same in all.chunk_by(|(one, _), (other, _)| one == other) {
        let number = same[0].0;
        if number > next {
            push(runs, next, unknown.clone());
        }
        let decision = if newer(number) {
            unknown.clone()
        } else {
            let rules = same.iter().flat_map(|(_, name)| rules(name));
            Decision::of(profile, rules, architecture.is_narrow())
        };
        push(runs, number, decision);
        next = number + 1;
    }
    push(runs, next, unknown);
}

/// What becomes of a call that is newer than the profile.
fn unknown(profile: &Seccomp) -> SeccompAction {
    if profile.default_action.denies() {
        SeccompAction::Errno(libc::ENOSYS as u16)
    } else {
        profile.default_action
    }
}

/// Begins a run, if it is another one than that before it.
fn push<'profile>(runs: &mut Vec<Run<'profile>>, first: u32, decision: Decision<'profile>) {
    if runs.last().is_none_or(|(_, last)| *last != decision) {
        runs.push((first, decision));
    }
}

/// Instructions that find the decision about the number that is loaded. Those with conditions stand behind the search, once each:
/// x32 has the same as x86-64.
fn decide(runs: &[Run<'_>], program: &mut Vec<Instruction>) {
    let mut conditional: Vec<(&Decision<'_>, Vec<usize>)> = Vec::new();
    search::emit(runs, program, &mut |decision, place| {
        if let Some(action) = decision.unconditional() {
            return Instruction::new(RETURN, action.code());
        }
        let mut known = conditional.iter_mut();
        match known.find(|(known, _)| *known == decision) {
            Some((_, jumps)) => jumps.push(place),
            None => conditional.push((decision, vec![place])),
        }
        Instruction::new(JUMP, 0)
    });
    for (decision, jumps) in conditional {
        for jump in jumps {
            program[jump].k = (program.len() - jump - 1) as u32;
        }
        decision.emit(program);
    }
}
