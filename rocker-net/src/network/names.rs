//! Who is called what on a network, and how the others learn of it.
//!
//! Names are lines of the owners' hosts files. So there is no process that could end and take all names with it, no packet of a
//! container is ever parsed, and nothing has to be sent to find a name. The README says what that costs.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Network;
use crate::ipam::check_name;
use crate::lock::Lock;
use crate::{Error, Ipam, Result, file, section, state};

/// Below the network's directory.
const TABLE: &str = "names.json";
const LOCK: &str = ".names.lock";

/// What an owner is called, and where it reads what others are called; see [`Network::set_names`](crate::Network::set_names).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HostNames {
    /// Its names, the most important one first: what an address is looked up to.
    pub names: Vec<String>,
    /// The file that is mounted as its `/etc/hosts`.
    pub hosts_file: PathBuf,
}

impl HostNames {
    /// These names for an owner that reads those of others in `hosts_file`.
    pub fn new<Name: Into<String>>(
        names: impl IntoIterator<Item = Name>,
        hosts_file: impl Into<PathBuf>,
    ) -> Self {
        Self {
            names: names.into_iter().map(Into::into).collect(),
            hosts_file: hosts_file.into(),
        }
    }

    /// Checks that each is one word, which begins no comment.
    fn check(&self) -> Result<()> {
        let is_word = |name: &str| {
            let bad =
                |byte: u8| byte.is_ascii_whitespace() || byte.is_ascii_control() || byte == b'#';
            !name.is_empty() && name.len() <= 253 && !name.bytes().any(bad)
        };
        match self.names.iter().find(|name| !is_word(name)) {
            None => Ok(()),
            Some(name) => Err(Error::InvalidName {
                kind: "host name",
                name: name.clone(),
                rule: "1 to 253 characters without blanks and '#'",
            }),
        }
    }
}

/// The names of a network, in its directory.
#[derive(Debug)]
struct Names<'a> {
    networks: &'a Path,
    dir: &'a Path,
    network: &'a str,
    ipam: &'a Ipam,
}

impl Network {
    /// Calls `owner`, who is attached, by these names on the network, in place of those that it had: each of the owners with names
    /// finds them in its hosts file, with the address, in a section of ours, and `owner` theirs. With its
    /// [detachment](Network::detach) they are gone.
    ///
    /// What others have written into such a file is kept; it is changed in place, since it is mounted somewhere.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidName`] for what is no name in a hosts file, [`Error::File`].
    pub fn set_names(&self, owner: &str, names: &HostNames) -> Result<()> {
        check_name("owner", owner)?;
        self.names().set(owner, names)
    }

    /// Lets nobody find `owner` by its names any more, who is still attached.
    ///
    /// # Errors
    ///
    /// [`Error::File`].
    pub fn remove_names(&self, owner: &str) -> Result<()> {
        match self.has_names() {
            true => self.names().remove(owner),
            false => Ok(()),
        }
    }

    fn names(&self) -> Names<'_> {
        Names {
            networks: &self.networks,
            dir: &self.dir,
            network: &self.options.name,
            ipam: &self.ipam,
        }
    }

    /// Whether anybody on the network was ever given names. Networks that nobody has made are spared the question.
    fn has_names(&self) -> bool {
        let why = "so that names are taken away only where there are any";
        self.created.is_some() && file::exists(&self.dir.join(TABLE), why)
    }
}

/// Everybody's names by owner.
type Table = BTreeMap<String, HostNames>;

impl Names<'_> {
    /// Calls `owner` by these names, in place of those that it had, and tells everybody.
    fn set(&self, owner: &str, names: &HostNames) -> Result<()> {
        names.check()?;
        let _lock = self.lock()?;
        let mut table = self.table();
        table.insert(owner.to_owned(), names.clone());
        let (table, lines) = self.current(table)?;
        // Before anybody reads of it: whoever is killed here is in the table, and so is taken out of all files again.
        self.write(&table)?;
        self.tell(&table, &lines, Some(owner))
    }

    /// Forgets the names of `owner`, and tells everybody. That it has none is fine.
    fn remove(&self, owner: &str) -> Result<()> {
        let _lock = self.lock()?;
        let mut table = self.table();
        let Some(gone) = table.remove(owner) else {
            return Ok(());
        };
        // It may go on without this network.
        let lock = section::lock(self.networks)?;
        if let Err(error) = section::tell(&gone.hosts_file, self.network, "") {
            untold(&gone.hosts_file, &error);
        }
        drop(lock);
        let (table, lines) = self.current(table)?;
        self.tell(&table, &lines, None)?;
        // When nobody reads of it any more, for the same reason.
        self.write(&table)
    }

    /// Everybody's names. A damaged file, as a power cut may leave it, is as good as none: nobody outlives that, and who comes says
    /// his names anew.
    fn table(&self) -> Table {
        let why = "so that it is known who is called what on the network";
        state::read(&self.dir.join(TABLE), why)
            .ok()
            .flatten()
            .unwrap_or_default()
    }

    /// Those of the table who have an address, and everybody's lines. Whoever died unseen may have been released without a word.
    fn current(&self, mut table: Table) -> Result<(Table, String)> {
        let mut addresses: HashMap<String, Vec<IpAddr>> = HashMap::new();
        for (owner, address) in self.ipam.leases()? {
            addresses.entry(owner).or_default().push(address);
        }
        table.retain(|owner, _| addresses.contains_key(owner));
        let lines = lines(&table, &addresses);
        Ok((table, lines))
    }

    fn write(&self, table: &Table) -> Result<()> {
        let why = "so that whoever comes next knows who is called what";
        state::write_quickly(&self.dir.join(TABLE), table, why)
    }

    /// Puts the lines into everybody's file. That a file cannot be written is an error only if it is that of `owner`: a container that
    /// fills the disk with its own, or keeps it by a lease, keeps no other from anything.
    fn tell(&self, table: &Table, lines: &str, owner: Option<&str>) -> Result<()> {
        let mut own = Ok(());
        let _lock = section::lock(self.networks)?;
        for (name, HostNames { hosts_file, .. }) in table {
            match section::tell(hosts_file, self.network, lines) {
                Err(error) if owner == Some(name) => {
                    own = Err(Error::file("write", hosts_file, error));
                }
                Err(error) => untold(hosts_file, &error),
                Ok(()) => {}
            }
        }
        own
    }

    fn lock(&self) -> Result<Lock> {
        let path = self.dir.join(LOCK);
        let why = "so that names change one at a time, and no file misses one";
        let missing = !file::is_dir(
            self.dir,
            "so that names of a network that is gone are not asked for",
        );
        match missing {
            true => Err(Error::NoNetwork {
                network: self.network.to_owned(),
            }),
            false => Lock::acquire(&path, why),
        }
    }
}

fn untold(hosts_file: &Path, error: &std::io::Error) {
    let path = hosts_file.display();
    tracing::warn!(%error, %path, "a container does not learn of a name");
}

/// A line for each address, in the order of the addresses.
fn lines(table: &Table, addresses: &HashMap<String, Vec<IpAddr>>) -> String {
    let mut all: Vec<(IpAddr, &HostNames)> = Vec::new();
    for (owner, names) in table {
        let of_owner = addresses.get(owner).into_iter().flatten();
        all.extend(of_owner.map(|address| (*address, names)));
    }
    all.sort_by_key(|(address, _)| *address);
    let mut text = String::new();
    for (address, names) in all {
        // A string takes all that is written to it.
        let _ = writeln!(text, "{address}\t{}", names.names.join("\t"));
    }
    text
}
