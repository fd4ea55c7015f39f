//! The memory that zstd's windows take together, however many layers are decompressed at once.

use std::sync::{Condvar, Mutex, PoisonError};

/// The largest window of a zstd frame, as a power of two: 32 MiB, which is what compressors take at most unless they are told to take
/// more. That much memory has whoever decompresses it.
pub(crate) const LARGEST: u32 = 25;
/// The largest of those that are decompressed side by side: 8 MiB, which every decompressor is to understand
/// ([RFC 8878, section 3.1.1.1.2](https://www.rfc-editor.org/rfc/rfc8878#section-3.1.1.1.2)).
const USUAL: u32 = 23;

static IN_USE: Mutex<InUse> = Mutex::new(InUse {
    usual: 0,
    large: false,
});
static FREED: Condvar = Condvar::new();

struct InUse {
    usual: usize,
    large: bool,
}

/// Leave to have a window: several may have a usual one, or a single one has a large one.
#[derive(Debug)]
pub(crate) struct Leave {
    is_large: bool,
}

impl Leave {
    /// Waits for it. `head` is the beginning of what is to be decompressed.
    pub(crate) fn wait(head: &[u8]) -> Self {
        let is_large = wanted(head).is_some_and(|size| size > 1 << USUAL);
        let mut now = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
        while now.large || (is_large && now.usual > 0) {
            now = FREED.wait(now).unwrap_or_else(PoisonError::into_inner);
        }
        match is_large {
            true => now.large = true,
            false => now.usual += 1,
        }
        Self { is_large }
    }

    /// The largest window that may be had, as a power of two.
    pub(crate) fn limit(&self) -> u32 {
        if self.is_large { LARGEST } else { USUAL }
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        let mut now = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
        match self.is_large {
            true => now.large = false,
            false => now.usual -= 1,
        }
        FREED.notify_all();
    }
}

/// The window that a frame asks for in its header, in bytes; none where it does not begin with one.
fn wanted(head: &[u8]) -> Option<u64> {
    let [0x28, 0xb5, 0x2f, 0xfd, descriptor, rest @ ..] = head else {
        return None;
    };
    let is_single = descriptor & 0x20 != 0;
    if !is_single {
        let window = u64::from(*rest.first()?);
        let base = 1_u64 << (10 + (window >> 3));
        return Some(base + base / 8 * (window & 7));
    }
    // All of it is the window then, and its size stands behind the number of a dictionary.
    let skipped = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let length = [1, 2, 4, 8][usize::from(descriptor >> 6)];
    let mut size = [0; 8];
    size[..length].copy_from_slice(rest.get(skipped..skipped + length)?);
    Some(u64::from_le_bytes(size) + if length == 2 { 256 } else { 0 })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_frame_says_how_large_its_window_is() {
        let head = |rest: &[u8]| [&[0x28, 0xb5, 0x2f, 0xfd][..], rest].concat();
        assert_eq!(wanted(&head(&[0x00, 0x58])), Some(2 << 20));
        assert_eq!(wanted(&head(&[0x00, 0x79])), Some((32 << 20) + (4 << 20)));
        assert_eq!(wanted(&head(&[0x20, 200])), Some(200));
        assert_eq!(wanted(&head(&[0x61, 9, 1, 0])), Some(257));
        assert_eq!(
            wanted(&head(&[0xe0, 0, 0, 0, 0, 1, 0, 0, 0])),
            Some(1 << 32)
        );
        for cut in [&[][..], &[0x00], &[0xe0, 0, 0]] {
            assert_eq!(wanted(&head(cut)), None);
        }
        assert_eq!(wanted(b"\x1f\x8b"), None);
        // What the library itself writes.
        let packed = zstd::encode_all(&[7; 100_000][..], 3).unwrap();
        assert!(wanted(&packed).is_some_and(|size| size <= 1 << USUAL));
    }

    #[test]
    fn a_large_window_is_had_alone() {
        static NOW: AtomicUsize = AtomicUsize::new(0);
        let large: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x78];
        thread::scope(|scope| {
            for turn in 0..16 {
                scope.spawn(move || {
                    let (head, weight) = if turn % 4 == 0 {
                        (large, 100)
                    } else {
                        (&[][..], 1)
                    };
                    let leave = Leave::wait(head);
                    let others = NOW.fetch_add(weight, Ordering::SeqCst);
                    assert!(if weight == 100 {
                        others == 0
                    } else {
                        others < 100
                    });
                    thread::sleep(Duration::from_millis(2));
                    NOW.fetch_sub(weight, Ordering::SeqCst);
                    drop(leave);
                });
            }
        });
    }
}
