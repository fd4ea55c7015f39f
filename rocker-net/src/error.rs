//! What can go wrong, each with what was done, to what, and why it failed.

use std::error::Error as _;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use crate::Subnet;

/// The result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed operation of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused a netlink request.
    #[error("{operation} {object}{}", kernel_says(.detail.as_deref()))]
    Netlink {
        /// What was asked for, as a verb.
        operation: &'static str,
        /// What it was asked for.
        object: String,
        /// The kernel's own words (extended acknowledgement), where it gave any.
        detail: Option<String>,
        /// The errno.
        #[source]
        source: io::Error,
    },
    /// The caller may not configure the network.
    #[error(
        "{operation} {object}: needs CAP_NET_ADMIN over the network namespace; \
         run as root, or in a user namespace that owns it"
    )]
    Permission {
        /// What was asked for, as a verb.
        operation: &'static str,
        /// What it was asked for.
        object: String,
        /// The errno.
        #[source]
        source: io::Error,
    },
    /// The running kernel lacks a module.
    #[error(
        "{operation} {object}: the kernel has no {module}; \
         load it (modprobe {module}) or boot a kernel that has it"
    )]
    Unsupported {
        /// What was asked for, as a verb.
        operation: &'static str,
        /// What it was asked for.
        object: String,
        /// The module that provides it.
        module: &'static str,
        /// The errno.
        #[source]
        source: io::Error,
    },
    /// The answer to a netlink request makes no sense.
    #[error("{operation} {object}: the kernel's answer lacks {missing}")]
    Answer {
        /// What was asked for, as a verb.
        operation: &'static str,
        /// What it was asked for.
        object: String,
        /// What the answer should have held.
        missing: &'static str,
    },
    /// A network interface of that name exists, and it is not ours.
    #[error("the interface name {name} is taken by something that is not {wanted}")]
    NameTaken {
        /// The interface.
        name: String,
        /// What it should have been.
        wanted: &'static str,
    },
    /// A name that cannot be an interface's, a network's or an owner's.
    #[error("{name:?} is no valid {kind}: {rule}")]
    InvalidName {
        /// What the name was for.
        kind: &'static str,
        /// The name.
        name: String,
        /// What a valid one looks like.
        rule: &'static str,
    },
    /// A network namespace could not be made, opened or entered.
    #[error("{operation} a network namespace")]
    Namespace {
        /// What was done, as a verb.
        operation: &'static str,
        /// The errno.
        #[source]
        source: io::Error,
    },
    /// A file of the state directory or a sysctl could not be used.
    #[error("{operation} {}", .path.display())]
    File {
        /// What was done, as a verb.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The errno, or what is wrong with the content.
        #[source]
        source: io::Error,
    },
    /// A text is no subnet.
    #[error("{text:?} is no subnet: {reason}")]
    ParseSubnet {
        /// The text.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Every address of the subnet has been leased.
    #[error("no free address is left in {subnet}; remove a container, or use a larger subnet")]
    SubnetFull {
        /// The subnet.
        subnet: Subnet,
    },
    /// The address asked for is somebody's.
    #[error("{address} is taken by {owner}; choose another address")]
    AddressTaken {
        /// The address.
        address: IpAddr,
        /// Who has it.
        owner: String,
    },
    /// The address asked for is not one of the subnet.
    #[error("{address} is no address of a host in {subnet}; choose one that lies in it")]
    AddressOutside {
        /// The address.
        address: IpAddr,
        /// The subnet.
        subnet: Subnet,
    },
    /// A network cannot be as it was asked for.
    #[error("network {network}: {rule}")]
    InvalidNetwork {
        /// The network.
        network: String,
        /// What is wrong, and what would be right.
        rule: String,
    },
    /// There is a network of that name.
    #[error("there is a network {network} already; choose another name, or remove it first")]
    NetworkExists {
        /// The network.
        network: String,
    },
    /// There is no network of that name.
    #[error("there is no network {network}")]
    NoNetwork {
        /// The network.
        network: String,
    },
    /// The owner is not attached to the network.
    #[error("{owner} is not attached to network {network}")]
    NotAttached {
        /// The network.
        network: String,
        /// Who is not attached.
        owner: String,
    },
    /// Somebody is attached to the network.
    #[error("network {network} is in use by {}; detach them first", .owners.join(", "))]
    NetworkInUse {
        /// The network.
        network: String,
        /// Who is attached.
        owners: Vec<String>,
    },
    /// The subnet asked for overlaps something that the host or another network uses.
    #[error("subnet {subnet} overlaps {with}, which is in use; choose another one")]
    SubnetCollides {
        /// The subnet asked for.
        subnet: Subnet,
        /// The address range or route that is there already.
        with: Subnet,
    },
    /// Every subnet of the built-in pool overlaps something.
    #[error(
        "every subnet of the pool overlaps a route or address of this host; name one that is free"
    )]
    NoFreeSubnet,
    /// The network is in use with another subnet than the one asked for.
    #[error("network {network} is in use with subnet {current}, not {requested}")]
    SubnetDiffers {
        /// The network.
        network: String,
        /// The subnet of the attached containers.
        current: Subnet,
        /// The subnet asked for.
        requested: Subnet,
    },
    /// IPv4 and IPv6 were mixed, or IPv6 was given where only IPv4 works yet.
    #[error("{address} is of the wrong address family: {rule}")]
    Family {
        /// The address.
        address: IpAddr,
        /// What is expected.
        rule: &'static str,
    },
    /// The helper program is not there.
    #[error(
        "there is no pasta, the program that connects a container of a user who is not root; \
         install the package passt"
    )]
    NoPasta {
        /// ENOENT, or nothing where the program was searched for by its name.
        #[source]
        source: Option<io::Error>,
    },
    /// The helper program cannot do what is asked for.
    #[error(
        "publish {ports}: {} answers from the wrong port where a UDP port is published under a higher number; \
         publish it under the same or a lower one, or install a passt of September 2024 or later",
        .program.display()
    )]
    PastaTooOld {
        /// The ports.
        ports: String,
        /// The program.
        program: PathBuf,
    },
    /// The helper program could not be started, or spoken with.
    #[error("{operation} {}", .program.display())]
    Pasta {
        /// What was done, as a verb.
        operation: &'static str,
        /// The program.
        program: PathBuf,
        /// The errno.
        #[source]
        source: io::Error,
    },
    /// The helper program gave up.
    #[error("{} gave up ({status}){}{}", .program.display(), pasta_says(.says), pasta_remedy(.says))]
    PastaFailed {
        /// The program.
        program: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// What it wrote to standard error.
        says: String,
    },
    /// The helper program did not get ready in time.
    #[error("{} was not ready after {limit:?}", .program.display())]
    PastaSlow {
        /// The program.
        program: PathBuf,
        /// For how long it was waited.
        limit: Duration,
    },
    /// A text or a range that is no port, or not as many of the host as of the container.
    #[error("{ports:?} cannot be published: {reason}")]
    InvalidPorts {
        /// The ports, as given.
        ports: String,
        /// What is wrong with them.
        reason: &'static str,
    },
    /// Somebody else listens on the port.
    #[error(
        "publish {port}: the port of the host is in use; choose another one, or end who has it (ss -lntup)"
    )]
    PortInUse {
        /// The port.
        port: String,
        /// EADDRINUSE.
        #[source]
        source: io::Error,
    },
    /// The port is kept for root.
    #[error(
        "publish {port}: a user who is not root may not have this port of the host; choose one from 1024 on, or lower \
         the bound (sysctl net.ipv4.ip_unprivileged_port_start)"
    )]
    PortPrivileged {
        /// The port.
        port: String,
        /// EACCES.
        #[source]
        source: io::Error,
    },
    /// The host cannot listen on the port: the address is none of its own.
    #[error("publish {port}")]
    Port {
        /// The port.
        port: String,
        /// The errno.
        #[source]
        source: io::Error,
    },
    /// All ports of the host that would do are taken.
    #[error("publish {ports}: none of these ports of the host is free")]
    NoFreePort {
        /// The ports, as they were asked for.
        ports: String,
    },
    /// Each published port takes up two file descriptors.
    #[error(
        "publish {port}: this process may have no more open files, and a published port takes up to two; publish fewer, or \
         raise the limit (ulimit -n)"
    )]
    TooManyPorts {
        /// The port that there was no descriptor left for.
        port: String,
        /// EMFILE.
        #[source]
        source: io::Error,
    },
    /// Nothing can pass on what comes to published ports on the host's loopback.
    #[error("start the thread that passes on published ports")]
    Relay {
        /// The errno.
        #[source]
        source: io::Error,
    },
    /// A chain of the host's drops what containers send and get, and rocker may not have a rule there.
    #[error(
        "the chain {chain} of the host's firewall refuses what containers on {bridge} send and get; let it pass there: \
         nft insert rule {chain} iifname {bridge} accept; nft insert rule {chain} oifname {bridge} accept"
    )]
    ForeignChain {
        /// Family, table and chain.
        chain: String,
        /// The containers' bridge.
        bridge: String,
        /// Why there can be no rule.
        #[source]
        source: Box<Self>,
    },
    /// Undoing went on after an error, and this is everything that failed. It has no source, as it has several: its
    /// text tells them all.
    #[error("{operation} {object}: {}", every_chain(.errors))]
    Incomplete {
        /// What was undone, as a verb.
        operation: &'static str,
        /// What it was undone for.
        object: String,
        /// The errors, in the order of the steps; never empty.
        errors: Vec<Error>,
    },
}

impl Error {
    /// An error of `operation` on the file at `path`.
    pub(crate) fn file(
        operation: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<io::Error>,
    ) -> Self {
        Self::File {
            operation,
            path: path.into(),
            source: source.into(),
        }
    }

    /// One error for all of `errors`, or none if there are none.
    pub(crate) fn gather(
        operation: &'static str,
        object: &str,
        mut errors: Vec<Error>,
    ) -> Result<()> {
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Self::Incomplete {
                operation,
                object: object.to_owned(),
                errors,
            }),
        }
    }
}

fn kernel_says(detail: Option<&str>) -> String {
    detail
        .map(|text| format!(" (the kernel says: {text})"))
        .unwrap_or_default()
}

fn pasta_says(text: &str) -> String {
    match text {
        "" => String::new(),
        text => format!("; it says: {text}"),
    }
}

/// What helps, where what it says is known.
fn pasta_remedy(says: &str) -> &'static str {
    if says.contains("tun") {
        "; it needs /dev/net/tun: load it (modprobe tun), and let everybody open it (chmod 666 /dev/net/tun)"
    } else {
        ""
    }
}

fn every_chain(errors: &[Error]) -> String {
    let chain = |error: &Error| {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            text.push_str(&format!(": {error}"));
            source = error.source();
        }
        text
    };
    errors.iter().map(chain).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_errors_are_all_told_with_their_causes() {
        let one = || Error::file("read", "/a", io::Error::from_raw_os_error(libc::EIO));
        assert!(Error::gather("detach", "c", Vec::new()).is_ok());
        let single = Error::gather("detach", "c", vec![one()]).unwrap_err();
        assert_eq!(single.to_string(), "read /a");
        let all = Error::gather("detach", "c", vec![one(), Error::NoFreeSubnet]).unwrap_err();
        let text = all.to_string();
        assert!(
            text.starts_with("detach c: read /a: Input/output error"),
            "{text}"
        );
        assert!(text.contains("; every subnet of the pool"), "{text}");
    }
}
