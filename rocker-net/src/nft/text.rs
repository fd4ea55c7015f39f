//! Tables in the language of nft(8), for people.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Base, Chain, ChainKind, Element, Expr, Hook, Meta, Rule, Set, Table, Type};

impl Table {
    /// `table inet NAME`.
    pub(crate) fn title(&self) -> String {
        format!("table {} {}", self.family.name(), self.name)
    }
}

impl Chain {
    /// Where it is and what it may do.
    pub(crate) fn title(&self) -> String {
        let kind = match self.kind {
            ChainKind::Filter => "filter",
            ChainKind::Nat => "nat",
        };
        let hook = match self.hook {
            Hook::Prerouting => "prerouting",
            Hook::Forward => "forward",
            Hook::Output => "output",
            Hook::Postrouting => "postrouting",
        };
        let (name, priority) = (self.name, self.priority);
        format!("chain {name} type {kind} hook {hook} priority {priority}")
    }
}

impl Set {
    /// Its name and type.
    pub(crate) fn title(&self) -> String {
        let names = |types: &[Type]| {
            let names: Vec<_> = types.iter().map(|one| one.name()).collect();
            names.join(" . ")
        };
        match self.data.is_empty() {
            true => format!("set {} type {}", self.name, names(self.key)),
            false => format!(
                "map {} type {} : {}",
                self.name,
                names(self.key),
                names(self.data)
            ),
        }
    }

    /// One element, in nft's words.
    pub(crate) fn element(&self, element: &Element) -> String {
        let key = parts(self.key, &element.key);
        match self.data.is_empty() {
            true => key,
            false => format!("{key} : {}", parts(self.data, &element.data)),
        }
    }
}

fn parts(types: &[Type], mut bytes: &[u8]) -> String {
    let mut all = Vec::new();
    for one in types {
        let (part, rest) = bytes.split_at_checked(one.len()).unwrap_or((bytes, &[]));
        all.push(part_text(*one, part));
        bytes = rest;
    }
    all.join(" . ")
}

fn part_text(kind: Type, bytes: &[u8]) -> String {
    match kind {
        Type::Ipv4 | Type::Ipv6 => address(bytes),
        Type::Ether => {
            let digits: Vec<_> = bytes
                .iter()
                .take(6)
                .map(|byte| format!("{byte:02x}"))
                .collect();
            digits.join(":")
        }
        Type::L4proto => protocol(bytes),
        Type::Port => number(&bytes[..bytes.len().min(2)]),
        Type::IfName => format!("\"{}\"", crate::nla::read_str(bytes)),
    }
}

fn number(bytes: &[u8]) -> String {
    let number = bytes
        .iter()
        .fold(0_u64, |all, byte| all << 8 | u64::from(*byte));
    number.to_string()
}

fn address(bytes: &[u8]) -> String {
    let four = bytes
        .try_into()
        .ok()
        .map(|four: [u8; 4]| IpAddr::V4(Ipv4Addr::from(four)));
    let six = || {
        bytes
            .try_into()
            .ok()
            .map(|six: [u8; 16]| IpAddr::V6(Ipv6Addr::from(six)))
    };
    four.or_else(six)
        .map_or_else(String::new, |one| one.to_string())
}

fn protocol(bytes: &[u8]) -> String {
    match bytes.first() {
        Some(6) => "tcp".to_owned(),
        Some(17) => "udp".to_owned(),
        Some(58) => "ipv6-icmp".to_owned(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

impl Rule {
    /// What it does, in nft's words.
    pub(crate) fn text(&self) -> String {
        let mut words = Vec::new();
        let mut loaded: Vec<&Expr> = Vec::new();
        let mut mask: Option<&[u8]> = None;
        for expression in &self.expressions {
            match expression {
                Expr::Mask(bits) => mask = Some(bits),
                Expr::Equal(value) | Expr::NotEqual(value) => {
                    let equal = matches!(expression, Expr::Equal(_));
                    words.extend(compared(&loaded, mask.take(), value, equal));
                    loaded.clear();
                }
                Expr::In(set) => {
                    words.push(format!("{} @{set}", concatenated(&loaded)));
                    loaded.clear();
                }
                Expr::NotIn(set) => {
                    words.push(format!("{} != @{set}", concatenated(&loaded)));
                    loaded.clear();
                }
                Expr::Map(map) => {
                    words.push(format!("dnat to {} map @{map}", concatenated(&loaded)));
                    loaded.clear();
                }
                // Said with the map that it takes its address from.
                Expr::Dnat { .. } => {}
                Expr::Masquerade => words.push("masquerade".to_owned()),
                Expr::Accept => words.push("accept".to_owned()),
                Expr::Drop => words.push("drop".to_owned()),
                Expr::Jump(chain) => words.push(format!("jump {chain}")),
                load => loaded.push(load),
            }
        }
        words.join(" ")
    }
}

fn concatenated(loads: &[&Expr]) -> String {
    let words: Vec<_> = loads.iter().map(|load| load_text(load)).collect();
    words.join(" . ")
}

fn compared(loads: &[&Expr], mask: Option<&[u8]>, value: &[u8], equal: bool) -> Option<String> {
    let [load] = loads else { return None };
    let name = load_text(load);
    let not = if equal { "" } else { "!= " };
    let text = match load {
        Expr::Meta(Meta::IifName | Meta::OifName) => {
            format!("\"{}\"", crate::nla::read_str(value))
        }
        Expr::Meta(Meta::Nfproto) => match value {
            [2] => "ipv4".to_owned(),
            _ => "ipv6".to_owned(),
        },
        Expr::Meta(Meta::Protocol) => match value {
            [8, 0] => "ip".to_owned(),
            [8, 6] => "arp".to_owned(),
            _ => "ip6".to_owned(),
        },
        Expr::Meta(Meta::L4proto) => protocol(value),
        Expr::Meta(Meta::OifGroup) => value
            .try_into()
            .map_or_else(|_| String::new(), |one| u32::from_ne_bytes(one).to_string()),
        Expr::CtState => return Some(format!("{name} ! established,related")),
        Expr::CtStatus => {
            let sign = if equal { "! " } else { "" };
            return Some(format!("{name} {sign}dnat"));
        }
        Expr::DaddrType => "local".to_owned(),
        Expr::Payload {
            base: Base::Network,
            len: 4 | 16,
            ..
        } => {
            let bits = mask.map(|mask| mask.iter().map(|byte| byte.count_ones()).sum::<u32>());
            let prefix = bits.map(|bits| format!("/{bits}")).unwrap_or_default();
            format!("{}{prefix}", address(value))
        }
        _ => number(value),
    };
    Some(format!("{name} {not}{text}"))
}

fn load_text(load: &Expr) -> String {
    let text = match load {
        Expr::Meta(Meta::Protocol) => "meta protocol",
        Expr::Meta(Meta::IifName) => "iifname",
        Expr::Meta(Meta::OifName) => "oifname",
        Expr::Meta(Meta::Nfproto) => "meta nfproto",
        Expr::Meta(Meta::L4proto) => "meta l4proto",
        Expr::Meta(Meta::OifGroup) => "oifgroup",
        Expr::CtState => "ct state",
        Expr::CtStatus => "ct status",
        Expr::DaddrType => "fib daddr type",
        Expr::Payload { base, offset, len } => match (base, offset, len) {
            (Base::Link, 6, 6) => "ether saddr",
            (Base::Network, 12, 4) => "ip saddr",
            (Base::Network, 16, 4) => "ip daddr",
            (Base::Network, 16, 1) => "ip daddr",
            (Base::Network, 8, 16) => "ip6 saddr",
            (Base::Network, 24, 16) => "ip6 daddr",
            (Base::Network, 8, 6) => "arp saddr ether",
            (Base::Network, 14, 4) => "arp saddr ip",
            (Base::Transport, 0, 1) => "icmpv6 type",
            (Base::Transport, 0, 2) => "th sport",
            (Base::Transport, 2, 2) => "th dport",
            (Base::Transport, 8, 16) => "icmpv6 taddr",
            _ => "@payload",
        },
        _ => "",
    };
    text.to_owned()
}
