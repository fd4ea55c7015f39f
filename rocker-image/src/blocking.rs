//! The same for programs without an async runtime.
//!
//! Each call runs the async core on a thread and a current-thread runtime of its own, which are gone when it returns. So
//! it works anywhere, also on a thread that belongs to somebody's runtime (where it blocks that thread).

use std::thread;

use crate::client::Job;
use crate::{
    Client, Credentials, Error, Image, LayerSink, Platform, Progress, PullOptions, Pulled, Pushed,
    Reference, Resolved, Result, Store,
};

/// [`Client::resolve`], blocking.
///
/// # Errors
///
/// As there.
pub fn resolve(client: &Client, reference: &Reference, platform: &Platform) -> Result<Resolved> {
    thread::scope(|scope| join(scope.spawn(|| run(fresh(client).resolve(reference, platform)))))
}

/// [`Client::login`], blocking.
///
/// # Errors
///
/// As there.
pub fn login(client: &Client, registry: &str, credentials: &Credentials) -> Result<()> {
    thread::scope(|scope| join(scope.spawn(|| run(fresh(client).login(registry, credentials)))))
}

/// [`Client::pull`], blocking. The sink is called on threads of its own, which have ended when this returns, so it can
/// be borrowed.
///
/// # Errors
///
/// As there.
///
/// # Panics
///
/// If the sink panics.
pub fn pull(
    client: &Client,
    store: &Store,
    reference: &Reference,
    options: &PullOptions,
    sink: &dyn LayerSink,
    progress: &dyn Progress,
) -> Result<Pulled> {
    thread::scope(|scope| {
        join(scope.spawn(move || {
            let spawn = |job: Job| {
                let builder = thread::Builder::new().name("rocker-unpack".to_owned());
                if let Err(error) = builder.spawn_scoped(scope, move || job.run(sink)) {
                    // The pull learns of it by the end of the job's channel.
                    tracing::warn!(%error, "cannot start a thread to unpack a layer");
                }
            };
            run(fresh(client).pull_with(store, reference, options, sink, &spawn, progress))
        }))
    })
}

/// [`Client::push`], blocking.
///
/// # Errors
///
/// As there.
pub fn push(
    client: &Client,
    store: &Store,
    reference: &Reference,
    image: &Image,
    progress: &dyn Progress,
) -> Result<Pushed> {
    thread::scope(|scope| {
        let push = || run(fresh(client).push(store, reference, image, progress));
        join(scope.spawn(push))
    })
}

/// The connections that a client keeps belong to the runtime in which they were made, so each runtime gets its own.
fn fresh(client: &Client) -> Client {
    Client::new(client.options().clone())
}

fn run<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime
        .map_err(|source| Error::HttpClient {
            source: source.into(),
        })?
        .block_on(future)
}

fn join<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
