//! A door for the programs in fuzz/, to what is nobody else's business.

use std::io::Read;

use tar::Header;

use crate::archive::member::{Kind, Members};
use crate::auth::Challenge;
use crate::document::{Document, Manifest, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST};
use crate::{Descriptor, Digest, Error, Image, Reference, registries};

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

/// Reads an archive of images, as it is, and with all sums of headers right, so that more of it is looked at.
pub fn members(bytes: &[u8]) {
    walk(bytes);
    let mut summed = bytes.to_vec();
    summed.resize(bytes.len().next_multiple_of(512), 0);
    for block in summed.chunks_exact_mut(512) {
        if block.iter().any(|byte| *byte != 0) {
            let mut header = Header::from_byte_slice(block).clone();
            header.set_cksum();
            block.copy_from_slice(header.as_bytes());
        }
    }
    walk(&summed);
}

fn walk(bytes: &[u8]) {
    let mut members = Members::new(bytes);
    let mut total = 0;
    loop {
        let member = match members.next() {
            Ok(Some(member)) => member,
            Ok(None) => break,
            Err(error) => {
                let text = error.to_string();
                assert!(
                    !text.contains(char::is_control),
                    "an error is safe to print"
                );
                break;
            }
        };
        assert!(member.name.len() <= 1024 && !member.name.starts_with('/'));
        assert!(
            member
                .name
                .split('/')
                .all(|part| part != ".." && part != ".")
        );
        if let Kind::Link(target) = &member.kind {
            assert!(target.len() <= 1024);
        }
        let mut content = Vec::new();
        if members.read_to_end(&mut content).is_err() {
            break;
        }
        assert_eq!(content.len() as u64, member.size);
        total += content.len();
    }
    assert!(total <= bytes.len());
}

/// Reads a `registries.conf`, and asks it where images come from.
pub fn registries(bytes: &[u8]) {
    for name in ["busybox", "a.b.example/c/d:1", "127.0.0.1:5000/team/app"] {
        let Ok(reference) = name.parse::<Reference>() else {
            continue;
        };
        match registries::places_by(bytes, &reference) {
            // The image's own place is the last, and there is one.
            Ok(places) => {
                assert!(places.iter().all(|place| !place.is_empty()) && !places.is_empty())
            }
            Err(Error::Blocked { .. } | Error::InvalidRegistries { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}
