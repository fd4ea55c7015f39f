//! [`Fetcher`]: gets one layer, from the store or the registry, to the thread that unpacks it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Response;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::budget::Budget;
use crate::compression::Compression;
use crate::registry::{self, Registry, unreachable};
use crate::sink::Discard;
use crate::store::{Claim, Partial, Pin};
use crate::verify::{BlobReader, LayerReader, Part, Source, Turn};
use crate::{Descriptor, Digest, Error, Layer, LayerOutcome, LayerSink, Progress, Result, Store};

/// How many pieces may wait for a thread that unpacks. With pieces of some 100 KiB at most, this bounds the memory that
/// a layer takes.
const WAITING: usize = 16;

/// How often it is looked whether somebody else is done with a download.
const LOOK: Duration = Duration::from_millis(100);

/// A connection that brought so many bytes before it broke was a good one: the next may break as often as the first.
const PROGRESS: u64 = 1 << 20;

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
    /// Where the blob is stored, if it is not yet.
    copy: Option<Partial>,
    /// Whether the layer is unpacked already, so that it is only verified.
    discard: bool,
    /// Whether there is a processor to spare for reading ahead.
    ahead: bool,
    turn: Turn,
    budget: Arc<Budget>,
    done: oneshot::Sender<Result<()>>,
    /// A job may outlive the pull that made it.
    _pin: Arc<Pin>,
}

impl Job {
    /// Does it, and tells the pull what came of it.
    pub(crate) fn run(self, sink: &dyn LayerSink) {
        let sink = if self.discard { &Discard } else { sink };
        let work = || {
            let digest = self.expected.digest.clone();
            let blob = BlobReader::new(self.source, self.expected, self.copy);
            let mut layer = LayerReader::new(blob, self.compression, self.diff_id)?;
            // What is unpacked already takes no more room.
            if !self.discard {
                layer = layer.within(&self.budget);
            }
            match layer.ahead(self.ahead).in_turn(self.turn).unpack(sink)? {
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
    /// Whom to ask for a blob, one after the other.
    pub(crate) registries: &'a [Registry<'a>],
    pub(crate) store: &'a Store,
    pub(crate) pin: Arc<Pin>,
    /// Blobs and what they are known to hold. That a blob and an unpacked layer are there does not mean that they belong
    /// together: an image that says so without cause would get at a layer that its author need not have.
    pub(crate) verified: HashSet<(Digest, Digest)>,
    pub(crate) sink: &'a dyn LayerSink,
    pub(crate) spawn: Spawn<'a>,
    pub(crate) progress: &'a dyn Progress,
    /// What the layers may have all together.
    pub(crate) budget: Arc<Budget>,
    /// How many layers may be read at once, until the end of each.
    pub(crate) turns: Arc<Semaphore>,
    /// Whether there are processors to spare.
    pub(crate) ahead: bool,
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
        let mut shown = Shown::default();
        let mut is_damaged = false;
        let mut registries = self.registries;
        loop {
            if !is_damaged && self.store.has_blob(&layer.blob, layer.size) {
                if let Some(outcome) = self.stored(layer, compression).await? {
                    return Ok(outcome);
                }
                tracing::warn!(blob = %layer.blob, "the stored blob is damaged");
                is_damaged = true;
            }
            let blob = Descriptor::new(layer.media_type.as_str(), layer.blob.clone(), layer.size);
            let (partial, has_waited) = claim(self.store, &blob, |bytes| {
                shown.wait(self.progress, &layer.blob, bytes);
            })
            .await?;
            is_damaged &= !has_waited;
            if !is_damaged && self.store.has_blob(&layer.blob, layer.size) {
                // Somebody was faster.
                continue;
            }
            let kept = partial.kept();
            let fetched = self
                .fetch(registries, layer, compression, partial, &mut shown)
                .await;
            match (fetched, registries) {
                (Err(Error::WrongDigest { .. }), _) if kept > 0 => {
                    tracing::warn!(blob = %layer.blob, kept, "what an earlier download left is damaged");
                }
                (
                    Err(
                        error @ (Error::WrongDigest { .. }
                        | Error::WrongSize { .. }
                        | Error::Decompress { .. }),
                    ),
                    [_, others @ ..],
                ) if !others.is_empty() => {
                    tracing::warn!(blob = %layer.blob, error = &error as &dyn std::error::Error, "a mirror gives something else");
                    registries = others;
                }
                (result, _) => return result.map(|()| LayerOutcome::Downloaded),
            }
        }
    }

    /// Takes a layer from the store. A blob that has rotted is none.
    async fn stored(
        &self,
        layer: &Layer,
        compression: Compression,
    ) -> Result<Option<LayerOutcome>> {
        let is_unpacked = self.sink.contains(&layer.diff_id);
        let pair = (layer.blob.clone(), layer.diff_id.clone());
        if is_unpacked && self.verified.contains(&pair) {
            return Ok(Some(LayerOutcome::Skipped));
        }
        let source = Source::File(self.store.open_blob(&layer.blob)?);
        let done = self.start(layer, compression, source, None, is_unpacked);
        match done.await.await.unwrap_or_else(|_| Err(panicked(layer))) {
            Err(Error::WrongDigest { .. } | Error::Read { .. }) => Ok(None),
            result => result.map(|()| {
                Some(match is_unpacked {
                    true => LayerOutcome::Skipped,
                    false => LayerOutcome::Unpacked,
                })
            }),
        }
    }

    /// Downloads what is missing of a layer.
    async fn fetch(
        &self,
        registries: &[Registry<'_>],
        layer: &Layer,
        compression: Compression,
        partial: Partial,
        shown: &mut Shown,
    ) -> Result<()> {
        let kept = partial.kept();
        shown.advance(self.progress, &layer.blob, kept);
        let (sender, parts) = mpsc::channel(WAITING);
        let (source, is_unpacked) = (Source::Download(parts), self.sink.contains(&layer.diff_id));
        let done = self.start(layer, compression, source, Some(partial), is_unpacked);
        let done = done.await;
        let fed = self.download(registries, layer, sender, kept, shown).await;
        // Also after an error, so that no file is in use any more when the pull returns.
        let done = done.await;
        fed?;
        done.unwrap_or_else(|_| Err(panicked(layer)))
    }

    async fn start(
        &self,
        layer: &Layer,
        compression: Compression,
        source: Source,
        copy: Option<Partial>,
        discard: bool,
    ) -> oneshot::Receiver<Result<()>> {
        let (done, receiver) = oneshot::channel();
        // It is an error only where nobody gets a turn any more, and the channel that closes then says so.
        let Ok(turn) = Arc::clone(&self.turns).acquire_owned().await else {
            return receiver;
        };
        (self.spawn)(Job {
            source,
            expected: Descriptor::new(layer.media_type.as_str(), layer.blob.clone(), layer.size),
            compression,
            diff_id: layer.diff_id.clone(),
            store: self.store.clone(),
            copy,
            discard,
            ahead: self.ahead,
            turn,
            budget: Arc::clone(&self.budget),
            done,
            _pin: Arc::clone(&self.pin),
        });
        receiver
    }

    /// Passes a blob on from the registry to `sender`, from the byte `passed` on. Where the connection breaks, it goes on
    /// from there.
    async fn download(
        &self,
        registries: &[Registry<'_>],
        layer: &Layer,
        sender: mpsc::Sender<Part>,
        mut passed: u64,
        shown: &mut Shown,
    ) -> Result<()> {
        let mut failure = None;
        for registry in registries {
            match self
                .download_from(registry, layer, &sender, &mut passed, shown)
                .await
            {
                Ok(()) => return Ok(()),
                Err(error) => {
                    tracing::debug!(blob = %layer.blob, passed, error = &error as &dyn std::error::Error, "a registry does not give a blob");
                    failure = Some(error);
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }

    async fn download_from(
        &self,
        registry: &Registry<'_>,
        layer: &Layer,
        sender: &mpsc::Sender<Part>,
        passed: &mut u64,
        shown: &mut Shown,
    ) -> Result<()> {
        let mut attempt = 0;
        let mut ranges = true;
        // What is whole was left by who was killed before he could say so.
        while *passed < layer.size {
            let from = if ranges { *passed } else { 0 };
            let response = match registry.blob(&layer.blob, from).await {
                Ok(response) if is_other_range(&response, from) => None,
                Ok(response) => Some(response),
                Err(Error::UnexpectedStatus { status: 416, .. }) if from > 0 => None,
                Err(error) => return Err(error),
            };
            let Some(response) = response else {
                if !ranges {
                    return Err(Error::Protocol {
                        url: registry.url(&format!("blobs/{}", layer.blob)).to_string(),
                        problem: "the registry sends a part where the whole was asked for",
                    });
                }
                tracing::debug!(blob = %layer.blob, "the registry cannot go on from where it was; asking for all of it");
                ranges = false;
                continue;
            };
            let before = *passed;
            let sent = self.pass_on(layer, response, sender, passed, shown);
            let error = match sent.await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if *passed - before >= PROGRESS {
                attempt = 0;
            }
            let Some(pause) = registry.pause(&error, attempt) else {
                return Err(error);
            };
            tracing::debug!(blob = %layer.blob, passed, ?pause, "the connection broke; going on from there");
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
        // Nobody hears it if the thread has given up.
        let _ = sender.send(Part::End).await;
        Ok(())
    }

    async fn pass_on(
        &self,
        layer: &Layer,
        mut response: Response,
        sender: &mpsc::Sender<Part>,
        passed: &mut u64,
        shown: &mut Shown,
    ) -> Result<()> {
        let url = registry::shown(response.url());
        let wrong_size = |found| Error::WrongSize {
            object: format!("blob {}", layer.blob),
            expected: layer.size,
            found,
        };
        let mut skip = match response.status().as_u16() {
            206 => 0,
            _ => {
                let length = response.content_length();
                if let Some(length) = length.filter(|length| *length != layer.size) {
                    // The thread is to know that it will never be whole, so that it leaves nothing.
                    let _ = sender.send(Part::End).await;
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
                // As above.
                let _ = sender.send(Part::Data(Box::new(chunk))).await;
                return Err(wrong_size(total));
            }
            if sender.send(Part::Data(Box::new(chunk))).await.is_err() {
                // The thread has given up, and says itself why.
                return Ok(());
            }
            *passed = total;
            shown.advance(self.progress, &layer.blob, total);
        }
        // As above; and where all is right, it is the end.
        let _ = sender.send(Part::End).await;
        if *passed != layer.size {
            return Err(wrong_size(*passed));
        }
        Ok(())
    }
}

/// What was shown of a layer's progress: it only goes forward.
#[derive(Debug, Default)]
struct Shown {
    bytes: u64,
    waits: bool,
}

impl Shown {
    fn advance(&mut self, progress: &dyn Progress, blob: &Digest, bytes: u64) {
        if bytes > self.bytes {
            self.bytes = bytes;
            progress.layer_advanced(blob, bytes);
        }
    }

    fn wait(&mut self, progress: &dyn Progress, blob: &Digest, bytes: u64) {
        if !self.waits {
            self.waits = true;
            progress.layer_waits(blob);
        }
        self.advance(progress, blob, bytes);
    }
}

/// Waits until nobody else downloads the blob. Says how many bytes he who does has, and in the end whether there was one.
pub(super) async fn claim(
    store: &Store,
    blob: &Descriptor,
    mut others: impl FnMut(u64),
) -> Result<(Partial, bool)> {
    let mut has_waited = false;
    loop {
        match store.claim(blob)? {
            Claim::Ours(partial) => return Ok((partial, has_waited)),
            Claim::Theirs(bytes) => others(bytes),
        }
        has_waited = true;
        tokio::time::sleep(LOOK).await;
    }
}

fn panicked(layer: &Layer) -> Error {
    Error::UnpackPanicked {
        diff_id: layer.diff_id.clone(),
    }
}

/// Whether the registry sends a part of the blob that begins elsewhere than it should.
fn is_other_range(response: &Response, from: u64) -> bool {
    response.status().as_u16() == 206 && !begins_at(response, from)
}

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
