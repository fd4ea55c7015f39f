//! Profiles of the OCI runtime specification in the words of rocker-ns, and the other way round.

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder,
    LinuxSeccompFilterFlag, LinuxSeccompOperator, LinuxSyscall,
};
use rocker_ns::{Seccomp, SeccompAction, SeccompArchitecture, SeccompArg, SeccompOp, SeccompRule};

use super::SeccompFault;

/// The errno where a profile names none: EPERM.
const EPERM: u32 = 1;

/// The highest errno: the kernel would make it of a higher one.
const HIGHEST: u32 = 4095;

pub(super) fn from_oci(profile: &LinuxSeccomp) -> Result<Seccomp, SeccompFault> {
    let default_number = profile.default_errno_ret();
    let default = action(
        profile.default_action(),
        default_number,
        |field| match field {
            "errnoRet" => "defaultErrnoRet".to_owned(),
            _ => "defaultAction".to_owned(),
        },
    )?;
    let mut read = Seccomp::new(default);
    for arch in profile.architectures().iter().flatten() {
        read.architectures.extend(architecture(*arch));
    }
    for flag in profile.flags().iter().flatten() {
        match flag {
            LinuxSeccompFilterFlag::SeccompFilterFlagLog => read.log = true,
            LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => read.allow_speculation = true,
            // The process has one thread, and nobody is notified.
            LinuxSeccompFilterFlag::SeccompFilterFlagTsync
            | LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => {}
        }
    }
    for (index, syscall) in profile.syscalls().iter().flatten().enumerate() {
        let place = |field: &str| format!("syscalls[{index}].{field}");
        let action = action(syscall.action(), syscall.errno_ret(), place)?;
        let rule = SeccompRule::new(syscall.names().iter().cloned(), action);
        let args = syscall.args().iter().flatten();
        let args: Vec<_> = args
            .enumerate()
            .map(|(at, arg)| condition(arg, || place(&format!("args[{at}].index"))))
            .collect::<Result<_, _>>()?;
        if args_repeat(&args) {
            // What no filter of libseccomp can say in one rule is one rule each to runc, and so to the authors of profiles.
            let each = args.into_iter().map(|arg| rule.clone().arg(arg));
            read.rules.extend(each);
        } else {
            let mut rule = rule;
            rule.args = args;
            read.rules.push(rule);
        }
    }
    Ok(read)
}

/// Whether two of the conditions are about the same argument.
fn args_repeat(args: &[SeccompArg]) -> bool {
    let places = args.iter().enumerate();
    places
        .into_iter()
        .any(|(at, arg)| args[..at].iter().any(|other| other.index == arg.index))
}

fn action(
    action: LinuxSeccompAction,
    number: Option<u32>,
    place: impl Fn(&str) -> String,
) -> Result<SeccompAction, SeccompFault> {
    let number = |highest: u32, expected| {
        let number = number.unwrap_or(EPERM);
        let small = u16::try_from(number).ok();
        small
            .filter(|_| number <= highest)
            .ok_or_else(|| SeccompFault::Value {
                field: place("errnoRet"),
                value: number.to_string(),
                expected,
            })
    };
    Ok(match action {
        // SCMP_ACT_KILL is the older name of SCMP_ACT_KILL_THREAD.
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => {
            SeccompAction::KillThread
        }
        LinuxSeccompAction::ScmpActKillProcess => SeccompAction::KillProcess,
        LinuxSeccompAction::ScmpActTrap => SeccompAction::Trap,
        LinuxSeccompAction::ScmpActErrno => {
            SeccompAction::Errno(number(HIGHEST, "an errno, at most 4095")?)
        }
        LinuxSeccompAction::ScmpActTrace => {
            SeccompAction::Trace(number(u32::MAX, "a number of 16 bits")?)
        }
        LinuxSeccompAction::ScmpActLog => SeccompAction::Log,
        LinuxSeccompAction::ScmpActAllow => SeccompAction::Allow,
        LinuxSeccompAction::ScmpActNotify => {
            return Err(SeccompFault::Value {
                field: place("action"),
                value: action.to_string(),
                expected: "another action: there is nobody to notify",
            });
        }
    })
}

/// The architecture, if it is one that rocker runs on: of another there are no calls.
fn architecture(arch: Arch) -> Option<SeccompArchitecture> {
    match arch {
        Arch::ScmpArchNative => Some(SeccompArchitecture::NATIVE),
        Arch::ScmpArchX86_64 => Some(SeccompArchitecture::X86_64),
        Arch::ScmpArchX86 => Some(SeccompArchitecture::X86),
        Arch::ScmpArchX32 => Some(SeccompArchitecture::X32),
        Arch::ScmpArchAarch64 => Some(SeccompArchitecture::Aarch64),
        Arch::ScmpArchArm => Some(SeccompArchitecture::Arm),
        _ => None,
    }
}

fn condition(
    arg: &LinuxSeccompArg,
    place: impl FnOnce() -> String,
) -> Result<SeccompArg, SeccompFault> {
    let index = u8::try_from(arg.index()).ok().filter(|index| *index < 6);
    let index = index.ok_or_else(|| SeccompFault::Value {
        field: place(),
        value: arg.index().to_string(),
        expected: "a place from 0 to 5",
    })?;
    let op = match arg.op() {
        LinuxSeccompOperator::ScmpCmpNe => SeccompOp::NotEqual,
        LinuxSeccompOperator::ScmpCmpLt => SeccompOp::Less,
        LinuxSeccompOperator::ScmpCmpLe => SeccompOp::LessOrEqual,
        LinuxSeccompOperator::ScmpCmpEq => SeccompOp::Equal,
        LinuxSeccompOperator::ScmpCmpGe => SeccompOp::GreaterOrEqual,
        LinuxSeccompOperator::ScmpCmpGt => SeccompOp::Greater,
        LinuxSeccompOperator::ScmpCmpMaskedEq => {
            let value = arg.value_two().unwrap_or(0);
            return Ok(SeccompArg::masked(index, arg.value(), value));
        }
    };
    Ok(SeccompArg::new(index, op, arg.value()))
}

pub(super) fn to_oci(profile: &Seccomp) -> Result<LinuxSeccomp, SeccompFault> {
    let mut flags = Vec::new();
    if profile.log {
        flags.push(LinuxSeccompFilterFlag::SeccompFilterFlagLog);
    }
    if profile.allow_speculation {
        flags.push(LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow);
    }
    let architectures = profile.architectures.iter().copied();
    let architectures: Option<Vec<_>> = architectures.map(arch).collect();
    let (default, number) = oci_action(profile.default_action, "defaultAction")?;
    let mut written = LinuxSeccomp::default();
    written
        .set_default_action(default)
        .set_default_errno_ret(number)
        .set_architectures(architectures)
        .set_flags(Some(flags).filter(|flags| !flags.is_empty()));
    let rules = profile.rules.iter().enumerate();
    let syscalls = rules.map(|(index, rule)| syscall(rule, index));
    written.set_syscalls(Some(syscalls.collect::<Result<_, _>>()?));
    Ok(written)
}

fn syscall(rule: &SeccompRule, index: usize) -> Result<LinuxSyscall, SeccompFault> {
    if args_repeat(&rule.args) {
        return Err(SeccompFault::Value {
            field: format!("rule {index}"),
            value: "about one argument more than once".to_owned(),
            expected: "once, since a specification means one rule each",
        });
    }
    let (action, number) = oci_action(rule.action, "action")?;
    let args: Result<Vec<_>, _> = rule.args.iter().map(oci_condition).collect();
    let names = rule.names.iter().map(|name| name.clone().into_owned());
    let mut syscall = LinuxSyscall::default();
    syscall
        .set_names(names.collect())
        .set_action(action)
        .set_errno_ret(number)
        .set_args(Some(args?).filter(|args| !args.is_empty()));
    Ok(syscall)
}

/// What is new in rocker-ns, and has no word here yet.
fn unknown(field: &str, value: impl std::fmt::Debug) -> SeccompFault {
    SeccompFault::Value {
        field: field.to_owned(),
        value: format!("{value:?}"),
        expected: "something that a specification has a word for",
    }
}

fn oci_action(
    action: SeccompAction,
    field: &str,
) -> Result<(LinuxSeccompAction, Option<u32>), SeccompFault> {
    Ok(match action {
        SeccompAction::KillProcess => (LinuxSeccompAction::ScmpActKillProcess, None),
        SeccompAction::KillThread => (LinuxSeccompAction::ScmpActKillThread, None),
        SeccompAction::Trap => (LinuxSeccompAction::ScmpActTrap, None),
        SeccompAction::Errno(errno) => (LinuxSeccompAction::ScmpActErrno, Some(errno.into())),
        SeccompAction::Trace(number) => (LinuxSeccompAction::ScmpActTrace, Some(number.into())),
        SeccompAction::Log => (LinuxSeccompAction::ScmpActLog, None),
        SeccompAction::Allow => (LinuxSeccompAction::ScmpActAllow, None),
        other => return Err(unknown(field, other)),
    })
}

fn arch(architecture: SeccompArchitecture) -> Option<Arch> {
    match architecture {
        SeccompArchitecture::X86_64 => Some(Arch::ScmpArchX86_64),
        SeccompArchitecture::X86 => Some(Arch::ScmpArchX86),
        SeccompArchitecture::X32 => Some(Arch::ScmpArchX32),
        SeccompArchitecture::Aarch64 => Some(Arch::ScmpArchAarch64),
        SeccompArchitecture::Arm => Some(Arch::ScmpArchArm),
        _ => None,
    }
}

fn oci_condition(arg: &SeccompArg) -> Result<LinuxSeccompArg, SeccompFault> {
    let op = match arg.op {
        SeccompOp::NotEqual => LinuxSeccompOperator::ScmpCmpNe,
        SeccompOp::Less => LinuxSeccompOperator::ScmpCmpLt,
        SeccompOp::LessOrEqual => LinuxSeccompOperator::ScmpCmpLe,
        SeccompOp::Equal => LinuxSeccompOperator::ScmpCmpEq,
        SeccompOp::GreaterOrEqual => LinuxSeccompOperator::ScmpCmpGe,
        SeccompOp::Greater => LinuxSeccompOperator::ScmpCmpGt,
        SeccompOp::MaskedEqual => LinuxSeccompOperator::ScmpCmpMaskedEq,
        other => return Err(unknown("args.op", other)),
    };
    let mut written = LinuxSeccompArgBuilder::default()
        .index(arg.index)
        .op(op)
        .value(arg.value);
    if arg.op == SeccompOp::MaskedEqual {
        written = written.value_two(arg.value_two);
    }
    written.build().map_err(|_| unknown("args", arg))
}
