//! Networks: those that somebody makes by name, beside the one that is always there.

pub(super) mod connection;
pub(super) mod firewall;
mod membership;
pub(super) mod ports;
mod shown;
mod standing;
pub(super) mod tidy;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::SystemTime;

use rocker_net::{Network, NetworkOptions, Subnet};
use rocker_ns::Namespace;

use crate::engine::container::name;
use crate::engine::options::DEFAULT_NETWORK;
use crate::engine::{Engine, container, rootless};
use crate::{Error, Result};

pub(crate) use standing::Standing;

/// The bridge of the default network.
const DEFAULT_BRIDGE: &str = "rocker0";
/// What `--network` means by itself, so that no network can have the name.
pub(crate) const PREDEFINED: [&str; 5] = [DEFAULT_NETWORK, "host", "none", "default", "pasta"];
/// The note of a network that holds its ID.
const ID: &str = "id";
/// What the notes begin with that hold options as they were given.
const OPTION: &str = "option:";

/// A network that is to be made by [`Engine::create_network`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NetworkRequest {
    /// Its name.
    pub name: String,
    /// Its subnets, at most one of each family; one of IPv4 is chosen without.
    pub subnets: Vec<Subnet>,
    /// The host's own addresses in them; their first ones without.
    pub gateways: Vec<IpAddr>,
    /// The parts of them that containers' addresses are from; all of them without.
    pub ranges: Vec<Subnet>,
    /// Whether it has IPv6 too, also without a subnet of it.
    pub ipv6: bool,
    /// Whether there is no way out.
    pub internal: bool,
    /// Whether containers on it cannot reach each other.
    pub isolated: bool,
    /// The largest packet in bytes.
    pub mtu: Option<u32>,
    /// The name of the bridge on the host.
    pub bridge: Option<String>,
    /// What the caller wants to find it by.
    pub labels: BTreeMap<String, String>,
    /// The driver's options, as they were given: they are shown, and have no effect.
    pub options: BTreeMap<String, String>,
}

/// What there is to know about a network in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NetworkSummary {
    /// 64 hexadecimal digits; of those that are always there, their name.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `bridge`, `host` or `null`, as Docker has it.
    pub driver: &'static str,
    /// When it was made; 1970 of those that are always there.
    pub created: SystemTime,
    /// Whether it has IPv6 too.
    pub ipv6: bool,
    /// Whether there is no way out.
    pub internal: bool,
    /// What the caller wants to find it by.
    pub labels: BTreeMap<String, String>,
    /// Whether a container has a place on it, running or not.
    pub is_used: bool,
}

impl NetworkSummary {
    /// Whether it is always there.
    #[must_use]
    pub fn is_predefined(&self) -> bool {
        PREDEFINED.contains(&&*self.name)
    }
}

impl Engine {
    /// The network that is always there.
    fn default_network(&self) -> Result<Network> {
        let options = NetworkOptions::new(DEFAULT_NETWORK, DEFAULT_BRIDGE);
        Ok(Network::open(self.roots().data(), &options)?)
    }

    /// The network of this name, if there is one that containers can have a place on.
    pub(crate) fn find_network(&self, name: &str) -> Result<Option<Network>> {
        match name {
            DEFAULT_NETWORK => self.default_network().map(Some),
            name => Ok(Network::find(self.roots().data(), name)?),
        }
    }

    /// The same; an error where there is none.
    pub(crate) fn network(&self, name: &str) -> Result<Network> {
        let found = self.find_network(name)?;
        found.ok_or_else(|| Error::NoNetwork {
            name: name.to_owned(),
        })
    }

    /// All of them, the one that is always there first.
    pub(crate) fn networks(&self) -> Result<Vec<Network>> {
        let mut all = vec![self.default_network()?];
        all.extend(Network::list(self.roots().data())?);
        Ok(all)
    }

    /// The names of networks, as far as one may look.
    pub(crate) fn network_names(&self) -> Vec<String> {
        let made = Network::list(self.roots().data()).unwrap_or_default();
        let made = made.into_iter().map(|one| one.options().name.clone());
        let always = PREDEFINED[..3].iter().map(|name| (*name).to_owned());
        always.chain(made).collect()
    }

    /// The name of a network by its name, its ID, or the beginning of that.
    ///
    /// # Errors
    /// [`Error::NoNetwork`], [`Error::AmbiguousNetwork`].
    pub(crate) fn network_name(&self, name: &str) -> Result<String> {
        if PREDEFINED.contains(&name) || Network::find(self.roots().data(), name)?.is_some() {
            return Ok(name.to_owned());
        }
        let all = Network::list(self.roots().data())?;
        let mut found: Vec<_> = all
            .iter()
            .filter(|one| !name.is_empty() && id_of(one).starts_with(name))
            .map(|one| one.options().name.clone())
            .collect();
        match (found.pop(), &found[..]) {
            (Some(one), []) => Ok(one),
            (Some(last), others) => Err(Error::AmbiguousNetwork {
                prefix: name.to_owned(),
                names: [others, &[last]].concat().join(", "),
            }),
            (None, _) => Err(Error::NoNetwork {
                name: name.to_owned(),
            }),
        }
    }

    /// Whether this process may make networks on the host it is on. An ordinary user's may not: his containers have pasta.
    ///
    /// # Errors
    /// [`Error::Ns`] when it cannot be found out.
    pub fn makes_networks(&self) -> Result<bool> {
        Ok(!rootless::in_user_namespace()? || rocker_ns::owns(Namespace::Net)?)
    }

    /// Makes a network, and returns its ID.
    ///
    /// # Errors
    /// [`Error::PredefinedNetwork`], [`Error::Net`] for a name that is taken and a subnet that overlaps something.
    pub fn create_network(&self, request: &NetworkRequest) -> Result<String> {
        if PREDEFINED.contains(&&*request.name) {
            let name = request.name.clone();
            return Err(Error::PredefinedNetwork { name });
        }
        if !self.makes_networks()? {
            return Err(Error::bad_value(
                "network create",
                &request.name,
                "root: an ordinary user's containers have no networks but pasta's",
            ));
        }
        let id = name::new_id()?;
        let bridge = request.bridge.clone();
        let bridge = bridge.unwrap_or_else(|| format!("br-{}", &id[..12]));
        let mut options = NetworkOptions::new(&request.name, bridge)
            .ipv6(request.ipv6)
            .internal(request.internal)
            .isolated(request.isolated);
        for family in [IpAddr::is_ipv4, IpAddr::is_ipv6] {
            let of_family = |subnets: &[Subnet]| -> Vec<Subnet> {
                let subnets = subnets.iter().copied();
                subnets.filter(|one| family(&one.network())).collect()
            };
            let subnets = of_family(&request.subnets);
            let ranges = of_family(&request.ranges);
            let gateways = request.gateways.iter().copied();
            let gateways: Vec<_> = gateways.filter(family).collect();
            for (flag, values) in [
                (
                    "--subnet",
                    subnets.iter().map(ToString::to_string).collect(),
                ),
                (
                    "--ip-range",
                    ranges.iter().map(ToString::to_string).collect(),
                ),
                (
                    "--gateway",
                    gateways.iter().map(ToString::to_string).collect::<Vec<_>>(),
                ),
            ] {
                if let [_, second, ..] = &values[..] {
                    return Err(Error::bad_value(
                        flag,
                        second,
                        "at most one of each of IPv4 and IPv6",
                    ));
                }
            }
            options = subnets.into_iter().fold(options, NetworkOptions::subnet);
            options = ranges.into_iter().fold(options, NetworkOptions::range);
            options = gateways.into_iter().fold(options, NetworkOptions::gateway);
        }
        options.mtu = request.mtu;
        options.labels.clone_from(&request.labels);
        options.notes.insert(ID.to_owned(), id.clone());
        for (name, value) in &request.options {
            options
                .notes
                .insert(format!("{OPTION}{name}"), value.clone());
        }
        Network::create(self.roots().data(), &options)?;
        self.tell_of_network(&request.name, "create", None);
        Ok(id)
    }

    /// The networks, in the order of their names.
    ///
    /// # Errors
    /// [`Error::State`] when the containers' directory cannot be read, [`Error::Net`] when the networks' cannot.
    pub fn list_networks(&self) -> Result<Vec<NetworkSummary>> {
        self.restore_network();
        let used = self.networks_used()?;
        let predefined = [
            (DEFAULT_NETWORK, "bridge"),
            ("host", "host"),
            ("none", "null"),
        ];
        let mut all: Vec<_> = predefined
            .into_iter()
            .map(|(name, driver)| NetworkSummary {
                id: name.to_owned(),
                name: name.to_owned(),
                driver,
                created: SystemTime::UNIX_EPOCH,
                ipv6: false,
                internal: false,
                labels: BTreeMap::new(),
                is_used: used.contains(name),
            })
            .collect();
        for network in Network::list(self.roots().data())? {
            let options = network.options();
            all.push(NetworkSummary {
                id: id_of(&network),
                name: options.name.clone(),
                driver: "bridge",
                created: network.created().unwrap_or(SystemTime::UNIX_EPOCH),
                ipv6: options.ipv6,
                internal: options.internal,
                labels: options.labels.clone(),
                is_used: used.contains(&options.name),
            });
        }
        all.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(all)
    }

    /// The names of the networks that a container has a place on, running or not.
    fn networks_used(&self) -> Result<BTreeSet<String>> {
        let mut used = BTreeSet::new();
        for id in container::ids(&self.roots().containers())? {
            // What cannot be read is not known to need any.
            let Ok(Some(record)) = self.record(&id) else {
                continue;
            };
            let options = &record.options;
            used.extend(options.places().into_iter().map(|place| place.network));
            used.insert(options.network.to_string());
        }
        Ok(used)
    }

    /// Removes a network, and returns its name.
    ///
    /// # Errors
    /// [`Error::NoNetwork`], [`Error::PredefinedNetwork`], [`Error::NetworkInUse`] as long as a container on it runs.
    pub fn remove_network(&self, name: &str) -> Result<String> {
        // Those who died are on it no more.
        self.reconcile()?;
        let name = self.network_name(name)?;
        if PREDEFINED.contains(&&*name) {
            return Err(Error::PredefinedNetwork { name });
        }
        // Nobody is about to start who has asked for it.
        let _making = self.making()?;
        let network = self.network(&name)?;
        // The places of those that have ended may be left to be taken back later.
        for owner in network.owners()? {
            self.release_if_ended(&network, &owner)?;
        }
        match network.remove() {
            Err(rocker_net::Error::NetworkInUse { owners, .. }) => {
                let called = |id: &String| match self.record(id) {
                    Ok(Some(record)) => record.name,
                    _ => id.clone(),
                };
                let containers: Vec<_> = owners.iter().map(called).collect();
                let containers = containers.join(", ");
                Err(Error::NetworkInUse { name, containers })
            }
            removed => {
                removed?;
                self.tell_of_network(&name, "destroy", None);
                Ok(name)
            }
        }
    }

    /// Removes the networks that no container has a place on, running or not, and that `wanted` is true of. Returns their names.
    ///
    /// # Errors
    /// As [`Engine::remove_network`].
    pub fn prune_networks(&self, wanted: impl Fn(&NetworkSummary) -> bool) -> Result<Vec<String>> {
        self.reconcile()?;
        let mut removed = Vec::new();
        for network in self.list_networks()? {
            if network.is_used || network.is_predefined() || !wanted(&network) {
                continue;
            }
            match self.remove_network(&network.name) {
                Ok(name) => removed.push(name),
                // Somebody has removed it or come to it meanwhile.
                Err(Error::NoNetwork { .. } | Error::NetworkInUse { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(removed)
    }
}

/// The ID of a network that somebody has made.
fn id_of(network: &Network) -> String {
    let options = network.options();
    let id = options.notes.get(ID).cloned();
    id.unwrap_or_else(|| options.name.clone())
}
