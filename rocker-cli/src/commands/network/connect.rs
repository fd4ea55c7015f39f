//! `rocker network connect` and `rocker network disconnect`

use clap::Args;

use crate::commands::request::network::{aliases, mac_address};
use crate::commands::request::value;
use crate::commands::{engine, plainly};
use crate::{Error, NetworkEndpoint, Result};

/// Give a container a place on a network
///
/// At once if it runs, and each time it starts.
#[derive(Debug, Args)]
#[command(after_help = "Example: rocker network connect --alias db backend web")]
pub(crate) struct Connect {
    /// The address, of IPv4
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<String>,
    /// The address of IPv6
    #[arg(long, value_name = "ADDRESS")]
    ip6: Option<String>,
    /// The MAC address
    #[arg(long, value_name = "MAC")]
    mac_address: Option<String>,
    /// A further name by which others on the network find it
    #[arg(long, value_name = "NAME")]
    alias: Vec<String>,
    /// The network: its name, or the beginning of its ID
    network: String,
    /// The container: its name, or the beginning of its ID
    container: String,
}

/// Take away a container's place on a network
#[derive(Debug, Args)]
#[command(after_help = "Example: rocker network disconnect backend web")]
pub(crate) struct Disconnect {
    /// That there is no such container, or it is not on the network, is fine
    #[arg(short, long)]
    force: bool,
    /// The network: its name, or the beginning of its ID
    network: String,
    /// The container: its name, or the beginning of its ID
    container: String,
}

impl Connect {
    pub(crate) fn run(self) -> Result<u8> {
        plainly(|| {
            let mut place = NetworkEndpoint::new(&self.network);
            let parse = |text: &String| text.parse();
            let bad = |flag, text: &Option<String>, expected: &str| {
                value::bad(flag, text.as_deref().unwrap_or_default(), expected)
            };
            let address = self.ip.as_ref().map(parse).transpose();
            place.address = address.map_err(|_| bad("--ip", &self.ip, "an address of IPv4"))?;
            let address = self.ip6.as_ref().map(|text| text.parse()).transpose();
            place.address6 = address.map_err(|_| bad("--ip6", &self.ip6, "an address of IPv6"))?;
            let mac = self.mac_address.as_deref();
            place.mac = mac
                .map(|text| mac_address("--mac-address", text))
                .transpose()?;
            place.aliases = aliases("--alias", self.alias.iter().map(String::as_str))?;
            engine()?.connect_network(&self.container, &place)
        })
    }
}

impl Disconnect {
    pub(crate) fn run(self) -> Result<u8> {
        plainly(
            || match engine()?.disconnect_network(&self.container, &self.network) {
                Err(Error::NoContainer { .. } | Error::NotConnected { .. }) if self.force => Ok(()),
                done => done,
            },
        )
    }
}
