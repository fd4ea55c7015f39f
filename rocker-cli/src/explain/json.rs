//! An explanation for programs: one JSON object a line.

use serde::Serialize;

use super::call::Call;

/// A call as its line has it.
#[derive(Debug, Serialize)]
struct Line<'a> {
    call: &'a str,
    args: &'a str,
    result: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    why: &'a str,
    man: String,
    phase: &'a str,
    pid: u64,
    #[serde(rename = "µs")]
    us: u64,
}

/// Adds the line of a call that the process `own` made, or its child.
pub(super) fn line(text: &mut String, call: &Call, own: u32) {
    let line = Line {
        call: &call.call,
        args: &call.args,
        result: call.result,
        error: call.error(),
        why: &call.why,
        man: call.manual(),
        phase: &call.primitive,
        pid: call.pid.unwrap_or(u64::from(own)),
        us: call.us,
    };
    // Strings and numbers are always JSON.
    text.push_str(&serde_json::to_string(&line).unwrap_or_default());
    text.push('\n');
}
