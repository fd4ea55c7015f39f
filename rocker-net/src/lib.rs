#![doc = include_str!("../README.md")]

mod answers;
mod bridge;
mod endpoint;
mod error;
mod file;
mod forwarding;
mod ipam;
mod lock;
mod nat;
mod netlink;
mod netns;
mod network;
mod nft;
mod nla;
mod pool;
mod rtnl;
mod state;
mod subnet;
mod trace;

pub use bridge::{Bridge, BridgeOptions};
pub use endpoint::{Endpoint, EndpointOptions, loopback_up};
pub use error::{Error, Result};
pub use ipam::Ipam;
pub use nat::{Nat, NatOptions};
pub use netns::Netns;
pub use network::{Attachment, Network, NetworkOptions};
pub use subnet::{Hosts, Subnet};
