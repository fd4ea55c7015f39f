//! An ordinary user of the machine, with subordinate ids, who has a rocker of her own.

use std::fs;

use crate::fake_host::Host;
use crate::support::{Done, Scene};

/// Uid 1000.
pub struct Alice<'a> {
    host: &'a Host,
    scene: &'a Scene<'a>,
}

impl<'a> Alice<'a> {
    /// Where she lives.
    pub const HOME: &'static str = "/run/alice";

    /// Makes her known, and gives her 65,536 further ids, as distributions do.
    pub fn new(host: &'a Host, scene: &'a Scene<'a>) -> Self {
        host.sh("mkdir -p /run/etc /run/alice/bin /run/alice/run; touch /etc/subuid /etc/subgid
            printf 'root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/run/alice:/bin/sh\n' >/run/etc/passwd
            printf 'alice:100000:65536\n' >/run/etc/subid
            mount --bind /run/etc/passwd /etc/passwd
            mount --bind /run/etc/subid /etc/subuid; mount --bind /run/etc/subid /etc/subgid");
        // The directories above the program's own file need not be open to everybody.
        fs::copy(env!("CARGO_BIN_EXE_rocker"), "/run/alice/bin/rocker").unwrap();
        host.sh("chown -R 1000:1000 /run/alice; chmod 700 /run/alice/run");
        let alice = Self { host, scene };
        alice.ok(&format!("rocker pull -q {}", scene.image));
        alice
    }

    /// What she has to type for a script to run as her.
    pub fn command(&self, script: &str) -> String {
        let script = script.replace('\'', r"'\''");
        format!(
            "cd {home} && exec setpriv --reuid=1000 --regid=1000 --clear-groups env -i PATH={home}/bin:$PATH HOME={home} \
             XDG_RUNTIME_DIR={home}/run I=$I sh -c '{script}'",
            home = Self::HOME
        )
    }

    /// Runs a script as her.
    pub fn script(&self, script: &str) -> Done {
        self.scene.script(&self.command(script))
    }

    /// Runs a script as her, which succeeds, and returns what it printed.
    #[track_caller]
    pub fn ok(&self, script: &str) -> String {
        let done = self.script(script);
        done.succeeded();
        done.out
    }
}

impl Drop for Alice<'_> {
    fn drop(&mut self) {
        let accounts = "umount /etc/passwd /etc/subuid /etc/subgid";
        self.host.try_sh(accounts);
    }
}
