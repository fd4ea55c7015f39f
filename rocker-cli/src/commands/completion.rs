//! `rocker completion` and `rocker man`: what shells and man(1) know of rocker.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, Command, CommandFactory, ValueEnum};
use clap_complete::env::{CompleteEnv, Shells};
use clap_complete::{ArgValueCandidates, CompletionCandidate};

use super::{Cli, print};
use crate::{Engine, Error, Result, Roots};

/// The variable by which a shell asks for what could come next.
const VARIABLE: &str = "COMPLETE";

/// The name of the program.
const NAME: &str = "rocker";

/// Print what makes a shell complete commands, flags, and the names of containers, networks and images
#[derive(Debug, Args)]
#[command(
    after_help = "Example: rocker completion bash > /etc/bash_completion.d/rocker\n\
                  Example: rocker completion zsh > \"${fpath[1]}/_rocker\"\n\
                  Example: rocker completion fish > ~/.config/fish/completions/rocker.fish"
)]
pub(crate) struct Completion {
    /// The shell
    shell: Shell,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Completion {
    pub(crate) fn run(self) -> Result<u8> {
        let (name, shells) = (
            match self.shell {
                Shell::Bash => "bash",
                Shell::Zsh => "zsh",
                Shell::Fish => "fish",
            },
            Shells::builtins(),
        );
        let mut script = Vec::new();
        if let Some(shell) = shells.completer(name) {
            // A vector takes all that is written to it.
            let _ = shell.write_registration(VARIABLE, NAME, NAME, NAME, &mut script);
        }
        print(&String::from_utf8_lossy(&script));
        Ok(0)
    }
}

/// Write manual pages, one for each command
#[derive(Debug, Args)]
#[command(after_help = "Example: rocker man /usr/local/share/man/man1")]
pub(crate) struct Man {
    /// Where to; made if it is not there
    directory: PathBuf,
}

impl Man {
    pub(crate) fn run(self) -> Result<u8> {
        let directory = &self.directory;
        let failed = |source| Error::State {
            operation: "write manual pages in",
            path: directory.clone(),
            source,
        };
        std::fs::create_dir_all(directory).map_err(failed)?;
        clap_mangen::generate_to(Cli::command(), directory).map_err(failed)?;
        Ok(0)
    }
}

/// Answers a shell that asks for what could come next; none if no shell does.
pub(super) fn answer(args: &[OsString]) -> Option<u8> {
    std::env::var_os(VARIABLE)?;
    let here = std::env::current_dir().ok();
    let asked = CompleteEnv::with_factory(|| with_names(Cli::command()))
        .var(VARIABLE)
        .try_complete(args.iter().cloned(), here.as_deref());
    match asked {
        Ok(true) => Some(0),
        Ok(false) => None,
        Err(error) => {
            let _ = error.print();
            Some(1)
        }
    }
}

/// The commands, with what is known of the names that they take.
fn with_names(command: Command) -> Command {
    command.mut_subcommands(|command| {
        let command = command.mut_args(|arg| match arg.get_id().as_str() {
            "container" | "containers" => arg.add(ArgValueCandidates::new(containers)),
            "network" | "networks" => arg.add(ArgValueCandidates::new(networks)),
            "image" | "images" => arg.add(ArgValueCandidates::new(images)),
            "volumes" => arg.add(ArgValueCandidates::new(volumes)),
            "names" => arg.add(ArgValueCandidates::new(|| {
                let all = containers().into_iter().chain(images()).chain(volumes());
                all.collect::<Vec<_>>()
            })),
            _ => arg,
        });
        with_names(command)
    })
}

/// The names of containers. Nothing is made or cleaned up by asking, and where one may not look there are none.
fn containers() -> Vec<CompletionCandidate> {
    let names = Engine::look(Roots::from_env()).names_taken();
    names.into_iter().map(CompletionCandidate::new).collect()
}

/// The names of volumes.
fn volumes() -> Vec<CompletionCandidate> {
    let names = Engine::look(Roots::from_env()).volume_names();
    names.into_iter().map(CompletionCandidate::new).collect()
}

/// The names of networks, likewise.
fn networks() -> Vec<CompletionCandidate> {
    let names = Engine::look(Roots::from_env()).network_names();
    names.into_iter().map(CompletionCandidate::new).collect()
}

fn images() -> Vec<CompletionCandidate> {
    let roots = Roots::from_env();
    let is_there = |root: &Path| root.join("images/oci-layout").exists();
    if !is_there(roots.data()) {
        return Vec::new();
    }
    let images = Engine::look(roots).images().unwrap_or_default();
    let names = images.iter().flat_map(|image| image.references());
    names
        .map(|name| CompletionCandidate::new(name.familiar()))
        .collect()
}
