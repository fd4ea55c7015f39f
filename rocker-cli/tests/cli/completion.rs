//! What shells complete, and the manual pages.

use crate::fake_host;
use crate::support::Scene;

/// What bash makes of the words of a line, of which the last one is to be completed.
fn completed(scene: &Scene<'_>, words: &str) -> Vec<String> {
    let script = format!(
        r#"exec bash -euc '
            source <(rocker completion bash)
            COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMP_TYPE=9
            function=$(complete -p rocker | sed "s/.*-F \([^ ]*\).*/\1/")
            "$function" rocker "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD-1]}}"
            printf "%s\n" "${{COMPREPLY[@]}}"'"#
    );
    let done = scene.script(&script);
    assert_eq!(done.code, 0, "{done:?}");
    done.out
        .lines()
        .map(|line| line.trim().to_owned())
        .collect()
}

#[test]
fn bash_completes_commands_flags_and_the_names_of_containers_and_images() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        scene.ok("create --name webserver $I true");
        assert_eq!(completed(&scene, "rocker rena"), ["rename"]);
        assert_eq!(completed(&scene, "rocker run --restar"), ["--restart"]);
        assert_eq!(completed(&scene, "rocker start webs"), ["webserver"]);
        assert_eq!(completed(&scene, "rocker inspect webs"), ["webserver"]);
        let images = completed(&scene, "rocker rmi \"\"");
        assert!(
            images.contains(&format!("{}:latest", scene.image)),
            "{images:?}"
        );
        // To ask for names changes nothing, also where nothing is there yet.
        let nowhere = "export ROCKER_ROOT=/run/nowhere ROCKER_RUN=/run/nowhere;";
        let asked = scene.script(&format!(
            "{nowhere} COMPLETE=fish rocker -- rocker stop ''; test ! -e /run/nowhere"
        ));
        assert_eq!(asked.code, 0, "{asked:?}");
        scene.ok("rm webserver");
        scene.assert_all_gone("completions");
    });
}

#[test]
fn there_is_a_script_for_each_shell() {
    fake_host::run(|host| {
        let scene = Scene::without_image(host);
        for (shell, word) in [
            ("bash", "complete "),
            ("zsh", "#compdef"),
            ("fish", "complete "),
        ] {
            let script = scene.ok(&format!("completion {shell}"));
            assert!(
                script.contains(word) && script.contains("rocker"),
                "{script}"
            );
        }
        scene.fails(125, "completion tcsh");
    });
}

#[test]
fn each_command_has_a_manual_page() {
    fake_host::run(|host| {
        let scene = Scene::without_image(host);
        scene.ok("man /run/pages");
        let pages = host.sh("ls /run/pages");
        for command in ["rocker", "rocker-run", "rocker-logs", "rocker-system-boot"] {
            let page = format!("{command}.1");
            assert!(pages.lines().any(|line| line == page), "{pages}");
        }
        let run = host.sh("cat /run/pages/rocker-run.1");
        assert!(run.contains(r"\-\-restart") && run.contains(".TH"), "{run}");
    });
}
