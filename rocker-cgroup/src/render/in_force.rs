//! Whether what a file reads is what was written to it.

use super::Write;
use crate::{Controller, list_format};

/// The largest page of any architecture: the kernel cuts a number of bytes to whole pages.
const LARGEST_PAGE: u64 = 64 << 10;

impl Write {
    /// Whether a file that reads `found` has this value in force: numbers of bytes are cut to pages, lists are put in
    /// order, what is said of one of several devices is a line among others, and "no limit" has several spellings.
    pub(crate) fn is_in_force(&self, found: &str) -> bool {
        let found = found.trim_end();
        if self.value == found {
            return true;
        }
        match self.controller {
            Controller::Cpuset => list_format::parse(&self.value) == list_format::parse(found),
            Controller::Memory if self.file == "memory.oom_control" => {
                let line = format!("oom_kill_disable {}", self.value);
                found.lines().any(|found| found == line)
            }
            Controller::Memory | Controller::Hugetlb => self.is_as_many_bytes(found),
            Controller::Io | Controller::Rdma => self.is_a_line_of(found),
            _ => false,
        }
    }

    fn is_as_many_bytes(&self, found: &str) -> bool {
        if self.value == "-1" {
            // As many whole pages as fit into a signed number.
            let number = found.parse();
            return number.is_ok_and(|bytes: u64| bytes >= i64::MAX as u64 - LARGEST_PAGE);
        }
        // Huge pages are counted whole, too.
        let page = match self.controller {
            Controller::Hugetlb => 1 << 30,
            _ => LARGEST_PAGE,
        };
        match (self.value.parse::<u64>(), found.parse::<u64>()) {
            (Ok(asked), Ok(found)) => found <= asked && asked - found < page,
            _ => false,
        }
    }

    /// Whether the file has a line on the same device, or on all of them, with these values among others; no line is no limit.
    fn is_a_line_of(&self, found: &str) -> bool {
        let mut words = self.value.split(' ');
        let device = words.next().unwrap_or_default();
        // A weight for all: "100" and "default 100" are the same.
        if device.bytes().all(|byte| byte.is_ascii_digit()) || device == "default" {
            let weight = words.next().unwrap_or(device);
            let is_it = |line: &str| line.strip_prefix("default ").unwrap_or(line) == weight;
            return found.lines().any(is_it);
        }
        let line = found
            .lines()
            .find_map(|line| line.strip_prefix(device)?.strip_prefix(' '));
        let is_none = |word: &str| word == "0" || word.ends_with("=max");
        match line {
            Some(line) => {
                let found: Vec<&str> = line.split(' ').collect();
                words.all(|word| found.contains(&word))
            }
            None => words.all(is_none),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_reads_back_differently_is_still_in_force() {
        let write = |controller, value: &str| Write::new(controller, "", value, "");
        assert!(write(Controller::Memory, "5000").is_in_force("4096\n"));
        assert!(!write(Controller::Memory, "67108864").is_in_force("33554432\n"));
        assert!(!write(Controller::Memory, "4096").is_in_force("8192\n"));
        assert!(write(Controller::Memory, "-1").is_in_force("9223372036854771712\n"));
        assert!(!write(Controller::Memory, "max").is_in_force("4096\n"));
        assert!(write(Controller::Cpuset, "1,0").is_in_force("0-1\n"));
        assert!(!write(Controller::Cpuset, "0-1").is_in_force("0\n"));
        assert!(!write(Controller::Cpu, "4000 100000").is_in_force("max 100000\n"));
        assert!(write(Controller::Hugetlb, "3145728").is_in_force("2097152\n"));
    }

    #[test]
    fn a_line_among_others_is_in_force_and_so_is_none_for_no_limit() {
        let io = |value: &str| Write::new(Controller::Io, "io.max", value, "");
        let file =
            "8:0 rbps=1 wbps=max riops=max wiops=7\n254:0 rbps=5 wbps=max riops=max wiops=max\n";
        assert!(io("8:0 rbps=1 wiops=7").is_in_force(file));
        assert!(io("254:0 wbps=max").is_in_force(file));
        assert!(!io("8:0 rbps=2").is_in_force(file));
        assert!(!io("8:1 rbps=1").is_in_force(file));
        assert!(io("8:1 rbps=max").is_in_force(file));
        assert!(io("8:1 0").is_in_force(""));
        assert!(io("8:0 1024").is_in_force("8:0 1024\n8:16 9\n"));
        assert!(io("default 200").is_in_force("default 200\n8:0 50\n"));
        assert!(io("200").is_in_force("default 200\n"));
        assert!(io("200").is_in_force("200\n"));
        assert!(!io("200").is_in_force("default 100\n"));
        let oom = Write::new(Controller::Memory, "memory.oom_control", "1", "");
        assert!(oom.is_in_force("oom_kill_disable 1\nunder_oom 0\noom_kill 0\n"));
        assert!(!oom.is_in_force("oom_kill_disable 0\nunder_oom 1\noom_kill 0\n"));
    }
}
