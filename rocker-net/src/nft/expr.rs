//! What rules are made of.

use crate::nla;

/// `NFT_REG32_00`: the first of sixteen registers of 32 bits.
const REGISTER: u32 = 8;
/// `NFT_REG_VERDICT`.
const REGISTER_VERDICT: u32 = 0;
/// `IFNAMSIZ`.
const NAME_BYTES: usize = 16;
/// `NFTA_LIST_ELEM`.
const LIST_ELEMENT: u16 = 1;

/// An instruction of the nf_tables virtual machine.
///
/// What loads puts one value behind the other into the registers, each at a full register's start; what compares or looks up
/// takes all that was loaded since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expr {
    /// Load a property of the packet.
    Meta(Meta),
    /// Load bytes of the packet.
    Payload { base: Base, offset: u32, len: u32 },
    /// Load the state of the packet's connection, as a bit set.
    CtState,
    /// Load what has been done to the packet's connection, as a bit set.
    CtStatus,
    /// Load whether the packet's destination is an address of this host: its type in the routing tables.
    DaddrType,
    /// Keep only the bits of the mask.
    Mask(Vec<u8>),
    /// Go on if the registers hold these bytes.
    Equal(Vec<u8>),
    /// Go on if they hold other bytes.
    NotEqual(Vec<u8>),
    /// Go on if what they hold is in the set.
    In(&'static str),
    /// Go on if it is not.
    NotIn(&'static str),
    /// Load what the map has for what they hold; do not go on if there is nothing.
    Map(&'static str),
    /// Give the packet the address and port that were looked up as its destination: of IPv4, else of IPv6.
    Dnat { v4: bool },
    /// Give the packet the source address of the interface that it leaves by.
    Masquerade,
    /// Let the packet pass.
    Accept,
    /// Let the packet go no further.
    Drop,
    /// Go on in another chain, and come back.
    Jump(String),
}

/// A property of a packet (`NFT_META_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meta {
    Protocol = 1,
    IifName = 6,
    OifName = 7,
    Nfproto = 15,
    L4proto = 16,
    OifGroup = 22,
}

/// What an offset into the packet counts from (`NFT_PAYLOAD_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    Link = 0,
    Network = 1,
    Transport = 2,
}

/// An interface name as a register holds it.
pub(crate) fn interface(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(NAME_BYTES, 0);
    bytes
}

impl Meta {
    /// How many bytes it has.
    fn len(self) -> u32 {
        match self {
            Self::IifName | Self::OifName => NAME_BYTES as u32,
            Self::Protocol => 2,
            Self::Nfproto | Self::L4proto => 1,
            Self::OifGroup => 4,
        }
    }
}

impl Expr {
    /// How many bytes it loads.
    fn loads(&self) -> Option<u32> {
        match self {
            Self::Meta(meta) => Some(meta.len()),
            Self::Payload { len, .. } => Some(*len),
            Self::CtState | Self::CtStatus | Self::DaddrType => Some(4),
            _ => None,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Meta(_) => "meta",
            Self::Payload { .. } => "payload",
            Self::CtState | Self::CtStatus => "ct",
            Self::DaddrType => "fib",
            Self::Mask(_) => "bitwise",
            Self::Equal(_) | Self::NotEqual(_) => "cmp",
            Self::In(_) | Self::NotIn(_) | Self::Map(_) => "lookup",
            Self::Dnat { .. } => "nat",
            Self::Masquerade => "masq",
            Self::Accept | Self::Drop | Self::Jump(_) => "immediate",
        }
    }

    /// The kernel module that knows it, if that is another one than nf_tables itself.
    pub(super) fn module(&self) -> Option<&'static str> {
        match self {
            Self::CtState | Self::CtStatus => Some("nft_ct"),
            Self::DaddrType => Some("nft_fib_inet"),
            Self::Dnat { .. } => Some("nft_nat"),
            Self::Masquerade => Some("nft_masq"),
            _ => None,
        }
    }

    /// Its attributes; what it loads goes to `register`.
    fn encode_data(&self, data: &mut Vec<u8>, register: u32) {
        match self {
            Self::Meta(key) => {
                nla::put_be32(data, 1, register);
                nla::put_be32(data, 2, *key as u32);
            }
            Self::Payload { base, offset, len } => {
                nla::put_be32(data, 1, register);
                nla::put_be32(data, 2, *base as u32);
                nla::put_be32(data, 3, *offset);
                nla::put_be32(data, 4, *len);
            }
            Self::CtState | Self::CtStatus => {
                nla::put_be32(data, 1, register);
                let key = if matches!(self, Self::CtState) { 0 } else { 2 };
                nla::put_be32(data, 2, key);
            }
            Self::DaddrType => {
                nla::put_be32(data, 1, register);
                nla::put_be32(data, 2, 3); // NFT_FIB_RESULT_ADDRTYPE
                nla::put_be32(data, 3, 1 << 1); // NFTA_FIB_F_DADDR
            }
            Self::Mask(mask) => {
                nla::put_be32(data, 1, REGISTER);
                nla::put_be32(data, 2, REGISTER);
                nla::put_be32(data, 3, mask.len() as u32);
                nla::put_nested(data, 4, |data| nla::put(data, 1, mask));
                nla::put_nested(data, 5, |data| nla::put(data, 1, &vec![0; mask.len()]));
            }
            Self::Equal(value) | Self::NotEqual(value) => {
                nla::put_be32(data, 1, REGISTER);
                nla::put_be32(data, 2, u32::from(matches!(self, Self::NotEqual(_))));
                nla::put_nested(data, 3, |data| nla::put(data, 1, value));
            }
            Self::In(set) | Self::NotIn(set) | Self::Map(set) => {
                nla::put_str(data, 1, set);
                nla::put_be32(data, 2, REGISTER);
                if matches!(self, Self::NotIn(_)) {
                    nla::put_be32(data, 5, 1); // NFT_LOOKUP_F_INV
                }
                if matches!(self, Self::Map(_)) {
                    nla::put_be32(data, 3, REGISTER);
                }
            }
            Self::Dnat { v4 } => {
                let (family, words) = if *v4 { (2, 1) } else { (10, 4) };
                nla::put_be32(data, 1, 1); // NFT_NAT_DNAT
                nla::put_be32(data, 2, family);
                nla::put_be32(data, 3, REGISTER);
                nla::put_be32(data, 5, REGISTER + words);
            }
            Self::Masquerade => {}
            Self::Accept | Self::Drop | Self::Jump(_) => {
                nla::put_be32(data, 1, REGISTER_VERDICT);
                let code = match self {
                    Self::Accept => 1,
                    Self::Drop => 0,
                    _ => -3_i32 as u32, // NFT_JUMP
                };
                nla::put_nested(data, 2, |data| {
                    nla::put_nested(data, 2, |verdict| {
                        nla::put_be32(verdict, 1, code);
                        if let Self::Jump(chain) = self {
                            nla::put_str(verdict, 2, chain);
                        }
                    });
                });
            }
        }
    }
}

/// Appends a rule's expressions.
pub(super) fn encode(expressions: &[Expr], list: &mut Vec<u8>) {
    let mut register = REGISTER;
    for expression in expressions {
        nla::put_nested(list, LIST_ELEMENT, |element| {
            nla::put_str(element, 1, expression.name());
            nla::put_nested(element, 2, |data| expression.encode_data(data, register));
        });
        register = match expression.loads() {
            Some(bytes) => register + bytes.div_ceil(4),
            // What is masked is compared next.
            None => REGISTER,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_encoded_as_nft_encodes_them() {
        // Taken from `nft --debug=netlink,mnl add rule inet t c oifname "br0" drop`, first and last expression; but for the
        // number of the register, where 1 means the same as 8.
        let mut bytes = Vec::new();
        encode(&[Expr::Meta(Meta::OifName)], &mut bytes);
        assert_eq!(
            bytes,
            [
                36, 0, 1, 0x80, 9, 0, 1, 0, b'm', b'e', b't', b'a', 0, 0, 0, 0, //
                20, 0, 2, 0x80, 8, 0, 1, 0, 0, 0, 0, 8, 8, 0, 2, 0, 0, 0, 0, 7
            ]
        );
        bytes.clear();
        encode(&[Expr::Drop], &mut bytes);
        assert_eq!(
            bytes,
            [
                48, 0, 1, 0x80, 14, 0, 1, 0, b'i', b'm', b'm', b'e', b'd', b'i', b'a', b't', b'e',
                0, 0, 0, //
                28, 0, 2, 0x80, 8, 0, 1, 0, 0, 0, 0, 0, 16, 0, 2, 0x80, 12, 0, 2, 0x80, 8, 0, 1, 0,
                0, 0, 0, 0
            ]
        );
    }

    #[test]
    fn values_that_are_looked_up_together_lie_one_behind_the_other() {
        let mut bytes = Vec::new();
        let ether = Expr::Payload {
            base: Base::Link,
            offset: 6,
            len: 6,
        };
        let all = [
            Expr::Meta(Meta::IifName),
            ether.clone(),
            ether,
            Expr::In("s"),
        ];
        encode(&all, &mut bytes);
        let registers: Vec<_> = nla::attributes(&bytes)
            .map(|(_, element)| {
                nla::find(nla::find(element, 2).unwrap(), 1)
                    .unwrap()
                    .to_vec()
            })
            .collect();
        assert_eq!(registers[0], [0, 0, 0, 8]);
        assert_eq!(registers[1], [0, 0, 0, 12]);
        assert_eq!(registers[2], [0, 0, 0, 14]);
    }
}
