//! What can go wrong when the crates are put together.

mod call;

use std::io;
use std::path::PathBuf;

use nix::errno::Errno;

pub use crate::engine::spec::seccomp::SeccompFault;
pub(crate) use call::FailedCall;

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not the root user.
    #[error("root is needed: mounts, networks and cgroups belong to it (try `sudo rocker …`)")]
    NotRoot,
    /// A state file or directory.
    #[error("{operation} {path}")]
    State {
        /// What was tried, such as `write`.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A state file that is not what rocker wrote.
    #[error("{path} is damaged; `rocker rm -f` removes the container")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where it stops making sense.
        source: serde_json::Error,
    },
    /// Another container has the name.
    #[error(
        "the name {name:?} is taken by container {id}; remove it with `rocker rm {name}`, or choose another name"
    )]
    NameTaken {
        /// The name.
        name: String,
        /// The container that has it.
        id: String,
    },
    /// Another container has the port.
    #[error(
        "publish {port}: container {container} has this port of the host; choose another one, or `rocker stop {container}`"
    )]
    PortOfContainer {
        /// The port.
        port: String,
        /// The name of the container that has it.
        container: String,
        /// What the kernel answered.
        source: rocker_net::Error,
    },
    /// Not a name for a container.
    #[error(
        "{name:?} is not a name for a container: a letter or digit, then letters, digits, `_`, `.` or `-`"
    )]
    BadName {
        /// The name.
        name: String,
    },
    /// No such container.
    #[error("no container {name:?}; `rocker ps -a` lists all")]
    NoContainer {
        /// What was looked for.
        name: String,
    },
    /// Several containers.
    #[error("{prefix:?} is the beginning of several containers' ids: {ids}")]
    Ambiguous {
        /// What was looked for.
        prefix: String,
        /// Whose ids begin with it.
        ids: String,
    },
    /// No such network.
    #[error("no network {name:?}; `rocker network ls` lists all")]
    NoNetwork {
        /// What was looked for.
        name: String,
    },
    /// Several networks.
    #[error("{prefix:?} is the beginning of several networks' ids: {names}")]
    AmbiguousNetwork {
        /// What was looked for.
        prefix: String,
        /// Whose ids begin with it.
        names: String,
    },
    /// A network that is always there.
    #[error(
        "{name} is a predefined network: it can be neither made nor removed; choose another name"
    )]
    PredefinedNetwork {
        /// Its name.
        name: String,
    },
    /// Containers on the network run.
    #[error(
        "network {name} is in use by {containers}; stop them, or take them off it with `rocker network disconnect`"
    )]
    NetworkInUse {
        /// The network.
        name: String,
        /// Who is on it.
        containers: String,
    },
    /// The container has a place on the network.
    #[error("container {container} is on network {network} already")]
    Connected {
        /// The container.
        container: String,
        /// The network.
        network: String,
    },
    /// The container has no place on the network.
    #[error(
        "container {container} is not on network {network}; `rocker inspect {container}` shows its networks"
    )]
    NotConnected {
        /// The container.
        container: String,
        /// The network.
        network: String,
    },
    /// The container has the network of somebody else, or nobody can be on that network.
    #[error(
        "container {container}, made with --network {its}, can be neither connected to {network} nor disconnected from it; \
         a container on a network of its own can"
    )]
    NotConnectable {
        /// The container.
        container: String,
        /// The network that it has.
        its: String,
        /// The network that was asked for.
        network: String,
    },
    /// The container does not run.
    #[error("container {name} is not running")]
    NotRunning {
        /// Its name.
        name: String,
    },
    /// The container runs already.
    #[error("container {name} is running already")]
    AlreadyRunning {
        /// Its name.
        name: String,
    },
    /// A container that could not be started, which has said why.
    #[error("container {name} could not be started")]
    NotStarted {
        /// Its name.
        name: String,
    },
    /// The end of a container that nobody saw.
    #[error(
        "the one who looked after container {name} is gone, and with it how the container ended"
    )]
    Lost {
        /// Its name.
        name: String,
    },
    /// There is no log.
    #[error(
        "no log is kept of container {name}: it was run in the foreground with --rm, or with --log-driver none"
    )]
    NoLog {
        /// Its name.
        name: String,
    },
    /// Somebody has begun to start the container and is not done, so that its files can be reached in neither way.
    #[error("container {name} is just being started or removed; try again when that is done")]
    ComingUp {
        /// Its name.
        name: String,
    },
    /// The container runs.
    #[error("container {name} is running; wait for its end, or use `rocker rm -f`")]
    StillRunning {
        /// Its name.
        name: String,
    },
    /// Two things are to be mounted at one place.
    #[error("Duplicate mount point: {path}; leave out one of the flags that mount something there")]
    DuplicateMountPoint {
        /// Where in the container.
        path: PathBuf,
    },
    /// No such volume.
    #[error("no volume {name:?}; `rocker volume ls` lists all")]
    NoVolume {
        /// What was looked for.
        name: String,
    },
    /// A volume that containers have.
    #[error("volume {name} is in use - [{users}]; remove these containers first")]
    VolumeInUse {
        /// The volume.
        name: String,
        /// The containers' IDs.
        users: String,
    },
    /// The record of a volume that is not what rocker wrote.
    #[error(
        "the record of volume {name} is damaged; what is in it is not touched: copy it, and remove the volume with `rocker volume rm {name}`"
    )]
    DamagedVolume {
        /// The volume.
        name: String,
        /// Where it stops making sense.
        source: serde_json::Error,
    },
    /// A directory in place of an image that is none.
    #[error("the root directory {path}")]
    NoRoot {
        /// The path.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// No such image.
    #[error("no image {name:?}; `rocker images` lists all")]
    NoImage {
        /// What was looked for.
        name: String,
    },
    /// The image is not here, and whoever asks does not want it pulled.
    #[error("image {name:?} is not here; `rocker pull {name}` fetches it")]
    NotPulled {
        /// The image.
        name: String,
    },
    /// The images are not for this user to look at.
    #[error(
        "the images in {path} are closed to this user; try `sudo rocker …`, or the built-in image `hello`"
    )]
    ClosedStore {
        /// The directory.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The image is in use.
    #[error(
        "image {image} is in use by container {container}; remove that first (`rocker rm {container}`)"
    )]
    ImageInUse {
        /// The image.
        image: String,
        /// A container made of it.
        container: String,
    },
    /// The image has several names, and whoever removes it may not know.
    #[error("image {image} has {count} names; remove them one by one, or the image with -f")]
    ImageHasNames {
        /// The image.
        image: String,
        /// How many.
        count: usize,
    },
    /// Something that cannot be done to a container whose processes stand still.
    #[error("the container {name} is paused: {expected}")]
    Paused {
        /// The container.
        name: String,
        /// What to do.
        expected: &'static str,
    },
    /// A container whose processes do not stand still.
    #[error("the container {name} is not paused")]
    NotPaused {
        /// The container.
        name: String,
    },
    /// Neither image nor command line says what to run.
    #[error("the image names no command to run; give one behind the image")]
    NoCommand,
    /// A value of a flag.
    #[error("{flag} {value:?}: expected {expected}")]
    BadValue {
        /// The flag.
        flag: &'static str,
        /// What was given.
        value: String,
        /// What it takes.
        expected: String,
    },
    /// A seccomp profile that cannot be used.
    #[error("the seccomp profile in {path}")]
    Seccomp {
        /// The file that has it.
        path: PathBuf,
        /// What is wrong with it.
        source: SeccompFault,
    },
    /// The source of a bind mount.
    #[error("the source of the volume {path} does not exist on the host; make it first")]
    NoSource {
        /// The path.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The memory limit does not even do for the way to the program.
    #[error("the memory limit is too small to start a container; give it some MiB")]
    TooLittleMemory {
        /// Where it came to an end.
        source: rocker_ns::Error,
    },
    /// A limit that takes a cgroup, of somebody who cannot have one.
    #[error("a limit of {limits} cannot be enforced here")]
    NoLimit {
        /// What was to be limited.
        limits: String,
        /// Why there is no cgroup.
        source: rocker_cgroup::Error,
    },
    /// A program that cannot be run where its container is limited.
    #[error("the program cannot join the container's cgroup below {}, which was given to another session or unit", place.display())]
    ElsewhereLimited {
        /// The place below which the container has its cgroup.
        place: PathBuf,
        /// Why it could not be made there.
        source: rocker_ns::Error,
    },
    /// `-t` without a terminal.
    #[error("the input device is not a TTY: leave out -t, or run rocker in a terminal")]
    NotATerminal,
    /// Nobody is there to be asked who he is.
    #[error("there is no terminal to ask on: use --username and --password-stdin")]
    CannotAsk,
    /// An archive for the eyes of a person.
    #[error("an archive is not for a terminal: give -o FILE, or redirect the output")]
    ToTerminal,
    /// An archive that somebody would have to type.
    #[error("an archive does not come from a terminal: give -i FILE, or redirect the input")]
    FromTerminal,
    /// Somebody looks at its files.
    #[error(
        "{name} is mounted at {path}, and somebody is in there or has a file open; `rocker umount {name}` when he is done, or with -f"
    )]
    InUse {
        /// The container or image.
        name: String,
        /// Where it is mounted.
        path: PathBuf,
    },
    /// It is not mounted.
    #[error("{name} is not mounted; `rocker mount` lists what is")]
    NotMounted {
        /// The container or image.
        name: String,
    },
    /// Neither a container nor an image.
    #[error("no container or image {name:?}; `rocker ps -a` and `rocker images` list all")]
    Unknown {
        /// What was looked for.
        name: String,
    },
    /// A container that has in memory what it changes, and does not run.
    #[error(
        "what container {name} has changed was in memory, and there only while it ran: start it first"
    )]
    InMemory {
        /// The container.
        name: String,
    },
    /// A container that has in memory what it changes, and would lose that by being mounted anew.
    #[error(
        "container {name} is mounted, and all that it has changed is in that mount, which would be gone: its users are others from now on. \
         Copy what is needed, then `rocker umount {name}` and start it"
    )]
    MountedInMemory {
        /// The container.
        name: String,
    },
    /// A container of a plain directory, to which it writes.
    #[error(
        "nobody knows what container {name} has changed: its root is the directory {path} itself, of which there is no earlier state; \
         `--rootfs DIR:O` keeps changes apart"
    )]
    NothingBelow {
        /// The container.
        name: String,
        /// The directory.
        path: PathBuf,
    },
    /// A container of a directory, which is to become an image.
    #[error(
        "container {name} was made of a directory, so there is no image that its changes could be added to; \
         `rocker export {name} | rocker import - NAME` makes an image of all its files"
    )]
    NoImageBelow {
        /// The container.
        name: String,
    },
    /// Where an ordinary user's mounts are.
    #[error(
        "an ordinary user's mounts are in a mount namespace of rocker's own, where nobody else sees them; `rocker cp` and `rocker export` get at the files"
    )]
    MountsUnseen,
    /// There is nothing to be copied, or no directory to copy it to.
    #[error("could not find the file {path:?} in {place}")]
    NoFile {
        /// The path as given.
        path: PathBuf,
        /// Where: `container web`, or `the host`.
        place: String,
    },
    /// A directory is to be copied to where a file is.
    #[error("cannot copy directory: {path:?} in {place} is a file")]
    CopyDirectory {
        /// Where the file is.
        path: PathBuf,
        /// Where: `container web`, or `the host`.
        place: String,
    },
    /// What is said to be a directory is none.
    #[error("{path:?} in {place} is not a directory")]
    NotADirectory {
        /// The path as given.
        path: PathBuf,
        /// Where: `container web`, or `the host`.
        place: String,
    },
    /// What is to be copied would take the place of a device, a fifo or a socket.
    #[error("{path:?} in {place} must be a directory or a regular file, so as to be copied to")]
    NeitherFileNorDirectory {
        /// The path as given.
        path: PathBuf,
        /// Where: `container web`, or `the host`.
        place: String,
    },
    /// A file is to be copied into a directory that is not there.
    #[error(
        "the directory {path:?} does not exist in {place}; make it first, or leave out the / behind it"
    )]
    NoDirectory {
        /// The path as given.
        path: PathBuf,
        /// Where: `container web`, or `the host`.
        place: String,
    },
    /// A file that the kernel makes up.
    #[error(
        "{path:?} in container {container} is made up by the kernel as it is read; `rocker exec {container} cat {path:?}` shows it"
    )]
    KernelsFile {
        /// The path as given.
        path: PathBuf,
        /// The container.
        container: String,
    },
    /// Not from or to one container.
    #[error("copying between containers is not supported")]
    CopyBetween,
    /// No container to copy from or to.
    #[error("must specify at least one container source: CONTAINER:PATH on one side")]
    CopyNoContainer,
    /// A signal that would have ended this process.
    #[error("interrupted")]
    Interrupted,
    /// Several things went wrong while a container was taken down.
    #[error("not all of container {id} could be taken down: {}", .errors.join("; "))]
    Teardown {
        /// The container.
        id: String,
        /// Each of them.
        errors: Vec<String>,
    },
    /// An OCI runtime specification could not be put together.
    #[error("the container's OCI specification")]
    Spec {
        /// What is wrong with it.
        source: oci_spec::OciSpecError,
    },
    /// Of images.
    #[error(transparent)]
    Image(#[from] rocker_image::Error),
    /// Of the root file system.
    #[error(transparent)]
    Fs(#[from] rocker_fs::Error),
    /// Of the network.
    #[error(transparent)]
    Net(#[from] rocker_net::Error),
    /// Of the cgroup.
    #[error(transparent)]
    Cgroup(#[from] rocker_cgroup::Error),
    /// Of the process.
    #[error(transparent)]
    Ns(#[from] rocker_ns::Error),
}

impl Error {
    /// The error for a value that a flag does not take.
    pub(crate) fn bad_value(
        flag: &'static str,
        value: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        let (value, expected) = (value.into(), expected.into());
        Self::BadValue {
            flag,
            value,
            expected,
        }
    }

    /// The exit status for this error, as Docker has it: 127 where the command was not found, 126 where it cannot be
    /// executed, 125 for everything else.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Ns(error) => error.exit_code(),
            _ => 125,
        }
    }

    /// The error and what led to it, on one line, with nothing in it that a terminal would obey.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            text.push_str(": ");
            text.push_str(&error.to_string());
            source = error.source();
        }
        crate::table::printable(&with_names(&text))
    }
}

/// The text with ` (ENOENT)` in place of the ` (os error 2)` that Rust puts behind the kernel's answers.
fn with_names(text: &str) -> String {
    const NUMBER: &str = " (os error ";
    let mut parts = text.split(NUMBER);
    let mut named = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once(')') {
            Some((number, rest)) if let Ok(number) = number.parse() => {
                let errno = Errno::from_raw(number);
                named.push_str(&format!(" ({errno:?}){rest}"));
            }
            _ => named.push_str(&format!("{NUMBER}{part}")),
        }
    }
    named
}

impl From<oci_spec::OciSpecError> for Error {
    fn from(source: oci_spec::OciSpecError) -> Self {
        Error::Spec { source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_is_one_line_with_the_errno_by_its_name_and_no_control_characters() {
        let source = io::Error::from_raw_os_error(2);
        let error = Error::State {
            operation: "read",
            path: "/a\u{1b}[2J\nb".into(),
            source,
        };
        assert_eq!(
            error.chain(),
            "read /a\\u{1b}[2J\\nb: No such file or directory (ENOENT)"
        );
    }
}
