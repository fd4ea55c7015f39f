//! Rules on devices, as v1 has them.

use super::*;

fn rule(text: &str) -> DeviceRule {
    match text.strip_prefix('-') {
        Some(text) => DeviceRule {
            allow: false,
            ..rule(text)
        },
        None => text.parse().unwrap(),
    }
}

fn rules(texts: &[&str]) -> Vec<DeviceRule> {
    texts.iter().map(|text| rule(text)).collect()
}

#[test]
fn rules_are_read_as_the_kernel_writes_them() {
    for text in ["c 1:3 rwm", "b *:* m", "c 136:* rw", "b 8:0 r"] {
        assert_eq!(rule(text).to_string(), text);
    }
    assert_eq!(rule("a").to_string(), "a *:* rwm");
    assert_eq!(rule("c 1:3 mr").to_string(), "c 1:3 rm");
    for text in [
        "",
        "c",
        "x 1:3 r",
        "c 1 r",
        "c 1:3",
        "c 1:3 x",
        "c 1:3 rr",
        "c +1:3 r",
        "c 1:3 r w",
        "c -1:3 r",
    ] {
        assert!(text.parse::<DeviceRule>().is_err(), "{text:?}");
    }
}

#[test]
fn v1_gets_what_holds_for_all_and_then_the_exceptions() {
    let writes = v1_writes(&rules(&[
        "b 8:0 rwm",
        "-a",
        "c 1:3 r",
        "c 1:3 w",
        "b *:* m",
    ]));
    let texts: Vec<_> = writes
        .iter()
        .map(|(file, text)| format!("{file} {text}"))
        .collect();
    assert_eq!(texts, ["deny a", "allow c 1:3 rw", "allow b *:* m"]);
    let writes = v1_writes(&rules(&["-a *:* m"]));
    assert_eq!(
        writes[1..],
        [
            ("deny", "b *:* m".to_owned()),
            ("deny", "c *:* m".to_owned())
        ]
    );
}

#[test]
fn what_v1_did_not_take_back_is_seen() {
    let asked = rules(&["-a", "c *:* rwm", "-c 1:3 r"]);
    assert_eq!(contradicted(&asked, "c *:* rwm\n"), Some(rule("-c 1:3 r")));
    assert_eq!(contradicted(&asked, "c 1:3 w\n"), None);
    assert_eq!(
        contradicted(&rules(&["-a"]), "a *:* rwm\n").map(|rule| rule.allow),
        Some(false)
    );
    let again = rules(&["-a", "-c *:* rwm", "c 1:3 rwm"]);
    assert_eq!(contradicted(&again, "c 1:3 rwm\n"), None);
}
