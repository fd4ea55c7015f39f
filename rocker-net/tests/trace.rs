//! Every system call of an attachment is told to whoever listens.
#![allow(clippy::unwrap_used, reason = "a test panics")]

#[path = "../../tests/against_strace/mod.rs"]
mod against_strace;
#[path = "../../tests/fake_host/mod.rs"]
mod fake_host;

use std::os::fd::AsFd;

use against_strace::Listener;
use rocker_net::{Netns, Network, NetworkOptions};

#[test]
fn every_step_of_an_attachment_is_told_in_order_with_its_reason() {
    fake_host::run(|host| {
        host.sh("ip link add up0 type bridge; ip link set up0 up; ip addr add 198.51.100.2/24 dev up0; ip route add default via 198.51.100.1");
        let options = NetworkOptions::default().subnet("10.88.0.0/16".parse().unwrap());
        let network = Network::open(host.dir("state"), &options).unwrap();
        let mut interface = String::new();
        let told = Listener::during(|| {
            let netns = Netns::new().unwrap();
            let attachment = network.attach("c", netns.as_fd()).unwrap();
            network.detach("c").unwrap();
            interface = attachment.host_interface;
        });
        let mut rest = told.iter();
        for part in [
            "unshare(CLONE_NEWNET) = 0",
            "CLONE_NEWNET) = 0",
            "NLM_F_EXCL|NLM_F_CREATE, bridge rocker0}, {RTM_GETLINK",
            "{RTM_NEWADDR, NLM_F_REQUEST|NLM_F_ACK|NLM_F_REPLACE|NLM_F_CREATE, 10.88.0.1/16 dev rocker0}",
            "<NETLINK_NETFILTER>, [{NFNL_MSG_BATCH_BEGIN, NLM_F_REQUEST}, {NFT_MSG_NEWTABLE",
            "</proc/sys/net/ipv4/conf/rocker0/forwarding>, \"1\", 1) = 1",
            "</proc/sys/net/ipv4/conf/up0/forwarding>, \"1\", 1) = 1",
            &format!("veth {interface} peer eth0 netns "),
            "lo up}, {RTM_NEWADDR, NLM_F_REQUEST|NLM_F_REPLACE|NLM_F_CREATE, 10.88.0.2/16 dev eth0}, {RTM_SETLINK",
            "default via 10.88.0.1 dev eth0}]",
            &format!("veth {interface}}}]"),
            "</proc/sys/net/ipv4/conf/up0/forwarding>, \"0\", 1) = 1",
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
    });
}
