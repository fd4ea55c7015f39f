//! What is read is what Docker reads, and what is written is read again.

mod against_docker;

use std::path::Path;

use oci_spec::runtime::{Arch, LinuxSeccompAction};
use proptest::prelude::*;
use rocker_ns::{SeccompAction, SeccompArchitecture, SeccompArg, SeccompOp, SeccompRule};

use super::*;

/// The names of the calls that a profile has rules for, in a container with these capabilities.
#[track_caller]
fn names(text: &str, capabilities: Capabilities, kernel: (u32, u32)) -> Vec<String> {
    let profile = read_profile(Path::new("p.json"), text, capabilities, kernel).unwrap();
    let rules = profile.syscalls().iter().flatten();
    rules.flat_map(|rule| rule.names().clone()).collect()
}

#[track_caller]
fn refused(text: &str) -> String {
    let read = read_profile(Path::new("/p.json"), text, Capabilities::NONE, (6, 1));
    read.unwrap_err().chain()
}

#[test]
fn rules_are_chosen_by_capabilities_architecture_and_kernel() {
    let text = r#"{
        "defaultAction": "SCMP_ACT_ERRNO",
        "comment": "what nobody knows is passed over",
        "syscalls": [
            {"names": ["always"], "action": "SCMP_ACT_ALLOW", "args": null, "includes": {}, "excludes": {}},
            {"name": "old_style", "action": "SCMP_ACT_ALLOW"},
            {"names": ["needs"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN", "CAP_BPF"]}},
            {"names": ["unless"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_SYS_ADMIN", "CAP_SYSLOG"]}},
            {"names": ["here"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64", "arm64"]}},
            {"names": ["elsewhere"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["s390x"]}},
            {"names": ["not_here"], "action": "SCMP_ACT_ALLOW", "excludes": {"arches": ["amd64", "arm64"]}},
            {"names": ["since_5_10"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "5.10"}},
            {"names": ["before_5_10"], "action": "SCMP_ACT_ALLOW", "excludes": {"minKernel": "5.10"}}
        ]
    }"#;
    let none = Capabilities::NONE;
    let always = ["always", "old_style"];
    assert_eq!(
        names(text, none, (5, 9)),
        [&always[..], &["unless", "here", "before_5_10"]].concat()
    );
    let one = none.with("SYS_ADMIN").unwrap();
    assert_eq!(
        names(text, one, (5, 10)),
        [&always[..], &["here", "since_5_10"]].concat()
    );
    let both = one.with("BPF").unwrap();
    assert_eq!(
        names(text, both, (6, 0)),
        [&always[..], &["needs", "here", "since_5_10"]].concat()
    );
}

#[test]
fn the_architectures_are_those_of_this_machine() {
    let with = |architectures: &str| {
        let text = format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", {architectures}}}"#);
        let read = read_profile(Path::new("p"), &text, Capabilities::NONE, (6, 1)).unwrap();
        read.architectures().clone().unwrap()
    };
    let map = r#""archMap": [
        {"architecture": "SCMP_ARCH_OF_TOMORROW", "subArchitectures": ["SCMP_ARCH_TODAY"]},
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]},
        {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
        {"architecture": "SCMP_ARCH_RISCV64", "subArchitectures": null}
    ]"#;
    let of_oci = r#""architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_S390X"]"#;
    assert_eq!(with(of_oci), [Arch::ScmpArchX86_64, Arch::ScmpArchS390x]);
    let both = match SeccompArchitecture::NATIVE {
        SeccompArchitecture::Aarch64 => vec![Arch::ScmpArchAarch64, Arch::ScmpArchArm],
        _ => vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32],
    };
    assert_eq!(with(map), both);
    let twice = format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", {map}, {of_oci}}}"#);
    assert_eq!(
        refused(&twice),
        "the seccomp profile in /p.json: architectures and archMap say the same thing; a profile has one of them"
    );
}

#[test]
fn every_action_and_comparison_is_understood() {
    let rules = [
        ("KILL", SeccompAction::KillThread),
        ("KILL_THREAD", SeccompAction::KillThread),
        ("KILL_PROCESS", SeccompAction::KillProcess),
        ("TRAP", SeccompAction::Trap),
        ("ERRNO", SeccompAction::Errno(38)),
        ("TRACE", SeccompAction::Trace(38)),
        ("LOG", SeccompAction::Log),
        ("ALLOW", SeccompAction::Allow),
    ];
    for (name, expected) in rules {
        let text = format!(
            r#"{{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 5, "syscalls": [
                {{"names": ["read"], "action": "SCMP_ACT_{name}", "errnoRet": 38}}]}}"#
        );
        let read = read_profile(Path::new("p"), &text, Capabilities::NONE, (6, 1)).unwrap();
        let profile = profile_of(Path::new("p"), &read).unwrap();
        assert_eq!(profile.default_action, SeccompAction::Errno(5));
        assert_eq!(profile.rules[0].action, expected);
    }
    let comparisons = [
        ("NE", SeccompOp::NotEqual),
        ("LT", SeccompOp::Less),
        ("LE", SeccompOp::LessOrEqual),
        ("EQ", SeccompOp::Equal),
        ("GE", SeccompOp::GreaterOrEqual),
        ("GT", SeccompOp::Greater),
    ];
    for (name, op) in comparisons {
        let arg =
            format!(r#"{{"index": 2, "value": 18446744073709551615, "op": "SCMP_CMP_{name}"}}"#);
        let expected = [SeccompArg::new(2, op, u64::MAX)];
        assert_eq!(conditions(&[&arg]), [expected]);
    }
    let masked = r#"{"index": 0, "value": 12, "valueTwo": 4, "op": "SCMP_CMP_MASKED_EQ"}"#;
    assert_eq!(conditions(&[masked]), [[SeccompArg::masked(0, 12, 4)]]);
}

/// The conditions of the rules that one with these becomes.
#[track_caller]
fn conditions(args: &[&str]) -> Vec<Vec<SeccompArg>> {
    let text = format!(
        r#"{{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
            {{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{}]}}]}}"#,
        args.join(",")
    );
    let read = read_profile(Path::new("p"), &text, Capabilities::NONE, (6, 1)).unwrap();
    let profile = profile_of(Path::new("p"), &read).unwrap();
    profile.rules.into_iter().map(|rule| rule.args).collect()
}

#[test]
fn conditions_about_one_argument_are_alternatives_as_they_are_to_runc() {
    let one = r#"{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}"#;
    let two = r#"{"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}"#;
    let other = r#"{"index": 1, "value": 2, "op": "SCMP_CMP_EQ"}"#;
    let arg = |index, value| SeccompArg::new(index, SeccompOp::Equal, value);
    assert_eq!(conditions(&[one, other]), [[arg(0, 1), arg(1, 2)]]);
    assert_eq!(conditions(&[one, two]), [[arg(0, 1)], [arg(0, 2)]]);
    let both = SeccompRule::new(["read"], SeccompAction::Allow)
        .arg(arg(0, 1))
        .arg(arg(0, 2));
    let profile = Seccomp::new(SeccompAction::Log).rule(both);
    let error = specified(Path::new("c.json"), &profile)
        .unwrap_err()
        .chain();
    assert_eq!(
        error,
        "the seccomp profile in c.json: rule 0 is about one argument more than once; expected once, since a specification means one rule each"
    );
}

#[test]
fn what_makes_no_sense_is_told_with_its_place() {
    let rule = |rule: &str| {
        refused(&format!(
            r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{rule}]}}"#
        ))
    };
    for (text, expected) in [
        (
            "{",
            "not a seccomp profile: EOF while parsing an object at line 1 column 1",
        ),
        ("[]\n", "not a seccomp profile: invalid length 0"),
        (
            "{}",
            "not a seccomp profile: missing field `defaultAction` at line 1",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#,
            "defaultAction is SCMP_ACT_NOTIFY; expected another action: there is nobody to notify",
        ),
        (
            "{\n\"defaultAction\": \"SCMP_ACT_PANIC\"}",
            "unknown variant `SCMP_ACT_PANIC`",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4096}"#,
            "defaultErrnoRet is 4096; expected an errno, at most 4095",
        ),
    ] {
        let error = refused(text);
        assert!(
            error.starts_with("the seccomp profile in /p.json: ") && error.contains(expected),
            "{error}"
        );
    }
    assert!(refused("{\n\"defaultAction\": \"SCMP_ACT_PANIC\"}").contains("at line 2 column 33"));
    for (text, expected) in [
        (
            r#"{"names": ["x"], "action": "SCMP_ACT_NOTIFY"}"#,
            "syscalls[0].action is SCMP_ACT_NOTIFY",
        ),
        (
            r#"{"name": "x", "names": ["y"], "action": "SCMP_ACT_LOG"}"#,
            "syscalls[0].name and names say the same thing",
        ),
        (
            r#"{"names": ["x"], "action": "SCMP_ACT_TRACE", "errnoRet": 70000}"#,
            "syscalls[0].errnoRet is 70000; expected a number of 16 bits",
        ),
        (
            r#"{"names": ["x"], "action": "SCMP_ACT_LOG", "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}"#,
            "syscalls[0].args[0].index is 6; expected a place from 0 to 5",
        ),
        (
            r#"{"names": ["x"], "action": "SCMP_ACT_LOG", "includes": {"minKernel": "new"}}"#,
            r#"syscalls[0].includes.minKernel is "new"; expected a kernel's version"#,
        ),
        (r#"{"names": ["x"]}"#, "missing field `action`"),
        (
            r#"{"names": ["x"], "action": "SCMP_ACT_LOG", "args": [{"index": 0, "value": -1, "op": "SCMP_CMP_EQ"}]}"#,
            "invalid value: integer `-1`, expected u64 at line 1",
        ),
    ] {
        let error = rule(text);
        assert!(error.contains(expected), "{error}");
    }
}

proptest! {
    #[test]
    fn whatever_a_file_holds_it_is_a_profile_or_an_error_that_names_the_file(
        place in any::<prop::sample::Index>(),
        written in "[\\PC]{0,4}|null|-1|4294967296|\\[\\]|\\{\\}",
    ) {
        let whole = r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
            "syscalls": [{"names": ["clone", "read"], "action": "SCMP_ACT_TRACE", "errnoRet": 7, "args":
                [{"index": 0, "value": 2114060288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}],
                "includes": {"caps": ["CAP_BPF"], "minKernel": "4.8"}, "excludes": {"arches": ["s390"]}}]}"#;
        // One word of it is another one.
        let words: Vec<&str> = whole.split_inclusive(['"', ',', ':']).collect();
        let place = place.index(words.len());
        let text = words[..place].concat() + &written + &words[place + 1..].concat();
        match read_profile(Path::new("/p.json"), &text, Capabilities::NONE, (6, 1)) {
            Ok(read) => drop(profile_of(Path::new("/p.json"), &read).unwrap().compile().unwrap()),
            Err(error) => prop_assert!(error.chain().contains("/p.json"), "{}", error.chain()),
        }
    }
}

#[test]
fn what_is_written_to_a_specification_is_read_again() {
    for capabilities in [
        Capabilities::NONE,
        Capabilities::container_default(),
        Capabilities::NONE.with("SYS_ADMIN").unwrap(),
    ] {
        let mut profile = Seccomp::container_default(capabilities);
        profile.log = true;
        profile.allow_speculation = true;
        let path = Path::new("config.json");
        let written = specified(path, &profile).unwrap();
        let text = serde_json::to_string(&written).unwrap();
        let read: LinuxSeccomp = serde_json::from_str(&text).unwrap();
        assert_eq!(profile_of(path, &read).unwrap(), profile);
        // And is itself a profile that can be given.
        let given = read_profile(path, &text, capabilities, (6, 1)).unwrap();
        assert_eq!(profile_of(path, &given).unwrap(), profile);
        assert_eq!(given.default_action(), LinuxSeccompAction::ScmpActErrno);
    }
}
