//! What an attachment costs beside the same messages in a bare loop, as a ratio: both in turn, in one process and on one network, so that
//! whatever else the machine does is the same for both.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rocker_net::{Bridge, BridgeOptions, Netns, Network, NetworkOptions};

use super::{admit, dismiss, look, netfilter, plug, route, unplug};

/// How often each of them is done before the other one has its turn.
const AT_ONCE: usize = 10;

/// A way to attach a namespace, and to detach it.
type Way<'a> = [&'a dyn Fn(&Netns); 2];

/// Prints what it costs by this crate and bare, each the median of so many rounds.
pub(crate) fn print(rounds: usize) {
    let dir = tempfile::tempdir().expect("a directory");
    let network = Network::open(dir.path(), &NetworkOptions::default()).expect("a network");
    let other = Netns::new().expect("a namespace");
    network.attach("other", other.as_fd()).expect("attached");
    let subnet = network.subnets().expect("subnets")[0].subnet;
    let bridge = Bridge::ensure(&BridgeOptions::new("rocker0", subnet)).expect("a bridge");
    let table = "rocker-bridge";
    let bare: Way<'_> = [
        &|netns| {
            let filter = netfilter();
            let inside = netns.run(route).expect("entering a namespace");
            let host = route();
            look(&host, "rocker0");
            admit(&filter, table);
            plug(&host, &inside, netns.as_fd(), bridge.index());
        },
        &|_| {
            unplug(&route());
            dismiss(&netfilter(), table);
        },
    ];
    let ours: Way<'_> = [
        &|netns| drop(network.attach("one", netns.as_fd()).expect("attached")),
        &|_| network.detach("one").expect("detached"),
    ];
    let mut times = [[const { Vec::new() }; 2]; 2];
    for _ in 0..rounds {
        for (way, times) in [bare, ours].into_iter().zip(&mut times) {
            for _ in 0..AT_ONCE {
                let netns = Netns::new().expect("a namespace");
                for (step, times) in way.into_iter().zip(times.iter_mut()) {
                    let start = Instant::now();
                    step(&netns);
                    times.push(start.elapsed());
                }
            }
        }
    }
    network.detach("other").expect("detached");
    let [bare, ours] = times.map(|way| way.map(median));
    let row = |what: &str, bare: Duration, ours: Duration| {
        let ratio = ours.as_secs_f64() / bare.as_secs_f64();
        let [bare, ours] = [bare, ours].map(|time| time.as_secs_f64() * 1e3);
        divan::black_box(());
        eprintln!("{what:<16} bare {bare:7.3} ms   rocker-net {ours:7.3} ms   ratio {ratio:.2}");
    };
    row("attach", bare[0], ours[0]);
    row("detach", bare[1], ours[1]);
    row("attach, detach", bare[0] + bare[1], ours[0] + ours[1]);
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
