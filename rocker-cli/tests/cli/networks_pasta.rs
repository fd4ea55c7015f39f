//! Commands about networks where there are none: an ordinary user's containers have pasta.

use crate::fake_host;
use crate::rootless::grant_ids;
use crate::support::{LIMIT, Scene};

#[test]
fn behind_pasta_there_is_nothing_to_reload_and_a_flush_takes_nothing_away() {
    fake_host::run(|host| {
        grant_ids(host);
        let scene = Scene::of_alice(host);
        // It hears first, because of pastas of spring 2023.
        let server = "while :; do nc -l -p 80 -e sh -c \"read line; echo hi\"; done & echo up; cat";
        let mut web = scene.start(&format!(
            "run -i --rm --name web -p 8080:80 $I sh -c '{server}'"
        ));
        assert_eq!(web.line(), "up");
        let answers = || {
            host.wait_until("it answers", LIMIT, || {
                let seen = host.try_sh("echo hello | busybox nc -w 5 127.0.0.1 8080");
                String::from_utf8_lossy(&seen.stdout).contains("hi")
            });
        };
        answers();
        let files = || scene.ok("exec web cat /etc/hosts /etc/resolv.conf");
        let before = (files(), scene.ok("port web"));
        host.sh("nft flush ruleset");
        let done = scene.run("network reload");
        assert_eq!((done.code, done.err.as_str()), (0, ""), "{done:?}");
        assert!(
            done.out
                .starts_with("Nothing to put back: an ordinary user's containers have no rules"),
            "{done:?}"
        );
        assert_eq!(scene.ok("network rules"), "");
        assert_eq!((files(), scene.ok("port web")), before);
        answers();
        // Nor can it be moved: the error says what it has.
        let error = scene.fails(1, "network connect bridge web");
        assert!(error.contains("--network pasta"), "{error}");
        let error = scene.fails(1, "network create front");
        assert!(error.contains("no networks but pasta"), "{error}");
        assert_eq!(web.end().code, 0);
        scene.assert_all_gone("pasta");
    });
}
