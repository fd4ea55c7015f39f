//! Pushes: to a real registry, and to some that do as they like.
#![allow(
    unreachable_pub,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test, of which some parts are modules for several"
)]

#[path = "../../tests/fake_host/mod.rs"]
mod fake_host;
#[path = "../../tests/registry/mod.rs"]
mod registry;
mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use registry::Registry;
use rocker_image::oci_spec::image::ImageConfiguration;
use rocker_image::{
    Client, ClientOptions, Credentials, Digest, Error, Image, LayerOutcome, Pushed, Reference,
    Result, Store,
};
use support::{Files, Record, block_on, pull, quick};

fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

fn push(client: &Client, store: &Store, name: &str, image: &Image) -> (Result<Pushed>, Record) {
    let record = Record::default();
    let pushed = block_on(client.push(store, &reference(name), image, &record));
    (pushed, record)
}

#[test]
fn what_is_pushed_is_what_skopeo_and_a_pull_get() {
    fake_host::run(|host| {
        let registry = Registry::start(host);
        let first = registry.push_busybox("from/busybox:1");
        let store = Store::open(host.dir("store")).unwrap();
        let sink = Files::new(host.dir("layers"));
        let client = Client::new(quick());
        let image = pull(&client, &store, &first, &sink, &()).unwrap().image;

        // Taken over from where it came from, and then there.
        let second = registry.name("to/busybox:2");
        for outcome in [LayerOutcome::Mounted, LayerOutcome::Present] {
            let (pushed, record) = push(&client, &store, &second, &image);
            assert_eq!(pushed.unwrap().manifest.digest, *image.manifest_digest());
            assert_eq!(record.outcomes(), [outcome; 2]);
        }
        let raw = |name: &str| {
            host.sh(&format!(
                "skopeo inspect --raw --tls-verify=false docker://{name}"
            ))
        };
        assert_eq!(raw(&first), raw(&second));

        // One that no registry has seen, of some pieces, an empty one, and one that is there twice.
        let noise: Vec<u8> = (0..1_000_003_u32)
            .map(|at| (at.wrapping_mul(at) >> 7) as u8)
            .collect();
        let config = ImageConfiguration::default();
        let own = store
            .import(&reference("own"), config, &*noise, &*sink)
            .unwrap();
        let third = registry.name("own:1");
        let (pushed, record) = push(&client, &store, &third, &own);
        pushed.unwrap();
        assert_eq!(record.outcomes(), [LayerOutcome::Uploaded]);
        let layer = &own.layers()[0].blob;
        if let Some(advanced) = record.advanced.lock().unwrap().get(layer) {
            assert!(*advanced <= own.layers()[0].size);
        }
        let other = Store::open(host.dir("other")).unwrap();
        let pulled = pull_any(
            &client,
            &other,
            &third,
            &Files::new(host.dir("other-layers")),
        );
        assert_eq!(pulled.manifest_digest(), own.manifest_digest());
        host.sh(&format!(
            "skopeo --insecure-policy copy -q --src-tls-verify=false docker://{third} dir:/run/out"
        ));
        assert!(fs::read(format!("/run/out/{}", layer.hex())).unwrap() == noise);
        // Nothing of it is left half done.
        let (again, record) = push(&client, &store, &third, &own);
        again.unwrap();
        assert_eq!(record.outcomes(), [LayerOutcome::Present]);
    });
}

fn pull_any(client: &Client, store: &Store, name: &str, sink: &Arc<Files>) -> Image {
    let options = rocker_image::PullOptions::default().any_platform(true);
    let name = reference(name);
    block_on(client.pull(store, &name, &options, sink.clone(), &()))
        .unwrap()
        .image
}

/// A request as it came.
#[derive(Debug, Clone)]
struct Request {
    line: String,
    authorization: Option<String>,
    body: Vec<u8>,
}

type Answer = dyn Fn(&str, usize) -> String + Send + Sync;

/// A registry that answers what `answer` says to the first line of a request and to how many came before it.
struct Strange {
    address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Strange {
    fn start(answer: impl Fn(&str, usize) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (all, answer): (_, Arc<Answer>) = (Arc::clone(&requests), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (all, answer) = (Arc::clone(&all), Arc::clone(&answer));
                thread::spawn(move || serve(stream.unwrap(), &all, &*answer));
            }
        });
        Self { address, requests }
    }

    fn lines(&self) -> Vec<String> {
        let requests = self.requests.lock().unwrap();
        requests
            .iter()
            .map(|request| request.line.clone())
            .collect()
    }
}

fn serve(mut stream: TcpStream, all: &Mutex<Vec<Request>>, answer: &Answer) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        if line.trim().is_empty() {
            break;
        }
        head.push(line.trim().to_owned());
    }
    let header = |name: &str| {
        head.iter().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    };
    let length = header("content-length").map_or(0, |text| text.parse().unwrap());
    let mut body = Vec::new();
    let _ = reader.take(length).read_to_end(&mut body);
    let line = head[0].trim_end_matches(" HTTP/1.1").to_owned();
    let before = {
        let mut all = all.lock().unwrap();
        all.push(Request {
            line: line.clone(),
            authorization: header("authorization"),
            body,
        });
        all.len() - 1
    };
    let answer = answer(&line, before);
    if answer.is_empty() {
        // Until the client hangs up.
        let _ = stream.read(&mut [0]);
        return;
    }
    let _ = write!(
        stream,
        "HTTP/1.1 {answer}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    );
}

/// A store with one image that no registry has.
fn one(dir: &tempfile::TempDir) -> (Store, Image) {
    let store = Store::open(dir.path().join("images")).unwrap();
    let sink = Files::new(dir.path().join("layers"));
    let config = ImageConfiguration::default();
    let layer = &[7; 300_000][..];
    let image = store
        .import(&reference("a"), config, layer, &*sink)
        .unwrap();
    (store, image)
}

/// What an honest registry answers that has nothing and lets everybody in.
fn honest(line: &str) -> String {
    match line.split(' ').next().unwrap() {
        "HEAD" => "404 X".into(),
        "POST" => "202 X\r\nLocation: /v2/image/blobs/uploads/1?_state=x".into(),
        _ => "201 X".into(),
    }
}

#[test]
fn a_blob_goes_where_the_registry_says_with_what_it_has_said() {
    let dir = tempfile::tempdir().unwrap();
    let (store, image) = one(&dir);
    let server = Strange::start(|line, _| honest(line));
    let name = format!("{}/image:1", server.address);
    push(&Client::new(quick()), &store, &name, &image)
        .0
        .unwrap();
    let requests = server.requests.lock().unwrap().clone();
    let last = requests.last().unwrap();
    assert_eq!(last.line, "PUT /v2/image/manifests/1");
    assert_eq!(Digest::sha256(&last.body), *image.manifest_digest());
    let layer = &image.layers()[0].blob;
    let put = format!(
        "PUT /v2/image/blobs/uploads/1?_state=x&digest=sha256%3A{}",
        layer.hex()
    );
    let put = requests.iter().find(|request| request.line == put).unwrap();
    assert_eq!(Digest::sha256(&put.body), *layer);
}

#[test]
fn another_place_gets_the_content_and_not_the_password() {
    let dir = tempfile::tempdir().unwrap();
    let (store, image) = one(&dir);
    let storage = Strange::start(|_, _| "201 X".into());
    let place = storage.address.clone();
    let server = Strange::start(move |line, before| match before {
        0 => "401 X\r\nWWW-Authenticate: Basic realm=\"r\"".into(),
        _ if line.starts_with("POST") => format!("202 X\r\nLocation: http://{place}/put?sig=1"),
        _ => honest(line),
    });
    let options = quick().credentials(&*server.address, Credentials::basic("u", "p"));
    let name = format!("{}/image:1", server.address);
    push(&Client::new(options), &store, &name, &image)
        .0
        .unwrap();
    let sent = storage.requests.lock().unwrap();
    assert_eq!(sent.len(), 2);
    assert!(sent.iter().all(|request| request.authorization.is_none()));
    let asked = server.requests.lock().unwrap();
    assert!(
        asked[1..]
            .iter()
            .all(|request| request.authorization.is_some())
    );
}

#[test]
fn a_token_is_asked_for_that_is_good_for_pushing_here_and_pulling_from_there() {
    let dir = tempfile::tempdir().unwrap();
    let (store, image) = one(&dir);
    let server = Strange::start(|_, _| "500 X".into());
    let realm = server.address.clone();
    let front = Strange::start(move |_, _| {
        format!("401 X\r\nWWW-Authenticate: Bearer realm=\"http://{realm}/token\",service=\"s\"")
    });
    store
        .tag(
            &reference(&format!("{}/from:1", front.address)),
            image.manifest_digest(),
        )
        .unwrap();
    let name = format!("{}/image:1", front.address);
    let result = push(&Client::new(quick()), &store, &name, &image).0;
    assert!(matches!(result, Err(Error::Token { .. })), "{result:?}");
    // And one for this repository alone, where there is none for both.
    assert_eq!(
        server.lines().last().unwrap(),
        "GET /token?service=s&scope=repository%3Aimage%3Apull%2Cpush"
    );
    assert_eq!(
        server.lines()[0],
        "GET /token?service=s&scope=repository%3Aimage%3Apull%2Cpush&scope=repository%3Afrom%3Apull"
    );
}

#[test]
fn a_redirect_down_from_https_or_to_nowhere_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let (store, image) = one(&dir);
    for location in [
        "http://registry.example/x",
        "ftp://127.0.0.1/x",
        "https://u:p@127.0.0.1/x",
        "http://[",
    ] {
        let server = Strange::start(move |line, _| match line.starts_with("POST") {
            true => format!("202 X\r\nLocation: {location}"),
            false => honest(line),
        });
        let name = format!("{}/image:1", server.address);
        let result = push(&Client::new(quick()), &store, &name, &image).0;
        assert!(
            matches!(result, Err(Error::Redirect { .. })),
            "{location}: {result:?}"
        );
    }
    let server = Strange::start(|line, _| match line.starts_with("POST") {
        true => "202 X".into(),
        false => honest(line),
    });
    let name = format!("{}/image:1", server.address);
    let result = push(&Client::new(quick()), &store, &name, &image).0;
    assert!(matches!(result, Err(Error::Protocol { .. })), "{result:?}");
}

#[test]
fn what_may_pass_is_tried_again_and_what_will_not_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let (store, image) = one(&dir);
    let client = Client::new(quick());
    let flaky = Strange::start(|line, before| match before % 3 {
        0 => "503 X".into(),
        _ => honest(line),
    });
    push(
        &client,
        &store,
        &format!("{}/image:1", flaky.address),
        &image,
    )
    .0
    .unwrap();

    let closed = Strange::start(|line, _| match line.starts_with("POST") {
        true => "403 X".into(),
        false => honest(line),
    });
    let result = push(
        &client,
        &store,
        &format!("{}/image:1", closed.address),
        &image,
    )
    .0;
    assert!(
        matches!(result, Err(Error::PushDenied { status: 403, .. })),
        "{result:?}"
    );

    let full = Strange::start(|line, _| match line.starts_with("PUT") {
        true => "413 X".into(),
        false => honest(line),
    });
    let result = push(
        &client,
        &store,
        &format!("{}/image:1", full.address),
        &image,
    )
    .0;
    assert!(
        matches!(result, Err(Error::PushRefused { status: 413, .. })),
        "{result:?}"
    );

    let wrong = Strange::start(|line, _| match line.contains("/manifests/") {
        true => format!(
            "201 X\r\nDocker-Content-Digest: {}",
            Digest::sha256(b"else")
        ),
        false => honest(line),
    });
    let result = push(
        &client,
        &store,
        &format!("{}/image:1", wrong.address),
        &image,
    )
    .0;
    assert!(
        matches!(result, Err(Error::WrongDigest { .. })),
        "{result:?}"
    );
}

#[test]
fn a_registry_that_says_nothing_more_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let (store, image) = one(&dir);
    let server = Strange::start(|line, _| match line.contains("digest=") {
        true => String::new(),
        false => honest(line),
    });
    let options = ClientOptions::default()
        .retries(0)
        .silence(std::time::Duration::from_millis(100));
    let name = format!("{}/image:1", server.address);
    let result = push(&Client::new(options), &store, &name, &image).0;
    assert!(
        matches!(result, Err(Error::PushStalled { .. })),
        "{result:?}"
    );
}

#[test]
fn a_registry_that_never_answers_is_given_up_whatever_it_was_asked() {
    let dir = tempfile::tempdir().unwrap();
    let (store, image) = one(&dir);
    for silent in ["HEAD ", "POST ", "PUT /v2/image/manifests/", "GET /token"] {
        let address = Arc::new(Mutex::new(String::new()));
        let realm = Arc::clone(&address);
        let server = Strange::start(move |line, before| match line.starts_with(silent) {
            true => String::new(),
            false if silent == "GET /token" && before == 0 => format!(
                "401 X\r\nWWW-Authenticate: Bearer realm=\"http://{}/token\"",
                realm.lock().unwrap()
            ),
            false => honest(line),
        });
        address.lock().unwrap().clone_from(&server.address);
        let name = format!("{}/image:1", server.address);
        let options = ClientOptions::default()
            .retries(0)
            .silence(std::time::Duration::from_millis(300));
        let result = push(&Client::new(options), &store, &name, &image).0;
        assert!(
            matches!(result, Err(Error::Unreachable { .. })),
            "{silent}: {result:?}"
        );
        assert!(server.lines().last().unwrap().starts_with(silent));
    }
}

#[test]
fn a_registry_that_never_ends_its_refusal_has_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (store, image) = one(&dir);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || {
                let mut stream = stream.unwrap();
                // Not before it is asked: that would be no answer.
                stream.read_exact(&mut [0]).unwrap();
                let head = "HTTP/1.1 500 X\r\nContent-Length: 9\r\n\r\n{";
                stream.write_all(head.as_bytes()).unwrap();
                let _ = std::io::copy(&mut stream, &mut std::io::sink());
            });
        }
    });
    let server = Strange::start(move |line, _| match line.starts_with("POST") {
        true => format!("202 X\r\nLocation: http://{place}/put"),
        false => honest(line),
    });
    let options = ClientOptions::default()
        .retries(0)
        .silence(std::time::Duration::from_millis(300));
    let name = format!("{}/image:1", server.address);
    let result = push(&Client::new(options), &store, &name, &image).0;
    assert!(
        matches!(result, Err(Error::PushRefused { status: 500, .. })),
        "{result:?}"
    );
}

#[test]
fn a_layer_that_has_rotted_is_not_pushed() {
    let dir = tempfile::tempdir().unwrap();
    let (store, image) = one(&dir);
    let blob = store
        .root()
        .join("blobs/sha256")
        .join(image.layers()[0].blob.hex());
    let mut bytes = fs::read(&blob).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(blob, bytes).unwrap();
    let server = Strange::start(|line, _| honest(line));
    let name = format!("{}/image:1", server.address);
    let result = push(&Client::new(quick()), &store, &name, &image).0;
    assert!(
        matches!(result, Err(Error::WrongDigest { .. })),
        "{result:?}"
    );
    assert!(
        server
            .lines()
            .iter()
            .all(|line| !line.contains("/manifests/"))
    );
}
