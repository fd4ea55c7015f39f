//! [`Fetcher`]: gets one layer, from the store or the registry, to the thread that unpacks it.

use std::collections::HashSet;
use std::sync::Arc;

use reqwest::Response;
use tokio::sync::{mpsc, oneshot};

use crate::compression::Compression;
use crate::registry::{Registry, shown, unreachable};
use crate::sink::Discard;
use crate::store::Pin;
use crate::verify::{BlobReader, LayerReader, Part, Source};
use crate::{Descriptor, Digest, Error, Layer, LayerOutcome, LayerSink, Progress, Result, Store};

/// How many pieces may wait for a thread that unpacks. With pieces of some 100 KiB at most, this bounds the memory that
/// a layer takes.
const WAITING: usize = 16;

/// Has a [`Job`] run on a thread of its own.
pub(crate) type Spawn<'a> = &'a (dyn Fn(Job) + Sync);

/// The part of a layer's way that blocks, as a value that any thread can take: the caller of a pull decides which, and
/// so whether the sink may be borrowed (scoped threads) or must be shared (a runtime's pool).
pub(crate) struct Job {
    source: Source,
    expected: Descriptor,
    compression: Compression,
    diff_id: Digest,
    store: Store,
    /// Whether the blob is to be stored.
    copy: bool,
    /// Whether the layer is unpacked already, so that it is only verified.
    discard: bool,
    done: oneshot::Sender<Result<()>>,
    /// A job may outlive the pull that made it.
    _pin: Arc<Pin>,
}

impl Job {
    /// Does it, and tells the pull what came of it.
    pub(crate) fn run(self, sink: &dyn LayerSink) {
        let sink = if self.discard { &Discard } else { sink };
        let work = || {
            let copy = if self.copy {
                Some(self.store.ingest()?)
            } else {
                None
            };
            let digest = self.expected.digest.clone();
            let blob = BlobReader::new(self.source, self.expected, copy);
            match LayerReader::new(blob, self.compression, self.diff_id)?.unpack(sink)? {
                Some(copy) => self.store.commit(copy, &digest),
                None => Ok(()),
            }
        };
        // Nobody hears it if the pull was abandoned.
        let _ = self.done.send(work());
    }
}

/// Gets the layers of one image.
pub(crate) struct Fetcher<'a> {
    pub(crate) registry: &'a Registry<'a>,
    pub(crate) store: &'a Store,
    pub(crate) pin: Arc<Pin>,
    /// Blobs and what they are known to hold. That a blob and an unpacked layer are there does not mean that they belong
    /// together: an image that says so without cause would get at a layer that its author need not have.
    pub(crate) verified: HashSet<(Digest, Digest)>,
    pub(crate) sink: &'a dyn LayerSink,
    pub(crate) spawn: Spawn<'a>,
    pub(crate) progress: &'a dyn Progress,
}

impl<'a> Fetcher<'a> {
    /// The task that gets one layer. A layer that cannot be decompressed is refused before anything is downloaded.
    pub(crate) fn layer(
        &'a self,
        layer: &'a Layer,
    ) -> Result<impl Future<Output = Result<LayerOutcome>> + Send + 'a> {
        let compression =
            Compression::of(&layer.media_type).ok_or_else(|| Error::UnsupportedMediaType {
                object: format!("layer {}", layer.blob),
                media_type: layer.media_type.as_str().into(),
            })?;
        Ok(async move {
            self.progress.layer_started(&layer.blob, layer.size);
            let outcome = self.get(layer, compression).await?;
            self.progress.layer_done(&layer.blob, outcome);
            Ok(outcome)
        })
    }

    async fn get(&self, layer: &Layer, compression: Compression) -> Result<LayerOutcome> {
        let unpacked = self.sink.contains(&layer.diff_id);
        if self.store.has_blob(&layer.blob, layer.size) {
            let pair = (layer.blob.clone(), layer.diff_id.clone());
            if unpacked && self.verified.contains(&pair) {
                return Ok(LayerOutcome::Skipped);
            }
            let source = Source::File(self.store.open_blob(&layer.blob)?);
            match self
                .start(layer, compression, source, false, unpacked)
                .await
            {
                Ok(result) => match result {
                    // A blob that has rotted is fetched again.
                    Err(Error::WrongDigest { .. } | Error::Read { .. }) => {
                        tracing::warn!(blob = %layer.blob, "the stored blob is damaged");
                    }
                    result => {
                        return result.map(|()| match unpacked {
                            true => LayerOutcome::Skipped,
                            false => LayerOutcome::Unpacked,
                        });
                    }
                },
                Err(_) => {
                    return Err(Error::UnpackPanicked {
                        diff_id: layer.diff_id.clone(),
                    });
                }
            }
        }
        let (sender, parts) = mpsc::channel(WAITING);
        let done = self.start(layer, compression, Source::Download(parts), true, unpacked);
        let fed = self.download(layer, sender).await;
        // Also after an error, so that no temporary file is left when the pull returns.
        let done = done.await;
        fed?;
        done.unwrap_or_else(|_| {
            Err(Error::UnpackPanicked {
                diff_id: layer.diff_id.clone(),
            })
        })?;
        Ok(LayerOutcome::Downloaded)
    }

    fn start(
        &self,
        layer: &Layer,
        compression: Compression,
        source: Source,
        copy: bool,
        discard: bool,
    ) -> oneshot::Receiver<Result<()>> {
        let (done, receiver) = oneshot::channel();
        (self.spawn)(Job {
            source,
            expected: Descriptor::new(layer.media_type.as_str(), layer.blob.clone(), layer.size),
            compression,
            diff_id: layer.diff_id.clone(),
            store: self.store.clone(),
            copy,
            discard,
            done,
            _pin: Arc::clone(&self.pin),
        });
        receiver
    }

    /// Passes a blob on from the registry to `sender`. Where the connection breaks, it goes on from there.
    async fn download(&self, layer: &Layer, sender: mpsc::Sender<Part>) -> Result<()> {
        let mut passed = 0;
        let mut attempt = 0;
        loop {
            let response = self.registry.blob(&layer.blob, passed).await?;
            let error = match self.pass_on(layer, response, &sender, &mut passed).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let Some(pause) = self.registry.pause(&error, attempt) else {
                return Err(error);
            };
            tracing::debug!(blob = %layer.blob, passed, ?pause, "the connection broke; going on from there");
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    async fn pass_on(
        &self,
        layer: &Layer,
        mut response: Response,
        sender: &mpsc::Sender<Part>,
        passed: &mut u64,
    ) -> Result<()> {
        let url = shown(response.url());
        let wrong_size = |found| Error::WrongSize {
            object: format!("blob {}", layer.blob),
            expected: layer.size,
            found,
        };
        let mut skip = match response.status().as_u16() {
            206 if begins_at(&response, *passed) => 0,
            206 => {
                return Err(Error::Protocol {
                    url,
                    problem: "the registry sends another range than was asked for",
                });
            }
            _ => {
                if let Some(length) = response
                    .content_length()
                    .filter(|length| *length != layer.size)
                {
                    return Err(wrong_size(length));
                }
                *passed
            }
        };
        loop {
            let mut chunk = match response.chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                // It broke behind the last byte that is wanted.
                Err(_) if *passed == layer.size => break,
                Err(error) => return Err(unreachable(&url, error)),
            };
            let skipped = skip.min(chunk.len() as u64);
            skip -= skipped;
            // It is not more than the chunk's length.
            chunk = chunk.slice(skipped as usize..);
            if chunk.is_empty() {
                continue;
            }
            let total = *passed + chunk.len() as u64;
            if total > layer.size {
                return Err(wrong_size(total));
            }
            if sender.send(Part::Data(Box::new(chunk))).await.is_err() {
                // The thread has given up, and says itself why.
                return Ok(());
            }
            *passed = total;
            self.progress.layer_advanced(&layer.blob, total);
        }
        if *passed != layer.size {
            return Err(wrong_size(*passed));
        }
        // As above.
        let _ = sender.send(Part::End).await;
        Ok(())
    }
}

/// Whether the part of the blob that the registry sends begins where it should.
fn begins_at(response: &Response, from: u64) -> bool {
    let range = response
        .headers()
        .get("content-range")
        .and_then(|value| value.to_str().ok());
    let first = range.and_then(|range| {
        range
            .strip_prefix("bytes ")?
            .split_once('-')?
            .0
            .parse()
            .ok()
    });
    first == Some(from)
}
