//! IP address management: who has which address.

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::lock::Lock;
use crate::state;
use crate::{Error, Result, Subnet, file};

/// What stands for the owner in the name of the file that tells the address given last.
const LAST: &str = ".last";
const LOCK: &str = ".lock";

/// Address leases in a directory, shared by any number of processes.
///
/// A lease is an empty file named `ADDRESS=OWNER`. So taking or giving back an address is one atomic system call, no
/// crash can leave half a lease, and one reading of the directory tells all of them.
#[derive(Clone, Debug)]
pub struct Ipam {
    dir: PathBuf,
}

/// What the directory says.
#[derive(Debug, Default)]
struct Content {
    /// In the order of the addresses.
    leases: Vec<(String, IpAddr)>,
    last: Option<IpAddr>,
}

impl Ipam {
    /// Leases in `dir`, which is created if need be.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if the directory cannot be created.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref();
        let why = "so that there is a place for the addresses that are taken, one file each";
        file::make_directory(dir, why).map_err(|error| Error::file("create", dir, error))?;
        Ok(Self {
            dir: dir.to_owned(),
        })
    }

    /// Gives `owner` an address of `subnet`: the one that it has, or the next free one behind the one given last.
    ///
    /// Going round like this, an address that was given back rests as long as possible, so that the neighbours' ARP
    /// caches and open connections do not meet a stranger. Never given are the network's own address, the broadcast
    /// address, the [gateway](Subnet::gateway), and `reserved`. What `owner` had in another subnet it loses.
    ///
    /// # Errors
    ///
    /// [`Error::SubnetFull`], [`Error::InvalidName`] if `owner` cannot be part of a file name, [`Error::File`].
    pub fn lease(&self, owner: &str, subnet: &Subnet, reserved: &[IpAddr]) -> Result<IpAddr> {
        check_name("owner", owner)?;
        let _lock = self.lock()?;
        let Content { leases, last } = self.read()?;
        for (_, address) in leases.iter().filter(|(name, _)| name == owner) {
            if subnet.contains(*address) {
                return Ok(*address);
            }
            let why = "so that an address of the network's old subnet is free again";
            state::remove(&self.file(owner, *address), why)?;
        }
        let mut taken: HashSet<IpAddr> = leases.iter().map(|(_, address)| *address).collect();
        taken.extend(reserved);
        taken.insert(subnet.gateway());
        let address = subnet
            .hosts_after(last)
            .find(|address| !taken.contains(address))
            .ok_or(Error::SubnetFull { subnet: *subnet })?;
        let file = self.file(owner, address);
        let why = "so that the address is taken: the file's name says by whom";
        file::create_new(&file, why).map_err(|error| Error::file("create", file, error))?;
        self.set_last(last, address)?;
        Ok(address)
    }

    /// Takes back every address of `owner`. That it has none is fine.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidName`], [`Error::File`].
    pub fn release(&self, owner: &str) -> Result<()> {
        check_name("owner", owner)?;
        let _lock = self.lock()?;
        for (name, address) in self.leases()? {
            if name == owner {
                let why = "so that another container can get the address";
                state::remove(&self.file(owner, address), why)?;
            }
        }
        Ok(())
    }

    /// All owners with their addresses, in the order of the addresses.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if the directory cannot be read.
    pub fn leases(&self) -> Result<Vec<(String, IpAddr)>> {
        Ok(self.read()?.leases)
    }

    /// When an address was given or taken back last: that changes the directory.
    pub(crate) fn last_use(&self) -> Option<SystemTime> {
        let why = "so that one knows for how long nobody has needed an address";
        file::modified(&self.dir, why)
    }

    fn read(&self) -> Result<Content> {
        let failed = |error: io::Error| Error::file("read", &self.dir, error);
        let mut content = Content::default();
        let why = "so that it is known which addresses are taken, and which was given last";
        for name in file::names(&self.dir, why).map_err(failed)? {
            let lease = name.to_str().and_then(|name| name.split_once('='));
            match lease.and_then(|(address, owner)| Some((address.parse().ok()?, owner))) {
                Some((address, LAST)) => content.last = Some(address),
                Some((address, owner)) => content.leases.push((owner.to_owned(), address)),
                None => {}
            }
        }
        content.leases.sort_by_key(|(_, address)| *address);
        Ok(content)
    }

    /// Notes that `address` was given last. A crash before this costs nothing but an early reuse.
    fn set_last(&self, previous: Option<IpAddr>, address: IpAddr) -> Result<()> {
        let file = self.file(LAST, address);
        let why =
            "so that the search begins behind this address next time, and a free one rests long";
        let noted = match previous {
            Some(previous) => file::rename(&self.file(LAST, previous), &file, why),
            None => file::create(&file, why).map(drop),
        };
        noted.map_err(|error| Error::file("write", file, error))
    }

    fn lock(&self) -> Result<Lock> {
        let why = "so that no address is given to two containers at once";
        Lock::acquire(&self.dir.join(LOCK), why)
    }

    fn file(&self, owner: &str, address: IpAddr) -> PathBuf {
        self.dir.join(format!("{address}={owner}"))
    }
}

/// Checks that `name` can be (part of) a file name, and stays one when others are appended.
pub(crate) fn check_name(kind: &'static str, name: &str) -> Result<()> {
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let first = name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    if first && name.len() <= 128 && name.bytes().all(rest) {
        return Ok(());
    }
    let rule = "up to 128 letters, digits, '_', '.' and '-', the first of them a letter or digit";
    Err(Error::InvalidName {
        kind,
        name: name.to_owned(),
        rule,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::thread;
    use std::time::{Duration, Instant};

    fn ipam() -> (tempfile::TempDir, Ipam) {
        let dir = tempfile::tempdir().unwrap();
        let ipam = Ipam::open(dir.path().join("leases")).unwrap();
        (dir, ipam)
    }

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    #[test]
    fn an_owner_keeps_its_address_and_another_gets_the_next() {
        let (_dir, ipam) = ipam();
        let subnet = subnet("10.0.0.0/24");
        assert_eq!(
            ipam.lease("a", &subnet, &[]).unwrap().to_string(),
            "10.0.0.2"
        );
        assert_eq!(
            ipam.lease("b", &subnet, &[]).unwrap().to_string(),
            "10.0.0.3"
        );
        assert_eq!(
            ipam.lease("a", &subnet, &[]).unwrap().to_string(),
            "10.0.0.2"
        );
    }

    #[test]
    fn an_address_given_back_is_given_again_only_after_a_whole_round() {
        let (_dir, ipam) = ipam();
        let subnet = subnet("10.0.0.0/29");
        let mut seen = Vec::new();
        for round in 0..6 {
            let owner = format!("c{round}");
            seen.push(
                ipam.lease(&owner, &subnet, &["10.0.0.4".parse().unwrap()])
                    .unwrap()
                    .to_string(),
            );
            ipam.release(&owner).unwrap();
        }
        assert_eq!(
            seen,
            [
                "10.0.0.2", "10.0.0.3", "10.0.0.5", "10.0.0.6", "10.0.0.2", "10.0.0.3"
            ]
        );
        assert!(ipam.leases().unwrap().is_empty());
    }

    #[test]
    fn a_full_subnet_is_an_error_that_names_it() {
        let (_dir, ipam) = ipam();
        let subnet = subnet("10.0.0.0/30");
        ipam.lease("a", &subnet, &[]).unwrap();
        let error = ipam.lease("b", &subnet, &[]).unwrap_err();
        assert!(
            matches!(error, Error::SubnetFull { .. }) && error.to_string().contains("10.0.0.0/30"),
            "{error}"
        );
        ipam.release("a").unwrap();
        ipam.release("a").unwrap();
        assert!(ipam.lease("b", &subnet, &[]).is_ok());
    }

    #[test]
    fn a_lost_note_of_the_last_address_does_no_harm() {
        let (_dir, ipam) = ipam();
        let subnet = subnet("10.0.0.0/24");
        ipam.lease("a", &subnet, &[]).unwrap();
        fs::remove_file(ipam.file(LAST, "10.0.0.2".parse().unwrap())).unwrap();
        assert_eq!(ipam.read().unwrap().last, None);
        assert_eq!(
            ipam.lease("b", &subnet, &[]).unwrap().to_string(),
            "10.0.0.3"
        );
    }

    #[test]
    fn an_owner_moves_when_the_subnet_has_changed() {
        let (_dir, ipam) = ipam();
        ipam.lease("a", &subnet("10.0.0.0/24"), &[]).unwrap();
        ipam.lease("a", &subnet("10.1.0.0/24"), &[]).unwrap();
        assert_eq!(
            ipam.leases().unwrap(),
            [("a".to_owned(), "10.1.0.2".parse().unwrap())]
        );
    }

    #[test]
    fn names_that_would_leave_the_directory_are_refused() {
        let (_dir, ipam) = ipam();
        for owner in ["", "../x", "a/b", ".last", "a\0", "a=b", "ä"] {
            let error = ipam.lease(owner, &subnet("10.0.0.0/24"), &[]).unwrap_err();
            assert!(
                matches!(error, Error::InvalidName { .. }),
                "{owner}: {error}"
            );
        }
    }

    #[test]
    fn five_hundred_owners_on_fifty_threads_never_share_an_address() {
        let (_dir, ipam) = ipam();
        let subnet = subnet("10.0.0.0/22");
        thread::scope(|scope| {
            for thread in 0..50 {
                let ipam = &ipam;
                scope.spawn(move || {
                    for owner in 0..10 {
                        ipam.lease(&format!("c{thread}-{owner}"), &subnet, &[])
                            .unwrap();
                    }
                });
            }
        });
        let distinct: HashSet<_> = ipam
            .leases()
            .unwrap()
            .into_iter()
            .map(|(_, address)| address)
            .collect();
        assert_eq!(distinct.len(), 500);
        // Generous, so that only a wrong order of growth can miss it.
        let start = Instant::now();
        ipam.lease("one-more", &subnet, &[]).unwrap();
        assert!(
            start.elapsed() < Duration::from_millis(100),
            "{:?}",
            start.elapsed()
        );
    }
}
