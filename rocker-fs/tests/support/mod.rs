//! Makes layers for tests.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test binary uses its part of this module, and a failure here is one of the test"
)]

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rocker_fs::{
    Device, MASKED_PATHS, Overlay, READ_ONLY_PATHS, Result, Rootfs, UnpackOptions, Unpacked, unpack,
};
use tar::{EntryType, Header};

/// A layer that is being written.
#[derive(Default)]
pub struct Layer(pub Vec<u8>);

impl Layer {
    pub fn header(kind: EntryType, mode: u32, size: u64) -> Header {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.set_size(size);
        header.set_device_major(0).unwrap();
        header.set_device_minor(0).unwrap();
        header
    }

    /// Adds an entry as it is, hostile name or not.
    pub fn raw(mut self, name: &[u8], mut header: Header, data: &[u8]) -> Self {
        let field = &mut header.as_mut_bytes()[..100];
        field.fill(0);
        field[..name.len()].copy_from_slice(name);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn file(self, name: &str, content: &str) -> Self {
        let header = Self::header(EntryType::Regular, 0o644, content.len() as u64);
        self.raw(name.as_bytes(), header, content.as_bytes())
    }

    pub fn dir(self, name: &str, mode: u32) -> Self {
        self.raw(
            name.as_bytes(),
            Self::header(EntryType::Directory, mode, 0),
            b"",
        )
    }

    pub fn link(self, kind: EntryType, name: &str, target: &str) -> Self {
        let mut header = Self::header(kind, 0o777, 0);
        header.set_link_name_literal(target).unwrap();
        self.raw(name.as_bytes(), header, b"")
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.link(EntryType::Symlink, name, target)
    }

    pub fn hard_link(self, name: &str, target: &str) -> Self {
        self.link(EntryType::Link, name, target)
    }

    /// Adds PAX records for the next entry.
    pub fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let digits = (1..)
                .find(|digits| (rest + digits).to_string().len() == *digits)
                .unwrap();
            data.extend_from_slice(format!("{} {key}=", rest + digits).as_bytes());
            data.extend_from_slice(value);
            data.push(b'\n');
        }
        let header = Self::header(EntryType::XHeader, 0o644, data.len() as u64);
        self.raw(b"PaxHeaders/x", header, &data)
    }

    pub fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }

    /// Unpacks what was written so far into `dir`.
    pub fn unpack(self, dir: &Path) -> Result<Unpacked> {
        self.unpack_with(dir, &UnpackOptions::default())
    }

    pub fn unpack_with(self, dir: &Path, options: &UnpackOptions) -> Result<Unpacked> {
        std::fs::create_dir_all(dir).unwrap();
        let dir: OwnedFd = std::fs::File::open(dir).unwrap().into();
        unpack(self.end().as_slice(), dir.as_fd(), options)
    }
}

/// What a container has by default, over `image`. To be called in a fake host.
pub fn standard(image: &Path) -> Rootfs {
    fs::create_dir_all("/run/t").unwrap();
    for dir in ["/run/upper", "/run/work"] {
        let _ = fs::remove_dir_all(dir);
        fs::create_dir(dir).unwrap();
    }
    let root = Overlay::new([image])
        .upper("/run/upper", "/run/work")
        .mount()
        .unwrap();
    let rootfs = Rootfs::new(root, "/run/t").mounts(Rootfs::standard_mounts());
    let rootfs = Device::standard().into_iter().fold(rootfs, Rootfs::device);
    let rootfs = MASKED_PATHS
        .iter()
        .fold(rootfs, |rootfs, path| rootfs.mask(*path));
    READ_ONLY_PATHS
        .iter()
        .fold(rootfs, |rootfs, path| rootfs.read_only_path(*path))
}
