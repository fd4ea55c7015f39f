//! A container's cable to the bridge: a veth pair.

use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::BorrowedFd;

use crate::bridge::{check_interface_name, delete};
use crate::netlink::{Connection, Protocol};
use crate::netns::{briefly_in, connect_in};
use crate::rtnl::{self, Link, VethPair};
use crate::{Bridge, Error, Result, Subnet, ipv6};

/// What [`Endpoint::create`] is to make.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndpointOptions {
    /// The interface on the host, up to 15 bytes; best derived from the container's ID.
    pub host_name: String,
    /// The interface in the container.
    pub container_name: String,
    /// The container's address.
    pub address: IpAddr,
    /// The length of the network part of `address`, in bits.
    pub prefix_len: u8,
    /// Where the container sends what is not for its subnet; `None` for no default route.
    pub gateway: Option<IpAddr>,
    /// The container's address of IPv6 beside that, and the length of its network part in bits.
    pub ipv6: Option<(Ipv6Addr, u8)>,
    /// Where the container sends what is of IPv6 and not for its subnet.
    pub gateway6: Option<Ipv6Addr>,
    /// Whether the bridge passes nothing between this and other isolated endpoints (Linux 4.18).
    pub isolated: bool,
    /// The MAC address in the container; `None` for a random one.
    pub mac: Option<[u8; 6]>,
    /// The largest packet in bytes; `None` is the kernel's 1500.
    pub mtu: Option<u32>,
}

impl EndpointOptions {
    /// An endpoint with `address`, called `eth0` in the container, without default route.
    pub fn new(host_name: impl Into<String>, address: IpAddr, prefix_len: u8) -> Self {
        Self {
            host_name: host_name.into(),
            container_name: "eth0".to_owned(),
            address,
            prefix_len,
            gateway: None,
            ipv6: None,
            gateway6: None,
            isolated: false,
            mac: None,
            mtu: None,
        }
    }

    /// Gives the container's end this name.
    #[must_use]
    pub fn container_name(mut self, name: impl Into<String>) -> Self {
        self.container_name = name.into();
        self
    }

    /// Sends by `gateway` what is not for the container's subnet.
    #[must_use]
    pub fn gateway(mut self, gateway: IpAddr) -> Self {
        self.gateway = Some(gateway);
        self
    }

    /// Gives the container this address of IPv6 too, with so many bits of network part, and sends by `gateway` what is not for its
    /// subnet.
    #[must_use]
    pub fn ipv6(mut self, address: Ipv6Addr, prefix_len: u8, gateway: Option<Ipv6Addr>) -> Self {
        self.ipv6 = Some((address, prefix_len));
        self.gateway6 = gateway;
        self
    }

    /// Keeps it apart from other endpoints that are isolated too.
    #[must_use]
    pub fn isolated(mut self, isolated: bool) -> Self {
        self.isolated = isolated;
        self
    }

    /// Gives the container's end this MAC address.
    #[must_use]
    pub fn mac(mut self, mac: [u8; 6]) -> Self {
        self.mac = Some(mac);
        self
    }

    /// Gives both ends this MTU, in bytes.
    #[must_use]
    pub fn mtu(mut self, bytes: u32) -> Self {
        self.mtu = Some(bytes);
        self
    }
}

/// A veth pair, one end on a bridge of the host, the other in a container.
///
/// It lives until it is removed by name or the container's network namespace dies, not until this value is dropped:
/// the process that makes it and the one that removes it are seldom the same.
/// See [veth(4)](https://man7.org/linux/man-pages/man4/veth.4.html).
#[derive(Clone, Debug)]
pub struct Endpoint {
    host_name: String,
}

impl Endpoint {
    /// Plugs the network namespace `netns` into `bridge`: makes the pair with the container's end directly inside, and
    /// brings up the loopback interface, the address, the interface and the default route there. After an error
    /// nothing of it is left.
    ///
    /// # Errors
    ///
    /// [`Error::NameTaken`] if an interface of one of the names exists, [`Error::Namespace`] if `netns` is not a
    /// network namespace, [`Error::Permission`] without CAP_NET_ADMIN over both namespaces, [`Error::Unsupported`] on
    /// a kernel without veth, [`Error::Netlink`] for the rest.
    #[doc(alias = "RTM_NEWLINK")]
    #[doc(alias = "veth")]
    pub fn create(
        netns: BorrowedFd<'_>,
        bridge: &Bridge,
        options: &EndpointOptions,
    ) -> Result<Self> {
        let mut inside = open_inside(netns, options.ipv6.is_some() || options.address.is_ipv6())?;
        let mut host = Connection::open(Protocol::Route)?;
        Self::create_by(&mut host, &mut inside, netns, bridge, options)
    }

    /// As [`Endpoint::create`], by sockets that are open already, on the host and in `netns` (see [`open_inside`]).
    pub(crate) fn create_by(
        host: &mut Connection,
        inside: &mut Connection,
        netns: BorrowedFd<'_>,
        bridge: &Bridge,
        options: &EndpointOptions,
    ) -> Result<Self> {
        check_interface_name(&options.host_name)?;
        check_interface_name(&options.container_name)?;
        let subnet = Subnet::new(options.address, options.prefix_len)?;
        let ends = create_pair(host, netns, bridge, options)?;
        // The index is what the host's end says of its peer; no question need be asked inside.
        let mut requests = vec![
            rtnl::set_link_up("lo", None),
            rtnl::add_address(&ends.container, options.address, &subnet),
            rtnl::set_link_up(&options.container_name, None),
        ];
        if let Some((address, prefix_len)) = options.ipv6 {
            let address = IpAddr::V6(address);
            let subnet = Subnet::new(address, prefix_len)?;
            requests.push(rtnl::add_address(&ends.container, address, &subnet));
        }
        let gateways = [options.gateway, options.gateway6.map(IpAddr::V6)];
        requests.extend(
            gateways
                .into_iter()
                .flatten()
                .map(|gateway| rtnl::add_default_route(&ends.container, gateway)),
        );
        let configured = inside.apply(
            "so that the container has loopback, an address and a way out, sent into its own network namespace",
            &requests,
        );
        if let Err(error) = configured {
            if let Err(left) = delete(host, "so that no half-made veth is left", &ends.host) {
                tracing::warn!(error = %left, interface = options.host_name, "a half-made veth is left");
            }
            return Err(error);
        }
        // The kernel puts off what follows from an interface that has come up, for as long as its worker has no turn (linkwatch), and until then
        // drops what is sent: a first packet would be missed for a second. Whoever asks for an interface has it done (Linux 6.8).
        let mut late = vec![ends.host.index];
        late.extend((!bridge.link().running).then_some(bridge.index()));
        let why = "so that the bridge passes on the container's first packet already";
        // What they answer is no matter.
        let _ = rtnl::links_at(host, why, late);
        Ok(Self {
            host_name: options.host_name.clone(),
        })
    }

    /// The name of the host's end.
    #[must_use]
    pub fn host_name(&self) -> &str {
        &self.host_name
    }

    /// Removes the pair.
    ///
    /// # Errors
    ///
    /// As [`Endpoint::remove_by_name`].
    pub fn remove(self) -> Result<()> {
        Self::remove_by_name(&self.host_name)
    }

    /// Removes the pair whose end on the host has this name. That there is none is fine: with a container's network
    /// namespace its endpoint goes too.
    ///
    /// # Errors
    ///
    /// [`Error::NameTaken`] if the interface of that name is not a veth, [`Error::Permission`] without CAP_NET_ADMIN,
    /// [`Error::Netlink`] for the rest.
    pub fn remove_by_name(host_name: &str) -> Result<()> {
        let mut host = Connection::open(Protocol::Route)?;
        let why = "so that the host is left without the container's veth";
        match rtnl::find_link(&mut host, why, host_name)? {
            None => Ok(()),
            Some(link) if link.kind == "veth" => delete(&mut host, why, &link),
            Some(link) => Err(Error::NameTaken {
                name: link.name,
                wanted: "a veth",
            }),
        }
    }
}

/// Opens a socket inside of `netns` for [`Endpoint::create_by`], after which the next interface there is ready for IPv6, or has none.
pub(crate) fn open_inside(netns: BorrowedFd<'_>, ipv6: bool) -> Result<Connection> {
    briefly_in(netns, || {
        ipv6::prepare(ipv6)?;
        Connection::open(Protocol::Route)
    })
}

/// The names of the interfaces in `netns`.
///
/// # Errors
///
/// [`Error::Namespace`] if `netns` is not a network namespace or may not be entered, [`Error::Netlink`] for the rest.
pub fn interfaces(netns: BorrowedFd<'_>) -> Result<Vec<String>> {
    let mut inside = connect_in(netns, Protocol::Route)?;
    let why = "so that it is known which names interfaces of the container have";
    let links = rtnl::links(&mut inside, why)?;
    Ok(links.into_iter().map(|link| link.name).collect())
}

/// Sends by `gateways`, over the interface of this index behind `inside`, what is for no subnet there. Where that goes elsewhere already, it
/// stays so.
pub(crate) fn default_routes(
    inside: &mut Connection,
    link: &Link,
    gateways: impl IntoIterator<Item = IpAddr>,
) -> Result<()> {
    let gateways = gateways.into_iter();
    let requests: Vec<_> = gateways
        .map(|gateway| rtnl::add_default_route(link, gateway))
        .collect();
    let why = "so that the container has a way out by this network, unless it has another one";
    let replies = inside.exchange(why, &requests)?;
    for (reply, request) in replies.into_iter().zip(&requests) {
        match reply.outcome {
            Err(refusal) if refusal.is(libc::EEXIST) => {}
            outcome => outcome.map_err(|refusal| refusal.of(request))?,
        }
    }
    Ok(())
}

/// Brings the loopback interface of `netns` up: all the network that a container without network has.
///
/// # Errors
///
/// [`Error::Namespace`] if `netns` is not a network namespace or may not be entered, [`Error::Permission`] without
/// CAP_NET_ADMIN over it.
pub fn loopback_up(netns: BorrowedFd<'_>) -> Result<()> {
    connect_in(netns, Protocol::Route)?.apply(
        "so that 127.0.0.1 works inside of the container",
        &[rtnl::set_link_up("lo", None)],
    )
}

/// Both ends of a pair that exists.
struct Ends {
    host: Link,
    container: Link,
}

fn create_pair(
    host: &mut Connection,
    netns: BorrowedFd<'_>,
    bridge: &Bridge,
    options: &EndpointOptions,
) -> Result<Ends> {
    let EndpointOptions {
        host_name,
        container_name,
        isolated,
        mac,
        mtu,
        ..
    } = options;
    let pair = VethPair {
        host_name,
        container_name,
        netns,
        mac: *mac,
        mtu: *mtu,
        bridge: bridge.link(),
    };
    let mut requests = vec![rtnl::create_veth(&pair), rtnl::get_link(host_name)];
    // Before anything can be sent: the far end is not up yet.
    requests.extend(isolated.then(|| rtnl::isolate_port(host_name)));
    let why = "so that a cable leads from the bridge into the container, its far end made directly in there";
    let mut replies = host.exchange(why, &requests)?;
    let alone = replies
        .get_mut(2)
        .map(|reply| std::mem::replace(&mut reply.outcome, Ok(())));
    let (found, created) = (replies.remove(1), replies.remove(0));
    if let Err(refusal) = created.outcome {
        if !refusal.is(libc::EEXIST) {
            return Err(refusal.of(&requests[0]));
        }
        let name = if found.outcome.is_ok() {
            host_name
        } else {
            container_name
        };
        return Err(Error::NameTaken {
            name: name.clone(),
            wanted: "free",
        });
    }
    found.outcome.map_err(|refusal| refusal.of(&requests[1]))?;
    let link = rtnl::read_reply(&found.messages, &requests[1])?;
    if let Some(Err(refusal)) = alone {
        delete(host, "so that no half-made veth is left", &link)?;
        return Err(refusal.of(&requests[2]));
    }
    let Some(index) = link.peer else {
        delete(host, "so that no half-made veth is left", &link)?;
        let (operation, object) = (requests[1].operation, requests[1].object.clone());
        return Err(Error::Answer {
            operation,
            object,
            missing: "the index of the other end",
        });
    };
    let container = Link {
        index,
        name: container_name.clone(),
        ..Link::default()
    };
    Ok(Ends {
        host: link,
        container,
    })
}
