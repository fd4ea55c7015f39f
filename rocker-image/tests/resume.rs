//! Downloads that break off in one process and go on in the next, and those that several processes want at once.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a test, of which some parts are modules for several"
)]

#[path = "support/hostile.rs"]
mod hostile;
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use hostile::{Hostile, Parts, Reply};
use rocker_image::{Client, Digest, LayerOutcome, Progress, Pulled, Result, Store};
use support::{Files, Record, pull, quick};

/// Set in a process that is to pull, with where to and what.
const CHILD: &str = "ROCKER_TEST_PULL";

/// A server with an image, and a directory to pull it to.
struct Scene {
    server: Hostile,
    parts: Parts,
    dir: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let (server, parts) = (Hostile::start(), Parts::new());
        parts.serve(&server);
        let dir = tempfile::tempdir().unwrap();
        Self { server, parts, dir }
    }

    fn name(&self) -> String {
        format!("{}/image", self.server.address())
    }

    fn store(&self) -> Store {
        Store::open(self.dir.path().join("store")).unwrap()
    }

    fn pull(&self, progress: &dyn Progress) -> Result<Pulled> {
        pull_to(self.dir.path(), &self.name(), progress)
    }

    /// Pulls in another process, which runs the test `test` for that.
    fn pull_elsewhere(&self, test: &str) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture"])
            .env(
                CHILD,
                format!("{}|{}", self.dir.path().display(), self.name()),
            )
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn partial(&self) -> PathBuf {
        let name = format!("ingest/sha256-{}.partial", self.parts.layer_digest().hex());
        self.dir.path().join("store").join(name)
    }

    fn layer(&self) -> Reply {
        Reply::new(200, self.parts.layer.clone())
    }

    fn serve_layer(&self, replies: impl Into<Vec<Reply>>) {
        self.server.on_blob(&self.parts.layer_digest(), replies);
    }

    /// The `Range` of each request for the layer.
    fn ranges(&self) -> Vec<Option<String>> {
        let path = format!("/v2/image/blobs/{}", self.parts.layer_digest());
        let requests = self.server.requests().into_iter();
        requests
            .filter(|request| request.path == path)
            .map(|request| request.headers.get("range").cloned())
            .collect()
    }

    /// Whether the image is there, and nothing besides.
    fn is_whole(&self) {
        let layer = fs::read(
            self.dir
                .path()
                .join("layers")
                .join(Digest::sha256(&self.parts.tar).hex()),
        );
        assert!(layer.unwrap() == self.parts.tar);
        assert_eq!(self.store().images().unwrap().len(), 1);
        assert_eq!(left_in(&self.dir.path().join("store/ingest")), [""; 0]);
    }
}

fn left_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn pull_to(dir: &Path, name: &str, progress: &dyn Progress) -> Result<Pulled> {
    let store = Store::open(dir.join("store")).unwrap();
    let client = Client::new(quick().retries(0));
    pull(
        &client,
        &store,
        name,
        &Files::new(dir.join("layers")),
        progress,
    )
}

/// Whether this process is one that another test started; it has pulled then.
fn is_child() -> bool {
    let Ok(place) = std::env::var(CHILD) else {
        return false;
    };
    let (dir, name) = place.split_once('|').unwrap();
    pull_to(Path::new(dir), name, &()).unwrap();
    true
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_pull_that_is_killed_leaves_a_sound_store_and_the_next_goes_on_from_there() {
    if is_child() {
        return;
    }
    let scene = Scene::new();
    scene.serve_layer([scene.layer().stall(200_000), scene.layer().ranges()]);
    let mut child = scene.pull_elsewhere(
        "a_pull_that_is_killed_leaves_a_sound_store_and_the_next_goes_on_from_there",
    );
    wait_for("the pull has come so far", || {
        assert!(child.try_wait().unwrap().is_none());
        fs::metadata(scene.partial()).is_ok_and(|file| file.len() == 200_000)
    });
    let store = scene.store();
    assert!(
        store.remove_unreferenced().unwrap().deferred,
        "the pull holds the store"
    );
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(store.images().unwrap().is_empty());

    let record = Record::default();
    assert!(scene.pull(&record).unwrap().changed);
    assert_eq!(scene.ranges(), [None, Some("bytes=200000-".to_owned())]);
    assert_eq!(record.outcomes(), [LayerOutcome::Downloaded]);
    scene.is_whole();
}

#[test]
fn a_download_that_is_given_up_goes_on_also_if_the_registry_knows_no_ranges() {
    for (ranges, status) in [(true, 200), (false, 200), (false, 416)] {
        let scene = Scene::new();
        let answer = Reply {
            ranges,
            ..scene.layer()
        };
        let refusal = Reply::new(416, "");
        let mut replies = vec![scene.layer().cut(100_000), answer];
        if status == 416 {
            replies.insert(1, refusal);
        }
        scene.serve_layer(replies);
        scene.pull(&()).unwrap_err();
        assert_eq!(fs::metadata(scene.partial()).unwrap().len(), 100_000);
        scene.pull(&Record::default()).unwrap();
        let asked = scene.ranges();
        assert_eq!(asked[1].as_deref(), Some("bytes=100000-"));
        assert_eq!(asked.len(), if status == 416 { 3 } else { 2 });
        scene.is_whole();
    }
}

#[test]
fn what_is_whole_but_for_its_name_is_not_asked_for() {
    let scene = Scene::new();
    scene.store();
    fs::write(scene.partial(), &scene.parts.layer).unwrap();
    scene.pull(&Record::default()).unwrap();
    assert_eq!(scene.ranges(), []);
    scene.is_whole();
}

#[test]
fn what_was_left_and_is_wrong_is_fetched_again() {
    let right = Scene::new().parts.layer;
    let longer = [&right[..], b"x"].concat();
    for left in [vec![7; 1000], vec![7; right.len()], longer, Vec::new()] {
        let scene = Scene::new();
        scene.store();
        fs::write(scene.partial(), &left).unwrap();
        scene.pull(&Record::default()).unwrap();
        assert_eq!(scene.ranges().last(), Some(&None));
        scene.is_whole();
    }
}

#[test]
fn what_nobody_goes_on_with_is_collected() {
    let scene = Scene::new();
    scene.serve_layer([scene.layer().cut(100_000)]);
    scene.pull(&()).unwrap_err();
    assert!(scene.partial().exists());
    let store = scene.store();
    // The configuration that came already; somebody may go on with the layer.
    assert_eq!(store.remove_unreferenced().unwrap().blobs, 1);
    let age = |hours: u64| {
        let then = SystemTime::now() - Duration::from_secs(hours * 3600);
        let file = fs::File::options().write(true).open(scene.partial());
        file.unwrap().set_modified(then).unwrap();
    };
    age(23);
    drop(store.remove_unreferenced().unwrap());
    assert!(scene.partial().exists());
    age(25);
    drop(store.remove_unreferenced().unwrap());
    assert_eq!(left_in(&scene.dir.path().join("store/ingest")), [""; 0]);
}

#[test]
fn downloads_that_broke_off_are_removed_at_once_if_that_is_asked_for() {
    let scene = Scene::new();
    scene.serve_layer([scene.layer().cut(100_000)]);
    scene.pull(&()).unwrap_err();
    let store = scene.store();
    let collection = store.remove_unreferenced().unwrap();
    // As long as somebody else is at it.
    assert!(!store.remove_downloads().unwrap());
    assert!(scene.partial().exists());
    drop(collection);
    assert!(store.remove_downloads().unwrap());
    assert_eq!(left_in(&scene.dir.path().join("store/ingest")), [""; 0]);
}

#[test]
fn what_nobody_should_go_on_with_is_not_left() {
    let scene = Scene::new();
    let mut wrong = scene.parts.layer.clone();
    wrong[250_000] ^= 1;
    scene.serve_layer([Reply::new(200, wrong)]);
    scene.pull(&()).unwrap_err();
    assert!(!scene.partial().exists());
}

#[test]
fn ten_processes_that_pull_one_image_at_once_download_it_once() {
    if is_child() {
        return;
    }
    let scene = Scene::new();
    scene.serve_layer([scene.layer().ranges().slow(Duration::from_millis(30))]);
    let children: Vec<Child> = (0..10)
        .map(|_| scene.pull_elsewhere("ten_processes_that_pull_one_image_at_once_download_it_once"))
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    scene.is_whole();
    let mut blobs: Vec<String> = scene
        .server
        .requests()
        .into_iter()
        .map(|request| request.path)
        .collect();
    blobs.retain(|path| path.contains("/blobs/"));
    blobs.sort();
    let (all, once) = (blobs.len(), {
        blobs.dedup();
        blobs.len()
    });
    assert_eq!(
        (all, once),
        (2, 2),
        "the configuration and the layer: {blobs:?}"
    );
}

/// Waits for somebody else, and writes down what it sees of him.
#[derive(Default)]
struct Waits(Record, Mutex<bool>);

impl Progress for Waits {
    fn layer_waits(&self, _: &Digest) {
        *self.1.lock().unwrap() = true;
    }

    fn layer_advanced(&self, blob: &Digest, bytes: u64) {
        self.0.layer_advanced(blob, bytes);
    }
}

#[test]
fn who_waits_for_one_that_is_killed_takes_over() {
    if is_child() {
        return;
    }
    let scene = Scene::new();
    scene.serve_layer([scene.layer().stall(200_000), scene.layer().ranges()]);
    let mut child = scene.pull_elsewhere("who_waits_for_one_that_is_killed_takes_over");
    wait_for("the other has come so far", || {
        fs::metadata(scene.partial()).is_ok_and(|file| file.len() == 200_000)
    });
    let waits = Waits::default();
    std::thread::scope(|scope| {
        let pull = scope.spawn(|| scene.pull(&waits));
        wait_for("the wait is shown", || *waits.1.lock().unwrap());
        wait_for("what the other has is shown", || {
            let advanced = waits.0.advanced.lock().unwrap();
            advanced.get(&scene.parts.layer_digest()) == Some(&200_000)
        });
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(pull.join().unwrap().unwrap().changed);
    });
    assert_eq!(scene.ranges(), [None, Some("bytes=200000-".to_owned())]);
    scene.is_whole();
}

#[test]
fn a_connection_that_breaks_now_and_then_is_no_reason_to_give_up() {
    let server = Hostile::start();
    let parts = Parts::of_size(8 << 20);
    parts.serve(&server);
    let cut = Reply::new(200, parts.layer.clone()).ranges().cut(3 << 19);
    server.on_blob(&parts.layer_digest(), [cut]);
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let sink = Files::new(dir.path().join("layers"));
    let name = format!("{}/image", server.address());
    let client = Client::new(quick().retries(1));
    pull(&client, &store, &name, &sink, &()).unwrap();
    assert!(server.requests().len() > 6);
}
