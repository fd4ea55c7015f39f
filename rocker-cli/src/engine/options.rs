//! What is asked of a container.

mod endpoint;
mod health;
mod log;
mod restart;
mod storage;
mod volume;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use rocker_cgroup::{DeviceAccess, DeviceRule, Limits};
use rocker_image::{Platform, Progress};
use rocker_net::PortForward;
use rocker_ns::{DetachKeys, IdMap, Rlimit};
use serde::{Deserialize, Serialize};

use crate::engine::as_text;

pub(crate) use endpoint::DEFAULT_NETWORK;
pub use endpoint::NetworkEndpoint;
pub(crate) use health::OfImage as HealthCheckOfImage;
pub use health::{HealthCheck, HealthOptions};
pub use log::{LogDriver, LogOptions};
pub use restart::Restart;
pub(crate) use restart::{SETTLED, pause_before};
pub use storage::{StorageDriver, StorageOptions};
pub use volume::{
    Beneath, BindPropagation, MountIds, RootDirectory, Volume, VolumeSource, VolumesFrom,
};

/// How a container's standard streams are connected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Io {
    /// Standard input is the caller's own (`-i`), not `/dev/null`.
    pub interactive: bool,
    /// The program has a terminal of its own (`-t`).
    pub terminal: bool,
}

/// What a container sees of the network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// The outside: by a bridge for root, by pasta for an ordinary user who has that program, and otherwise only itself, with a warning.
    #[default]
    Default,
    /// An address of its own on each of some networks, see [`RunOptions::endpoints`], and the outside under the host's address.
    Bridge,
    /// The outside as an ordinary user's program sees it, by the program `pasta`.
    Pasta,
    /// Only itself.
    None,
    /// All that the host sees.
    Host,
    /// All that another container sees, which runs: its name, or the beginning of its ID.
    Container(String),
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::Bridge => DEFAULT_NETWORK,
            Self::Pasta => "pasta",
            Self::None => "none",
            Self::Host => "host",
            Self::Container(name) => return write!(f, "container:{name}"),
        })
    }
}

/// When the registry is asked for an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PullPolicy {
    /// When it is not there.
    #[default]
    Missing,
    /// Each time.
    Always,
    /// Never.
    Never,
}

/// Whose view of the machine a container has, in one respect.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Share {
    /// One of its own.
    #[default]
    Own,
    /// The host's.
    Host,
    /// That of another container, which runs: its name, or the beginning of its ID.
    Container(String),
}

/// Who the users of a container are on the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Users {
    /// The same: root is the root of whoever runs rocker.
    #[default]
    Host,
    /// 65,536 users that are nobody else's on the host.
    Auto,
    /// The caller is the user of the same number in the container. For ordinary users.
    KeepId,
    /// These: what each run of ids is on the host.
    Maps {
        /// Of users.
        #[serde(with = "as_text")]
        uids: Vec<IdMap>,
        /// Of groups.
        #[serde(with = "as_text")]
        gids: Vec<IdMap>,
    },
}

/// Which system calls a container may make.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SeccompProfile {
    /// Those of Docker's default profile, by its capabilities; all, if it is privileged.
    #[default]
    Default,
    /// All.
    Unconfined,
    /// Those of a profile in the JSON of Docker or OCI.
    File(PathBuf),
}

/// A file system in memory, at a place in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tmpfs {
    /// Where it is in the container; absolute.
    pub destination: PathBuf,
    /// Its mount options, such as `size=64m`, `mode=1777` or `noexec`.
    pub options: Vec<String>,
}

/// A device of the host that a container has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceNode {
    /// Where it is on the host; absolute.
    pub source: PathBuf,
    /// Where it is in the container, in `/dev`.
    pub destination: PathBuf,
    /// What it may be used for.
    #[serde(default = "all_access")]
    pub access: DeviceAccess,
}

fn all_access() -> DeviceAccess {
    DeviceAccess::ALL
}

/// What to run, and how to contain it. It is written down with the container, but for what concerns only the one who runs it now.
#[derive(Clone, Serialize, Deserialize)]
#[serde(default = "unsaid")]
#[non_exhaustive]
pub struct RunOptions<'a> {
    /// The image: a name, or the beginning of an ID.
    pub image: String,
    /// The command in place of the image's own.
    pub command: Vec<String>,
    /// The program in place of the image's entrypoint; empty for none.
    pub entrypoint: Option<String>,
    /// The container's name; one is made up without.
    pub name: Option<String>,
    /// Whether nothing is kept of the container when it ends.
    pub remove: bool,
    /// The standard streams.
    pub io: Io,
    /// Whether an init runs in front of the program, which reaps what nobody waits for and passes signals on.
    pub init: bool,
    /// The keys by which the person in front of the terminal leaves the program to itself. This process then leaves its
    /// session, and goes on in the background until the program ends: to be set only in one for which another stands
    /// in, see [`rocker_ns::stand_in`].
    #[serde(skip)]
    pub detach_keys: Option<DetachKeys>,
    /// Whether the program is left to itself as soon as it runs, as with [`detach_keys`](Self::detach_keys): this process
    /// looks after it in the background, under the same condition.
    #[serde(skip)]
    pub detach: bool,
    /// What becomes of the container when its program ends.
    pub restart: Restart,
    /// The signal that asks the program to end, by name or number, in place of the image's.
    pub stop_signal: Option<String>,
    /// How long the program may take to end when it is asked to; 10 seconds without.
    pub stop_timeout: Option<Duration>,
    /// After which time the program is killed.
    pub time_limit: Option<Duration>,
    /// How it is found out whether it does what it is there for.
    pub health: HealthOptions,
    /// What is kept of what it writes.
    pub log: LogOptions,
    /// What the caller wants to find it by.
    pub labels: BTreeMap<String, String>,
    /// What is added to the annotations of its OCI specification.
    pub annotations: BTreeMap<String, String>,
    /// Whether another container that has the name is removed first.
    #[serde(skip)]
    pub replace: bool,
    /// A file that is made, and gets the container's ID.
    #[serde(skip)]
    pub id_file: Option<PathBuf>,
    /// A file that gets the host's number of the container's first process, each time it starts.
    pub pid_file: Option<PathBuf>,
    /// Variables as `NAME=VALUE`, over those of the image; `NAME` alone takes the caller's value.
    pub env: Vec<String>,
    /// The working directory in place of the image's.
    pub workdir: Option<String>,
    /// `USER[:GROUP]` in place of the image's.
    pub user: Option<String>,
    /// Groups beside those that the user has in the image: names or numbers.
    pub group_add: Vec<String>,
    /// The host name; the short ID without.
    pub hostname: Option<String>,
    /// The NIS domain name.
    pub domainname: Option<String>,
    /// Whose processes it sees.
    pub pid: Share,
    /// Whose shared memory, semaphores and message queues it sees.
    pub ipc: Share,
    /// Whose host name it has; there is none of another container's to be had.
    pub uts: Share,
    /// Who its users are on the host.
    pub users: Users,
    /// What the container sees of files that are not its own.
    pub volumes: Vec<Volume>,
    /// Containers whose volumes it has as well.
    pub volumes_from: Vec<VolumesFrom>,
    /// File systems in memory.
    pub tmpfs: Vec<Tmpfs>,
    /// The size of `/dev/shm` in bytes; 64 MiB without.
    pub shm_size: Option<u64>,
    /// Devices of the host, beside the customary ones.
    pub devices: Vec<DeviceNode>,
    /// Devices that may be used, wherever nodes of them come from.
    pub device_rules: Vec<DeviceRule>,
    /// What it sees of the network.
    pub network: Network,
    /// The networks that it is on with [`Network::Bridge`]; the default one without. The first one with a way out is its way out.
    pub endpoints: Vec<NetworkEndpoint>,
    /// The resolvers that it asks, in place of the host's.
    pub dns: Vec<IpAddr>,
    /// Where its names are looked for that have no dot, in place of the host's search domains; `.` alone for nowhere.
    pub dns_search: Vec<String>,
    /// Options of its resolver, see resolv.conf(5), in place of the host's.
    pub dns_options: Vec<String>,
    /// Further lines of its `/etc/hosts`: names, and addresses, of which `host-gateway` is the host's own on its network.
    pub hosts: Vec<(String, String)>,
    /// Ports of the host that lead into it, by the first of its networks with a way out.
    #[serde(with = "as_text")]
    pub ports: Vec<PortForward>,
    /// Ports that it serves, as `PORT[-PORT][/tcp|/udp]`, beside those that its image names.
    pub expose: Vec<String>,
    /// Whether each port that it serves is reached by one of the host that is free.
    pub publish_all: bool,
    /// What it may use.
    pub limits: Limits,
    /// The cgroup in which it has its own, such as `/batch`, below the place where containers have theirs. It is made where it is missing,
    /// and stays.
    pub cgroup_parent: Option<String>,
    /// Whose cgroups it sees; there is no other container's to be had.
    pub cgroup: Share,
    /// Limits of each of its processes.
    #[serde(with = "as_text")]
    pub rlimits: Vec<Rlimit>,
    /// How readily the kernel kills its program when memory runs out: from -1000 to 1000.
    pub oom_score_adj: Option<i16>,
    /// Settings of the kernel that are its own: names and values.
    pub sysctls: Vec<(String, String)>,
    /// Capabilities added to the default ones.
    pub cap_add: Vec<String>,
    /// Capabilities taken from the default ones.
    pub cap_drop: Vec<String>,
    /// All capabilities, and nothing hidden.
    pub privileged: bool,
    /// Whether the root file system cannot be written to.
    pub read_only: bool,
    /// How its files are kept.
    pub storage: StorageOptions,
    /// Whether `/run`, `/tmp` and `/var/tmp` are file systems in memory where the root file system cannot be written to.
    pub read_only_tmpfs: bool,
    /// A directory in place of an image; [`image`](Self::image) is only shown then.
    pub root_directory: Option<RootDirectory>,
    /// Whether setuid programs give no privileges.
    pub no_new_privileges: bool,
    /// Which system calls it may make.
    pub seccomp: SeccompProfile,
    /// The AppArmor profile of its program, which is loaded.
    pub apparmor: Option<String>,
    /// The SELinux label of its program.
    pub selinux: Option<String>,
    /// Whether nothing of `/proc` and `/sys` is hidden or read-only.
    pub open_system_paths: bool,
    /// When the registry is asked.
    #[serde(skip)]
    pub pull: PullPolicy,
    /// Which of an image's platforms.
    #[serde(with = "as_text")]
    pub platform: Option<Platform>,
    /// Who is told the container's ID when its program runs.
    #[serde(skip)]
    pub running: Option<&'a (dyn Fn(&str) + Sync)>,
    /// Who watches a pull.
    #[serde(skip)]
    pub progress: &'a dyn Progress,
    /// Fails the child's plan at this step, for tests that nothing is left.
    #[serde(skip)]
    pub fail_at: Option<usize>,
}

/// What a container was made with that was written down before there was an option for it.
fn unsaid<'a>() -> RunOptions<'a> {
    RunOptions::new("")
}

impl RunOptions<'static> {
    /// The options for an image with everything else as Docker has it.
    #[must_use]
    pub fn new(image: impl Into<String>) -> Self {
        Self {
            image: image.into(),
            command: Vec::new(),
            entrypoint: None,
            name: None,
            remove: false,
            io: Io::default(),
            init: false,
            detach_keys: None,
            detach: false,
            restart: Restart::default(),
            stop_signal: None,
            stop_timeout: None,
            time_limit: None,
            health: HealthOptions::default(),
            log: LogOptions::default(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            replace: false,
            id_file: None,
            pid_file: None,
            env: Vec::new(),
            workdir: None,
            user: None,
            group_add: Vec::new(),
            hostname: None,
            domainname: None,
            pid: Share::default(),
            ipc: Share::default(),
            uts: Share::default(),
            users: Users::default(),
            volumes: Vec::new(),
            volumes_from: Vec::new(),
            tmpfs: Vec::new(),
            shm_size: None,
            devices: Vec::new(),
            device_rules: Vec::new(),
            network: Network::default(),
            endpoints: Vec::new(),
            dns: Vec::new(),
            dns_search: Vec::new(),
            dns_options: Vec::new(),
            hosts: Vec::new(),
            ports: Vec::new(),
            expose: Vec::new(),
            publish_all: false,
            limits: Limits::default(),
            cgroup_parent: None,
            cgroup: Share::default(),
            rlimits: Vec::new(),
            oom_score_adj: None,
            sysctls: Vec::new(),
            cap_add: Vec::new(),
            cap_drop: Vec::new(),
            privileged: false,
            read_only: false,
            storage: StorageOptions::default(),
            read_only_tmpfs: true,
            root_directory: None,
            no_new_privileges: false,
            seccomp: SeccompProfile::default(),
            apparmor: None,
            selinux: None,
            open_system_paths: false,
            pull: PullPolicy::default(),
            platform: None,
            running: None,
            progress: &(),
            fail_at: None,
        }
    }
}

impl RunOptions<'_> {
    /// The places on networks of a container that is on some.
    pub(crate) fn places(&self) -> Vec<NetworkEndpoint> {
        match (&self.network, &self.endpoints[..]) {
            (Network::Bridge | Network::Default, []) => vec![NetworkEndpoint::new(DEFAULT_NETWORK)],
            (Network::Bridge | Network::Default, endpoints) => endpoints.to_vec(),
            _ => Vec::new(),
        }
    }

    /// Its networks, as a list of them shows it.
    pub(crate) fn network_names(&self) -> String {
        match (&self.network, &self.endpoints[..]) {
            (Network::Bridge, [_, ..]) => {
                let names: Vec<_> = self.endpoints.iter().map(|one| &*one.network).collect();
                names.join(",")
            }
            (network, _) => network.to_string(),
        }
    }
}

impl<'a> RunOptions<'a> {
    /// Whether ports of the host lead into it.
    pub(crate) fn publishes(&self) -> bool {
        !self.ports.is_empty() || self.publish_all
    }

    /// Has `progress` watch the pull, if there is one.
    #[must_use]
    pub fn watched_by(mut self, progress: &'a dyn Progress) -> Self {
        self.progress = progress;
        self
    }

    /// Has `running` told the container's ID when its program runs.
    #[must_use]
    pub fn telling(mut self, running: &'a (dyn Fn(&str) + Sync)) -> Self {
        self.running = Some(running);
        self
    }
}

impl std::fmt::Debug for RunOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunOptions")
            .field("image", &self.image)
            .field("command", &self.command)
            .finish_non_exhaustive()
    }
}
