//! The command line: what a person types, and what is shown for it.

mod attach;
mod commit;
mod completion;
mod container;
mod cp;
mod create;
mod diff;
mod doctor;
mod events;
mod exec;
mod explain;
mod export;
mod filter;
mod front;
mod glob;
mod hello;
mod history;
mod image;
mod images;
mod import;
mod info;
mod inspect;
mod kill;
mod listing;
mod load;
mod login;
mod logout;
mod logs;
mod mount;
mod network;
mod outcome;
mod pause;
mod plan;
mod port;
mod progress;
mod ps;
mod pull;
mod push;
mod rename;
mod request;
mod restart;
mod rm;
mod rmi;
mod run;
mod save;
mod start;
mod stats;
mod stop;
mod system;
mod tag;
mod terminal;
mod tidier;
mod tls;
mod top;
mod umount;
mod unpause;
mod update;
mod version;
mod volume;
mod wait;

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use self::explain::{Executable, Explain};
use self::outcome::{each, each_at_once, finish, misunderstood, plainly};
use self::request::Request;
use self::terminal::{ask, print, try_print};
use crate::engine::{View, become_root};
use crate::{Engine, Result, Roots};

/// Run containers: a small, fast, daemonless Docker in Rust.
#[derive(Debug, Parser)]
#[command(
    name = "rocker",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
#[command(
    after_help = "Example: rocker run --rm hello    shows what a container is, with no registry and no network"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a command in a new container
    Run(Box<run::Run>),
    /// Run a command in a running container
    Exec(exec::Exec),
    /// Connect to the command of a running container
    Attach(attach::Attach),
    /// Make a container, to be started later
    Create(Box<create::Create>),
    /// Start containers that were made, or have ended
    Start(start::Start),
    /// Ask containers to end, and kill those that do not
    Stop(stop::Stop),
    /// Stop containers and start them again
    Restart(restart::Restart),
    /// Send a signal to the commands of containers
    Kill(kill::Kill),
    /// Have all processes of containers stand still
    Pause(pause::Pause),
    /// Let the processes of paused containers go on
    Unpause(unpause::Unpause),
    /// Change what containers may use, also while they run
    Update(Box<update::Update>),
    /// Wait until containers end, and print their exit statuses
    Wait(wait::Wait),
    /// Remove containers
    Rm(rm::Rm),
    /// Give a container another name
    Rename(rename::Rename),
    /// List containers
    #[command(visible_alias = "list")]
    Ps(ps::Ps),
    /// Show what containers use, again each second
    Stats(stats::Stats),
    /// Show the processes of a container
    Top(top::Top),
    /// Show what the command of a container has written
    Logs(logs::Logs),
    /// Look at what containers and images are
    Inspect(inspect::Inspect),
    /// List the ports of the host that lead into a container
    Port(port::Port),
    /// Show what happens to containers and images
    Events(events::Events),
    /// Pull an image from a registry
    Pull(pull::Pull),
    /// Log in to a registry
    Login(login::Login),
    /// Forget what is saved for a registry
    Logout(logout::Logout),
    /// Push an image to a registry
    Push(push::Push),
    /// List images
    Images(images::Images),
    /// Remove images
    Rmi(rmi::Rmi),
    /// Give an image another name
    Tag(tag::Tag),
    /// Write images into an archive
    Save(save::Save),
    /// Load images from an archive
    Load(load::Load),
    /// Make an image of the files of a root directory
    Import(import::Import),
    /// Copy files between a container and the host
    Cp(cp::Cp),
    /// Show what a container has changed of its image
    Diff(diff::Diff),
    /// Make an image of a container
    Commit(commit::Commit),
    /// Write all files of a container into an archive
    Export(export::Export),
    /// Mount containers and images, to look at their files
    Mount(mount::Mount),
    /// Undo that
    #[command(visible_alias = "unmount")]
    Umount(umount::Umount),
    /// Show how an image was made
    History(history::History),
    /// Look after images
    Image(image::Image),
    /// Look after all containers
    Container(container::Container),
    /// Look after volumes
    Volume(volume::Volume),
    /// Look after networks
    Network(network::Network),
    /// Look after all of rocker
    System(system::System),
    /// Show what run would have a container's process do, without doing it
    Plan(Box<plan::Plan>),
    /// Check whether this machine can run containers
    Doctor(doctor::Doctor),
    /// Show what there is, and what it works with
    Info(info::Info),
    /// Show which rocker this is
    Version(version::Version),
    /// Print what makes a shell complete commands and names
    Completion(completion::Completion),
    /// Write manual pages, one for each command
    Man(completion::Man),
}

/// Runs the command line `args` and returns what the process exits with.
pub fn main(args: impl IntoIterator<Item = OsString>) -> u8 {
    let args: Vec<OsString> = args.into_iter().collect();
    let name = args
        .first()
        .and_then(|program| Path::new(program).file_name());
    match name.and_then(OsStr::to_str) {
        Some("hello") => return finish(hello::show(), || None),
        Some(tidier::NAME) => return finish(tidier::tidy(), || None),
        _ => {}
    }
    if let Some(answer) = completion::answer(&args) {
        return answer;
    }
    let (command, matches) = match parse(args) {
        Ok(parsed) => parsed,
        Err(error) => {
            return misunderstood(&error);
        }
    };
    let outcome = match command {
        Command::Run(command) => command.run(),
        Command::Exec(command) => command.run(),
        Command::Attach(command) => command.run(),
        Command::Create(command) => command.run(),
        Command::Start(command) => command.run(),
        Command::Stop(command) => command.run(),
        Command::Restart(command) => command.run(),
        Command::Kill(command) => command.run(),
        Command::Pause(command) => command.run(),
        Command::Unpause(command) => command.run(),
        Command::Update(command) => command.run(),
        Command::Wait(command) => command.run(),
        Command::Rm(command) => command.run(),
        Command::Rename(command) => command.run(),
        Command::Ps(command) => command.run(),
        Command::Stats(command) => command.run(),
        Command::Top(command) => command.run(),
        Command::Logs(command) => command.run(),
        Command::Inspect(command) => command.run(),
        Command::Port(command) => command.run(),
        Command::Events(command) => command.run(),
        Command::Pull(command) => command.run(),
        Command::Login(command) => command.run(),
        Command::Logout(command) => command.run(),
        Command::Push(command) => command.run(),
        Command::Images(command) => command.run(),
        Command::Rmi(command) => command.run(),
        Command::Tag(command) => command.run(),
        Command::Save(command) => command.run(),
        Command::Load(command) => command.run(),
        Command::Import(command) => command.run(),
        Command::Cp(command) => command.run(),
        Command::Diff(command) => command.run(),
        Command::Commit(command) => command.run(),
        Command::Export(command) => command.run(),
        Command::Mount(command) => command.run(),
        Command::Umount(command) => command.run(),
        Command::History(command) => command.run(),
        Command::Image(command) => command.run(),
        Command::Container(command) => command.run(),
        Command::Volume(command) => command.run(),
        Command::Network(command) => command.run(),
        Command::System(command) => command.run(),
        Command::Plan(command) => command.run(),
        Command::Doctor(command) => command.run(),
        Command::Info(command) => command.run(),
        Command::Version(command) => command.run(),
        Command::Completion(command) => command.run(),
        Command::Man(command) => command.run(),
    };
    finish(outcome, || view(&matches))
}

fn parse(args: Vec<OsString>) -> clap::error::Result<(Command, ArgMatches)> {
    match args.get(1).and_then(|word| word.to_str()) {
        Some("run") => alone("run", args, |run| Command::Run(Box::new(run))),
        Some("exec") => alone("exec", args, Command::Exec),
        _ => {
            let matches = Cli::command().try_get_matches_from(args)?;
            Ok((Cli::from_arg_matches(&matches)?.command, matches))
        }
    }
}

/// Parses the command line of one of the two commands that are to start fast: to describe all the others takes a while.
fn alone<Args: clap::Args>(
    name: &'static str,
    args: Vec<OsString>,
    command: impl FnOnce(Args) -> Command,
) -> clap::error::Result<(Command, ArgMatches)> {
    let rocker = clap::Command::new("rocker")
        .max_term_width(100)
        .subcommand(Args::augment_args(clap::Command::new(name)));
    let matches = rocker.try_get_matches_from(args)?;
    let own = matches
        .subcommand_matches(name)
        .cloned()
        .unwrap_or_default();
    Ok((command(Args::from_arg_matches(&own)?), matches))
}

/// What the program of a command line that failed would have seen.
fn view(matches: &ArgMatches) -> Option<View> {
    let engine = Engine::look(Roots::from_env());
    match matches.subcommand()? {
        ("run", run) => {
            let options = Request::from_arg_matches(run).ok()?.options().ok()?;
            View::of_image(&engine, &options)
        }
        ("exec", exec) => View::of_container(&engine, exec.get_one::<String>("container")?),
        _ => None,
    }
}

fn engine() -> Result<Engine> {
    crate::explain::install();
    become_root()?;
    open()
}

/// The variable that says how large an image may be.
pub(crate) const MAX_IMAGE: &str = "ROCKER_MAX_IMAGE";

/// An engine over the directories of the environment, by a process that is root.
fn open() -> Result<Engine> {
    let engine = Engine::open(Roots::from_env())?.tidied_by(tidier::chosen());
    match std::env::var(MAX_IMAGE) {
        Ok(size) => Ok(engine.max_image_bytes(request::value::bytes(MAX_IMAGE, &size)?)),
        Err(_) => Ok(engine),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each command that does something, with those beneath it.
    fn all(command: &clap::Command) -> Vec<&clap::Command> {
        let beneath: Vec<_> = command.get_subcommands().flat_map(all).collect();
        match beneath.is_empty() {
            true => vec![command],
            false => beneath,
        }
    }

    #[test]
    fn every_command_shows_an_example() {
        Cli::command().debug_assert();
        for command in all(&Cli::command()) {
            let help = command.get_after_help().map(ToString::to_string);
            assert!(
                help.is_some_and(|help| help.contains("Example: ")),
                "{}",
                command.get_name()
            );
        }
    }

    #[test]
    fn flags_of_run_are_grouped() {
        let command = Cli::command();
        let run = command.find_subcommand("run").unwrap();
        for flag in run.get_arguments() {
            assert!(flag.get_help_heading().is_some(), "{}", flag.get_id());
        }
    }
}
