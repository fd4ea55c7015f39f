//! [`Uploading`]: the content of a blob, on its way into a registry.

use std::io::{self, Read};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{self, Either};
use futures_util::stream;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Body, Method, RequestBuilder, Url};
use tokio::sync::mpsc;

use super::{Registry, shown};
use crate::verify::{BlobReader, Source};
use crate::{Descriptor, Error, Result, Store};

/// How much of a blob is read at once, and how many of these wait for the connection.
const CHUNK: usize = 128 * 1024;
const WAITING: usize = 4;
/// So many times the patience of a connection is that of a registry that has got everything, and puts it away.
const AT_THE_END: u32 = 10;

/// A blob that is being uploaded.
pub(crate) struct Uploading<'a> {
    pub(super) registry: &'a Registry<'a>,
    pub(super) store: &'a Store,
    pub(super) place: &'a Url,
    pub(super) blob: &'a Descriptor,
}

impl Uploading<'_> {
    /// Sends it, for as long as the registry goes on taking something at least every `silence`. `advanced` is told how many
    /// bytes have gone.
    pub(crate) async fn watched(
        self,
        silence: Duration,
        advanced: &(dyn Fn(u64) + Sync),
    ) -> Result<()> {
        let gone = Arc::new(AtomicU64::new(0));
        let failure = Arc::new(Mutex::new(None));
        let mut url = self.place.clone();
        url.query_pairs_mut()
            .append_pair("digest", &self.blob.digest.to_string());
        let put = |request: RequestBuilder| {
            gone.store(0, Ordering::Relaxed);
            request
                .header(CONTENT_TYPE, "application/octet-stream")
                .header(CONTENT_LENGTH, self.blob.size)
                .body(self.body(&gone, &failure))
        };
        let why = "so that the content comes into the registry, which compares its digest";
        let client = self.registry.reach.watched_client(&url)?;
        let mut sending = pin!(self.registry.send(&client, Method::PUT, &url, why, put));
        let (mut before, mut quiet) = (0, 0);
        let outcome = loop {
            let pause = pin!(tokio::time::sleep(silence / AT_THE_END));
            match future::select(sending, pause).await {
                Either::Left((outcome, _)) => break outcome,
                Either::Right((_, unfinished)) => sending = unfinished,
            }
            let now = gone.load(Ordering::Relaxed);
            quiet = if now == before { quiet + 1 } else { 0 };
            let patience = match now == self.blob.size {
                true => AT_THE_END * AT_THE_END,
                false => AT_THE_END,
            };
            if quiet >= patience {
                return Err(Error::PushStalled { url: shown(&url) });
            }
            if now > before {
                advanced(now);
            }
            before = now;
        };
        // What is wrong with the content is the cause of what became of the request.
        let failure = failure.lock().ok().and_then(|mut failure| failure.take());
        if let Some(failure) = failure {
            return Err(failure);
        }
        match outcome? {
            response if matches!(response.status().as_u16(), 201 | 204) => Ok(()),
            response => Err(self.registry.no_push(&url, response).await),
        }
    }

    /// The content, which a thread reads and verifies: where it is wrong, the end of it is never sent.
    fn body(&self, gone: &Arc<AtomicU64>, failure: &Arc<Mutex<Option<Error>>>) -> Body {
        let (sender, parts) = mpsc::channel::<io::Result<Vec<u8>>>(WAITING);
        let (store, blob) = (self.store.clone(), self.blob.clone());
        let failure = Arc::clone(failure);
        drop(tokio::task::spawn_blocking(move || {
            if let Err(error) = read(&store, &blob, &sender) {
                let text = error.to_string();
                if let Ok(mut failure) = failure.lock() {
                    *failure = Some(error);
                }
                let _ = sender.blocking_send(Err(io::Error::other(text)));
            }
        }));
        let gone = Arc::clone(gone);
        Body::wrap_stream(stream::unfold(parts, move |mut parts| {
            let gone = Arc::clone(&gone);
            async move {
                let part = parts.recv().await?;
                if let Ok(part) = &part {
                    gone.fetch_add(part.len() as u64, Ordering::Relaxed);
                }
                Some((part, parts))
            }
        }))
    }
}

/// Passes a blob of the store on. The last piece is held back until all is known to be right.
fn read(
    store: &Store,
    blob: &Descriptor,
    sender: &mpsc::Sender<io::Result<Vec<u8>>>,
) -> Result<()> {
    let source = Source::File(store.open_blob(&blob.digest)?);
    let mut reader = BlobReader::new(source, blob.clone(), None);
    let mut held: Option<Vec<u8>> = None;
    loop {
        let mut chunk = vec![0; CHUNK];
        let Ok(length) = reader.read(&mut chunk) else {
            return reader.verdict();
        };
        chunk.truncate(length);
        if length == 0 {
            reader.verdict()?;
            held.map(|last| sender.blocking_send(Ok(last)));
            return Ok(());
        }
        if let Some(chunk) = held.replace(chunk)
            && sender.blocking_send(Ok(chunk)).is_err()
        {
            // The request has ended, and says itself why.
            return Ok(());
        }
    }
}
