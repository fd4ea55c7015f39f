//! Ports that containers of a network publish: written down, and in the packet filter.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use netlink_packet_core::NLM_F_ACK;
use serde::{Deserialize, Serialize};

use super::config::Subnets;
use super::firewall::open_if_there;
use super::ways::Guards;
use super::{Network, read_subnets};
use crate::ipam::check_name;
use crate::netlink::{Connection, Protocol, Request};
use crate::nft::{self, Family};
use crate::published::{self, Published, by_map};
use crate::{Error, PortForward, Result, conntrack, file, firewall, nla, state};

/// Below a network's directory: a file for each owner who publishes ports.
const PORTS: &str = "ports";

/// The content of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    ports: Vec<String>,
    addresses: Vec<IpAddr>,
}

impl Network {
    /// Leads ports of the host to `owner`, who is attached and has these `addresses`: whoever comes to one of them, from
    /// elsewhere, from the host itself or from a container, gets to the container, and is seen there as who he is.
    ///
    /// What comes to a port on the host's loopback is none of the packet filter's: see [`HeldPorts`](crate::HeldPorts), which also
    /// sees to it that nobody else has a port. What was published for `owner` before is not any more.
    ///
    /// # Errors
    ///
    /// [`Error::NotAttached`] without addresses, [`Error::InvalidNetwork`] by an internal one, [`Error::InvalidPorts`], [`Error::Unsupported`] for a kernel that lacks a
    /// module, [`Error::Permission`], [`Error::File`], [`Error::Netlink`]. Nothing is published then.
    #[doc(alias = "dnat")]
    pub fn publish(
        &self,
        owner: &str,
        addresses: &[IpAddr],
        forwards: &[PortForward],
    ) -> Result<()> {
        check_name("owner", owner)?;
        let published = Published {
            owner: owner.to_owned(),
            forwards: forwards.to_vec(),
            addresses: addresses.to_vec(),
        };
        let elements = published.elements()?;
        let _lock = self.lock()?;
        self.withdraw(owner)?;
        if forwards.is_empty() {
            return Ok(());
        }
        if self.options.internal {
            return Err(Error::InvalidNetwork {
                network: self.options.name.clone(),
                rule: "it is internal, so no ports can lead to anybody there; publish them by another one of the container's"
                    .to_owned(),
            });
        }
        let (false, Some(subnets)) = (addresses.is_empty(), read_subnets(&self.dir)?) else {
            return Err(Error::NotAttached {
                owner: owner.to_owned(),
                network: self.options.name.clone(),
            });
        };
        let noted = self.note(&published);
        let done = noted.and_then(|()| self.lead(&published, elements, &subnets));
        if done.is_err()
            && let Err(left) = self.withdraw(owner)
        {
            tracing::warn!(error = %left, owner, "taking ports back that could not be published failed too");
        }
        done
    }

    fn lead(
        &self,
        published: &Published,
        elements: [Vec<nft::Element>; 4],
        subnets: &Subnets,
    ) -> Result<()> {
        let mut netfilter = Connection::open(Protocol::Netfilter)?;
        let nat = self.nat(subnets, Guards::default());
        let name = published::table_name(&self.options.name);
        let table = published::table(name.clone(), &nat, [])?;
        let mut done = false;
        let chains = firewall::chains(&mut netfilter)?;
        if table.is_among(&chains) {
            let messages = by_map(elements).flat_map(|(map, elements)| table.add(map, &elements));
            let why = "so that what comes to a published port is led to the container, one map element a port";
            done = match firewall::commit(&mut netfilter, why, messages.collect()) {
                Ok(()) => true,
                Err(Error::Netlink { source, .. })
                    if matches!(source.raw_os_error(), Some(libc::EEXIST | libc::ENOENT)) =>
                {
                    false
                }
                Err(error) => return Err(error),
            };
        }
        if !done {
            // There is none yet, or somebody who is gone has left a port there. It is ours now: nobody else can listen on it.
            self.forget_clashes(published)?;
            let table = published::table(name, &nat, &self.published()?)?;
            let why = "so that what comes to published ports is led to their containers, in one transaction";
            firewall::commit(&mut netfilter, why, table.put_among(&chains))?;
        }
        self.reflect(&published.owner)?;
        conntrack::forget(&mut netfilter, published)
    }

    /// Lets the bridge send back by the container's port what came in by it: where the packet filter is called for frames too
    /// (`bridge-nf-call-iptables`), what a container sends to itself by a published port is turned round on the bridge, and is
    /// never routed.
    fn reflect(&self, owner: &str) -> Result<()> {
        let port = self.host_interface(owner);
        let mut host = Connection::open(Protocol::Route)?;
        let why = "so that a container reaches itself by its published ports, where bridges call the packet filter";
        let requests = [reflecting(&port)];
        match host.exchange(why, &requests)?.remove(0).outcome {
            // It has ended meanwhile, and its cable with it.
            Err(refusal) if refusal.is(libc::ENODEV) => Ok(()),
            outcome => outcome.map_err(|refusal| refusal.of(&requests[0])),
        }
    }

    /// Takes back what is published for `owner`. That it is nothing is fine.
    ///
    /// # Errors
    ///
    /// [`Error::Permission`], [`Error::File`], [`Error::Netlink`].
    pub fn unpublish(&self, owner: &str) -> Result<()> {
        check_name("owner", owner)?;
        let why = "so that nothing is undone where no port was published";
        if !file::exists(&self.record_file(owner), why) {
            return Ok(());
        }
        let _lock = self.lock()?;
        self.withdraw(owner)
    }

    /// Whether ports lead to `owner` by this network.
    #[must_use]
    pub fn publishes(&self, owner: &str) -> bool {
        let why = "so that ports that lead there already are left alone";
        check_name("owner", owner).is_ok() && file::exists(&self.record_file(owner), why)
    }

    /// Under the lock.
    fn withdraw(&self, owner: &str) -> Result<()> {
        let path = self.record_file(owner);
        let Some(published) = self.read_record(owner) else {
            let why = "so that a record that nobody can read does not stay for ever";
            if file::exists(&path, why) {
                state::remove(&path, why)?;
                self.remove_directory_if_last();
            }
            return Ok(());
        };
        let name = published::table_name(&self.options.name);
        let why = "so that nobody is led to the container any more";
        // The record goes last: it is by this that a crash is cleaned up after.
        if let Some(mut netfilter) = open_if_there()? {
            let elements = by_map(published.elements()?);
            let messages = elements.flat_map(|(map, elements)| {
                nft::delete_elements(Family::INET, &name, map, &elements)
            });
            let removed = firewall::commit_if_there(&mut netfilter, why, messages.collect())?;
            state::remove(&path, why)?;
            let last = self.remove_directory_if_last();
            if last {
                firewall::remove_tables(&mut netfilter, why, &[(Family::INET, name)])?;
            } else if !removed {
                self.lead_others(&mut netfilter)?;
            }
            conntrack::forget(&mut netfilter, &published)?;
            return Ok(());
        }
        state::remove(&path, why)
    }

    /// Makes the table anew of what is published, after one element could not be removed alone.
    fn lead_others(&self, netfilter: &mut Connection) -> Result<()> {
        let Some(subnets) = read_subnets(&self.dir)? else {
            return Ok(());
        };
        let nat = self.nat(&subnets, Guards::default());
        let name = published::table_name(&self.options.name);
        let table = published::table(name, &nat, &self.published()?)?;
        let why = "so that of what is published all is in the packet filter, and nothing else";
        firewall::commit(netfilter, why, table.replace())
    }

    /// Forgets the ports of others that are among those of `own`.
    fn forget_clashes(&self, own: &Published) -> Result<()> {
        let keys = |published: &Published| -> Result<Vec<(&'static str, Vec<u8>)>> {
            let elements = by_map(published.elements()?);
            let keys = elements.flat_map(|(map, elements)| {
                elements.into_iter().map(move |element| (map, element.key))
            });
            Ok(keys.collect())
        };
        let owns = keys(own)?;
        for other in self.published()? {
            let clashes = keys(&other)?.iter().any(|key| owns.contains(key));
            if other.owner != own.owner && clashes {
                let why = "so that a port leads to one container, who has it now";
                state::remove(&self.record_file(&other.owner), why)?;
            }
        }
        Ok(())
    }

    /// Whether somebody has published ports. Nothing is changed, so it can be asked without the lock.
    pub(super) fn has_published(&self) -> bool {
        let why = "so that it is known whether there are to be rules for published ports";
        file::names(&self.dir.join(PORTS), why).is_ok_and(|names| !names.is_empty())
    }

    /// Removes the directory if nothing is in it, and says whether there is none now. Under the lock: somebody may be about to write
    /// into it.
    fn remove_directory_if_last(&self) -> bool {
        let why = "so that no directory is left when no port is published any more";
        match file::remove_directory(&self.dir.join(PORTS), why) {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    /// All that is published.
    pub(super) fn published(&self) -> Result<Vec<Published>> {
        let dir = self.dir.join(PORTS);
        let why = "so that it is known which ports are published, and for whom";
        let names = match file::names(&dir, why) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::file("read", dir, error)),
        };
        let owners = names.iter().filter_map(|name| name.to_str());
        let mut all: Vec<_> = owners.filter_map(|owner| self.read_record(owner)).collect();
        all.sort_by(|one, other| one.owner.cmp(&other.owner));
        Ok(all)
    }

    /// One that cannot be read was being written when the machine stopped, and with it all that was published.
    fn read_record(&self, owner: &str) -> Option<Published> {
        let why = "so that it is known which ports are published for it";
        let record: Record = state::read(&self.record_file(owner), why).ok()??;
        let forwards = record.ports.iter().map(|text| text.parse());
        Some(Published {
            owner: owner.to_owned(),
            forwards: forwards.collect::<Result<_>>().ok()?,
            addresses: record.addresses,
        })
    }

    fn note(&self, published: &Published) -> Result<()> {
        let path = self.record_file(&published.owner);
        let failed = |error| Error::file("write", &path, error);
        let why = "so that what is published has a place to be written down";
        file::make_directory(&self.dir.join(PORTS), why).map_err(failed)?;
        let record = Record {
            ports: published.forwards.iter().map(ToString::to_string).collect(),
            addresses: published.addresses.clone(),
        };
        let why = "so that ports are found again: after a crash, and when somebody has flushed the packet filter";
        let bytes = serde_json::to_vec(&record).map_err(|error| failed(error.into()))?;
        // Not forced to the disk: no port outlives the machine's end.
        let file = file::create(&path, why).map_err(failed)?;
        file::write(&file, &path, &bytes, why).map_err(failed)
    }

    fn record_file(&self, owner: &str) -> PathBuf {
        self.dir.join(PORTS).join(owner)
    }
}

/// `ip link set PORT type bridge_slave hairpin on`
fn reflecting(port: &str) -> Request {
    const IFLA_IFNAME: u16 = 3;
    const IFLA_LINKINFO: u16 = 18;
    const IFLA_BRPORT_MODE: u16 = 4;
    let mut body = vec![0; 16]; // struct ifinfomsg: the name says which
    nla::put_str(&mut body, IFLA_IFNAME, port);
    nla::put_nested(&mut body, IFLA_LINKINFO, |info| {
        nla::put_str(info, 4, "bridge"); // IFLA_INFO_SLAVE_KIND
        nla::put_nested(info, 5, |data| nla::put(data, IFLA_BRPORT_MODE, &[1])); // IFLA_INFO_SLAVE_DATA
    });
    Request {
        kind: (16, "RTM_NEWLINK"),
        flags: NLM_F_ACK,
        body,
        operation: "set hairpin of",
        object: port.to_owned(),
        module: None,
    }
}
