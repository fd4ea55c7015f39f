//! Which subnets a network has.

use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;

use super::config::{Config, Subnets};
use super::{Network, NetworkSubnet, made};
use crate::lock::Lock;
use crate::netlink::Connection;
use crate::rtnl::Family;
use crate::{Bridge, Error, Result, Subnet, pool};

impl Network {
    /// The network's subnets: those of its owners, or where it `is_new` since there are none, some that are free.
    pub(super) fn choose_subnets(&self, host: &mut Connection, is_new: bool) -> Result<Subnets> {
        let config = Config::read(&self.dir)?.unwrap_or_default();
        let current = config.subnets()?;
        if let (Some(current), false) = (current, is_new) {
            return self.check_current(current);
        }
        // With no lease nothing of ours is on the bridge. What is there has its address from another network or state
        // directory, and this one would give that address a second time.
        if Bridge::is_in_use(host, &self.options.bridge)? {
            return Err(Error::NameTaken {
                name: self.options.bridge.clone(),
                wanted: "a bridge without containers of another network or state directory",
            });
        }
        let why = "so that two networks that choose at the same time do not choose the same subnet";
        let _lock = Lock::acquire(&self.networks.join(".subnets.lock"), why)?;
        let chosen = self.free_subnets(host, current)?;
        let chosen_config = Config::new(&chosen, config.made.clone());
        if config != chosen_config {
            // A crash may have left the bridge, with the gateway's address of the old subnet.
            self.remove_bridge(current).map_or(Ok(()), Err)?;
            chosen_config.write(&self.dir)?;
        }
        Ok(chosen)
    }

    /// Whether the subnets of those who are attached are those that are asked for.
    fn check_current(&self, current: Subnets) -> Result<Subnets> {
        let wanted = [self.options.subnet, self.options.subnet6];
        let actual = [Some(current.v4), current.v6];
        for (wanted, actual) in wanted.into_iter().zip(actual) {
            match (wanted, actual.map(|one| one.subnet)) {
                (Some(requested), Some(current)) if requested != current => {
                    return Err(Error::SubnetDiffers {
                        network: self.options.name.clone(),
                        current,
                        requested,
                    });
                }
                _ => {}
            }
        }
        match self.options.ipv6 == current.v6.is_some() {
            true => Ok(current),
            false => Err(Error::InvalidNetwork {
                network: self.options.name.clone(),
                rule: "whether it has IPv6 cannot change while somebody is attached".to_owned(),
            }),
        }
    }

    /// Subnets that collide with nothing; those of before, if they still do not. Under the lock of subnets.
    pub(super) fn free_subnets(
        &self,
        host: &mut Connection,
        before: Option<Subnets>,
    ) -> Result<Subnets> {
        let options = &self.options;
        let others = self.subnets_of_others()?;
        let mut used = pool::in_use(host, Some(&options.bridge), Family::V4)?;
        used.extend(&others);
        let v4 = pool::choose(options.subnet, before.map(|one| one.v4.subnet), &used)?;
        let v6 = match options.ipv6 {
            true => {
                let mut used = pool::in_use(host, Some(&options.bridge), Family::V6)?;
                used.extend(&others);
                let before = before.and_then(|one| Some(one.v6?.subnet));
                Some(pool::choose6(options.subnet6, before, &used)?)
            }
            false => None,
        };
        Ok(Subnets {
            v4: NetworkSubnet {
                subnet: v4,
                gateway: options.gateway.map_or_else(|| v4.gateway(), IpAddr::V4),
                range: options.range,
            },
            v6: v6.map(|v6| NetworkSubnet {
                subnet: v6,
                gateway: options.gateway6.map_or_else(|| v6.gateway(), IpAddr::V6),
                range: options.range6,
            }),
        })
    }

    /// The subnets of the other networks, which need not be on the host at the moment.
    fn subnets_of_others(&self) -> Result<Vec<Subnet>> {
        let mut subnets = Vec::new();
        for name in made::directories(&self.networks)? {
            let dir = self.networks.join(name);
            if dir != self.dir
                && let Some(Subnets { v4, v6 }) = read_subnets(&dir)?
            {
                subnets.extend([Some(v4), v6].into_iter().flatten().map(|one| one.subnet));
            }
        }
        Ok(subnets)
    }
}

pub(super) fn read_subnets(dir: &Path) -> Result<Option<Subnets>> {
    Config::read(dir)?.map_or(Ok(None), |config| config.subnets())
}

/// The gateway of a subnet of IPv6.
pub(super) fn gateway6(subnet: NetworkSubnet) -> Option<Ipv6Addr> {
    match subnet.gateway {
        IpAddr::V6(gateway) => Some(gateway),
        IpAddr::V4(_) => None,
    }
}
