//! Which address somebody wants.

use std::net::IpAddr;

use crate::{Error, Result, Subnet};

/// What address [`Ipam::lease_each`](crate::Ipam::lease_each) is to give.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaseOptions {
    /// The subnet that it is one of.
    pub subnet: Subnet,
    /// The host's own address, which nobody gets.
    pub gateway: IpAddr,
    /// The part of the subnet that addresses are given from; `None` for all of it. One that is asked for may lie outside of it.
    pub range: Option<Subnet>,
    /// The very address that is wanted; `None` for whichever is free.
    pub address: Option<IpAddr>,
    /// Further addresses that nobody gets unless they are asked for.
    pub reserved: Vec<IpAddr>,
}

impl LeaseOptions {
    /// Any address of `subnet` but its first, which is the [gateway](Subnet::gateway)'s.
    #[must_use]
    pub fn new(subnet: Subnet) -> Self {
        Self {
            subnet,
            gateway: subnet.gateway(),
            range: None,
            address: None,
            reserved: Vec::new(),
        }
    }

    /// The host's own address is this one.
    #[must_use]
    pub fn gateway(mut self, gateway: IpAddr) -> Self {
        self.gateway = gateway;
        self
    }

    /// An address out of this part of the subnet.
    #[must_use]
    pub fn range(mut self, range: Option<Subnet>) -> Self {
        self.range = range;
        self
    }

    /// This address, if one is given.
    #[must_use]
    pub fn address(mut self, address: Option<IpAddr>) -> Self {
        self.address = address;
        self
    }

    /// None of these addresses.
    #[must_use]
    pub fn reserve(mut self, addresses: &[IpAddr]) -> Self {
        self.reserved.extend_from_slice(addresses);
        self
    }

    /// Whether an owner who has `address` has what is wanted.
    pub(crate) fn is_met_by(&self, address: IpAddr) -> bool {
        self.subnet.contains(address) && self.address.is_none_or(|wanted| wanted == address)
    }

    pub(crate) fn check(&self) -> Result<()> {
        let Some(address) = self.address else {
            return Ok(());
        };
        let subnet = self.subnet;
        if !subnet.has_host(address) {
            return Err(Error::AddressOutside { address, subnet });
        }
        if address == self.gateway {
            let owner = "the host itself, as the gateway".to_owned();
            return Err(Error::AddressTaken { address, owner });
        }
        Ok(())
    }
}
