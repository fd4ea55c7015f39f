//! A container's place on a network.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// The name of the network that there is without anybody making it.
pub(crate) const DEFAULT_NETWORK: &str = "bridge";

/// A network that a container is on, and as whom.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct NetworkEndpoint {
    /// The network's name.
    pub network: String,
    /// Names by which others on the network find it, beside its own.
    pub aliases: Vec<String>,
    /// Its address of IPv4; whichever is free without.
    pub address: Option<Ipv4Addr>,
    /// Its address of IPv6; whichever is free without.
    pub address6: Option<Ipv6Addr>,
    /// The MAC address of its interface; one that follows its address without.
    pub mac: Option<[u8; 6]>,
}

impl NetworkEndpoint {
    /// A place on the network of this name, with whatever is free.
    #[must_use]
    pub fn new(network: impl Into<String>) -> Self {
        Self {
            network: network.into(),
            ..Self::default()
        }
    }

    /// Whether it is on the network that nobody has made, where nobody is found by a name.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.network == DEFAULT_NETWORK
    }
}
