//! Whether this machine can run containers: each thing that a run needs is looked at, or tried and undone.

use serde::Serialize;

use crate::advice::{self, Advice};
use crate::engine::Engine;
use crate::engine::host::Host;
use crate::{Error, Result};

mod cgroups;
mod limits;
mod machine;
mod network;
mod process;
mod storage;

/// How a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Health {
    /// As a run needs it.
    Ok,
    /// Good to know; a plain run goes without.
    Note,
    /// A plain run fails.
    Problem,
}

/// One thing that was looked at, and how it is.
#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) name: String,
    pub(crate) health: Health,
    pub(crate) found: String,
    /// What is most likely behind it, and what helps.
    pub(crate) advice: Option<Advice>,
}

impl Check {
    fn ok(name: &str, found: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            health: Health::Ok,
            found: found.into(),
            advice: None,
        }
    }

    fn note(name: &str, found: impl Into<String>) -> Self {
        Self {
            health: Health::Note,
            ..Self::ok(name, found)
        }
    }

    fn problem(name: &str, found: impl Into<String>, advice: Option<Advice>) -> Self {
        Self {
            health: Health::Problem,
            advice,
            ..Self::ok(name, found)
        }
    }

    /// What only root can try.
    fn untried(name: &str) -> Self {
        Self::note(name, "not tried: that takes root")
    }

    /// What cannot be tried without something that is a problem of its own.
    fn without(name: &str, missing: &str) -> Self {
        Self::note(name, format!("not tried without {missing}"))
    }

    /// What came of trying it.
    fn of(name: &str, host: &Host, outcome: Result<impl Into<String>>) -> Self {
        match outcome {
            Ok(found) => Self::ok(name, found),
            Err(error) => Self::failed(name, host, &error),
        }
    }

    /// An attempt that failed.
    fn failed(name: &str, host: &Host, error: &Error) -> Self {
        Self::problem(name, error.chain(), advice::of(error, host, || None))
    }

    /// The same of something that a plain run goes without.
    fn dispensable(mut self) -> Self {
        if self.health == Health::Problem {
            self.health = Health::Note;
        }
        self
    }
}

impl Engine {
    /// Looks at all that a run needs of this machine. What is made for that is gone when it returns. `barred` is what kept an ordinary
    /// user from becoming root of a user namespace.
    pub(crate) fn examine(&self, host: &Host, barred: Option<&Error>) -> Vec<Check> {
        if !host.has_proc() {
            return vec![machine::without_proc()];
        }
        let is_root = host.user().is_none_or(|user| user == 0);
        let mut checks = machine::checks(host);
        checks.extend(barred.map(|error| Check::failed("root", host, error)));
        checks.extend(limits::checks(host));
        let storage = storage::checks(self, host, is_root);
        let has_overlay = storage
            .iter()
            .all(|check| check.name != storage::OVERLAY || check.health == Health::Ok);
        checks.extend(storage);
        checks.extend(process::checks(self, host, is_root, has_overlay));
        checks.extend(cgroups::checks(host, is_root));
        checks.extend(network::checks(host, is_root));
        checks
    }
}
