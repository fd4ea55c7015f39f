//! What a network has in the packet filter, from what it knows of itself.

use std::net::IpAddr;

use super::config::Subnets;
use super::ways::{Guards, WAYS};
use super::{Attachment, Network, read_subnets};
use crate::bridge::mac;
use crate::nat::{self, NatOptions};
use crate::netlink::{Connection, Protocol};
use crate::nft::{self, Family, Found, Table};
use crate::rtnl::Link;
use crate::spoof::{self, Member, SETS};
use crate::{Error, Result, firewall, foreign, published, rtnl};

impl Network {
    /// What is to be translated, and guarded.
    pub(super) fn nat(&self, subnets: &Subnets, guards: Guards) -> NatOptions {
        let mut nat = NatOptions::new(self.table(), &self.options.bridge, subnets.v4.subnet);
        nat.subnet6 = subnets.v6.map(|v6| v6.subnet);
        nat.internal = self.options.internal;
        nat.isolated = self.options.isolated;
        nat.guarded = guards.v4;
        nat.guarded6 = guards.v6;
        nat
    }

    /// What a container may call itself that is attached like this.
    pub(super) fn member(&self, owner: &str, attachment: &Attachment) -> Member {
        let six = attachment.ipv6.map(|(address, _)| IpAddr::V6(address));
        Member {
            owner: owner.to_owned(),
            interface: attachment.host_interface.clone(),
            mac: attachment.mac.unwrap_or_default(),
            addresses: [Some(attachment.address), six]
                .into_iter()
                .flatten()
                .collect(),
        }
    }

    /// The same of one who has a lease; none of others.
    fn member_by_lease(&self, owner: &str) -> Result<Option<Member>> {
        let leases = self.ipam.leases()?.into_iter();
        let addresses: Vec<_> = leases
            .filter(|(name, _)| name == owner)
            .map(|(_, address)| address)
            .collect();
        let Some(first) = addresses.iter().find(|one| one.is_ipv4()) else {
            return Ok(None);
        };
        Ok(Some(Member {
            owner: owner.to_owned(),
            interface: self.host_interface(owner),
            mac: self.own_mac(owner)?.unwrap_or_else(|| mac(*first)),
            addresses,
        }))
    }

    /// Everybody who is attached.
    fn members(&self) -> Result<Vec<Member>> {
        let attached = self.attachments()?;
        let all = attached.iter();
        Ok(all
            .map(|(owner, attachment)| self.member(owner, attachment))
            .collect())
    }

    /// The tables that a network always has, without elements.
    fn basics(&self, nat: &NatOptions) -> [Table; 2] {
        [nat::table(nat), spoof::table(&nat.table, &nat.bridge, [])]
    }

    /// All tables as they are meant to be, with all elements.
    pub(super) fn tables(&self, nat: &NatOptions, members: &[Member]) -> Result<Vec<Table>> {
        let mut tables = vec![
            nat::table(nat),
            spoof::table(&nat.table, &nat.bridge, members),
        ];
        let published = self.published()?;
        if !published.is_empty() {
            let name = published::table_name(&self.options.name);
            tables.push(published::table(name, nat, &published)?);
        }
        Ok(tables)
    }

    /// Puts the network's rules into the packet filter, or leaves them alone if they are there, and lets `newcomer` send.
    pub(super) fn protect(
        &self,
        netfilter: &mut Connection,
        nat: &NatOptions,
        newcomer: &Member,
    ) -> Result<()> {
        let chains = firewall::chains(netfilter)?;
        let basics = self.basics(nat);
        let mut done = false;
        if firewall::are_there(&basics, &chains) {
            let [_, spoof] = &basics;
            let sets = SETS.into_iter().zip(newcomer.elements());
            let messages = sets.flat_map(|(set, elements)| spoof.add(set, &elements));
            let why = "so that the container may send by its own addresses, and by no others";
            done = firewall::commit_if_there(netfilter, why, messages.collect())?;
        }
        if !done {
            let mut members = self.members()?;
            members.retain(|member| member.owner != newcomer.owner);
            members.push(newcomer.clone());
            self.replace(netfilter, nat, &members, &chains)?;
        }
        match nat.internal {
            // What others would drop is dropped in any case.
            true => Ok(()),
            false => foreign::ensure(netfilter, &chains, &nat.bridge, nat.subnet6.is_some()),
        }
    }

    fn replace(
        &self,
        netfilter: &mut Connection,
        nat: &NatOptions,
        members: &[Member],
        chains: &[Found],
    ) -> Result<()> {
        let tables = self.tables(nat, members)?;
        let tables = tables.iter();
        let messages = tables.flat_map(|table| table.put_among(chains)).collect();
        let why = "so that packets from containers leave under the host's address, and that they speak for themselves alone, \
                   in one transaction";
        firewall::commit(netfilter, why, messages)
    }

    /// Takes the address of `owner` from those that may be sent by. That there is none is fine.
    pub(super) fn forget_member(&self, owner: &str) -> Result<()> {
        let Some(member) = self.member_by_lease(owner)? else {
            return Ok(());
        };
        let Some(mut netfilter) = open_if_there()? else {
            return Ok(());
        };
        let table = self.table();
        let sets = SETS.into_iter().zip(member.elements());
        let messages = sets.flat_map(|(set, elements)| {
            nft::delete_elements(Family::BRIDGE, &table, set, &elements)
        });
        let why = "so that nobody sends any more by the address of a container that is gone";
        let removed = firewall::commit_if_there(&mut netfilter, why, messages.collect());
        match removed {
            Err(Error::Unsupported { .. }) => Ok(()),
            removed => removed.map(drop),
        }
    }

    /// Removes all of the network's rules; returns the socket, to be closed late, see [`Network::attach`].
    pub(super) fn unprotect(&self) -> Result<Option<Connection>> {
        let Some(mut netfilter) = open_if_there()? else {
            return Ok(None);
        };
        let chains = match firewall::chains(&mut netfilter) {
            Err(Error::Unsupported { .. }) => return Ok(None),
            chains => chains?,
        };
        let guests = foreign::remove(&mut netfilter, &chains, &self.options.bridge);
        let why = "so that no rule of the network is left";
        let tables = [
            (Family::INET, self.table()),
            (Family::BRIDGE, self.table()),
            (Family::INET, published::table_name(&self.options.name)),
        ];
        firewall::remove_tables(&mut netfilter, why, &tables)?;
        guests.map(|()| Some(netfilter))
    }

    /// What the network's rules are to be, as things are; none where nobody is attached.
    pub(super) fn intended(&self) -> Result<Option<(NatOptions, Vec<Member>)>> {
        let members = self.members()?;
        let (false, Some(subnets)) = (members.is_empty(), read_subnets(&self.dir)?) else {
            return Ok(None);
        };
        let guards = match self.options.internal {
            true => Guards::default(),
            false => self.guards()?,
        };
        Ok(Some((self.nat(&subnets, guards), members)))
    }

    /// Puts all of the network's rules into the packet filter once more, as they are meant to be, and says whether there was
    /// anything to be done: there is nothing where nobody is attached.
    ///
    /// # Errors
    ///
    /// As [`Network::attach`].
    pub fn reload(&self) -> Result<bool> {
        let _lock = self.lock()?;
        self.put_back()
    }

    fn put_back(&self) -> Result<bool> {
        let members = self.members()?;
        let (false, Some(subnets)) = (members.is_empty(), read_subnets(&self.dir)?) else {
            return Ok(false);
        };
        let mut netfilter = Connection::open(Protocol::Netfilter)?;
        let chains = firewall::chains(&mut netfilter)?;
        if self.options.internal {
            let nat = self.nat(&subnets, Guards::default());
            self.replace(&mut netfilter, &nat, &members, &chains)?;
            return Ok(true);
        }
        let mut host = Connection::open(Protocol::Route)?;
        let routes = rtnl::routes(&mut host, WAYS, rtnl::Family::V4)?;
        let claims = self.claim(&mut host, &subnets, None, routes)?;
        let nat = self.nat(&subnets, claims.guards());
        self.replace(&mut netfilter, &nat, &members, &chains)?;
        foreign::ensure(&mut netfilter, &chains, &nat.bridge, nat.subnet6.is_some())?;
        let bridge = Link {
            name: self.options.bridge.clone(),
            ..Link::default()
        };
        claims.switch_on(&bridge)?;
        Ok(true)
    }

    /// The same if rules are missing, as after somebody has flushed the packet filter; says whether some were.
    ///
    /// # Errors
    ///
    /// As [`Network::reload`].
    pub fn restore(&self) -> Result<bool> {
        if !self.lacks_rules()? {
            return Ok(false);
        }
        // Somebody who comes or goes at this moment has them on the way, and holds the lock until they are there.
        let _lock = self.lock()?;
        Ok(self.lacks_rules()? && self.put_back()?)
    }

    fn lacks_rules(&self) -> Result<bool> {
        let Some((nat, _)) = self.intended()? else {
            return Ok(false);
        };
        let Some(mut netfilter) = open_if_there()? else {
            return Ok(false);
        };
        let chains = firewall::chains(&mut netfilter)?;
        let mut tables = self.basics(&nat).to_vec();
        if self.has_published() {
            let name = published::table_name(&self.options.name);
            tables.push(published::table(name, &nat, [])?);
        }
        let guests = match nat.internal {
            true => Vec::new(),
            false => foreign::wanted(&mut netfilter, &chains, &nat.bridge, nat.subnet6.is_some())?,
        };
        let all = firewall::are_there(&tables, &chains) && guests.iter().all(|(_, there)| *there);
        Ok(!all)
    }
}

/// A socket to the packet filter; none where the kernel has no such thing, and so nothing in it.
pub(super) fn open_if_there() -> Result<Option<Connection>> {
    match Connection::open(Protocol::Netfilter) {
        Ok(netfilter) => Ok(Some(netfilter)),
        Err(Error::Unsupported { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
