//! What a container sees of the network, and what it is called there, as a person types it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use clap::Args;

use super::value;
use crate::engine::check_gateway;
use crate::{Network, NetworkEndpoint, Result, RunOptions};

/// Networks and names.
#[derive(Debug, Args)]
pub(super) struct Networking {
    /// A network, several of them (NAME or name=NAME,alias=…,ip=…,ip6=…,mac-address=…), none, host or container:NAME
    #[arg(
        long,
        visible_alias = "net",
        value_name = "NETWORK",
        help_heading = "Network"
    )]
    network: Vec<String>,
    /// The address, of IPv4, on the first network
    #[arg(long, value_name = "ADDRESS", help_heading = "Network")]
    ip: Option<String>,
    /// The address of IPv6 on the first network
    #[arg(long, value_name = "ADDRESS", help_heading = "Network")]
    ip6: Option<String>,
    /// The MAC address on the first network
    #[arg(long, value_name = "MAC", help_heading = "Network")]
    mac_address: Option<String>,
    /// A further name by which others on the first network find it
    #[arg(
        long,
        visible_alias = "net-alias",
        value_name = "NAME",
        help_heading = "Network"
    )]
    network_alias: Vec<String>,
    /// A resolver to ask in place of the host's
    #[arg(long, value_name = "ADDRESS", help_heading = "Network")]
    dns: Vec<String>,
    /// A domain to look for names in; a dot for none
    #[arg(long, value_name = "DOMAIN", help_heading = "Network")]
    dns_search: Vec<String>,
    /// An option of the resolver, see resolv.conf(5)
    #[arg(
        long,
        visible_alias = "dns-opt",
        value_name = "OPTION",
        help_heading = "Network"
    )]
    dns_option: Vec<String>,
    /// A name and its address; host-gateway is the host
    #[arg(long, value_name = "NAME:ADDRESS", help_heading = "Network")]
    add_host: Vec<String>,
    /// Name the host
    #[arg(short = 'h', long, value_name = "NAME", help_heading = "Network")]
    hostname: Option<String>,
    /// Name the NIS domain
    #[arg(long, value_name = "NAME", help_heading = "Network")]
    domainname: Option<String>,
}

impl Networking {
    /// Adds the same, in the words of the engine.
    pub(super) fn add_to(&self, options: &mut RunOptions<'_>) -> Result<()> {
        (options.network, options.endpoints) = self.networks()?;
        self.first(options)?;
        options.hostname.clone_from(&self.hostname);
        options.domainname.clone_from(&self.domainname);
        let servers = self.dns.iter().map(|text| {
            let address = text.parse::<IpAddr>();
            address.map_err(|_| value::bad("--dns", text, "an IP address"))
        });
        options.dns = servers.collect::<Result<_>>()?;
        options.dns_search = words("--dns-search", &self.dns_search)?;
        options.dns_options = words("--dns-option", &self.dns_option)?;
        let hosts = self.add_host.iter().map(|text| host(text));
        options.hosts = hosts.collect::<Result<_>>()?;
        // Whose network it is, his names they are.
        if matches!(options.network, Network::Container(_)) {
            for (flag, given) in [
                ("--hostname", self.hostname.is_some()),
                ("--dns", !self.dns.is_empty()),
                ("--dns-search", !self.dns_search.is_empty()),
                ("--dns-option", !self.dns_option.is_empty()),
                ("--add-host", !self.add_host.is_empty()),
            ] {
                if given {
                    let network = options.network.to_string();
                    let expected =
                        format!("no {flag} with it: names are those of the other container");
                    return Err(value::bad("--network", &network, expected));
                }
            }
        }
        check_gateway(&options.hosts, &options.network)
    }

    fn networks(&self) -> Result<(Network, Vec<NetworkEndpoint>)> {
        let alone = |network: Network| match &self.network[..] {
            [_] => Ok((network, Vec::new())),
            _ => Err(value::bad(
                "--network",
                &network.to_string(),
                "no other one beside it",
            )),
        };
        let mut endpoints: Vec<NetworkEndpoint> = Vec::new();
        for text in &self.network {
            let endpoint = match text.as_str() {
                "pasta" => return alone(Network::Pasta),
                "none" => return alone(Network::None),
                "host" => return alone(Network::Host),
                "default" if self.network.len() == 1 => return alone(Network::Default),
                "default" => NetworkEndpoint::new("bridge"),
                text => match text.strip_prefix("container:") {
                    Some(name) if !name.is_empty() => {
                        return alone(Network::Container(name.to_owned()));
                    }
                    _ => endpoint(text)?,
                },
            };
            if endpoints
                .iter()
                .any(|other| other.network == endpoint.network)
            {
                return Err(value::bad("--network", text, "each network once"));
            }
            endpoints.push(endpoint);
        }
        Ok(match endpoints.is_empty() {
            true => (Network::Default, endpoints),
            false => (Network::Bridge, endpoints),
        })
    }

    /// What is said of the first network in flags of its own.
    fn first(&self, options: &mut RunOptions<'_>) -> Result<()> {
        let address = parsed::<Ipv4Addr>("--ip", self.ip.as_deref(), "an address of IPv4")?;
        let address6 = parsed::<Ipv6Addr>("--ip6", self.ip6.as_deref(), "an address of IPv6")?;
        let mac = self.mac_address.as_deref();
        let mac = mac
            .map(|text| mac_address("--mac-address", text))
            .transpose()?;
        let aliases = aliases(
            "--network-alias",
            self.network_alias.iter().map(String::as_str),
        )?;
        let said = [
            ("--ip", self.ip.as_deref()),
            ("--ip6", self.ip6.as_deref()),
            ("--mac-address", self.mac_address.as_deref()),
            (
                "--network-alias",
                self.network_alias.first().map(String::as_str),
            ),
        ];
        let said = said
            .into_iter()
            .find_map(|(flag, text)| Some((flag, text?)));
        let Some((flag, text)) = said else {
            return check_default(&options.endpoints);
        };
        match options.network {
            Network::Default => {
                options.network = Network::Bridge;
                options.endpoints = vec![NetworkEndpoint::new("bridge")];
            }
            Network::Bridge => {}
            _ => {
                return Err(value::bad(
                    flag,
                    text,
                    "a container on a network of its own",
                ));
            }
        }
        let first = &mut options.endpoints[0];
        first.address = address.or(first.address);
        first.address6 = address6.or(first.address6);
        first.mac = mac.or(first.mac);
        first.aliases.extend(aliases);
        check_default(&options.endpoints)
    }
}

/// Checks that nobody asks for what the default network does not have.
fn check_default(endpoints: &[NetworkEndpoint]) -> Result<()> {
    let expected = "a network that was made by rocker network create: on the default one nobody has a fixed address, or a name";
    let Some(place) = endpoints.iter().find(|place| place.is_default()) else {
        return Ok(());
    };
    let address = place.address.map(|one| one.to_string());
    let address = address.or(place.address6.map(|one| one.to_string()));
    match (address, place.aliases.first()) {
        (Some(address), _) => Err(value::bad("--ip", &address, expected)),
        (None, Some(alias)) => Err(value::bad("--network-alias", alias, expected)),
        (None, None) => Ok(()),
    }
}

/// `NAME`, or `name=NAME,alias=NAME,ip=ADDRESS,ip6=ADDRESS,mac-address=MAC`.
fn endpoint(text: &str) -> Result<NetworkEndpoint> {
    let expected = "NAME, or name=NAME,alias=NAME,ip=ADDRESS,ip6=ADDRESS,mac-address=MAC";
    if !text.contains('=') {
        return match text.is_empty() || text.contains(':') {
            true => Err(value::bad(
                "--network",
                text,
                "a network, none, host or container:NAME",
            )),
            false => Ok(NetworkEndpoint::new(text)),
        };
    }
    let mut endpoint = NetworkEndpoint::default();
    for part in text.split(',') {
        let (name, value) = part
            .split_once('=')
            .ok_or_else(|| value::bad("--network", text, expected))?;
        match name {
            "name" => endpoint.network = value.to_owned(),
            "alias" => endpoint
                .aliases
                .extend(aliases("--network alias", [value])?),
            "ip" => endpoint.address = parsed("--network ip", Some(value), "an address of IPv4")?,
            "ip6" => {
                endpoint.address6 = parsed("--network ip6", Some(value), "an address of IPv6")?
            }
            "mac-address" => endpoint.mac = Some(mac_address("--network mac-address", value)?),
            _ => return Err(value::bad("--network", text, expected)),
        }
    }
    match endpoint.network.is_empty() {
        true => Err(value::bad("--network", text, expected)),
        false => Ok(endpoint),
    }
}

fn parsed<T: std::str::FromStr>(
    flag: &'static str,
    text: Option<&str>,
    expected: &str,
) -> Result<Option<T>> {
    let parse = |text: &str| text.parse().map_err(|_| value::bad(flag, text, expected));
    text.map(parse).transpose()
}

/// Further names, each of which is one that a resolver can be asked for.
pub(crate) fn aliases<'a>(
    flag: &'static str,
    texts: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<String>> {
    let is_name = |text: &str| {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        !text.is_empty() && text.len() <= 253 && text.bytes().all(good)
    };
    let checked = |text: &'a str| match is_name(text) {
        true => Ok(text.to_owned()),
        false => Err(value::bad(flag, text, "letters, digits, `-`, `.` and `_`")),
    };
    texts.into_iter().map(checked).collect()
}

/// `02:42:0a:00:00:02`, of one interface.
pub(crate) fn mac_address(flag: &'static str, text: &str) -> Result<[u8; 6]> {
    let bad = || {
        value::bad(
            flag,
            text,
            "six bytes such as 02:42:0a:00:00:02, of no group",
        )
    };
    let mut bytes = [0; 6];
    let mut parts = text.split([':', '-']);
    for byte in &mut bytes {
        let part = parts
            .next()
            .filter(|part| part.len() == 2)
            .ok_or_else(bad)?;
        *byte = u8::from_str_radix(part, 16).map_err(|_| bad())?;
    }
    match parts.next().is_none() && bytes[0] & 1 == 0 && bytes != [0; 6] {
        true => Ok(bytes),
        false => Err(bad()),
    }
}

/// `NAME:ADDRESS`, or `NAME=ADDRESS`.
fn host(text: &str) -> Result<(String, String)> {
    let bad = || value::bad("--add-host", text, "NAME:ADDRESS, or NAME:host-gateway");
    let (name, address) = text.split_once(['=', ':']).ok_or_else(bad)?;
    let name = aliases("--add-host", [name])?.remove(0);
    let bare = address
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let address = bare.unwrap_or(address);
    match address == "host-gateway" || address.parse::<IpAddr>().is_ok() {
        true => Ok((name, address.to_owned())),
        false => Err(bad()),
    }
}

/// Words of a line of resolv.conf.
fn words(flag: &'static str, texts: &[String]) -> Result<Vec<String>> {
    let is_word = |text: &str| {
        !text.is_empty() && text.len() <= 253 && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    match texts.iter().find(|text| !is_word(text)) {
        Some(text) => Err(value::bad(flag, text, "one word")),
        None => Ok(texts.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use clap::{Command, FromArgMatches};

    use super::*;

    fn options(args: &str) -> Result<RunOptions<'static>> {
        let command = Networking::augment_args(Command::new("x").disable_help_flag(true));
        let matches =
            command.try_get_matches_from(std::iter::once("x").chain(args.split_whitespace()));
        let networking = Networking::from_arg_matches(&matches.unwrap()).unwrap();
        let mut options = RunOptions::new("image");
        networking.add_to(&mut options).map(|()| options)
    }

    #[test]
    fn networks_are_named_one_by_one_and_the_first_has_flags_of_its_own() {
        assert_eq!(options("").unwrap().network, Network::Default);
        assert_eq!(options("--network host").unwrap().network, Network::Host);
        let found = options("--net container:web").unwrap();
        assert_eq!(found.network, Network::Container("web".into()));
        let args = "--network a --network name=b,alias=x,alias=y,ip=10.0.0.7,ip6=fd00::7,mac-address=02:00:00:00:00:07 \
                    --ip 10.1.0.9 --network-alias z --mac-address 02-42-00-00-00-09";
        let found = options(args).unwrap();
        assert_eq!(found.network, Network::Bridge);
        let mut a = NetworkEndpoint::new("a");
        a.aliases = vec!["z".into()];
        a.address = Some([10, 1, 0, 9].into());
        a.mac = Some([2, 0x42, 0, 0, 0, 9]);
        let mut b = NetworkEndpoint::new("b");
        b.aliases = vec!["x".into(), "y".into()];
        b.address = Some([10, 0, 0, 7].into());
        b.address6 = Some("fd00::7".parse().unwrap());
        b.mac = Some([2, 0, 0, 0, 0, 7]);
        assert_eq!(found.endpoints, [a, b]);
        assert_eq!(found.network_names(), "a,b");
        let found = options("--mac-address 02:42:00:00:00:09").unwrap();
        assert_eq!(found.endpoints[0].network, "bridge");
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_the_flag() {
        for args in [
            "--network host --network a",
            "--network a --network a",
            "--network a --network name=a",
            "--network container:",
            "--network name=,ip=10.0.0.1",
            "--network name=a,driver-opt=x",
            "--network name=a,ip",
            "--network a --ip 10.0.0",
            "--network a --ip fd00::1",
            "--network a --ip6 10.0.0.1",
            "--network a --mac-address 01:00:00:00:00:01",
            "--network a --mac-address 02:00:00:00:00",
            "--network a --mac-address 02:00:00:00:00:0x",
            "--network a --network-alias a/b",
            "--network none --ip 10.0.0.1",
            "--network host --network-alias a",
            "--ip 10.0.0.1",
            "--network-alias a",
            "--network name=bridge,alias=a",
            "--network container:a --hostname b",
            "--network container:a --dns 10.0.0.1",
            "--network container:a --add-host b:10.0.0.1",
            "--network none --add-host b:host-gateway",
            "--dns x",
            "--add-host b",
            "--add-host b:c",
            "--add-host :10.0.0.1",
        ] {
            assert!(options(args).is_err(), "{args}");
        }
    }

    #[test]
    fn hosts_have_addresses_of_both_protocols() {
        let found = options(
            "--add-host a:10.0.0.1 --add-host b:fd00::1 --add-host c=[fd00::2] --add-host d:host-gateway",
        );
        let found = found.unwrap().hosts;
        let shown: Vec<_> = found
            .iter()
            .map(|(name, address)| format!("{name} {address}"))
            .collect();
        assert_eq!(
            shown,
            ["a 10.0.0.1", "b fd00::1", "c fd00::2", "d host-gateway"]
        );
    }
}
