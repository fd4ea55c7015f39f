//! The `rocker` command.
#![cfg_attr(all(own_entry, not(test)), no_main)]

mod arena;
#[cfg(own_entry)]
mod entry;

#[global_allocator]
static ARENA: arena::Arena = arena::Arena::new();

#[cfg(not(all(own_entry, not(test))))]
fn main() -> std::process::ExitCode {
    rocker_cli::main(std::env::args_os()).into()
}
