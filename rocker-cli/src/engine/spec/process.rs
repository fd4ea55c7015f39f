//! The program of a container: what it is, who it runs as, and with what.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::str::FromStr;

use oci_spec::image::ImageConfiguration;
use oci_spec::runtime::{
    Capability, LinuxCapabilities, LinuxCapabilitiesBuilder, PosixRlimit, PosixRlimitBuilder,
    PosixRlimitType, Process, ProcessBuilder, UserBuilder,
};
use rocker_ns::{Capabilities, Rlimit};

use super::{Facts, PATH, names};
use crate::engine::options::RunOptions;
use crate::{Error, Result};

/// Writes down the program, with `capabilities`.
pub(super) fn process(facts: &Facts<'_>, capabilities: Capabilities) -> Result<Process> {
    let options = facts.options;
    let image = facts.image.config().as_ref();
    let cwd = options
        .workdir
        .clone()
        .or_else(|| image?.working_dir().clone())
        .filter(|dir| !dir.is_empty());
    let user = UserBuilder::default()
        .uid(facts.user.uid)
        .gid(facts.user.gid)
        .additional_gids(facts.user.groups.clone());
    let mut process = ProcessBuilder::default()
        .terminal(options.io.terminal)
        .user(user.build()?)
        .args(command(options, facts.image)?)
        .env(environment(facts)?)
        .cwd(Path::new("/").join(cwd.unwrap_or_default()))
        .capabilities(oci_capabilities(capabilities, facts.user.uid == 0)?)
        .rlimits(rlimits(&options.rlimits)?)
        .no_new_privileges(options.no_new_privileges);
    if let Some(adjustment) = options.oom_score_adj {
        process = process.oom_score_adj(i32::from(adjustment));
    }
    if let Some(profile) = &options.apparmor {
        process = process.apparmor_profile(profile);
    }
    if let Some(label) = &options.selinux {
        process = process.selinux_label(label);
    }
    Ok(process.build()?)
}

/// The program and its arguments, as the image and the caller have it.
pub(crate) fn command(options: &RunOptions<'_>, image: &ImageConfiguration) -> Result<Vec<String>> {
    let image = image.config().as_ref();
    let list = |list: Option<&Option<Vec<String>>>| list.cloned().flatten().unwrap_or_default();
    let (entrypoint, cmd) = match &options.entrypoint {
        // Whoever replaces the entrypoint does not mean the image's arguments for the old one.
        Some(program) => (
            Some(program.clone())
                .filter(|program| !program.is_empty())
                .into_iter()
                .collect(),
            Vec::new(),
        ),
        None => (
            list(image.map(|image| image.entrypoint())),
            list(image.map(|image| image.cmd())),
        ),
    };
    let args = if options.command.is_empty() {
        cmd
    } else {
        options.command.clone()
    };
    let command: Vec<String> = entrypoint.into_iter().chain(args).collect();
    if command.is_empty() {
        Err(Error::NoCommand)
    } else {
        Ok(command)
    }
}

fn environment(facts: &Facts<'_>) -> Result<Vec<String>> {
    let image = facts
        .image
        .config()
        .as_ref()
        .and_then(|config| config.env().clone())
        .unwrap_or_default();
    let mut env = BTreeMap::new();
    env.insert("PATH".to_owned(), PATH.to_owned());
    env.insert(
        "HOME".to_owned(),
        facts.user.home.to_string_lossy().into_owned(),
    );
    env.insert("HOSTNAME".to_owned(), names::hostname(facts)?);
    if facts.options.io.terminal {
        env.insert("TERM".to_owned(), "xterm".to_owned());
    }
    add_variables(&mut env, &image, false);
    add_variables(&mut env, &facts.options.env, true);
    Ok(env
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect())
}

/// Adds `NAME=VALUE`s to an environment; where `remove` says so, `NAME` alone takes the variable away.
pub(crate) fn add_variables(
    env: &mut BTreeMap<String, String>,
    variables: &[String],
    remove: bool,
) {
    for variable in variables {
        match variable.split_once('=') {
            Some((name, value)) => drop(env.insert(name.to_owned(), value.to_owned())),
            None if remove => drop(env.remove(variable)),
            None => {}
        }
    }
}

/// The variables with the caller's own value for each `NAME` alone that the caller has.
pub(crate) fn resolved(variables: &[String]) -> Vec<String> {
    let resolve = |variable: &String| match std::env::var(variable) {
        Ok(value) if !variable.contains('=') => format!("{variable}={value}"),
        _ => variable.clone(),
    };
    variables.iter().map(resolve).collect()
}

/// The capabilities that the options ask for.
pub(super) fn capabilities(options: &RunOptions<'_>) -> Result<Capabilities> {
    if options.privileged {
        return Ok(Capabilities::permitted()?);
    }
    let mut set = Capabilities::container_default();
    // `--cap-drop ALL --cap-add X` means X alone, whatever the order.
    if options
        .cap_drop
        .iter()
        .any(|name| name.eq_ignore_ascii_case("ALL"))
    {
        set = Capabilities::NONE;
    }
    for name in &options.cap_add {
        set = set.with(name)?;
    }
    for name in options
        .cap_drop
        .iter()
        .filter(|name| !name.eq_ignore_ascii_case("ALL"))
    {
        set = set.without(name)?;
    }
    Ok(set)
}

fn oci_capabilities(set: Capabilities, root: bool) -> Result<LinuxCapabilities> {
    let mut all = HashSet::new();
    for name in set.names() {
        let unknown = |_| rocker_ns::Error::UnknownCapability { name: name.clone() };
        all.insert(Capability::from_str(name.trim_start_matches("CAP_")).map_err(unknown)?);
    }
    let held = if root { all.clone() } else { HashSet::new() };
    Ok(LinuxCapabilitiesBuilder::default()
        .bounding(all)
        .effective(held.clone())
        .permitted(held)
        .inheritable(HashSet::new())
        .ambient(HashSet::new())
        .build()?)
}

fn rlimits(limits: &[Rlimit]) -> Result<Vec<PosixRlimit>> {
    let one = |limit: &Rlimit| -> Result<PosixRlimit> {
        let kind = serde_json::Value::from(limit.constant());
        // The specification knows every resource of the kernel.
        let kind: PosixRlimitType =
            serde_json::from_value(kind).map_err(|source| Error::Damaged {
                path: limit.constant().into(),
                source,
            })?;
        let limit = PosixRlimitBuilder::default()
            .typ(kind)
            .soft(limit.soft)
            .hard(limit.hard);
        Ok(limit.build()?)
    };
    limits.iter().map(one).collect()
}
