//! `rocker image`

mod prune;
mod verify;

pub(super) use self::prune::Titled;

use clap::{Args, Subcommand};

use super::{history, images, import, inspect, load, pull, push, rmi, save, tag};
use crate::Result;

/// Look after images
#[derive(Debug, Args)]
pub(crate) struct Image {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List images
    #[command(visible_alias = "list")]
    Ls(images::Images),
    /// Remove images
    #[command(visible_alias = "remove")]
    Rm(rmi::Rmi),
    /// Give an image another name
    Tag(tag::Tag),
    /// Pull an image from a registry
    Pull(pull::Pull),
    /// Push an image to a registry
    Push(push::Push),
    /// Write images into an archive
    Save(save::Save),
    /// Load images from an archive
    Load(load::Load),
    /// Make an image of the files of a root directory
    Import(import::Import),
    /// Show how an image was made
    History(history::History),
    /// Show all that is known of images
    Inspect(inspect::Inspect),
    /// Check whether images are what their names say
    Verify(verify::Verify),
    /// Remove images that no container is made of
    Prune(prune::Prune),
}

impl Image {
    pub(crate) fn run(self) -> Result<u8> {
        match self.command {
            Command::Ls(command) => command.run(),
            Command::Rm(command) => command.run(),
            Command::Tag(command) => command.run(),
            Command::Pull(command) => command.run(),
            Command::Push(command) => command.run(),
            Command::Save(command) => command.run(),
            Command::Load(command) => command.run(),
            Command::Import(command) => command.run(),
            Command::History(command) => command.run(),
            Command::Inspect(command) => command.of_images().run(),
            Command::Verify(command) => command.run(),
            Command::Prune(command) => command.run(),
        }
    }
}
