//! Forwarding of packets, switched on by interface and off again.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::lock::Lock;
use crate::state;
use crate::{Error, Result, file};

/// Where the kernel shows the settings of the network namespace of the thread that opens them.
const SYSCTL_ROOT: &str = "/proc/sys";

/// Which interfaces rocker has switched to forwarding, and for which networks.
///
/// An interface that the host forwards on by itself is not listed, and never switched off.
#[derive(Clone, Debug)]
pub(crate) struct Forwarding {
    dir: PathBuf,
    sysctl_root: PathBuf,
    protocol: Protocol,
}

/// By which settings the kernel forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    /// Each interface has a switch of its own.
    V4,
    /// So it has since Linux 6.17 (`force_forwarding`). Before, there was one for the whole host alone, which makes it deaf to the router
    /// advertisements that its own default route may come from: that one is left to the host's administrator.
    V6,
}

/// The content of the file.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// The boot that it speaks of: the next one begins with the host's own settings again.
    boot: String,
    /// For each interface that was not forwarding, the networks that need it to.
    interfaces: BTreeMap<String, BTreeSet<String>>,
    /// Those of them that did not forward although the host was a router otherwise: somebody meant it.
    #[serde(default)]
    exempt: BTreeSet<String>,
}

impl Record {
    fn guarded(&self, network: &str, router: bool) -> BTreeSet<String> {
        let interfaces = self.interfaces.iter().filter(|(interface, networks)| {
            networks.contains(network) && is_ours(interface, router, &self.exempt)
        });
        interfaces.map(|(interface, _)| interface.clone()).collect()
    }
}

/// What [`Forwarding::claim`] has written down and [`Claim::switch_on`] will do; the lock is held in between.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    forwarding: &'a Forwarding,
    switch_on: Vec<String>,
    guarded: BTreeSet<String>,
    _lock: Lock,
}

impl Forwarding {
    /// Remembers changes in `dir`, which is shared by all networks.
    pub(crate) fn open(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            sysctl_root: SYSCTL_ROOT.into(),
            protocol: Protocol::V4,
        }
    }

    /// The same for IPv6.
    pub(crate) fn of_ipv6(&self) -> Self {
        Self {
            protocol: Protocol::V6,
            ..self.clone()
        }
    }

    /// Says so where the host does not forward IPv6, and its kernel has no switch by interface.
    pub(crate) fn warn_if_impossible(&self, bridge: &str) -> Result<()> {
        if self.get(bridge)?.is_none() && self.get("all")? == Some(false) {
            tracing::warn!(
                "containers reach no other host by IPv6: this kernel (before 6.17) forwards it for all interfaces or none; \
                 where that is wanted, sysctl net.ipv6.conf.all.forwarding=1, and net.ipv6.conf.INTERFACE.accept_ra=2 \
                 where the host's own route is advertised"
            );
        }
        Ok(())
    }

    /// Switches forwarding on for an interface that will be removed and needs no restoring, unless it is `known` to be on.
    pub(crate) fn enable_own(&self, interface: &str, known: Option<bool>) -> Result<()> {
        if self.or_ask(interface, known)? {
            return Ok(());
        }
        self.set(
            interface,
            true,
            "so that the kernel passes on what containers send",
        )
    }

    /// Writes down that `network` needs forwarding on `interfaces`, and finds where it has to be switched on for that. Whether one
    /// forwards may be known, if it was asked for under the [lock](Forwarding::lock).
    pub(crate) fn claim<'a>(
        &self,
        lock: Lock,
        network: &str,
        interfaces: impl IntoIterator<Item = (&'a String, Option<bool>)>,
    ) -> Result<Claim<'_>> {
        let mut record = self.read()?;
        let router = self.get("all")?.unwrap_or(false);
        let mut switch_on = Vec::new();
        let mut changed = false;
        for (interface, known) in interfaces {
            let forwards = self.or_ask(interface, known)?;
            if !forwards && router && !record.interfaces.contains_key(interface) {
                record.exempt.insert(interface.clone());
            }
            if !forwards || record.interfaces.contains_key(interface) {
                let networks = record.interfaces.entry(interface.clone()).or_default();
                changed |= networks.insert(network.to_owned());
            }
            if !forwards {
                switch_on.push(interface.clone());
            }
        }
        // First the record, then the change: after a crash in between too much is restored, never too little.
        if changed {
            let why = "so that a crash after this is known to have left forwarding on";
            state::write(&self.file(), &record, why)?;
        }
        Ok(Claim {
            forwarding: self,
            switch_on,
            guarded: record.guarded(network, router),
            _lock: lock,
        })
    }

    /// The interfaces that forward for `network` because rocker has switched it on; nothing is changed.
    pub(crate) fn guarded(&self, network: &str) -> Result<BTreeSet<String>> {
        let record = self.read()?;
        let router = self.get("all")?.unwrap_or(false);
        Ok(record.guarded(network, router))
    }

    /// Switches forwarding off wherever only `network` needed it. That it needed none is fine.
    ///
    /// Where somebody else has made a router of the whole host meanwhile, as Docker does when it starts, it stays on.
    pub(crate) fn release(&self, network: &str) -> Result<()> {
        let why = "so that nothing is undone where nothing was switched on";
        if !file::exists(&self.file(), why) {
            return Ok(());
        }
        let _lock = self.lock()?;
        let mut record = self.read()?;
        let router = self.get("all")?.unwrap_or(false);
        let mut errors = Vec::new();
        record.interfaces.retain(|interface, networks| {
            networks.remove(network);
            if !networks.is_empty() {
                return true;
            }
            if !is_ours(interface, router, &record.exempt) {
                return false;
            }
            let restored = self.set(
                interface,
                false,
                "so that the host forwards no more than it did before",
            );
            let failed = restored.is_err();
            errors.extend(restored.err());
            failed
        });
        record
            .exempt
            .retain(|interface| record.interfaces.contains_key(interface));
        let written = if record.interfaces.is_empty() {
            let why = "so that no note is left when no network needs forwarding any more";
            state::remove(&self.file(), why)
        } else {
            let why = "so that what other networks need stays on, and is known to be theirs";
            state::write(&self.file(), &record, why)
        };
        errors.extend(written.err());
        Error::gather("switch off forwarding for", network, errors)
    }

    /// Whether the interface forwards, as it is `known` or as its setting says; one that is gone has no need to be told.
    fn or_ask(&self, interface: &str, known: Option<bool>) -> Result<bool> {
        match known {
            Some(forwards) => Ok(forwards),
            None => Ok(self.get(interface)?.unwrap_or(true)),
        }
    }

    /// Whether the interface forwards; `None` if there is no such interface.
    fn get(&self, interface: &str) -> Result<Option<bool>> {
        let path = self.sysctl(interface);
        let why = "so that it is seen whether the interface passes on packets for others already";
        match file::read_text(&path, why) {
            Ok(text) => Ok(Some(text.trim() != "0")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::file("read", path, error)),
        }
    }

    /// That there is no such interface any more is fine.
    fn set(&self, interface: &str, on: bool, why: &'static str) -> Result<()> {
        let path = self.sysctl(interface);
        let value = if on { "1" } else { "0" };
        match file::set(&path, value, why) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::file("write", path, error))
            }
            _ => Ok(()),
        }
    }

    fn sysctl(&self, interface: &str) -> PathBuf {
        let (conf, setting) = match (self.protocol, interface) {
            (Protocol::V4, _) => ("net/ipv4/conf", "forwarding"),
            (Protocol::V6, "all") => ("net/ipv6/conf", "forwarding"),
            (Protocol::V6, _) => ("net/ipv6/conf", "force_forwarding"),
        };
        self.sysctl_root.join(conf).join(interface).join(setting)
    }

    fn read(&self) -> Result<Record> {
        let path = self.sysctl_root.join("kernel/random/boot_id");
        let why = "so that notes from before a reboot, which reset all settings, count for nothing";
        let boot = file::read_text(&path, why).map_err(|error| Error::file("read", path, error))?;
        let why =
            "so that it is known where forwarding was switched on by us, and for which networks";
        let record: Option<Record> = state::read(&self.file(), why)?;
        Ok(record
            .filter(|record| record.boot == boot)
            .unwrap_or(Record {
                boot,
                ..Record::default()
            }))
    }

    /// Keeps other networks from switching anything on or off meanwhile.
    pub(crate) fn lock(&self) -> Result<Lock> {
        let why = "so that no other network changes what forwards meanwhile";
        let name = match self.protocol {
            Protocol::V4 => ".forwarding.lock",
            Protocol::V6 => ".forwarding6.lock",
        };
        Lock::acquire(&self.dir.join(name), why)
    }

    fn file(&self) -> PathBuf {
        self.dir.join(match self.protocol {
            Protocol::V4 => ".forwarding.json",
            Protocol::V6 => ".forwarding6.json",
        })
    }
}

/// The settings of the kernel that [`Forwarding::guarded`] goes by, as text to be compared: the boot, and for each protocol whether the
/// host is a router; `-` for a protocol that the kernel does not have.
pub(crate) fn settings_of_rules() -> Result<String> {
    let mut all = Vec::new();
    for setting in [
        "kernel/random/boot_id",
        "net/ipv4/conf/all/forwarding",
        "net/ipv6/conf/all/forwarding",
    ] {
        let path = Path::new(SYSCTL_ROOT).join(setting);
        let why = "so that it is known whether rules are still those that are meant to be there";
        all.push(match file::read_text(&path, why) {
            Ok(text) => text.trim().to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => "-".to_owned(),
            Err(error) => return Err(Error::file("read", path, error)),
        });
    }
    Ok(all.join(" "))
}

/// Whether an interface of the record forwards because rocker switched it on, and not because the host has become a
/// router since.
fn is_ours(interface: &str, router: bool, exempt: &BTreeSet<String>) -> bool {
    !router || exempt.contains(interface)
}

impl Claim<'_> {
    /// The interfaces that forward for rocker alone: nobody else's packets are to profit.
    pub(crate) fn guarded(&self) -> &BTreeSet<String> {
        &self.guarded
    }

    /// Switches forwarding on.
    ///
    /// <https://docs.kernel.org/networking/ip-sysctl.html>, `conf/interface/forwarding`. By the sysctl file rather
    /// than by netlink, because only the former also switches large receive offload off, whose packets cannot be
    /// forwarded.
    pub(crate) fn switch_on(self) -> Result<()> {
        self.switch_on.iter().try_for_each(|interface| {
            self.forwarding.set(
                interface,
                true,
                "so that the kernel passes on the answers that come in here for containers",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    struct Fake {
        dir: tempfile::TempDir,
        forwarding: Forwarding,
    }

    impl Fake {
        fn new(interfaces: &[(&str, &str)]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let sysctl_root = dir.path().join("sys");
            for (interface, value) in interfaces {
                let conf = sysctl_root.join("net/ipv4/conf").join(interface);
                fs::create_dir_all(&conf).unwrap();
                fs::write(conf.join("forwarding"), value).unwrap();
            }
            fs::create_dir_all(sysctl_root.join("kernel/random")).unwrap();
            fs::write(sysctl_root.join("kernel/random/boot_id"), "one").unwrap();
            let forwarding = Forwarding {
                dir: dir.path().to_owned(),
                sysctl_root,
                protocol: Protocol::V4,
            };
            Self { dir, forwarding }
        }

        /// Returns what is to be guarded.
        fn enable(&self, network: &str, interfaces: &[&str]) -> Vec<String> {
            let interfaces: Vec<_> = interfaces.iter().map(|name| (*name).to_owned()).collect();
            let asked = interfaces.iter().map(|interface| (interface, None));
            let lock = self.forwarding.lock().unwrap();
            let claim = self.forwarding.claim(lock, network, asked).unwrap();
            let guarded = claim.guarded().iter().cloned().collect();
            claim.switch_on().unwrap();
            guarded
        }

        fn values(&self) -> Vec<String> {
            let conf = self.dir.path().join("sys/net/ipv4/conf");
            let mut values: Vec<_> = fs::read_dir(conf)
                .unwrap()
                .map(|entry| {
                    let path = entry.unwrap().path();
                    let value = fs::read_to_string(path.join("forwarding")).unwrap();
                    format!(
                        "{}={}",
                        path.file_name().unwrap().to_str().unwrap(),
                        value.trim()
                    )
                })
                .collect();
            values.sort();
            values
        }
    }

    #[test]
    fn what_the_host_had_is_restored_and_what_it_forwards_itself_is_left_alone() {
        let fake = Fake::new(&[("eth0", "0\n"), ("eth1", "1\n")]);
        assert_eq!(fake.enable("a", &["eth0", "eth1", "gone0"]), ["eth0"]);
        assert_eq!(fake.values(), ["eth0=1", "eth1=1"]);
        // Even with no route by it at the moment it forwards, and is to be guarded.
        assert_eq!(fake.enable("a", &[]), ["eth0"]);
        fake.forwarding.release("a").unwrap();
        assert_eq!(fake.values(), ["eth0=0", "eth1=1"]);
        assert!(!fake.forwarding.file().exists());
        fake.forwarding.release("a").unwrap();
    }

    #[test]
    fn an_interface_forwards_until_its_last_network_is_gone() {
        let fake = Fake::new(&[("eth0", "0")]);
        assert_eq!(fake.enable("a", &["eth0"]), ["eth0"]);
        assert_eq!(fake.enable("b", &["eth0"]), ["eth0"]);
        fake.forwarding.release("a").unwrap();
        assert_eq!(fake.values(), ["eth0=1"]);
        fake.forwarding.release("b").unwrap();
        assert_eq!(fake.values(), ["eth0=0"]);
    }

    #[test]
    fn what_was_changed_before_a_reboot_is_not_restored_after_it() {
        let fake = Fake::new(&[("eth0", "0")]);
        fake.enable("a", &["eth0"]);
        // The host boots, and its administrator now wants forwarding.
        fs::write(fake.dir.path().join("sys/kernel/random/boot_id"), "two").unwrap();
        fake.enable("a", &["eth0"]);
        fake.forwarding.release("a").unwrap();
        assert_eq!(fake.values(), ["eth0=1"]);
    }

    #[test]
    fn a_host_that_has_become_a_router_meanwhile_stays_one() {
        let fake = Fake::new(&[("all", "0"), ("eth0", "0")]);
        fake.enable("a", &["eth0"]);
        fs::write(fake.forwarding.sysctl("all"), "1").unwrap();
        assert!(fake.enable("a", &["eth0"]).is_empty());
        fake.forwarding.release("a").unwrap();
        assert_eq!(fake.values(), ["all=1", "eth0=1"]);
        assert!(!fake.forwarding.file().exists());
    }

    #[test]
    fn an_interface_that_a_router_exempts_is_guarded_and_restored() {
        let fake = Fake::new(&[("all", "1"), ("eth0", "0"), ("eth1", "1")]);
        assert_eq!(fake.enable("a", &["eth0", "eth1"]), ["eth0"]);
        assert_eq!(fake.enable("b", &["eth0", "eth1"]), ["eth0"]);
        fake.forwarding.release("a").unwrap();
        assert_eq!(fake.values(), ["all=1", "eth0=1", "eth1=1"]);
        fake.forwarding.release("b").unwrap();
        assert_eq!(fake.values(), ["all=1", "eth0=0", "eth1=1"]);
        assert!(!fake.forwarding.file().exists());
    }
}
