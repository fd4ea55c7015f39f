//! What a container may do, as a person types it.

use std::path::absolute;

use clap::Args;

use super::value;
use crate::{Result, RunOptions, SeccompProfile};

/// What is allowed, hidden and taken away.
#[derive(Debug, Args)]
pub(super) struct Security {
    /// Add a capability
    #[arg(long, value_name = "CAP", help_heading = "Security")]
    cap_add: Vec<String>,
    /// Take a capability away
    #[arg(long, value_name = "CAP", help_heading = "Security")]
    cap_drop: Vec<String>,
    /// All capabilities, nothing hidden: as strong as root on the host
    #[arg(long, help_heading = "Security")]
    privileged: bool,
    /// no-new-privileges, seccomp=FILE|unconfined, apparmor=PROFILE, label=LEVEL|disable, systempaths=unconfined
    #[arg(long, value_name = "OPTION", help_heading = "Security")]
    security_opt: Vec<String>,
    /// Set a setting of the kernel that is the container's own
    #[arg(long, value_name = "NAME=VALUE", help_heading = "Security")]
    sysctl: Vec<String>,
}

/// The label of a container's program where SELinux is not told otherwise.
const LABEL: [&str; 4] = ["system_u", "system_r", "container_t", "s0"];

impl Security {
    /// Adds the same, in the words of the engine.
    pub(super) fn add_to(&self, options: &mut RunOptions<'_>) -> Result<()> {
        options.cap_add = self.cap_add.clone();
        options.cap_drop = self.cap_drop.clone();
        options.privileged = self.privileged;
        for text in &self.sysctl {
            let (name, value) = text
                .split_once('=')
                .ok_or_else(|| value::bad("--sysctl", text, "NAME=VALUE"))?;
            options.sysctls.push((name.to_owned(), value.to_owned()));
        }
        let mut label = None;
        for text in &self.security_opt {
            security_opt(text, options, &mut label)?;
        }
        options.selinux = label.map(|label: [String; 4]| label.join(":"));
        Ok(())
    }
}

/// One `--security-opt`; Docker takes `:` in the place of the first `=` as well.
fn security_opt(
    text: &str,
    options: &mut RunOptions<'_>,
    label: &mut Option<[String; 4]>,
) -> Result<()> {
    let bad = || {
        value::bad(
            "--security-opt",
            text,
            "no-new-privileges, seccomp=FILE|unconfined, apparmor=PROFILE|unconfined, label=user|role|type|level:VALUE, \
             label=disable or systempaths=unconfined",
        )
    };
    let (name, value) = match text.find(['=', ':']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    match (name, value) {
        ("no-new-privileges", None | Some("true")) => options.no_new_privileges = true,
        ("no-new-privileges", Some("false")) => options.no_new_privileges = false,
        ("seccomp", Some("unconfined")) => options.seccomp = SeccompProfile::Unconfined,
        ("seccomp", Some("builtin")) => options.seccomp = SeccompProfile::Default,
        ("seccomp", Some(file)) if !file.is_empty() => {
            // It is read at each start, wherever that is from.
            options.seccomp = SeccompProfile::File(absolute(file).map_err(|_| bad())?);
        }
        ("apparmor", Some("unconfined")) => options.apparmor = None,
        ("apparmor", Some(profile)) if !profile.is_empty() => {
            options.apparmor = Some(profile.to_owned());
        }
        ("systempaths", Some("unconfined")) => options.open_system_paths = true,
        ("label", Some("disable")) => *label = None,
        ("label", Some(part)) => {
            let (part, value) = part.split_once(':').ok_or_else(bad)?;
            let parts = ["user", "role", "type", "level"];
            let place = parts.iter().position(|known| *known == part);
            let place = place.filter(|_| !value.is_empty()).ok_or_else(bad)?;
            label.get_or_insert_with(|| LABEL.map(str::to_owned))[place] = value.to_owned();
        }
        _ => return Err(bad()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(texts: &[&str]) -> Result<RunOptions<'static>> {
        let mut options = RunOptions::new("image");
        let security = Security {
            cap_add: Vec::new(),
            cap_drop: Vec::new(),
            privileged: false,
            security_opt: texts.iter().map(|text| (*text).to_owned()).collect(),
            sysctl: Vec::new(),
        };
        security.add_to(&mut options).map(|()| options)
    }

    #[test]
    fn options_are_written_as_with_docker() {
        let options = asked(&[
            "no-new-privileges",
            "seccomp:unconfined",
            "apparmor=mine",
            "label=type:spc_t",
            "label=level:s0:c1,c2",
            "systempaths=unconfined",
        ])
        .unwrap();
        assert!(options.no_new_privileges && options.open_system_paths);
        assert_eq!(options.seccomp, SeccompProfile::Unconfined);
        assert_eq!(options.apparmor.as_deref(), Some("mine"));
        assert_eq!(
            options.selinux.as_deref(),
            Some("system_u:system_r:spc_t:s0:c1,c2")
        );
        let options = asked(&["label=type:x", "label=disable", "seccomp=a=b.json"]).unwrap();
        assert_eq!(options.selinux, None);
        let file = absolute("a=b.json").unwrap();
        assert_eq!(options.seccomp, SeccompProfile::File(file));
    }

    #[test]
    fn what_is_no_option_is_refused() {
        for text in [
            "",
            "nonsense",
            "seccomp",
            "seccomp=",
            "apparmor=",
            "label=x:y",
            "label=type:",
            "no-new-privileges=maybe",
            "systempaths=all",
        ] {
            assert!(asked(&[text]).is_err(), "{text:?}");
        }
    }
}
