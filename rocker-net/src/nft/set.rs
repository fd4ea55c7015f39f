//! Sets and maps: what rules look up, one element a container or a port.

/// A part of a key or of a value: the number is nft's own of the type (`enum datatypes`), by which it shows the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Ipv4 = 7,
    Ipv6 = 8,
    Ether = 9,
    L4proto = 12,
    Port = 13,
    IfName = 41,
}

impl Type {
    /// How many bytes it takes in registers, which are of 4.
    pub(super) fn len(self) -> usize {
        match self {
            Self::Ipv4 | Self::L4proto | Self::Port => 4,
            Self::Ether => 8,
            Self::Ipv6 | Self::IfName => 16,
        }
    }

    /// How nft(8) calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4_addr",
            Self::Ipv6 => "ipv6_addr",
            Self::Ether => "ether_addr",
            Self::L4proto => "inet_proto",
            Self::Port => "inet_service",
            Self::IfName => "ifname",
        }
    }
}

/// The number of a concatenation: six bits a type.
pub(super) fn number(types: &[Type]) -> u32 {
    types.iter().fold(0, |all, one| all << 6 | *one as u32)
}

/// A set, or a map if it has data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Set {
    pub(crate) name: &'static str,
    /// What it is for.
    pub(crate) why: &'static str,
    pub(crate) key: &'static [Type],
    pub(crate) data: &'static [Type],
    pub(crate) elements: Vec<Element>,
}

/// An element of a set or map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Element {
    /// Whose it is; `nft list ruleset` shows it.
    pub(crate) comment: String,
    pub(crate) key: Vec<u8>,
    pub(crate) data: Vec<u8>,
}

impl Element {
    pub(crate) fn new(comment: impl Into<String>) -> Self {
        Self {
            comment: comment.into(),
            key: Vec::new(),
            data: Vec::new(),
        }
    }

    /// Adds a part to the key.
    pub(crate) fn key(mut self, part: &[u8]) -> Self {
        append(&mut self.key, part);
        self
    }

    /// Adds a part to what the key stands for.
    pub(crate) fn data(mut self, part: &[u8]) -> Self {
        append(&mut self.data, part);
        self
    }
}

/// Each part begins at a full register.
fn append(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend_from_slice(part);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}
