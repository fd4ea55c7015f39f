//! The command line: what a person types, and what is shown for it.

mod attach;
mod completion;
mod container;
mod create;
mod doctor;
mod events;
mod exec;
mod explain;
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
mod network;
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
mod stop;
mod system;
mod tag;
mod tidier;
mod tls;
mod version;
mod wait;

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::thread;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use self::explain::{Executable, Explain};
use self::request::Request;
use crate::advice;
use crate::engine::host::Host;
use crate::engine::{View, become_root};
use crate::page::{Ink, Page};
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
    /// Wait until containers end, and print their exit statuses
    Wait(wait::Wait),
    /// Remove containers
    Rm(rm::Rm),
    /// Give a container another name
    Rename(rename::Rename),
    /// List containers
    #[command(visible_alias = "list")]
    Ps(ps::Ps),
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
    /// Show how an image was made
    History(history::History),
    /// Look after images
    Image(image::Image),
    /// Look after all containers
    Container(container::Container),
    /// Look after the network of containers
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
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
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
        Command::Wait(command) => command.run(),
        Command::Rm(command) => command.run(),
        Command::Rename(command) => command.run(),
        Command::Ps(command) => command.run(),
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
        Command::History(command) => command.run(),
        Command::Image(command) => command.run(),
        Command::Container(command) => command.run(),
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

/// Prints the help that was asked for, or says in one line what is wrong with the command line.
fn misunderstood(error: &clap::Error) -> ExitCode {
    let text = error.render();
    let paragraphs: Vec<String> = text
        .to_string()
        .split("\n\n")
        .map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    let is_complaint = paragraphs
        .first()
        .is_some_and(|first| first.starts_with("error: "));
    if !is_complaint {
        let _ = error.print();
        return ExitCode::from(if error.use_stderr() { 125 } else { 0 });
    }
    let mut line = paragraphs[0].trim_start_matches("error: ").to_owned();
    for tip in paragraphs
        .iter()
        .filter_map(|part| part.strip_prefix("tip: "))
        .filter(|tip| tip.starts_with("a similar") || tip.starts_with("some similar"))
    {
        line.push_str("; ");
        line.push_str(tip.split(" tip: ").next().unwrap_or_default());
    }
    let _ = writeln!(io::stderr(), "rocker: {line} (see --help)");
    ExitCode::from(125)
}

/// Says what went wrong, and returns the exit status for it.
fn finish(outcome: Result<u8>, view: impl FnOnce() -> Option<View>) -> ExitCode {
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            complain(&error, view);
            ExitCode::from(error.exit_code())
        }
    }
}

/// Writes an error on stderr, and beneath it what is most likely behind it.
fn complain(error: &crate::Error, view: impl FnOnce() -> Option<View>) {
    let mut text = format!("rocker: {}\n", error.chain());
    let page = Page::of(&io::stderr());
    if let Some(culprit) = crate::explain::culprit(error) {
        page.labelled(&mut text, "        call:   ", &culprit, Ink::Dim);
    }
    if let Some(advice) = advice::of(error, &Host::this(), view) {
        page.labelled(&mut text, "        likely: ", &advice.cause, Ink::Dim);
        page.labelled(&mut text, "        try:    ", &advice.remedy, Ink::Dim);
    }
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Does something for each of several names; the first error decides the exit status, and all are shown.
fn each(names: &[String], mut work: impl FnMut(&str) -> Result<()>) -> u8 {
    let mut status = 0;
    for name in names {
        if let Err(error) = work(name) {
            crate::explain::blame(&error);
            complain(&error, || None);
            status = 1;
        }
    }
    status
}

/// The same for what takes its time, for all of them at once; their names are printed as they are done.
fn each_at_once(names: &[String], work: impl Fn(&str) -> Result<()> + Sync) -> u8 {
    let work = &work;
    let done = thread::scope(|scope| {
        let all: Vec<_> = names
            .iter()
            .map(|name| scope.spawn(move || work(name).map(|()| print(&format!("{name}\n")))))
            .collect();
        all.into_iter()
            .map(thread::ScopedJoinHandle::join)
            .collect::<Vec<_>>()
    });
    let mut done = done.into_iter();
    each(names, |_| match done.next() {
        Some(Ok(done)) => done,
        // What it had to say it has said.
        Some(Err(panic)) => std::panic::resume_unwind(panic),
        None => Ok(()),
    })
}

/// Does what is no run of a container: as with Docker, the exit status of a failure is 1 then.
fn plainly(work: impl FnOnce() -> Result<()>) -> Result<u8> {
    let outcome = work().inspect_err(|error| {
        crate::explain::blame(error);
        complain(error, || None);
    });
    Ok(u8::from(outcome.is_err()))
}

/// Asks the person in front of the terminal; nobody there is a no.
fn ask(question: &str) -> bool {
    let mut stderr = io::stderr().lock();
    let _ = write!(stderr, "{question}\nAre you sure? [y/N] ");
    let mut answer = String::new();
    let _ = io::stdin().read_line(&mut answer);
    matches!(answer.trim(), "y" | "Y" | "yes")
}

fn engine() -> Result<Engine> {
    crate::explain::install();
    become_root()?;
    open()
}

/// An engine over the directories of the environment, by a process that is root.
fn open() -> Result<Engine> {
    Ok(Engine::open(Roots::from_env())?.tidied_by(tidier::chosen()))
}

/// Writes to standard output; a reader that has gone is no error.
fn print(text: &str) {
    try_print(text);
}

/// The same; false when the reader has gone.
fn try_print(text: &str) -> bool {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes());
    written.and_then(|()| stdout.flush()).is_ok()
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
