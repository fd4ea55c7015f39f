//! `-v`: `[SRC:]DST[:OPTIONS]`, as Docker and podman take it.

use std::path::{Path, PathBuf, absolute};

use rocker_fs::Volumes;
use rocker_ns::IdMap;

use super::value::bad;
use crate::{Beneath, BindPropagation, Error, MountIds, Result, Volume, VolumeSource, VolumesFrom};

const FLAG: &str = "--volume";

/// What `-v` takes; a relative source is one below the working directory, and a source without a `/` is a volume's name.
pub(super) fn volume(text: &str) -> Result<Volume> {
    let wrong = |why: &str| bad(FLAG, text, why);
    let mut parts = text.splitn(3, ':');
    let (source, destination, options) = match (parts.next(), parts.next(), parts.next()) {
        (Some(destination), None, _) => (None, destination, None),
        // Of a volume without a name, Docker takes options as well.
        (Some(destination), Some(options), None)
            if !options.is_empty() && !options.contains('/') =>
        {
            (None, destination, Some(options))
        }
        (Some(source), Some(destination), options) => (Some(source), destination, options),
        (None, ..) => (None, "", None),
    };
    let source = match source {
        None => VolumeSource::Anonymous(String::new()),
        Some("") => return Err(wrong("[SRC:]DST[:OPTIONS]")),
        Some(source) if is_path(source) => VolumeSource::Bind(path_of(FLAG, text, source)?),
        Some(name) => VolumeSource::Named(name_of(FLAG, text, name)?),
    };
    let mut volume = Volume::new(source, place(FLAG, text, destination)?);
    for option in options.into_iter().flat_map(|list| list.split(',')) {
        apply(&mut volume, text, option)?;
    }
    volume.mode = options.unwrap_or_default().to_owned();
    Ok(volume)
}

/// `CONTAINER[:ro|rw]`
pub(super) fn from(text: &str) -> Result<VolumesFrom> {
    let (container, mode) = text.split_once(':').unwrap_or((text, "rw"));
    let read_only = match mode {
        "ro" | "ro,z" => true,
        "rw" | "z" | "rw,z" => false,
        _ => {
            return Err(bad(
                "--volumes-from",
                text,
                "CONTAINER, CONTAINER:ro or CONTAINER:rw",
            ));
        }
    };
    if container.is_empty() {
        return Err(bad(
            "--volumes-from",
            text,
            "a container in front of the colon",
        ));
    }
    Ok(VolumesFrom {
        container: container.to_owned(),
        read_only,
    })
}

/// Whether a source is a path of the host, and not a volume's name.
fn is_path(source: &str) -> bool {
    source.contains('/') || source.starts_with('.') || source.starts_with('~')
}

/// An absolute path of the host.
pub(super) fn path_of(flag: &'static str, text: &str, source: &str) -> Result<PathBuf> {
    absolute(source).map_err(|error| bad(flag, text, error.to_string()))
}

/// The name of a volume.
pub(super) fn name_of(flag: &'static str, text: &str, name: &str) -> Result<String> {
    match Volumes::is_name(name) {
        true => Ok(name.to_owned()),
        false => Err(bad(
            flag,
            text,
            format!(
                "a path with a `/` in it as the source, or the name of a volume, which {name:?} cannot be: a letter or digit, then letters, digits, `_`, `.` or `-`"
            ),
        )),
    }
}

/// A place in the container.
pub(super) fn place(flag: &'static str, text: &str, destination: &str) -> Result<PathBuf> {
    let path = PathBuf::from(destination);
    match path.is_absolute() && path != Path::new("/") {
        true => Ok(path),
        false => Err(bad(flag, text, "an absolute destination other than /")),
    }
}

fn apply(volume: &mut Volume, text: &str, option: &str) -> Result<()> {
    let is_volume = volume.name().is_some();
    let is_bind = matches!(volume.source, VolumeSource::Bind(_));
    let wrong = |why: &str| Err::<(), Error>(bad(FLAG, text, why));
    match option {
        "ro" => volume.read_only = true,
        "rw" => volume.read_only = false,
        // What they say is for SELinux, of which nothing here sets labels, and for Docker Desktop.
        "z" | "Z" | "cached" | "consistent" | "delegated" | "" => {}
        "nocopy" if is_volume => volume.no_copy = true,
        "nocopy" => {
            return wrong(
                "a volume where there is nocopy: nothing is copied into a directory of the host",
            );
        }
        "copy" if is_volume => volume.no_copy = false,
        "rbind" if is_bind => volume.beneath = Beneath::All,
        "bind" | "bind-nonrecursive" if is_bind => volume.beneath = Beneath::Nothing,
        "idmap" if is_bind => volume.id_map = Some(MountIds::Containers),
        other => {
            if let Some(propagation) = propagation(other) {
                if !is_bind {
                    return wrong(
                        "a directory of the host where mounts are to spread: a volume is mounted nowhere else",
                    );
                }
                // With or without an `r` in front, as with Docker: what is mounted beneath is left out by `bind-nonrecursive` alone.
                volume.propagation = propagation;
            } else if let (Some(maps), true) = (other.strip_prefix("idmap="), is_bind) {
                volume.id_map = Some(ids(FLAG, text, maps)?);
            } else {
                return wrong(
                    "ro, rw, z, Z, nocopy, [r]bind, [r]private, [r]slave, [r]shared and idmap[=uids=…;gids=…] behind the second colon, with commas between; nocopy of volumes, and the last of directories of the host",
                );
            }
        }
    }
    Ok(())
}

/// How mounts spread, in the kernel's words.
pub(super) fn propagation(word: &str) -> Option<BindPropagation> {
    match word.strip_prefix('r').unwrap_or(word) {
        "private" => Some(BindPropagation::Private),
        "slave" => Some(BindPropagation::Slave),
        "shared" => Some(BindPropagation::Shared),
        _ => None,
    }
}

/// `uids=[@]OWNER-USER-COUNT[#…][;gids=…]`, as podman takes it: who owns the files, who that is on the host, or behind an `@` in the container, and how many.
pub(super) fn ids(flag: &'static str, text: &str, maps: &str) -> Result<MountIds> {
    let wrong = || {
        bad(
            flag,
            text,
            "idmap=uids=OWNER-USER-COUNT;gids=OWNER-GROUP-COUNT, with # between several, and an @ in front of those whose second number is meant as in the container",
        )
    };
    let mut found: [Option<(Vec<IdMap>, bool)>; 2] = [None, None];
    for part in maps.split(';').filter(|part| !part.is_empty()) {
        let (which, runs) = part.split_once('=').ok_or_else(wrong)?;
        let at = match which {
            "uids" => 0,
            "gids" => 1,
            _ => return Err(wrong()),
        };
        let (inside, runs) = match runs.strip_prefix('@') {
            Some(runs) => (true, runs),
            None => (false, runs),
        };
        let runs: Option<Vec<_>> = runs.split('#').map(run).collect();
        found[at] = Some((
            runs.filter(|runs| !runs.is_empty()).ok_or_else(wrong)?,
            inside,
        ));
    }
    // What is said of users alone is meant of groups as well, as with --uidmap.
    let (uids, gids) = match found {
        [Some(uids), Some(gids)] => (uids, gids),
        [Some(both), None] | [None, Some(both)] => (both.clone(), both),
        [None, None] => return Err(wrong()),
    };
    Ok(MountIds::Maps {
        inside: [uids.1, gids.1],
        uids: uids.0,
        gids: gids.0,
    })
}

fn run(text: &str) -> Option<IdMap> {
    let mut numbers = text
        .trim_start_matches('@')
        .split('-')
        .map(str::parse::<u32>);
    match (
        numbers.next(),
        numbers.next(),
        numbers.next(),
        numbers.next(),
    ) {
        (Some(Ok(inside)), Some(Ok(outside)), Some(Ok(count @ 1..)), None) => Some(IdMap {
            inside,
            outside,
            count,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Volume {
        volume(text).unwrap()
    }

    #[test]
    fn volumes_are_read_as_source_destination_and_options() {
        let source = |text| read(text).source;
        assert_eq!(source("/a:/b"), VolumeSource::Bind("/a".into()));
        assert_eq!(source("data:/b"), VolumeSource::Named("data".into()));
        assert_eq!(source("/b"), VolumeSource::Anonymous(String::new()));
        assert_eq!(source("/b:ro"), VolumeSource::Anonymous(String::new()));
        assert!(read("/b:ro").read_only);
        assert!(matches!(source("./a:/b"), VolumeSource::Bind(path) if path.is_absolute()));
        assert!(read("/a:/b:ro").read_only);
        assert!(!read("/a:/b:rw,Z").read_only);
        assert!(read("data:/b:nocopy").no_copy);
        assert_eq!(read("/a:/b:rshared").propagation, BindPropagation::Shared);
        assert_eq!(read("/a:/b:bind").beneath, Beneath::Nothing);
        for word in [
            "private", "slave", "shared", "rprivate", "rslave", "rshared",
        ] {
            assert_eq!(
                read(&format!("/a:/b:{word}")).beneath,
                Beneath::All,
                "{word}"
            );
        }
        let both = read("/a:/b:bind,shared");
        assert_eq!(
            (both.beneath, both.propagation),
            (Beneath::Nothing, BindPropagation::Shared)
        );
        assert_eq!(read("/a:/b:ro,z").mode, "ro,z");
        for text in [
            "",
            "/a:",
            ":/b",
            "/a:b",
            "/a:/b:rx",
            "/a:/b:ro:x",
            "/a:/",
            "/",
            "a",
            "a!:/b",
            "/a:/b:nocopy",
            "data:/b:rshared",
            "data:/b:idmap",
        ] {
            assert!(
                matches!(volume(text), Err(Error::BadValue { .. })),
                "{text:?}"
            );
        }
    }

    #[test]
    fn id_maps_are_podmans() {
        let maps = |text: &str| ids(FLAG, text, text);
        let run = |inside, outside, count| IdMap {
            inside,
            outside,
            count,
        };
        let expected = MountIds::Maps {
            uids: vec![run(0, 1000, 1), run(1, 5, 2)],
            gids: vec![run(0, 100, 10)],
            inside: [false, true],
        };
        assert_eq!(
            maps("uids=0-1000-1#1-5-2;gids=@0-100-10").unwrap(),
            expected
        );
        assert!(
            matches!(maps("uids=0-1-1").unwrap(), MountIds::Maps { gids, .. } if gids == [run(0, 1, 1)])
        );
        for text in [
            "",
            "uids",
            "uids=",
            "uids=0-1",
            "uids=0-1-0",
            "pids=0-1-2",
            "uids=a-b-c",
        ] {
            assert!(maps(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_volumes_of_another_container_can_be_read_only() {
        assert!(from("web:ro").unwrap().read_only);
        assert_eq!(from("web").unwrap().container, "web");
        for text in ["", ":ro", "web:x"] {
            assert!(from(text).is_err(), "{text}");
        }
    }
}
