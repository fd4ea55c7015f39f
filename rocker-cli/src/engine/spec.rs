//! The container as an OCI runtime specification: from what is asked for and what the image says to one document, the
//! one source of truth for all that follows. What each crate takes from it is in [`parts`](super::parts).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use oci_spec::image::ImageConfiguration;
use oci_spec::runtime::{
    Capability, LinuxBuilder, LinuxCapabilities, LinuxCapabilitiesBuilder, LinuxCpuBuilder,
    LinuxDeviceCgroupBuilder, LinuxDeviceType, LinuxMemoryBuilder, LinuxNamespace,
    LinuxNamespaceBuilder, LinuxNamespaceType, LinuxPidsBuilder, LinuxResources,
    LinuxResourcesBuilder, Mount, MountBuilder, ProcessBuilder, RootBuilder, Spec, SpecBuilder,
    UserBuilder,
};
use rocker_cgroup::{CgroupMountView, Limits, Max};
use rocker_fs::{MASKED_PATHS, READ_ONLY_PATHS};
use rocker_ns::{Capabilities, User};

use super::options::{Network, RunOptions};
use crate::{Error, Result};

/// What `PATH` is where neither the image nor the caller says.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The annotation with the signal that asks the program to end, see the OCI image specification's conversion.md.
pub(crate) const STOP_SIGNAL: &str = "org.opencontainers.image.stopSignal";

/// The annotation that asks for an init, for which the specification has no word.
pub(crate) const INIT: &str = "rocker.init";

/// What is known of a container before its specification can be written.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) id: &'a str,
    pub(crate) options: &'a RunOptions<'a>,
    pub(crate) image: &'a ImageConfiguration,
    pub(crate) user: &'a User,
    pub(crate) cgroups: &'a [CgroupMountView],
    /// The directory in which `hosts`, `hostname` and `resolv.conf` are made.
    pub(crate) files: &'a Path,
}

/// Writes the specification: the one source of truth for all that follows.
pub(crate) fn build(facts: &Facts<'_>) -> Result<Spec> {
    let options = facts.options;
    let capabilities = capabilities(options)?;
    let image = facts.image.config().as_ref();
    let cwd = options
        .workdir
        .clone()
        .or_else(|| image?.working_dir().clone())
        .filter(|dir| !dir.is_empty());
    let process = ProcessBuilder::default()
        .terminal(options.io.terminal)
        .user(
            UserBuilder::default()
                .uid(facts.user.uid)
                .gid(facts.user.gid)
                .additional_gids(facts.user.groups.clone())
                .build()?,
        )
        .args(command(options, facts.image)?)
        .env(environment(facts)?)
        .cwd(Path::new("/").join(cwd.unwrap_or_default()))
        .capabilities(oci_capabilities(capabilities, facts.user.uid == 0)?)
        .no_new_privileges(options.no_new_privileges)
        .build()?;
    let mut linux = LinuxBuilder::default()
        .namespaces(namespaces(options.network)?)
        .resources(resources(&options.limits, options.privileged)?)
        .cgroups_path(Path::new("/").join(super::CGROUP_PARENT).join(facts.id));
    if !options.privileged {
        let paths = |paths: &[&str]| {
            paths
                .iter()
                .map(|path| (*path).to_owned())
                .collect::<Vec<_>>()
        };
        linux = linux
            .masked_paths(paths(MASKED_PATHS))
            .readonly_paths(paths(READ_ONLY_PATHS));
    } else {
        linux = linux.masked_paths(Vec::new()).readonly_paths(Vec::new());
    }
    let spec = SpecBuilder::default()
        .root(
            RootBuilder::default()
                .path("rootfs")
                .readonly(options.read_only)
                .build()?,
        )
        .hostname(hostname(facts)?)
        .mounts(mounts(facts)?)
        .annotations(annotations(facts))
        .process(process)
        .linux(linux.build()?);
    Ok(spec.build()?)
}

/// The program and its arguments, as the image and the caller have it.
fn command(options: &RunOptions<'_>, image: &ImageConfiguration) -> Result<Vec<String>> {
    let image = image.config().as_ref();
    let list = |list: Option<&Option<Vec<String>>>| list.cloned().flatten().unwrap_or_default();
    let (entrypoint, cmd) = match &options.entrypoint {
        // Whoever replaces the entrypoint does not mean the image's arguments for the old one.
        Some(program) => (
            Some(program.clone())
                .filter(|program| !program.is_empty())
                .into_iter()
                .collect(),
            Vec::new(),
        ),
        None => (
            list(image.map(|image| image.entrypoint())),
            list(image.map(|image| image.cmd())),
        ),
    };
    let args = if options.command.is_empty() {
        cmd
    } else {
        options.command.clone()
    };
    let command: Vec<String> = entrypoint.into_iter().chain(args).collect();
    if command.is_empty() {
        Err(Error::NoCommand)
    } else {
        Ok(command)
    }
}

/// The container's host name, which also stands in files and variables.
fn hostname(facts: &Facts<'_>) -> Result<String> {
    let Some(name) = &facts.options.hostname else {
        return Ok(facts.id[..12].to_owned());
    };
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if name.is_empty() || name.len() > 64 || !name.bytes().all(good) {
        return Err(Error::BadValue {
            flag: "--hostname",
            value: name.clone(),
            expected: "1 to 64 letters, digits, `-`, `.` and `_`".to_owned(),
        });
    }
    Ok(name.clone())
}

/// What the specification has no place for: what the image says for those who end the container, as the OCI image
/// specification has it converted, and whether there is an init.
fn annotations(facts: &Facts<'_>) -> HashMap<String, String> {
    let signal = facts
        .image
        .config()
        .as_ref()
        .and_then(|config| config.stop_signal().clone());
    let signal = signal.map(|signal| (STOP_SIGNAL.to_owned(), signal));
    let init = facts
        .options
        .init
        .then(|| (INIT.to_owned(), "true".to_owned()));
    signal.into_iter().chain(init).collect()
}

fn environment(facts: &Facts<'_>) -> Result<Vec<String>> {
    let image = facts
        .image
        .config()
        .as_ref()
        .and_then(|config| config.env().clone())
        .unwrap_or_default();
    let mut env = BTreeMap::new();
    env.insert("PATH".to_owned(), PATH.to_owned());
    env.insert(
        "HOME".to_owned(),
        facts.user.home.to_string_lossy().into_owned(),
    );
    env.insert("HOSTNAME".to_owned(), hostname(facts)?);
    if facts.options.io.terminal {
        env.insert("TERM".to_owned(), "xterm".to_owned());
    }
    add_variables(&mut env, &image, false);
    add_variables(&mut env, &facts.options.env, true);
    Ok(env
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect())
}

/// Adds `NAME=VALUE`s to an environment; where `inherit` says so, `NAME` alone takes the caller's value.
pub(crate) fn add_variables(
    env: &mut BTreeMap<String, String>,
    variables: &[String],
    inherit: bool,
) {
    for variable in variables {
        match variable.split_once('=') {
            Some((name, value)) => drop(env.insert(name.to_owned(), value.to_owned())),
            None if inherit => match std::env::var(variable) {
                Ok(value) => drop(env.insert(variable.clone(), value)),
                Err(_) => drop(env.remove(variable)),
            },
            None => {}
        }
    }
}

fn capabilities(options: &RunOptions<'_>) -> Result<Capabilities> {
    if options.privileged {
        return Ok(Capabilities::permitted()?);
    }
    let mut set = Capabilities::container_default();
    // `--cap-drop ALL --cap-add X` means X alone, whatever the order.
    if options
        .cap_drop
        .iter()
        .any(|name| name.eq_ignore_ascii_case("ALL"))
    {
        set = Capabilities::NONE;
    }
    for name in &options.cap_add {
        set = set.with(name)?;
    }
    for name in options
        .cap_drop
        .iter()
        .filter(|name| !name.eq_ignore_ascii_case("ALL"))
    {
        set = set.without(name)?;
    }
    Ok(set)
}

fn oci_capabilities(set: Capabilities, root: bool) -> Result<LinuxCapabilities> {
    let mut all = HashSet::new();
    for name in set.names() {
        let unknown = |_| rocker_ns::Error::UnknownCapability { name: name.clone() };
        all.insert(Capability::from_str(name.trim_start_matches("CAP_")).map_err(unknown)?);
    }
    let held = if root { all.clone() } else { HashSet::new() };
    Ok(LinuxCapabilitiesBuilder::default()
        .bounding(all)
        .effective(held.clone())
        .permitted(held)
        .inheritable(HashSet::new())
        .ambient(HashSet::new())
        .build()?)
}

fn namespaces(network: Network) -> Result<Vec<LinuxNamespace>> {
    let mut kinds = vec![
        LinuxNamespaceType::Cgroup,
        LinuxNamespaceType::Ipc,
        LinuxNamespaceType::Mount,
        LinuxNamespaceType::Pid,
        LinuxNamespaceType::Uts,
    ];
    if network != Network::Host {
        kinds.push(LinuxNamespaceType::Network);
    }
    kinds
        .into_iter()
        .map(|kind| Ok(LinuxNamespaceBuilder::default().typ(kind).build()?))
        .collect()
}

fn resources(limits: &Limits, privileged: bool) -> Result<LinuxResources> {
    let max = |bound: Max| match bound {
        Max::At(bound) => i64::try_from(bound).unwrap_or(i64::MAX),
        Max::Unlimited => -1,
    };
    let all_devices = LinuxDeviceCgroupBuilder::default()
        .allow(privileged)
        .typ(LinuxDeviceType::A)
        .access("rwm");
    let mut resources = LinuxResourcesBuilder::default().devices(vec![all_devices.build()?]);
    if let Some(cpu) = &limits.cpu {
        let micros =
            |time: std::time::Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let mut builder = LinuxCpuBuilder::default().period(micros(cpu.period()));
        if let Some(quota) = cpu.quota() {
            builder = builder.quota(i64::try_from(micros(quota)).unwrap_or(i64::MAX));
        }
        resources = resources.cpu(builder.build()?);
    }
    let mut memory = LinuxMemoryBuilder::default();
    if let Some(limit) = limits.memory_bytes {
        memory = memory.limit(max(limit));
    }
    if let Some(swap) = limits.memory_swap_bytes {
        memory = memory.swap(max(swap));
    }
    resources = resources.memory(memory.build()?);
    if let Some(pids) = limits.pids {
        resources = resources.pids(LinuxPidsBuilder::default().limit(max(pids)).build()?);
    }
    Ok(resources.build()?)
}

fn mounts(facts: &Facts<'_>) -> Result<Vec<Mount>> {
    let options = facts.options;
    let sys = if options.privileged { "rw" } else { "ro" };
    let mut mounts = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"])?,
        mount(
            "/dev",
            "tmpfs",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        )?,
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ],
        )?,
        mount(
            "/dev/mqueue",
            "mqueue",
            "mqueue",
            &["nosuid", "noexec", "nodev"],
        )?,
        mount(
            "/dev/shm",
            "tmpfs",
            "shm",
            &["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"],
        )?,
        mount(
            "/sys",
            "sysfs",
            "sysfs",
            &["nosuid", "noexec", "nodev", sys],
        )?,
    ];
    if facts
        .cgroups
        .iter()
        .any(|view| !view.destination.is_empty())
    {
        mounts.push(mount(
            "/sys/fs/cgroup",
            "tmpfs",
            "cgroup",
            &["nosuid", "noexec", "nodev", "ro", "mode=755"],
        )?);
    }
    for view in facts.cgroups {
        let destination = Path::new("/sys/fs/cgroup").join(&view.destination);
        let mut list = vec!["nosuid", "noexec", "nodev", "ro"];
        list.extend(view.options.iter().map(String::as_str));
        mounts.push(mount(destination, view.fstype, "cgroup", &list)?);
    }
    for name in ["resolv.conf", "hostname", "hosts"] {
        mounts.push(mount(
            Path::new("/etc").join(name),
            "bind",
            facts.files.join(name),
            &["rbind", "rprivate"],
        )?);
    }
    for volume in &options.volumes {
        let access = if volume.read_only { "ro" } else { "rw" };
        let devices = if options.privileged { "dev" } else { "nodev" };
        let list = ["rbind", "rprivate", access, devices];
        mounts.push(mount(&volume.destination, "bind", &volume.source, &list)?);
    }
    Ok(mounts)
}

fn mount(
    to: impl Into<PathBuf>,
    kind: &str,
    source: impl Into<PathBuf>,
    options: &[&str],
) -> Result<Mount> {
    let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
    Ok(MountBuilder::default()
        .destination(to)
        .typ(kind)
        .source(source)
        .options(options)
        .build()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::image::{ConfigBuilder, ImageConfigurationBuilder};

    fn image() -> ImageConfiguration {
        let config = ConfigBuilder::default()
            .entrypoint(vec!["/entry".to_owned()])
            .cmd(vec!["arg".to_owned()])
            .env(vec!["PATH=/image".to_owned(), "A=image".to_owned()])
            .working_dir("srv".to_owned());
        ImageConfigurationBuilder::default()
            .config(config.build().unwrap())
            .build()
            .unwrap()
    }

    fn specify(options: &RunOptions<'_>) -> Spec {
        let user = User::resolve("1000:7", b"", b"").unwrap();
        let facts = Facts {
            id: "0123456789abcdef",
            options,
            image: &image(),
            user: &user,
            cgroups: &[],
            files: Path::new("/run/files"),
        };
        build(&facts).unwrap()
    }

    fn args(change: impl FnOnce(&mut RunOptions<'_>)) -> Vec<String> {
        let mut options = RunOptions::new("image");
        change(&mut options);
        specify(&options)
            .process()
            .as_ref()
            .unwrap()
            .args()
            .clone()
            .unwrap()
    }

    #[test]
    fn entrypoint_and_command_combine_as_with_docker() {
        assert_eq!(args(|_| {}), ["/entry", "arg"]);
        assert_eq!(
            args(|options| options.command = vec!["x".into()]),
            ["/entry", "x"]
        );
        assert_eq!(
            args(|options| options.entrypoint = Some("/other".into())),
            ["/other"]
        );
        let both = |options: &mut RunOptions<'_>| {
            options.entrypoint = Some(String::new());
            options.command = vec!["x".into(), "y".into()];
        };
        assert_eq!(args(both), ["x", "y"]);
    }

    #[test]
    fn the_callers_variables_come_over_the_images() {
        let mut options = RunOptions::new("image");
        options.env = vec![
            "A=caller".into(),
            "B=x=y".into(),
            "ROCKER_NO_SUCH_VARIABLE".into(),
        ];
        let spec = specify(&options);
        let env = spec.process().as_ref().unwrap().env().clone().unwrap();
        assert_eq!(
            env,
            [
                "A=caller",
                "B=x=y",
                "HOME=/",
                "HOSTNAME=0123456789ab",
                "PATH=/image"
            ]
        );
    }

    #[test]
    fn the_document_says_how_the_container_is_contained() {
        let spec = specify(&RunOptions::new("image"));
        let process = spec.process().as_ref().unwrap();
        assert_eq!(process.cwd(), Path::new("/srv"));
        assert_eq!((process.user().uid(), process.user().gid()), (1000, 7));
        let sets = process.capabilities().as_ref().unwrap();
        assert_eq!(sets.bounding().as_ref().unwrap().len(), 14);
        assert!(
            sets.effective().as_ref().unwrap().is_empty(),
            "only root holds capabilities"
        );
        assert!(sets.inheritable().as_ref().unwrap().is_empty());
        let linux = spec.linux().as_ref().unwrap();
        assert_eq!(linux.namespaces().as_ref().unwrap().len(), 6);
        assert!(
            linux
                .masked_paths()
                .as_ref()
                .unwrap()
                .contains(&"/proc/kcore".to_owned())
        );
        assert_eq!(
            linux.cgroups_path().as_deref(),
            Some(Path::new("/rocker/0123456789abcdef"))
        );
    }

    #[test]
    fn what_is_written_as_json_is_what_is_read_back() {
        let mut options = RunOptions::new("image");
        options.limits = Limits::default()
            .memory_bytes(64_u64 << 20)
            .pids(Max::Unlimited);
        options.limits = options
            .limits
            .cpu(rocker_cgroup::CpuQuota::from_cpus(0.04).unwrap());
        let spec = specify(&options);
        let read: Spec = serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
        assert_eq!(read, spec);
        assert_eq!(crate::engine::parts::limits(&read).unwrap(), options.limits);
    }

    #[test]
    fn dropping_all_and_adding_one_leaves_that_one() {
        let mut options = RunOptions::new("image");
        options.cap_drop = vec!["ALL".into()];
        options.cap_add = vec!["net_raw".into()];
        let names: Vec<_> = capabilities(&options).unwrap().names().collect();
        assert_eq!(names, ["CAP_NET_RAW"]);
    }
}
