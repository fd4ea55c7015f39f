//! An explanation for people: what happens, under a heading for each primitive, and in the end what it cost.

use std::collections::BTreeMap;

use super::call::Call;
use crate::advice;
use crate::engine::host::Host;
use crate::page::{Entry, Ink, Page};

/// What has been told.
#[derive(Debug)]
pub(super) struct Story {
    page: Page,
    /// The primitive of the last heading, and the child if it spoke of one.
    under: Option<(&'static str, Option<u64>)>,
    /// How often each primitive made a call, and how many microseconds that took.
    costs: BTreeMap<&'static str, (u64, u64)>,
    of_child: u64,
}

/// The primitives in the order in which a run needs them, and what each is about.
const PRIMITIVES: [(&str, &str); 6] = [
    (
        "state",
        "rocker's own files, in which it remembers its containers",
    ),
    ("image", "what to run: manifest, configuration and layers"),
    (
        "fs",
        "layers become a root file system that only this container changes",
    ),
    ("cgroup", "how much of the machine the container may use"),
    (
        "ns",
        "a process that sees, and may do, only what is its own",
    ),
    ("net", "a cable, an address and a way out"),
];

/// The primitive of that name, and what it is about.
fn primitive(name: &str) -> (&'static str, &'static str) {
    let known = PRIMITIVES.iter().find(|(known, _)| *known == name);
    known
        .copied()
        .unwrap_or(("other", "what belongs to no primitive"))
}

impl Story {
    pub(super) fn new(page: Page) -> Self {
        Self {
            page,
            under: None,
            costs: BTreeMap::new(),
            of_child: 0,
        }
    }

    /// Tells of a call.
    pub(super) fn call(&mut self, text: &mut String, call: &Call) {
        let (name, _) = primitive(&call.primitive);
        heading(
            self.page,
            text,
            (name, call.pid),
            &mut self.under,
            self.costs.contains_key(name),
        );
        let cost = self.costs.entry(name).or_default();
        *cost = (cost.0 + 1, cost.1 + call.us);
        self.of_child += u64::from(call.pid.is_some());
        let result = match call.error() {
            None => call.result.to_string(),
            Some(error) if call.fatal => format!("-1 {error}"),
            Some(error) => format!("-1 {error}, tolerated"),
        };
        let (margin, margin_ink) = match call.pid {
            Some(_) => ("│ ", Ink::Of(name)),
            None => ("  ", Ink::Plain),
        };
        let entry = Entry {
            margin: [margin; 2],
            margin_ink,
            call: format!("{}({}) = {result}", call.call, call.args),
            call_ink: if call.fatal { Ink::Red } else { Ink::Of(name) },
            time: Some(format!("{} µs", call.us)),
            why: &call.why,
            manual: call.manual(),
        };
        self.page.entry(text, &entry);
        if call.fatal {
            self.failure(text, call);
        }
    }

    fn failure(&self, text: &mut String, call: &Call) {
        self.page
            .line(text, "  ✗ This call is why the command failed.", Ink::Red);
        let advice = call
            .errno()
            .and_then(|errno| advice::likely(&call.call, &call.args, errno, &Host::this()));
        if let Some(advice) = advice {
            let likely = format!("    Likely cause: {}.", advice.cause);
            self.page.line(text, &likely, Ink::Red);
            let remedy = format!("    What helps: {}", advice.remedy);
            self.page.line(text, &remedy, Ink::Plain);
        }
    }

    /// Tells where in its life the container is.
    pub(super) fn note(&mut self, text: &mut String, note: &str) {
        self.under = None;
        text.push('\n');
        self.page.line(text, note, Ink::Bold);
    }

    /// Says what it all cost.
    pub(super) fn end(&self, text: &mut String) {
        let (calls, us) = self
            .costs
            .values()
            .fold((0, 0), |(calls, us), cost| (calls + cost.0, us + cost.1));
        let parts: Vec<String> = PRIMITIVES
            .iter()
            .filter_map(|(name, _)| {
                let (calls, us) = self.costs.get(name)?;
                Some(format!("{name} {us} µs in {calls}"))
            })
            .collect();
        let child = self.of_child;
        let parent = calls - child;
        let sum = format!(
            "{calls} calls, {parent} by rocker and {child} by its child, took {us} µs, waiting included: {}",
            parts.join(", ")
        );
        text.push('\n');
        self.page.line(text, &sum, Ink::Bold);
    }
}

/// Adds a heading where the primitive changes, or who makes the calls. One that was told of before is only named.
pub(crate) fn heading(
    page: Page,
    text: &mut String,
    (name, child): (&'static str, Option<u64>),
    under: &mut Option<(&'static str, Option<u64>)>,
    known: bool,
) {
    if *under == Some((name, child)) {
        return;
    }
    *under = Some((name, child));
    let who = child.map_or(String::new(), |pid| format!(", in the child {pid}"));
    let about = match known {
        true => String::new(),
        false => format!(": {}", primitive(name).1),
    };
    if !known {
        text.push('\n');
    }
    page.line(text, &format!("{name}{who}{about}"), Ink::Of(name));
}
