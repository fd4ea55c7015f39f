//! The certificates that a machine's owner has put down for one registry
//! ([format](https://docs.docker.com/engine/security/certificates/)).

use std::io;
use std::path::{Path, PathBuf};

use reqwest::Url;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::{Error, Result, file};

/// What is in the directory of one registry.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    /// Who may vouch for the registry, besides the system's authorities: `*.crt`.
    pub(super) authorities: Vec<CertificateDer<'static>>,
    /// How to prove to the registry who we are: `NAME.cert` and `NAME.key`.
    pub(super) own: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

impl Certificates {
    /// Reads what there is for the host of `url` below `dirs`: all that is in the directories `HOST:PORT` and, for the port that
    /// needs no mention, `HOST`. None if none of these directories is there.
    pub(super) fn read(dirs: &[PathBuf], url: &Url) -> Result<Option<Self>> {
        let mut found: Option<Self> = None;
        for dir in dirs
            .iter()
            .flat_map(|dir| names(url).map(|name| dir.join(name)))
        {
            let why = "so that a registry of one's own is known by the certificates that were put down for it";
            let mut names = match file::names(&dir, why) {
                Ok(names) => names,
                Err(error) if is_absent(&error) => continue,
                Err(source) => return Err(failed(&dir)(source)),
            };
            names.sort();
            let found = found.get_or_insert_default();
            for path in names.iter().map(|name| dir.join(name)) {
                match path.extension().and_then(|extension| extension.to_str()) {
                    Some("crt") => found.authorities.extend(certificates(&path)?),
                    Some("cert") => {
                        let key = path.with_extension("key");
                        let key =
                            PrivateKeyDer::from_pem_slice(&read(&key)?).map_err(invalid(&key))?;
                        found.own = Some((certificates(&path)?, key));
                    }
                    _ => {}
                }
            }
        }
        Ok(found)
    }

    /// Whether there is a directory for the host of `url`.
    pub(super) fn are_there(dirs: &[PathBuf], url: &Url) -> bool {
        let why = "so that it is known whether a registry on this machine speaks TLS";
        let mut all = dirs
            .iter()
            .flat_map(|dir| names(url).map(|name| dir.join(name)));
        all.any(|dir| file::status(&dir, why).is_ok_and(|status| status.is_dir()))
    }
}

/// The names of the directories for a URL's host. No host has a slash in it.
fn names(url: &Url) -> impl Iterator<Item = String> {
    let host = url.host_str().unwrap_or_default().to_owned();
    // A registry on this machine is first looked at as if it spoke plain HTTP, whose port is another one.
    let port = url.port().unwrap_or(443);
    let alone = (port == 443).then(|| host.clone());
    [format!("{host}:{port}")].into_iter().chain(alone)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let bytes = read(path)?;
    CertificateDer::pem_slice_iter(&bytes)
        .collect::<std::result::Result<_, _>>()
        .map_err(invalid(path))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let why = "so that it is known which certificate it is";
    file::read(path, why).map_err(failed(path))
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn invalid(path: &Path) -> impl FnOnce(rustls::pki_types::pem::Error) -> Error {
    let failed = failed(path);
    move |error| failed(io::Error::new(io::ErrorKind::InvalidData, error))
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::Certificates { path, source }
}
