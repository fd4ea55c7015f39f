//! The executable of this process, as a container could get at it.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStringExt;

use nix::sys::prctl;

use crate::trace::traced;
use crate::{Error, Result, sys};

/// Starts the calling program over, out of a mount of its own executable that is read-only, unless it runs out of such a
/// mount already. To be called first thing in `main`, before there are threads, open files or output.
///
/// A hostile container can have this program executed inside of itself: as the command `/proc/self/exe`, or as the
/// interpreter of a script that [`Command::enter`](crate::Command::enter) is to run. It could then open the executable
/// through `/proc/PID/exe`, and write to it on the host (CVE-2019-5736). Out of the read-only mount the kernel answers
/// `EROFS`. The mount is visible nowhere and goes with the process.
///
/// Arguments and environment stay as they are. With the call comes one `execveat(2)`, which takes about as long as
/// any start of the program.
///
/// # Errors
/// [`Error::Call`] without CAP_SYS_ADMIN, or on a kernel without `mount_setattr(2)` (Linux 5.12).
#[doc(alias = "execveat")]
pub fn protect_executable() -> Result<()> {
    if executable_is_protected()? {
        // Started over, it would be known by the number of a descriptor.
        if let Some(name) = std::env::args_os().next().map(std::path::PathBuf::from)
            && let Some(Ok(name)) = name
                .file_name()
                .map(|name| CString::new(name.as_encoded_bytes()))
        {
            let why = "so that ps(1) shows this program by its name";
            let _ = traced(
                "prctl",
                why,
                || format!("PR_SET_NAME, {name:?}"),
                || Ok(prctl::set_name(&name)?),
            );
        }
        return Ok(());
    }
    Err(start_over([]))
}

/// Starts the calling program over as [`protect_executable`] does, with further variables in its environment, and also where it is
/// protected already. Returns only when that fails, and why.
pub fn start_over<'a>(further: impl IntoIterator<Item = (&'a str, &'a OsStr)>) -> Error {
    let string = |bytes: Vec<u8>| CString::new(bytes).map_err(|source| Error::Nul { source });
    let args = std::env::args_os().map(|arg| string(arg.into_vec()));
    let mut environment: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
    for (name, value) in further {
        environment.insert(name.into(), value.into());
    }
    let variables = environment.into_iter().map(|(name, value)| {
        let mut variable = name.into_vec();
        variable.push(b'=');
        variable.extend(value.into_vec());
        string(variable)
    });
    match (
        args.collect::<Result<Vec<_>>>(),
        variables.collect::<Result<Vec<_>>>(),
    ) {
        (Ok(args), Ok(variables)) => {
            failed("execveat(own executable, read-only)")(sys::execute_read_only(&args, &variables))
        }
        (Err(error), _) | (_, Err(error)) => error,
    }
}

/// Whether this process runs out of a mount of its executable that is read-only, see [`protect_executable`].
///
/// # Errors
/// [`Error::Call`] when /proc is not mounted.
pub fn executable_is_protected() -> Result<bool> {
    sys::own_executable_is_read_only().map_err(failed("open(\"/proc/self/exe\")"))
}

fn failed(call: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::Call {
        call: call.to_owned(),
        why: "so that no container can write to the program on the host",
        source,
    }
}
