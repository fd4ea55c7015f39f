//! How a container is connected to the outside.

use std::fs::OpenOptions;
use std::os::fd::{AsFd, OwnedFd};

use oci_spec::runtime::Spec;
use rocker_net::{AttachOptions, HostNames, Pasta, PastaOptions};
use rocker_ns::Namespace;

use super::Standing;
use super::ports::Ports;
use crate::engine::container::Container;
use crate::engine::container::record::Record;
use crate::engine::options::{Network, NetworkEndpoint, RunOptions};
use crate::engine::rootfs::etc;
use crate::engine::rootfs::etc::Reach;
use crate::engine::{Engine, rootless};
use crate::{Error, Result};

/// What the options mean by their network here: whoever has no privileges over the host's network cannot have a bridge.
///
/// # Errors
/// [`Error::BadValue`] for what cannot be had here.
pub(crate) fn network_of(options: &RunOptions<'_>) -> Result<Network> {
    let privileged = !rootless::in_user_namespace()? || rocker_ns::owns(Namespace::Net)?;
    let network = match options.network.clone() {
        Network::Default if privileged => Network::Bridge,
        Network::Default if options.publishes() => Network::Pasta,
        Network::Default => match missing_for_pasta() {
            None => Network::Pasta,
            Some(missing) => {
                tracing::warn!("{missing}; without it the container reaches only itself");
                Network::None
            }
        },
        Network::Bridge if !privileged => {
            return Err(Error::bad_value(
                "--network",
                options.network_names(),
                "pasta, none, host or container:NAME for an ordinary user",
            ));
        }
        Network::Pasta if privileged => {
            return Err(Error::bad_value(
                "--network",
                "pasta",
                "a network (bridge is the default one), none, host or container:NAME for root",
            ));
        }
        other => other,
    };
    super::ports::exposed(options, None)?;
    // Again, since only here it is known what the default network is.
    etc::check_gateway(&options.hosts, &network)?;
    match (&network, options.ports.first()) {
        (Network::Host, Some(_)) => {
            tracing::warn!(
                "published ports are discarded: a container on the host's network is reached by the ports that it listens on"
            );
            Ok(network)
        }
        (Network::None | Network::Container(_), Some(port)) => Err(Error::bad_value(
            "--publish",
            port.to_string(),
            "a container on a network of its own: one without cannot be reached",
        )),
        _ => Ok(network),
    }
}

/// What keeps an ordinary user's container from having a network by pasta; none where nothing does.
pub(crate) fn missing_for_pasta() -> Option<String> {
    if Pasta::find().is_none() {
        return Some(rocker_net::Error::NoPasta { source: None }.to_string());
    }
    let opened = OpenOptions::new().read(true).write(true).open(TUN);
    let error = opened.err()?;
    Some(format!(
        "{TUN} cannot be opened ({error}), which pasta needs; as root: modprobe tun; chmod 666 {TUN}"
    ))
}

/// By which a program is the other end of a network card.
const TUN: &str = "/dev/net/tun";

impl Engine {
    /// The places on networks that a container asks for, by the networks' names, if there are such networks.
    ///
    /// # Errors
    /// [`Error::NoNetwork`], [`Error::AmbiguousNetwork`].
    pub(crate) fn known_places(&self, options: &RunOptions<'_>) -> Result<Vec<NetworkEndpoint>> {
        let mut places = options.endpoints.clone();
        for place in places.iter_mut().filter(|place| !place.is_default()) {
            place.network = self.network_name(&place.network)?;
        }
        Ok(places)
    }

    /// Connects the network namespace of a process that sets itself up meanwhile. What is returned has to live as long as the
    /// container.
    pub(crate) fn connect(
        &self,
        container: &Container,
        options: &RunOptions<'_>,
        netns: &OwnedFd,
        spec: &Spec,
        ports: &mut Ports,
    ) -> Result<Option<Pasta>> {
        let hostname = spec.hostname().as_deref().unwrap_or_default();
        match options.network {
            Network::Pasta => {
                let wanted = ports
                    .forwards()
                    .iter()
                    .fold(PastaOptions::default(), |wanted, ports| {
                        wanted.forward(*ports)
                    });
                let pasta = Pasta::start(netns.as_fd(), &wanted)?;
                let text = etc::hosts(&[pasta.address()], None, hostname, options);
                etc::write(&container.etc("hosts"), &text)?;
                if options.dns.is_empty() {
                    let text = etc::resolv_conf_of(pasta.dns(), options);
                    etc::write(&container.etc("resolv.conf"), &text)?;
                }
                Ok(Some(pasta))
            }
            Network::Bridge | Network::Default => {
                self.attach_to_networks(container, options, netns, hostname, ports)?;
                Ok(None)
            }
            Network::None | Network::Host | Network::Container(_) => {
                rocker_net::loopback_up(netns.as_fd())?;
                Ok(None)
            }
        }
    }

    /// Attaches a container that is about to start to its networks, and tells it and the others of the names.
    fn attach_to_networks(
        &self,
        container: &Container,
        options: &RunOptions<'_>,
        netns: &OwnedFd,
        hostname: &str,
        ports: &mut Ports,
    ) -> Result<()> {
        let (mut standing, mut networks) = (Standing::default(), Vec::new());
        for (number, place) in options.places().into_iter().enumerate() {
            let network = self.network(&place.network)?;
            let way_out = standing.reach == Reach::Outside;
            if container.state.is_some() {
                // Its place of last time may be left to be taken back later.
                network.release(container.id())?;
            }
            let mut attach = AttachOptions::new(format!("eth{number}")).default_route(!way_out);
            attach.address = place.address;
            attach.address6 = place.address6;
            attach.mac = place.mac;
            let attached = network.attach_with(container.id(), netns.as_fd(), &attach)?;
            let has_six = attached.ipv6.is_some();
            if way_out && has_six {
                // The first way out may be one of IPv4 alone.
                network.default_route(container.id(), netns.as_fd())?;
            }
            if !way_out && !network.options().internal {
                // What comes from outside goes in where it gets out again.
                ports.lead_to(container.id(), Some((&network, &attached)))?;
            }
            standing.add(&network, &attached);
            networks.push((network, place));
        }
        let Standing {
            own,
            gateway,
            reach,
        } = standing;
        let text = etc::hosts(&own, gateway, hostname, options);
        etc::write(&container.etc("hosts"), &text)?;
        if reach != Reach::Outside {
            ports.lead_to(container.id(), None)?;
            let text = etc::resolv_conf_of_internal(options);
            etc::write(&container.etc("resolv.conf"), &text)?;
        }
        for (network, place) in networks.iter().filter(|(_, place)| !place.is_default()) {
            let names = names_on(&container.record, place);
            let names = HostNames::new(names, container.etc("hosts"));
            network.set_names(container.id(), &names)?;
        }
        Ok(())
    }
}

/// What a container is called on a network that somebody has made: by its name, its aliases, its host name, and its ID, short and long.
pub(crate) fn names_on(record: &Record, place: &NetworkEndpoint) -> Vec<String> {
    let id = &record.id;
    let mut names = vec![record.name.clone()];
    let further = place
        .aliases
        .iter()
        .chain(&record.options.hostname)
        .cloned();
    let ids = [id.get(..12).unwrap_or(id).to_owned(), id.clone()];
    for name in further.chain(ids) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}
