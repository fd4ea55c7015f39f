//! Networks that somebody makes by name, and removes again.

use std::path::Path;
use std::time::SystemTime;

use super::{Config, Made, NETWORKS, Network, NetworkOptions};
use crate::bridge::check_interface_name;
use crate::ipam::check_name;
use crate::lock::Lock;
use crate::netlink::{Connection, Protocol};
use crate::{Error, Result, file};

/// What a network's directory is called while it is removed: this and its name, which none can begin with.
const GONE: &str = ".gone-";

impl Network {
    /// Makes a network by its name: its subnets are chosen, and kept for good. On the host there is nothing of it until somebody is
    /// attached.
    ///
    /// # Errors
    ///
    /// [`Error::NetworkExists`], [`Error::InvalidName`], [`Error::InvalidNetwork`], [`Error::SubnetCollides`],
    /// [`Error::NoFreeSubnet`], [`Error::File`], [`Error::Netlink`].
    pub fn create(state_dir: impl AsRef<Path>, options: &NetworkOptions) -> Result<Self> {
        let state_dir = state_dir.as_ref();
        check_name("network name", &options.name)?;
        check_interface_name(&options.bridge)?;
        options.check()?;
        let networks = state_dir.join(NETWORKS);
        let why = "so that there is a place for networks";
        file::make_directory(&networks, why)
            .map_err(|error| Error::file("create", &networks, error))?;
        let _lock = subnets_lock(&networks)?;
        sweep(&networks);
        if Config::read(&networks.join(&options.name))?.is_some() {
            let network = options.name.clone();
            return Err(Error::NetworkExists { network });
        }
        let mut network = Self::open(state_dir, options)?;
        let mut host = Connection::open(Protocol::Route)?;
        let written = network.free_subnets(&mut host, None).and_then(|chosen| {
            Config::new(&chosen, Some(Made::now(options))).write(&network.dir)?;
            network.options.subnet = Some(chosen.v4.subnet);
            network.options.subnet6 = chosen.v6.map(|v6| v6.subnet);
            network.created = Some(SystemTime::now());
            Ok(())
        });
        if written.is_err() {
            let why = "so that nothing is left of a network that could not be made";
            let _ = file::remove_tree(&network.dir, why);
        }
        written.map(|()| network)
    }

    /// The network of this name that somebody has made; none if nobody has.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if what is remembered of it cannot be read.
    pub fn find(state_dir: impl AsRef<Path>, name: &str) -> Result<Option<Self>> {
        if check_name("network name", name).is_err() {
            return Ok(None);
        }
        let dir = state_dir.as_ref().join(NETWORKS).join(name);
        let Some(config) = Config::read(&dir)? else {
            return Ok(None);
        };
        let Some((options, created)) = config.options(name)? else {
            return Ok(None);
        };
        let mut network = Self::open(state_dir, &options)?;
        network.created = Some(created);
        Ok(Some(network))
    }

    /// The networks that somebody has made, in the order of their names.
    ///
    /// # Errors
    ///
    /// As [`Network::find`].
    pub fn list(state_dir: impl AsRef<Path>) -> Result<Vec<Self>> {
        let state_dir = state_dir.as_ref();
        let mut names = directories(&state_dir.join(NETWORKS))?;
        names.sort();
        let found = names.iter().map(|name| Self::find(state_dir, name));
        found.filter_map(Result::transpose).collect()
    }

    /// When it was made; none if it was only opened.
    #[must_use]
    pub fn created(&self) -> Option<SystemTime> {
        self.created
    }

    /// Removes a network that nobody is attached to, and all that is remembered of it.
    ///
    /// # Errors
    ///
    /// [`Error::NetworkInUse`], [`Error::Permission`] without root's privileges, [`Error::File`], [`Error::Netlink`];
    /// [`Error::Incomplete`] if several steps failed.
    pub fn remove(&self) -> Result<()> {
        // In the order in which `ensure` takes them: the other way round the two would wait for each other.
        let lock = self.lock()?;
        let _subnets = subnets_lock(&self.networks)?;
        let owners = self.owners()?;
        if !owners.is_empty() {
            let network = self.options.name.clone();
            return Err(Error::NetworkInUse { network, owners });
        }
        Error::gather("take down", &self.options.name, self.take_down())?;
        let aside = self.networks.join(format!("{GONE}{}", self.options.name));
        let at_once =
            "so that the network is gone at once for everybody else, and nobody finds half of it";
        file::rename(&self.dir, &aside, at_once)
            .map_err(|error| Error::file("rename", &self.dir, error))?;
        drop(lock);
        let why = "so that nothing of the network is left";
        file::remove_tree(&aside, why).map_err(|error| Error::file("remove", aside, error))
    }
}

/// The names of networks' directories.
pub(super) fn directories(networks: &Path) -> Result<Vec<String>> {
    let why = "so that the subnets of other networks are known, and are not taken twice";
    let names = match file::names(networks, why) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        names => names.map_err(|error| Error::file("read", networks, error))?,
    };
    let mut directories = Vec::new();
    for name in names.into_iter().filter_map(|name| name.into_string().ok()) {
        let why = "so that other files between the networks' directories are passed over";
        if !name.starts_with('.') && file::is_dir(&networks.join(&name), why) {
            directories.push(name);
        }
    }
    Ok(directories)
}

/// Removes what somebody left who died while he removed a network.
fn sweep(networks: &Path) {
    let why = "so that a removal is finished that another process began";
    for name in file::names(networks, why).unwrap_or_default() {
        if name.to_string_lossy().starts_with(GONE) {
            let _ = file::remove_tree(&networks.join(name), why);
        }
    }
}

fn subnets_lock(networks: &Path) -> Result<Lock> {
    let why = "so that two networks that choose at the same time do not choose the same subnet";
    Lock::acquire(&networks.join(".subnets.lock"), why)
}
