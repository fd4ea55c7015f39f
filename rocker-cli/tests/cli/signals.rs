//! Signals to rocker are signals to the container.

use crate::fake_host;
use crate::support::Scene;

#[test]
fn signals_reach_the_program() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        for (signal, code) in [
            ("INT", 41),
            ("TERM", 42),
            ("HUP", 43),
            ("QUIT", 44),
            ("USR1", 45),
            ("USR2", 46),
        ] {
            let mut run = scene.start(&format!(
                "run --rm $I sh -c 'trap \"exit {code}\" {signal}; echo up; sleep 1000 & wait'"
            ));
            assert_eq!(run.line(), "up");
            run.signal(signal);
            let done = run.end();
            assert_eq!((done.code, done.err.as_str()), (code, ""), "{signal}");
            scene.assert_all_gone(signal);
        }
    });
}

#[test]
fn a_program_that_overhears_three_requests_to_end_is_killed() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        // The kernel keeps a first process from signals that it does not handle.
        let mut run = scene.start("run --rm $I sh -c 'echo up; exec sleep 1000'");
        assert_eq!(run.line(), "up");
        host.wait_until("it is killed", std::time::Duration::from_secs(20), || {
            run.signal("INT");
            !host.try_sh("pgrep -x sleep").status.success()
        });
        assert_eq!(run.end().code, 137);
        scene.assert_all_gone("three interrupts");
    });
}

#[test]
fn a_program_that_a_signal_ends_gives_128_and_its_number() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        let mut run = scene.start("run --name victim $I sh -c 'echo up; exec sleep 1000'");
        assert_eq!(run.line(), "up");
        // The kernel keeps a first process from signals that it does not handle; this one nothing is kept from.
        let pid = host.sh("pgrep -x sleep");
        host.sh(&format!("kill -9 {}", pid.trim()));
        let done = run.end();
        assert_eq!((done.code, done.err.as_str()), (137, ""));
        assert!(scene.ok("ps -a").contains("Exited (137) "));
        scene.ok("rm victim");
        scene.assert_all_gone("a killed program");
    });
}

#[test]
fn ctrl_c_without_a_terminal_of_its_own_reaches_the_program_once() {
    fake_host::run(|host| {
        let scene = Scene::new(host);
        // A Ctrl-C goes to the whole foreground process group, as here; the container is not part of it.
        let script = "setsid sh -c 'trap : INT; rocker run --rm $I sh -c \"trap \\\"echo got\\\" INT; echo up; sleep 1000 & wait; kill \\$!; exit 6\"; echo code $?'";
        let mut shell = scene.shell(script);
        let mut child = shell.stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut lines =
            std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
        assert_eq!(lines.next().unwrap().unwrap(), "up");
        let rocker = host.sh("pgrep -xo rocker");
        let group = host.sh(&format!("ps -o pgid= -p {}", rocker.trim()));
        host.sh(&format!("kill -s INT -- -{}", group.trim()));
        let rest: Vec<_> = lines.map(Result::unwrap).collect();
        assert_eq!(rest, ["got", "code 6"]);
        child.wait().unwrap();
        scene.assert_all_gone("Ctrl-C");
    });
}
