//! A bridge with one container-like network namespace on it: a TCP greeting travels over the veth pair.
//!
//! Privilege: root. What stands for the host is a network namespace too, so the machine's own network is left alone.
//!
//! ```sh
//! cargo run --example bridge
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::thread;

use rocker_net::{Bridge, BridgeOptions, Endpoint, EndpointOptions, Netns, Subnet};

fn main() -> Result<(), Box<dyn Error>> {
    let host = Netns::new()?;
    host.run(|| plug_in_and_greet().map_err(|error| error.to_string()))??;
    Ok(())
}

fn plug_in_and_greet() -> Result<(), Box<dyn Error>> {
    let subnet: Subnet = "10.88.0.0/16".parse()?;
    let address: IpAddr = "10.88.0.2".parse()?;

    let bridge = Bridge::ensure(&BridgeOptions::new("rocker0", subnet))?;
    println!(
        "bridge    {} has {}/{}",
        bridge.name(),
        subnet.gateway(),
        subnet.prefix_len()
    );

    let container = Netns::new()?;
    let options =
        EndpointOptions::new("rkexample", address, subnet.prefix_len()).gateway(subnet.gateway());
    let endpoint = Endpoint::create(container.as_fd(), &bridge, &options)?;
    println!(
        "endpoint  {} leads to {} in the container, which has {address}",
        endpoint.host_name(),
        options.container_name
    );

    // A socket belongs to the namespace of the thread that opened it, and keeps it.
    let listener = container.run(|| TcpListener::bind((address, 0)))??;
    let port = listener.local_addr()?.port();
    let serving = thread::spawn(move || -> std::io::Result<IpAddr> {
        let (mut stream, peer) = listener.accept()?;
        stream.write_all(b"hello from the container")?;
        Ok(peer.ip())
    });
    let mut greeting = String::new();
    TcpStream::connect((address, port))?.read_to_string(&mut greeting)?;
    let peer = serving.join().map_err(|_| "the server panicked")??;
    println!("greeting  {greeting:?}, told to {peer}");

    endpoint.remove()?;
    bridge.remove()?;
    println!("removed   both again");
    Ok(())
}
