//! IP address management: who has which address.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::lock::Lock;
use crate::state;
use crate::{Error, LeaseOptions, Result, Subnet, file};

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
    /// What was given last, of each family.
    last: Vec<IpAddr>,
}

/// The leases, while nobody else gives or takes one.
pub(crate) struct Leasing<'a> {
    ipam: &'a Ipam,
    content: Content,
    _lock: Lock,
}

impl Leasing<'_> {
    /// Whether nobody has an address.
    pub(crate) fn is_none(&self) -> bool {
        self.content.leases.is_empty()
    }

    /// As [`Ipam::lease_each`].
    pub(crate) fn lease_each(self, owner: &str, wanted: &[LeaseOptions]) -> Result<Vec<IpAddr>> {
        self.ipam.lease_of(&self.content, owner, wanted)
    }
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
        let wanted = LeaseOptions::new(*subnet).reserve(reserved);
        Ok(self.lease_each(owner, &[wanted])?.remove(0))
    }

    /// Gives `owner` an address for each of `wanted`, in their order, such as one of IPv4 and one of IPv6: all at once, so that no
    /// other owner comes in between. What `owner` had beside them it loses.
    ///
    /// # Errors
    ///
    /// As [`Ipam::lease`], and with an address that is asked for [`Error::AddressTaken`] and [`Error::AddressOutside`]. What was
    /// given before the error is kept, until `owner` is [released](Ipam::release).
    pub fn lease_each(&self, owner: &str, wanted: &[LeaseOptions]) -> Result<Vec<IpAddr>> {
        self.begin()?.lease_each(owner, wanted)
    }

    /// Reads who has which address, and keeps it so meanwhile.
    pub(crate) fn begin(&self) -> Result<Leasing<'_>> {
        let lock = self.lock()?;
        Ok(Leasing {
            ipam: self,
            content: self.read()?,
            _lock: lock,
        })
    }

    fn lease_of(
        &self,
        Content { leases, last }: &Content,
        owner: &str,
        wanted: &[LeaseOptions],
    ) -> Result<Vec<IpAddr>> {
        check_name("owner", owner)?;
        wanted.iter().try_for_each(LeaseOptions::check)?;
        let own = leases.iter().filter(|(name, _)| name == owner);
        let own: Vec<IpAddr> = own.map(|(_, address)| *address).collect();
        let kept: Vec<Option<IpAddr>> = wanted
            .iter()
            .map(|wanted| own.iter().copied().find(|own| wanted.is_met_by(*own)))
            .collect();
        for address in own.iter().filter(|own| !kept.contains(&Some(**own))) {
            let why = "so that an address of the network's old subnet is free again";
            state::remove(&self.file(owner, *address), why)?;
        }
        let taken: HashMap<IpAddr, &str> = leases
            .iter()
            .filter(|(name, _)| name != owner)
            .map(|(name, address)| (*address, name.as_str()))
            .collect();
        let mut given = Vec::with_capacity(wanted.len());
        for (wanted, kept) in wanted.iter().zip(kept) {
            given.push(match kept {
                Some(address) => address,
                None => self.take(owner, wanted, &taken, last)?,
            });
        }
        Ok(given)
    }

    /// Takes an address that is free; under the lock.
    fn take(
        &self,
        owner: &str,
        wanted: &LeaseOptions,
        taken: &HashMap<IpAddr, &str>,
        last: &[IpAddr],
    ) -> Result<IpAddr> {
        let address = match wanted.address {
            Some(address) => match taken.get(&address) {
                Some(by) => {
                    let owner = (*by).to_owned();
                    return Err(Error::AddressTaken { address, owner });
                }
                None => address,
            },
            None => {
                let previous = last.iter().find(|last| wanted.subnet.contains(**last));
                let is_free = |address: &IpAddr| {
                    !taken.contains_key(address)
                        && *address != wanted.gateway
                        && !wanted.reserved.contains(address)
                };
                wanted
                    .subnet
                    .hosts_within(wanted.range, previous.copied())
                    .find(is_free)
                    .ok_or(Error::SubnetFull {
                        subnet: wanted.range.unwrap_or(wanted.subnet),
                    })?
            }
        };
        let file = self.file(owner, address);
        let why = "so that the address is taken: the file's name says by whom";
        file::create_new(&file, why).map_err(|error| Error::file("create", file, error))?;
        if wanted.address.is_none() {
            let of_family = |last: &&IpAddr| last.is_ipv4() == address.is_ipv4();
            self.set_last(last.iter().find(of_family).copied(), address)?;
        }
        Ok(address)
    }

    /// Takes back every address of `owner`. That it has none is fine.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidName`], [`Error::File`].
    pub fn release(&self, owner: &str) -> Result<()> {
        self.give_back(owner).map(drop)
    }

    /// The same; says whether anybody else has an address.
    pub(crate) fn give_back(&self, owner: &str) -> Result<bool> {
        check_name("owner", owner)?;
        let _lock = self.lock()?;
        let (own, others): (Vec<_>, Vec<_>) = self
            .leases()?
            .into_iter()
            .partition(|(name, _)| name == owner);
        for (_, address) in own {
            let why = "so that another container can get the address";
            state::remove(&self.file(owner, address), why)?;
        }
        Ok(!others.is_empty())
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
                Some((address, LAST)) => content.last.push(address),
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
    use std::collections::HashSet;
    use std::fs;
    use std::thread;
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

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
        assert!(ipam.read().unwrap().last.is_empty());
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

    #[test]
    fn an_address_that_is_asked_for_is_given_once_and_only_from_the_subnet() {
        let (_dir, ipam) = ipam();
        let wanted = |text: &str| {
            let address: IpAddr = text.parse().unwrap();
            [LeaseOptions::new(subnet("10.0.0.0/24")).address(Some(address))]
        };
        let given = ipam.lease_each("a", &wanted("10.0.0.77")).unwrap();
        assert_eq!(given[0].to_string(), "10.0.0.77");
        assert_eq!(ipam.lease_each("a", &wanted("10.0.0.77")).unwrap(), given);
        let error = ipam.lease_each("b", &wanted("10.0.0.77")).unwrap_err();
        assert!(
            error.to_string().contains("10.0.0.77 is taken by a"),
            "{error}"
        );
        for (text, part) in [
            ("10.0.0.1", "gateway"),
            ("10.0.0.0", "no address of a host in 10.0.0.0/24"),
            ("10.0.0.255", "no address of a host in 10.0.0.0/24"),
            ("10.0.1.2", "no address of a host in 10.0.0.0/24"),
            ("fd00::2", "no address of a host in 10.0.0.0/24"),
        ] {
            let error = ipam.lease_each("b", &wanted(text)).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        // Whoever wants another one lets go of the first, and where the search goes on is not moved by either.
        ipam.lease_each("a", &wanted("10.0.0.78")).unwrap();
        assert_eq!(ipam.leases().unwrap().len(), 1);
        let next = ipam.lease("c", &subnet("10.0.0.0/24"), &[]).unwrap();
        assert_eq!(next.to_string(), "10.0.0.2");
    }

    #[test]
    fn an_owner_has_an_address_of_each_family_out_of_the_range() {
        let (_dir, ipam) = ipam();
        let wanted = [
            LeaseOptions::new(subnet("10.0.0.0/24")).range(Some(subnet("10.0.0.128/30"))),
            LeaseOptions::new(subnet("fd00:1::/64")),
        ];
        let mut seen = Vec::new();
        for owner in ["a", "b", "c", "d"] {
            let given = ipam.lease_each(owner, &wanted).unwrap();
            seen.push(format!("{} {}", given[0], given[1]));
        }
        // A range is no subnet: its first and last addresses are as good as any.
        assert_eq!(
            seen,
            [
                "10.0.0.128 fd00:1::2",
                "10.0.0.129 fd00:1::3",
                "10.0.0.130 fd00:1::4",
                "10.0.0.131 fd00:1::5"
            ]
        );
        let error = ipam.lease_each("e", &wanted).unwrap_err().to_string();
        assert!(error.contains("10.0.0.128/30"), "{error}");
        ipam.release("b").unwrap();
        assert_eq!(ipam.leases().unwrap().len(), 6);
        assert_eq!(
            ipam.lease_each("e", &wanted).unwrap()[0].to_string(),
            "10.0.0.129"
        );
        // With the network's IPv6 gone, so is the address.
        ipam.lease_each("a", &wanted[..1]).unwrap();
        let of_a = ipam.leases().unwrap();
        assert_eq!(of_a.iter().filter(|(owner, _)| owner == "a").count(), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever owners do in whatever order, and wherever a crash has lost the note of the last address.
        #[test]
        fn no_two_owners_ever_share_an_address(
            steps in proptest::collection::vec((0u8..12, 0u8..5, 0u8..16), 1..60),
            range in proptest::option::of(0u8..4),
        ) {
            let (_dir, ipam) = ipam();
            let (four, six) = (subnet("10.0.0.0/28"), subnet("fd00::/124"));
            let range = range.map(|part| subnet(&format!("10.0.0.{}/30", part * 4)));
            let mut held: HashMap<String, Vec<IpAddr>> = HashMap::new();
            for (owner, what, host) in steps {
                let owner = format!("c{owner}");
                let any = [LeaseOptions::new(four).range(range), LeaseOptions::new(six)];
                let fixed = IpAddr::from([10, 0, 0, host]);
                let outcome = match what {
                    0 => ipam.release(&owner).map(|()| Vec::new()),
                    1 => {
                        let _ = fs::read_dir(&ipam.dir).unwrap().flatten().find(|entry| {
                            let is_note = entry.file_name().to_str().unwrap().ends_with("=.last");
                            is_note && fs::remove_file(entry.path()).is_ok()
                        });
                        continue;
                    }
                    2 => ipam.lease_each(&owner, &[LeaseOptions::new(four).address(Some(fixed))]),
                    _ => ipam.lease_each(&owner, &any),
                };
                let leases = ipam.leases().unwrap();
                let mine: Vec<IpAddr> =
                    leases.iter().filter(|(name, _)| *name == owner).map(|(_, one)| *one).collect();
                match outcome {
                    Ok(given) => prop_assert_eq!(given.iter().collect::<HashSet<_>>(), mine.iter().collect()),
                    Err(Error::SubnetFull { .. }) => {
                        let free = four.hosts_within(range, None).filter(|one| {
                            *one != four.gateway()
                                && !leases.iter().any(|(name, taken)| taken == one && *name != owner)
                        });
                        let free6 = six.hosts().filter(|one| {
                            *one != six.gateway() && !leases.iter().any(|(_, taken)| taken == one)
                        });
                        prop_assert!(free.count() == 0 || free6.count() == 0, "full, and there is a free one");
                    }
                    Err(Error::AddressTaken { address, .. }) => {
                        let others = leases.iter().any(|(name, taken)| *taken == address && *name != owner);
                        prop_assert!(others || address == four.gateway());
                    }
                    Err(Error::AddressOutside { address, .. }) => prop_assert!(!four.has_host(address)),
                    Err(error) => return Err(TestCaseError::fail(error.to_string())),
                }
                held.insert(owner, mine);
                let distinct: HashSet<_> = leases.iter().map(|(_, address)| *address).collect();
                prop_assert_eq!(distinct.len(), leases.len());
                // Nobody else's addresses have changed.
                prop_assert_eq!(held.values().map(Vec::len).sum::<usize>(), leases.len());
                for (owner, address) in &leases {
                    prop_assert!(held[owner].contains(address));
                    prop_assert!(*address != four.gateway() && *address != six.gateway());
                }
            }
        }
    }
}
