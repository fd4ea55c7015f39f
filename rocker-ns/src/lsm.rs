//! Linux security modules: where a process names what it is to be confined by.

use std::fs;

use crate::{Error, Result};

/// Where AppArmor lets a process name the profile of the program that it executes next.
///
/// # Errors
/// [`Error::Unsupported`] on a machine without AppArmor.
pub(crate) fn apparmor_file() -> Result<&'static str> {
    let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    if enabled.is_ok_and(|enabled| enabled.starts_with('Y')) {
        // Before Linux 5.8 the modules had one file between them.
        let own = "/proc/thread-self/attr/apparmor/exec";
        let shared = "/proc/thread-self/attr/exec";
        return Ok(if fs::exists(own).unwrap_or(false) {
            own
        } else {
            shared
        });
    }
    Err(Error::Unsupported {
        what: "AppArmor profiles".to_owned(),
        needs: "CONFIG_SECURITY_APPARMOR, and apparmor=1 on the kernel's command line",
    })
}

/// Where the kernel tells the profile or label of a process, in `/proc/PID`.
pub(crate) fn label_file() -> &'static str {
    let own = "attr/apparmor/current";
    let is_there = fs::exists(format!("/proc/self/{own}")).unwrap_or(false);
    if is_there && apparmor_file().is_ok() {
        own
    } else {
        "attr/current"
    }
}

/// Where SELinux lets a process name the label of the program that it executes next.
///
/// # Errors
/// [`Error::Unsupported`] on a machine without SELinux.
pub(crate) fn selinux_file() -> Result<&'static str> {
    if fs::exists("/sys/fs/selinux/enforce").unwrap_or(false) {
        return Ok("/proc/thread-self/attr/exec");
    }
    Err(Error::Unsupported {
        what: "SELinux labels".to_owned(),
        needs: "CONFIG_SECURITY_SELINUX, and a policy that is loaded",
    })
}
