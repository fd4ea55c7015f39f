//! Those who come from internal networks: what no rule of the packet filter passes on for them, the relay does not either.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::{Network, NetworkSubnet, file};

use super::FRESH;

/// The internal networks of a state directory.
pub(super) struct Internal {
    state_dir: PathBuf,
    /// What they were, and since when that is known.
    known: Option<(Instant, Vec<Place>)>,
}

struct Place {
    /// The index of the bridge, if it is on the host.
    bridge: Option<u32>,
    subnets: Vec<NetworkSubnet>,
}

impl Internal {
    pub(super) fn of(state_dir: PathBuf) -> Self {
        Self {
            state_dir,
            known: None,
        }
    }

    /// Whether `peer` is on one of them. Where that cannot be found out, it is taken to be.
    pub(super) fn has(&mut self, peer: SocketAddr) -> bool {
        if peer.ip().is_loopback() {
            return false;
        }
        let known = self
            .known
            .take()
            .filter(|(since, _)| since.elapsed() < FRESH);
        let known = match known {
            Some(known) => known,
            None => match places(&self.state_dir) {
                Ok(places) => (Instant::now(), places),
                Err(error) => {
                    tracing::warn!(%error, "it is not known who is on an internal network: somebody who came to a published port is refused");
                    return true;
                }
            },
        };
        let (_, places) = self.known.insert(known);
        places.iter().any(|place| place.has(peer))
    }
}

impl Place {
    fn has(&self, peer: SocketAddr) -> bool {
        match peer {
            // Such an address says nothing of the network, but where it came in by.
            SocketAddr::V6(six) if six.ip().is_unicast_link_local() => {
                self.bridge == Some(six.scope_id())
            }
            _ => {
                let peer = plain(peer);
                // The gateway is the host itself.
                let mut subnets = self.subnets.iter();
                subnets.any(|one| one.subnet.contains(peer) && one.gateway != peer)
            }
        }
    }
}

/// The address, of IPv4 also where a socket of IPv6 shows it.
fn plain(peer: SocketAddr) -> IpAddr {
    peer.ip().to_canonical()
}

fn places(state_dir: &Path) -> crate::Result<Vec<Place>> {
    let mut places = Vec::new();
    for network in Network::list(state_dir)? {
        let options = network.options();
        if !options.internal {
            continue;
        }
        let index = format!("/sys/class/net/{}/ifindex", options.bridge);
        let why =
            "so that somebody from an internal network is known by the bridge that he comes by";
        let index = file::read_text(Path::new(&index), why).ok();
        places.push(Place {
            bridge: index.and_then(|text| text.trim().parse().ok()),
            subnets: network.subnets()?,
        });
    }
    Ok(places)
}
