//! [`Error`]: everything that can go wrong, with the names of what it went wrong with.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::{Digest, Platform, Untrusted};

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error below ours whose type is not part of this crate's interface.
pub(crate) type Source = Box<dyn std::error::Error + Send + Sync>;

/// What can go wrong with references, registries and the store.
///
/// Text that a registry wrote is [`Untrusted`], and shown escaped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "the fields are named by the messages that show them"
)]
pub enum Error {
    /// A reference does not follow the grammar.
    #[error("\"{input}\" is not an image reference: {reason}")]
    InvalidReference {
        input: Untrusted,
        reason: &'static str,
    },
    /// A digest does not follow the grammar, or is of an algorithm this crate does not know.
    #[error("\"{input}\" is not a digest: {reason}")]
    InvalidDigest {
        input: Untrusted,
        reason: &'static str,
    },
    /// A platform does not follow the grammar.
    #[error("\"{input}\" is not a platform: {reason}")]
    InvalidPlatform {
        input: Untrusted,
        reason: &'static str,
    },

    /// No registry answered: no such host, connection refused, no trusted certificate, or the connection broke too often.
    #[error("cannot reach the registry at {url}")]
    Unreachable {
        url: String,
        #[source]
        source: Source,
    },
    /// The HTTP client cannot be set up, for instance because the system's trusted certificates cannot be read.
    #[error("set up the HTTP client")]
    HttpClient {
        #[source]
        source: Source,
    },
    /// The registry has no such image, or does not show it to whoever asks. Registries do not say which.
    #[error(
        "no such image, or no access to it: {reference} (the registry says {status}{})",
        said(message)
    )]
    NoSuchImage {
        reference: String,
        status: u16,
        message: Option<Untrusted>,
    },
    /// The registry wants fewer requests.
    #[error("the registry at {url} limits the rate of requests{}", after(*retry_after))]
    RateLimited {
        url: String,
        retry_after: Option<Duration>,
    },
    /// The registry answered with a status that means an error.
    #[error("GET {url}: the registry answers {status}{}", said(message))]
    UnexpectedStatus {
        url: String,
        status: u16,
        message: Option<Untrusted>,
        retry_after: Option<Duration>,
    },
    /// The registry does not let whoever asks push to this name.
    #[error(
        "no leave to push {reference} (the registry says {status}{})",
        said(message)
    )]
    PushDenied {
        reference: String,
        status: u16,
        message: Option<Untrusted>,
    },
    /// The registry does not take what is pushed.
    #[error("push to {url}: the registry answers {status}{}", said(message))]
    PushRefused {
        url: String,
        status: u16,
        message: Option<Untrusted>,
        retry_after: Option<Duration>,
    },
    /// The registry has stopped to take what is sent to it.
    #[error("push to {url}: the registry takes nothing any more")]
    PushStalled { url: String },
    /// The registry answered with what is not the distribution protocol.
    #[error("GET {url}: {problem}")]
    Protocol { url: String, problem: &'static str },
    /// A redirect was not followed.
    #[error("not following the redirect from {url} to {target}: {reason}")]
    Redirect {
        url: String,
        target: Untrusted,
        reason: &'static str,
    },
    /// The registry asks for an authentication that is not understood.
    #[error("the registry at {url} asks for an unknown kind of authentication: {challenge}")]
    UnknownChallenge { url: String, challenge: Untrusted },
    /// The registry sends whoever wants a token to a place that must not see credentials.
    #[error("not asking for a token at {realm}, as the registry at {url} wants: {reason}")]
    Realm {
        url: String,
        realm: Untrusted,
        reason: &'static str,
    },
    /// The token service did not give a token.
    #[error("the token service at {realm} answers {status}{}", said(message))]
    Token {
        realm: String,
        status: u16,
        message: Option<Untrusted>,
        retry_after: Option<Duration>,
    },

    /// A file with credentials cannot be read or written.
    #[error("{operation} {}", path.display())]
    AuthFile {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// There is no place for credentials: the user has no home directory.
    #[error("there is no file to keep credentials in: set HOME or REGISTRY_AUTH_FILE")]
    NoAuthFile,
    /// A credential helper cannot be run, or does not answer as one.
    #[error("docker-credential-{helper} {operation}")]
    CredentialHelper {
        helper: Untrusted,
        operation: &'static str,
        #[source]
        source: io::Error,
    },
    /// A credential helper takes too long, and was killed.
    #[error(
        "docker-credential-{helper} {operation} does not answer within {seconds} seconds; look what it waits for: docker-credential-{helper} list"
    )]
    CredentialHelperSilent {
        helper: Untrusted,
        operation: &'static str,
        seconds: u64,
    },
    /// A credential helper says why it does not do what it was told.
    #[error("docker-credential-{helper} {operation}: it says {message}")]
    CredentialHelperRefused {
        helper: Untrusted,
        operation: &'static str,
        message: Untrusted,
    },

    /// The machine's owner does not want this registry to be asked.
    #[error("{reference} is blocked: registries.conf says so of {prefix}")]
    Blocked { reference: String, prefix: String },
    /// A file that says where images come from cannot be read.
    #[error("{operation} {}", path.display())]
    RegistriesFile {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A file that says where images come from is not understood.
    #[error("{} is not a registries.conf of version 2", path.display())]
    InvalidRegistries {
        path: PathBuf,
        #[source]
        source: Source,
    },
    /// A certificate that was put down for a registry cannot be read.
    #[error("read the certificates in {}", path.display())]
    Certificates {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A registry does not accept credentials.
    #[error(
        "{registry} does not accept the credentials (it says {status}{})",
        said(message)
    )]
    LoginRefused {
        registry: String,
        status: u16,
        message: Option<Untrusted>,
    },

    /// Content is not what its name says.
    #[error("{object} has the wrong digest: expected {expected}, found {found}")]
    WrongDigest {
        object: String,
        expected: Digest,
        found: Digest,
    },
    /// Content has another size than was announced. Where it is longer, `found` is what came before reading stopped.
    #[error("{object} has the wrong size: expected {expected} bytes, found {found}{}", if found > expected { " or more" } else { "" })]
    WrongSize {
        object: String,
        expected: u64,
        found: u64,
    },
    /// A document is larger than any honest one.
    #[error("{object} is larger than {limit} bytes")]
    TooLarge { object: String, limit: u64 },
    /// The layers of an image have more bytes than [`Store::max_image_bytes`](crate::Store::max_image_bytes) allows.
    #[error(
        "{image} has more than {limit} bytes in its layers, which is the most that an image may have here"
    )]
    ImageTooLarge { image: String, limit: u64 },
    /// A document or layer is of a kind that this crate does not know.
    #[error("{object} has the unsupported media type \"{media_type}\"")]
    UnsupportedMediaType {
        object: String,
        media_type: Untrusted,
    },
    /// The manifest has the format that Docker gave up in 2017.
    #[error(
        "{object} is a manifest of schema version 1, which is no longer supported: push the image again with a current tool"
    )]
    SchemaVersion1 { object: String },
    /// A document says that it is something else than what it was sent as.
    #[error("{object} was sent as \"{header}\" and says that it is \"{document}\"")]
    MediaTypeMismatch {
        object: String,
        header: Untrusted,
        document: Untrusted,
    },
    /// A document can be read as a manifest and as an index (CVE-2021-41190).
    #[error("{object} is both a manifest and an index")]
    AmbiguousDocument { object: String },
    /// A document cannot be decoded.
    #[error("cannot decode {object}")]
    InvalidDocument {
        object: String,
        #[source]
        source: serde_json::Error,
    },
    /// Indexes lead to indexes without end.
    #[error("{object} is an index in an index in an index")]
    NestedIndex { object: String },
    /// Manifest and configuration do not agree on the layers.
    #[error("{object} has {layers} layers, and its configuration knows {diff_ids}")]
    LayerCount {
        object: String,
        layers: usize,
        diff_ids: usize,
    },
    /// The index has no image for the platform.
    #[error("{reference} has no image for {wanted}; it has {}", list(available))]
    NoMatchingPlatform {
        reference: String,
        wanted: Box<Platform>,
        available: Vec<Platform>,
    },
    /// There is one image only, and it is for another platform.
    #[error("{reference} is made for {found}, not for {wanted}")]
    ArchitectureMismatch {
        reference: String,
        wanted: Box<Platform>,
        found: Box<Platform>,
    },

    /// A layer is not what its media type says it is compressed with.
    #[error("decompress layer {blob}")]
    Decompress {
        blob: Digest,
        #[source]
        source: io::Error,
    },
    /// The sink could not unpack a layer.
    #[error("unpack layer {diff_id}")]
    Unpack {
        diff_id: Digest,
        #[source]
        source: io::Error,
    },
    /// The sink said that a layer is unpacked without having read all of it, so it is not verified: a bug in the sink.
    #[error("layer {diff_id} was not read to its end, so it is not verified")]
    SinkStoppedEarly { diff_id: Digest },
    /// The thread that unpacked a layer ended without a result.
    #[error("the thread that unpacked layer {diff_id} panicked")]
    UnpackPanicked { diff_id: Digest },

    /// The archive of images could not be read: it is cut off, or no tar archive, or not compressed as it says.
    #[error("read the archive")]
    ReadArchive {
        #[source]
        source: io::Error,
    },
    /// The archive of images could not be written.
    #[error("write the archive")]
    WriteArchive {
        #[source]
        source: io::Error,
    },
    /// An archive has something in it that no archive of images has.
    #[error("the archive's \"{member}\" {problem}")]
    ArchiveMember {
        member: Untrusted,
        problem: &'static str,
    },
    /// An archive names a file that is not in it.
    #[error("the archive has no \"{member}\", which its \"{named_by}\" names")]
    NotInArchive {
        member: Untrusted,
        named_by: &'static str,
    },
    /// The archive is of something else than images.
    #[error("this is no archive of images: {problem}")]
    NotAnArchive { problem: &'static str },

    /// A file of the store cannot be read or written.
    #[error("{operation} {}", path.display())]
    Store {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The directory is in use for something else than an image layout of version 1.
    #[error("{} is not an OCI image layout of version 1.x", path.display())]
    NotAnImageLayout { path: PathBuf },
    /// Content is not in the store.
    #[error("the store has no blob {digest}")]
    NoSuchBlob { digest: Digest },
    /// The content to store could not be read.
    #[error("read the content of a blob")]
    Read {
        #[source]
        source: io::Error,
    },
}

fn said(message: &Option<Untrusted>) -> String {
    message
        .as_ref()
        .map(|message| format!(": {message}"))
        .unwrap_or_default()
}

fn after(retry_after: Option<Duration>) -> String {
    retry_after
        .map(|time| format!("; it asks to wait {} seconds", time.as_secs()))
        .unwrap_or_default()
}

fn list(platforms: &[Platform]) -> String {
    match platforms {
        [] => "none at all".to_owned(),
        _ => platforms
            .iter()
            .map(Platform::to_string)
            .collect::<Vec<_>>()
            .join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_can_cross_threads_and_live_on() {
        fn check<T: Send + Sync + 'static>() {}
        check::<Error>();
    }

    #[test]
    fn a_list_of_platforms_is_bounded_by_who_made_it_and_escaped() {
        let error = Error::NoMatchingPlatform {
            reference: "r".into(),
            wanted: Box::new("linux/amd64".parse().unwrap()),
            available: vec![Platform {
                os: "li\x1bnux".into(),
                architecture: "arm64".into(),
                variant: None,
            }],
        };
        assert_eq!(
            error.to_string(),
            r"r has no image for linux/amd64; it has li\u{1b}nux/arm64"
        );
    }
}
