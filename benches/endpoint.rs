//! What a container's network costs: attach and detach, whole and in parts.
//!
//! Privilege: root. `cargo bench --bench endpoint`; all of it happens in network namespaces of its own.

use std::net::IpAddr;
use std::os::fd::AsFd;

use divan::Bencher;
use rocker_net::{
    Bridge, BridgeOptions, Endpoint, EndpointOptions, Ipam, Netns, Network, NetworkOptions, Subnet,
};

fn main() {
    // What stands for the host, with an empty network.
    let host = Netns::new().expect("a namespace: needs root");
    host.run(divan::main)
        .expect("entering a namespace: needs root");
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
