//! What `--explain` shows: the system calls of a container's network, in order, each with its reason.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "../../tests/fake_host/mod.rs"]
mod fake_host;

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};

use rocker_net::{Netns, Network, NetworkOptions};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

type Call = BTreeMap<String, String>;

/// Keeps the events of the target that `--explain` listens to.
#[derive(Clone, Default)]
struct Listener(Arc<Mutex<Vec<Call>>>);

struct Fields(Call);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "rocker::syscall"
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields(Call::new());
        event.record(&mut fields);
        self.0.lock().unwrap().push(fields.0);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[test]
fn every_step_of_an_attachment_is_told_in_order_with_its_reason() {
    fake_host::run(|host| {
        host.sh("ip link add up0 type bridge; ip link set up0 up; ip addr add 198.51.100.2/24 dev up0; ip route add default via 198.51.100.1");
        let options = NetworkOptions::default().subnet("10.88.0.0/16".parse().unwrap());
        let network = Network::open(host.dir("state"), &options).unwrap();
        let listener = Listener::default();
        let interface = tracing::subscriber::with_default(listener.clone(), || {
            let netns = Netns::new().unwrap();
            let attachment = network.attach("c", netns.as_fd()).unwrap();
            network.detach("c").unwrap();
            attachment.host_interface
        });
        let calls = listener.0.lock().unwrap();
        let told: Vec<_> = calls
            .iter()
            .map(|call| format!("{}({})", call["call"], call["args"]))
            .collect();
        let mut rest = told.iter();
        for part in [
            "unshare(CLONE_NEWNET)",
            "CLONE_NEWNET)",
            "NLM_F_EXCL|NLM_F_CREATE, bridge rocker0}, {RTM_GETLINK",
            "{RTM_NEWADDR, NLM_F_REQUEST|NLM_F_ACK|NLM_F_REPLACE|NLM_F_CREATE, 10.88.0.1/16 dev rocker0}",
            "sendto(NETLINK_NETFILTER, [{NFNL_MSG_BATCH_BEGIN, NLM_F_REQUEST}, {NFT_MSG_NEWTABLE",
            "write(\"/proc/sys/net/ipv4/conf/rocker0/forwarding\", \"1\")",
            "write(\"/proc/sys/net/ipv4/conf/up0/forwarding\", \"1\")",
            &format!("veth {interface} peer eth0 netns "),
            "lo up}, {RTM_NEWADDR, NLM_F_REQUEST|NLM_F_ACK|NLM_F_REPLACE|NLM_F_CREATE, 10.88.0.2/16 dev eth0}, {RTM_SETLINK",
            "default via 10.88.0.1 dev eth0}])",
            &format!("veth {interface}}}])"),
            "write(\"/proc/sys/net/ipv4/conf/up0/forwarding\", \"0\")",
            "{NFT_MSG_DELTABLE, NLM_F_REQUEST|NLM_F_ACK, table inet rocker-bridge}",
            "{RTM_DELLINK, NLM_F_REQUEST|NLM_F_ACK, bridge rocker0}",
        ] {
            // The configuration of the container is one datagram, so one call may hold two of these parts.
            let found = rest.clone().position(|call| call.contains(part));
            let found = found.unwrap_or_else(|| {
                panic!("{part} is not told, or not in order:\n{}", told.join("\n"))
            });
            if found > 0 {
                rest.nth(found - 1);
            }
        }
        for call in calls.iter() {
            assert!(
                call["why"].starts_with("so that ") || call["why"].starts_with("to "),
                "{call:?}"
            );
            assert_eq!(call["primitive"], "net");
        }
    });
}
