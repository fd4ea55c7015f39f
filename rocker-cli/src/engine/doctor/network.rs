//! Whether containers can be connected: tried in network namespaces that go with their last descriptor.

use std::os::fd::AsFd;

use rocker_net::{
    Bridge, BridgeOptions, Endpoint, EndpointOptions, Nat, NatOptions, Netns, Subnet, loopback_up,
};

use super::Check;
use crate::Result;
use crate::advice::Advice;
use crate::engine::host::Host;
use crate::engine::network::connection;

pub(super) fn checks(host: &Host, is_root: bool) -> Vec<Check> {
    const NAMES: [&str; 3] = ["network namespace", "bridge and veth", "nf_tables"];
    let mut checks = match is_root {
        true => tried(host, NAMES),
        false => NAMES.map(Check::untried).into(),
    };
    if is_root && host.is_in_user_namespace() {
        checks.push(pasta());
        return checks;
    }
    checks.push(forwarding(host));
    checks.extend(bridge_filter(host));
    checks.extend(legacy_filter(host));
    checks
}

fn tried(host: &Host, [netns, bridge, nat]: [&'static str; 3]) -> Vec<Check> {
    let made = Netns::new().and_then(|router| {
        let inside = Netns::new()?;
        loopback_up(inside.as_fd())?;
        Ok((router, inside))
    });
    let (router, inside) = match made {
        Ok(made) => made,
        Err(error) => return vec![Check::failed(netns, host, &error.into())],
    };
    vec![
        Check::ok(netns, "made, with its loopback up"),
        {
            let found = "made, and a container's end plugged in";
            Check::of(
                bridge,
                host,
                apart(&router, || plug(&inside)).map(|()| found),
            )
        },
        {
            let found = "a table with address translation was taken";
            Check::of(nat, host, apart(&router, translate).map(|()| found))
        },
    ]
}

/// How an ordinary user's container is connected.
fn pasta() -> Check {
    let name = "pasta";
    match connection::missing_for_pasta() {
        None => Check::ok(name, "connects containers"),
        Some(missing) => Check {
            advice: Some(Advice::new(missing, "or --network host, or none")),
            ..Check::note(name, "containers reach only themselves")
        },
    }
}

/// Does something as if `router` were the host.
fn apart(router: &Netns, work: impl FnOnce() -> rocker_net::Result<()> + Send) -> Result<()> {
    Ok(router.run(work).and_then(|outcome| outcome)?)
}

fn subnet() -> rocker_net::Result<Subnet> {
    "10.88.0.0/24".parse()
}

fn plug(inside: &Netns) -> rocker_net::Result<()> {
    let subnet = subnet()?;
    let bridge = Bridge::ensure(&BridgeOptions::new("doctor0", subnet))?;
    let options = EndpointOptions::new("doctor1", [10, 88, 0, 2].into(), subnet.prefix_len())
        .gateway(subnet.gateway());
    Endpoint::create(inside.as_fd(), &bridge, &options).map(drop)
}

fn translate() -> rocker_net::Result<()> {
    Nat::ensure(&NatOptions::new("doctor", "doctor0", subnet()?)).map(drop)
}

/// The packets of containers are forwarded by the host, on the interfaces where rocker has it do so.
fn forwarding(host: &Host) -> Check {
    let name = "forwarding";
    match host.sysctl("net/ipv4/ip_forward") {
        Some(1) => Check::ok(name, "on for all interfaces"),
        Some(_) => Check::ok(name, "off; a run turns it on where its packets pass"),
        None => Check::note(name, "not known without /proc/sys/net"),
    }
}

/// What nf_tables does not show cannot be opened for containers.
fn legacy_filter(host: &Host) -> Option<Check> {
    host.has_legacy_filter().then(|| Check {
        advice: Some(Advice::new(
            "iptables-legacy -S FORWARD says whether it drops what it does not know",
            "iptables-legacy -A FORWARD -i rocker0 -j ACCEPT; iptables-legacy -A FORWARD -o rocker0 -j ACCEPT",
        )),
        ..Check::note(
            "legacy iptables",
            "has a filter of its own here, which rocker cannot see into: it may keep containers from the network",
        )
    })
}

fn bridge_filter(host: &Host) -> Option<Check> {
    let on = host.sysctl("net/bridge/bridge-nf-call-iptables")? == 1;
    on.then(|| {
        let found = "iptables also filters what stays on the bridge (bridge-nf-call-iptables=1)";
        Check::note("bridge filter", found)
    })
}
