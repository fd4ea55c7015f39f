//! `rocker network create`

use std::collections::BTreeMap;

use clap::Args;
use rocker_net::Subnet;

use crate::commands::request::value;
use crate::commands::{engine, plainly, print};
use crate::{NetworkRequest, Result};

/// Docker's options of the driver that are understood.
const MTU: &str = "com.docker.network.driver.mtu";
const BRIDGE: &str = "com.docker.network.bridge.name";
const TALK: &str = "com.docker.network.bridge.enable_icc";

/// Make a network
///
/// Containers on it find each other by name, and reach nobody on other networks. Without --subnet it gets one that overlaps no address,
/// route or other network of this machine.
#[derive(Debug, Args)]
#[command(after_help = "Example: rocker network create --internal backend\n\
                  Example: rocker network create --ipv6 --subnet 10.9.0.0/24 --ip-range 10.9.0.128/25 front")]
pub(crate) struct Create {
    /// A subnet such as 10.9.0.0/24; another one of IPv6
    #[arg(long, value_name = "SUBNET")]
    subnet: Vec<String>,
    /// The host's address in the subnet of its family; its first one without
    #[arg(long, value_name = "ADDRESS")]
    gateway: Vec<String>,
    /// Give containers addresses from this part of the subnet
    #[arg(long, value_name = "SUBNET")]
    ip_range: Vec<String>,
    /// Have IPv4, which each network has
    #[arg(long, default_value = "true", default_missing_value = "true", num_args = 0..=1, require_equals = true, hide = true, action = clap::ArgAction::Set)]
    ipv4: bool,
    /// Have IPv6 too
    #[arg(long, default_value = "false", default_missing_value = "true", num_args = 0..=1, require_equals = true, hide_default_value = true, hide_possible_values = true)]
    ipv6: bool,
    /// Have no way out, neither for packets nor for questions for names
    #[arg(long)]
    internal: bool,
    /// Keep containers on it from each other
    #[arg(long)]
    isolated: bool,
    /// Remember something about it
    #[arg(long, value_name = "NAME[=VALUE]")]
    label: Vec<String>,
    /// com.docker.network.driver.mtu=BYTES, com.docker.network.bridge.name=NAME or com.docker.network.bridge.enable_icc=false
    #[arg(short, long, value_name = "NAME=VALUE")]
    opt: Vec<String>,
    /// bridge, which is all there is
    #[arg(
        short,
        long,
        value_name = "DRIVER",
        default_value = "bridge",
        hide_default_value = true
    )]
    driver: String,
    /// Its name
    #[arg(value_name = "NETWORK")]
    name: String,
}

impl Create {
    pub(crate) fn run(self) -> Result<u8> {
        plainly(|| {
            let request = self.request()?;
            let id = engine()?.create_network(&request)?;
            print(&format!("{id}\n"));
            Ok(())
        })
    }

    fn request(&self) -> Result<NetworkRequest> {
        if self.driver != "bridge" {
            return Err(value::bad("--driver", &self.driver, "bridge"));
        }
        if !self.ipv4 {
            return Err(value::bad(
                "--ipv4",
                "false",
                "true: a network has IPv4 in any case, and IPv6 beside it with --ipv6; for IPv6 alone let the programs listen on its addresses only",
            ));
        }
        let subnets = |flag, texts: &[String]| -> Result<Vec<Subnet>> {
            let one = |text: &String| {
                text.parse::<Subnet>()
                    .map_err(|error| value::bad(flag, text, format!("a subnet ({error})")))
            };
            texts.iter().map(one).collect()
        };
        let gateways = self.gateway.iter().map(|text| {
            let address = text.parse();
            address.map_err(|_| value::bad("--gateway", text, "an IP address"))
        });
        let mut request = NetworkRequest::default();
        request.name.clone_from(&self.name);
        request.subnets = subnets("--subnet", &self.subnet)?;
        request.ranges = subnets("--ip-range", &self.ip_range)?;
        request.gateways = gateways.collect::<Result<_>>()?;
        request.ipv6 = self.ipv6;
        request.internal = self.internal;
        request.isolated = self.isolated;
        request.labels = value::labels(&self.label);
        request.options = self.options()?;
        for (name, text) in &request.options {
            let bad = |expected: &str| value::bad("--opt", &format!("{name}={text}"), expected);
            match name.as_str() {
                MTU => request.mtu = Some(text.parse().map_err(|_| bad("a number of bytes"))?),
                BRIDGE => request.bridge = Some(text.clone()),
                TALK => match text.as_str() {
                    "true" | "1" => {}
                    "false" | "0" => request.isolated = true,
                    _ => return Err(bad("true or false")),
                },
                _ => return Err(bad(&format!("{MTU}=…, {BRIDGE}=… or {TALK}=…"))),
            }
        }
        Ok(request)
    }

    fn options(&self) -> Result<BTreeMap<String, String>> {
        let one = |text: &String| {
            let (name, value) = text
                .split_once('=')
                .ok_or_else(|| value::bad("--opt", text, "NAME=VALUE"))?;
            Ok((name.to_owned(), value.to_owned()))
        };
        self.opt.iter().map(one).collect()
    }
}
