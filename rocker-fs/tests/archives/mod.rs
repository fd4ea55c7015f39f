//! Archives that mean harm, or are broken, and what is to become of them. The fuzzer begins with them, too.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each program uses its part of this module, and a failure here is one of the test"
)]

use tar::{EntryType, Header};

use super::support::Layer;

/// An archive.
pub struct Archive {
    pub name: &'static str,
    pub tar: Vec<u8>,
    /// What the error says, with its causes; none where the archive is to be unpacked.
    pub refused: Option<&'static str>,
}

/// A file that is outside of all layers, by an absolute path.
pub const VICTIM: &str = "/run/outside/victim";

/// A header with bytes of its own in the field at `at`.
pub fn with_field(kind: EntryType, at: usize, field: &[u8]) -> Header {
    let mut header = Layer::header(kind, 0o644, 0);
    header.as_mut_bytes()[at..at + field.len()].copy_from_slice(field);
    header
}

const SIZE: usize = 124;
pub const MTIME: usize = 136;
const UID: usize = 108;
const MAJOR: usize = 329;
const PREFIX: usize = 345;

impl Layer {
    /// Adds a GNU long name or long link for the next entry.
    pub fn long(self, kind: EntryType, text: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(text.len() as u64);
        self.raw(b"././@LongLink", header, text)
    }

    pub fn long_name(self, text: &[u8]) -> Self {
        self.long(EntryType::GNULongName, text)
    }

    /// A sparse file of format 1.0, whose map and data are given as they are.
    pub fn sparse(self, real_size: &str, content: &[u8]) -> Self {
        let header = Self::header(EntryType::Regular, 0o644, content.len() as u64);
        self.pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"sparse"),
            ("GNU.sparse.realsize", real_size.as_bytes()),
        ])
        .raw(b"GNUSparseFile/sparse", header, content)
    }

    /// A sparse file of format 0.1.
    pub fn sparse_0_1(self, size: &str, map: &str, content: &str) -> Self {
        self.pax(&[
            ("GNU.sparse.size", size.as_bytes()),
            ("GNU.sparse.map", map.as_bytes()),
        ])
        .file("sparse", content)
    }

    /// A sparse file of the old GNU format, with pieces and real size as they are.
    pub fn old_sparse(self, pieces: &[(u64, u64)], real_size: u64, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::GNUSparse);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(content.len() as u64);
        let bytes = header.as_mut_bytes();
        for (index, (offset, length)) in pieces.iter().enumerate() {
            let at = 386 + index * 24;
            bytes[at..at + 24]
                .copy_from_slice(format!("{offset:011o}\0{length:011o}\0").as_bytes());
        }
        bytes[483..495].copy_from_slice(format!("{real_size:011o}\0").as_bytes());
        self.raw(b"sparse", header, content)
    }
}

/// A map of format 1.0 in one block, with data behind it.
pub fn map(numbers: &str, data: &[u8]) -> Vec<u8> {
    let mut block = numbers.replace(' ', "\n").into_bytes();
    block.push(b'\n');
    block.resize(512, 0);
    [&block, data].concat()
}

/// All of them.
#[rustfmt::skip] // A table.
pub fn all() -> Vec<Archive> {
    let l = Layer::default;
    let header = Layer::header;
    let out = |layer: Layer| layer.symlink("out", "/run/outside").symlink("up", "../../../../../../run/outside");
    let link = "a symbolic link stands in its way";
    let dots = "`..` in its name";
    let stream = "read the layer's tar stream";
    let map_error = "the map of a sparse file is not one";
    let sizes = "its two sizes contradict each other";
    let record = "a PAX record is not one";
    let differently = "its PAX records read differently in different programs";
    let data = "data behind a kind of entry that has none";
    let table: Vec<(&'static str, Layer, Option<&'static str>)> = vec![
        // Names that lead out, in each place where a name can stand.
        ("dots in a PAX path", l().pax(&[("path", b"a/../../outside/victim")]).file("x", "evil"), Some(dots)),
        ("dots in a long name", l().long_name(b"a/../../outside/victim\0").file("x", "evil"), Some(dots)),
        ("dots in the name's prefix", l().raw(b"victim", with_field(EntryType::Regular, PREFIX, b"../outside"), b""), Some(dots)),
        ("dots in a sparse file's name", l().pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.name", b"../outside/victim"), ("GNU.sparse.realsize", b"0")]).raw(b"x", header(EntryType::Regular, 0o644, 512), &map("0", b"")), Some(dots)),
        ("dots in a PAX link path", l().pax(&[("linkpath", b"../outside/victim")]).hard_link("x", "y"), Some(dots)),
        ("dots in a long link", l().long(EntryType::GNULongLink, b"../outside/victim\0").hard_link("x", "y"), Some(dots)),
        ("dots as a directory", l().dir("..", 0o777), Some(dots)),
        ("dots as a symbolic link", l().symlink("a/..", "/run/outside"), Some(dots)),
        ("dots as a device", l().raw(b"../null", header(EntryType::Char, 0o666, 0), b""), Some(dots)),
        ("an absolute name through a link", out(l()).file("/out/victim", "evil"), Some(link)),
        ("an absolute name", l().file(VICTIM, "inside"), None),
        ("an absolute link", l().file(VICTIM, "inside").hard_link("x", VICTIM), None),
        ("an absolute link to what only the host has", l().hard_link("x", "/etc/passwd"), Some("openat2")),
        ("a NUL in a PAX path", l().pax(&[("path", b"a\0/../../outside")]).file("x", ""), Some("a NUL byte in its name")),
        ("a NUL in a long name", l().long_name(b"a\0/../../outside\0").file("x", ""), Some("a NUL byte in its name")),
        ("a NUL in a link", l().pax(&[("linkpath", b"/run\0/outside")]).symlink("x", "y"), Some("the target of its link is not a path")),
        ("no name", l().file("", ""), Some("the root itself must be a directory")),
        ("slashes for a name", l().file("///", "").file("x", ""), None),

        // Links, and what comes behind them.
        ("a link over a link", l().symlink("a", "b").symlink("b", "/run/outside").file("a/victim", "evil"), Some(link)),
        ("a link deep down", out(l()).symlink("a/b", "../out").file("a/b/victim", "evil"), Some(link)),
        ("a link to the parent", l().dir("a", 0o755).symlink("a/b", "..").file("a/b/../../victim", ""), Some(dots)),
        ("a link in place of a directory in use", l().dir("a", 0o755).file("a/1", "").symlink("a", "/run/outside").file("a/victim", "evil"), Some(link)),
        ("a link in place of a parent in use", l().file("a/b/1", "").symlink("a", "/run").file("a/outside/victim", "evil"), Some(link)),
        ("links in turns", out(l()).file("a/1", "").symlink("a", "out").dir("a", 0o755).file("a/2", "").symlink("a", "out").file("a/victim", "evil"), Some(link)),
        ("a hard link to a link, written to", l().symlink("s", VICTIM).hard_link("h", "s").file("h", "new").file("s", "new"), None),
        ("a hard link to a link, a directory then", out(l()).hard_link("h", "out").dir("h/", 0o777).file("h/victim", "inside"), None),
        ("a hard link to a link, gone through", out(l()).hard_link("h", "out").file("h/victim", "evil"), Some(link)),
        ("a hard link through a link up", out(l()).hard_link("x", "up/victim"), Some(link)),
        ("a hard link to a directory", l().dir("d", 0o755).hard_link("x", "d"), Some("linkat")),
        ("a hard link to itself", l().file("a", "").hard_link("a", "./a"), Some("a hard link to itself")),
        ("a hard link to the directory above", l().file("a/b", "").hard_link("a/b/c", "a/b"), Some("something that is no directory")),
        ("a hard link in place of its own parent", l().file("a/b", "x").hard_link("a", "a/b"), Some("linkat")),
        ("a hard link to what comes later", l().hard_link("a", "b").file("b", ""), Some("fstatat")),
        ("a link as the root", l().symlink("./", "/run/outside"), Some("the root itself must be a directory")),
        ("a hard link as the root", l().file("a", "").hard_link("/", "a"), Some("the root itself must be a directory")),
        ("a device through a link", out(l()).raw(b"out/null", header(EntryType::Char, 0o666, 0), b""), Some(link)),
        ("a pipe in place of a link", out(l()).raw(b"out", header(EntryType::Fifo, 0o622, 0), b"").file("x", ""), None),
        ("the mode of what a link leads to", l().symlink("s", VICTIM).raw(b"s", header(EntryType::Symlink, 0o4777, 0), b""), Some("a symbolic link to nothing")),

        // Whiteouts.
        ("a whiteout of dots in between", out(l()).file("out/../.wh.victim", ""), Some(dots)),
        ("an opaque root", l().file(".wh..wh..opq", "").file("x", ""), None),
        ("an opaque mark that is a directory", l().dir("a/.wh..wh..opq/", 0o755).file("x", ""), None),
        ("an opaque mark that is a link", l().symlink("a/.wh..wh..opq", "/run/outside"), None),
        ("files below an opaque mark", l().file(".wh..wh..opq/x", "").file(".wh.a/x", ""), None),
        ("an opaque mark over a file", l().file("a", "").file("a/.wh..wh..opq", ""), Some("something that is no directory")),
        ("a whiteout beneath a whiteout", l().file(".wh.a", "").file("a/.wh.b", ""), None),
        ("a whiteout of a link", out(l()).file(".wh.out", "").file("x", ""), None),
        ("a whiteout that is linked", l().file(".wh.a", "").hard_link("b", "a"), None),
        ("a hard link to a whiteout's own name", l().file(".wh.a", "").hard_link("b", ".wh.a"), Some("fstatat")),
        ("a whiteout of a whiteout", l().file(".wh..wh.a", "").file(".wh..wh.wh.a", ""), None),
        ("a whiteout with a slash", l().file("a/.wh.b/", ""), None),

        // PAX records.
        ("a size of the records only", l().pax(&[("size", b"1024")]).file("x", "content"), Some(sizes)),
        ("a size of records beyond all numbers", l().pax(&[("size", b"18446744073709551615")]).file("x", ""), Some(stream)),
        ("a negative size in the records", l().pax(&[("size", b"-1")]).file("x", ""), Some("its size is not a number")),
        ("a signed size in the records", l().pax(&[("size", b"+7")]).file("x", "content"), Some("its size is not a number")),
        ("a record twice", l().pax(&[("path", b"a"), ("path", b"../b")]).file("x", ""), Some("a PAX record stands there twice")),
        ("an empty path", l().pax(&[("path", b"")]).dir("x", 0o777), Some(differently)),
        ("a record in the value of another", l().pax(&[("comment", b"\n19 path=../outside")]).file("x", ""), Some(differently)),
        ("a length that reaches into the next header", l().raw(b"p", header(EntryType::XHeader, 0o644, 9), b"600 a=bc\n").file("x", ""), Some(record)),
        ("a length beyond all numbers", l().raw(b"p", header(EntryType::XHeader, 0o644, 25), b"99999999999999999999 a=b\n").file("x", ""), Some(record)),
        ("records for a long name's header", l().pax(&[("size", b"1024")]).long_name(b"a\0").file("x", "content"), Some(sizes)),
        ("records twice", l().pax(&[("path", b"a")]).pax(&[("path", b"b")]).file("x", ""), Some("two pax extensions")),
        ("records for nothing", l().pax(&[("path", b"a")]), Some("no future member found")),
        ("records for a global header", l().pax(&[("path", b"a")]).raw(b"g", header(EntryType::XGlobalHeader, 0o644, 0), b"").file("x", ""), Some("a global header between")),
        ("a global header with a path", l().raw(b"g", header(EntryType::XGlobalHeader, 0o644, 24), b"24 path=/outside/victim\n").file("x", ""), Some("a global header with a path or a size")),
        ("a global header with a size", l().raw(b"g", header(EntryType::XGlobalHeader, 0o644, 12), b"12 size=512\n").file("x", ""), Some("a global header with a path or a size")),
        ("a global header with noise", l().raw(b"g", header(EntryType::XGlobalHeader, 0o644, 5), b"noise").file("x", ""), Some(record)),
        ("a global header with a comment", l().raw(b"g", header(EntryType::XGlobalHeader, 0o644, 13), b"13 comment=a\n").file("x", ""), None),
        ("an attribute without a name space", l().pax(&[("SCHILY.xattr.nonsense", b"x")]).file("x", ""), None),
        ("an attribute of macOS", l().pax(&[("SCHILY.xattr.com.apple.provenance", b"\x01\0")]).symlink("s", "x").pax(&[("SCHILY.xattr.com.apple.provenance", b"\x01\0")]).file("x", ""), None),
        ("an attribute without a name", l().pax(&[("SCHILY.xattr.", b"x")]).file("x", ""), Some("fsetxattr")),
        ("an attribute with a NUL", l().pax(&[("SCHILY.xattr.user.a\0b", b"x")]).file("x", ""), Some("a NUL byte in the name of an extended attribute")),
        ("overlayfs led astray", l().pax(&[("SCHILY.xattr.trusted.overlay.redirect", b"/outside"), ("SCHILY.xattr.user.overlay.metacopy", b""), ("SCHILY.xattr.trusted.overlay.opaque", b"y")]).dir("x", 0o755), None),

        // Long names.
        ("a long name for nothing", l().long_name(b"a\0"), Some("no future member found")),
        ("a long link for nothing", l().file("x", "").long(EntryType::GNULongLink, b"a\0"), Some("no future member found")),
        ("two long names", l().long_name(b"a\0").long_name(b"b\0").file("x", ""), Some("two long name entries")),
        ("a long name that is cut off", Layer(l().long_name(&[b'a'; 2000]).0[..1024].to_vec()), Some(stream)),
        ("a thousand levels", l().long_name(&[b"d/".repeat(1000), b"x\0".to_vec()].concat()).file("x", ""), Some("depth of a path")),
        ("a path of 4097 bytes", l().long_name(&[b"ddddddddddddddddddddddddddddddd/".repeat(128), b"x\0".to_vec()].concat()).file("x", ""), Some("length of a path")),
        ("a name of 256 bytes", l().long_name(&[b'n'; 256]).file("x", ""), Some("length of a file name")),
        ("a link of 4097 bytes", l().long(EntryType::GNULongLink, &[b'n'; 4097]).symlink("x", "y"), Some("the target of its link is not a path")),
        ("a name of two mebibytes", l().long_name(&vec![b'n'; 2 << 20]).file("x", ""), Some("size of headers")),

        // Numbers.
        ("a size of -1", l().raw(b"x", with_field(EntryType::Regular, SIZE, &[0xff; 12]), b""), Some("size overflow")),
        ("a size of -512", l().raw(b"x", with_field(EntryType::Regular, SIZE, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe\0"), b""), Some("size overflow")),
        ("a size of 2^63", l().raw(b"x", with_field(EntryType::Regular, SIZE, b"\x80\0\0\0\x80\0\0\0\0\0\0\0"), b""), Some("size of all files")),
        ("a size of 2^64", l().raw(b"x", with_field(EntryType::Regular, SIZE, b"\x80\0\0\x01\0\0\0\0\0\0\0\0"), b""), Some("its size is not a number")),
        ("a size with a sign", l().raw(b"x", with_field(EntryType::Regular, SIZE, b"+0000000007\0"), b"content"), Some("its size is not a number")),
        ("a size of 8 GiB and no content", l().raw(b"x", with_field(EntryType::Regular, SIZE, b"77777777777\0"), b""), Some("bytes early")),
        ("a size of twelve digits", l().raw(b"x", with_field(EntryType::Regular, SIZE, b"777777777777"), b""), Some("bytes early")),
        ("a size that is no number", l().raw(b"x", with_field(EntryType::Regular, SIZE, b"00000000009\0"), b""), Some(stream)),
        ("a negative size in digits", l().raw(b"x", with_field(EntryType::Regular, SIZE, b"-0000000001\0"), b""), Some(stream)),
        ("a user ID that means none", l().pax(&[("uid", b"4294967295")]).file("x", ""), Some("its user ID is not one")),
        ("a user ID beyond 32 bits", l().raw(b"x", with_field(EntryType::Regular, UID, b"\x80\0\0\x01\0\0\0\0"), b""), Some("its user ID is not one")),
        ("a time beyond all time", l().pax(&[("mtime", b"99999999999999999999")]).file("x", ""), Some("its mtime is not a time")),
        ("the last time", l().pax(&[("mtime", b"9223372036854775807.999999999")]).file("x", ""), None),
        ("the first time", l().pax(&[("mtime", b"-9223372036854775807.5")]).file("x", ""), None),
        ("a time before the first", l().pax(&[("mtime", b"-9223372036854775808")]).file("x", ""), Some("its mtime is not a time")),
        ("a time of 2^63", l().raw(b"x", with_field(EntryType::Regular, MTIME, b"\x80\0\0\0\x80\0\0\0\0\0\0\0"), b""), Some("its mtime is not a time")),
        ("a time of -2^64", l().raw(b"x", with_field(EntryType::Regular, MTIME, b"\xff\xff\xff\xff\0\0\0\0\0\0\0\0"), b""), Some("its mtime is not a time")),
        ("a device whose number is none", l().raw(b"x", with_field(EntryType::Char, MAJOR, b"zzzzzzz\0"), b""), Some("its device is not one")),
        ("a checksum that is wrong", { let mut tar = l().file("x", "").0; tar[150] ^= 1; Layer(tar) }, Some("checksum")),
        ("a kind that nobody knows", l().raw(b"x", header(EntryType::new(b'M'), 0o644, 0), b""), Some("unknown entry type")),

        // Entries in the data of what has none: most readers would see them, ours would not.
        ("data of a symbolic link", { let inner = l().file("smuggled", "").0; let mut h = header(EntryType::Symlink, 0o777, inner.len() as u64); h.set_link_name("x").unwrap(); l().raw(b"s", h, &inner) }, Some(data)),
        ("data of a hard link", { let inner = l().file("smuggled", "").0; let mut h = header(EntryType::Link, 0o777, inner.len() as u64); h.set_link_name("x").unwrap(); l().file("x", "").raw(b"s", h, &inner) }, Some(data)),
        ("data of a directory", l().raw(b"d/", header(EntryType::Directory, 0o755, 512), &l().file("smuggled", "").0), Some(data)),
        ("data of a directory of old", l().raw(b"d/", header(EntryType::Regular, 0o755, 512), &l().file("smuggled", "").0), Some(data)),
        ("data of a whiteout", l().file(".wh.a", "content").file("x", ""), None),
        ("data of a device", l().raw(b"n", header(EntryType::Char, 0o666, 512), &l().file("smuggled", "").0), Some(data)),
        ("data of a pipe, by its records", l().pax(&[("size", b"512")]).raw(b"n", header(EntryType::Fifo, 0o666, 0), &l().file("smuggled", "").0), Some(data)),

        // Sparse files.
        ("pieces that overlap", l().sparse("20", &map("2 0 10 5 10", &[b'x'; 20])), Some(map_error)),
        ("pieces out of order", l().sparse("20", &map("2 10 5 0 5", &[b'x'; 10])), Some(map_error)),
        ("a piece that overflows", l().sparse("20", &map("1 9223372036854775807 9223372036854775807", b"")), Some(map_error)),
        ("a piece behind the end", l().sparse("5", &map("1 0 10", &[b'x'; 10])), Some(map_error)),
        ("pieces that are not there", l().sparse("20", &map("1 0 10", &[b'x'; 5])), Some(map_error)),
        ("more pieces than the map has", l().sparse("20", &map("1000000 0 1", b"")), Some(map_error)),
        ("a billion pieces", l().sparse("20", &map("1000000000 0 1", b"")), Some(map_error)),
        ("a map without a newline", l().sparse("20", &[b'1'; 512]), Some(map_error)),
        ("a sparse file of exbibytes", l().sparse("9000000000000000000", &map("0", b"")), Some("size of all files")),
        ("a sparse file of a tebibyte in records", l().sparse_0_1("1099511627776", "0,0", ""), Some("size of all files")),
        ("half a piece", l().sparse_0_1("10", "0,5,7", "content"), Some(map_error)),
        ("pieces in records that overlap", l().sparse_0_1("10", "0,5,4,5", "0123456789"), Some(map_error)),
        ("format 0.0", l().pax(&[("GNU.sparse.size", b"10"), ("GNU.sparse.numblocks", b"1"), ("GNU.sparse.offset", b"0"), ("GNU.sparse.numbytes", b"7")]).file("x", "content"), Some("an unknown format of sparse files")),
        ("old pieces that overlap", l().old_sparse(&[(0, 512), (100, 512)], 1024, &[b'x'; 1024]), Some("overlapping sparse")),
        ("old pieces beyond the data", l().old_sparse(&[(0, 1024)], 1024, &[b'x'; 512]), Some("consumed more data")),
        ("an old real size that is wrong", l().old_sparse(&[(0, 512)], 1 << 32, &[b'x'; 512]), Some("mismatch in sparse file")),

        // The end.
        ("nothing", Layer(Vec::new()), None),
        ("entries behind the end", { let mut tar = l().file("x", "").end(); tar.extend(l().file("../outside/victim", "evil").0); Layer(tar) }, None),
        ("half a header", Layer(l().file("x", "").0[..300].to_vec()), Some(stream)),
        ("a file that is cut off", Layer(l().file("x", &"x".repeat(2000)).0[..1024].to_vec()), Some("bytes early")),
        ("noise", Layer(b"\x1f\x8b\x08\0".repeat(300)), Some(stream)),
    ];
    let cut = ["half a header", "a file that is cut off", "a long name that is cut off", "nothing"];
    table
        .into_iter()
        .map(|(name, layer, refused)| {
            let tar = if cut.contains(&name) { layer.0 } else { layer.end() };
            Archive { name, tar, refused }
        })
        .collect()
}
