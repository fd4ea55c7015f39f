//! What the tests of this crate share.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses its part of this module"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rocker_image::{
    Client, ClientOptions, Digest, LayerOutcome, LayerSink, Progress, PullOptions, Pulled,
    Reference, Result, Store,
};

/// A sink that keeps each layer's archive as a file, by the rules.
#[derive(Debug)]
pub struct Files {
    pub dir: PathBuf,
    count: AtomicU64,
}

impl Files {
    pub fn new(dir: impl Into<PathBuf>) -> Arc<Self> {
        let dir = dir.into();
        fs::create_dir_all(&dir).unwrap();
        Arc::new(Self {
            dir,
            count: AtomicU64::new(0),
        })
    }

    /// The names of what is there, temporary files included.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.dir).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl LayerSink for Files {
    fn contains(&self, diff_id: &Digest) -> bool {
        self.dir.join(diff_id.hex()).exists()
    }

    fn unpack(&self, diff_id: &Digest, tar: &mut dyn Read) -> io::Result<()> {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let temporary = self
            .dir
            .join(format!("temporary-{}-{count}", std::process::id()));
        let result = fs::File::create(&temporary).and_then(|mut file| io::copy(tar, &mut file));
        match result {
            Ok(_) => fs::rename(&temporary, self.dir.join(diff_id.hex())),
            Err(error) => {
                fs::remove_file(&temporary)?;
                Err(io::Error::other(format!(
                    "the sink's own words for: {error}"
                )))
            }
        }
    }
}

/// Writes down what became of each layer.
#[derive(Debug, Default)]
pub struct Record {
    pub outcomes: Mutex<BTreeMap<Digest, LayerOutcome>>,
    pub advanced: Mutex<BTreeMap<Digest, u64>>,
}

impl Record {
    pub fn outcomes(&self) -> Vec<LayerOutcome> {
        self.outcomes.lock().unwrap().values().copied().collect()
    }
}

impl Progress for Record {
    fn layer_advanced(&self, blob: &Digest, bytes: u64) {
        let before = self.advanced.lock().unwrap().insert(blob.clone(), bytes);
        assert!(before.unwrap_or(0) < bytes, "progress goes forward");
    }

    fn layer_done(&self, blob: &Digest, outcome: LayerOutcome) {
        let before = self.outcomes.lock().unwrap().insert(blob.clone(), outcome);
        assert_eq!(before, None, "each layer is done once");
    }
}

/// Options that do not wait long.
pub fn quick() -> ClientOptions {
    ClientOptions::default()
        .backoff(std::time::Duration::from_millis(1))
        .silence(std::time::Duration::from_secs(5))
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

pub fn pull(
    client: &Client,
    store: &Store,
    name: &str,
    sink: &Arc<Files>,
    progress: &dyn Progress,
) -> Result<Pulled> {
    let reference: Reference = name.parse().unwrap();
    let options = PullOptions::default().platform("linux/amd64".parse().unwrap());
    block_on(client.pull(store, &reference, &options, sink.clone(), progress))
}
