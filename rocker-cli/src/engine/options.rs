//! What is asked of a container.

use std::path::PathBuf;

use rocker_cgroup::Limits;
use rocker_image::{Platform, Progress};
use rocker_ns::DetachKeys;

/// How a container's standard streams are connected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Io {
    /// Standard input is the caller's own (`-i`), not `/dev/null`.
    pub interactive: bool,
    /// The program has a terminal of its own (`-t`).
    pub terminal: bool,
}

/// What a container sees of the network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Network {
    /// An address of its own on the bridge, and the outside under the host's address.
    #[default]
    Bridge,
    /// Only itself.
    None,
    /// All that the host sees.
    Host,
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

/// A directory or file of the host that a container sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Where it is on the host; absolute.
    pub source: PathBuf,
    /// Where it is in the container; absolute.
    pub destination: PathBuf,
    /// Whether the container may only read it.
    pub read_only: bool,
}

/// What to run, and how to contain it.
#[derive(Clone)]
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
    pub detach_keys: Option<DetachKeys>,
    /// Variables as `NAME=VALUE`, over those of the image; `NAME` alone takes the caller's value.
    pub env: Vec<String>,
    /// The working directory in place of the image's.
    pub workdir: Option<String>,
    /// `USER[:GROUP]` in place of the image's.
    pub user: Option<String>,
    /// The host name; the short ID without.
    pub hostname: Option<String>,
    /// What the container sees of the host's files.
    pub volumes: Vec<Volume>,
    /// What it sees of the network.
    pub network: Network,
    /// What it may use.
    pub limits: Limits,
    /// Capabilities added to the default ones.
    pub cap_add: Vec<String>,
    /// Capabilities taken from the default ones.
    pub cap_drop: Vec<String>,
    /// All capabilities, and nothing hidden.
    pub privileged: bool,
    /// Whether the root file system cannot be written to.
    pub read_only: bool,
    /// Whether setuid programs give no privileges.
    pub no_new_privileges: bool,
    /// When the registry is asked.
    pub pull: PullPolicy,
    /// Which of an image's platforms.
    pub platform: Option<Platform>,
    /// Who watches a pull.
    pub progress: &'a dyn Progress,
    /// Fails the child's plan at this step, for tests that nothing is left.
    pub fail_at: Option<usize>,
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
            env: Vec::new(),
            workdir: None,
            user: None,
            hostname: None,
            volumes: Vec::new(),
            network: Network::default(),
            limits: Limits::default(),
            cap_add: Vec::new(),
            cap_drop: Vec::new(),
            privileged: false,
            read_only: false,
            no_new_privileges: false,
            pull: PullPolicy::default(),
            platform: None,
            progress: &(),
            fail_at: None,
        }
    }
}

impl<'a> RunOptions<'a> {
    /// Has `progress` watch the pull, if there is one.
    #[must_use]
    pub fn watched_by(mut self, progress: &'a dyn Progress) -> Self {
        self.progress = progress;
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
