//! A registry that answers whatever it is told to: HTTP/1.1 on std sockets, on a free port of 127.0.0.1.
#![allow(dead_code, reason = "each test binary uses its part of this module")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rocker_image::Digest;

/// An answer.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Close the connection when so much of the body is sent.
    pub cut: Option<usize>,
    /// Whether to keep a connection that is cut open, and say nothing more on it.
    pub stall: bool,
    /// Whether a `Range` is honoured.
    pub ranges: bool,
    /// How long to wait before each further 16 KiB of the body.
    pub slow: Duration,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            body: body.into(),
            ..Self::default()
        }
    }

    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub fn cut(self, at: usize) -> Self {
        Self {
            cut: Some(at),
            ..self
        }
    }

    pub fn stall(self, at: usize) -> Self {
        Self {
            cut: Some(at),
            stall: true,
            ..self
        }
    }

    pub fn slow(self, slow: Duration) -> Self {
        Self { slow, ..self }
    }

    pub fn ranges(self) -> Self {
        Self {
            ranges: true,
            ..self
        }
    }
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: HashMap<String, String>,
    pub body: String,
}

#[derive(Debug, Default)]
struct State {
    /// The answers to a path: one after the other, and the last for ever.
    replies: HashMap<String, Vec<Reply>>,
    requests: Vec<Request>,
}

/// The server. Its threads end with the test.
#[derive(Debug, Clone)]
pub struct Hostile {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Hostile {
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::default(),
        };
        let state = Arc::clone(&server.state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let state = Arc::clone(&state);
                thread::spawn(move || serve(&stream.unwrap(), &state));
            }
        });
        server
    }

    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Sets the answers to a path, which may hold a query.
    pub fn on(&self, path: impl Into<String>, replies: impl Into<Vec<Reply>>) -> &Self {
        self.state
            .lock()
            .unwrap()
            .replies
            .insert(path.into(), replies.into());
        self
    }

    pub fn on_manifest(&self, reply: Reply) -> &Self {
        self.on("/v2/image/manifests/latest", [reply])
    }

    pub fn on_blob(&self, digest: &Digest, replies: impl Into<Vec<Reply>>) -> &Self {
        self.on(format!("/v2/image/blobs/{digest}"), replies)
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.state.lock().unwrap().requests.clone()
    }
}

fn serve(mut stream: &TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream);
    let mut lines = reader.by_ref().lines();
    let Some(Ok(first)) = lines.next() else {
        return;
    };
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let headers: HashMap<String, String> = lines
        .map_while(|line| line.ok().filter(|line| !line.is_empty()))
        .map(|line| {
            line.split_once(": ")
                .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
                .unwrap()
        })
        .collect();
    let length = headers.get("content-length");
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).unwrap();
    let mut reply = {
        let mut state = state.lock().unwrap();
        state.requests.push(Request {
            method,
            path: path.clone(),
            headers: headers.clone(),
            body: String::from_utf8(body).unwrap(),
        });
        match state.replies.get_mut(&path) {
            Some(replies) if replies.len() > 1 => replies.remove(0),
            Some(replies) => replies[0].clone(),
            None => Reply::new(404, "no such path"),
        }
    };
    if let Some(range) = headers.get("range").filter(|_| reply.ranges) {
        let from: usize = range
            .strip_prefix("bytes=")
            .unwrap()
            .strip_suffix('-')
            .unwrap()
            .parse()
            .unwrap();
        let whole = reply.body.len();
        reply = reply.header(
            "Content-Range",
            format!("bytes {from}-{}/{whole}", whole - 1),
        );
        reply.status = 206;
        reply.body.drain(..from);
    }
    let mut head = format!(
        "HTTP/1.1 {} X\r\nContent-Length: {}\r\nConnection: close\r\n",
        reply.status,
        reply.body.len()
    );
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    let body = &reply.body[..reply.cut.unwrap_or(reply.body.len()).min(reply.body.len())];
    // A client may hang up when it has seen enough.
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(b"\r\n"))
        .and_then(|()| {
            body.chunks(16 << 10).try_for_each(|piece| {
                thread::sleep(reply.slow);
                stream.write_all(piece)
            })
        });
    // Until the client hangs up.
    if reply.stall {
        let _ = stream.read(&mut [0]);
    }
}

/// An image of one layer, in pieces that a test can spoil.
#[derive(Debug, Clone)]
pub struct Parts {
    pub tar: Vec<u8>,
    pub layer: Vec<u8>,
    pub config: String,
    pub manifest: String,
}

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

impl Parts {
    pub fn new() -> Self {
        Self::of_size(300_000)
    }

    /// An image whose layer has so many bytes.
    pub fn of_size(bytes: usize) -> Self {
        // Noise, so that it is as large compressed and comes in several pieces.
        let mut state = 1_u32;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        });
        let tar: Vec<u8> = noise.take(bytes).collect();
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&tar).unwrap();
        let layer = encoder.finish().unwrap();
        let config = format!(
            r#"{{"os":"linux","architecture":"amd64","rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
            Digest::sha256(&tar)
        );
        let mut parts = Self {
            tar,
            layer,
            config,
            manifest: String::new(),
        };
        parts.manifest = parts.manifest_of(LAYER);
        parts
    }

    /// The manifest, with a layer of the given media type.
    pub fn manifest_of(&self, layer_type: &str) -> String {
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}",
            "config":{{"mediaType":"application/vnd.oci.image.config.v1+json","size":{},"digest":"{}"}},
            "layers":[{{"mediaType":"{layer_type}","size":{},"digest":"{}","urls":["http://127.0.0.1:9/foreign"]}}]}}"#,
            self.config.len(),
            Digest::sha256(self.config.as_bytes()),
            self.layer.len(),
            self.layer_digest(),
        )
    }

    pub fn layer_digest(&self) -> Digest {
        Digest::sha256(&self.layer)
    }

    /// Has a server serve it, honestly.
    pub fn serve(&self, server: &Hostile) {
        server
            .on_manifest(Reply::new(200, self.manifest.clone()).header("Content-Type", MANIFEST))
            .on_blob(
                &Digest::sha256(self.config.as_bytes()),
                [Reply::new(200, self.config.clone())],
            )
            .on_blob(
                &self.layer_digest(),
                [Reply::new(200, self.layer.clone()).ranges()],
            );
    }
}
