//! The `rocker` command.

use std::process::ExitCode;

mod arena;
#[cfg(own_entry)]
mod entry;

#[global_allocator]
static ARENA: arena::Arena = arena::Arena::new();

fn main() -> ExitCode {
    rocker_cli::main(std::env::args_os())
}
