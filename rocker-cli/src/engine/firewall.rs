//! What rocker has in the host's packet filter: shown, and put back where somebody has taken it away.

use rocker_net::RuleLine;

use super::options::Network;
use super::record::State;
use super::{Engine, container, disk};
use crate::Result;

impl Engine {
    /// All that networks have in the packet filter, or should have, and why; nothing while no container runs on them.
    ///
    /// # Errors
    /// [`Error::Net`](crate::Error::Net).
    pub fn network_rules(&self) -> Result<Vec<RuleLine>> {
        self.reconcile_leaving_rules()?;
        let mut all = Vec::new();
        for network in self.networks()? {
            all.extend(network.rules()?);
        }
        Ok(all)
    }

    /// Puts all of it there once more. Whether there was anything to be done: there is nothing while no container runs on it, and for an
    /// ordinary user there never is, whose containers have no rules.
    ///
    /// # Errors
    /// [`Error::Net`](crate::Error::Net).
    pub fn reload_network(&self) -> Result<bool> {
        self.reconcile_leaving_rules()?;
        if !self.makes_networks()? {
            return Ok(false);
        }
        let mut any = false;
        for network in self.networks()? {
            any |= network.reload()?;
        }
        // Where somebody was killed who had a container come to a network, or leave one, its ports still lead where they did, and its files say
        // what they said.
        let _making = self.making()?;
        for id in container::ids(&self.roots().running())? {
            if let (Some(State::Running(_)), Some(record)) = (self.state(&id)?, self.record(&id)?) {
                let places = record.options.places();
                self.lead_ports(&id, &places)?;
                if matches!(record.options.network, Network::Bridge | Network::None) {
                    self.tell_all(&record, &places);
                }
            }
        }
        Ok(any)
    }

    /// Puts it back where somebody has flushed it.
    pub(super) fn restore_network(&self) {
        let networks = self.roots().data().join("networks");
        let why = "so that nothing is looked for where no container ever was on a network";
        if !disk::exists(&networks, why) {
            return;
        }
        let restored = self.networks().and_then(|networks| {
            let mut any = false;
            for network in networks {
                any |= network.restore()?;
            }
            Ok(any)
        });
        match restored {
            Ok(false) => {}
            Ok(true) => tracing::warn!(
                "rules of the network were missing from the packet filter, and are there again"
            ),
            Err(error) => tracing::warn!("rules of the network: {}", error.chain()),
        }
    }
}
