//! What a container's network costs: attach and detach, whole and in parts, beside the same messages in a bare loop; and what it
//! costs to publish ports.
//!
//! Privilege: root. `cargo bench --bench endpoint`; all of it happens in network namespaces of its own. With `-- ratio`, what an attachment
//! costs beside its messages in a bare loop, in turn.

use std::net::IpAddr;
use std::os::fd::AsFd;

use divan::Bencher;
use rocker_net::{
    Bridge, BridgeOptions, Endpoint, EndpointOptions, Ipam, Netns, Network, NetworkOptions,
    PortForward, Subnet,
};

mod bare;

fn main() {
    // What stands for the host, with an empty network.
    let host = Netns::new().expect("a namespace: needs root");
    let ratio = std::env::args().any(|argument| argument == "ratio");
    let work = || match ratio {
        true => say(&bare::ratio::measure(60)),
        false => divan::main(),
    };
    host.run(work).expect("entering a namespace: needs root");
}

#[expect(clippy::print_stdout, reason = "this is what it is run for")]
fn say(lines: &[String]) {
    for line in lines {
        println!("{line}");
    }
}

fn subnet() -> Subnet {
    "10.88.0.0/16".parse().expect("a subnet")
}

/// The whole of it while another container keeps the network in being.
#[divan::bench(sample_size = 1, sample_count = 100)]
fn attach(bencher: Bencher<'_, '_>) {
    let dir = tempfile::tempdir().expect("a directory");
    let network = Network::open(dir.path(), &NetworkOptions::default()).expect("a network");
    let other = Netns::new().expect("a namespace");
    network.attach("other", other.as_fd()).expect("attached");
    // Dropping what an iteration returns is not measured.
    bencher
        .with_inputs(|| Netns::new().expect("a namespace"))
        .bench_local_values(|netns| {
            network.attach("one", netns.as_fd()).expect("attached");
            Attached {
                network: &network,
                _netns: netns,
            }
        });
    network.detach("other").expect("detached");
}

/// As `attach`, and `detach` from a namespace that still lives.
#[divan::bench(sample_size = 1, sample_count = 100)]
fn attach_detach(bencher: Bencher<'_, '_>) {
    let dir = tempfile::tempdir().expect("a directory");
    let network = Network::open(dir.path(), &NetworkOptions::default()).expect("a network");
    let other = Netns::new().expect("a namespace");
    network.attach("other", other.as_fd()).expect("attached");
    bencher
        .with_inputs(|| Netns::new().expect("a namespace"))
        .bench_local_refs(|netns| {
            network.attach("one", netns.as_fd()).expect("attached");
            network.detach("one").expect("detached");
        });
    network.detach("other").expect("detached");
}

/// Publishing so many ports of a container beside this many others with a port each.
#[divan::bench(sample_size = 1, sample_count = 50, args = [(1, 0), (1, 500), (200, 0), (200, 500)])]
fn publish(bencher: Bencher<'_, '_>, (ports, others): (u16, u16)) {
    let dir = tempfile::tempdir().expect("a directory");
    let network = Network::open(dir.path(), &NetworkOptions::default()).expect("a network");
    let netns = Netns::new().expect("a namespace");
    let attachment = network.attach("one", netns.as_fd()).expect("attached");
    for number in 0..others {
        let address = IpAddr::from([10, 88, 200 + (number / 250) as u8, (number % 250) as u8]);
        let port = PortForward::new(10_000 + number, 80);
        let owner = format!("other{number}");
        network
            .publish(&owner, &[address], &[port])
            .expect("published");
    }
    let wanted = PortForward::new(20_000, 1000).count(ports);
    bencher
        .with_inputs(|| network.unpublish("one").expect("taken back"))
        .bench_local_values(|()| {
            network
                .publish("one", &[attachment.address], &[wanted])
                .expect("published");
        });
    network.unpublish("one").expect("taken back");
    for number in 0..others {
        network
            .unpublish(&format!("other{number}"))
            .expect("taken back");
    }
    network.detach("one").expect("detached");
}

/// The first and last container: bridge, table and subnet choice too.
#[divan::bench(sample_size = 1, sample_count = 100)]
fn first_attach_last_detach(bencher: Bencher<'_, '_>) {
    let dir = tempfile::tempdir().expect("a directory");
    let network = Network::open(dir.path(), &NetworkOptions::default()).expect("a network");
    bencher
        .with_inputs(|| Netns::new().expect("a namespace"))
        .bench_local_refs(|netns| {
            network.attach("one", netns.as_fd()).expect("attached");
            network.detach("one").expect("detached");
        });
}

/// The veth pair and its configuration alone.
#[divan::bench(sample_size = 1, sample_count = 100)]
fn endpoint(bencher: Bencher<'_, '_>) {
    let bridge = Bridge::ensure(&BridgeOptions::new("rocker1", subnet())).expect("a bridge");
    let address: IpAddr = "10.88.0.2".parse().expect("an address");
    let options = EndpointOptions::new("rkbench", address, 16).gateway(subnet().gateway());
    bencher
        .with_inputs(|| Netns::new().expect("a namespace"))
        .bench_local_values(|netns| {
            let endpoint = Endpoint::create(netns.as_fd(), &bridge, &options).expect("an endpoint");
            Created {
                endpoint: Some(endpoint),
                _netns: netns,
            }
        });
    bridge.remove().expect("removed");
}

/// A lease and its release beside this many others.
#[divan::bench(args = [0, 500])]
fn lease(bencher: Bencher<'_, '_>, others: usize) {
    let dir = tempfile::tempdir().expect("a directory");
    let ipam = Ipam::open(dir.path()).expect("leases");
    for other in 0..others {
        ipam.lease(&format!("c{other}"), &subnet(), &[])
            .expect("an address");
    }
    bencher.bench_local(|| {
        ipam.lease("one", &subnet(), &[]).expect("an address");
        ipam.release("one").expect("released");
    });
}

struct Attached<'a> {
    network: &'a Network,
    _netns: Netns,
}

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        self.network.detach("one").expect("detached");
    }
}

struct Created {
    endpoint: Option<Endpoint>,
    _netns: Netns,
}

impl Drop for Created {
    fn drop(&mut self) {
        self.endpoint
            .take()
            .expect("dropped once")
            .remove()
            .expect("removed");
    }
}
