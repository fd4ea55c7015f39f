//! A section of a [hosts(5)](https://man7.org/linux/man-pages/man5/hosts.5.html) file: ours between two marks, and all else whoever's.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::file;

/// A file that has grown beyond this many bytes is left alone: somebody fills it, and it is he who does without names.
const LARGEST: usize = 1 << 20;

/// `text` with the section called `name` holding `lines`; without a section of that name where there are no lines. What stands
/// outside of the section is kept as it is.
///
/// A section stays where it is, and a new one comes last. Of one whose end somebody has removed only the mark goes: which of the lines
/// behind it are ours is not known then.
pub(crate) fn with_section(text: &str, name: &str, lines: &str) -> String {
    let (begin, end) = (begin(name), end(name));
    let section = match lines.is_empty() {
        true => String::new(),
        false => format!("{begin}\n{lines}{end}\n"),
    };
    let mut result = String::with_capacity(text.len() + section.len());
    let mut placed = false;
    // Whoever writes the file in the container can have it full of beginnings: nothing is looked for where there is no end any more.
    let mut ends = text
        .split_inclusive('\n')
        .filter(|line| line.trim_end() == end)
        .count();
    let mut rest = text.split_inclusive('\n');
    while let Some(line) = rest.next() {
        if line.trim_end() == end {
            ends -= 1;
        }
        if line.trim_end() != begin {
            result.push_str(line);
            continue;
        }
        if !placed {
            result.push_str(&section);
            placed = true;
        }
        if ends > 0 && rest.any(|line| line.trim_end() == end) {
            ends -= 1;
        }
    }
    if !placed && !section.is_empty() {
        if !result.is_empty() && !result.ends_with('\n') {
            result.push('\n');
        }
        result.push_str(&section);
    }
    result
}

fn begin(name: &str) -> String {
    format!("# network {name}, kept up to date by rocker:")
}

fn end(name: &str) -> String {
    format!("# end of network {name}")
}

/// Rewrites the section of the file at `path`, in place, since it is mounted as `/etc/hosts` somewhere. Nothing is made: without a file
/// nothing is done.
///
/// Whoever reads meanwhile finds old or new lines, never an empty file: it is written over by one call, with empty lines for what is
/// left of a longer one, and then cut off. Whoever is killed in between leaves the empty lines, which the next one takes away. What
/// somebody in the container writes in the same moment may be lost.
pub(crate) fn rewrite(path: &Path, name: &str, lines: &str) -> io::Result<()> {
    let why = "so that the containers of the network find each other by their names";
    let file = match file::open_to_change(path, why) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    let Some(old) = content(&file, path)? else {
        return Ok(());
    };
    let mut new = with_section(&old, name, lines);
    while new.ends_with("\n\n") {
        new.pop();
    }
    if new == old {
        return Ok(());
    }
    let length = new.len();
    while new.len() < old.len() {
        new.push('\n');
    }
    file::write_at_start(&file, path, new.as_bytes(), why)?;
    if length < old.len() {
        let why = "so that nothing of the older, longer text stays";
        file::truncate(&file, path, length as u64, why)?;
    }
    Ok(())
}

/// What is in the file; none if it is too large, or no text.
fn content(file: &File, path: &Path) -> io::Result<Option<String>> {
    let why = "so that what others have written into the file is kept";
    let bytes = file::read_open(file, path, LARGEST + 1, why)?;
    if bytes.len() > LARGEST {
        tracing::warn!(path = %path.display(), "the file of names has become too large to be kept up to date");
        return Ok(None);
    }
    Ok(String::from_utf8(bytes).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;
    use std::io::{Read, Seek};

    const LINES: &str = "10.0.0.2\tweb\n";

    #[test]
    fn a_section_comes_last_is_replaced_and_goes() {
        let own = "127.0.0.1\tlocalhost\n";
        let one = with_section(own, "a", LINES);
        assert_eq!(
            one,
            "127.0.0.1\tlocalhost\n# network a, kept up to date by rocker:\n10.0.0.2\tweb\n# end of network a\n"
        );
        let two = with_section(&one, "b", "10.1.0.2\tdb\n");
        assert!(two.starts_with(&one) && two.contains("10.1.0.2\tdb\n# end of network b\n"));
        let more = with_section(&two, "a", "10.0.0.2\tweb\n10.0.0.3\tcache\n");
        assert!(
            more.contains("10.0.0.3\tcache\n# end of network a\n# network b"),
            "{more}"
        );
        assert_eq!(with_section(&with_section(&more, "a", ""), "b", ""), own);
    }

    #[test]
    fn what_the_container_has_written_is_kept() {
        let text = with_section("127.0.0.1\tlocalhost\n", "a", LINES) + "192.0.2.1\tmine";
        let again = with_section(&text, "a", "10.0.0.9\tother\n");
        assert!(
            again.ends_with("# end of network a\n192.0.2.1\tmine"),
            "{again}"
        );
        assert!(!again.contains("web"));
        let added = with_section(&again, "b", LINES);
        assert!(added.contains("192.0.2.1\tmine\n# network b"), "{added}");
        // Who removes the mark at the end keeps all that followed.
        let broken = again.replace("# end of network a\n", "");
        let mended = with_section(&broken, "a", LINES);
        for part in ["10.0.0.2\tweb\n", "10.0.0.9\tother\n", "192.0.2.1\tmine"] {
            assert!(mended.contains(part), "{mended}");
        }
        assert_eq!(with_section(&mended, "a", LINES), mended);
    }

    #[test]
    fn a_file_full_of_beginnings_is_read_once() {
        let marks = (begin("a") + "\n").repeat(LARGEST / begin("a").len());
        let text = format!("{}\n{}\n{marks}{}x\n", begin("a"), end("a"), end("b"));
        let started = std::time::Instant::now();
        let new = with_section(&text, "a", LINES);
        assert_eq!(
            new,
            format!("{}\n{LINES}{}\n{}x\n", begin("a"), end("a"), end("b"))
        );
        // Some milliseconds; to look for an end behind each of them takes more than a minute.
        let taken = started.elapsed();
        assert!(taken < std::time::Duration::from_secs(5), "{taken:?}");
    }

    #[test]
    fn a_file_is_changed_in_place_and_one_that_is_not_there_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hosts");
        rewrite(&path, "a", LINES).unwrap();
        assert!(!path.exists());
        fs::write(&path, "127.0.0.1\tlocalhost\n").unwrap();
        let mut mounted = File::open(&path).unwrap();
        let mut seen = || {
            let mut text = String::new();
            mounted.rewind().unwrap();
            mounted.read_to_string(&mut text).unwrap();
            text
        };
        rewrite(&path, "a", LINES).unwrap();
        assert!(seen().contains(LINES));
        rewrite(&path, "a", "").unwrap();
        assert_eq!(seen(), "127.0.0.1\tlocalhost\n");
        // What somebody leaves who is killed before he cuts the file off.
        fs::write(&path, "127.0.0.1\tlocalhost\n\n\n\n").unwrap();
        rewrite(&path, "a", "").unwrap();
        assert_eq!(seen(), "127.0.0.1\tlocalhost\n");
        fs::write(&path, vec![b'x'; LARGEST + 1]).unwrap();
        rewrite(&path, "a", LINES).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), LARGEST as u64 + 1);
    }

    proptest! {
        /// Whatever somebody has made of the file, nothing outside of our section changes, and a second time changes nothing.
        #[test]
        fn the_lines_of_others_survive(
            parts in proptest::collection::vec(prop_oneof![
                "[ -~]{0,12}\n?", Just(begin("a") + "\n"), Just(end("a") + "\n"), Just(LINES.to_owned())
            ], 0..12),
        ) {
            let text = parts.concat();
            let new = with_section(&text, "a", "10.0.0.7\tx\n");
            prop_assert_eq!(with_section(&new, "a", "10.0.0.7\tx\n"), new.clone());
            prop_assert_eq!(new.matches("10.0.0.7\tx\n").count() - text.matches("10.0.0.7\tx\n").count(), 1);
            let outside = with_section(&text, "a", "");
            let kept: Vec<&str> = outside.lines().collect();
            let mut lines = new.lines();
            prop_assert!(kept.iter().all(|line| lines.any(|other| other == *line)), "{new:?} {outside:?}");
        }
    }
}
