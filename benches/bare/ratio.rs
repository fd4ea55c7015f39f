//! What an attachment costs beside the same messages in a bare loop, as a ratio: both in turn, in one process and on one network, so that
//! whatever else the machine does is the same for both.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use netlink_sys::Socket;
use nix::time::{ClockId, clock_gettime};
use rocker_net::{Bridge, BridgeOptions, Netns, Network, NetworkOptions};

use super::{admit, dismiss, look, netfilter, plug, route, unplug};

/// How often each of them is done before the other one has its turn.
const AT_ONCE: usize = 5;
const BRIDGE: &str = "rocker0";
const TABLE: &str = "rocker-bridge";

/// Attaches a namespace, in which there is a socket, and detaches it.
struct Way<'a> {
    attach: &'a dyn Fn(&Netns, &Socket),
    detach: &'a dyn Fn(),
}

/// What was measured of a step: how long it took, and how much of that the processor worked for this thread.
#[derive(Default)]
struct Measured {
    took: Vec<Duration>,
    worked: Vec<Duration>,
}

/// Returns what it costs by this crate and bare, as lines of text: the medians of so many rounds.
pub(crate) fn measure(rounds: usize) -> Vec<String> {
    let dir = tempfile::tempdir().expect("a directory");
    let network = Network::open(dir.path(), &NetworkOptions::default()).expect("a network");
    let other = Netns::new().expect("a namespace");
    network.attach("other", other.as_fd()).expect("attached");
    let subnet = network.subnets().expect("subnets")[0].subnet;
    let bridge = Bridge::ensure(&BridgeOptions::new(BRIDGE, subnet)).expect("a bridge");
    let bare = Way {
        attach: &|netns, inside| {
            let (filter, host) = (netfilter(), route());
            look(&host, BRIDGE);
            admit(&filter, TABLE);
            plug(&host, inside, netns.as_fd(), bridge.index());
        },
        detach: &|| {
            unplug(&route());
            dismiss(&netfilter(), TABLE);
        },
    };
    let ours = Way {
        attach: &|netns, _| drop(network.attach("one", netns.as_fd()).expect("attached")),
        detach: &|| network.detach("one").expect("detached"),
    };
    let mut measured: [[Measured; 2]; 2] = Default::default();
    for _ in 0..rounds {
        for (way, [attached, detached]) in [&bare, &ours].into_iter().zip(&mut measured) {
            for _ in 0..AT_ONCE {
                // How to get there is no matter of messages.
                let netns = Netns::new().expect("a namespace");
                let inside = netns.run(route).expect("entering a namespace");
                attached.step(|| (way.attach)(&netns, &inside));
                detached.step(|| (way.detach)());
            }
        }
    }
    network.detach("other").expect("detached");
    let [bare, ours] = measured.map(|steps| steps.map(Measured::medians));
    let row = |what: &str, bare: [f64; 2], ours: [f64; 2]| {
        let [took, worked] = [0, 1].map(|number| ours[number] / bare[number]);
        format!(
            "| {what} | {:.2} ms | {:.2} ms | {took:.2} | {:.2} ms | {:.2} ms | {worked:.2} |",
            bare[0], ours[0], bare[1], ours[1]
        )
    };
    let both = |steps: [[f64; 2]; 2]| [0, 1].map(|number| steps[0][number] + steps[1][number]);
    vec![
        "| | bare | rocker-net | ratio | processor: bare | rocker-net | ratio |".to_owned(),
        "|---|---:|---:|---:|---:|---:|---:|".to_owned(),
        row("attach", bare[0], ours[0]),
        row("detach", bare[1], ours[1]),
        row("both", both(bare), both(ours)),
    ]
}

impl Measured {
    fn step(&mut self, run: impl FnOnce()) {
        let (start, busy) = (Instant::now(), worked());
        run();
        self.worked.push(worked() - busy);
        self.took.push(start.elapsed());
    }

    /// In milliseconds.
    fn medians(self) -> [f64; 2] {
        [self.took, self.worked].map(|mut times| {
            times.sort();
            times[times.len() / 2].as_secs_f64() * 1e3
        })
    }
}

/// How long the processor has worked for this thread.
fn worked() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .expect("a clock")
        .into()
}
