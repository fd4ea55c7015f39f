#![doc = include_str!("../README.md")]

mod answers;
mod bridge;
mod conntrack;
mod endpoint;
mod error;
mod file;
mod firewall;
mod foreign;
mod forwarding;
mod free_port;
mod held_ports;
mod ipam;
mod ipv6;
mod lease;
mod listening;
mod lock;
mod nat;
mod netlink;
mod netns;
mod network;
mod nft;
mod nla;
mod pasta;
mod pool;
mod port_forward;
mod published;
mod relay;
mod resolver;
mod rtnl;
mod section;
mod spoof;
mod state;
mod subnet;
#[expect(
    unsafe_code,
    reason = "F_SETOWN, F_SETSIG and a socket that is bound and no more have no safe wrapper"
)]
mod sys;
mod trace;

pub use bridge::{Bridge, BridgeOptions};
pub use endpoint::{Endpoint, EndpointOptions, interfaces, loopback_up};
pub use error::{Error, Result};
pub use firewall::{rules_generation, rules_state};
pub use held_ports::HeldPorts;
pub use ipam::Ipam;
pub use lease::LeaseOptions;
pub use nat::{Nat, NatOptions};
pub use netns::Netns;
pub use network::{
    AttachOptions, Attachment, HostNames, Network, NetworkOptions, NetworkSubnet, RuleLine,
};
pub use pasta::{Pasta, PastaOptions};
pub use port_forward::{PortForward, Transport};
pub use section::Section;
pub use subnet::{Hosts, Subnet};
