//! The files of `/etc` that are the engine's to write: hosts, hostname and resolv.conf.

use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use rocker_net::Section;

use crate::engine::disk;
use crate::engine::options::{Network, RunOptions};
use crate::{Error, Result};

/// What Docker falls back to where the host has no resolver that a container could reach.
const FALLBACK: &str = "nameserver 8.8.8.8\nnameserver 8.8.4.4\n";
/// What a container is told then.
const SAID: &str = "# The host asks only itself for names (or nobody), which a container cannot: --dns says whom to ask.\n";
/// What it is told where there is no way to anybody.
const INSIDE: &str = "# There is no way out of this container's networks, and so no resolver.\n";
/// The host's own.
const OWN: &str = "/etc/resolv.conf";
/// What systemd-resolved keeps for those who do not ask it.
const UPSTREAM: &str = "/run/systemd/resolve/resolv.conf";

/// What stands for the host's own address on the container's network, in a line of `/etc/hosts`.
pub(crate) const HOST_GATEWAY: &str = "host-gateway";

/// Checks that nobody asks for the host's address on a network by which the host is not to be reached.
///
/// # Errors
/// [`Error::BadValue`].
pub(crate) fn check_gateway(hosts: &[(String, String)], network: &Network) -> Result<()> {
    let gateway = hosts.iter().find(|(_, address)| address == HOST_GATEWAY);
    match (network, gateway) {
        (Network::None | Network::Pasta, Some((name, _))) => Err(Error::bad_value(
            "--add-host",
            format!("{name}:{HOST_GATEWAY}"),
            "an address: on this network the host is not to be reached",
        )),
        _ => Ok(()),
    }
}

/// How far a container gets with its questions for names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Reach {
    /// It is on no network.
    #[default]
    Nowhere,
    /// By none of its networks there is a way out.
    Inside,
    /// To whomever the host asks.
    Outside,
}

/// The lines of `/etc/hosts` that follow from where the container is, and change when it comes to a network or leaves one.
pub(crate) fn own_addresses() -> Section {
    Section::new("own addresses")
}

/// All of `/etc/resolv.conf`, unless somebody in the container adds to it.
pub(crate) fn resolvers() -> Section {
    Section::new("resolvers")
}

/// Whether a container may come to networks and leave them while it runs.
fn may_move(options: &RunOptions<'_>) -> bool {
    match options.network {
        Network::Bridge | Network::Default | Network::None => true,
        Network::Pasta | Network::Host | Network::Container(_) => false,
    }
}

/// The text of `/etc/hosts` of a container that has these addresses, and finds the host by `gateway`. What else is in it comes from
/// rocker-net: who else is on its networks.
pub(crate) fn hosts(
    own: &[IpAddr],
    gateway: Option<IpAddr>,
    hostname: &str,
    options: &RunOptions<'_>,
) -> String {
    let mut text =
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
                    ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
            .to_owned();
    // A string takes all that is written to it.
    for (name, address) in &options.hosts {
        if address != HOST_GATEWAY {
            let _ = writeln!(text, "{address}\t{name}");
        }
    }
    let lines = own_lines(own, gateway, hostname, options);
    match may_move(options) && !lines.is_empty() {
        true => text + &own_addresses().text(&lines),
        false => text + &lines,
    }
}

/// The lines of it that are about the container's own networks.
pub(crate) fn own_lines(
    own: &[IpAddr],
    gateway: Option<IpAddr>,
    hostname: &str,
    options: &RunOptions<'_>,
) -> String {
    let mut text = String::new();
    for (name, address) in &options.hosts {
        // It is known when the network is.
        if let (HOST_GATEWAY, Some(gateway)) = (address.as_str(), gateway) {
            let _ = writeln!(text, "{gateway}\t{name}");
        }
    }
    for address in own {
        match &options.domainname {
            Some(domain) => drop(writeln!(text, "{address}\t{hostname}.{domain} {hostname}")),
            None => drop(writeln!(text, "{address}\t{hostname}")),
        }
    }
    text
}

/// The text of `/etc/resolv.conf` for a container with these options.
pub(crate) fn resolv_conf(options: &RunOptions<'_>) -> String {
    match options.network {
        Network::None => resolvers().text(&resolver_lines(options, Reach::Nowhere)),
        Network::Bridge | Network::Default => {
            resolvers().text(&resolver_lines(options, Reach::Outside))
        }
        // With pasta it is written anew when it is known what answers.
        Network::Pasta => resolver_lines(options, Reach::Outside),
        Network::Container(_) => over("", options),
        Network::Host if says_all(options) => over("", options),
        Network::Host => over(&read(OWN), options),
    }
}

/// The same for one that can reach no resolver but those that it was given.
pub(crate) fn resolv_conf_of_internal(options: &RunOptions<'_>) -> String {
    resolvers().text(&resolver_lines(options, Reach::Inside))
}

/// Whom a container with these options asks for names that gets so far, and how.
pub(crate) fn resolver_lines(options: &RunOptions<'_>, reach: Reach) -> String {
    let text = match reach {
        Reach::Nowhere => String::new(),
        Reach::Inside => INSIDE.to_owned(),
        // Where all is said already, nothing is looked up.
        Reach::Outside if says_all(options) => String::new(),
        Reach::Outside => {
            let host = read(OWN);
            reachable(&host)
                .or_else(|| reachable(&read(UPSTREAM)))
                .unwrap_or_else(|| format!("{SAID}{FALLBACK}{}", settings(&host)))
        }
    };
    over(&text, options)
}

fn says_all(options: &RunOptions<'_>) -> bool {
    !options.dns.is_empty() && !options.dns_search.is_empty() && !options.dns_options.is_empty()
}

/// What a file of the host says about names; nothing where it cannot be read.
fn read(path: &str) -> String {
    let why = "so that the container asks the resolvers that the host asks";
    let text = disk::read(Path::new(path), why).unwrap_or_default();
    String::from_utf8(text).unwrap_or_default()
}

/// The same for a container that asks these resolvers, with the host's own search domains and options.
pub(crate) fn resolv_conf_of(servers: &[IpAddr], options: &RunOptions<'_>) -> String {
    let mut text = String::new();
    for server in servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    let why = "so that the container looks for names where the host does";
    let host = disk::read(Path::new(OWN), why).unwrap_or_default();
    over(
        &(text + &settings(&String::from_utf8_lossy(&host))),
        options,
    )
}

/// The text with what the options say in place of what it has.
fn over(text: &str, options: &RunOptions<'_>) -> String {
    let replaced = |line: &&str| {
        let word = line.split_whitespace().next().unwrap_or_default();
        match word {
            "nameserver" => !options.dns.is_empty(),
            "search" | "domain" => !options.dns_search.is_empty(),
            "options" => !options.dns_options.is_empty(),
            _ => !options.dns.is_empty() && line.starts_with(SAID.trim_end()),
        }
    };
    let mut result: String = text
        .split_inclusive('\n')
        .filter(|line| !replaced(line))
        .collect();
    if !result.is_empty() && !result.ends_with('\n') {
        result.push('\n');
    }
    for server in &options.dns {
        let _ = writeln!(result, "nameserver {server}");
    }
    // A dot alone is nowhere.
    let search: Vec<_> = options
        .dns_search
        .iter()
        .filter(|one| *one != ".")
        .collect();
    if !search.is_empty() {
        let words: Vec<_> = search.iter().map(|one| one.as_str()).collect();
        let _ = writeln!(result, "search {}", words.join(" "));
    }
    if !options.dns_options.is_empty() {
        let _ = writeln!(result, "options {}", options.dns_options.join(" "));
    }
    result
}

/// The file without the resolvers that only the host itself can reach; none when no resolver is left.
fn reachable(text: &str) -> Option<String> {
    let is_local = |address: &str| {
        let address = address.split('%').next().unwrap_or_default();
        address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
    };
    let server = |line: &str| {
        line.strip_prefix("nameserver")
            .map(|rest| rest.trim().to_owned())
    };
    let kept: Vec<&str> = text
        .lines()
        .filter(|line| !server(line).is_some_and(|address| is_local(&address)))
        .collect();
    kept.iter()
        .any(|line| server(line).is_some())
        .then(|| kept.join("\n") + "\n")
}

/// The lines that are about anything but resolvers.
fn settings(text: &str) -> String {
    text.lines()
        .filter(|line| line.starts_with("search") || line.starts_with("options"))
        .map(|line| format!("{line}\n"))
        .collect()
}

/// Removes one of the files. That there is none is fine.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let why = "so that the container does not begin with what its last run has made of the file";
    match disk::remove_file(path, why) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(disk::failed("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Writes one of the files, readable for everybody in the container. An existing one keeps its inode, by which the
/// container has it mounted.
pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    let why = "so that the container finds names and addresses where its programs look for them";
    disk::write(path, text.as_bytes(), why)
        .and_then(|()| {
            disk::chmod(
                path,
                0o644,
                "so that every user of the container can read it",
            )
        })
        .map_err(disk::failed("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_that_only_the_host_reaches_are_left_out() {
        let text = "search lan\nnameserver 127.0.0.53\nnameserver 192.0.2.1\nnameserver ::1\noptions ndots:1\n";
        assert_eq!(
            reachable(text).unwrap(),
            "search lan\nnameserver 192.0.2.1\noptions ndots:1\n"
        );
        assert_eq!(reachable("nameserver 127.0.0.1\nsearch lan\n"), None);
        assert_eq!(settings(text), "search lan\noptions ndots:1\n");
    }

    #[test]
    fn the_host_is_not_asked_for_where_it_is_not_to_be_reached() {
        let host = |address: &str| vec![("host".to_owned(), address.to_owned())];
        for network in [Network::None, Network::Pasta] {
            let error = check_gateway(&host(HOST_GATEWAY), &network).unwrap_err();
            assert!(error.to_string().contains("host:host-gateway"), "{error}");
            check_gateway(&host("192.0.2.1"), &network).unwrap();
        }
        check_gateway(&host(HOST_GATEWAY), &Network::Bridge).unwrap();
    }

    #[test]
    fn the_container_finds_itself_and_whom_it_was_told_of() {
        let mut options = RunOptions::new("x");
        let own = [IpAddr::from([10, 88, 0, 2])];
        let text =
            |options: &RunOptions<'_>| hosts(&own, Some([10, 88, 0, 1].into()), "web", options);
        let section = own_addresses();
        assert!(text(&options).ends_with(&section.text("10.88.0.2\tweb\n")));
        assert!(!hosts(&[], None, "web", &options).contains("web"));
        options.hosts = vec![
            ("db".to_owned(), "192.0.2.1".to_owned()),
            ("host".to_owned(), HOST_GATEWAY.to_owned()),
        ];
        options.domainname = Some("example.org".to_owned());
        let lines = "10.88.0.1\thost\n10.88.0.2\tweb.example.org web\n";
        let all = format!("192.0.2.1\tdb\n{}", section.text(lines));
        assert!(text(&options).ends_with(&all), "{}", text(&options));
        assert!(hosts(&[], None, "web", &options).ends_with("192.0.2.1\tdb\n"));
        // Nothing changes where it stays on the network that it has.
        options.network = Network::Pasta;
        let all = format!("192.0.2.1\tdb\n{lines}");
        assert!(text(&options).ends_with(&all), "{}", text(&options));
    }

    #[test]
    fn what_is_asked_for_takes_the_place_of_what_the_host_has() {
        let host = "domain lan\nnameserver 192.0.2.1\noptions ndots:1";
        let mut options = RunOptions::new("x");
        assert_eq!(over(host, &options), format!("{host}\n"));
        options.dns = vec![[192, 0, 2, 7].into(), "fd00::7".parse().unwrap()];
        assert_eq!(
            over(host, &options),
            "domain lan\noptions ndots:1\nnameserver 192.0.2.7\nnameserver fd00::7\n"
        );
        options.dns_search = vec!["a.example".into(), "b.example".into()];
        options.dns_options = vec!["timeout:1".into(), "use-vc".into()];
        let all = "nameserver 192.0.2.7\nnameserver fd00::7\nsearch a.example b.example\noptions timeout:1 use-vc\n";
        assert_eq!(over(host, &options), all);
        assert_eq!(resolv_conf(&options), resolvers().text(all));
        assert_eq!(resolver_lines(&options, Reach::Nowhere), all);
        options.dns_search = vec![".".into()];
        assert!(!over(host, &options).contains("search"));
        assert!(resolver_lines(&options, Reach::Inside).starts_with(INSIDE));
        let said = format!("{SAID}{FALLBACK}");
        assert!(!over(&said, &options).contains("--dns"));
    }
}
