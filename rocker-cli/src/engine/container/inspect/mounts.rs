//! What a container sees of files that are not its own, in the shape of Docker's `inspect`.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::engine::options::{RunOptions, Volume, VolumeSource};
use crate::engine::volume::record::DRIVER;

/// `Mounts`: where the volumes are, in the store at `store` and elsewhere.
pub(crate) fn mounts(options: &RunOptions<'_>, store: &Path) -> Value {
    let volumes = options.volumes.iter().map(|volume| one(volume, store));
    let tmpfs = options.tmpfs.iter().map(|tmpfs| {
        json!({
            "Type": "tmpfs",
            "Source": "",
            "Destination": tmpfs.destination,
            "Mode": tmpfs.options.join(","),
            "RW": !tmpfs.options.iter().any(|option| option == "ro"),
            "Propagation": "",
        })
    });
    volumes.chain(tmpfs).collect()
}

fn one(volume: &Volume, store: &Path) -> Value {
    let mut shown = json!({"Type": kind(volume)});
    let mut set = |name: &str, to: Value| shown[name] = to;
    let part = |path: PathBuf| match &volume.subpath {
        Some(part) => path.join(part),
        None => path,
    };
    match &volume.source {
        VolumeSource::Bind(path) => set("Source", json!(part(path.clone()))),
        VolumeSource::Named(name) | VolumeSource::Anonymous(name) => {
            set("Name", json!(name));
            set("Source", json!(part(store.join(name).join("_data"))));
            set("Driver", json!(DRIVER));
        }
        VolumeSource::Image { name, .. } => set("Source", json!(name)),
    }
    set("Destination", json!(volume.destination));
    let mode = match (&volume.mode[..], volume.read_only) {
        ("", true) if !volume.as_mount => "ro",
        (mode, _) => mode,
    };
    set("Mode", json!(mode));
    set("RW", json!(!volume.read_only));
    let propagation = match &volume.source {
        VolumeSource::Bind(_) => volume.propagation.word(),
        _ => "",
    };
    set("Propagation", json!(propagation));
    shown
}

fn kind(volume: &Volume) -> &'static str {
    match &volume.source {
        VolumeSource::Bind(_) => "bind",
        VolumeSource::Image { .. } => "image",
        VolumeSource::Named(_) | VolumeSource::Anonymous(_) => "volume",
    }
}

/// `HostConfig.Binds`: what was asked for as with `-v`, but for volumes without a name.
pub(crate) fn binds(options: &RunOptions<'_>) -> Vec<String> {
    let bind = |volume: &Volume| {
        let source = match &volume.source {
            VolumeSource::Bind(path) => path.display().to_string(),
            VolumeSource::Named(name) => name.clone(),
            _ => return None,
        };
        let mode = match (&volume.mode[..], volume.read_only) {
            ("", true) => "ro",
            (mode, _) => mode,
        };
        let colon = if mode.is_empty() { "" } else { ":" };
        let destination = volume.destination.display();
        Some(format!("{source}:{destination}{colon}{mode}"))
    };
    let asked = options.volumes.iter().filter(|volume| !volume.as_mount);
    asked.filter_map(bind).collect()
}

/// `HostConfig.Mounts`: what was asked for as with `--mount`.
pub(crate) fn asked(options: &RunOptions<'_>) -> Vec<Value> {
    let mount = |volume: &Volume| {
        let source = match &volume.source {
            VolumeSource::Bind(path) => json!(path),
            VolumeSource::Named(name) | VolumeSource::Image { name, .. } => json!(name),
            VolumeSource::Anonymous(_) => json!(""),
        };
        json!({
            "Type": kind(volume),
            "Source": source,
            "Target": volume.destination,
            "ReadOnly": volume.read_only,
        })
    };
    let asked = options.volumes.iter().filter(|volume| volume.as_mount);
    asked.map(mount).collect()
}
