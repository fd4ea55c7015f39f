//! What this crate reports of itself is what strace(1) sees of it.
#![allow(
    clippy::unwrap_used,
    reason = "a test panics, also in its helper functions"
)]

#[path = "../../tests/against_strace/mod.rs"]
mod against_strace;
#[path = "../../tests/fake_host/mod.rs"]
mod fake_host;

use std::os::fd::AsFd;

use rocker_net::{HeldPorts, Netns, Network, NetworkOptions};

/// Every call that the crate makes, but for getdents64(2) and close(2).
const CALLS: [&str; 20] = [
    "unshare",
    "setns",
    "socket",
    "setsockopt",
    "sendto",
    "recvfrom",
    "openat",
    "read",
    "write",
    "fsync",
    "flock",
    "mkdir",
    "rename",
    "unlink",
    "rmdir",
    "bind",
    "listen",
    "statx",
    "mount",
    "clone3",
];

#[test]
fn an_attachment_is_reported_call_by_call() {
    fake_host::run(|host| {
        // Once more below strace, where all of it is there.
        host.sh("ip link show up0 2>/dev/null && exit
             ip link add up0 type bridge; ip link set up0 up
             ip addr add 198.51.100.2/24 dev up0; ip route add default via 198.51.100.1");
        let state = host.dir("state/networks");
        let calls = against_strace::hold(
            "an_attachment_is_reported_call_by_call",
            &host.dir("strace"),
            compared,
            || {
                let options = NetworkOptions::default().subnet("10.88.0.0/16".parse().unwrap());
                let network = Network::open(&state, &options).unwrap();
                let netns = Netns::new().unwrap();
                let address = network.attach("c", netns.as_fd()).unwrap().address;
                network.attach("c", netns.as_fd()).unwrap_err();
                let held =
                    HeldPorts::hold(&["8080:80".parse().unwrap(), "53:53/udp".parse().unwrap()]);
                let held = held.unwrap();
                network.publish("c", &[address], held.forwards()).unwrap();
                network.unpublish("c").unwrap();
                network.detach("c").unwrap();
                network.detach("c").unwrap();
            },
        );
        for name in CALLS {
            let absent = ["mount", "clone3"].contains(&name);
            let made = calls
                .iter()
                .any(|call| call.starts_with(&format!("{name}(")));
            assert_eq!(made, !absent, "{name}");
        }
    });
}

/// The call with those of its arguments that both sides know.
fn compared(call: &str) -> Option<String> {
    let (name, args) = call.split_once('(')?;
    // A thread is what the C library makes of it, and the standard library tries once whether there is statx(2).
    if !CALLS.contains(&name) || args.contains("CLONE_THREAD") || args.starts_with("0, NULL") {
        return None;
    }
    let (args, result) = args.rsplit_once(" = ")?;
    let args = match name {
        "statx" => args.split_inclusive("STATX_ALL").next()?.to_owned(),
        "read" => {
            let (file, _) = args.split_once(", ")?;
            format!("{file}, {}", args.rsplit_once(", ")?.1)
        }
        "sendto" => format!(
            "{}, {:?}, {}",
            args.split_once(", ")?.0,
            messages(args),
            behind(args)
        ),
        "recvfrom" => format!(
            "{}, {:?}, {}",
            args.split_once(", ")?.0,
            errors(args),
            behind(args)
        ),
        _ => args.to_owned(),
    };
    Some(format!("{name}({args} = {result}"))
}

/// The arguments behind the messages.
fn behind(args: &str) -> &str {
    args.rsplit_once("], ")
        .or_else(|| args.rsplit_once("}, "))
        .map_or(args, |(_, rest)| rest)
}

/// What strace does not name where it does not find out which protocol a socket speaks: messages of rtnetlink,
const OF_ROUTE: &[(&str, &str)] = &[
    ("0x10 ", "RTM_NEWLINK"),
    ("0x11 ", "RTM_DELLINK"),
    ("0x12 ", "RTM_GETLINK"),
    ("0x13 ", "RTM_SETLINK"),
    ("0x14 ", "RTM_NEWADDR"),
    ("0x15 ", "RTM_DELADDR"),
    ("0x16 ", "RTM_GETADDR"),
    ("0x18 ", "RTM_NEWROUTE"),
    ("0x19 ", "RTM_DELROUTE"),
    ("0x1a ", "RTM_GETROUTE"),
];
/// and of nf_tables.
const OF_NETFILTER: &[(&str, &str)] = &[
    ("0x10 ", "NFNL_MSG_BATCH_BEGIN"),
    ("0x11 ", "NFNL_MSG_BATCH_END"),
    ("0xa00 ", "NFT_MSG_NEWTABLE"),
    ("0xa02 ", "NFT_MSG_DELTABLE"),
    ("0xa03 ", "NFT_MSG_NEWCHAIN"),
    ("0xa04 ", "NFT_MSG_GETCHAIN"),
    ("0xa06 ", "NFT_MSG_NEWRULE"),
    ("0xa07 ", "NFT_MSG_GETRULE"),
    ("0xa09 ", "NFT_MSG_NEWSET"),
    ("0xa0c ", "NFT_MSG_NEWSETELEM"),
    ("0xa0e ", "NFT_MSG_DELSETELEM"),
    ("0x101 ", "IPCTNL_MSG_CT_GET"),
];

/// The type and the flags of each message that is sent, as `TYPE, FLAGS`.
fn messages(args: &str) -> Vec<String> {
    let netfilter = ["0xa", "0x101"]
        .iter()
        .any(|kind| args.contains(&format!("nlmsg_type={kind}")));
    let unnamed = match netfilter {
        true => OF_NETFILTER,
        false => OF_ROUTE,
    };
    let mut found = Vec::new();
    for part in args.split('{') {
        let part = part
            .split_once("nlmsg_type=")
            .map_or(part, |(_, rest)| rest);
        let part = part.split_once("<<8|").map_or(part, |(_, rest)| rest);
        let part = part.replace("nlmsg_flags=", "");
        let part = part
            .replace("|0x300", "|NLM_F_DUMP")
            .replace("|0x500", "|NLM_F_REPLACE|NLM_F_CREATE")
            .replace("|0x600", "|NLM_F_EXCL|NLM_F_CREATE");
        let mut words = part.split([',', '}']).map(str::trim);
        if let (Some(kind_name), Some(flags)) = (words.next(), words.next())
            && flags.starts_with("NLM_F_REQUEST")
        {
            let kind = unnamed
                .iter()
                .find(|(number, _)| kind_name.starts_with(number));
            let kind = kind.map_or(kind_name, |(_, name)| name);
            found.push(format!("{kind}, {flags}"));
        }
    }
    found
}

/// The errnos of the answers, those of success too. strace does not show that of the end of a dump.
fn errors(args: &str) -> Vec<&str> {
    let parts = args
        .split('{')
        .filter(|part| !part.starts_with("NLMSG_DONE"));
    let behind = parts.filter_map(|part| part.split_once("error="));
    behind
        .filter_map(|(_, rest)| rest.split([',', '}', ' ']).next())
        .collect()
}
