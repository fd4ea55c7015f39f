//! Containers come to networks and leave them, running or not.

use std::os::fd::{AsFd, OwnedFd};

use rocker_net::{AttachOptions, HostNames, Network};
use rocker_ns::{Namespace, Process};

use super::connection::names_on;
use super::standing;
use crate::engine::Engine;
use crate::engine::container::record::{self, RECORD, Record, Running, State};
use crate::engine::options::{Network as Kind, NetworkEndpoint};
use crate::engine::spec::others;
use crate::{Error, Result};

impl Engine {
    /// Gives a container a place on a network; at once if it runs, and each time it starts.
    ///
    /// # Errors
    /// [`Error::NoNetwork`], [`Error::NoContainer`], [`Error::Connected`] if it has one, [`Error::NotConnectable`] where it has the network
    /// of somebody else, and whatever keeps it from being attached; then it has none.
    pub fn connect_network(&self, container: &str, place: &NetworkEndpoint) -> Result<()> {
        let (_making, mut record) = self.record_to_change(container)?;
        let network = self.network_to_change(&place.network, &record)?;
        let mut place = place.clone();
        place.network.clone_from(&network.options().name);
        let mut places = record.options.places();
        if places.iter().any(|other| other.network == place.network) {
            return Err(Error::Connected {
                container: record.name,
                network: place.network,
            });
        }
        if place.is_default() && (place.address.is_some() || !place.aliases.is_empty()) {
            return Err(Error::bad_value(
                "--ip, --alias",
                place.network,
                "a network that was made by rocker network create: on this one nobody has a fixed address, or a name",
            ));
        }
        places.push(place.clone());
        let before = record.clone();
        record.options.network = Kind::Bridge;
        record.options.endpoints = places;
        // What it has a place on comes first: whoever takes it down from here on takes it off that network too.
        self.write_record(&record)?;
        let Some((process, netns)) = self.netns_of(&record.id)? else {
            self.tell_of_network(&place.network, "connect", Some(&record.id));
            return Ok(());
        };
        let attached = self.attach_running(&record, &place, &network, &netns);
        if attached.is_err() || !process.is_alive() {
            // Also where it has just ended, and its supervisor may have looked already for what is to be taken down.
            let _ = network.detach(&record.id);
        }
        match attached {
            Ok(()) => self.tell_of_network(&place.network, "connect", Some(&record.id)),
            Err(_) => {
                self.write_record(&before)?;
                let places = before.options.places();
                let _ = self.lead_ports(&record.id, &places);
                let _ = self.tell_own(&before, &places);
            }
        }
        attached
    }

    fn attach_running(
        &self,
        record: &Record,
        place: &NetworkEndpoint,
        network: &Network,
        netns: &OwnedFd,
    ) -> Result<()> {
        let taken = rocker_net::interfaces(netns.as_fd())?;
        let mut names = (0_u32..).map(|number| format!("eth{number}"));
        let name = names.find(|name| !taken.contains(name));
        let mut attach = AttachOptions::new(name.unwrap_or_default()).default_route(false);
        attach.address = place.address;
        attach.address6 = place.address6;
        attach.mac = place.mac;
        // Where it was left when the container ended last time.
        network.release(&record.id)?;
        network.attach_with(&record.id, netns.as_fd(), &attach)?;
        network.default_route(&record.id, netns.as_fd())?;
        self.lead_ports(&record.id, &record.options.places())?;
        // Its own lines before the network's, so that its address is looked up to its host name.
        self.tell_own(record, &record.options.places())?;
        self.set_names(record, place, network)
    }

    /// Takes away a container's place on a network; at once if it runs.
    ///
    /// # Errors
    /// [`Error::NoNetwork`], [`Error::NoContainer`], [`Error::NotConnected`], [`Error::NotConnectable`], and whatever keeps it from being
    /// detached.
    pub fn disconnect_network(&self, container: &str, network: &str) -> Result<()> {
        let (_making, mut record) = self.record_to_change(container)?;
        let network = self.network_to_change(network, &record)?;
        let name = &network.options().name;
        let mut places = record.options.places();
        let all = places.len();
        places.retain(|place| place.network != *name);
        if places.len() == all {
            return Err(Error::NotConnected {
                container: record.name,
                network: name.clone(),
            });
        }
        if places.is_empty() {
            record.options.network = Kind::None;
        }
        record.options.endpoints.clone_from(&places);
        let running = self.netns_of(&record.id)?;
        // What it has no place on any more is not taken down with it: so that comes first.
        network.detach(&record.id)?;
        self.write_record(&record)?;
        self.tell_of_network(name, "disconnect", Some(&record.id));
        let Some((_, netns)) = running else {
            return Ok(());
        };
        standing::warn(&record, self.tell_own(&record, &places));
        // If that was its way out, the next one is.
        for place in &places {
            let other = self.network(&place.network)?;
            match other.default_route(&record.id, netns.as_fd()) {
                // It has just ended.
                Err(rocker_net::Error::NotAttached { .. }) => {}
                outcome => outcome?,
            }
        }
        self.lead_ports(&record.id, &places)
    }

    /// The record of a container, while nobody else writes it.
    fn record_to_change(&self, container: &str) -> Result<(std::fs::File, Record)> {
        let found = self.container(container)?;
        let making = self.making()?;
        let record = self.record(&found.id)?.ok_or_else(|| Error::NoContainer {
            name: container.to_owned(),
        })?;
        Ok((making, record))
    }

    fn write_record(&self, record: &Record) -> Result<()> {
        let dir = self.roots().containers().join(&record.id);
        record::write(&dir.join(RECORD), record)
    }

    /// A network that the container of this record may come to or leave.
    fn network_to_change(&self, network: &str, record: &Record) -> Result<Network> {
        let name = self.network_name(network)?;
        let its = &record.options.network;
        let is_fine = matches!(its, Kind::Bridge | Kind::Default | Kind::None);
        match self.find_network(&name)? {
            Some(network) if is_fine => Ok(network),
            _ => Err(Error::NotConnectable {
                container: record.name.clone(),
                its: its.to_string(),
                network: name,
            }),
        }
    }

    /// The network namespace of a container that runs.
    fn netns_of(&self, id: &str) -> Result<Option<(Process, OwnedFd)>> {
        let Some(State::Running(Running {
            pid, start_time, ..
        })) = self.state(id)?
        else {
            return Ok(None);
        };
        let Some(process) = Process::open(pid, start_time)? else {
            return Ok(None);
        };
        match others::of(&process, Namespace::Net) {
            Ok(netns) => Ok(Some((process, netns))),
            Err(_) if !process.is_alive() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Calls a container by the name that its record has now, on each network where it is there to be called.
    pub(crate) fn name_anew(&self, record: &Record) -> Result<()> {
        for place in record.options.places() {
            if !place.is_default()
                && let Some(network) = self.find_network(&place.network)?
                && network.attachment(&record.id)?.is_some()
            {
                self.set_names(record, &place, &network)?;
            }
        }
        Ok(())
    }

    fn set_names(&self, record: &Record, place: &NetworkEndpoint, network: &Network) -> Result<()> {
        if place.is_default() {
            return Ok(());
        }
        let file = self.roots().containers().join(&record.id).join("hosts");
        let names = HostNames::new(names_on(record, place), file);
        Ok(network.set_names(&record.id, &names)?)
    }
}
