//! [`Budget`]: how many bytes the layers of one image may have, all together.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::{Error, Result};

/// The most bytes that the layers of one image may have, uncompressed and all together. Each of them takes its [`Share`].
#[derive(Debug)]
pub(crate) struct Budget {
    image: String,
    limit: u64,
    taken: AtomicU64,
    spent: AtomicBool,
}

impl Budget {
    /// That of an image, which is called so in the error.
    pub(crate) fn new(image: impl Into<String>, limit: u64) -> Arc<Self> {
        Arc::new(Self {
            image: image.into(),
            limit,
            taken: AtomicU64::new(0),
            spent: AtomicBool::new(false),
        })
    }

    /// Refuses an image of which it is known before anything is read that it is too large: what is `compressed` to so many
    /// bytes is not fewer uncompressed, but for what noise grows by, an eighth where the compressor is in a hurry.
    pub(crate) fn check(&self, compressed: u64) -> Result<()> {
        match compressed - compressed / 8 > self.limit {
            true => Err(self.exceeded()),
            false => Ok(()),
        }
    }

    fn exceeded(&self) -> Error {
        Error::ImageTooLarge {
            image: self.image.clone(),
            limit: self.limit,
        }
    }
}

/// What one layer takes. It is given back when this is dropped, unless the layer is [whole](Self::keep): who has to begin a
/// layer anew has it once.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    taken: u64,
}

impl Share {
    pub(crate) fn of(budget: &Arc<Budget>) -> Self {
        Self {
            budget: Arc::clone(budget),
            taken: 0,
        }
    }

    /// Takes so many bytes more.
    pub(crate) fn take(&mut self, bytes: u64) -> Result<()> {
        let before = self.budget.taken.fetch_add(bytes, Ordering::Relaxed);
        self.taken += bytes;
        match before.saturating_add(bytes) > self.budget.limit {
            true => Err(self.budget.exceeded()),
            false => Ok(()),
        }
    }

    /// The image is refused: there is no use in the rest of it.
    pub(crate) fn spend(&self) {
        self.budget.spent.store(true, Ordering::Relaxed);
    }

    /// Keeps what was taken.
    pub(crate) fn keep(&mut self) {
        self.taken = 0;
    }

    /// Whether the image is refused, be it for another layer.
    pub(crate) fn is_spent(&self) -> bool {
        self.budget.spent.load(Ordering::Relaxed)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.taken.fetch_sub(self.taken, Ordering::Relaxed);
    }
}

/// Reads no more than a share of a budget.
pub(crate) struct Within<'a, R> {
    pub(crate) inner: R,
    pub(crate) share: &'a mut Share,
}

impl<R: Read> Read for Within<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buf)?;
        self.share.take(length as u64).map_err(io::Error::other)?;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_share_a_budget_and_one_that_begins_anew_has_its_bytes_once() {
        let budget = Budget::new("image", 100);
        let mut first = Share::of(&budget);
        first.take(60).unwrap();
        first.keep();
        drop(first);
        let mut second = Share::of(&budget);
        second.take(40).unwrap();
        drop(second);
        let mut again = Share::of(&budget);
        again.take(40).unwrap();
        let mut third = Share::of(&budget);
        let error = third.take(1).unwrap_err();
        assert!(matches!(error, Error::ImageTooLarge { limit: 100, .. }));
        assert!(!again.is_spent());
        third.spend();
        assert!(again.is_spent());
        assert!(budget.check(112).is_ok() && budget.check(120).is_err());
    }
}
