//! `rocker port`

use clap::Args;

use super::{engine, print};
use crate::{ContainerSummary, Error, Result};

/// List the ports of the host that lead into a container
#[derive(Debug, Args)]
#[command(after_help = "Example: rocker port web 80")]
pub(crate) struct Port {
    /// The container: its name, or the beginning of its ID
    container: String,
    /// Only where this port of the container's is found
    #[arg(value_name = "PORT[/PROTOCOL]")]
    port: Option<String>,
}

impl Port {
    pub(crate) fn run(self) -> Result<u8> {
        let found = engine()?.container(&self.container)?;
        let ports = match found.status.is_up() {
            true => ports(&found),
            false => Vec::new(),
        };
        let Some(wanted) = &self.port else {
            let lines = ports
                .iter()
                .map(|(inside, host)| format!("{inside} -> {host}\n"));
            print(&lines.collect::<String>());
            return Ok(0);
        };
        let whole = match wanted.contains('/') {
            true => wanted.clone(),
            false => format!("{wanted}/tcp"),
        };
        let lines: String = ports
            .iter()
            .filter(|(inside, _)| *inside == whole)
            .map(|(_, host)| format!("{host}\n"))
            .collect();
        if lines.is_empty() {
            return Err(Error::bad_value(
                "PORT",
                wanted,
                format!("a port that is published by {}", found.name),
            ));
        }
        print(&lines);
        Ok(0)
    }
}

/// Each published port of a container, `80/tcp`, and where it is found on the host.
pub(super) fn ports(container: &ContainerSummary) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for forward in &container.ports {
        let address = match forward.host_address {
            Some(std::net::IpAddr::V6(address)) => format!("[{address}]"),
            Some(address) => address.to_string(),
            None => "0.0.0.0".to_owned(),
        };
        for (host, inside) in forward.pairs().into_iter().flatten() {
            all.push((
                format!("{inside}/{}", forward.transport),
                format!("{address}:{host}"),
            ));
        }
    }
    all
}
