//! A reader that keeps an eye on what stands in front of an entry.
//!
//! The tar crate holds long names and PAX records in memory, whatever their size, and splits PAX records at newlines
//! even inside of values. So while it reads headers, the bytes pass by here: they are counted, and kept for our own
//! parser.

use std::cell::{Cell, RefCell};
use std::io::{self, Read};

/// Counts and keeps headers; shared by reference between the archive that reads and the loop that asks.
pub(crate) struct Meter<R> {
    inner: RefCell<R>,
    /// The bytes of headers since [`Meter::expect_headers`], while headers are expected.
    headers: RefCell<Option<Vec<u8>>>,
    spent: Cell<bool>,
    limit: u64,
}

impl<R: Read> Meter<R> {
    pub(crate) fn new(inner: R, limit: u64) -> Self {
        Self {
            inner: RefCell::new(inner),
            headers: RefCell::new(None),
            spent: Cell::new(false),
            limit,
        }
    }

    /// From now on what is read are headers.
    pub(crate) fn expect_headers(&self) {
        *self.headers.borrow_mut() = Some(Vec::new());
    }

    /// From now on what is read is data; returns the headers.
    pub(crate) fn expect_data(&self) -> Vec<u8> {
        self.headers.take().unwrap_or_default()
    }

    /// Whether the headers were longer than the limit.
    pub(crate) fn is_spent(&self) -> bool {
        self.spent.get()
    }
}

impl<R: Read> Read for &Meter<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut headers = self.headers.borrow_mut();
        if headers
            .as_ref()
            .is_some_and(|seen| seen.len() as u64 > self.limit)
        {
            self.spent.set(true);
            return Err(io::Error::other("headers beyond the limit"));
        }
        let count = self.inner.borrow_mut().read(buffer)?;
        if let Some(seen) = headers.as_mut() {
            seen.extend_from_slice(&buffer[..count]);
        }
        Ok(count)
    }
}
