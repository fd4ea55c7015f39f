//! Netlink attributes: the type-length-value encoding inside of every netlink message.
//!
//! <https://docs.kernel.org/userspace-api/netlink/intro.html>

/// The attribute holds attributes (`NLA_F_NESTED`).
const NESTED: u16 = 1 << 15;
/// The bits of the type that are the type (`NLA_TYPE_MASK`).
const TYPE_MASK: u16 = 0x3fff;
/// Length and type.
const HEADER: usize = 4;

/// The smallest multiple of 4 that holds `len` bytes: where the next attribute or message begins.
pub(crate) fn align(len: usize) -> usize {
    len.next_multiple_of(4)
}

/// Appends one attribute with the bytes of `value`.
pub(crate) fn put(buffer: &mut Vec<u8>, kind: u16, value: &[u8]) {
    put_with(buffer, kind, |buffer| buffer.extend_from_slice(value));
}

/// Appends a string with its terminating zero.
pub(crate) fn put_str(buffer: &mut Vec<u8>, kind: u16, value: &str) {
    put_with(buffer, kind, |buffer| {
        buffer.extend_from_slice(value.as_bytes());
        buffer.push(0);
    });
}

/// Appends a number in network byte order, as nf_tables wants them.
pub(crate) fn put_be32(buffer: &mut Vec<u8>, kind: u16, value: u32) {
    put(buffer, kind, &value.to_be_bytes());
}

/// Appends an attribute that holds what `fill` appends.
pub(crate) fn put_nested(buffer: &mut Vec<u8>, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) {
    put_with(buffer, kind | NESTED, fill);
}

fn put_with(buffer: &mut Vec<u8>, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; HEADER]);
    fill(buffer);
    let len =
        u16::try_from(buffer.len() - start).expect("what this crate encodes is far below 64 KiB");
    buffer[start..start + 2].copy_from_slice(&len.to_ne_bytes());
    buffer[start + 2..start + HEADER].copy_from_slice(&kind.to_ne_bytes());
    buffer.resize(align(buffer.len()), 0);
}

/// The attributes in `bytes`, as type and value; ends at the first that is cut off.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (head, _) = bytes.split_first_chunk::<HEADER>()?;
        let len = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let kind = u16::from_ne_bytes([head[2], head[3]]) & TYPE_MASK;
        let value = bytes.get(HEADER..len)?;
        bytes = bytes.get(align(len)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The value of the first attribute of type `kind`.
pub(crate) fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find_map(|(found, value)| (found == kind).then_some(value))
}

/// A number in the machine's byte order.
pub(crate) fn read_u32(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_ne_bytes)
}

/// A string, up to its terminating zero.
pub(crate) fn read_str(value: &[u8]) -> String {
    let end = value
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn attributes_are_padded_but_their_length_is_not() {
        let mut buffer = Vec::new();
        put(&mut buffer, 7, &[1]);
        put_str(&mut buffer, 8, "abc");
        assert_eq!(
            buffer,
            [5, 0, 7, 0, 1, 0, 0, 0, 8, 0, 8, 0, b'a', b'b', b'c', 0]
        );
    }

    #[test]
    fn nested_attributes_are_marked_and_found_again() {
        let mut buffer = Vec::new();
        put_nested(&mut buffer, 2, |buffer| put_be32(buffer, 3, 0x0102_0304));
        assert_eq!(buffer[3], 0x80);
        let inner = find(&buffer, 2).unwrap();
        assert_eq!(find(inner, 3), Some(&[1, 2, 3, 4][..]));
    }

    proptest! {
        #[test]
        fn reading_rubbish_ends_and_stays_in_bounds(bytes: Vec<u8>) {
            let read: usize = attributes(&bytes).map(|(_, value)| value.len() + HEADER).sum();
            prop_assert!(read <= bytes.len());
        }
    }
}
