//! Layers made of trees: what is packed and unpacked again is the same tree, and the same bytes.
#![allow(
    clippy::unwrap_used,
    reason = "a failure of what a test prepares is a failure of the test"
)]

#[path = "../../tests/fake_host/mod.rs"]
mod fake_host;
mod support;

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use rocker_fs::{
    Change, Error, IdRange, Layers, Overlay, Ownership, PackOptions, Packed, UnpackOptions,
    XattrNamespace, changes, copy_tree, merge, pack, unpack,
};
use support::Layer;
use tar::EntryType;

fn packed_as(dir: &Path, options: &PackOptions<'_>) -> rocker_fs::Result<(Vec<u8>, Packed)> {
    let mut tar = Vec::new();
    let done = pack(File::open(dir).unwrap().as_fd(), &mut tar, options)?;
    Ok((tar, done))
}

fn packed(dir: &Path) -> Vec<u8> {
    let options = PackOptions::layer(XattrNamespace::Trusted);
    packed_as(dir, &options).unwrap().0
}

/// Prints all that there is to know of a tree, one line a file, with the first name that the file has. A whiteout has no age: the
/// kernel gives one file many names.
const LIST: &str = r#"
import os, sys, stat
root, inodes, paths = sys.argv[1].encode(), {}, []
for dir, dirs, files in os.walk(root):
    paths += [dir] + [os.path.join(dir, name) for name in dirs + files if name in files or os.path.islink(os.path.join(dir, name))]
for path in sorted(paths):
    status = os.lstat(path)
    name, kind = os.path.relpath(path, root), stat.S_IFMT(status.st_mode)
    first = inodes.setdefault((status.st_dev, status.st_ino), name)
    age = 0 if kind == stat.S_IFCHR and status.st_rdev == 0 else status.st_mtime_ns
    size = 0 if kind == stat.S_IFDIR else status.st_size
    link = os.readlink(path) if kind == stat.S_IFLNK else b''
    content = open(path, 'rb').read().rstrip(b'\0') if kind == stat.S_IFREG else b''
    attributes = sorted((key, os.getxattr(path, key, follow_symlinks=False)) for key in os.listxattr(path, follow_symlinks=False))
    print(name, oct(status.st_mode), status.st_uid, status.st_gid, status.st_rdev, size, age, first, link, content, attributes)
"#;

fn tree(root: &Path) -> Vec<String> {
    let listed = Command::new("python3")
        .args(["-c", LIST])
        .arg(root)
        .output()
        .unwrap();
    assert!(
        listed.status.success(),
        "{}",
        String::from_utf8_lossy(&listed.stderr)
    );
    String::from_utf8(listed.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

/// A tree as a table: few names, so that they meet often, and odd ones.
fn path() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        8 => "[ab]",
        2 => "[a-z]{1,8}",
        1 => "\\PC{1,20}",
        1 => "[ \t\\\\*?=]{1,5}",
        1 => Just("n".repeat(255)),
    ];
    prop::collection::vec(name, 1..5).prop_map(|names| names.join("/"))
}

fn entry() -> impl Strategy<Value = (String, u8, String, u32, i64, u32)> {
    (
        path(),
        0..9_u8,
        "[^\0]{1,300}",
        0..0o10000_u32,
        -1_i64 << 33..1_i64 << 34,
        0..1_000_000_000_u32,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn what_is_packed_is_the_same_tree_and_the_same_bytes_when_it_was_unpacked(entries in prop::collection::vec(entry(), 1..14), link in any::<prop::sample::Index>()) {
        let dir = tempfile::tempdir().unwrap();
        let layers = Layers::open(dir.path()).unwrap();
        let options = UnpackOptions::default().ownership(Ownership::Caller).xattr_namespace(XattrNamespace::User).devices(false);
        let mut layer = Layer::default();
        let mut files: Vec<String> = Vec::new();
        for (name, kind, text, mode, seconds, nanoseconds) in &entries {
            if name.split('/').any(|name| name == "." || name == "..") { continue; }
            let (kind, content) = match kind {
                0..3 => (EntryType::Regular, text.as_bytes()),
                3 | 4 => (EntryType::Directory, &b""[..]),
                5 => (EntryType::Symlink, &b""[..]),
                6 => (EntryType::Fifo, &b""[..]),
                7 if !files.is_empty() => (EntryType::Link, &b""[..]),
                _ => (EntryType::Regular, &b""[..]),
            };
            let target = files.get(link.index(files.len().max(1))).cloned().unwrap_or_default();
            // A whiteout, or an opaque directory.
            let is_mark = !matches!(kind, EntryType::Link) && content.is_empty() && kind == EntryType::Regular;
            let name = match name.rsplit_once('/') {
                Some((above, _)) if is_mark && mode % 3 == 0 => format!("{above}/.wh..wh..opq"),
                Some((above, last)) if is_mark => format!("{above}/.wh.{}", &last[..last.floor_char_boundary(200)]),
                None if is_mark => format!(".wh.{}", &name[..name.floor_char_boundary(200)]),
                _ => name.clone(),
            };
            let time = format!("{seconds}.{nanoseconds:09}");
            let mut records: Vec<(&str, &[u8])> = vec![("path", name.as_bytes()), ("mtime", time.as_bytes())];
            if kind == EntryType::Symlink { records.push(("linkpath", text.as_bytes())); }
            if kind == EntryType::Link { records.push(("linkpath", target.as_bytes())); }
            if kind == EntryType::Regular && mode % 2 == 1 { records.push(("SCHILY.xattr.user.note", text.as_bytes())); }
            let mut header = Layer::header(kind, *mode, content.len() as u64);
            header.set_mtime(0);
            let more = Layer(layer.0.clone()).pax(&records).raw(b"short", header, content);
            if layers.unpack("00", Layer(more.0.clone()).end().as_slice(), &options).is_ok() {
                layer = more;
                if kind == EntryType::Regular && !is_mark { files.push(name); }
            }
            layers.remove("00").unwrap();
        }
        layers.unpack("00", layer.end().as_slice(), &options).unwrap();
        let marks = PackOptions::layer(XattrNamespace::User);
        let once = packed_as(&layers.path("00"), &marks);
        // Names with a newline and what looks like a record are read differently in different programs, and so refused.
        prop_assert!(once.is_ok(), "{:?}", once.err());
        let (once, done) = once.unwrap();
        let again = layers.unpack("01", once.as_slice(), &options);
        prop_assert!(again.is_ok(), "{again:?}");
        prop_assert_eq!(again.unwrap().entries, done.entries);
        if nix_is_root() {
            prop_assert_eq!(tree(&layers.path("00")), tree(&layers.path("01")));
        }
        prop_assert_eq!(packed_as(&layers.path("01"), &marks).unwrap().0, once);
    }
}

/// Whether this process may look into every directory, whatever its mode.
fn nix_is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Makes the changes of `script` in an overlay over the tree that `below` makes, and returns its upper directory.
fn changed(host: &fake_host::Host, below: &str, script: &str) -> (PathBuf, PathBuf) {
    let (lower, upper, work, merged) = (
        host.dir("lower"),
        host.dir("upper"),
        host.dir("work"),
        host.dir("merged"),
    );
    host.sh(&format!("cd {}; {below}", lower.display()));
    let overlay = Overlay::new([&lower]).upper(&upper, &work);
    let mounted = overlay.mount().unwrap().attach(&merged).unwrap();
    host.sh(&format!("cd {}; {script}", merged.display()));
    mounted.unmount().map_err(|(_, error)| error).unwrap();
    (lower, upper)
}

/// What sets an attribute, as a shell's function: `attribute FILE NAME VALUE`.
const ATTRIBUTE: &str = r#"attribute() { python3 -c 'import os, sys; os.setxattr(sys.argv[1], sys.argv[2], sys.argv[3].encode())' "$@"; }; "#;

const BELOW: &str = "mkdir -p etc var/log opt/app/sub gone deep/a/b; for f in etc/passwd etc/group var/log/x opt/app/old opt/app/sub/x gone/x deep/a/b/c keep; do echo $f >$f; done; ln -s etc/passwd link";

fn listed(lower: &Path, upper: &Path, places: &[&str]) -> String {
    let (lower, upper) = (File::open(lower).unwrap(), File::open(upper).unwrap());
    let options = PackOptions::layer(XattrNamespace::Trusted).mount_points(lower.as_fd(), places);
    let mut all = Vec::new();
    changes(upper.as_fd(), lower.as_fd(), &options, |change: Change| {
        all.push(format!("{} {}", change.kind, change.path.display()));
        Ok::<_, Error>(())
    })
    .unwrap();
    all.join("\n")
}

#[test]
fn changes_are_those_of_docker_diff() {
    fake_host::run(|host| {
        let script = "echo new >etc/new; echo more >>etc/passwd; rm etc/group; rm -r gone; rm -r opt/app; mkdir opt/app; echo y >opt/app/new; echo z >opt/app/old; \
                      mkdir -p fresh/dir; touch fresh/dir/file; echo x >>deep/a/b/c; touch tmp; rm tmp; chmod 700 var; rm link; mkdir link; mkfifo pipe";
        let (lower, upper) = changed(host, BELOW, script);
        assert_eq!(
            listed(&lower, &upper, &[]),
            "C /deep\nC /deep/a\nC /deep/a/b\nC /deep/a/b/c\nC /etc\nD /etc/group\nA /etc/new\nC /etc/passwd\nA /fresh\nA /fresh/dir\nA /fresh/dir/file\n\
             D /gone\nC /link\nC /opt\nC /opt/app\nA /opt/app/new\nC /opt/app/old\nD /opt/app/sub\nA /pipe\nC /var"
        );
    });
}

/// Where there is no overlay there is a copy, and what was changed of it is found by comparison.
#[test]
fn a_copy_that_was_changed_gives_the_changes_and_the_layer_of_an_overlay() {
    fake_host::run(|host| {
        let script = "echo new >etc/new; echo more >>etc/passwd; rm etc/group; rm -r gone; mkdir -p fresh/dir; touch fresh/dir/file; echo x >>deep/a/b/c; \
                      chmod 700 var; rm link; ln -s etc/new link; rm keep; mkdir keep; echo k >keep/k; rm -r opt/app; echo f >opt/app; mkfifo pipe; \
                      ln etc/new etc/new2; setfattr() { python3 -c 'import os, sys; os.setxattr(sys.argv[1], sys.argv[2], b\"v\")' $@; }; setfattr var/log/x trusted.note";
        let (lower, upper) = changed(host, BELOW, script);
        let copy = host.dir("copy");
        let (below, into) = (File::open(&lower).unwrap(), File::open(&copy).unwrap());
        copy_tree(below.as_fd(), into.as_fd()).unwrap();
        let whole = PackOptions::layer(XattrNamespace::Trusted).whole(below.as_fd());
        let listed_whole = || {
            let mut all = Vec::new();
            changes(into.as_fd(), below.as_fd(), &whole, |change: Change| {
                all.push(format!("{} {}", change.kind, change.path.display()));
                Ok::<_, Error>(())
            })
            .unwrap();
            all.join("\n")
        };
        assert_eq!(listed_whole(), "");
        let (tar, _) = packed_as(&copy, &whole).unwrap();
        fs::write("/run/layer.tar", tar).unwrap();
        assert_eq!(host.sh("tar -tf /run/layer.tar"), "./\n");
        host.sh(&format!("cd {}; {script}", copy.display()));
        assert_eq!(listed_whole(), listed(&lower, &upper, &[]));
        assert!(
            listed_whole().contains("C /var/log/x"),
            "{}",
            listed_whole()
        );
        // Over the lower tree the layer is the copy as it is now.
        let (tar, _) = packed_as(&copy, &whole).unwrap();
        fs::write("/run/layer.tar", &tar).unwrap();
        let names = host.sh("tar -tf /run/layer.tar");
        assert!(
            names.contains("etc/.wh.group\n") && !names.contains("deep/a/x"),
            "{names}"
        );
        let layer = host.dir("layer");
        unpack(
            &tar[..],
            File::open(&layer).unwrap().as_fd(),
            &UnpackOptions::default(),
        )
        .unwrap();
        let again = host.dir("again");
        merge(
            [&lower, &layer],
            File::open(&again).unwrap().as_fd(),
            XattrNamespace::Trusted,
        )
        .unwrap();
        let without_root = |dir: &Path| tree(dir).split_off(1);
        let directories_have_no_age = |lines: Vec<String>| {
            // A directory that is as it was is in no layer, whatever was done in it.
            let age = |line: String| {
                let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
                if words.get(1).is_some_and(|mode| mode.starts_with("0o4")) {
                    words[6].clear();
                }
                words.join(" ")
            };
            lines.into_iter().map(age).collect::<Vec<_>>()
        };
        assert_eq!(
            directories_have_no_age(without_root(&again)),
            directories_have_no_age(without_root(&copy))
        );
    });
}

#[test]
fn what_was_made_to_mount_on_is_neither_a_change_nor_in_a_layer() {
    fake_host::run(|host| {
        let script = "mkdir -p data/vol proc dev run/lock; touch etc/hosts etc/passwd run/file; mkdir other; echo x >etc/resolv.conf";
        let (lower, upper) = changed(host, BELOW, script);
        let places = [
            "/data/vol",
            "/proc",
            "/dev",
            "/etc/hosts",
            "/etc/resolv.conf",
            "/run/lock",
            "/missing",
        ];
        // Not what has been written to, nor what has something else in it.
        let expected = "C /etc\nC /etc/passwd\nA /etc/resolv.conf\nA /other\nA /run\nA /run/file";
        assert_eq!(listed(&lower, &upper, &places), expected);
        assert!(listed(&lower, &upper, &[]).contains("A /data/vol\n"));
        let below = File::open(&lower).unwrap();
        let options =
            PackOptions::layer(XattrNamespace::Trusted).mount_points(below.as_fd(), places);
        fs::write("/run/layer.tar", packed_as(&upper, &options).unwrap().0).unwrap();
        let names = host.sh("tar -tf /run/layer.tar");
        assert_eq!(
            names,
            "./\netc/\netc/passwd\netc/resolv.conf\nother/\nrun/\nrun/file\n"
        );
    });
}

#[test]
fn everything_that_a_container_can_make_comes_back_from_a_layer() {
    fake_host::run(|host| {
        let long = format!("{}/{}", "d".repeat(200), "f".repeat(200));
        let script = format!(
            "{ATTRIBUTE} echo x >f; chown 3000000:4000000 f; chmod 6751 f; ln f hard; ln -s f soft; ln soft softer; attribute f user.note 'a
b'; attribute f user.overlay.opaque y; attribute f trusted.mine t; \
             cp f cap; chmod 755 cap; python3 -c \"import os; os.setxattr('cap', 'security.capability', bytes([1, 0, 0, 2, 0, 0x20]) + bytes(14))\"; mkfifo fifo; mknod null c 1 3; mknod disk b 7 255; mkdir -p {long}; echo long >{long}/f; touch -d '1960-01-01 00:00:00.25' old; \
             touch -d '2100-01-01 00:00:00.123456789' new; truncate -s 9000000 sparse; printf end >>sparse; rm -r opt/app; mkdir opt/app; rm etc/group; \
             mkdir sticky; chmod 1777 sticky; chmod 711 .; python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"sock\")'; touch .wh.file; mkdir closed; chmod 0 closed"
        );
        let (_, upper) = changed(host, BELOW, &script);
        let tar = packed(&upper);
        assert_eq!(packed(&upper), tar, "the same tree, other bytes");
        let options = PackOptions::layer(XattrNamespace::Trusted);
        let (_, done) = packed_as(&upper, &options).unwrap();
        assert_eq!((done.sockets_left_out, done.names_left_out), (1, 1));
        let again = host.dir("again");
        unpack(
            tar.as_slice(),
            File::open(&again).unwrap().as_fd(),
            &UnpackOptions::default(),
        )
        .unwrap();
        // The kernel's own notes on what was copied from where.
        let notes = "import os
for dir, _, files in os.walk('/run/upper'):
    for path in [dir] + [os.path.join(dir, name) for name in files]:
        for key in os.listxattr(path, follow_symlinks=False):
            if '.overlay.' in key and not (key == 'trusted.overlay.opaque'): os.removexattr(path, key, follow_symlinks=False)";
        host.sh(&format!(
            "rm /run/upper/sock /run/upper/.wh.file; python3 -c \"{notes}\""
        ));
        host.sh("touch -r /run/again /run/upper");
        let (was, is) = (tree(&upper), tree(&again));
        for (was, is) in was.iter().zip(&is) {
            assert_eq!(was, is);
        }
        assert_eq!(was.len(), is.len());
        assert!(was.len() > 20, "{}", was.len());
        assert_eq!(packed(&again).len(), tar.len());
    });
}

#[test]
fn what_a_layer_has_no_words_for_is_refused() {
    fake_host::run(|host| {
        let dir = host.dir("upper");
        host.sh(&format!(
            "{ATTRIBUTE} mkdir /run/upper/d; attribute /run/upper/d trusted.overlay.redirect /x"
        ));
        let error = packed_as(&dir, &PackOptions::layer(XattrNamespace::Trusted)).unwrap_err();
        assert!(
            error.to_string().contains("renamed it by redirection"),
            "{error}"
        );
        host.sh(&format!("{ATTRIBUTE} rmdir /run/upper/d; touch /run/upper/f; attribute /run/upper/f trusted.overlay.metacopy ''"));
        let error = packed_as(&dir, &PackOptions::layer(XattrNamespace::Trusted)).unwrap_err();
        assert!(error.to_string().contains("metacopy"), "{error}");
        // Deeper than any path that it could be unpacked by.
        host.sh("rm /run/upper/f; cd /run/upper; for i in $(seq 300); do mkdir d; cd d; done");
        let error = packed_as(&dir, &PackOptions::layer(XattrNamespace::Trusted)).unwrap_err();
        assert!(matches!(error, Error::Unpackable { .. }), "{error}");
        host.sh("rm -r /run/upper/d; truncate -s 65G /run/upper/huge");
        let error = packed_as(&dir, &PackOptions::layer(XattrNamespace::Trusted)).unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    });
}

#[test]
fn a_reader_that_is_gone_is_an_error() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let tree = File::open(dir.path()).unwrap();
    let error = pack(tree.as_fd(), Full, &PackOptions::files()).unwrap_err();
    assert!(matches!(error, Error::Output { .. }), "{error}");
}

#[test]
fn plain_files_have_the_owners_of_a_user_namespace_and_no_marks() {
    fake_host::run(|host| {
        let dir = host.dir("tree");
        host.sh(&format!("{ATTRIBUTE} cd /run/tree; echo x >.wh.x; mkdir d; attribute d trusted.overlay.opaque y; chown 100005:100006 .wh.x; mkdir proc; mount -t proc proc proc"));
        let range = [IdRange {
            inside: 0,
            outside: 100_000,
            count: 10,
        }];
        let options = PackOptions::files()
            .root_name("top")
            .id_maps(range.to_vec(), range.to_vec());
        fs::write("/run/tree.tar", packed_as(&dir, &options).unwrap().0).unwrap();
        let listed = host.sh(
            "tar --numeric-owner -tvf /run/tree.tar | awk '{print $2, $6}'; umount /run/tree/proc",
        );
        assert_eq!(
            listed,
            "65534/65534 top/\n5/6 top/.wh.x\n65534/65534 top/d/\n65534/65534 top/proc/\n"
        );
        // And back, into a tree in use.
        let into = host.dir("into");
        host.sh("mkdir -m 700 /run/into/top; chown 9:9 /run/into/top");
        let unpacking = UnpackOptions::default()
            .into_tree_in_use()
            .id_maps(range.to_vec(), range.to_vec());
        unpack(
            File::open("/run/tree.tar").unwrap(),
            File::open(&into).unwrap().as_fd(),
            &unpacking,
        )
        .unwrap();
        let owners = host.sh("cd /run/into; stat -c '%n %u:%g %a' top top/.wh.x");
        assert_eq!(owners, "top 9:9 700\ntop/.wh.x 100005:100006 644\n");
    });
}

#[test]
fn in_a_tree_in_use_no_directory_makes_way_for_a_file_nor_a_file_for_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("dir")).unwrap();
    fs::write(dir.path().join("file"), "kept").unwrap();
    symlink("dir", dir.path().join("link")).unwrap();
    let options = UnpackOptions::default()
        .ownership(Ownership::Caller)
        .into_tree_in_use();
    for (layer, there) in [
        (Layer::default().file("dir", "x"), "directory"),
        (Layer::default().symlink("dir", "x"), "directory"),
        (Layer::default().dir("file", 0o755), "non-directory"),
        (Layer::default().dir("link", 0o755), "non-directory"),
    ] {
        match layer.unpack_with(dir.path(), &options).unwrap_err() {
            Error::OtherKind { there: found, .. } => assert_eq!(found, there),
            other => panic!("{other}"),
        }
    }
    Layer::default()
        .file("file", "new")
        .unpack_with(dir.path(), &options)
        .unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("file")).unwrap(), "new");
}
