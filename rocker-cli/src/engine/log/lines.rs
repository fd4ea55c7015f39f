//! Lines of a file that somebody else adds to, and sets aside when it is full: `log.2`, `log.1`, `log`.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A reader of such lines. It holds the files open that it knows of and has not read. Lost to it is only what is set aside so often between
/// two looks that it is gone.
#[derive(Debug)]
pub(crate) struct Lines {
    path: PathBuf,
    /// The oldest first; that which is read now in front.
    files: VecDeque<BufReader<File>>,
    /// The beginning of a line whose end is not written yet.
    line: Vec<u8>,
}

/// How much is looked at at once on the way back from the end.
const BLOCK: u64 = 64 << 10;

/// The `count`th file before the one at `path`.
pub(crate) fn aside(path: &Path, count: u32) -> PathBuf {
    match count {
        0 => path.to_owned(),
        count => path.with_extension(count.to_string()),
    }
}

/// Sets a file aside, with those before it, of which there are at most `most` with the one to come.
pub(crate) fn set_aside(path: &Path, most: u32) -> io::Result<()> {
    let gone = |result: io::Result<()>| match result {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    match most {
        0 | 1 => gone(fs::remove_file(path)),
        most => (0..most - 1)
            .rev()
            .try_for_each(|count| gone(fs::rename(aside(path, count), aside(path, count + 1)))),
    }
}

impl Lines {
    /// Reads from the beginning of the oldest file. There may be none yet.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let files = loop {
            let files = all(path)?;
            // One that was set aside between two opens was opened twice.
            let mut inodes: Vec<_> = files.iter().map(inode).collect::<io::Result<_>>()?;
            let count = inodes.len();
            inodes.sort_unstable();
            inodes.dedup();
            if inodes.len() == count {
                break files;
            }
        };
        Ok(Self {
            path: path.to_owned(),
            files: files.into_iter().rev().map(BufReader::new).collect(),
            line: Vec::new(),
        })
    }

    /// Leaves out all but the last `count` lines of what is there.
    pub(crate) fn skip_to_last(&mut self, count: u64) -> io::Result<()> {
        let mut wanted = count;
        let mut read = VecDeque::new();
        while let Some(mut file) = self.files.pop_back() {
            let (start, found) = start_of_last(file.get_mut(), wanted)?;
            file.seek(SeekFrom::Start(start))?;
            wanted -= found;
            read.push_front(file);
            if wanted == 0 {
                break;
            }
        }
        self.files = read;
        Ok(())
    }

    /// The next line that is there, without its end; none when there is no more for now.
    pub(crate) fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let Some(file) = self.files.front_mut() else {
                match oldest(&self.path)? {
                    Some(file) => self.files.push_back(BufReader::new(file)),
                    None => return Ok(None),
                }
                continue;
            };
            if read_line(file, &mut self.line)? {
                return Ok(Some(std::mem::take(&mut self.line)));
            }
            if self.files.len() == 1 {
                let Some(next) = self.after(inode(self.files[0].get_ref())?)? else {
                    return Ok(None);
                };
                // What was written between the last look and the moment when it was set aside.
                if read_line(&mut self.files[0], &mut self.line)? {
                    self.files.push_back(BufReader::new(next));
                    return Ok(Some(std::mem::take(&mut self.line)));
                }
                self.files.push_back(BufReader::new(next));
            }
            // Half a line at the end of a file that is set aside is all there will ever be of it.
            self.line.clear();
            self.files.pop_front();
        }
    }

    /// The file that was begun when the one with this inode was set aside; none if it was not.
    fn after(&self, own: u64) -> io::Result<Option<File>> {
        let files = all(&self.path)?;
        let mut newer = None;
        for file in files {
            if inode(&file)? == own {
                return Ok(newer);
            }
            newer = Some(file);
        }
        // It was set aside so often that it is gone.
        Ok(newer)
    }
}

/// All there are, the newest first.
fn all(path: &Path) -> io::Result<Vec<File>> {
    let mut files = Vec::new();
    let mut is_gap = false;
    for count in 0.. {
        match File::open(aside(path, count)) {
            Ok(file) => {
                files.push(file);
                is_gap = false;
            }
            // Between two renames one of them is missing for a moment.
            Err(error) if error.kind() == ErrorKind::NotFound && !is_gap => is_gap = true,
            Err(error) if error.kind() == ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        }
    }
    Ok(files)
}

fn oldest(path: &Path) -> io::Result<Option<File>> {
    Ok(all(path)?.pop())
}

fn inode(file: &File) -> io::Result<u64> {
    Ok(file.metadata()?.ino())
}

/// Adds to `line` up to the end of a line, which is left out; false if that is not there yet.
fn read_line(file: &mut BufReader<File>, line: &mut Vec<u8>) -> io::Result<bool> {
    file.read_until(b'\n', line)?;
    if line.last() != Some(&b'\n') {
        return Ok(false);
    }
    line.pop();
    Ok(true)
}

/// Where the last `count` lines of a file begin, and how many of them there are.
fn start_of_last(file: &mut File, count: u64) -> io::Result<(u64, u64)> {
    let mut at = file.metadata()?.len();
    if count == 0 {
        return Ok((at, 0));
    }
    // Each end of a line is the beginning of the next one; the last one's is the end of the file.
    let mut ends = 0;
    let mut block = Vec::new();
    while at > 0 {
        let size = BLOCK.min(at);
        at -= size;
        file.seek(SeekFrom::Start(at))?;
        block.clear();
        file.take(size).read_to_end(&mut block)?;
        for (index, byte) in block.iter().enumerate().rev() {
            if *byte != b'\n' {
                continue;
            }
            if ends == count {
                return Ok((at + index as u64 + 1, count));
            }
            ends += 1;
        }
    }
    Ok((0, ends))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn rest(lines: &mut Lines) -> Vec<String> {
        let next = || lines.next().unwrap();
        let text = |line| String::from_utf8(line).unwrap();
        std::iter::from_fn(next).map(text).collect()
    }

    fn add(path: &Path, text: &str) {
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(path)
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn lines_are_read_when_they_are_whole_and_no_line_is_lost_when_files_are_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut lines = Lines::open(&path).unwrap();
        assert!(rest(&mut lines).is_empty());
        add(&path, "one\ntw");
        assert_eq!(rest(&mut lines), ["one"]);
        add(&path, "o\n");
        assert_eq!(rest(&mut lines), ["two"]);
        add(&path, "three\n");
        set_aside(&path, 3).unwrap();
        assert_eq!(rest(&mut lines), ["three"]);
        add(&path, "four\n");
        set_aside(&path, 3).unwrap();
        add(&path, "five\n");
        assert_eq!(rest(&mut lines), ["four", "five"]);
        // Two at once, of which the reader has seen neither.
        set_aside(&path, 3).unwrap();
        add(&path, "six\n");
        set_aside(&path, 3).unwrap();
        add(&path, "seven\n");
        assert_eq!(rest(&mut lines), ["six", "seven"]);
        assert!(!aside(&path, 3).exists());
        assert_eq!(
            rest(&mut Lines::open(&path).unwrap()),
            ["five", "six", "seven"]
        );
    }

    #[test]
    fn a_file_of_which_no_other_is_kept_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        add(&path, "one\n");
        let mut lines = Lines::open(&path).unwrap();
        set_aside(&path, 1).unwrap();
        add(&path, "two\n");
        assert_eq!(rest(&mut lines), ["one", "two"]);
    }

    #[test]
    fn older_files_are_found_while_they_are_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        for (count, text) in [(0, "four\n"), (1, "three\n"), (2, "two\n"), (3, "one\n")] {
            add(&aside(&path, count), text);
        }
        let mut lines = Lines::open(&path).unwrap();
        lines.files.truncate(1);
        // As somebody leaves them who sets them aside and has got half-way.
        fs::rename(aside(&path, 3), aside(&path, 4)).unwrap();
        fs::rename(aside(&path, 2), aside(&path, 3)).unwrap();
        assert_eq!(rest(&mut lines), ["one", "two", "three", "four"]);
        assert_eq!(rest(&mut Lines::open(&path).unwrap()).len(), 4);
    }

    #[test]
    fn the_last_lines_are_found_from_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let all: Vec<String> = (0..30_000).map(|number| format!("line {number}")).collect();
        for part in all.chunks(10_000) {
            set_aside(&path, 9).unwrap();
            add(&path, &(part.join("\n") + "\n"));
        }
        for count in [0, 1, 2, 9_999, 10_000, 10_001, 29_999, 30_000, 40_000] {
            let mut lines = Lines::open(&path).unwrap();
            lines.skip_to_last(count as u64).unwrap();
            let found = rest(&mut lines);
            assert_eq!(found, all[all.len().saturating_sub(count)..], "{count}");
        }
        add(&path, "half a line");
        let mut lines = Lines::open(&path).unwrap();
        lines.skip_to_last(1).unwrap();
        assert_eq!(rest(&mut lines), ["line 29999"]);
    }
}
