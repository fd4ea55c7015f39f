//! A door for the programs in fuzz/, to what is nobody else's business.

use crate::auth::Challenge;
use crate::document::{Document, Manifest, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST};
use crate::{Descriptor, Digest, Image};

/// Decodes a document as whatever it may have been sent as, and checks that it is at most one thing.
pub fn document(bytes: &[u8]) {
    let manifest = Document::parse("input", bytes, OCI_MANIFEST);
    let index = Document::parse("input", bytes, OCI_INDEX);
    for error in [&manifest, &index]
        .into_iter()
        .filter_map(|document| document.as_ref().err())
    {
        let text = error.to_string();
        assert!(
            !text.contains(char::is_control),
            "an error is safe to print"
        );
    }
    assert!(
        manifest.is_err() || index.is_err(),
        "a document is two things"
    );
    assert!(!matches!(manifest, Ok(Document::Index(_))));
    assert!(!matches!(index, Ok(Document::Manifest(_))));
}

/// Decodes a configuration.
pub fn config(bytes: &[u8]) {
    let digest = Digest::sha256(bytes);
    let config = Descriptor::new(OCI_CONFIG, digest.clone(), bytes.len() as u64);
    let layers = Vec::new();
    let manifest = Descriptor::new(OCI_MANIFEST, digest, 0);
    if let Ok(image) = Image::new(Vec::new(), manifest, Manifest { config, layers }, bytes) {
        assert!(image.layers().is_empty());
        assert!(!image.platform().to_string().contains(char::is_control));
    }
}

/// Reads the value of a `WWW-Authenticate` header.
pub fn challenge(value: &str) {
    for challenge in Challenge::parse(value) {
        for name in ["realm", "service", "scope"] {
            let found = challenge.parameter(name);
            assert!(found.is_none_or(|found| found.len() <= value.len()));
        }
        assert!(!(challenge.is("Basic") && challenge.is("Bearer")));
    }
}
