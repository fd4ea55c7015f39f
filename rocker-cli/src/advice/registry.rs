//! What helps where a registry does not give what it is asked for.

use std::error::Error as _;

use rocker_image::Error;

use super::Advice;
use crate::commands::MAX_IMAGE;

/// What most likely is behind an error of a pull or login.
pub(super) fn of(error: &Error) -> Option<Advice> {
    match error {
        Error::NoSuchImage {
            reference,
            status: 401 | 403,
            ..
        } => {
            let registry = reference.split('/').next().unwrap_or_default();
            Some(Advice::new(
                "the name is wrong, or the image is shown only to some who have logged in",
                format!("look at the name, or: rocker login {registry}"),
            ))
        }
        Error::Unreachable { url, .. } if is_certificate(error) => {
            let host = url
                .split("//")
                .nth(1)
                .and_then(|rest| rest.split('/').next());
            Some(Advice::new(
                "the registry's certificate is of an authority that this machine does not know",
                format!(
                    "put the authority's certificate into /etc/containers/certs.d/{}/ca.crt, or, if nobody is on the way, --tls-verify=false",
                    host.unwrap_or("HOST")
                ),
            ))
        }
        Error::CredentialHelper { helper, .. } => Some(Advice::new(
            "docker's configuration names a helper that is not here, as one that was copied from another machine does",
            format!(
                "install docker-credential-{helper}, or take credsStore and credHelpers out of ~/.docker/config.json"
            ),
        )),
        Error::ImageTooLarge { .. } => Some(too_large()),
        Error::Unpack { source, .. } => {
            let cause = source.get_ref()?.downcast_ref::<rocker_fs::Error>()?;
            let is_it = matches!(cause, rocker_fs::Error::TooLarge { what, .. } if *what == "size of all files");
            is_it.then(too_large)
        }
        _ => None,
    }
}

fn too_large() -> Advice {
    Advice::new(
        "it is far larger than other images, by mistake or to fill the disk",
        format!(
            "if it is to be so large: {MAX_IMAGE}=200g, or how large it may be, in the environment"
        ),
    )
}

/// Whether it is the certificate of the other side that makes it fail.
fn is_certificate(error: &Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.to_string().contains("invalid peer certificate") {
            return true;
        }
        cause = error.source();
    }
    false
}
