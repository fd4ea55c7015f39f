//! `rocker top`

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use clap::Args;

use super::{engine, print};
use crate::engine::time;
use crate::table::Table;
use crate::{Engine, Error, ProcessFacts, Result};

/// Show the processes of a container
#[derive(Debug, Args)]
#[command(after_help = "Example: rocker top web -o pid,user,rss,args")]
pub(crate) struct Top {
    /// The container: its name, or the beginning of its ID
    container: String,
    /// As of ps: -ef, aux, or -o with a list of columns
    #[arg(
        value_name = "PS OPTIONS",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    options: Vec<String>,
}

/// What the columns are called in a list, how they are headed, and what stands in them.
const COLUMNS: [(&[&str], &str, Show); 24] = [
    (&["pid"], "PID", |one, _| one.pid.to_string()),
    (&["ppid"], "PPID", |one, _| one.parent.to_string()),
    (&["pgid", "pgrp"], "PGID", |one, _| one.group.to_string()),
    (&["sid", "sess", "session"], "SID", |one, _| {
        one.session.to_string()
    }),
    (&["uid", "euid"], "UID", |one, _| one.uid.to_string()),
    (&["user", "euser", "uname"], "USER", |one, about| {
        about.user(one.uid)
    }),
    (&["uid-name"], "UID", |one, about| about.user(one.uid)),
    (&["comm", "ucmd", "ucomm"], "COMMAND", |one, _| {
        one.name.clone()
    }),
    (&["args", "command"], "COMMAND", |one, _| {
        one.command.clone()
    }),
    (&["cmd"], "CMD", |one, _| one.command.clone()),
    (&["%cpu", "pcpu"], "%CPU", |one, _| {
        format!("{:.1}", cpu(one))
    }),
    (&["c"], "C", |one, _| format!("{:.0}", cpu(one).floor())),
    (&["%mem", "pmem"], "%MEM", |one, about| {
        format!(
            "{:.1}",
            one.resident_bytes as f64 / about.memory as f64 * 100.0
        )
    }),
    (&["rss", "rssize", "rsz"], "RSS", |one, _| {
        (one.resident_bytes >> 10).to_string()
    }),
    (&["vsz", "vsize"], "VSZ", |one, _| {
        (one.virtual_bytes >> 10).to_string()
    }),
    (&["tty", "tt", "tname"], "TTY", |one, _| {
        terminal(one.terminal)
    }),
    (&["stat"], "STAT", stat),
    (&["s", "state"], "S", |one, _| one.state.to_string()),
    (&["stime"], "STIME", started),
    (&["start", "start_time"], "START", started),
    (&["time", "cputime"], "TIME", |one, _| clock(one.cpu)),
    (&["etime"], "ELAPSED", |one, _| elapsed(one.elapsed)),
    (&["ni", "nice"], "NI", |one, _| one.nice.to_string()),
    (&["nlwp", "thcount"], "NLWP", |one, _| {
        one.threads.to_string()
    }),
];

type Show = fn(&ProcessFacts, &About) -> String;

/// What is known of the machine beside its processes.
struct About {
    users: HashMap<u32, String>,
    memory: u64,
}

impl About {
    fn of_machine(engine: &Engine) -> Result<Self> {
        // Without accounts there are numbers.
        let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let account = |line: &str| {
            let fields: Vec<&str> = line.split(':').collect();
            Some((fields.get(2)?.parse().ok()?, (*fields.first()?).to_owned()))
        };
        Ok(Self {
            // The first of several names counts.
            users: accounts.lines().rev().filter_map(account).collect(),
            memory: engine.memory_of_machine()?.max(1),
        })
    }

    fn user(&self, uid: u32) -> String {
        self.users
            .get(&uid)
            .cloned()
            .unwrap_or_else(|| uid.to_string())
    }
}

impl Top {
    pub(crate) fn run(self) -> Result<u8> {
        let columns = columns(&self.options)?;
        let engine = engine()?;
        let processes = engine.processes(&self.container)?;
        let about = About::of_machine(&engine)?;
        let mut table = Table::new(columns.iter().map(|(head, _)| head.clone()));
        for one in &processes {
            table.row(columns.iter().map(|(_, show)| show(one, &about)));
        }
        print(&table.to_string());
        Ok(0)
    }
}

/// The columns that the options of ps ask for: those of `ps -ef` without any.
fn columns(options: &[String]) -> Result<Vec<(String, Show)>> {
    let mut lists: Vec<&str> = Vec::new();
    let mut rest = options.iter().map(String::as_str);
    while let Some(option) = rest.next() {
        let list = match option {
            "-ef" | "-f" | "-e" | "-A" | "f" => "uid-name,pid,ppid,c,stime,tty,time,cmd",
            "aux" | "-aux" | "u" => "user,pid,%cpu,%mem,vsz,rss,tty,stat,start,time,command",
            "-o" | "o" | "-eo" | "-ao" | "axo" | "--format" => match rest.next() {
                Some(list) => list,
                None => return Err(unknown(option)),
            },
            other => match other.strip_prefix("-o").or(other.strip_prefix("--format=")) {
                Some(list) if !list.is_empty() => list,
                _ => return Err(unknown(other)),
            },
        };
        lists.push(list);
    }
    if lists.is_empty() {
        lists.push("uid-name,pid,ppid,c,stime,tty,time,cmd");
    }
    let names = lists.iter().flat_map(|list| list.split([',', ' ']));
    let column = |name: &str| {
        let (name, head) = match name.split_once('=') {
            Some((name, head)) => (name, Some(head)),
            None => (name, None),
        };
        let known = COLUMNS.iter().find(|(names, _, _)| names.contains(&name));
        let (_, own, show) = known.ok_or_else(|| unknown(name))?;
        Ok((head.unwrap_or(own).to_owned(), *show))
    };
    names.filter(|name| !name.is_empty()).map(column).collect()
}

fn unknown(option: &str) -> Error {
    let all = COLUMNS.iter().map(|(names, _, _)| names[0]);
    let all: Vec<_> = all.filter(|name| *name != "uid-name").collect();
    let expected = format!("-ef, aux, or -o with some of: {}", all.join(" "));
    Error::bad_value("top", option, expected)
}

fn cpu(one: &ProcessFacts) -> f64 {
    let elapsed = one.elapsed.as_secs_f64();
    match elapsed > 0.0 {
        true => one.cpu.as_secs_f64() / elapsed * 100.0,
        false => 0.0,
    }
}

/// What a terminal is called, by the numbers of its device.
fn terminal(number: u32) -> String {
    let (major, minor) = (number >> 8 & 0xfff, number & 0xff | number >> 12 & 0xfff00);
    match (major, minor) {
        (0, 0) => "?".to_owned(),
        (4, 64..) => format!("ttyS{}", minor - 64),
        (4, _) => format!("tty{minor}"),
        (5, 1) => "console".to_owned(),
        (136..=143, _) => format!("pts/{}", minor + (major - 136) * 256),
        _ => format!("{major}:{minor}"),
    }
}

fn stat(one: &ProcessFacts, _: &About) -> String {
    let mut text = one.state.to_string();
    for (holds, letter) in [
        (one.nice < 0, '<'),
        (one.nice > 0, 'N'),
        (one.session == one.pid, 's'),
        (one.threads > 1, 'l'),
    ] {
        if holds {
            text.push(letter);
        }
    }
    text
}

/// The hour of today, or the day; in UTC, as all times of rocker's.
fn started(one: &ProcessFacts, _: &About) -> String {
    let Some(at) = one.started else {
        return "?".to_owned();
    };
    let text = time::text(at);
    match one.elapsed < Duration::from_secs(86_400) {
        true => text.get(11..16).unwrap_or("?").to_owned(),
        false => text.get(5..10).unwrap_or("?").to_owned(),
    }
}

fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!(
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

fn elapsed(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let rest = format!("{:02}:{:02}", seconds / 60 % 60, seconds % 60);
    match (days, hours) {
        (0, 0) => rest,
        (0, _) => format!("{hours:02}:{rest}"),
        _ => format!("{days}-{hours:02}:{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads(options: &str) -> Result<String> {
        let options: Vec<String> = options.split_whitespace().map(str::to_owned).collect();
        let heads = columns(&options)?.into_iter().map(|(head, _)| head);
        Ok(heads.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn columns_are_dockers_or_those_that_ps_would_show() {
        assert_eq!(heads("").unwrap(), "UID PID PPID C STIME TTY TIME CMD");
        assert_eq!(heads("-ef").unwrap(), heads("").unwrap());
        assert_eq!(
            heads("aux").unwrap(),
            "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"
        );
        assert_eq!(heads("-o pid,rss=KIB -o args").unwrap(), "PID KIB COMMAND");
        assert_eq!(heads("-opid,ppid").unwrap(), "PID PPID");
        for text in ["-o", "-o nonsense", "--forest", "-Z"] {
            let error = heads(text).unwrap_err().to_string();
            assert!(
                error.contains("-o with some of: pid ppid"),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn times_and_terminals_are_said_as_ps_says_them() {
        let seconds = Duration::from_secs;
        assert_eq!(
            [
                clock(seconds(3725)),
                elapsed(seconds(65)),
                elapsed(seconds(90_061))
            ],
            ["01:02:05", "01:05", "1-01:01:01"]
        );
        assert_eq!(
            [0, 34816, 34817, 1025, 1281].map(terminal),
            ["?", "pts/0", "pts/1", "tty1", "console"]
        );
    }
}
