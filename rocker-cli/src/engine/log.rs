//! The log of a container: what its program writes, line by line, as JSON in Docker's format.

pub(super) mod lines;
pub(super) mod logs;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rocker_ns::Output;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::engine::options::LogOptions;
use crate::engine::{disk, time};

/// The file in a container's directory.
pub(crate) const LOG: &str = "log";

/// A line that is longer is cut into pieces of that size, as with Docker.
const LONGEST: usize = 16 << 10;

/// One line, as it stands in the file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Entry<'a> {
    /// The line with its end; without, if it goes on in the next entry.
    pub(crate) log: std::borrow::Cow<'a, str>,
    pub(crate) stream: std::borrow::Cow<'a, str>,
    #[serde(with = "time::as_text")]
    pub(crate) time: SystemTime,
}

/// Writes a log. What cannot be written is counted, and the log says so as soon as it can: a full disk does not hold up the
/// program.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    file: File,
    size: u64,
    options: LogOptions,
    /// The beginning of a line of each stream.
    begun: [Vec<u8>; 2],
    /// What is to be written next.
    batch: Vec<u8>,
    /// How many entries are missing, and why.
    missing: Option<(u64, io::Error)>,
}

impl Log {
    /// Opens the log in a container's directory, which may be that of an earlier run.
    pub(crate) fn open(data: &Path, options: LogOptions) -> Result<Self> {
        let path = data.join(LOG);
        let (file, size) = begin(&path).map_err(disk::failed("open the log", &path))?;
        Ok(Self {
            path,
            file,
            size,
            options,
            begun: [Vec::new(), Vec::new()],
            batch: Vec::new(),
            missing: None,
        })
    }

    /// Takes what the program has written.
    pub(crate) fn add(&mut self, output: Output, bytes: &[u8]) {
        let now = SystemTime::now();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let mut line = std::mem::take(&mut self.begun[index(output)]);
            line.extend_from_slice(piece);
            while line.len() > LONGEST {
                let end = whole_characters(&line[..LONGEST]);
                self.entry(output, &line[..end], now);
                line.drain(..end);
            }
            if line.ends_with(b"\n") {
                self.entry(output, &line, now);
                line.clear();
            }
            // Kept, so that the next line needs no new memory.
            self.begun[index(output)] = line;
        }
        self.write();
    }

    /// Writes the last line also where the program has not ended it.
    pub(crate) fn finish(&mut self) {
        let now = SystemTime::now();
        for output in [Output::Stdout, Output::Stderr] {
            let line = std::mem::take(&mut self.begun[index(output)]);
            if !line.is_empty() {
                self.entry(output, &line, now);
            }
        }
        self.write();
    }

    fn entry(&mut self, output: Output, line: &[u8], time: SystemTime) {
        let text = String::from_utf8_lossy(line);
        let stream = match output {
            Output::Stdout => "stdout",
            Output::Stderr => "stderr",
        };
        let before = self.batch.len();
        push(&mut self.batch, &text, stream, time);
        let full = |size: u64| self.options.max_size.is_some_and(|most| size > most);
        if full(self.size + self.batch.len() as u64) && self.size + before as u64 > 0 {
            let last = self.batch.split_off(before);
            self.write();
            self.turn();
            self.batch = last;
        }
    }

    /// Sets the file aside and begins a new one.
    fn turn(&mut self) {
        let most = self.options.max_files.unwrap_or(1);
        let turned = match most {
            // The new one in place of the old one, which is there until then.
            0 | 1 => {
                let new = self.path.with_extension("new");
                begin(&new).and_then(|begun| fs::rename(&new, &self.path).map(|()| begun))
            }
            most => lines::set_aside(&self.path, most).and_then(|()| begin(&self.path)),
        };
        match turned {
            Ok((file, size)) => (self.file, self.size) = (file, size),
            // The old one grows on, which is better than to lose what is written.
            Err(error) => tracing::warn!(%error, "the log could not be set aside"),
        }
    }

    fn write(&mut self) {
        if self.batch.is_empty() && self.missing.is_none() {
            return;
        }
        let mut batch = std::mem::take(&mut self.batch);
        if let Some((count, error)) = &self.missing {
            let mut notice = Vec::new();
            let text = format!("rocker: {count} lines are missing here: {error}\n");
            push(&mut notice, &text, "stderr", SystemTime::now());
            notice.extend_from_slice(&batch);
            batch = notice;
        }
        match self.file.write_all(&batch) {
            Ok(()) => {
                self.size += batch.len() as u64;
                self.missing = None;
            }
            Err(error) => {
                // No half entry stays.
                let _ = self.file.set_len(self.size);
                let own = u64::from(self.missing.is_some());
                let count = batch.iter().filter(|byte| **byte == b'\n').count() as u64 - own;
                let before = self.missing.take().map_or(0, |(count, _)| count);
                self.missing = Some((before + count, error));
            }
        }
        batch.clear();
        self.batch = batch;
    }
}

/// Opens the file to add to it. Half a line that somebody left who died is ended.
fn begin(path: &Path) -> io::Result<(File, u64)> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).read(true).mode(0o600);
    let why = "so that what the program writes is kept";
    let shown = "O_RDWR|O_CREAT|O_APPEND|O_CLOEXEC, 0600";
    let mut file = disk::open_for(crate::trace::STATE, path, &options, shown, why)?;
    let mut size = file.metadata()?.len();
    if size > 0 {
        let mut last = [0];
        file.seek(SeekFrom::Start(size - 1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
            size += 1;
        }
    }
    Ok((file, size))
}

fn push(batch: &mut Vec<u8>, text: &str, stream: &str, time: SystemTime) {
    let entry = Entry {
        log: text.into(),
        stream: stream.into(),
        time,
    };
    // Nothing of it can fail: a vector takes all that is written to it.
    let _ = serde_json::to_writer(&mut *batch, &entry);
    batch.push(b'\n');
}

fn index(output: Output) -> usize {
    match output {
        Output::Stdout => 0,
        Output::Stderr => 1,
    }
}

/// How much of a text there is up to a character that is cut off.
fn whole_characters(text: &[u8]) -> usize {
    let cut = (1..=3.min(text.len())).find(|back| {
        let byte = text[text.len() - back];
        byte >= 0xc0 && usize::from(byte.leading_ones() as u8) > *back
    });
    text.len() - cut.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(dir: &Path) -> Vec<(String, String)> {
        let mut lines = lines::Lines::open(&dir.join(LOG)).unwrap();
        let mut found = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            let entry: Entry<'_> = serde_json::from_slice(&line).unwrap();
            found.push((entry.stream.into_owned(), entry.log.into_owned()));
        }
        found
    }

    fn both(stream: &str, text: &str) -> (String, String) {
        (stream.to_owned(), text.to_owned())
    }

    #[test]
    fn lines_are_put_together_by_stream_and_the_last_one_is_kept_without_an_end() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(dir.path(), LogOptions::default()).unwrap();
        log.add(Output::Stdout, b"on");
        log.add(Output::Stderr, b"two\n");
        log.add(Output::Stdout, b"e\nthree");
        assert_eq!(entries(dir.path()).len(), 2);
        log.finish();
        let all = [
            both("stderr", "two\n"),
            both("stdout", "one\n"),
            both("stdout", "three"),
        ];
        assert_eq!(entries(dir.path()), all);
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(dir.path(), LogOptions::default()).unwrap();
        let line = "ä".repeat(20_000) + "\n";
        for part in line.as_bytes().chunks(4096) {
            log.add(Output::Stdout, part);
        }
        let entries = entries(dir.path());
        assert!(entries.len() == 3 && entries.iter().all(|one| one.1.len() <= LONGEST));
        let whole: String = entries.into_iter().map(|one| one.1).collect();
        assert_eq!(whole, line);
    }

    #[test]
    fn no_line_is_lost_between_two_files_and_there_are_no_more_than_wanted() {
        let dir = tempfile::tempdir().unwrap();
        let options = LogOptions {
            max_size: Some(1000),
            max_files: Some(3),
            ..LogOptions::default()
        };
        let mut log = Log::open(dir.path(), options).unwrap();
        let all: Vec<String> = (0..20).map(|number| format!("line {number}\n")).collect();
        for part in all.concat().as_bytes().chunks(7) {
            log.add(Output::Stdout, part);
        }
        let texts: Vec<String> = entries(dir.path()).into_iter().map(|one| one.1).collect();
        assert_eq!(texts, all);
        for number in 0..500 {
            log.add(Output::Stdout, format!("{number}\n").as_bytes());
        }
        let names = std::fs::read_dir(dir.path()).unwrap().flatten();
        let sizes: Vec<u64> = names.map(|one| one.metadata().unwrap().len()).collect();
        assert!(
            sizes.len() == 3 && sizes.iter().all(|size| *size <= 1000),
            "{sizes:?}"
        );
        let texts: Vec<String> = entries(dir.path()).into_iter().map(|one| one.1).collect();
        let last: Vec<String> = (500 - texts.len()..500)
            .map(|number| format!("{number}\n"))
            .collect();
        assert_eq!(texts, last);
    }

    #[test]
    fn what_somebody_left_who_died_in_the_middle_of_a_line_spoils_no_other_line() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(LOG), "{\"log\":\"ha").unwrap();
        let mut log = Log::open(dir.path(), LogOptions::default()).unwrap();
        log.add(Output::Stdout, b"whole\n");
        let text = std::fs::read_to_string(dir.path().join(LOG)).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.lines().last().unwrap().contains("whole"));
    }
}
