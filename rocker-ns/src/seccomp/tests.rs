//! Programs do what their profiles say.

use std::collections::HashMap;

use proptest::prelude::*;

use super::SeccompArchitecture::{Aarch64, Arm, X32, X86, X86_64};
use super::*;
use crate::{Capabilities, Error};

#[path = "../../../tests/bpf/mod.rs"]
mod bpf;

use bpf::Call;

const ENOSYS: SeccompAction = SeccompAction::Errno(38);
const EPERM: SeccompAction = SeccompAction::Errno(1);

fn call(architecture: SeccompArchitecture, number: u32, args: [u64; 6]) -> Call {
    Call {
        number,
        audit: architecture.audit(),
        args,
    }
}

fn number(architecture: SeccompArchitecture, name: &str) -> u32 {
    let all = numbers::all(architecture);
    let found = all.iter().find(|(_, known)| *known == name);
    found.unwrap_or_else(|| panic!("{name}")).0
}

fn run(profile: &Seccomp, native: SeccompArchitecture, call: &Call) -> u32 {
    let filter = compile::compile(profile, native).unwrap();
    bpf::run(&filter.to_bytes(), call).action
}

/// What the profile says of a call, without a program.
fn judged(profile: &Seccomp, native: SeccompArchitecture, call: &Call) -> SeccompAction {
    let mut family = native.family().iter().copied();
    let is_x32 = call.audit == X86_64.audit() && (0x4000_0000..0x8000_0000).contains(&call.number);
    let architecture = family.find(|one| one.audit() == call.audit && (*one == X32) == is_x32);
    let listed = |one: &SeccompArchitecture| *one == native || profile.architectures.contains(one);
    let Some(architecture) = architecture.filter(listed) else {
        return SeccompAction::KillProcess;
    };
    let all = numbers::all(architecture);
    let named = |name: &'static str| {
        let rules = profile.rules.iter();
        rules.filter(move |rule| rule.names.iter().any(|one| one == name))
    };
    let low = |number: u32| number & !numbers::X32_BIT;
    let newest = all
        .iter()
        .filter(|(number, name)| low(*number) < 512 && named(name).next().is_some())
        .map(|(number, _)| *number)
        .max();
    let is_newer = low(call.number) < 512 && newest.is_some_and(|newest| call.number > newest);
    let names: Vec<_> = all
        .iter()
        .filter(|(number, _)| *number == call.number)
        .collect();
    if names.is_empty() || is_newer {
        return unknown(profile);
    }
    let narrow = matches!(architecture, X86 | Arm);
    let mut actions: Vec<_> = names
        .iter()
        .flat_map(|(_, name)| named(name))
        .filter(|rule| !(rule.args.is_empty() && rule.action == profile.default_action))
        .filter(|rule| rule.args.iter().all(|arg| holds(arg, &call.args, narrow)))
        .map(|rule| rule.action)
        .collect();
    let order = |action: &SeccompAction| match action {
        SeccompAction::KillProcess => 0,
        SeccompAction::KillThread => 1,
        SeccompAction::Trap => 2,
        SeccompAction::Errno(_) => 3,
        SeccompAction::Trace(_) => 4,
        SeccompAction::Log => 5,
        SeccompAction::Allow => 6,
    };
    actions.sort_by_key(order);
    actions.first().copied().unwrap_or(profile.default_action)
}

fn unknown(profile: &Seccomp) -> SeccompAction {
    match profile.default_action {
        SeccompAction::Allow | SeccompAction::Log | SeccompAction::Trace(_) => {
            profile.default_action
        }
        _ => ENOSYS,
    }
}

fn holds(arg: &SeccompArg, args: &[u64; 6], narrow: bool) -> bool {
    let mut given = args[usize::from(arg.index)];
    let meant = |value: u64| match value {
        0xffff_ffff_8000_0000.. if narrow => value & 0xffff_ffff,
        _ => value,
    };
    if narrow {
        given &= 0xffff_ffff;
    }
    let value = meant(arg.value);
    match arg.op {
        SeccompOp::NotEqual => given != value,
        SeccompOp::Less => given < value,
        SeccompOp::LessOrEqual => given <= value,
        SeccompOp::Equal => given == value,
        SeccompOp::GreaterOrEqual => given >= value,
        SeccompOp::Greater => given > value,
        SeccompOp::MaskedEqual => given & arg.value == meant(arg.value_two) & arg.value,
    }
}

/// Values at the edges of 32 and 64 bits, few enough that they meet.
fn value() -> impl Strategy<Value = u64> {
    let edges = vec![
        0,
        1,
        2,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_fffe,
        0xffff_ffff,
        0x1_0000_0000,
        0x1_0000_0001,
        0x1_ffff_ffff,
        0x7fff_ffff_ffff_ffff,
        0x8000_0000_0000_0000,
        0xffff_ffff_0000_0000,
        0xffff_ffff_7fff_ffff,
        0xffff_ffff_8000_0000,
        0xffff_ffff_ffff_fffe,
        u64::MAX,
    ];
    prop_oneof![6 => prop::sample::select(edges), 2 => 0_u64..70, 1 => any::<u64>()]
}

fn action() -> impl Strategy<Value = SeccompAction> {
    prop_oneof![
        Just(SeccompAction::KillProcess),
        Just(SeccompAction::KillThread),
        Just(SeccompAction::Trap),
        (1_u16..4).prop_map(SeccompAction::Errno),
        (0_u16..3).prop_map(SeccompAction::Trace),
        Just(SeccompAction::Log),
        Just(SeccompAction::Allow),
    ]
}

fn arg() -> impl Strategy<Value = SeccompArg> {
    let op = prop::sample::select(vec![
        SeccompOp::NotEqual,
        SeccompOp::Less,
        SeccompOp::LessOrEqual,
        SeccompOp::Equal,
        SeccompOp::GreaterOrEqual,
        SeccompOp::Greater,
        SeccompOp::MaskedEqual,
    ]);
    (0_u8..6, op, value(), value()).prop_map(|(index, op, value, value_two)| SeccompArg {
        index: index % 3 * 2,
        op,
        value,
        value_two,
    })
}

/// Names at the edges of the tables, and some that only one architecture has, or none.
const NAMES: &[&str] = &[
    "read",
    "io_setup",
    "restart_syscall",
    "write",
    "ioctl",
    "execve",
    "socketcall",
    "openat",
    "clone3",
    "removexattrat",
    "file_setattr",
    "pwritev2",
    "set_tls",
    "sync_file_range2",
    "arm_sync_file_range",
    "no_such_call",
];

fn profile() -> impl Strategy<Value = Seccomp> {
    let names = prop::collection::vec(prop::sample::select(NAMES), 1..5);
    let args = prop_oneof![
        4 => prop::collection::vec(arg(), 0..4),
        // More than a comparison can jump over.
        1 => prop::collection::vec(arg(), 60..90),
    ];
    let rule = (names, action(), args).prop_map(|(names, action, args)| SeccompRule {
        names: names.into_iter().map(Cow::from).collect(),
        action,
        args,
    });
    // Many values of one argument.
    let values = prop::collection::vec((arg(), any::<bool>()), 3..12);
    let name = prop::sample::select(NAMES);
    let alternatives = (name, action(), values).prop_map(|(name, action, values)| {
        let values = values.into_iter().enumerate();
        let rules = values.map(|(place, (mut arg, small))| {
            arg.index = 2;
            if small {
                arg.value = arg.value % 3 + 5 * place as u64;
            }
            if arg.op == SeccompOp::MaskedEqual && place > 0 {
                arg.op = SeccompOp::Equal;
            }
            SeccompRule::new([name], action).arg(arg)
        });
        rules.collect::<Vec<_>>()
    });
    let architectures = prop::sample::subsequence(vec![X86_64, X86, X32, Aarch64, Arm], 0..=5);
    (
        action(),
        architectures,
        prop::collection::vec(rule, 0..6),
        prop::collection::vec(alternatives, 0..3),
    )
        .prop_map(|(default, architectures, mut rules, alternatives)| {
            rules.extend(alternatives.into_iter().flatten());
            Seccomp {
                architectures,
                rules,
                ..Seccomp::new(default)
            }
        })
}

fn any_call() -> impl Strategy<Value = Call> {
    let number = prop_oneof![
        8 => prop::sample::select(NAMES).prop_flat_map(|name| {
            let known = [X86_64, X86, X32, Aarch64, Arm].map(numbers::all).concat();
            let known = known.into_iter().filter(|(_, one)| *one == name);
            let mut numbers: Vec<u32> = known.map(|(number, _)| number).collect();
            numbers.push(469);
            prop::sample::select(numbers)
        }),
        1 => 0_u32..600,
        1 => (0_u32..600).prop_map(|number| number | numbers::X32_BIT),
        1 => any::<u32>(),
        1 => prop::sample::select(vec![0x3fff_ffff, 0x4000_0000, 0x7fff_ffff, u32::MAX - 1, u32::MAX]),
    ];
    let audit = prop::sample::select(vec![
        bpf::X86_64,
        bpf::X86,
        bpf::AARCH64,
        bpf::ARM,
        0xc000_00f3,
    ]);
    (number, audit, prop::array::uniform6(value())).prop_map(|(number, audit, args)| Call {
        number,
        audit,
        args,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_program_says_what_its_profile_says(
        profile in profile(),
        native in prop::sample::select(vec![X86_64, Aarch64]),
        calls in prop::collection::vec(any_call(), 50),
    ) {
        let filter = compile::compile(&profile, native);
        prop_assume!(!matches!(filter, Err(Error::SeccompTooLong { .. })));
        let program = filter.unwrap().to_bytes();
        for call in calls {
            let said = bpf::run(&program, &call).action;
            prop_assert_eq!(said, judged(&profile, native, &call).code(), "{:x?}", call);
        }
    }
}

#[test]
fn each_comparison_is_of_all_64_bits() {
    let edges = [
        0,
        5,
        0xffff_ffff,
        0x1_0000_0000,
        0x1_0000_0005,
        0x5_0000_0001,
        u64::MAX,
    ];
    let orders = [
        SeccompOp::NotEqual,
        SeccompOp::Less,
        SeccompOp::LessOrEqual,
        SeccompOp::Equal,
        SeccompOp::GreaterOrEqual,
        SeccompOp::Greater,
    ];
    for (op, value, given) in orders
        .iter()
        .flat_map(|op| edges.map(|value| (*op, value)))
        .flat_map(|(op, value)| edges.map(|given| (op, value, given)))
    {
        let arg = SeccompArg::new(3, op, value);
        let profile =
            Seccomp::new(SeccompAction::Allow).rule(SeccompRule::new(["write"], EPERM).arg(arg));
        let mut args = [0; 6];
        args[3] = given;
        let call = call(X86_64, 1, args);
        let expected = match holds(&arg, &args, false) {
            true => EPERM,
            false => SeccompAction::Allow,
        };
        let said = run(&profile, X86_64, &call);
        assert_eq!(said, expected.code(), "{given:#x} {op:?} {value:#x}");
    }
}

#[test]
fn of_the_rules_that_match_the_strictest_counts() {
    let deny = SeccompRule::new(["socket"], EPERM).arg(SeccompArg::new(0, SeccompOp::Equal, 38));
    let allow = SeccompRule::new(["socket"], SeccompAction::Allow);
    for rules in [
        vec![deny.clone(), allow.clone()],
        vec![allow.clone(), deny.clone()],
    ] {
        let mut profile = Seccomp::new(ENOSYS);
        profile.rules = rules;
        let socket = number(X86_64, "socket");
        let of = |kind| {
            run(
                &profile,
                X86_64,
                &call(X86_64, socket, [kind, 0, 0, 0, 0, 0]),
            )
        };
        assert_eq!((of(38), of(2)), (EPERM.code(), SeccompAction::Allow.code()));
    }
}

#[test]
fn calls_that_the_profile_cannot_know_are_not_implemented() {
    let allow = SeccompRule::new(["read", "openat2"], SeccompAction::Allow); // 0 and 437
    for default in [EPERM, SeccompAction::KillProcess, SeccompAction::Trap] {
        let profile = Seccomp::new(default).rule(allow.clone());
        let of = |number| run(&profile, X86_64, &call(X86_64, number, [0; 6]));
        assert_eq!(of(437), SeccompAction::Allow.code());
        // Known and older: write(2), io_uring_setup(2).
        assert_eq!((of(1), of(425)), (default.code(), default.code()));
        // Newer than the profile's newest, in a gap of the numbers, and beyond all of them.
        for number in [438, 469, 340, 423, 470, 100_000, u32::MAX] {
            assert_eq!(of(number), ENOSYS.code(), "{number}");
        }
    }
    for default in [SeccompAction::Allow, SeccompAction::Log] {
        let profile = Seccomp::new(default).rule(allow.clone());
        assert_eq!(
            run(&profile, X86_64, &call(X86_64, 470, [0; 6])),
            default.code()
        );
    }
}

#[test]
fn a_call_of_an_architecture_that_is_not_listed_kills_the_process() {
    let allow = Seccomp::new(SeccompAction::Allow);
    let killed = SeccompAction::KillProcess.code();
    let getpid = call(X86, 20, [0; 6]);
    assert_eq!(run(&allow, X86_64, &getpid), killed);
    let x32 = call(X86_64, numbers::X32_BIT | 39, [0; 6]);
    assert_eq!(run(&allow, X86_64, &x32), killed);
    assert_eq!(run(&allow, Aarch64, &call(Arm, 20, [0; 6])), killed);
    let both = allow.architecture(X86).architecture(X32);
    assert_ne!(run(&both, X86_64, &getpid), killed);
    assert_ne!(run(&both, X86_64, &x32), killed);
    assert_eq!(run(&both, X86_64, &call(Arm, 20, [0; 6])), killed);
}

#[test]
fn each_architecture_is_filtered_by_its_own_numbers() {
    let profile = Seccomp::container_default_on(Capabilities::NONE, X86_64);
    for architecture in [X86_64, X86, X32] {
        for (name, expected) in [
            ("mount", EPERM),
            ("keyctl", EPERM),
            ("clone3", ENOSYS),
            ("read", SeccompAction::Allow),
            ("execve", SeccompAction::Allow),
        ] {
            let call = call(architecture, number(architecture, name), [0; 6]);
            let said = run(&profile, X86_64, &call);
            assert_eq!(said, expected.code(), "{name} of {architecture:?}");
        }
    }
    let umount_x86 = call(X86, number(X86, "umount"), [0; 6]);
    assert_eq!(run(&profile, X86_64, &umount_x86), EPERM.code());
    let of_64 = call(X86_64, umount_x86.number, [0; 6]); // pipe(2)
    assert_eq!(run(&profile, X86_64, &of_64), SeccompAction::Allow.code());
}

#[test]
fn a_64_bit_program_that_makes_a_32_bit_call_hides_nothing_in_upper_halves() {
    let profile = Seccomp::new(SeccompAction::Allow)
        .architecture(X86)
        .rule(SeccompRule::new(["socket"], EPERM).arg(SeccompArg::new(0, SeccompOp::Equal, 38)))
        .rule(
            SeccompRule::new(["personality"], EPERM).arg(SeccompArg::new(
                0,
                SeccompOp::Equal,
                u64::MAX,
            )),
        );
    for high in [0, 1 << 32, 0xffff_ffff_0000_0000] {
        let socket = call(X86, number(X86, "socket"), [high | 38, 0, 0, 0, 0, 0]);
        assert_eq!(run(&profile, X86_64, &socket), EPERM.code());
        let number = number(X86, "personality");
        let personality = call(X86, number, [high | 0xffff_ffff, 0, 0, 0, 0, 0]);
        assert_eq!(run(&profile, X86_64, &personality), EPERM.code());
    }
}

#[test]
fn nobody_types_on_a_terminal_whatever_the_upper_half() {
    for native in [X86_64, Aarch64] {
        let all = Capabilities::NONE.with("CAP_SYS_ADMIN").unwrap();
        let profile = Seccomp::container_default_on(all, native);
        for architecture in native.family() {
            let ioctl = number(*architecture, "ioctl");
            let of = |request| {
                run(
                    &profile,
                    native,
                    &call(*architecture, ioctl, [0, request, 0, 0, 0, 0]),
                )
            };
            for high in [0, 1 << 32, 0xffff_ffff_0000_0000] {
                assert_eq!(of(high | 0x5412), EPERM.code());
                assert_eq!(of(high | 0x541c), EPERM.code());
            }
            assert_eq!(of(0x5413), SeccompAction::Allow.code());
        }
    }
}

#[test]
fn every_name_of_the_default_profile_is_that_of_a_call() {
    for native in [X86_64, Aarch64] {
        let known: Vec<_> = native.family().iter().copied().map(numbers::all).collect();
        let known: HashMap<_, _> = known
            .concat()
            .into_iter()
            .map(|(n, name)| (name, n))
            .collect();
        let profile = Seccomp::container_default_on(Capabilities::NONE, native);
        let missing: Vec<_> = profile
            .rules
            .iter()
            .flat_map(|rule| &rule.names)
            .filter(|name| !known.contains_key(&***name))
            .collect();
        // What only the other kind of machine has, or another one.
        let expected: &[&str] = match native {
            X86_64 => &["recv", "send"],
            _ => &[
                "fadvise64_64",
                "newfstatat",
                "utime",
                "epoll_ctl_old",
                "epoll_wait_old",
                "select",
                "socketcall",
                "ipc",
                "get_thread_area",
                "set_thread_area",
                "uretprobe",
                "waitpid",
                "alarm",
                "time",
            ],
        };
        assert_eq!(missing, expected, "{native:?}");
    }
}

#[test]
fn the_default_profile_is_short_and_a_call_costs_little() {
    for native in [X86_64, Aarch64] {
        let profile = Seccomp::container_default_on(Capabilities::container_default(), native);
        let filter = compile::compile(&profile, native).unwrap();
        let program = filter.to_bytes();
        let (mut simple, mut conditional) = (0, 0);
        for architecture in native.family() {
            for (number, name) in numbers::all(*architecture) {
                // The kinds of sockets, and values that no condition is about.
                for value in (0..70).chain([u64::MAX]) {
                    let call = call(*architecture, number, [value; 6]);
                    let steps = bpf::run(&program, &call).steps;
                    let most = match name {
                        "clone" | "ioctl" | "personality" | "socket" => &mut conditional,
                        _ => &mut simple,
                    };
                    *most = steps.max(*most);
                }
            }
        }
        let length = filter.len();
        assert!(length < 450, "{native:?}: {length}");
        assert!(simple <= 15 && conditional <= 22, "{simple}, {conditional}");
    }
}

#[test]
fn what_the_kernel_would_not_take_is_an_error() {
    let bad = SeccompRule::new(["read"], EPERM).arg(SeccompArg::new(6, SeccompOp::Equal, 0));
    let error = Seccomp::new(SeccompAction::Allow).rule(bad).compile();
    assert_eq!(
        error.unwrap_err().to_string(),
        "a seccomp rule for read looks at argument 6; arguments are counted from 0 to 5"
    );
    let mut long = Seccomp::new(SeccompAction::Allow);
    for value in 0..1100 {
        let arg = SeccompArg::masked(0, u64::MAX >> 1, value);
        long = long.rule(SeccompRule::new(["read"], EPERM).arg(arg));
    }
    assert!(matches!(
        long.compile(),
        Err(Error::SeccompTooLong {
            instructions: 4096..
        })
    ));
}
