//! The `rocker` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    rocker_cli::main(std::env::args_os())
}
