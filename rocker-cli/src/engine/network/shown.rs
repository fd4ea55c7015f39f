//! Networks, and containers' places on them, in the shape of Docker's `inspect`.

use std::collections::BTreeMap;

use rocker_net::{Attachment, Network};
use serde_json::{Value, json};

use super::connection::names_on;
use super::{OPTION, PREDEFINED, id_of};
use crate::Result;
use crate::engine::Engine;
use crate::engine::container::record::Record;
use crate::engine::options::{Network as Kind, NetworkEndpoint};
use crate::engine::time::text;

/// What Docker says for a time that there was not.
const NEVER: &str = "0001-01-01T00:00:00Z";

impl Engine {
    /// A network as JSON.
    ///
    /// # Errors
    /// [`Error::NoNetwork`](crate::Error::NoNetwork).
    pub fn inspect_network(&self, name: &str) -> Result<Value> {
        self.reconcile()?;
        let name = self.network_name(name)?;
        let Some(network) = self.find_network(&name)? else {
            return Ok(predefined(&name));
        };
        let options = network.options();
        let ipam: Vec<_> = network
            .subnets()?
            .iter()
            .map(|one| {
                let mut config = json!({
                    "Subnet": one.subnet.to_string(),
                    "Gateway": one.gateway.to_string(),
                });
                if let Some(range) = one.range {
                    config["IPRange"] = range.to_string().into();
                }
                config
            })
            .collect();
        let mut containers = BTreeMap::new();
        for (owner, attached) in network.attachments()? {
            // One whose place is left to be taken back later has ended.
            let Ok(Some(record)) = self.record(&owner) else {
                continue;
            };
            if !self
                .summary(&owner)?
                .is_some_and(|found| found.status.is_up())
            {
                continue;
            }
            let six = attached
                .ipv6
                .map(|(address, len)| format!("{address}/{len}"));
            let shown = json!({
                "Name": record.name,
                "EndpointID": attached.host_interface,
                "MacAddress": mac(&attached),
                "IPv4Address": format!("{}/{}", attached.address, attached.prefix_len),
                "IPv6Address": six.unwrap_or_default(),
            });
            containers.insert(owner, shown);
        }
        let mut shown = predefined(&name);
        shown["Id"] = match network.created() {
            Some(_) => id_of(&network).into(),
            None => name.into(),
        };
        shown["Created"] = network
            .created()
            .map_or_else(|| NEVER.to_owned(), text)
            .into();
        shown["Driver"] = "bridge".into();
        shown["EnableIPv6"] = options.ipv6.into();
        shown["IPAM"]["Config"] = ipam.into();
        shown["Internal"] = options.internal.into();
        shown["Isolated"] = options.isolated.into();
        shown["Containers"] = json!(containers);
        shown["Options"] = json!(shown_options(&network));
        shown["Labels"] = json!(options.labels);
        Ok(shown)
    }

    /// The places of a container on its networks, as its own `inspect` shows them; the first of them on its own.
    pub(crate) fn endpoints_of(&self, record: &Record, is_up: bool) -> (Value, Value) {
        let mut all = serde_json::Map::new();
        let mut first = None;
        for place in record.options.places() {
            let network = self.find_network(&place.network).ok().flatten();
            let attached = network.as_ref().filter(|_| is_up);
            let attached = attached.and_then(|network| network.attachment(&record.id).ok()?);
            let shown = endpoint(record, &place, network.as_ref(), attached.as_ref());
            first.get_or_insert_with(|| shown.clone());
            all.insert(place.network, shown);
        }
        let empty = || {
            let kind = record.options.network.to_string();
            endpoint(record, &NetworkEndpoint::new(kind), None, None)
        };
        if let (true, Kind::None | Kind::Host | Kind::Pasta) =
            (all.is_empty(), &record.options.network)
        {
            all.insert(record.options.network.to_string(), empty());
        }
        (first.unwrap_or_else(empty), Value::Object(all))
    }
}

/// A network that is always there, as far as it has anything to show.
fn predefined(name: &str) -> Value {
    json!({
        "Name": name,
        "Id": name,
        "Created": NEVER,
        "Scope": "local",
        "Driver": if name == "none" { "null" } else { name },
        "EnableIPv4": true,
        "EnableIPv6": false,
        "IPAM": {"Driver": "default", "Options": {}, "Config": []},
        "Internal": false,
        "Isolated": false,
        "Attachable": false,
        "Ingress": false,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": false,
        "Containers": {},
        "Options": {},
        "Labels": {},
    })
}

/// The options of the driver as they were given, and the bridge.
fn shown_options(network: &Network) -> BTreeMap<String, String> {
    let options = network.options();
    let given = options.notes.iter();
    let given = given.filter_map(|(name, value)| Some((name.strip_prefix(OPTION)?, value)));
    let mut shown: BTreeMap<_, _> = given
        .map(|(name, value)| (name.to_owned(), value.clone()))
        .collect();
    let name = "com.docker.network.bridge.name".to_owned();
    shown.entry(name).or_insert_with(|| options.bridge.clone());
    shown
}

fn mac(attached: &Attachment) -> String {
    let bytes = attached
        .mac
        .unwrap_or_default()
        .map(|byte| format!("{byte:02x}"));
    bytes.join(":")
}

fn endpoint(
    record: &Record,
    place: &NetworkEndpoint,
    network: Option<&Network>,
    attached: Option<&Attachment>,
) -> Value {
    let fixed: BTreeMap<_, _> = [
        ("IPv4Address", place.address.map(|one| one.to_string())),
        ("IPv6Address", place.address6.map(|one| one.to_string())),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
    .collect();
    let names = match PREDEFINED.contains(&&*place.network) {
        true => Value::Null,
        false => json!(names_on(record, place)),
    };
    let id = match network.filter(|network| network.created().is_some()) {
        Some(network) => id_of(network),
        None => place.network.clone(),
    };
    let mut shown = json!({
        "IPAMConfig": if fixed.is_empty() { Value::Null } else { json!(fixed) },
        "Links": null,
        "Aliases": if place.aliases.is_empty() { Value::Null } else { json!(place.aliases) },
        "MacAddress": "",
        "DriverOpts": null,
        "GwPriority": 0,
        "NetworkID": id,
        "EndpointID": "",
        "Gateway": "",
        "IPAddress": "",
        "IPPrefixLen": 0,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "DNSNames": names,
    });
    let Some(attached) = attached else {
        return shown;
    };
    let is_internal = network.is_some_and(|network| network.options().internal);
    shown["MacAddress"] = mac(attached).into();
    shown["EndpointID"] = attached.host_interface.clone().into();
    shown["IPAddress"] = attached.address.to_string().into();
    shown["IPPrefixLen"] = attached.prefix_len.into();
    if !is_internal {
        shown["Gateway"] = attached.gateway.to_string().into();
    }
    if let Some((address, len)) = attached.ipv6 {
        shown["GlobalIPv6Address"] = address.to_string().into();
        shown["GlobalIPv6PrefixLen"] = len.into();
        if let Some(gateway) = attached.gateway6.filter(|_| !is_internal) {
            shown["IPv6Gateway"] = gateway.to_string().into();
        }
    }
    shown
}
