//! The files of `/etc` that are the engine's to write: hosts, hostname and resolv.conf.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;

use super::disk;
use super::options::Network;
use crate::Result;

/// What Docker falls back to where the host has no resolver that a container could reach.
const FALLBACK: &str = "nameserver 8.8.8.8\nnameserver 8.8.4.4\n";
/// What systemd-resolved keeps for those who do not ask it.
const UPSTREAM: &str = "/run/systemd/resolve/resolv.conf";

/// The text of `/etc/hosts`.
pub(crate) fn hosts(address: Option<IpAddr>, hostname: &str) -> String {
    let mut text =
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
                    ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
            .to_owned();
    if let Some(address) = address {
        // A string takes all that is written to it.
        let _ = writeln!(text, "{address}\t{hostname}");
    }
    text
}

/// The text of `/etc/resolv.conf` for a container on `network`.
pub(crate) fn resolv_conf(network: Network) -> String {
    let read = |path| {
        let why = "so that the container asks the resolvers that the host asks";
        let text = disk::read(Path::new(path), why).unwrap_or_default();
        String::from_utf8(text).unwrap_or_default()
    };
    let host = read("/etc/resolv.conf");
    match network {
        Network::Host => host,
        Network::None => String::new(),
        // With pasta it is written anew when it is known what answers.
        Network::Bridge | Network::Default | Network::Pasta => reachable(&host)
            .or_else(|| reachable(&read(UPSTREAM)))
            .unwrap_or_else(|| FALLBACK.to_owned() + &options(&host)),
    }
}

/// The text of `/etc/resolv.conf` for a container that asks these resolvers, with the host's own search domains and options.
pub(crate) fn resolv_conf_of(servers: &[IpAddr]) -> String {
    let mut text = String::new();
    for server in servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    text + &options(&resolv_conf(Network::Host))
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

fn options(text: &str) -> String {
    text.lines()
        .filter(|line| line.starts_with("search") || line.starts_with("options"))
        .map(|line| format!("{line}\n"))
        .collect()
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
        assert_eq!(options(text), "search lan\noptions ndots:1\n");
    }

    #[test]
    fn the_container_finds_itself_by_name() {
        assert!(hosts(Some([10, 88, 0, 2].into()), "web").ends_with("10.88.0.2\tweb\n"));
        assert!(!hosts(None, "web").contains("web"));
    }
}
