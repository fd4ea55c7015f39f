//! [`Contents`]: an archive that has been read once, front to back. What may be a configuration or a layer is a blob of the
//! store by then, under the digest that it really has.

use std::collections::HashMap;
use std::io::Read;

use super::member::{Kind, Members};
use super::{INDEX, LAYOUT, MANIFEST};
use crate::document::MAX_SIZE;
use crate::{Descriptor, Digest, Error, Result, Store, Untrusted, compression};

/// What an archive has. No name in it ever becomes a path.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    documents: HashMap<String, Vec<u8>>,
    files: HashMap<String, (Digest, u64)>,
    links: HashMap<String, String>,
}

impl Contents {
    /// Reads an archive, compressed or not, and puts its files into the store. Nothing leads to them yet.
    pub(crate) fn read(store: &Store, archive: impl Read) -> Result<Self> {
        let broken = |source| Error::ReadArchive { source };
        let mut members = Members::new(compression::decompressed(archive).map_err(broken)?);
        let mut contents = Self::default();
        while let Some(member) = members.next()? {
            let name = member.name;
            let refused = |problem| Error::ArchiveMember {
                member: name.as_str().into(),
                problem,
            };
            if contents.has(&name) {
                return Err(refused("is there twice"));
            }
            match member.kind {
                Kind::Directory => {}
                Kind::Link(target) => drop(contents.links.insert(name, target)),
                Kind::File if [MANIFEST, INDEX, LAYOUT].contains(&name.as_str()) => {
                    if member.size > MAX_SIZE {
                        return Err(refused("is larger than 4 MiB"));
                    }
                    let mut bytes = Vec::new();
                    members.read_to_end(&mut bytes).map_err(broken)?;
                    contents.documents.insert(name, bytes);
                }
                Kind::File if is_beside_the_point(&name) => {}
                Kind::File => {
                    // Before it fills the disk: no layer is larger than its image may be.
                    let shown = Untrusted::from(name.as_str());
                    let budget = store.budget(format!("the archive's \"{shown}\""));
                    budget.check(member.size)?;
                    let named =
                        digest_of(&name).map(|digest| Descriptor::new("", digest, member.size));
                    let stored = store.put_blob(&mut members, named.as_ref());
                    let stored = stored.map_err(|error| match error {
                        Error::Read { source } => Error::ReadArchive { source },
                        other => other,
                    });
                    contents.files.insert(name, stored?);
                }
            }
        }
        Ok(contents)
    }

    fn has(&self, name: &str) -> bool {
        self.documents.contains_key(name)
            || self.files.contains_key(name)
            || self.links.contains_key(name)
    }

    /// One of the files that say what the archive is of.
    pub(crate) fn document(&self, name: &str) -> Option<&[u8]> {
        self.documents.get(name).map(Vec::as_slice)
    }

    /// The digest and the size of a file that `named_by` names.
    ///
    /// Old archives of Docker have a layer that is there twice as a link, such as `../ID/layer.tar`. It is one name for
    /// another one: nothing is followed on a disk.
    pub(crate) fn file(&self, name: &str, named_by: &'static str) -> Result<(Digest, u64)> {
        let linked = || self.files.get(&beside(name, self.links.get(name)?)?);
        let found = self.files.get(name).or_else(linked).cloned();
        found.ok_or_else(|| Error::NotInArchive {
            member: name.into(),
            named_by,
        })
    }

    /// The blob that a descriptor names, if it is of the size that it says.
    pub(crate) fn blob(&self, descriptor: &Descriptor, named_by: &'static str) -> Result<()> {
        let digest = &descriptor.digest;
        let name = format!("blobs/{}/{}", digest.algorithm().name(), digest.hex());
        let (_, size) = self.file(&name, named_by)?;
        if size != descriptor.size {
            return Err(Error::WrongSize {
                object: format!("blob {digest}"),
                expected: descriptor.size,
                found: size,
            });
        }
        Ok(())
    }

    /// Whether the archive has such a blob.
    pub(crate) fn has_blob(&self, descriptor: &Descriptor) -> bool {
        self.blob(descriptor, INDEX).is_ok()
    }
}

/// The digest that the name of a layout's blob claims.
fn digest_of(name: &str) -> Option<Digest> {
    let (algorithm, hex) = name.strip_prefix("blobs/")?.split_once('/')?;
    format!("{algorithm}:{hex}").parse().ok()
}

/// Files that Docker has kept for its versions of before 2016, and that nothing names.
fn is_beside_the_point(name: &str) -> bool {
    name == "repositories"
        || name
            .rsplit_once('/')
            .is_some_and(|(_, last)| matches!(last, "VERSION" | "json"))
}

/// What a link means, by the names alone; nothing where it leads out of the archive.
fn beside(link: &str, target: &str) -> Option<String> {
    if target.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = link.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_another_name_in_the_archive_or_none() {
        assert_eq!(
            beside("a/layer.tar", "../b/layer.tar").as_deref(),
            Some("b/layer.tar")
        );
        assert_eq!(beside("a/layer.tar", "../../etc/passwd"), None);
        assert_eq!(beside("a", "/etc/passwd"), None);
    }
}
