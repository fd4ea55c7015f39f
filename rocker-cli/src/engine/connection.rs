//! How a container is connected to the outside.

use std::fs::OpenOptions;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};

use oci_spec::runtime::Spec;
use rocker_net::{Pasta, PastaOptions};
use rocker_ns::Namespace;

use super::container::Container;
use super::options::{Network, RunOptions};
use super::ports::Ports;
use super::{Engine, files};
use crate::{Error, Result};

/// What the options mean by their network here: whoever has no privileges over the host's network cannot have a bridge.
///
/// # Errors
/// [`Error::BadValue`] for what cannot be had here.
pub(crate) fn network_of(options: &RunOptions<'_>) -> Result<Network> {
    let privileged = !rocker_ns::in_user_namespace()? || rocker_ns::owns(Namespace::Net)?;
    let network = match options.network {
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
                "bridge",
                "pasta, none or host for an ordinary user",
            ));
        }
        Network::Pasta if privileged => {
            return Err(Error::bad_value(
                "--network",
                "pasta",
                "bridge, none or host for root",
            ));
        }
        other => other,
    };
    super::ports::exposed(options, None)?;
    match (network, options.ports.first()) {
        (Network::Host, Some(_)) => {
            tracing::warn!(
                "published ports are discarded: a container on the host's network is reached by the ports that it listens on"
            );
            Ok(network)
        }
        (Network::None, Some(port)) => Err(Error::bad_value(
            "--publish",
            port.to_string(),
            "a container on a network: one without cannot be reached",
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
        let hosts = |address: IpAddr| {
            let hostname = spec.hostname().as_deref().unwrap_or_default();
            files::write(
                &container.file("hosts"),
                &files::hosts(Some(address), hostname),
            )
        };
        match options.network {
            Network::Pasta => {
                let wanted = ports
                    .forwards()
                    .iter()
                    .fold(PastaOptions::default(), |wanted, ports| {
                        wanted.forward(*ports)
                    });
                let pasta = Pasta::start(netns.as_fd(), &wanted)?;
                hosts(pasta.address())?;
                let text = files::resolv_conf_of(pasta.dns());
                files::write(&container.file("resolv.conf"), &text)?;
                Ok(Some(pasta))
            }
            Network::Bridge | Network::Default => {
                let network = self.network()?;
                if container.state.is_some() {
                    // Its place of last time may be left to be taken back later.
                    network.release(container.id())?;
                }
                let attachment = network.attach(container.id(), netns.as_fd())?;
                hosts(attachment.address)?;
                ports.lead_to(&network, container.id(), &[attachment.address])?;
                Ok(None)
            }
            Network::None | Network::Host => {
                rocker_net::loopback_up(netns.as_fd())?;
                Ok(None)
            }
        }
    }
}
