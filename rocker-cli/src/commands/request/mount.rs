//! `--mount type=…,source=…,target=…`, as Docker takes it.

use std::path::PathBuf;

use super::value::{bad, bytes};
use super::volume::{ids, name_of, path_of, place, propagation};
use crate::{Beneath, Error, MountIds, Result, Tmpfs, Volume, VolumeSource};

const FLAG: &str = "--mount";

/// What one `--mount` asks for.
#[derive(Debug)]
pub(super) enum Wanted {
    Volume(Box<Volume>),
    Tmpfs(Tmpfs),
}

/// What stands in one `--mount`.
#[derive(Default)]
struct Fields {
    kind: Option<String>,
    source: Option<String>,
    target: Option<String>,
    read_only: bool,
    /// Each of the others, in order.
    others: Vec<(String, String)>,
}

/// Reads one `--mount`.
pub(super) fn mount(text: &str) -> Result<Wanted> {
    let wrong = |why: &str| bad(FLAG, text, why);
    let mut fields = Fields::default();
    for field in split(text) {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (field.as_str(), None),
        };
        let key = key.trim().to_ascii_lowercase();
        let said = || {
            value
                .map(str::to_owned)
                .ok_or_else(|| wrong(&format!("{key}=VALUE")))
        };
        match key.as_str() {
            "type" => fields.kind = Some(said()?.to_ascii_lowercase()),
            "source" | "src" => fields.source = Some(said()?),
            "target" | "dst" | "destination" => fields.target = Some(said()?),
            "readonly" | "ro" => fields.read_only = truth(text, &key, value)?,
            "rw" => fields.read_only = !truth(text, &key, value)?,
            // For Docker Desktop.
            "consistency" => {
                said()?;
            }
            "volume-nocopy" | "bind-nonrecursive" | "idmap" => {
                fields
                    .others
                    .push((key, value.unwrap_or_default().to_owned()));
            }
            _ => fields.others.push((key.clone(), said()?)),
        }
    }
    let target = fields
        .target
        .as_deref()
        .ok_or_else(|| wrong("a target: target=PATH"))?;
    let target = place(FLAG, text, target)?;
    let source = |what: &str| {
        let given = fields.source.as_deref().filter(|source| !source.is_empty());
        given.ok_or_else(|| wrong(&format!("a source: source={what}")))
    };
    let source = match fields.kind.as_deref().unwrap_or("volume") {
        "bind" => VolumeSource::Bind(path_of(FLAG, text, source("PATH")?)?),
        "volume" => match fields.source.as_deref() {
            None | Some("") => VolumeSource::Anonymous(String::new()),
            Some(name) => VolumeSource::Named(name_of(FLAG, text, name)?),
        },
        "image" => VolumeSource::Image {
            name: source("IMAGE")?.to_owned(),
            manifest: String::new(),
        },
        "tmpfs" => return tmpfs(text, &fields, target).map(Wanted::Tmpfs),
        _ => return Err(wrong("type=bind, volume, tmpfs or image")),
    };
    let mut volume = Volume::new(source, target);
    // An image is another one's; podman as well lets it be written to only where that is asked for.
    let is_image = matches!(volume.source, VolumeSource::Image { .. });
    let asked_rw = split(text)
        .iter()
        .any(|field| field == "rw" || field.starts_with("rw="));
    volume.read_only = fields.read_only || is_image && !asked_rw;
    volume.as_mount = true;
    for (key, value) in &fields.others {
        apply(&mut volume, text, key, value)?;
    }
    Ok(Wanted::Volume(Box::new(volume)))
}

/// The fields of a line of CSV: commas separate, except between double quotes, of which two stand for one.
fn split(text: &str) -> Vec<String> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                field.push('"');
                chars.next();
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    fields.push(field);
    fields
}

fn truth(text: &str, key: &str, value: Option<&str>) -> Result<bool> {
    match value {
        None | Some("true" | "1" | "") => Ok(true),
        Some("false" | "0") => Ok(false),
        Some(_) => Err(bad(FLAG, text, format!("{key}=true or {key}=false"))),
    }
}

fn apply(volume: &mut Volume, text: &str, key: &str, value: &str) -> Result<()> {
    let wrong = |why: &str| Err::<(), Error>(bad(FLAG, text, why));
    let is_bind = matches!(volume.source, VolumeSource::Bind(_));
    let is_volume = volume.name().is_some();
    let pair = || {
        let (name, value) = value.split_once('=').unwrap_or((value, ""));
        (name.to_owned(), value.to_owned())
    };
    match key {
        "bind-propagation" if is_bind => match propagation(value) {
            Some(propagation) => volume.propagation = propagation,
            None => return wrong("bind-propagation=[r]private, [r]slave or [r]shared"),
        },
        "bind-nonrecursive" if is_bind => {
            if truth(text, key, Some(value))? {
                volume.beneath = Beneath::Nothing;
            }
        }
        "bind-recursive" if is_bind => {
            volume.beneath = match value {
                "enabled" | "true" | "1" => Beneath::All,
                "disabled" | "false" | "0" => Beneath::Nothing,
                "writable" => Beneath::Writable,
                "readonly" if volume.read_only => Beneath::All,
                "readonly" => return wrong("readonly beside bind-recursive=readonly"),
                _ => return wrong("bind-recursive=enabled, disabled, writable or readonly"),
            }
        }
        "idmap" if is_bind && value.is_empty() => volume.id_map = Some(MountIds::Containers),
        "idmap" if is_bind => volume.id_map = Some(ids(FLAG, text, value)?),
        "volume-nocopy" if is_volume => volume.no_copy = truth(text, key, Some(value))?,
        "volume-label" if is_volume => {
            let (name, value) = pair();
            volume.labels.insert(name, value);
        }
        "volume-driver" if is_volume && matches!(value, "local" | "") => {}
        "volume-driver" if is_volume => return wrong("volume-driver=local, which is the only one"),
        "volume-opt" if is_volume => {
            let (name, value) = pair();
            volume.options.insert(name, value);
        }
        "volume-subpath" | "subpath" if is_volume => volume.subpath = Some(part(text, value)?),
        _ => {
            return wrong(match (is_bind, is_volume) {
                (true, _) => {
                    "type, source, target, readonly, bind-propagation, bind-recursive and idmap of a bind"
                }
                (_, true) => {
                    "type, source, target, readonly, volume-nocopy, volume-label, volume-driver, volume-opt and volume-subpath of a volume"
                }
                _ => "type, source, target and rw of an image; a part of one cannot be mounted",
            });
        }
    }
    if key == "idmap" {
        volume.mode = format!("idmap={value}").trim_end_matches('=').to_owned();
    }
    Ok(())
}

/// A path that begins in the source.
fn part(text: &str, value: &str) -> Result<PathBuf> {
    let path = PathBuf::from(value);
    let leads_out = path
        .components()
        .any(|part| part == std::path::Component::ParentDir);
    match value.is_empty() || path.is_absolute() || leads_out {
        true => Err(bad(FLAG, text, "a relative subpath without `..`")),
        false => Ok(path),
    }
}

fn tmpfs(text: &str, fields: &Fields, destination: PathBuf) -> Result<Tmpfs> {
    let wrong = |why: &str| Err::<Tmpfs, Error>(bad(FLAG, text, why));
    if fields.source.is_some() {
        return wrong("no source with type=tmpfs");
    }
    let mut options = Vec::new();
    for (key, value) in &fields.others {
        match key.as_str() {
            "tmpfs-size" if value == "0" => {}
            "tmpfs-size" => options.push(format!("size={}", bytes(FLAG, value)?)),
            "tmpfs-mode" => {
                let octal = u32::from_str_radix(value, 8);
                match octal {
                    Ok(mode @ 0..=0o7777) => options.push(format!("mode={mode:o}")),
                    _ => return wrong("tmpfs-mode=MODE in octal digits, such as 1770"),
                }
            }
            _ => return wrong("type, target, readonly, tmpfs-size and tmpfs-mode of a tmpfs"),
        }
    }
    if fields.read_only {
        options.push("ro".to_owned());
    }
    Ok(Tmpfs {
        destination,
        options,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Volume {
        match mount(text).unwrap() {
            Wanted::Volume(volume) => *volume,
            Wanted::Tmpfs(tmpfs) => panic!("{tmpfs:?}"),
        }
    }

    #[test]
    fn mounts_are_dockers() {
        let volume = read("type=bind,src=/a,dst=/b,readonly,bind-propagation=rslave");
        assert_eq!(volume.source, VolumeSource::Bind("/a".into()));
        assert!(volume.read_only && volume.as_mount);
        assert_eq!(volume.propagation.word(), "rslave");
        assert!(!read("type=bind,src=/a,dst=/b,ro=false").read_only);
        assert_eq!(
            read("source=data,target=/b").source,
            VolumeSource::Named("data".into())
        );
        assert_eq!(
            read("target=/b").source,
            VolumeSource::Anonymous(String::new())
        );
        let volume = read(
            "src=data,dst=/b,volume-nocopy,volume-subpath=x/y,volume-label=a=b,volume-opt=o=bind",
        );
        assert!(volume.no_copy);
        assert_eq!(volume.subpath, Some("x/y".into()));
        assert_eq!(
            (&volume.labels["a"][..], &volume.options["o"][..]),
            ("b", "bind")
        );
        assert!(read("type=image,src=busybox,dst=/b").read_only);
        assert!(!read("type=image,src=busybox,dst=/b,rw=true").read_only);
        let volume = read("type=bind,src=/a,dst=/b,readonly,bind-recursive=writable");
        assert_eq!(volume.beneath, Beneath::Writable);
        assert_eq!(
            read("type=bind,\"src=/a,b\",dst=/b").source,
            VolumeSource::Bind("/a,b".into())
        );
        let Wanted::Tmpfs(tmpfs) =
            mount("type=tmpfs,dst=/t,tmpfs-size=64m,tmpfs-mode=1770").unwrap()
        else {
            panic!("a tmpfs was asked for");
        };
        assert_eq!(tmpfs.options, ["size=67108864", "mode=1770"]);
        for text in [
            "",
            "type=bind,src=/a",
            "type=bind,dst=/b",
            "type=other,dst=/b",
            "type=bind,src=/a,dst=b",
            "type=bind,src=/a,dst=/b,volume-nocopy",
            "src=data,dst=/b,bind-propagation=shared",
            "src=data,dst=/b,volume-subpath=../x",
            "src=data,dst=/b,volume-subpath=/x",
            "src=da/ta,dst=/b",
            "type=tmpfs,src=/a,dst=/b",
            "type=tmpfs,dst=/b,tmpfs-mode=9",
            "type=image,dst=/b",
            "type=bind,src=/a,dst=/b,bind-recursive=readonly",
            "type=bind,src=/a,dst=/b,readonly=maybe",
            "src=data,dst=/b,volume-driver=nfs",
        ] {
            assert!(
                matches!(mount(text), Err(Error::BadValue { .. })),
                "{text:?}"
            );
        }
    }
}
