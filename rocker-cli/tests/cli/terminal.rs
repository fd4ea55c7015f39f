//! `-it` in a real terminal, which is tmux's.

use std::time::Duration;

use crate::fake_host;
use crate::registry::busybox_root;
use crate::support::Scene;
use crate::tmux::Tmux;

/// What busybox's shell shows when it waits for a command at home, which is `/`.
const PROMPT: &str = "~ #";

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
fn bash_and_vi_find_the_terminal_that_they_expect() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let root = host.dir("bash");
        busybox_root(&root);
        let files = "/bin/bash $(ldd /bin/bash | grep -o '/[^ ]*')";
        host.sh(&format!("cp -L --parents {files} {}", root.display()));
        let bash = scene.registry.push_dir(&root, "bash", "{}");
        let tmux = Tmux::start(host, &scene);
        tmux.types(&format!(
            "rocker run --rm -it {bash} bash --norc; echo code $?"
        ));
        tmux.shows("bash-");
        assert!(
            !tmux.screen().contains("no job control"),
            "{}",
            tmux.screen()
        );
        tmux.types("sleep 1000");
        tmux.process("sleep 1000", true);
        tmux.key("C-z");
        tmux.shows("[1]+  Stopped");
        tmux.types("bg; jobs");
        tmux.shows("[1]+  Running");
        tmux.types("fg");
        // Only what is in the foreground gets the key.
        host.wait_until("it is in the foreground", Duration::from_secs(20), || {
            host.sh("ps -o stat= -p $(pgrep -xf 'sleep 1000')")
                .contains('+')
        });
        tmux.key("C-c");
        tmux.process("sleep 1000", false);
        tmux.types("vi /letter");
        tmux.shows("~");
        tmux.shows("- /letter");
        tmux.key("i");
        tmux.types("dear reader");
        tmux.key("Escape");
        // The key alone, and not the beginning of a longer one.
        tmux.shows("- /letter [Modified]");
        tmux.types(":wq");
        tmux.types("clear; cat /letter; exit 3");
        tmux.shows("dear reader");
        tmux.shows("code 3");
        tmux.end();
        scene.assert_all_gone("bash and vi");
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
        // The process that does the work is killed, by whomever: another one stands in for it.
        tmux.types(
            "rocker run --rm -it $I sleep 3000; echo code $?; stty -g >/run/last; echo again",
        );
        tmux.process("sleep 3000", true);
        host.sh("kill -KILL $(ps -o ppid= -p $(pgrep -xf 'sleep 3000'))");
        tmux.shows("again");
        tmux.shows("code 137");
        assert_eq!(host.sh("cat /run/before"), host.sh("cat /run/last"));
        tmux.process("sleep 3000", false);
        tmux.types("rocker ps -q; echo reconciled");
        tmux.shows("reconciled");
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
fn a_program_that_nobody_hears_any_more_ends() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        for flags in ["", "-t"] {
            let script = format!("rocker run --rm {flags} $I yes | head -n 1");
            let output = scene.shell(&script).output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert_eq!(said.trim_end(), "y", "run {flags}");
        }
        scene.assert_all_gone("programs that nobody heard");
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
