//! The default profile is held against Docker's own, of version 20.10 as Debian 12 has it, number by number: by running both
//! programs as the kernel does, and on the kernel.
//!
//! Docker's file is no part of this repository. `tests/run` fetches it out of the package `golang-github-docker-docker-dev` to
//! [`DOCKERS`]; another place is named by `ROCKER_TEST_DOCKER_SECCOMP`.
#![cfg(target_arch = "x86_64")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use rocker_ns::{Capabilities, Seccomp, SeccompAction, SeccompRule};
use syscalls::{x86, x86_64};

use super::super::{profile_of, read_profile};

#[path = "../../../../../../tests/bpf/mod.rs"]
mod bpf;
#[path = "../../../../../../tests/fake_host/mod.rs"]
mod fake_host;
#[path = "../../../../../../tests/probe/mod.rs"]
mod probe;

use bpf::Call;

const DOCKERS: &str = "/var/cache/rocker-tests/docker-seccomp.json";

const X32_BIT: u32 = 0x4000_0000;

/// What there is to gain, one at a time, over Docker's own set.
const CAPABILITIES: &[&str] = &[
    "BPF",
    "DAC_READ_SEARCH",
    "PERFMON",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
];

const NEWER: &str = "newer than Docker 20.10, which answers ENOSYS above its newest, futex_waitv";

/// Every difference: the calls, with which capability, what Docker 20.10 does, what rocker does, and why. All but one are Docker's own
/// steps from there to its profile of 2026.
#[rustfmt::skip]
const DIFFERENCES: &[(&[&str], &str, &str, &str, &str)] = &[
    (&["cachestat", "fchmodat2", "futex_requeue", "futex_wait", "futex_wake", "getxattrat", "listmount", "listxattrat",
       "map_shadow_stack", "mseal", "removexattrat", "setxattrat", "statmount"],
     "", "ENOSYS", "allowed", NEWER),
    (&["lsm_get_self_attr", "lsm_list_modules", "lsm_set_self_attr"], "with SYS_ADMIN", "ENOSYS", "allowed", NEWER),
    (&["lsm_get_self_attr", "lsm_list_modules", "lsm_set_self_attr"], "without SYS_ADMIN", "ENOSYS", "EPERM", NEWER),
    (&["set_mempolicy_home_node"], "with SYS_NICE", "ENOSYS", "allowed", NEWER),
    (&["set_mempolicy_home_node"], "without SYS_NICE", "ENOSYS", "EPERM", NEWER),
    (&["clock_settime64"], "with SYS_TIME", "EPERM", "allowed", "forgotten in 20.10: clock_settime(2) of 32-bit programs"),
    (&["bpf"], "with BPF", "EPERM", "allowed", "capabilities(7) since Linux 5.8, which 20.10 does not know"),
    (&["perf_event_open"], "with PERFMON", "EPERM", "allowed", "capabilities(7) since Linux 5.8, which 20.10 does not know"),
    (&["name_to_handle_at"], "without SYS_ADMIN", "EPERM", "allowed", "a name is harmless without open_by_handle_at(2); systemd needs it"),
    (&["pkey_alloc", "pkey_free", "pkey_mprotect"], "", "EPERM", "allowed", "a program's own memory"),
    (&["process_vm_readv", "process_vm_writev"], "without SYS_PTRACE", "EPERM", "allowed", "no more than ptrace(2), which is allowed"),
    (&["uretprobe"], "", "EPERM", "allowed", "made by the kernel's own probe, and not by the program that it ends"),
    (&["io_uring_enter", "io_uring_register", "io_uring_setup"], "", "allowed", "EPERM", "has let too many out, and is seen by no filter"),
    (&["socket"], "", "allowed", "EPERM", "AF_ALG, AF_VSOCK, and what the kernel no longer has"),
    (&["ioctl"], "", "allowed", "EPERM", "rocker's own: TIOCSTI and TIOCLINUX type on a terminal"),
];

/// The kinds of sockets below 64 that are denied.
const DENIED_SOCKETS: &[u64] = &[
    12, 19, 20, 23, 25, 34, 37, 38, 40, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60,
    61, 62, 63,
];

/// Docker's profile; none where nobody promised it.
fn dockers(capabilities: Capabilities) -> Option<Seccomp> {
    let path = std::env::var_os("ROCKER_TEST_DOCKER_SECCOMP").map_or(DOCKERS.into(), PathBuf::from);
    let Ok(text) = fs::read_to_string(&path) else {
        let missing = format!("{}, which tests/run fetches", path.display());
        // Whoever promises root has had tests/run prepare the machine.
        assert!(!fake_host::expected("root"), "there is no {missing}");
        eprintln!("not run: this test needs {missing}");
        return None;
    };
    let read = read_profile(&path, &text, capabilities, (6, 1)).unwrap();
    Some(profile_of(&path, &read).unwrap())
}

fn program(profile: &Seccomp) -> Vec<u8> {
    profile.compile().unwrap().to_bytes()
}

/// The names of the numbers, by a profile that answers with the name's place in a list.
fn names(calls: &[Call]) -> BTreeMap<(u32, u32), &'static str> {
    let of_x86 = (0..600).filter_map(|number| Some(x86::Sysno::new(number)?.name()));
    let of_x86_64 = (0..600).filter_map(|number| Some(x86_64::Sysno::new(number)?.name()));
    let all: BTreeSet<&'static str> = of_x86.chain(of_x86_64).collect();
    let mut profile = Seccomp::new(SeccompAction::Allow);
    profile.architectures = rocker_ns::SeccompArchitecture::NATIVE.family().to_vec();
    for (place, name) in (1..).zip(&all) {
        let rule = SeccompRule::new([*name], SeccompAction::Errno(place));
        profile.rules.push(rule);
    }
    let program = program(&profile);
    let named = calls.iter().filter_map(|call| {
        let place = bpf::run(&program, call).action & 0xffff;
        let name = all.iter().nth((place as usize).checked_sub(1)?)?;
        Some(((call.audit, call.number), *name))
    });
    named.collect()
}

/// Every number, without arguments.
fn numbers() -> Vec<Call> {
    let call = |audit, number| Call {
        number,
        audit,
        args: [0; 6],
    };
    let native = (0..=600).map(|number| call(bpf::X86_64, number));
    let x32 = (0..=600).map(|number| call(bpf::X86_64, number | X32_BIT));
    let x86 = (0..=600).map(|number| call(bpf::X86, number));
    native.chain(x32).chain(x86).collect()
}

/// Every number with what the conditions of `profiles` look for in a call of that name, and its neighbours.
fn calls(profiles: [&Seccomp; 2], names: &BTreeMap<(u32, u32), &str>) -> Vec<Call> {
    let mut values: BTreeMap<&str, BTreeSet<(usize, u64)>> = BTreeMap::new();
    for rule in profiles.iter().flat_map(|profile| &profile.rules) {
        for arg in &rule.args {
            let bits = (0..64).map(|bit| 1 << bit);
            let edges = [arg.value, arg.value_two].into_iter();
            let around = edges.flat_map(|value| {
                [value.wrapping_sub(1), value, value.wrapping_add(1)]
                    .into_iter()
                    .chain([value | 1 << 32, value | u64::MAX << 32, value ^ 1 << 31])
            });
            let small = 0..64;
            for name in &rule.names {
                let given = around.clone().chain(bits.clone()).chain(small.clone());
                let given = given.map(|value| (usize::from(arg.index), value));
                values.entry(name).or_default().extend(given);
            }
        }
    }
    let mut calls = numbers();
    for bare in numbers() {
        let name = names.get(&(bare.audit, bare.number)).copied();
        for (index, value) in name.and_then(|name| values.get(name)).into_iter().flatten() {
            let mut call = bare;
            call.args[*index] = *value;
            calls.push(call);
        }
    }
    calls
}

fn shown(action: u32) -> &'static str {
    match action {
        0x7fff_0000 => "allowed",
        0x0005_0001 => "EPERM",
        0x0005_0026 => "ENOSYS",
        other => panic!("{other:#x}"),
    }
}

/// The capabilities of a container that gains one.
fn with(added: &str) -> Capabilities {
    let default = Capabilities::container_default();
    match added {
        "" => default,
        added => default.with(added).unwrap(),
    }
}

#[test]
fn every_number_is_treated_as_docker_does_but_for_what_is_listed() {
    // By name, what was and what is: with which capability.
    let mut found: BTreeMap<(&str, &str, &str), BTreeSet<&str>> = BTreeMap::new();
    let (mut sockets, mut requests) = (BTreeSet::new(), BTreeSet::new());
    let names = names(&numbers());
    for added in [""].iter().chain(CAPABILITIES) {
        let Some(theirs) = dockers(with(added)) else {
            return;
        };
        let ours = Seccomp::container_default(with(added));
        let (their_program, our_program) = (program(&theirs), program(&ours));
        for call in calls([&theirs, &ours], &names) {
            let was = bpf::run(&their_program, &call).action;
            let is = bpf::run(&our_program, &call).action;
            if was == is {
                continue;
            }
            let name = names[&(call.audit, call.number)];
            match name {
                "socket" if call.args[0] < 64 => drop(sockets.insert(call.args[0])),
                "ioctl" => drop(requests.insert(call.args[1] & 0xffff_ffff)),
                _ => {}
            }
            let key = (name, shown(was), shown(is));
            found.entry(key).or_default().insert(added);
        }
    }
    let all = CAPABILITIES.len() + 1;
    let when = |added: &BTreeSet<&str>| match added.len() {
        1 => format!("with {}", added.first().unwrap()),
        count if count == all => String::new(),
        _ => {
            let missing = CAPABILITIES.iter().filter(|one| !added.contains(**one));
            format!(
                "without {}",
                missing.copied().collect::<Vec<_>>().join(", ")
            )
        }
    };
    let found: BTreeSet<_> = found
        .iter()
        .map(|((name, was, is), added)| format!("{name} {}: {was}, {is}", when(added)))
        .collect();
    let listed = DIFFERENCES.iter().flat_map(|(names, when, was, is, _)| {
        let names = names.iter();
        names.map(move |name| format!("{name} {when}: {was}, {is}"))
    });
    let listed: BTreeSet<_> = listed.collect();
    let only = |one: &BTreeSet<String>, other| one.difference(other).cloned().collect::<Vec<_>>();
    let (new, gone) = (only(&found, &listed), only(&listed, &found));
    assert!(
        new.is_empty() && gone.is_empty(),
        "not listed: {new:#?}\nlisted in vain: {gone:#?}"
    );
    assert_eq!(Vec::from_iter(sockets), DENIED_SOCKETS);
    assert_eq!(Vec::from_iter(requests), [0x5412, 0x541c]);
}

/// The calls that the kernel's own probes make, uretprobe and uprobe. No filter sees them from Linux 6.14 on, and they end by
/// SIGILL whoever else makes them.
const PROBES: [u32; 2] = [335, 336];

/// The errno that stands for what a filter would allow.
const ALLOWED: u32 = 4000;

/// A program that says what it would say, and lets no call be made but those of the probe itself.
fn harmless(program: &[u8]) -> Vec<u8> {
    let step = |code: u16, yes: u8, no: u8, k: u32| {
        let mut bytes = code.to_ne_bytes().to_vec();
        bytes.extend([yes, no]);
        bytes.extend(k.to_ne_bytes());
        bytes
    };
    // The sixth argument is the probe's mark: "prob".
    let mut harmless = [
        step(0x20, 0, 0, 56),
        step(0x15, 0, 1, 0x7072_6f62),
        step(0x06, 0, 0, 0x7fff_0000),
    ]
    .concat();
    let allowed = step(0x06, 0, 0, 0x7fff_0000);
    for one in program.chunks(8) {
        match one == allowed {
            true => harmless.extend(step(0x06, 0, 0, 0x0005_0000 | ALLOWED)),
            false => harmless.extend(one),
        }
    }
    harmless
}

#[test]
fn the_kernel_says_of_every_number_what_the_programs_say() {
    fake_host::run(|host| {
        let capabilities = Capabilities::container_default();
        let Some(theirs) = dockers(capabilities) else {
            return;
        };
        let ours = Seccomp::container_default(capabilities);
        let mut calls = calls([&theirs, &ours], &names(&numbers()));
        calls.retain(|call| !(call.audit == bpf::X86_64 && PROBES.contains(&call.number)));
        let dir = host.dir("probe");
        let probe = probe::native(&dir);
        let file = dir.join("filter");
        for profile in [theirs, ours] {
            let program = program(&profile);
            fs::write(&file, harmless(&program)).unwrap();
            let output = Command::new(&probe)
                .arg(&file)
                .args(calls.iter().map(told))
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", output.status);
            let said = String::from_utf8(output.stdout).unwrap();
            let said: Vec<i64> = said.lines().map(|line| line.parse().unwrap()).collect();
            assert_eq!(said.len(), calls.len());
            for (call, said) in calls.iter().zip(said) {
                let expected = match bpf::run(&program, call).action {
                    0x7fff_0000 => ALLOWED,
                    errno => errno & 0xffff,
                };
                assert_eq!(said, -i64::from(expected), "{call:x?}");
            }
        }
    });
}

/// A call as the probe takes it.
fn told(call: &Call) -> String {
    let prefix = if call.audit == bpf::X86 { "~" } else { "" };
    let args: String = call.args[..5]
        .iter()
        .map(|arg| format!(",{arg:#x}"))
        .collect();
    format!("{prefix}{:#x}{args}", call.number)
}
