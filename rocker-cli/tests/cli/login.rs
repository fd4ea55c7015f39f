//! Logging in to a registry that lets only one in, and out again.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::fake_host;
use crate::registry::Registry;
use crate::support::Rocker;
use crate::tmux::Tmux;

const FILE: &str = "/run/auth.json";
const LOGIN: &str = "REGISTRY_AUTH_FILE=/run/auth.json rocker login";
const LOGOUT: &str = "REGISTRY_AUTH_FILE=/run/auth.json rocker logout";

#[test]
fn who_has_logged_in_can_pull_until_he_logs_out() {
    fake_host::run(|host| {
        let registry = Registry::start_closed(host);
        let image = registry.push_busybox("busybox");
        let rocker = Rocker::new(host);
        let pull = format!("REGISTRY_AUTH_FILE={FILE} rocker pull -q {image}");
        let done = rocker.script(&pull);
        let line = done.failed(125);
        assert!(line.contains("no access to it"), "{line}");
        let (_, remedy) = done.advised(125);
        assert!(remedy.contains("rocker login 127.0.0.1:5000"), "{remedy}");

        let wrong = format!("printf wrong | {LOGIN} -u me --password-stdin 127.0.0.1:5000");
        let line = rocker.script(&wrong).failed(125);
        assert!(
            line.contains("127.0.0.1:5000 does not accept the credentials"),
            "{line}"
        );
        assert!(!fs::exists(FILE).unwrap());

        let right = format!("echo secret | {LOGIN} -u me --password-stdin 127.0.0.1:5000");
        let done = rocker.script(&right);
        assert_eq!(
            (done.code, done.out.as_str()),
            (0, "Login Succeeded\n"),
            "{done:?}"
        );
        assert_eq!(
            fs::metadata(FILE).unwrap().permissions().mode() & 0o7777,
            0o600
        );
        rocker.script(&pull).succeeded();
        // Others understand the file.
        host.sh(&format!(
            "skopeo inspect --authfile {FILE} --tls-verify=false docker://{image} >/dev/null"
        ));
        let again = rocker.script(&format!("{LOGIN} 127.0.0.1:5000 </dev/null"));
        assert!(
            again.code == 0 && again.err.contains("existing credentials"),
            "{again:?}"
        );

        let done = rocker.script(&format!(
            "{LOGOUT} 127.0.0.1:5000; {LOGOUT} 127.0.0.1:5000; {LOGOUT} --all"
        ));
        assert_eq!(
            done.out,
            "Removing login credentials for 127.0.0.1:5000\nNot logged in to 127.0.0.1:5000\n"
        );
        let line = rocker
            .script(&format!("{LOGIN} 127.0.0.1:5000 </dev/null"))
            .failed(125);
        assert!(line.contains("--password-stdin"), "{line}");
        rocker.script(&pull).failed(125);
    });
}

#[test]
fn a_password_is_asked_for_and_not_shown() {
    fake_host::run(|host| {
        let _registry = Registry::start_closed(host);
        let rocker = Rocker::new(host);
        let tmux = Tmux::start(host, &rocker);
        tmux.types(&format!("{LOGIN} 127.0.0.1:5000"));
        tmux.shows("Username:");
        tmux.types("me");
        tmux.shows("Password:");
        tmux.types("secret");
        tmux.shows("Login Succeeded");
        assert!(!tmux.screen().contains("secret"), "{}", tmux.screen());
        tmux.end();
    });
}

#[test]
fn whom_to_trust_is_for_the_user_to_say() {
    fake_host::run(|host| {
        let (registry, _) = Registry::start_tls(host, Registry::FAR_ADDRESS, false);
        let image = registry.push_busybox("busybox");
        let rocker = Rocker::new(host);
        let (cause, remedy) = rocker.run(&format!("pull -q {image}")).advised(125);
        assert!(cause.contains("authority"), "{cause}");
        assert!(remedy.contains("certs.d/192.0.2.1:5000/ca.crt"), "{remedy}");
        rocker.ok(&format!("pull -q --tls-verify=false {image}"));

        // What the user's file says is what counts.
        let conf = "/run/registries.conf";
        let with_conf = |text: &str, args: &str| {
            fs::write(conf, text).unwrap();
            rocker.script(&format!("CONTAINERS_REGISTRIES_CONF={conf} rocker {args}"))
        };
        let blocked = "[[registry]]\nprefix = \"192.0.2.1:5000\"\nblocked = true\n";
        let line = with_conf(blocked, &format!("pull -q {image}")).failed(125);
        assert!(line.contains("is blocked"), "{line}");
        let mirror = "[[registry]]\nlocation = \"example.invalid\"\n\
             [[registry.mirror]]\nlocation = \"192.0.2.1:5000\"\ninsecure = true\n";
        with_conf(mirror, "pull -q example.invalid/busybox").succeeded();
        assert!(rocker.ok("images").contains("example.invalid/busybox"));
    });
}
