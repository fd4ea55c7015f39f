//! Whom the host asks for names.

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use crate::{Error, Result, file};

/// The name servers of IPv4 in a [resolv.conf(5)](https://man7.org/linux/man-pages/man5/resolv.conf.5.html). A host without
/// the file asks itself.
pub(crate) fn servers(resolv_conf: &Path) -> Result<Vec<Ipv4Addr>> {
    let why = "so that a container's questions for names go where the host's own go";
    match file::read(resolv_conf, why) {
        Ok(text) => Ok(parse(&String::from_utf8_lossy(&text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(vec![Ipv4Addr::LOCALHOST]),
        Err(error) => Err(Error::file("read", resolv_conf, error)),
    }
}

fn parse(text: &str) -> Vec<Ipv4Addr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        let key = words.next();
        words
            .next()
            .filter(|_| key == Some("nameserver"))?
            .parse()
            .ok()
    };
    text.lines().filter_map(server).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_of_ipv4_are_found_in_their_order() {
        let text = "# mine\nsearch example\nnameserver fe80::1%eth0\n;nameserver 192.0.2.9\nnameserver\t192.0.2.2 \nnameserver\nnameserver 127.0.0.1 x";
        assert_eq!(
            parse(text),
            [[192, 0, 2, 2].into(), [127, 0, 0, 1].into()] as [Ipv4Addr; 2]
        );
        assert!(parse("nameserver ::1\n").is_empty());
    }

    #[test]
    fn a_host_without_the_file_asks_itself() {
        let dir = tempfile::tempdir().unwrap();
        let found = servers(&dir.path().join("resolv.conf")).unwrap();
        assert_eq!(found, [Ipv4Addr::LOCALHOST]);
    }
}
