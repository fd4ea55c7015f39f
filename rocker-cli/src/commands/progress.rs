//! What a person sees of a pull or a push: one bar a layer on a terminal, one line a layer elsewhere.

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use rocker_image::{Digest, Image, LayerOutcome, Progress};

/// The bars, on stderr.
#[derive(Debug)]
pub(crate) struct Bars {
    all: MultiProgress,
    bars: Mutex<HashMap<Digest, ProgressBar>>,
    plain: bool,
    /// What is done with layers.
    verb: &'static str,
}

impl Bars {
    pub(crate) fn new() -> Self {
        let plain = !io::stderr().is_terminal();
        Self {
            plain,
            ..Self::on(if plain {
                ProgressDrawTarget::hidden()
            } else {
                ProgressDrawTarget::stderr()
            })
        }
    }

    /// Nothing is shown.
    pub(crate) fn hidden() -> Self {
        Self::on(ProgressDrawTarget::hidden())
    }

    fn on(target: ProgressDrawTarget) -> Self {
        Self {
            all: MultiProgress::with_draw_target(target),
            bars: Mutex::default(),
            plain: false,
            verb: "Pulling",
        }
    }

    /// The same, of a push.
    pub(crate) fn pushing(self) -> Self {
        let verb = "Pushing";
        Self { verb, ..self }
    }

    fn with(&self, blob: &Digest, work: impl FnOnce(&ProgressBar)) {
        if let Ok(bars) = self.bars.lock()
            && let Some(bar) = bars.get(blob)
        {
            work(bar);
        }
    }
}

impl Progress for Bars {
    fn resolved(&self, image: &Image) {
        if self.plain {
            let _ = writeln!(
                io::stderr(),
                "{} {}, layers: {}",
                self.verb,
                image.manifest_digest(),
                image.layers().len()
            );
        }
    }

    fn layer_started(&self, blob: &Digest, size: u64) {
        let bar = self.all.add(ProgressBar::new(size));
        if let Ok(style) = ProgressStyle::with_template(
            "{prefix}: {msg:<13} [{bar:30}] {bytes:>10}/{total_bytes:10} {bytes_per_sec:>12} {eta:>4}",
        ) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(blob.hex()[..12].to_owned());
        bar.set_message(self.verb);
        if let Ok(mut bars) = self.bars.lock() {
            bars.insert(blob.clone(), bar);
        }
    }

    fn layer_waits(&self, blob: &Digest) {
        if self.plain {
            let _ = writeln!(
                io::stderr(),
                "{}: Waiting for another pull",
                &blob.hex()[..12]
            );
        }
        self.with(blob, |bar| bar.set_message("Waiting"));
    }

    fn layer_advanced(&self, blob: &Digest, bytes: u64) {
        self.with(blob, |bar| bar.set_position(bytes));
    }

    fn layer_done(&self, blob: &Digest, outcome: LayerOutcome) {
        let what = match outcome {
            LayerOutcome::Skipped => "Already there",
            LayerOutcome::Unpacked => "Unpacked",
            LayerOutcome::Present => "Layer already exists",
            LayerOutcome::Mounted => "Mounted from another repository",
            LayerOutcome::Uploaded => "Pushed",
            _ => "Pull complete",
        };
        if self.plain {
            let _ = writeln!(io::stderr(), "{}: {what}", &blob.hex()[..12]);
        }
        self.with(blob, |bar| bar.finish_with_message(what));
    }
}
