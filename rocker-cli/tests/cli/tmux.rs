//! The terminal of a person: tmux's.

use std::process::Command;
use std::time::Duration;

use crate::fake_host::Host;
use crate::support::Rocker;

const LIMIT: Duration = Duration::from_secs(20);

/// A terminal of 100 columns and 30 lines with a shell in it.
pub struct Tmux<'a> {
    host: &'a Host,
}

impl<'a> Tmux<'a> {
    pub fn start(host: &'a Host, rocker: &Rocker<'_>) -> Self {
        let started = Command::new("tmux")
            .args([
                "-S",
                "/run/tmux",
                "-f",
                "/dev/null",
                "new-session",
                "-d",
                "-x",
                "100",
                "-y",
                "30",
            ])
            .args(["env", "PS1=outside$ ", "sh"])
            .envs(rocker.variables())
            .env("LC_ALL", "C.UTF-8")
            .status()
            .expect("tmux is installed");
        assert!(started.success());
        let tmux = Self { host };
        tmux.shows("outside$");
        tmux
    }

    pub fn tmux(&self, args: &[&str]) -> String {
        let output = Command::new("tmux")
            .args(["-S", "/run/tmux"])
            .args(args)
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Clears the screen, so that nothing old is found on it, and types a line.
    pub fn types(&self, line: &str) {
        self.tmux(&["send-keys", "-l", line]);
        self.key("Enter");
    }

    pub fn key(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    /// Waits until there is a line that begins so.
    #[track_caller]
    pub fn shows(&self, line: &str) {
        let shown = || {
            self.screen()
                .lines()
                .any(|shown| shown.trim_end().starts_with(line))
        };
        let mut last = String::new();
        let start = std::time::Instant::now();
        while !shown() {
            last = self.screen();
            assert!(
                start.elapsed() < LIMIT,
                "no line {line:?} on the screen:\n{last}"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(last);
    }

    /// Waits until a process with this command line runs in the container, or no longer does.
    #[track_caller]
    pub fn process(&self, command: &str, runs: bool) {
        self.host
            .wait_until(&format!("{command} runs: {runs}"), LIMIT, || {
                self.host
                    .try_sh(&format!("pgrep -xf '{command}'"))
                    .status
                    .success()
                    == runs
            });
    }

    pub fn end(self) {
        self.tmux(&["kill-server"]);
        self.host.wait_until("tmux has ended", LIMIT, || {
            !self.host.try_sh("pgrep -x tmux").status.success()
        });
    }
}
