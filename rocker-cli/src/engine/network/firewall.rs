//! What rocker has in the host's packet filter: shown, and put back where somebody has taken it away.

use std::path::Path;

use rocker_net::RuleLine;

use crate::Result;
use crate::engine::container::record::State;
use crate::engine::container::teardown::GLANCE;
use crate::engine::options::Network;
use crate::engine::{Engine, container, disk};

/// The file of the run directory that says in which state of the packet filter, and of the settings that rules depend on, all was there that
/// is to be there.
const SEEN: &str = ".rules";

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

    /// Puts it back where somebody has flushed it, or where it is to be another since the host forwards by itself, or does so no more. As long
    /// as nobody has changed anything in the packet filter, or of these settings, since all was found there, that is one question to the
    /// kernel and three small files, however many networks and containers there are.
    pub(crate) fn restore_network(&self) {
        let path = self.roots().run().join(SEEN);
        let why = "so that it is known in which state of the packet filter all rules were there";
        let seen = disk::read(&path, why).ok();
        let mut now = seen.as_ref().and_then(|_| state_of_rules());
        if now.is_some() && seen == now {
            return;
        }
        let looked = self.networks_in_use().and_then(|networks| {
            if networks.is_empty() {
                return Ok(None);
            }
            // Before the look: what changes during it is another state, and looked at the next time.
            now = now.take().or_else(state_of_rules);
            let mut any = false;
            for network in networks {
                any |= network.restore()?;
            }
            Ok(Some(any))
        });
        match (looked, now) {
            (Ok(Some(false)), Some(now)) => {
                let why = "so that nobody looks again as long as that is the state";
                // Without it everybody looks.
                let _ = disk::write(&path, &now, why);
            }
            (Ok(Some(true)), _) => tracing::warn!(
                "rules of the network were missing from the packet filter, or were not those that belong there, and are there again"
            ),
            (Ok(None), _) if seen.is_some() => {
                let why = "so that the kernel is asked for rules only where there are some";
                let _ = disk::remove_file(&path, why);
            }
            (Ok(_), _) => {}
            (Err(error), _) => tracing::warn!("rules of the network: {}", error.chain()),
        }
    }

    /// The same at a glance, for those who start a container, by which the packet filter changes: where somebody has looked just now, nobody
    /// looks again.
    pub(crate) fn restore_network_at_a_glance(&self) {
        let why = "so that not every start of many looks at everybody's rules";
        let age = disk::age(&self.roots().run().join(SEEN), why);
        if age.is_none_or(|age| age >= GLANCE) {
            self.restore_network();
        }
    }

    /// The networks that somebody has a place on.
    fn networks_in_use(&self) -> Result<Vec<rocker_net::Network>> {
        let networks = self.roots().data().join("networks");
        let why = "so that nothing is looked for where no container ever was on a network";
        if !disk::exists(&networks, why) {
            return Ok(Vec::new());
        }
        let mut all = self.networks()?;
        let mut outcome = Ok(());
        all.retain(|network| match network.owners() {
            Ok(owners) => !owners.is_empty(),
            Err(error) => {
                outcome = Err(error.into());
                false
            }
        });
        outcome.map(|()| all)
    }
}

/// In which state all is that decides whether rules are right, in this network namespace, as text: the packet filter, and what rules depend on
/// elsewhere. None where that cannot be told.
fn state_of_rules() -> Option<Vec<u8>> {
    let state = rocker_net::rules_state().ok()??;
    let why = "so that the packet filter of another network namespace is not taken for this one's";
    let place = disk::read_link(Path::new("/proc/self/ns/net"), why).ok()?;
    Some(format!("{place} {state}\n").into_bytes())
}
