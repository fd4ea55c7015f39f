//! The process that takes back, a little later, what ended containers leave on the network: rocker once more, by itself.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::engine::Tidier;
use crate::{Engine, Result, Roots};

/// The name by which the program is started for it.
pub(super) const NAME: &str = "rocker-tidier";

/// The variable that says how long the network stays after its last container: `0` for not at all.
const LINGER: &str = "ROCKER_LINGER";

/// Who takes it back: somebody else, unless the user wants it done at once.
pub(super) fn chosen() -> Option<Tidier> {
    match std::env::var(LINGER).as_deref() {
        Ok("0") => None,
        _ => Some(start),
    }
}

fn start(file: File) -> io::Result<()> {
    Command::new("/proc/self/exe")
        .arg0(NAME)
        .stdin(file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Ctrl-C is not meant for it.
        .process_group(0)
        .spawn()
        .map(drop)
}

/// Does that, as the process that was started for it.
pub(super) fn tidy() -> Result<u8> {
    let file = io::stdin().as_fd().try_clone_to_owned();
    let file = file.map_err(|source| crate::Error::State {
        operation: "use",
        path: "standard input".into(),
        source,
    })?;
    Engine::look(Roots::from_env()).tidy_later(&File::from(file))?;
    Ok(0)
}
