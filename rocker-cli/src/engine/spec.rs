//! The container as an OCI runtime specification: from what is asked for and what the image says to one document, the
//! one source of truth for all that follows. What each crate takes from it is in [`parts`](crate::engine::spec::parts).

pub(super) mod accounts;
mod linux;
mod mounts;
mod names;
pub(super) mod others;
pub(super) mod parts;
pub(super) mod plan;
mod process;
pub(crate) mod seccomp;
pub(super) mod steps;
pub(super) mod surroundings;
pub(super) mod users;

use std::collections::HashMap;
use std::path::Path;

use oci_spec::image::ImageConfiguration;
use oci_spec::runtime::{RootBuilder, Spec, SpecBuilder};
use rocker_cgroup::CgroupMountView;
use rocker_ns::User;

use self::surroundings::Surroundings;
use crate::Result;
use crate::engine::options::{RunOptions, Volume};
use crate::engine::volume::places::Place;

pub(crate) use linux::CUSTOMARY;

pub(crate) use process::{add_variables, command, resolved};

/// What `PATH` is where neither the image nor the caller says.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The annotation with the signal that asks the program to end, see the OCI image specification's conversion.md.
pub(crate) const STOP_SIGNAL: &str = "org.opencontainers.image.stopSignal";

/// The annotation that asks for an init, for which the specification has no word.
pub(crate) const INIT: &str = "rocker.init";

/// The annotation that says where the host has a device, for which the specification has no word either: this and the path of the
/// device in the container.
pub(crate) const DEVICE_SOURCE: &str = "rocker.device:";

/// The annotation that says which part of a mount's source is meant, for which the specification has no word: this and the mount's destination. It is looked up in the source
/// when that is open, so that no symbolic link in it leads out.
pub(crate) const SUBPATH: &str = "rocker.subpath:";

/// The annotation with the groups that are added to those of whichever user, by name or number, with commas between them.
pub(crate) const GROUPS: &str = "rocker.groups";

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
    /// Where the files of its volumes are, one by one.
    pub(crate) places: &'a [Place],
    /// What the container finds that it is put into.
    pub(crate) surroundings: &'a Surroundings,
}

/// Writes the specification: the one source of truth for all that follows.
pub(crate) fn build(facts: &Facts<'_>) -> Result<Spec> {
    let options = facts.options;
    let capabilities = process::capabilities(options)?;
    let path = match &options.root_directory {
        Some(root) if !root.overlay => root.path.as_path(),
        _ => Path::new("rootfs"),
    };
    let root = RootBuilder::default()
        .path(path)
        .readonly(options.read_only);
    let mut spec = SpecBuilder::default()
        .root(root.build()?)
        .mounts(mounts::mounts(facts)?)
        .annotations(annotations(facts))
        .process(process::process(facts, capabilities)?)
        .linux(linux::linux(facts, capabilities)?);
    if let Some(name) = names::domainname(facts)? {
        spec = spec.domainname(name);
    }
    let mut spec = spec.build()?;
    // The builder has a name of its own where it is told none, which would become the host's.
    spec.set_hostname(names::own_hostname(facts)?);
    Ok(spec)
}

/// What the specification has no place for: what the caller adds, how the container is ended, as the OCI image
/// specification has it converted, whether there is an init, further groups, and where the host has its devices.
fn annotations(facts: &Facts<'_>) -> HashMap<String, String> {
    let of_image = || facts.image.config().as_ref()?.stop_signal().clone();
    let signal = facts.options.stop_signal.clone().or_else(of_image);
    let signal = signal.map(|signal| (STOP_SIGNAL.to_owned(), signal));
    let init = facts
        .options
        .init
        .then(|| (INIT.to_owned(), "true".to_owned()));
    let devices = facts.options.devices.iter();
    let devices = devices
        .filter(|device| device.source != device.destination)
        .map(|device| {
            let at = device.destination.to_string_lossy();
            let source = device.source.to_string_lossy().into_owned();
            (format!("{DEVICE_SOURCE}{at}"), source)
        });
    let subpaths = subpaths(&facts.options.volumes, facts.places);
    let groups = &facts.options.group_add;
    let groups = (!groups.is_empty()).then(|| (GROUPS.to_owned(), groups.join(",")));
    let said = signal.into_iter().chain(init).chain(groups);
    let asked = facts.options.annotations.clone();
    let all = asked.into_iter().chain(said).chain(devices);
    all.chain(subpaths).collect()
}

/// What of each volume is meant, where that is not all.
fn subpaths(volumes: &[Volume], places: &[Place]) -> impl Iterator<Item = (String, String)> {
    let volumes = volumes.iter().zip(places);
    volumes.filter_map(|(volume, place)| {
        let at = volume.destination.to_string_lossy();
        let subpath = place.subpath.as_ref()?.to_string_lossy().into_owned();
        Some((format!("{SUBPATH}{at}"), subpath))
    })
}

/// The specification's words for the volumes of a container alone, which never ran.
pub(crate) fn of_volumes(volumes: &[Volume], places: &[Place]) -> Result<Spec> {
    let mut mounts = mounts::volumes(volumes, places, false)?;
    mounts::by_depth(&mut mounts);
    let annotations: HashMap<_, _> = subpaths(volumes, places).collect();
    let spec = SpecBuilder::default().mounts(mounts);
    Ok(spec.annotations(annotations).build()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::image::{ConfigBuilder, ImageConfigurationBuilder};
    use rocker_cgroup::{Limits, Max};

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
            places: &[],
            surroundings: &Surroundings::default(),
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
            Some(Path::new("/rocker-0123456789abcdef"))
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
        let mut limits = crate::engine::spec::parts::limits(&read).unwrap();
        // The rules on devices are the specification's own.
        let rules = limits.devices.take().unwrap();
        assert_eq!(rules[0], rocker_cgroup::DeviceRule::DENY_ALL);
        assert_eq!(limits, options.limits);
    }

    #[test]
    fn dropping_all_and_adding_one_leaves_that_one() {
        let mut options = RunOptions::new("image");
        options.cap_drop = vec!["ALL".into()];
        options.cap_add = vec!["net_raw".into()];
        let names: Vec<_> = process::capabilities(&options).unwrap().names().collect();
        assert_eq!(names, ["CAP_NET_RAW"]);
    }
}
