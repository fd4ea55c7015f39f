//! Where a container stands on its networks, and what its files say of that while it runs.

use std::net::IpAddr;

use rocker_net::{Attachment, Network};

use crate::Result;
use crate::engine::Engine;
use crate::engine::container::record::Record;
use crate::engine::options::NetworkEndpoint;
use crate::engine::rootfs::etc::{self, Reach};

/// What follows for a container from the networks that it is on.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    /// Its addresses, in the order of its places.
    pub(crate) own: Vec<IpAddr>,
    /// By which it finds the host.
    pub(crate) gateway: Option<IpAddr>,
    pub(crate) reach: Reach,
}

impl Standing {
    /// One network more, on which it has these addresses.
    pub(crate) fn add(&mut self, network: &Network, attached: &Attachment) {
        self.own.push(attached.address);
        let six = attached.ipv6.map(|(address, _)| IpAddr::V6(address));
        self.own.extend(six);
        self.gateway = self.gateway.or(Some(attached.gateway));
        self.reach = match (self.reach, network.options().internal) {
            (Reach::Outside, _) | (_, false) => Reach::Outside,
            (_, true) => Reach::Inside,
        };
    }
}

impl Engine {
    /// Brings the files of a container that runs up to date with these places, as far as it is there: its own lines in `/etc/hosts`, and whom
    /// it asks for names. What somebody in the container has added is kept.
    ///
    /// # Errors
    /// [`Error::Net`](crate::Error::Net), also for a file that somebody in the container keeps from being written.
    pub(super) fn tell_own(&self, record: &Record, places: &[NetworkEndpoint]) -> Result<()> {
        let mut standing = Standing::default();
        for place in places {
            if let Some(network) = self.find_network(&place.network)?
                && let Some(attached) = network.attachment(&record.id)?
            {
                standing.add(&network, &attached);
            }
        }
        let spec = self.spec_of(&record.id)?;
        let hostname = spec.and_then(|spec| spec.hostname().clone());
        let hostname = hostname.unwrap_or_default();
        let Standing {
            own,
            gateway,
            reach,
        } = standing;
        let options = &record.options;
        let dir = self.roots().containers().join(&record.id);
        let state = self.roots().data();
        let lines = etc::own_lines(&own, gateway, &hostname, options);
        etc::own_addresses().put(state, dir.join("hosts"), &lines)?;
        let lines = etc::resolver_lines(options, reach);
        etc::resolvers().renew(state, dir.join("resolv.conf"), &lines)?;
        Ok(())
    }

    /// The same, and the names that it has on these networks, for whoever was asked for something else.
    pub(crate) fn tell_all(&self, record: &Record, places: &[NetworkEndpoint]) {
        let told = self.tell_own(record, places);
        warn(record, told.and_then(|()| self.name_anew(record)));
    }
}

/// That a container cannot be told is a warning: whoever is in it can see to that, and keeps nobody from anything by it.
pub(super) fn warn(record: &Record, told: Result<()>) {
    if let Err(error) = told {
        let (name, error) = (&record.name, error.chain());
        tracing::warn!("{name} does not learn of all its networks: {error}");
    }
}
