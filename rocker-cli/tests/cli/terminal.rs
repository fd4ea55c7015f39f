//! `-it` in a real terminal, which is tmux's.

use std::process::Command;
use std::time::Duration;

use crate::fake_host::{self, Host};
use crate::support::{Rocker, Scene};

const LIMIT: Duration = Duration::from_secs(20);
/// What busybox's shell shows when it waits for a command at home, which is `/`.
const PROMPT: &str = "~ #";

/// A terminal of 100 columns and 30 lines with a shell in it.
struct Tmux<'a> {
    host: &'a Host,
}

impl<'a> Tmux<'a> {
    fn start(host: &'a Host, rocker: &Rocker<'_>) -> Self {
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

    fn tmux(&self, args: &[&str]) -> String {
        let output = Command::new("tmux")
            .args(["-S", "/run/tmux"])
            .args(args)
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Clears the screen, so that nothing old is found on it, and types a line.
    fn types(&self, line: &str) {
        self.tmux(&["send-keys", "-l", line]);
        self.key("Enter");
    }

    fn key(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    /// Waits until there is a line that begins so.
    #[track_caller]
    fn shows(&self, line: &str) {
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
    fn process(&self, command: &str, runs: bool) {
        self.host
            .wait_until(&format!("{command} runs: {runs}"), LIMIT, || {
                self.host
                    .try_sh(&format!("pgrep -xf '{command}'"))
                    .status
                    .success()
                    == runs
            });
    }

    fn end(self) {
        self.tmux(&["kill-server"]);
        self.host.wait_until("tmux has ended", LIMIT, || {
            !self.host.try_sh("pgrep -x tmux").status.success()
        });
    }
}

#[test]
fn job_control_and_window_size_work_and_the_terminal_is_as_before_afterwards() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let tmux = Tmux::start(host, &scene);
        tmux.types(
            "stty -g >/run/before; rocker run --rm -it $I sh; echo code $?; stty -g >/run/after",
        );
        tmux.shows(PROMPT);
        tmux.types("tty; stty size");
        tmux.shows("/dev/pts/0");
        tmux.shows("30 100");
        tmux.tmux(&["resize-window", "-x", "90", "-y", "25"]);
        tmux.types(
            "until [ \"$(stty size)\" = '25 90' ]; do sleep 0.01; done; echo resized $(stty size)",
        );
        tmux.shows("resized 25 90");

        tmux.types("sleep 1000");
        tmux.process("sleep 1000", true);
        tmux.key("C-c");
        tmux.process("sleep 1000", false);
        tmux.types("echo interrupted $?");
        tmux.shows("interrupted 130");

        tmux.types("sleep 2000");
        tmux.process("sleep 2000", true);
        tmux.key("C-z");
        tmux.shows("^Z[1]+  Stopped");
        tmux.types("clear; echo stopped; fg");
        tmux.shows("sleep 2000");
        tmux.key("C-c");

        tmux.process("sleep 2000", false);
        tmux.types("exit 5");
        tmux.shows("code 5");
        tmux.types("echo finally");
        tmux.shows("finally");
        assert_eq!(host.sh("cat /run/before"), host.sh("cat /run/after"));
        tmux.end();
        scene.assert_all_gone("a terminal session");
    });
}

#[test]
fn the_terminal_is_as_before_when_rocker_fails_or_its_program_is_killed() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let tmux = Tmux::start(host, &scene);
        tmux.types("stty -g >/run/before; rocker run --rm -it $I nosuch; echo code $?; stty -g >/run/after");
        tmux.shows("code 127");
        tmux.types(
            "rocker run --rm -it $I sleep 3000; echo code $?; stty -g >/run/last; echo finally",
        );
        tmux.process("sleep 3000", true);
        host.sh("pkill -KILL -xf 'sleep 3000'");
        tmux.shows("code 137");
        tmux.shows("finally");
        assert_eq!(host.sh("cat /run/before"), host.sh("cat /run/after"));
        assert_eq!(host.sh("cat /run/before"), host.sh("cat /run/last"));
        tmux.end();
        scene.assert_all_gone("failed terminal sessions");
    });
}

#[test]
fn exec_has_a_terminal_as_well() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let idle = scene.start_idle("--rm --name web");
        let tmux = Tmux::start(host, &scene);
        tmux.types("rocker exec -it web sh; echo code $?");
        tmux.shows(PROMPT);
        tmux.types("echo $TERM; stty size");
        tmux.shows("xterm");
        tmux.shows("30 100");
        tmux.types("sleep 1000");
        tmux.process("sleep 1000", true);
        tmux.key("C-c");
        tmux.process("sleep 1000", false);
        tmux.key("C-d");
        tmux.shows("code 130");
        tmux.end();
        assert_eq!(idle.end().code, 0);
        scene.assert_all_gone("exec -it");
    });
}

#[test]
fn a_pull_on_a_terminal_draws_a_bar_for_each_layer() {
    fake_host::run(|host| {
        let scene = Scene::without_image(host);
        let tmux = Tmux::start(host, &scene);
        tmux.types("rocker pull $I; echo code $?");
        tmux.shows("code 0");
        let screen = tmux.screen();
        let bars: Vec<_> = screen
            .lines()
            .filter(|line| line.contains(": Pull complete [====="))
            .collect();
        assert_eq!(bars.len(), 2, "{screen}");
        tmux.end();
        scene.assert_all_gone("a pull");
    });
}

#[test]
fn a_terminal_is_refused_where_there_is_none() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let line = scene.fails(125, "run --rm -it $I sh");
        assert!(line.contains("TTY"), "{line}");
        scene.assert_all_gone("-it without a terminal");
    });
}

#[test]
fn an_explanation_fits_a_terminal_of_any_width_and_is_in_colour_unless_that_is_forbidden() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let tmux = Tmux::start(host, &scene);
        // All of a story, in a window whose lines it does not fill.
        tmux.tmux(&["set-option", "-g", "history-limit", "50000"]);
        let variables = scene
            .variables()
            .map(|(name, value)| format!("{name}={value}"));
        let mut window = vec!["new-window", "env", "PS1=outside$ "];
        window.extend(variables.iter().map(String::as_str));
        window.push("sh");
        tmux.tmux(&window);
        tmux.shows("outside$");
        let explain = |command: &str, over: &str| {
            tmux.tmux(&["clear-history"]);
            // The mark is put together by the shell, so that what is typed is not taken for it.
            tmux.types(&format!("clear; {command}; echo; echo over''{over}"));
            tmux.shows(&format!("over{over}"));
        };
        for (columns, widest) in [("120", 100), ("80", 80), ("60", 60)] {
            tmux.tmux(&["resize-window", "-x", columns, "-y", "30"]);
            explain(
                &format!("until [ \"$(stty size)\" = '30 {columns}' ]; do sleep 0.01; done"),
                columns,
            );
            for command in ["run --rm --explain $I nosuch", "plan $I true"] {
                explain(
                    &format!("rocker {command}"),
                    &format!("{columns}{}", command.len()),
                );
                // Lines that the terminal had to break are one again.
                let text = tmux.tmux(&["capture-pane", "-p", "-J", "-S", "-"]);
                assert!(text.contains("pivot_root("), "{text}");
                let too_long = |line: &&str| {
                    let is_error = line.starts_with("rocker: ") || line.starts_with("outside$");
                    !is_error && line.trim_end().chars().count() > widest
                };
                assert_eq!(text.lines().find(too_long), None, "{command} at {columns}");
                let coloured = tmux.tmux(&["capture-pane", "-p", "-e", "-S", "-"]);
                for colour in ["\x1b[1m\x1b[32m", "\x1b[2m"] {
                    assert!(coloured.contains(colour), "{command}: no {colour:?}");
                }
                assert_eq!(
                    coloured.contains("\x1b[31m"),
                    command.contains("nosuch"),
                    "red is for failures"
                );
            }
        }
        explain("NO_COLOR=1 rocker run --rm --explain $I true", "all");
        let text = tmux.tmux(&["capture-pane", "-p", "-e", "-S", "-"]);
        assert!(
            text.contains("pivot_root(") && !text.contains('\x1b'),
            "{text:?}"
        );
        tmux.end();
        scene.assert_all_gone("explanations on a terminal");
    });
}
