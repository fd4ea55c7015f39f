//! Which devices may be used: rules, and what they come to.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// Which devices a rule speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum DeviceKind {
    /// Block and character devices.
    All,
    /// Block devices.
    Block,
    /// Character devices.
    Char,
}

/// What may be done with a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct DeviceAccess {
    /// To open it for reading.
    pub read: bool,
    /// To open it for writing.
    pub write: bool,
    /// To make a node of it, by mknod(2).
    pub mknod: bool,
}

impl DeviceAccess {
    /// All of it: `rwm`.
    pub const ALL: DeviceAccess = DeviceAccess {
        read: true,
        write: true,
        mknod: true,
    };
    /// To make a node alone: `m`.
    pub const MKNOD: DeviceAccess = DeviceAccess {
        read: false,
        write: false,
        mknod: true,
    };

    /// The kernel's bits: `BPF_DEVCG_ACC_MKNOD`, `_READ` and `_WRITE`.
    pub(crate) fn bits(self) -> u32 {
        u32::from(self.mknod) | u32::from(self.read) << 1 | u32::from(self.write) << 2
    }

    fn with(self, other: DeviceAccess) -> DeviceAccess {
        DeviceAccess {
            read: self.read || other.read,
            write: self.write || other.write,
            mknod: self.mknod || other.mknod,
        }
    }
}

impl FromStr for DeviceAccess {
    type Err = Error;

    fn from_str(text: &str) -> Result<DeviceAccess, Error> {
        let mut access = DeviceAccess {
            read: false,
            write: false,
            mknod: false,
        };
        for letter in text.chars() {
            let part = match letter {
                'r' => &mut access.read,
                'w' => &mut access.write,
                'm' => &mut access.mknod,
                _ => return Err(wrong_access(text)),
            };
            if std::mem::replace(part, true) {
                return Err(wrong_access(text));
            }
        }
        match text.is_empty() {
            true => Err(wrong_access(text)),
            false => Ok(access),
        }
    }
}

fn wrong_access(text: &str) -> Error {
    Error::InvalidLimit {
        limit: "device access",
        value: text.to_owned(),
        reason: "it is some of the letters r, w and m, each once",
    }
}

impl fmt::Display for DeviceAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (holds, letter) in [(self.read, "r"), (self.write, "w"), (self.mknod, "m")] {
            f.write_str(if holds { letter } else { "" })?;
        }
        Ok(())
    }
}

/// A rule on devices: which, and whether they may be used so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct DeviceRule {
    /// Whether it allows or forbids.
    pub allow: bool,
    /// Which kind of device.
    pub kind: DeviceKind,
    /// The major number; any without.
    pub major: Option<u32>,
    /// The minor number; any without.
    pub minor: Option<u32>,
    /// What it speaks of.
    pub access: DeviceAccess,
}

impl DeviceRule {
    /// Forbids all: the first of the rules where only what is named is to be allowed.
    pub const DENY_ALL: DeviceRule = DeviceRule {
        allow: false,
        kind: DeviceKind::All,
        major: None,
        minor: None,
        access: DeviceAccess::ALL,
    };

    /// Allows devices of these numbers, each any without.
    #[must_use]
    pub fn allow(
        kind: DeviceKind,
        major: Option<u32>,
        minor: Option<u32>,
        access: DeviceAccess,
    ) -> DeviceRule {
        DeviceRule {
            allow: true,
            kind,
            major,
            minor,
            access,
        }
    }

    /// Forbids devices of these numbers, each any without.
    #[must_use]
    pub fn deny(
        kind: DeviceKind,
        major: Option<u32>,
        minor: Option<u32>,
        access: DeviceAccess,
    ) -> DeviceRule {
        DeviceRule {
            allow: false,
            ..DeviceRule::allow(kind, major, minor, access)
        }
    }

    fn is_of_all(&self) -> bool {
        let any = self.major.is_none() && self.minor.is_none();
        self.kind == DeviceKind::All && any && self.access == DeviceAccess::ALL
    }

    fn is_of_the_same(&self, other: &DeviceRule) -> bool {
        (self.allow, self.kind, self.major, self.minor)
            == (other.allow, other.kind, other.major, other.minor)
    }

    /// Whether there is a device, and something to do with it, of which both speak.
    pub(crate) fn overlaps(&self, other: &DeviceRule) -> bool {
        let meet =
            |one: Option<u32>, two: Option<u32>| one.is_none() || two.is_none() || one == two;
        let all = DeviceKind::All;
        (self.kind == other.kind || self.kind == all || other.kind == all)
            && meet(self.major, other.major)
            && meet(self.minor, other.minor)
            && self.access.bits() & other.access.bits() != 0
    }
}

/// As v1 has it in `devices.list`, and Docker in `--device-cgroup-rule`; it does not say whether it allows.
impl fmt::Display for DeviceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            DeviceKind::All => 'a',
            DeviceKind::Block => 'b',
            DeviceKind::Char => 'c',
        };
        let number =
            |number: Option<u32>| number.map_or("*".to_owned(), |number| number.to_string());
        let (major, minor) = (number(self.major), number(self.minor));
        write!(f, "{kind} {major}:{minor} {}", self.access)
    }
}

/// The rule that allows what the text names: `c 1:3 rwm`, `b *:* m`, `a`.
impl FromStr for DeviceRule {
    type Err = Error;

    fn from_str(text: &str) -> Result<DeviceRule, Error> {
        let wrong = || Error::InvalidLimit {
            limit: "device rule",
            value: text.to_owned(),
            reason: "it has the form c 1:3 rwm: a, b or c, major and minor number or *, and what is allowed",
        };
        let mut words = text.split_ascii_whitespace();
        let kind = match words.next() {
            Some("a") => DeviceKind::All,
            Some("b") => DeviceKind::Block,
            Some("c") => DeviceKind::Char,
            _ => return Err(wrong()),
        };
        let Some(numbers) = words.next() else {
            return match kind {
                DeviceKind::All => Ok(DeviceRule::allow(kind, None, None, DeviceAccess::ALL)),
                _ => Err(wrong()),
            };
        };
        let number = |text: &str| match text {
            "*" => Ok(None),
            _ if text.starts_with('+') => Err(wrong()),
            _ => text.parse().map(Some).map_err(|_| wrong()),
        };
        let (major, minor) = numbers.split_once(':').ok_or_else(wrong)?;
        let (major, minor) = (number(major)?, number(minor)?);
        let access = words.next().ok_or_else(wrong)?.parse()?;
        match words.next() {
            None => Ok(DeviceRule::allow(kind, major, minor, access)),
            Some(_) => Err(wrong()),
        }
    }
}

/// What rules come to: what holds for all devices, and the exceptions from it, of which the last that speaks of a use decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) allow: bool,
    /// None of them of the kind "all".
    pub(crate) exceptions: Vec<DeviceRule>,
}

impl Policy {
    pub(crate) fn of(rules: &[DeviceRule]) -> Policy {
        let mut policy = Policy {
            allow: true,
            exceptions: Vec::new(),
        };
        for rule in rules {
            if rule.is_of_all() {
                policy.allow = rule.allow;
                policy.exceptions.clear();
                continue;
            }
            let kinds: &[DeviceKind] = match rule.kind {
                DeviceKind::All => &[DeviceKind::Block, DeviceKind::Char],
                ref one => std::slice::from_ref(one),
            };
            for kind in kinds {
                policy.add(DeviceRule {
                    kind: *kind,
                    ..*rule
                });
            }
        }
        policy
    }

    fn add(&mut self, rule: DeviceRule) {
        if rule.allow == self.allow && self.exceptions.is_empty() {
            return;
        }
        // Two rules on the same device are one, as the kernel asks for reading and writing at once; but not over another
        // rule that has been given between them.
        let between = self
            .exceptions
            .iter()
            .rposition(|one| one.allow != rule.allow);
        let from = between.map_or(0, |at| at + 1);
        let same = self.exceptions[from..]
            .iter_mut()
            .find(|one| one.is_of_the_same(&rule));
        match same {
            Some(same) => same.access = same.access.with(rule.access),
            None => self.exceptions.push(rule),
        }
    }
}

/// What is written to `devices.allow` and `devices.deny` of v1 for these rules: the file's name without `devices.`, and the text.
pub(crate) fn v1_writes(rules: &[DeviceRule]) -> Vec<(&'static str, String)> {
    let word = |allow| if allow { "allow" } else { "deny" };
    let policy = Policy::of(rules);
    let all = (word(policy.allow), "a".to_owned());
    let each = policy
        .exceptions
        .iter()
        .map(|rule| (word(rule.allow), rule.to_string()));
    std::iter::once(all).chain(each).collect()
}

/// The first of the rules that a `devices.list` of v1 contradicts: it forbids what is listed as allowed.
///
/// v1 takes an exception back only by the numbers that it was made with, and says nothing of one that it could not take back.
pub(crate) fn contradicted(rules: &[DeviceRule], list: &str) -> Option<DeviceRule> {
    let policy = Policy::of(rules);
    if policy.allow {
        // What is forbidden then is not listed.
        return None;
    }
    let listed: Vec<DeviceRule> = list.lines().filter_map(|line| line.parse().ok()).collect();
    if let Some(all) = listed.iter().find(|rule| rule.kind == DeviceKind::All) {
        return Some(DeviceRule {
            allow: false,
            ..*all
        });
    }
    // Allowed again behind it by another rule, it is not forbidden there.
    let forbidding = policy
        .exceptions
        .iter()
        .enumerate()
        .filter(|(_, rule)| !rule.allow);
    let again = |at: usize, line: &DeviceRule| {
        let mut behind = policy.exceptions[at + 1..].iter();
        behind.any(|later| later.allow && later.to_string() == line.to_string())
    };
    let holds = |at: usize, rule: &DeviceRule| {
        !listed
            .iter()
            .any(|line| line.overlaps(rule) && !again(at, line))
    };
    forbidding
        .filter(|(at, rule)| !holds(*at, rule))
        .map(|(_, rule)| *rule)
        .next()
}

#[cfg(test)]
mod tests;
