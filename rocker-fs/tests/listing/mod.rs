//! What files there are in a tree, once as the tar crate lists an archive and once as the kernel lists a directory.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each program uses its part of this module, and a failure here is one of the test"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use tar::EntryType;

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    Directory,
    File(Vec<u8>),
    Symlink(Vec<u8>),
    Fifo,
    Other,
}

/// All files but the root, by their paths.
pub type Listing = BTreeMap<Vec<u8>, Node>;

/// What a benign archive is to become; none where it is not: a name leads out or has a meaning of its own, comes twice, or has
/// a file as its parent.
pub fn of_archive(tar: &[u8]) -> Option<Listing> {
    let mut listing = Listing::new();
    let mut mentioned = std::collections::BTreeSet::new();
    let mut archive = tar::Archive::new(tar);
    for entry in archive.entries().ok()? {
        let mut entry = entry.ok()?;
        let kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            continue;
        }
        if let Some(records) = entry.pax_extensions().ok()? {
            for record in records {
                if record.ok()?.key_bytes().starts_with(b"GNU.sparse.") {
                    return None;
                }
            }
        }
        let raw = entry.path_bytes().into_owned();
        let directory = kind == EntryType::Directory;
        let named = if directory {
            raw.strip_suffix(b"/").unwrap_or(&raw)
        } else {
            &raw
        };
        if directory && matches!(named, b"." | b"./") {
            continue;
        }
        let path = plain(named)?;
        let node = match kind {
            EntryType::Directory => Node::Directory,
            EntryType::Regular | EntryType::Continuous => {
                let mut content = Vec::new();
                (&mut entry).take(1 << 20).read_to_end(&mut content).ok()?;
                if content.len() as u64 != entry.size() {
                    return None;
                }
                Node::File(content)
            }
            EntryType::Symlink => Node::Symlink(entry.link_name_bytes()?.into_owned()),
            EntryType::Fifo => Node::Fifo,
            EntryType::Link => match listing.get(plain(&entry.link_name_bytes()?)?)? {
                Node::Directory => return None,
                linked => linked.clone(),
            },
            _ => return None,
        };
        for (slash, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            let above = listing
                .entry(path[..slash].to_vec())
                .or_insert(Node::Directory);
            if *above != Node::Directory {
                return None;
            }
        }
        let fits = |known: &Node| *known == Node::Directory && directory;
        if !mentioned.insert(path.to_vec()) || listing.get(path).is_some_and(|known| !fits(known)) {
            return None;
        }
        listing.insert(path.to_vec(), node);
    }
    Some(listing)
}

/// The path, if nothing about it is special.
fn plain(path: &[u8]) -> Option<&[u8]> {
    let odd = |name: &[u8]| matches!(name, b"" | b"." | b"..") || name.starts_with(b".wh.");
    let wrong = path.contains(&0) || path.split(|byte| *byte == b'/').any(odd);
    (!wrong).then_some(path)
}

/// What is in a directory.
pub fn of_directory(root: &Path) -> Listing {
    let mut listing = Listing::new();
    walk(root, root, &mut listing);
    listing
}

fn walk(root: &Path, dir: &Path, listing: &mut Listing) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let status = fs::symlink_metadata(&path).unwrap();
        // Its owner may be kept out, and nobody else is here.
        let closed = status.is_dir() && status.mode() & 0o500 != 0o500
            || status.is_file() && status.mode() & 0o400 == 0;
        let set = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        if closed {
            set(0o700);
        }
        let node = if status.is_dir() {
            walk(root, &path, listing);
            Node::Directory
        } else if status.is_symlink() {
            Node::Symlink(fs::read_link(&path).unwrap().into_os_string().into_vec())
        } else if status.is_file() {
            Node::File(fs::read(&path).unwrap())
        } else if status.file_type().is_fifo() {
            Node::Fifo
        } else {
            Node::Other
        };
        if closed {
            set(status.mode() & 0o7777);
        }
        let beneath = path.strip_prefix(root).unwrap().as_os_str();
        listing.insert(beneath.as_bytes().to_vec(), node);
    }
}
