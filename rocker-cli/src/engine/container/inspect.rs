//! All that is known of a container, in the shape of Docker's `inspect`: what exists here, under the names that it has there.

use std::collections::BTreeMap;

use rocker_image::Image;
use rocker_net::PortForward;
use serde_json::{Map, Value, json};

use super::record::{Health, Record, State};
use crate::engine::image::the_one;
use crate::engine::log::LOG;
use crate::engine::options::{LogDriver, RunOptions, SeccompProfile, Share, StorageOptions, Users};
use crate::engine::rootfs::storage::Storage;
use crate::engine::time::text;
use crate::engine::{Engine, Status};
use crate::{Error, Result};

pub(super) mod mounts;
mod resources;

/// What Docker says for a time that there was not.
const NEVER: &str = "0001-01-01T00:00:00Z";

impl Engine {
    /// A container as JSON.
    ///
    /// # Errors
    /// [`Error::NoContainer`], [`Error::Damaged`].
    pub fn inspect(&self, name: &str) -> Result<Value> {
        let found = self.container(name)?;
        let no_container = || Error::NoContainer {
            name: name.to_owned(),
        };
        let record = self.record(&found.id)?.ok_or_else(no_container)?;
        let state = self.state(&found.id)?;
        let options = &record.options;
        let data = self.roots().containers().join(&found.id);
        let image = record.manifest.parse().ok();
        let image = image.and_then(|digest| self.store().ok()?.by_manifest(&digest).ok()?);
        let layers = image.as_ref().and_then(|image| self.lower_dirs(image).ok());
        let file = |name: &str| data.join(name).display().to_string();
        let storage = Storage::of(&data, options)?;
        let driver = storage.driver.to_string();
        let mut kept: BTreeMap<_, _> = storage
            .data(&data, &layers.unwrap_or_default())
            .into_iter()
            .collect();
        if let Some(why) = storage.why {
            kept.insert("Why", why);
        }
        let command = &record.command;
        Ok(json!({
            "Id": record.id,
            "Created": text(record.created),
            "Path": command.first(),
            "Args": command.get(1..).unwrap_or_default(),
            "State": state_of(state.as_ref(), matches!(found.status, Status::Running { paused: true, .. })),
            "Image": image.as_ref().map(|image| image.config_digest().to_string()),
            "ImageManifestDescriptor": {"digest": record.manifest},
            "ResolvConfPath": file("resolv.conf"),
            "HostnamePath": file("hostname"),
            "HostsPath": file("hosts"),
            "LogPath": match options.log.driver {
                Some(LogDriver::None) => String::new(),
                _ => data.join(LOG).display().to_string(),
            },
            "Name": format!("/{}", record.name),
            "RestartCount": restarts(state.as_ref()),
            "Driver": driver,
            "Platform": image.as_ref().map(|image| image.platform().os),
            "AppArmorProfile": options.apparmor.clone().unwrap_or_default(),
            "ProcessLabel": options.selinux.clone().unwrap_or_default(),
            "HostConfig": host_config(options),
            "GraphDriver": {
                "Name": driver,
                "Data": kept,
            },
            "Mounts": mounts::mounts(options, &self.roots().volumes()),
            "Config": config(&record, image.as_ref()),
            "NetworkSettings": self.network_settings(&record, &found.status),
        }))
    }

    /// An image as JSON.
    ///
    /// # Errors
    /// [`Error::NoImage`], [`Error::Ambiguous`].
    pub fn inspect_image(&self, name: &str) -> Result<Value> {
        let image = the_one(self.store()?, name)?;
        let config = image.config();
        let names: Vec<_> = image
            .references()
            .iter()
            .map(|name| name.familiar())
            .collect();
        let layers: Vec<_> = image.diff_ids().map(ToString::to_string).collect();
        let platform = image.platform();
        Ok(json!({
            "Id": image.config_digest().to_string(),
            "RepoTags": names,
            "Digest": image.manifest_digest().to_string(),
            "Created": image.created(),
            "Author": config.author(),
            "Config": config.config(),
            "Architecture": platform.architecture,
            "Variant": platform.variant,
            "Os": platform.os,
            "Size": image.size(),
            "RootFS": {"Type": "layers", "Layers": layers},
            "History": config.history(),
        }))
    }

    fn network_settings(&self, record: &Record, status: &Status) -> Value {
        let is_up = status.is_up();
        let (mut settings, networks) = self.endpoints_of(record, is_up);
        if let Some(map) = settings.as_object_mut() {
            // What only a place on a network has.
            for name in [
                "IPAMConfig",
                "Links",
                "Aliases",
                "DriverOpts",
                "GwPriority",
                "NetworkID",
                "DNSNames",
            ] {
                map.remove(name);
            }
            let found =
                crate::engine::network::ports::found(&self.roots().running().join(&record.id));
            let found = found.as_ref().unwrap_or(&record.options.ports);
            let found: &[_] = if is_up { found } else { &[] };
            map.insert("Ports".into(), ports(found));
            map.insert("Networks".into(), networks);
        }
        settings
    }
}

fn restarts(state: Option<&State>) -> u32 {
    match state {
        Some(State::Running(running)) => running.restarts,
        Some(State::Restarting(ended) | State::Exited(ended)) => ended.restarts,
        _ => 0,
    }
}

fn state_of(state: Option<&State>, paused: bool) -> Value {
    let mut value = json!({
        "Status": if paused { "paused" } else { Status::from(state).word() },
        "Running": matches!(state, Some(State::Running(_) | State::Restarting(_))),
        "Paused": paused,
        "Restarting": matches!(state, Some(State::Restarting(_))),
        "OOMKilled": false,
        "OOMLevel": "",
        "Dead": false,
        "Pid": 0,
        "ExitCode": 0,
        "Error": "",
        "StartedAt": NEVER,
        "FinishedAt": NEVER,
    });
    let mut set = |name: &str, to: Value| value[name] = to;
    let health = match state {
        Some(State::Running(running)) => {
            set("Pid", running.pid.into());
            set("StartedAt", text(running.started).into());
            running.health.as_ref()
        }
        Some(State::Restarting(ended) | State::Exited(ended)) => {
            set("ExitCode", ended.code.into());
            set("OOMKilled", ended.oom_killed.into());
            set(
                "OOMLevel",
                ended.oom_level.clone().unwrap_or_default().into(),
            );
            set("Error", ended.error.clone().unwrap_or_default().into());
            set("StartedAt", text(ended.started).into());
            set("FinishedAt", text(ended.finished).into());
            ended.health.as_ref()
        }
        _ => None,
    };
    if let Some(health) = health {
        set("Health", health_of(health));
    }
    value
}

fn health_of(health: &Health) -> Value {
    let log = health.log.iter().map(|probe| {
        json!({
            "Start": text(probe.start),
            "End": text(probe.end),
            "ExitCode": probe.code,
            "Output": probe.output,
        })
    });
    json!({
        "Status": health.status.word(),
        "FailingStreak": health.failing,
        "Log": log.collect::<Value>(),
    })
}

/// Whose view of something it has, in Docker's words.
fn share(share: &Share) -> String {
    match share {
        Share::Own => "private".to_owned(),
        Share::Host => "host".to_owned(),
        Share::Container(name) => format!("container:{name}"),
    }
}

/// What the caller asked for that concerns the host.
fn host_config(options: &RunOptions<'_>) -> Value {
    let (policy, most) = match options.restart {
        crate::engine::Restart::OnFailure { most } => ("on-failure".to_owned(), most.unwrap_or(0)),
        other => (other.to_string(), 0),
    };
    let driver = match options.log.driver {
        Some(LogDriver::None) => "none",
        _ => "json-file",
    };
    let mut log = Map::new();
    if let Some(size) = options.log.max_size {
        log.insert("max-size".into(), size.to_string().into());
    }
    if let Some(files) = options.log.max_files {
        log.insert("max-file".into(), files.to_string().into());
    }
    let seccomp = match &options.seccomp {
        SeccompProfile::Default => None,
        SeccompProfile::Unconfined => Some("seccomp=unconfined".to_owned()),
        SeccompProfile::File(path) => Some(format!("seccomp={}", path.display())),
    };
    let new = options
        .no_new_privileges
        .then(|| "no-new-privileges".to_owned());
    let open = options
        .open_system_paths
        .then(|| "systempaths=unconfined".to_owned());
    let security: Vec<_> = [seccomp, new, open].into_iter().flatten().collect();
    let tmpfs = options.tmpfs.iter().map(|tmpfs| {
        let path = tmpfs.destination.display().to_string();
        (path, Value::from(tmpfs.options.join(",")))
    });
    let devices = options.devices.iter().map(|device| {
        json!({
            "PathOnHost": device.source,
            "PathInContainer": device.destination,
            "CgroupPermissions": device.access.to_string(),
        })
    });
    let ulimits = options
        .rlimits
        .iter()
        .map(|limit| json!({"Name": limit.name(), "Soft": limit.soft, "Hard": limit.hard}));
    let sysctls: BTreeMap<_, _> = options.sysctls.iter().cloned().collect();
    let mut config = json!({
        "Binds": mounts::binds(options),
        "Mounts": mounts::asked(options),
        "VolumesFrom": options.volumes_from.iter().map(|from| match from.read_only {
            true => format!("{}:ro", from.container),
            false => from.container.clone(),
        }).collect::<Vec<_>>(),
        "LogConfig": {"Type": driver, "Config": log},
        "NetworkMode": options.endpoints.first().map_or_else(|| options.network.to_string(), |first| first.network.clone()),
        "Dns": options.dns,
        "DnsSearch": options.dns_search,
        "DnsOptions": options.dns_options,
        "ExtraHosts": options.hosts.iter().map(|(name, address)| format!("{name}:{address}")).collect::<Vec<_>>(),
        "PortBindings": ports(&options.ports),
        "PublishAllPorts": options.publish_all,
        "RestartPolicy": {"Name": policy, "MaximumRetryCount": most},
        "AutoRemove": options.remove,
        "Annotations": options.annotations,
        "CapAdd": options.cap_add,
        "CapDrop": options.cap_drop,
        "GroupAdd": options.group_add,
        "IpcMode": share(&options.ipc),
        "OomScoreAdj": options.oom_score_adj.unwrap_or(0),
        "PidMode": match &options.pid { Share::Own => String::new(), other => share(other) },
        "Privileged": options.privileged,
        "ReadonlyRootfs": options.read_only,
        "StorageOpt": storage_opt(options),
        "SecurityOpt": security,
        "Tmpfs": tmpfs.collect::<Map<_, _>>(),
        "UTSMode": match &options.uts { Share::Own => String::new(), other => share(other) },
        "UsernsMode": match &options.users {
            Users::Host => "host",
            Users::Auto => "auto",
            Users::KeepId => "keep-id",
            Users::Maps { .. } => "private",
        },
        "ShmSize": options.shm_size.unwrap_or(64 << 20),
        "Sysctls": sysctls,
        "Init": options.init,
        "Devices": devices.collect::<Vec<_>>(),
        "Ulimits": ulimits.collect::<Vec<_>>(),
    });
    if let Value::Object(config) = &mut config {
        config.extend(resources::of(options));
    }
    config
}

/// How it was asked for that its files be kept; null as Docker has it where nothing was asked for.
fn storage_opt(options: &RunOptions<'_>) -> Option<BTreeMap<&'static str, String>> {
    let StorageOptions { driver, size_bytes } = options.storage;
    let mut all = BTreeMap::new();
    all.extend(driver.map(|driver| ("driver", driver.to_string())));
    all.extend(size_bytes.map(|bytes| ("size", bytes.to_string())));
    (!all.is_empty()).then_some(all)
}

/// What image and caller say of the program.
fn config(record: &Record, image: Option<&Image>) -> Value {
    let options = &record.options;
    let of_image = image.and_then(|image| image.config().config().as_ref());
    let mut env = BTreeMap::new();
    let image_env = of_image.and_then(|config| config.env().clone());
    crate::engine::spec::add_variables(&mut env, &image_env.unwrap_or_default(), false);
    crate::engine::spec::add_variables(&mut env, &options.env, true);
    let env: Vec<_> = env
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let workdir = || of_image?.working_dir().clone();
    let user = || of_image?.user().clone();
    let entrypoint = match &options.entrypoint {
        Some(program) => Some(vec![program.clone()]),
        None => of_image.and_then(|config| config.entrypoint().clone()),
    };
    let own = entrypoint
        .as_ref()
        .map_or(0, |list| list.iter().filter(|one| !one.is_empty()).count());
    let mut config = json!({
        "Hostname": options.hostname.clone().unwrap_or_else(|| record.id.chars().take(12).collect()),
        "Domainname": options.domainname.clone().unwrap_or_default(),
        "User": options.user.clone().or_else(user).unwrap_or_default(),
        "Tty": options.io.terminal,
        "OpenStdin": options.io.interactive,
        "Env": env,
        "Cmd": record.command.get(own..).unwrap_or_default(),
        "Image": options.image,
        "WorkingDir": options.workdir.clone().or_else(workdir).unwrap_or_default(),
        "Entrypoint": entrypoint,
        "Labels": options.labels,
        "StopSignal": record.stop_signal.clone().unwrap_or_else(|| "SIGTERM".to_owned()),
        "StopTimeout": options.stop_timeout.map(|time| time.as_secs()),
    });
    if let Some(check) = &record.health {
        let test: Vec<_> = ["CMD".to_owned()]
            .into_iter()
            .chain(check.command.clone())
            .collect();
        let nanos = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        config["Healthcheck"] = json!({
            "Test": test,
            "Interval": nanos(check.interval),
            "Timeout": nanos(check.timeout),
            "Retries": check.retries,
            "StartPeriod": nanos(check.start_period),
            "StartInterval": nanos(check.start_interval),
        });
    }
    config
}

/// `80/tcp` and where it is found on the host; as asked for, where that is not settled.
fn ports(forwards: &[PortForward]) -> Value {
    let mut ports: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for forward in forwards {
        let address = forward
            .host_address
            .map_or_else(|| "0.0.0.0".to_owned(), |one| one.to_string());
        let open = (0..forward.count).map(|number| {
            let first = forward.host_port;
            let host = match (first, forward.among) {
                (0, _) => String::new(),
                (_, 1) => (u32::from(first) + u32::from(number)).to_string(),
                (_, among) => format!("{first}-{}", u32::from(first) + u32::from(among) - 1),
            };
            (host, u32::from(forward.container_port) + u32::from(number))
        });
        for (host, inside) in open {
            let at = ports
                .entry(format!("{inside}/{}", forward.transport))
                .or_default();
            at.push(json!({"HostIp": address, "HostPort": host}));
        }
    }
    json!(ports)
}
