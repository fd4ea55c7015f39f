//! The ports of the host that lead into a container: settled and held before anything of it starts.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rocker_image::Image;
use rocker_net::{Attachment, HeldPorts, PortForward, Transport};

use crate::engine::container::Container;
use crate::engine::options::{Network, NetworkEndpoint, RunOptions};
use crate::engine::rootfs::base::Base;
use crate::engine::{Engine, disk};
use crate::{Error, Result};

/// The file of the run directory that says which ports are held for the container, a line each; before them, in a line that begins with
/// [`TO`], to which of its addresses they lead now, and none where they lead nowhere.
const PORTS: &str = "ports";
const TO: &str = "to ";
/// In place of addresses, where somebody else leads there.
const BY_PASTA: &str = "pasta";

/// The published ports of a container that this process looks after.
#[derive(Debug)]
pub(crate) struct Ports {
    /// Where the packet filter leads them; none where somebody else takes them.
    held: Option<HeldPorts>,
    forwards: Vec<PortForward>,
    /// What others find of them.
    note: Note,
}

/// The file [`PORTS`].
#[derive(Debug, Default)]
struct Note {
    path: PathBuf,
    held: Vec<PortForward>,
}

impl Note {
    /// Writes it down: others find the old one or the new one.
    fn write(&self, to: &str) -> Result<()> {
        let ports = self.held.iter().map(|port| format!("{port}\n"));
        let text: String = [format!("{TO}{to}\n")].into_iter().chain(ports).collect();
        let (path, new) = (&self.path, self.path.with_extension("new"));
        let why = "so that others find by which ports the container is reached";
        let at_once = "so that they find the old ones or the new ones, and nothing in between";
        disk::write(&new, text.as_bytes(), why)
            .and_then(|()| disk::rename(&new, path, at_once))
            .map_err(disk::failed("write", path))
    }

    fn write_addresses(&self, addresses: &[IpAddr]) -> Result<()> {
        let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        self.write(&addresses.join(" "))
    }

    /// What it says, and whether that leads anywhere: by [`TO`], the words after it.
    fn read(path: &Path) -> Option<(Self, Vec<String>)> {
        let why = "so that it is known by which ports the container is reached";
        let text = String::from_utf8(disk::read(path, why).ok()?).ok()?;
        let (to, ports) = text.strip_prefix(TO)?.split_once('\n')?;
        let held = ports.lines().map(|line| line.parse().ok());
        let note = Self {
            path: path.to_owned(),
            held: held.collect::<Option<_>>()?,
        };
        Some((note, to.split_whitespace().map(str::to_owned).collect()))
    }

    /// The addresses that the ports lead to.
    fn addresses(path: &Path) -> Vec<IpAddr> {
        let to = Self::read(path).map(|(_, to)| to).unwrap_or_default();
        to.iter().filter_map(|word| word.parse().ok()).collect()
    }
}

impl Ports {
    /// Takes all ports that a container wants, or none. Which those are in the end is written down for others to find.
    ///
    /// # Errors
    /// [`Error::Net`] where one of them cannot be had.
    pub(crate) fn take(engine: &Engine, container: &Container, base: &Base) -> Result<Self> {
        let wanted = wanted(container.options(), base.image())?;
        if wanted.is_empty() {
            return Ok(Self {
                held: None,
                forwards: Vec::new(),
                note: Note::default(),
            });
        }
        let note = |held| Note {
            path: container.file(PORTS),
            held,
        };
        let ports = match container.options().network {
            Network::Pasta => {
                // It listens itself; what is left open has to be settled before.
                let settled = match wanted.iter().all(PortForward::is_settled) {
                    true => wanted,
                    false => HeldPorts::hold(&wanted)?.forwards().to_vec(),
                };
                Self {
                    held: None,
                    note: note(settled.clone()),
                    forwards: settled,
                }
            }
            _ => {
                let held = HeldPorts::hold(&wanted);
                let mut held = held.map_err(|error| engine.with_owner(error, container.id()))?;
                held.refuse_internal(engine.roots().data());
                Self {
                    forwards: held.forwards().to_vec(),
                    note: note(held.bindings()),
                    held: Some(held),
                }
            }
        };
        ports.note.write(match ports.held {
            Some(_) => "",
            None => BY_PASTA,
        })?;
        Ok(ports)
    }

    /// The ports, each of which is settled.
    pub(crate) fn forwards(&self) -> &[PortForward] {
        &self.forwards
    }

    /// Leads them to a container that is attached like this to `network`; where that is none, nowhere, until it comes to one.
    pub(crate) fn lead_to(
        &mut self,
        owner: &str,
        place: Option<(&rocker_net::Network, &Attachment)>,
    ) -> Result<()> {
        let Some(held) = &mut self.held else {
            return Ok(());
        };
        let addresses = place.map(|(_, attached)| addresses(attached));
        match (place, &addresses) {
            (Some((network, _)), Some(addresses)) => {
                network.publish(owner, addresses, &self.forwards)?;
            }
            _ => {
                tracing::warn!("its published ports lead nowhere: it is on internal networks alone")
            }
        }
        self.note.write_addresses(&addresses.unwrap_or_default())?;
        // Who connects it with other networks while it runs is another process.
        let path = self.note.path.clone();
        Ok(held.lead_by(move || Note::addresses(&path))?)
    }
}

/// The addresses of a container that ports may lead to.
fn addresses(attached: &Attachment) -> Vec<IpAddr> {
    let six = attached.ipv6.map(|(address, _)| IpAddr::V6(address));
    six.into_iter().chain([attached.address]).collect()
}

/// The ports that lead into a container that is looked after; none where that is not known.
pub(crate) fn found(run_dir: &Path) -> Option<Vec<PortForward>> {
    let (note, to) = Note::read(&run_dir.join(PORTS))?;
    Some(match to.is_empty() {
        true => Vec::new(),
        false => note.held,
    })
}

/// The ports that are asked for one by one, and with `--publish-all` those that the image and the caller say are served.
fn wanted(options: &RunOptions<'_>, image: Option<&Image>) -> Result<Vec<PortForward>> {
    if matches!(
        options.network,
        Network::Host | Network::None | Network::Container(_)
    ) {
        return Ok(Vec::new());
    }
    let mut wanted = options.ports.clone();
    if options.publish_all {
        let named: BTreeSet<_> = wanted.iter().flat_map(inside).collect();
        for exposed in exposed(options, image)? {
            let (port, is_udp) = exposed;
            if !named.contains(&exposed) {
                wanted.push(PortForward::any(port).transport(match is_udp {
                    true => Transport::Udp,
                    false => Transport::Tcp,
                }));
            }
        }
    }
    Ok(wanted)
}

/// The container's ports of a forward, and whether they are of UDP.
fn inside(forward: &PortForward) -> Vec<(u16, bool)> {
    let is_udp = forward.transport == Transport::Udp;
    let last = forward
        .container_port
        .saturating_add(forward.count.saturating_sub(1));
    (forward.container_port..=last)
        .map(|port| (port, is_udp))
        .collect()
}

/// The ports that image and caller say are served, and whether each is of UDP.
///
/// # Errors
/// [`Error::BadValue`] for what is no port.
pub(crate) fn exposed(
    options: &RunOptions<'_>,
    image: Option<&Image>,
) -> Result<BTreeSet<(u16, bool)>> {
    let of_image =
        image.and_then(|image| image.config().config().as_ref()?.exposed_ports().clone());
    let mut all = BTreeSet::new();
    for text in &options.expose {
        all.extend(served(text).ok_or_else(|| {
            Error::bad_value(
                "--expose",
                text.as_str(),
                "PORT[-PORT][/tcp|/udp], of ports from 1 to 65535",
            )
        })?);
    }
    // What an image says and nobody understands is nothing to keep its containers from running.
    all.extend(
        of_image
            .iter()
            .flatten()
            .filter_map(|text| served(text))
            .flatten(),
    );
    Ok(all)
}

fn served(text: &str) -> Option<Vec<(u16, bool)>> {
    match text.contains(':') {
        true => None,
        false => text.parse().ok().as_ref().map(inside),
    }
}

impl Engine {
    /// Leads the ports that are held for a container that runs to where it has a way out now, after it has come to a network or left one.
    ///
    /// # Errors
    /// [`Error::Net`].
    pub(crate) fn lead_ports(&self, id: &str, places: &[NetworkEndpoint]) -> Result<()> {
        let Some((note, to)) = Note::read(&self.roots().running().join(id).join(PORTS)) else {
            return Ok(());
        };
        // What pasta listens on is its own to lead.
        if to == [BY_PASTA] {
            return Ok(());
        }
        for place in places {
            let network = self.network(&place.network)?;
            if network.options().internal {
                continue;
            }
            let Some(attached) = network.attachment(id)? else {
                continue;
            };
            let addresses = addresses(&attached);
            let same = addresses.iter().map(ToString::to_string).eq(to);
            // Somebody who was killed may have taken them back, and not written that down.
            if !same || !network.publishes(id) {
                network.publish(id, &addresses, &note.held)?;
                note.write_addresses(&addresses)?;
            }
            return Ok(());
        }
        note.write_addresses(&[])
    }

    /// An error about a port that is taken, with the name of the container that has it, if one does.
    fn with_owner(&self, error: rocker_net::Error, own: &str) -> Error {
        let rocker_net::Error::PortInUse { port, .. } = &error else {
            return error.into();
        };
        let Some(wanted) = port.parse::<PortForward>().ok() else {
            return error.into();
        };
        match self.who_publishes(&wanted, own) {
            Some(container) => Error::PortOfContainer {
                port: port.clone(),
                container,
                source: error,
            },
            None => error.into(),
        }
    }

    /// The name of the container that has a port.
    fn who_publishes(&self, wanted: &PortForward, own: &str) -> Option<String> {
        let running = self.roots().running();
        let ids = crate::engine::container::ids(&running).ok()?;
        let has_it = |id: &String| {
            let note = Note::read(&running.join(id).join(PORTS));
            let ports = note.map(|(note, _)| note.held).unwrap_or_default();
            ports.iter().any(|port| {
                let pairs = port.pairs().into_iter().flatten();
                port.transport == wanted.transport
                    && pairs.into_iter().any(|(host, _)| host == wanted.host_port)
            })
        };
        let id = ids.into_iter().find(|id| id != own && has_it(id))?;
        self.record(&id).ok()?.map(|record| record.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_exposed_is_a_port_or_several() {
        let options = |texts: &[&str]| RunOptions {
            expose: texts.iter().map(|text| (*text).to_owned()).collect(),
            ..RunOptions::new("x")
        };
        let all = exposed(&options(&["80", "53/udp", "8000-8001/tcp"]), None).unwrap();
        let all: Vec<_> = all.into_iter().collect();
        assert_eq!(all, [(53, true), (80, false), (8000, false), (8001, false)]);
        for wrong in ["0", "80:80", "x", "80/icmp", ""] {
            assert!(exposed(&options(&[wrong]), None).is_err(), "{wrong}");
        }
    }
}
