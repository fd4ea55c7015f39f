//! The structures that system calls take by pointer, as bytes.

/// `struct mount_attr` of mount_setattr(2): attributes to set, to clear, and the propagation.
pub(crate) fn mount_attr(set: u64, clear: u64, propagation: u64) -> [u8; 32] {
    words([set, clear, propagation, 0])
}

/// The same of a mount that gets the ID map of the user namespace `userns`, a descriptor. It is nobody's peer from then on: what comes
/// to lie on it would otherwise lie on what it is a copy of, on the host.
pub(crate) fn id_mapped(set: u64, userns: u64) -> [u8; 32] {
    words([set, 0, libc::MS_PRIVATE, userns])
}

/// `struct open_how` of openat2(2).
pub(crate) fn open_how(flags: u64, mode: u64, resolve: u64) -> [u8; 24] {
    words([flags, mode, resolve])
}

fn words<const WORDS: usize, const BYTES: usize>(words: [u64; WORDS]) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    bytes
}
