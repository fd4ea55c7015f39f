//! How a command talks to registries.

use clap::{ArgAction, Args};
use rocker_image::ClientOptions;

/// What the commands have in common that talk to one.
#[derive(Debug, Args)]
pub(crate) struct Tls {
    /// Whether the registry has to prove who it is; with =false it may also speak plain HTTP
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_value_t = true,
        default_missing_value = "true",
        action = ArgAction::Set
    )]
    tls_verify: bool,
}

impl Tls {
    /// The options of a client that knows what docker and podman know.
    pub(crate) fn client(&self) -> ClientOptions {
        ClientOptions::from_env().tls_verify(self.tls_verify)
    }
}
