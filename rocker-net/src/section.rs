//! A section of a text file that is mounted in a container: ours between two marks, and all else whoever's.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::lock::Lock;
use crate::{Error, Result, file};

/// A file that has grown beyond this many bytes is left alone: somebody fills it, and it is he who does without names.
const LARGEST: usize = 1 << 20;
/// Held by whoever changes such files: one that several networks write to would lose what one of two writes at a time.
const LOCK: &str = ".files.lock";

/// Lines of ours in a file of names such as [hosts(5)](https://man7.org/linux/man-pages/man5/hosts.5.html) or
/// [resolv.conf(5)](https://man7.org/linux/man-pages/man5/resolv.conf.5.html), between two marks that say so. What stands outside of them is
/// whoever's, and is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    begin: String,
    end: String,
}

impl Section {
    /// The one with this title, which is one line.
    #[must_use]
    pub fn new(title: &str) -> Self {
        Self {
            begin: format!("# {title}, kept up to date by rocker:"),
            end: format!("# end of {title}"),
        }
    }

    /// The section of a network, with the names of those who are on it.
    pub(crate) fn of_network(name: &str) -> Self {
        Self::new(&format!("network {name}"))
    }

    /// Its text with these lines, each of which ends as lines do; both marks also without any.
    #[must_use]
    pub fn text(&self, lines: &str) -> String {
        format!("{}\n{lines}{}\n", self.begin, self.end)
    }

    /// Has the section of the file at `path` hold `lines`. A file without the section gets it as its last part; without lines the
    /// section goes. `state_dir` is the one of the [networks](crate::Network), beside whose names it is written.
    ///
    /// The file stays the one that is mounted somewhere, and is changed in place. Whoever reads meanwhile finds the old or the new lines,
    /// never an empty file: it is written over by one call, with a line of spaces for what is left of a longer text, and then cut off. What
    /// somebody else writes in the same moment may be lost. Without a file nothing is done, nor with one that is no text or larger than a MiB:
    /// whoever is in the container can make it so, and does without news then.
    ///
    /// # Errors
    ///
    /// [`Error::File`], also for a file that somebody keeps by a lease (`F_SETLEASE`,
    /// [fcntl(2)](https://man7.org/linux/man-pages/man2/fcntl.2.html)): he is not waited for.
    pub fn put(
        &self,
        state_dir: impl AsRef<Path>,
        path: impl AsRef<Path>,
        lines: &str,
    ) -> Result<()> {
        let why = "so that programs of the container find what its names and addresses are now";
        self.write(state_dir.as_ref(), path.as_ref(), why, |text| {
            Some(self.put_into(text, lines))
        })
    }

    /// The same for a file whose other lines would mean something else beside ours, as those of a resolv.conf do: one in which somebody
    /// has removed a mark, or all, is his, and stays as it is. Without lines the marks stay, to be found the next time.
    ///
    /// # Errors
    ///
    /// As [`Section::put`].
    pub fn renew(
        &self,
        state_dir: impl AsRef<Path>,
        path: impl AsRef<Path>,
        lines: &str,
    ) -> Result<()> {
        let why = "so that programs of the container ask whom they can reach now";
        self.write(state_dir.as_ref(), path.as_ref(), why, |text| {
            self.renewed_in(text, lines)
        })
    }

    fn write(
        &self,
        state_dir: &Path,
        path: &Path,
        why: &'static str,
        change: impl Fn(&str) -> Option<String>,
    ) -> Result<()> {
        let _lock = lock(&state_dir.join(crate::network::NETWORKS))?;
        rewrite(path, why, change).map_err(|error| Error::file("write", path, error))
    }

    /// `text` with the section holding `lines`; without the section where there are no lines.
    ///
    /// A section stays where it is, and a new one comes last. Of one whose end somebody has removed only the mark goes: which of the
    /// lines behind it are ours is not known then.
    fn put_into(&self, text: &str, lines: &str) -> String {
        let section = match lines.is_empty() {
            true => String::new(),
            false => self.text(lines),
        };
        let mut result = String::with_capacity(text.len() + section.len());
        let mut placed = false;
        // Whoever writes the file in the container can have it full of beginnings: nothing is looked for where there is no end any more.
        let mut ends = text
            .split_inclusive('\n')
            .filter(|line| self.is_end(line))
            .count();
        let mut rest = text.split_inclusive('\n');
        while let Some(line) = rest.next() {
            if self.is_end(line) {
                ends -= 1;
            }
            if line.trim_end() != self.begin {
                result.push_str(line);
                continue;
            }
            if !placed {
                result.push_str(&section);
                placed = true;
            }
            if ends > 0 && rest.any(|line| self.is_end(line)) {
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

    /// `text` with `lines` between its marks; none where it has not both, one behind the other.
    fn renewed_in(&self, text: &str, lines: &str) -> Option<String> {
        let mut parts = text.split_inclusive('\n');
        let before = parts
            .by_ref()
            .take_while(|line| line.trim_end() != self.begin)
            .map(str::len)
            .sum::<usize>();
        parts.find(|line| self.is_end(line))?;
        let after: String = parts.collect();
        Some([&text[..before], &self.text(lines), &after].concat())
    }

    fn is_end(&self, line: &str) -> bool {
        line.trim_end() == self.end
    }
}

/// Keeps others from changing files of names of these networks' containers.
pub(crate) fn lock(networks: &Path) -> Result<Lock> {
    let why =
        "so that of two who write to one file of names neither loses what the other one wrote";
    Lock::acquire(&networks.join(LOCK), why)
}

/// Has the section of the network called `name` in the file at `path` hold `lines`, as [`Section::put`] does. To be called under the
/// [lock].
pub(crate) fn tell(path: &Path, network: &str, lines: &str) -> io::Result<()> {
    let section = Section::of_network(network);
    let why = "so that the containers of the network find each other by their names";
    rewrite(path, why, |text| Some(section.put_into(text, lines)))
}

/// Changes a file in place; nothing where `change` gives nothing, or what is there. Whoever is killed in between leaves a line of spaces at the
/// end, which the next one takes away. Where there is no room for all of the new text, the old one is there again.
fn rewrite(
    path: &Path,
    why: &'static str,
    change: impl Fn(&str) -> Option<String>,
) -> io::Result<()> {
    let file = match file::open_to_change(path, why) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    let Some(old) = content(&file, path)? else {
        return Ok(());
    };
    let Some(mut new) = change(without_padding(&old)) else {
        return Ok(());
    };
    if new == old {
        return Ok(());
    }
    let length = new.len();
    if length < old.len() {
        new.extend(std::iter::repeat_n(' ', old.len() - length - 1));
        new.push('\n');
    }
    if let Err(error) = file::write_at_start(&file, path, new.as_bytes(), why) {
        // Half of a section has no end, and would never be found again. The room that the old text had is still there.
        let why =
            "so that the file is as it was, since there is no room for all that it was to say";
        let _ = file::write_at_start(&file, path, old.as_bytes(), why)
            .and_then(|()| file::truncate(&file, path, old.len() as u64, why));
        return Err(error);
    }
    if length < old.len() {
        let why = "so that nothing of the older, longer text stays";
        file::truncate(&file, path, length as u64, why)?;
    }
    Ok(())
}

/// `text` without the line of spaces that somebody has left who was killed before he cut the file off. Empty lines are whoever's.
fn without_padding(text: &str) -> &str {
    let Some(lines) = text.strip_suffix('\n') else {
        return text;
    };
    let kept = lines.trim_end_matches(' ');
    match kept.len() < lines.len() && (kept.is_empty() || kept.ends_with('\n')) {
        true => kept,
        false => text,
    }
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

    fn put(text: &str, network: &str, lines: &str) -> String {
        Section::of_network(network).put_into(text, lines)
    }

    fn begin(network: &str) -> String {
        Section::of_network(network).begin
    }

    fn end(network: &str) -> String {
        Section::of_network(network).end
    }

    #[test]
    fn a_section_comes_last_is_replaced_and_goes() {
        let own = "127.0.0.1\tlocalhost\n";
        let one = put(own, "a", LINES);
        assert_eq!(
            one,
            "127.0.0.1\tlocalhost\n# network a, kept up to date by rocker:\n10.0.0.2\tweb\n# end of network a\n"
        );
        let two = put(&one, "b", "10.1.0.2\tdb\n");
        assert!(two.starts_with(&one) && two.contains("10.1.0.2\tdb\n# end of network b\n"));
        let more = put(&two, "a", "10.0.0.2\tweb\n10.0.0.3\tcache\n");
        assert!(
            more.contains("10.0.0.3\tcache\n# end of network a\n# network b"),
            "{more}"
        );
        assert_eq!(put(&put(&more, "a", ""), "b", ""), own);
    }

    #[test]
    fn what_the_container_has_written_is_kept() {
        let text = put("127.0.0.1\tlocalhost\n", "a", LINES) + "192.0.2.1\tmine";
        let again = put(&text, "a", "10.0.0.9\tother\n");
        assert!(
            again.ends_with("# end of network a\n192.0.2.1\tmine"),
            "{again}"
        );
        assert!(!again.contains("web"));
        let added = put(&again, "b", LINES);
        assert!(added.contains("192.0.2.1\tmine\n# network b"), "{added}");
        // Who removes the mark at the end keeps all that followed.
        let broken = again.replace("# end of network a\n", "");
        let mended = put(&broken, "a", LINES);
        for part in ["10.0.0.2\tweb\n", "10.0.0.9\tother\n", "192.0.2.1\tmine"] {
            assert!(mended.contains(part), "{mended}");
        }
        assert_eq!(put(&mended, "a", LINES), mended);
    }

    #[test]
    fn lines_are_renewed_between_both_marks_and_nowhere_else() {
        let section = Section::new("resolvers");
        let renewed = |text: &str, lines: &str| section.renewed_in(text, lines);
        let empty = section.text("");
        assert_eq!(
            empty,
            "# resolvers, kept up to date by rocker:\n# end of resolvers\n"
        );
        let one = renewed(&empty, "nameserver 192.0.2.1\n").unwrap();
        assert_eq!(one, section.text("nameserver 192.0.2.1\n"));
        assert_eq!(renewed(&one, "").unwrap(), empty);
        // What somebody has written before and behind it is kept.
        let theirs = format!("nameserver 192.0.2.7\n{one}options ndots:2");
        let new = renewed(&theirs, "search lan\n").unwrap();
        let section_now = section.text("search lan\n");
        assert_eq!(
            new,
            format!("nameserver 192.0.2.7\n{section_now}options ndots:2")
        );
        // A file without marks is somebody's own, and so is one that has lost one, or has them the wrong way round.
        let (begin, end) = empty.split_once('\n').unwrap();
        let wrong = format!("{end}{begin}\n");
        for text in ["", "nameserver 192.0.2.7\n", begin, end, &wrong] {
            assert_eq!(renewed(text, "search lan\n"), None, "{text:?}");
        }
    }

    #[test]
    fn a_file_full_of_beginnings_is_read_once() {
        let marks = (begin("a") + "\n").repeat(LARGEST / begin("a").len());
        let text = format!("{}\n{}\n{marks}{}x\n", begin("a"), end("a"), end("b"));
        let started = std::time::Instant::now();
        let new = put(&text, "a", LINES);
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
        tell(&path, "a", LINES).unwrap();
        assert!(!path.exists());
        fs::write(&path, "127.0.0.1\tlocalhost\n").unwrap();
        let mut mounted = File::open(&path).unwrap();
        let mut seen = || {
            let mut text = String::new();
            mounted.rewind().unwrap();
            mounted.read_to_string(&mut text).unwrap();
            text
        };
        tell(&path, "a", LINES).unwrap();
        assert!(seen().contains(LINES));
        tell(&path, "a", "").unwrap();
        assert_eq!(seen(), "127.0.0.1\tlocalhost\n");
        // What somebody leaves who is killed before he cuts the file off goes; empty lines are whoever's, and so are spaces elsewhere.
        let whole = put("127.0.0.1\tlocalhost\n", "a", LINES);
        for (there, stays) in [
            ("     \n", ""),
            ("\n\n", "\n\n"),
            ("x  \n", "x  \n"),
            (" ", " "),
        ] {
            fs::write(&path, format!("{whole}{there}")).unwrap();
            tell(&path, "a", LINES).unwrap();
            assert_eq!(seen(), format!("{whole}{stays}"));
            tell(&path, "a", "10.0.0.2\tdb\n").unwrap();
            assert_eq!(seen(), format!("{}{stays}", whole.replace("web", "db")));
        }
        fs::write(&path, vec![b'x'; LARGEST + 1]).unwrap();
        tell(&path, "a", LINES).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), LARGEST as u64 + 1);
    }

    #[test]
    fn sections_that_are_written_at_the_same_time_are_all_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hosts");
        fs::create_dir(dir.path().join(crate::network::NETWORKS)).unwrap();
        fs::write(&path, "127.0.0.1\tlocalhost\n").unwrap();
        let names: Vec<_> = (0..6).map(|number| format!("net{number}")).collect();
        let (state_dir, file) = (dir.path(), &path);
        std::thread::scope(|scope| {
            for name in &names {
                scope.spawn(move || {
                    let section = Section::of_network(name);
                    for round in 0..100 {
                        let lines = format!("10.0.0.{round}\t{name}\n");
                        section.put(state_dir, file, "").unwrap();
                        section.put(state_dir, file, &lines).unwrap();
                        // Nobody who writes another section takes it back.
                        let _lock = lock(&state_dir.join(crate::network::NETWORKS)).unwrap();
                        let text = fs::read_to_string(file).unwrap();
                        assert!(text.contains(&lines), "{lines} {text}");
                    }
                });
            }
        });
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("127.0.0.1\tlocalhost\n"), "{text}");
        assert_eq!(text.lines().count(), 1 + 3 * names.len(), "{text}");
        for name in &names {
            assert!(text.contains(&format!("10.0.0.99\t{name}\n")), "{text}");
        }
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
            let new = put(&text, "a", "10.0.0.7\tx\n");
            prop_assert_eq!(put(&new, "a", "10.0.0.7\tx\n"), new.clone());
            prop_assert_eq!(new.matches("10.0.0.7\tx\n").count() - text.matches("10.0.0.7\tx\n").count(), 1);
            let outside = put(&text, "a", "");
            let kept: Vec<&str> = outside.lines().collect();
            let mut lines = new.lines();
            prop_assert!(kept.iter().all(|line| lines.any(|other| other == *line)), "{new:?} {outside:?}");
        }
    }
}
