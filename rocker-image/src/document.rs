//! [`Document`]: what a registry answers when it is asked for a manifest.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::{Descriptor, Digest, Error, Result};

pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
pub(crate) const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(crate) const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const DOCKER_SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+";

/// What is asked for. Schema version 1 is not in it: registries that can answer with something else then do.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.docker.distribution.manifest.v2+json";

/// No manifest, index or configuration may be larger, as the distribution specification asks of registries.
pub(crate) const MAX_SIZE: u64 = 4 << 20;

/// An image for one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
}

impl Manifest {
    /// The manifest as one of OCI's.
    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        let value = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": self.config,
            "layers": self.layers,
        });
        serde_json::to_vec(&value).map_err(|source| Error::InvalidDocument {
            object: "a manifest".to_owned(),
            source,
        })
    }
}

/// A manifest or an index, and certainly not both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Document {
    Manifest(Manifest),
    Index(Vec<Descriptor>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Manifest,
    Index,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: Option<u32>,
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    fs_layers: Option<IgnoredAny>,
}

impl Document {
    /// Decodes `bytes`, which came as the media type `sent_as`. `object` names the document in errors.
    pub(crate) fn parse(object: &str, bytes: &[u8], sent_as: &str) -> Result<Self> {
        let object = || object.to_owned();
        if sent_as.starts_with(DOCKER_SCHEMA1) {
            return Err(Error::SchemaVersion1 { object: object() });
        }
        let raw: Raw = serde_json::from_slice(bytes).map_err(|source| Error::InvalidDocument {
            object: object(),
            source,
        })?;
        if raw.schema_version == Some(1) || raw.fs_layers.is_some() {
            return Err(Error::SchemaVersion1 { object: object() });
        }
        if raw.manifests.is_some() && (raw.config.is_some() || raw.layers.is_some()) {
            return Err(Error::AmbiguousDocument { object: object() });
        }
        if let Some(document) = &raw.media_type
            && document != sent_as
        {
            let (header, document) = (sent_as.into(), document.as_str().into());
            return Err(Error::MediaTypeMismatch {
                object: object(),
                header,
                document,
            });
        }
        let missing = |field| Error::InvalidDocument {
            object: object(),
            source: <serde_json::Error as serde::de::Error>::missing_field(field),
        };
        match kind(sent_as) {
            Some(Kind::Index) => Ok(Self::Index(
                raw.manifests.ok_or_else(|| missing("manifests"))?,
            )),
            Some(Kind::Manifest) => Ok(Self::Manifest(Manifest {
                config: raw.config.ok_or_else(|| missing("config"))?,
                layers: raw.layers.ok_or_else(|| missing("layers"))?,
            })),
            None => Err(Error::UnsupportedMediaType {
                object: object(),
                media_type: sent_as.into(),
            }),
        }
    }
}

fn kind(media_type: &str) -> Option<Kind> {
    match media_type {
        OCI_INDEX | DOCKER_LIST => Some(Kind::Index),
        OCI_MANIFEST | DOCKER_MANIFEST => Some(Kind::Manifest),
        _ => None,
    }
}

/// Whether a manifest's configuration is that of an image, and not of some other artifact.
pub(crate) fn check_config(config: &Descriptor) -> Result<()> {
    match config.media_type.as_str() {
        OCI_CONFIG | DOCKER_CONFIG => Ok(()),
        other => Err(Error::UnsupportedMediaType {
            object: format!("configuration {}", config.digest),
            media_type: other.into(),
        }),
    }
}

/// Compares what came with what was asked for.
pub(crate) fn check_digest(object: &str, expected: &Digest, bytes: &[u8]) -> Result<()> {
    let found = Digest::of(expected.algorithm(), bytes);
    if found != *expected {
        return Err(Error::WrongDigest {
            object: object.to_owned(),
            expected: expected.clone(),
            found,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DESCRIPTOR: &str = r#"{"mediaType":"x","size":1,"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}"#;

    fn parse(text: &str, sent_as: &str) -> Result<Document> {
        Document::parse("d", text.replace('D', DESCRIPTOR).as_bytes(), sent_as)
    }

    #[test]
    fn each_kind_is_read_as_what_it_was_sent_as() {
        for media_type in [OCI_MANIFEST, DOCKER_MANIFEST] {
            let document = parse(
                r#"{"schemaVersion":2,"config":D,"layers":[D,D]}"#,
                media_type,
            )
            .unwrap();
            assert!(matches!(document, Document::Manifest(manifest) if manifest.layers.len() == 2));
        }
        for media_type in [OCI_INDEX, DOCKER_LIST] {
            let document = parse(r#"{"schemaVersion":2,"manifests":[D]}"#, media_type).unwrap();
            assert!(matches!(document, Document::Index(manifests) if manifests.len() == 1));
        }
    }

    #[test]
    fn a_document_that_is_two_things_is_refused_as_either() {
        for text in [
            r#"{"config":D,"layers":[],"manifests":[]}"#,
            r#"{"layers":[],"manifests":[D]}"#,
        ] {
            for media_type in [OCI_MANIFEST, OCI_INDEX, DOCKER_LIST, DOCKER_MANIFEST] {
                assert!(
                    matches!(
                        parse(text, media_type),
                        Err(Error::AmbiguousDocument { .. })
                    ),
                    "{media_type}"
                );
            }
        }
    }

    #[test]
    fn a_document_that_names_another_type_than_its_header_is_refused() {
        let text = format!(r#"{{"mediaType":"{OCI_INDEX}","config":D,"layers":[]}}"#);
        assert!(matches!(
            parse(&text, OCI_MANIFEST),
            Err(Error::MediaTypeMismatch { .. })
        ));
    }

    #[test]
    fn schema_version_1_is_refused_by_its_name() {
        for (text, media_type) in [
            (
                "{}",
                "application/vnd.docker.distribution.manifest.v1+prettyjws",
            ),
            (r#"{"schemaVersion":1,"config":D}"#, OCI_MANIFEST),
            (r#"{"fsLayers":[]}"#, "application/json"),
        ] {
            assert!(
                matches!(parse(text, media_type), Err(Error::SchemaVersion1 { .. })),
                "{text}"
            );
        }
    }

    #[test]
    fn an_unknown_type_a_missing_part_and_a_part_given_twice_are_errors() {
        let manifest = r#"{"config":D,"layers":[]}"#;
        assert!(matches!(
            parse(manifest, "application/json"),
            Err(Error::UnsupportedMediaType { .. })
        ));
        for text in [
            r#"{"config":D}"#,
            r#"{"layers":[]}"#,
            r#"{"config":D,"config":D,"layers":[]}"#,
            r#"{"config":D,"layers":[{"mediaType":"x","size":-1,"digest":""}]}"#,
            "[]",
            "",
        ] {
            assert!(
                matches!(
                    parse(text, OCI_MANIFEST),
                    Err(Error::InvalidDocument { .. })
                ),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in r#"[{}\[\]":,a-zA-Z0-9 ]{0,60}"#) {
            let _ = parse(&text, OCI_MANIFEST);
            let _ = parse(&text, OCI_INDEX);
        }
    }
}
