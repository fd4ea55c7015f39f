//! What is remembered of a network: `config.json` in its directory.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::options::{NetworkOptions, NetworkSubnet};
use crate::{Result, Subnet, state};

/// The file, below a network's directory.
pub(super) const CONFIG: &str = "config.json";

/// The content of `config.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Config {
    /// Empty until one is chosen.
    pub(super) subnet: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    range: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subnet6: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway6: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    range6: Option<String>,
    /// Of a network that somebody has made by its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) made: Option<Made>,
}

/// What somebody has asked for who has made a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Made {
    bridge: String,
    /// Milliseconds since 1970.
    created: u64,
    internal: bool,
    isolated: bool,
    mtu: Option<u32>,
    labels: BTreeMap<String, String>,
    notes: BTreeMap<String, String>,
}

/// The subnets of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subnets {
    pub(super) v4: NetworkSubnet,
    pub(super) v6: Option<NetworkSubnet>,
}

impl Config {
    /// Reads what is remembered in the network's directory; `None` if nothing is.
    pub(super) fn read(dir: &Path) -> Result<Option<Self>> {
        let why = "so that a network keeps the subnet that it has";
        state::read(&dir.join(CONFIG), why)
    }

    pub(super) fn write(&self, dir: &Path) -> Result<()> {
        let why = "so that the network has the same subnet next time";
        state::write(&dir.join(CONFIG), self, why)
    }

    pub(super) fn new(subnets: &Subnets, made: Option<Made>) -> Self {
        let Subnets { v4, v6 } = subnets;
        let text = |subnet: Subnet| subnet.to_string();
        // The first address of a subnet goes without saying.
        let gateway = |one: &NetworkSubnet| {
            Some(one.gateway).filter(|gateway| *gateway != one.subnet.gateway())
        };
        Self {
            subnet: text(v4.subnet),
            gateway: gateway(v4),
            range: v4.range.map(text),
            subnet6: v6.map(|v6| text(v6.subnet)),
            gateway6: v6.as_ref().and_then(gateway),
            range6: v6.and_then(|v6| v6.range).map(text),
            made,
        }
    }

    /// The subnets; `None` as long as none is chosen.
    pub(super) fn subnets(&self) -> Result<Option<Subnets>> {
        let one = |subnet: &str, gateway: Option<IpAddr>, range: Option<&String>| {
            let subnet: Subnet = subnet.parse()?;
            Ok(NetworkSubnet {
                subnet,
                gateway: gateway.unwrap_or_else(|| subnet.gateway()),
                range: range.map(|range| range.parse()).transpose()?,
            })
        };
        if self.subnet.is_empty() {
            return Ok(None);
        }
        let v6 = self.subnet6.as_ref();
        let v6 = v6.map(|subnet| one(subnet, self.gateway6, self.range6.as_ref()));
        Ok(Some(Subnets {
            v4: one(&self.subnet, self.gateway, self.range.as_ref())?,
            v6: v6.transpose()?,
        }))
    }

    /// The options of a network that somebody has made, and when.
    pub(super) fn options(&self, name: &str) -> Result<Option<(NetworkOptions, SystemTime)>> {
        let (Some(made), Some(Subnets { v4, v6 })) = (&self.made, self.subnets()?) else {
            return Ok(None);
        };
        let mut options = NetworkOptions::new(name, &made.bridge);
        for one in [Some(v4), v6].into_iter().flatten() {
            options = options.subnet(one.subnet).gateway(one.gateway);
            if let Some(range) = one.range {
                options = options.range(range);
            }
        }
        options.internal = made.internal;
        options.isolated = made.isolated;
        options.mtu = made.mtu;
        options.labels.clone_from(&made.labels);
        options.notes.clone_from(&made.notes);
        let created = SystemTime::UNIX_EPOCH + Duration::from_millis(made.created);
        Ok(Some((options, created)))
    }
}

impl Made {
    pub(super) fn now(options: &NetworkOptions) -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let millis = since.unwrap_or_default().as_millis();
        Self {
            bridge: options.bridge.clone(),
            created: u64::try_from(millis).unwrap_or(u64::MAX),
            internal: options.internal,
            isolated: options.isolated,
            mtu: options.mtu,
            labels: options.labels.clone(),
            notes: options.notes.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_read_and_older_files_are_understood() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Config::read(dir.path()).unwrap(), None);
        std::fs::write(dir.path().join(CONFIG), r#"{"subnet":"10.88.0.0/16"}"#).unwrap();
        let old = Config::read(dir.path()).unwrap().unwrap();
        let subnets = old.subnets().unwrap().unwrap();
        assert_eq!(subnets.v4.gateway.to_string(), "10.88.0.1");
        assert!(subnets.v6.is_none() && old.options("bridge").unwrap().is_none());

        let mut options = NetworkOptions::new("n", "br-n")
            .subnet("10.1.0.0/24".parse().unwrap())
            .gateway("10.1.0.9".parse().unwrap())
            .range("10.1.0.128/25".parse().unwrap())
            .subnet("fd00:1::/64".parse().unwrap())
            .gateway("fd00:1::1".parse().unwrap())
            .internal(true)
            .isolated(true)
            .mtu(1400)
            .label("a", "b");
        options.notes.insert("id".into(), "x".into());
        let of = |subnet: Option<Subnet>, gateway, range| NetworkSubnet {
            subnet: subnet.unwrap(),
            gateway,
            range,
        };
        let subnets = Subnets {
            v4: of(
                options.subnet,
                options.gateway.unwrap().into(),
                options.range,
            ),
            v6: Some(of(options.subnet6, options.gateway6.unwrap().into(), None)),
        };
        let config = Config::new(&subnets, Some(Made::now(&options)));
        config.write(dir.path()).unwrap();
        let read = Config::read(dir.path()).unwrap().unwrap();
        assert_eq!(read, config);
        assert_eq!(read.subnets().unwrap(), Some(subnets));
        assert_eq!(read.options("n").unwrap().unwrap().0, options);
    }
}
