//! A real registry for tests: Debian's `docker-registry` on 127.0.0.1:5000 of a fake host, filled by `skopeo`.
//!
//! Uses nothing but std and the tools `docker-registry`, `skopeo`, `busybox`, `tar`, `gzip` and `sha256sum`, so that it
//! agrees with rocker about nothing by sharing code with it. Wants `mod fake_host;` beside it in the test's crate root.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses its part of this module"
)]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::fake_host::Host;

/// A running registry; killed when it is dropped.
#[derive(Debug)]
pub struct Registry {
    server: Child,
    dir: PathBuf,
    address: &'static str,
    /// What skopeo needs to get in.
    options: Vec<String>,
}

impl Registry {
    /// What stands before the names of its images.
    pub const ADDRESS: &'static str = "127.0.0.1:5000";
    /// The same of one that is not on loopback.
    pub const FAR_ADDRESS: &'static str = "192.0.2.1:5000";

    /// Starts it, and returns when it answers.
    pub fn start(host: &Host) -> Self {
        Self::start_with(host, "", "", &[])
    }

    /// The same, for nobody but `me` with the password `secret`.
    pub fn start_closed(host: &Host) -> Self {
        let file = host.dir("registry").join("htpasswd");
        let line = "me:$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n";
        fs::write(&file, line).expect("the registry's directory is writable");
        let auth = format!(
            "auth: {{htpasswd: {{realm: x, path: {}}}}}\n",
            file.display()
        );
        Self::start_with(host, &auth, "", &["--dest-creds=me:secret"])
    }

    /// The same on an address that is not loopback.
    pub fn start_far(host: &Host) -> Self {
        host.sh("ip addr replace 192.0.2.1/32 dev lo");
        Self::start_at(host, Self::FAR_ADDRESS, "", "", &[])
    }

    /// The same by TLS, with a certificate of an authority of its own; which is in the returned file. If `clients` are to have
    /// a certificate of that authority, too, there is `client.cert` beside it, and `client.key`.
    pub fn start_tls(host: &Host, address: &'static str, clients: bool) -> (Self, PathBuf) {
        let dir = host.dir("registry");
        host.sh("ip addr replace 192.0.2.1/32 dev lo");
        // One script, so that what it takes to make a certificate can be read in one place.
        host.sh(&format!(
            "cd {}; openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.pem -out ca.crt \
               -subj /CN=authority -days 2 2>/dev/null
             for name in server client; do
               openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $name.key -out $name.csr \
                 -subj /CN=$name 2>/dev/null
               printf 'subjectAltName=IP:192.0.2.1,IP:127.0.0.1\n' >$name.ext
               openssl x509 -req -in $name.csr -CA ca.crt -CAkey ca.pem -CAcreateserial -days 2 -extfile $name.ext \
                 -out $name.cert 2>/dev/null
             done",
            dir.display()
        ));
        let clientcas = if clients {
            format!(", clientcas: [{}]", dir.join("ca.crt").display())
        } else {
            String::new()
        };
        let http = format!(
            ", tls: {{certificate: {0}/server.cert, key: {0}/server.key{clientcas}}}",
            dir.display()
        );
        let certs = format!("--dest-cert-dir={}", dir.display());
        (
            Self::start_at(host, address, "", &http, &[&certs]),
            dir.join("ca.crt"),
        )
    }

    /// The same with further lines of its configuration, and of that of its server.
    fn start_with(host: &Host, more: &str, http: &str, options: &[&str]) -> Self {
        Self::start_at(host, Self::ADDRESS, more, http, options)
    }

    fn start_at(
        host: &Host,
        address: &'static str,
        more: &str,
        http: &str,
        options: &[&str],
    ) -> Self {
        let dir = host.dir("registry");
        let config = dir.join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
             http: {{addr: \"{}\"{http}}}\n{more}",
            dir.join("data").display(),
            address
        );
        fs::write(&config, text).expect("the registry's directory is writable");
        let server = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is installed");
        let options = options.iter().map(|&option| option.to_owned()).collect();
        let registry = Self {
            server,
            dir,
            address,
            options,
        };
        host.wait_until("the registry answers", Duration::from_secs(20), || {
            registry.answers()
        });
        registry
    }

    /// The full name of an image here.
    pub fn name(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// Pushes an image of two layers: a static busybox with its links, and a small tree. Returns its full name.
    pub fn push_busybox(&self, name: &str) -> String {
        let layout = self.busybox(name);
        self.push_oci_layout(&layout, name)
    }

    /// The same image, with its layers compressed by zstd.
    pub fn push_zstd(&self, name: &str) -> String {
        // By way of a second layout: skopeo would notice that the registry has the gzip ones already.
        let zstd = self.new_dir(name).join("layout");
        skopeo_copy(
            &self.busybox(name),
            &format!("oci:{}", zstd.display()),
            &["--dest-compress-format", "zstd"],
        );
        self.push_oci_layout(&zstd, name)
    }

    /// Pushes an index of a linux/amd64 and a linux/arm64/v8 image, whose `/arch` says which it is.
    pub fn push_index(&self, name: &str) -> String {
        let layout = self.new_dir(name);
        let manifests = ["amd64", "arm64"].map(|architecture| {
            let root = self.new_dir(&format!("{name}-{architecture}"));
            fs::write(root.join("arch"), architecture).expect("a new directory is writable");
            let config = format!(
                r#"{{"Env":["PATH=/bin"],"Cmd":["/bin/sh"],"Labels":{{"arch":"{architecture}"}}}}"#
            );
            let manifest = image(
                &layout,
                &[&busybox_root(&self.new_dir(name)), &root],
                architecture,
                &config,
            );
            let variant = if architecture == "arm64" {
                r#","variant":"v8""#
            } else {
                ""
            };
            let platform = format!(
                r#","platform":{{"os":"linux","architecture":"{architecture}"{variant}}}}}"#
            );
            manifest.trim_end_matches('}').to_owned() + &platform
        });
        let kind = "application/vnd.oci.image.index.v1+json";
        let index = format!(
            r#"{{"schemaVersion":2,"mediaType":"{kind}","manifests":[{}]}}"#,
            manifests.join(",")
        );
        let index = blob(&layout, index.as_bytes(), kind);
        finish_layout(&layout, &index);
        self.push_oci_layout(&layout, name)
    }

    /// Pushes an image of one layer, the directory `root`; `config` is the JSON of its configuration's `config`.
    pub fn push_dir(&self, root: &Path, name: &str, config: &str) -> String {
        let layout = self.new_dir(name);
        let manifest = image(&layout, &[root], "amd64", config);
        finish_layout(&layout, &manifest);
        self.push_oci_layout(&layout, name)
    }

    /// Pushes the one image or index of an OCI layout.
    pub fn push_oci_layout(&self, layout: &Path, name: &str) -> String {
        let name = self.name(name);
        skopeo_copy(
            layout,
            &format!("docker://{name}"),
            &["--dest-tls-verify=false"]
                .into_iter()
                .chain(self.options.iter().map(String::as_str))
                .collect::<Vec<_>>(),
        );
        name
    }

    /// A layout with the busybox image, not pushed.
    pub fn busybox(&self, name: &str) -> PathBuf {
        let layout = self.new_dir(name);
        let tree = self.new_dir(name);
        fs::create_dir_all(tree.join("etc")).expect("a new directory is writable");
        fs::create_dir_all(tree.join("tmp")).expect("a new directory is writable");
        fs::write(
            tree.join("etc/passwd"),
            "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
        )
        .expect("written");
        fs::write(tree.join("etc/group"), "root:x:0:\nnogroup:x:65534:\n").expect("written");
        let config = r#"{"Env":["PATH=/usr/local/bin:/usr/bin:/bin"],"Cmd":["/bin/sh"]}"#;
        let manifest = image(
            &layout,
            &[&busybox_root(&self.new_dir(name)), &tree],
            "amd64",
            config,
        );
        finish_layout(&layout, &manifest);
        layout
    }

    /// An empty directory of a name that no other call gets.
    fn new_dir(&self, name: &str) -> PathBuf {
        let stem: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        let dir = (0..)
            .map(|count| self.dir.join(format!("{stem}.{count}")))
            .find(|dir| !dir.exists());
        let dir = dir.expect("some number is free");
        fs::create_dir_all(&dir).expect("the registry's directory is writable");
        dir
    }

    fn answers(&self) -> bool {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(self.address)?;
            stream.write_all(b"GET /v2/ HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().is_ok_and(|answer| {
            [" 200 ", " 401 ", " 400 "]
                .iter()
                .any(|status| answer.contains(status))
        })
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn skopeo_copy(layout: &Path, to: &str, options: &[&str]) {
    let output = Command::new("skopeo")
        .args(["--insecure-policy", "copy", "--quiet", "--all"])
        .args(options)
        .arg(format!("oci:{}", layout.display()))
        .arg(to)
        .output()
        .expect("skopeo is installed");
    assert!(
        output.status.success(),
        "skopeo copy to {to}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Makes a root directory of the machine's static busybox, and returns it.
pub fn busybox_root(root: &Path) -> PathBuf {
    let script = r#"mkdir -p "$0/bin"; cp "$(command -v busybox)" "$0/bin/busybox"
        for name in $(busybox --list); do [ "$name" = busybox ] || ln -s busybox "$0/bin/$name"; done"#;
    run(Command::new("sh").args(["-euc", script]).arg(root), b"");
    root.to_owned()
}

/// Puts an image into a layout and returns the descriptor of its manifest.
fn image(layout: &Path, layers: &[&Path], architecture: &str, config: &str) -> String {
    let mut diff_ids = Vec::new();
    let mut descriptors = Vec::new();
    for layer in layers {
        let tar = run(
            Command::new("tar")
                .args([
                    "--sort=name",
                    "--mtime=@0",
                    "--owner=0",
                    "--group=0",
                    "--numeric-owner",
                    "-cC",
                ])
                .arg(layer)
                .arg("."),
            b"",
        );
        diff_ids.push(format!("\"sha256:{}\"", sha256(&tar)));
        let gzip = run(Command::new("gzip").args(["-1", "-n"]), &tar);
        descriptors.push(blob(
            layout,
            &gzip,
            "application/vnd.oci.image.layer.v1.tar+gzip",
        ));
    }
    let variant = if architecture == "arm64" {
        r#""variant":"v8","#
    } else {
        ""
    };
    let config = format!(
        r#"{{"created":"2024-02-03T04:05:06Z","os":"linux","architecture":"{architecture}",{variant}"config":{config},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        diff_ids.join(",")
    );
    let config = blob(
        layout,
        config.as_bytes(),
        "application/vnd.oci.image.config.v1+json",
    );
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{kind}","config":{config},"layers":[{}]}}"#,
        descriptors.join(",")
    );
    blob(layout, manifest.as_bytes(), kind)
}

/// Puts a blob into a layout and returns its descriptor.
fn blob(layout: &Path, content: &[u8], media_type: &str) -> String {
    let digest = sha256(content);
    let dir = layout.join("blobs/sha256");
    fs::create_dir_all(&dir).expect("the layout is writable");
    fs::write(dir.join(&digest), content).expect("the layout is writable");
    format!(
        r#"{{"mediaType":"{media_type}","size":{},"digest":"sha256:{digest}"}}"#,
        content.len()
    )
}

fn finish_layout(layout: &Path, descriptor: &str) {
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{descriptor}]}}"#);
    fs::write(layout.join("index.json"), index).expect("the layout is writable");
    fs::write(
        layout.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .expect("the layout is writable");
}

fn sha256(content: &[u8]) -> String {
    let output = run(&mut Command::new("sha256sum"), content);
    String::from_utf8_lossy(&output[..64]).into_owned()
}

/// Runs a tool and returns what it writes.
fn run(command: &mut Command, input: &[u8]) -> Vec<u8> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the tool is installed");
    let mut stdin = child.stdin.take().expect("it is piped");
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("the tool ends");
    let written = writer.join().expect("writing does not panic");
    assert!(
        output.status.success() && written.is_ok(),
        "{command:?}: {}",
        output.status
    );
    output.stdout
}
