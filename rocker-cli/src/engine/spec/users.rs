//! Who the users of a container are outside.

use std::collections::BTreeSet;
use std::ops::Range;

use rocker_ns::IdMap;

use super::parts;
use super::surroundings::Maps;
use crate::engine::container::ids;
use crate::engine::options::{RunOptions, Users};
use crate::engine::{Engine, rootless};
use crate::{Error, Result};

/// What there is for an ordinary user, and why.
const ORDINARY: &str = "host or keep-id for an ordinary user: other ids need layers that are seen through an id map, which the kernel makes for root alone";

/// How many users a container has that has its own.
const COUNT: u32 = 1 << 16;
/// The blocks of so many ids that systemd's convention sets aside for containers: 524288 to 1879048191.
const BLOCKS: Range<u32> = 8..0x7000;

impl Engine {
    /// Who the users of a new container are; none where they are the same as outside. To be called while no other container is being
    /// made, so that no two choose the same. Without an `id` it is of none that is to run.
    pub(crate) fn users(&self, options: &RunOptions<'_>, id: Option<&str>) -> Result<Option<Maps>> {
        let rootless = rootless::in_user_namespace()?;
        match &options.users {
            Users::Host => Ok(None),
            Users::KeepId if rootless => keep_id().map(Some),
            Users::KeepId => Err(Error::bad_value(
                "--userns",
                "keep-id",
                "auto or host for root, who has nobody's id to keep",
            )),
            Users::Auto if rootless => Err(Error::bad_value("--userns", "auto", ORDINARY)),
            Users::Maps { uids, gids } if rootless => {
                let (flag, map) = match uids.first() {
                    Some(map) => ("--uidmap", Some(map)),
                    None => ("--gidmap", gids.first()),
                };
                Err(Error::bad_value(
                    flag,
                    map.map(shown).unwrap_or_default(),
                    format!("none, but --userns {ORDINARY}"),
                ))
            }
            Users::Auto => Ok(Some(self.block_of_ids(id)?)),
            Users::Maps { uids, gids } => {
                let other = |own: &[IdMap], other: &[IdMap]| match own.is_empty() {
                    true => other.to_vec(),
                    false => own.to_vec(),
                };
                let maps = Maps {
                    uids: other(uids, gids),
                    gids: other(gids, uids),
                };
                check("--uidmap", &maps.uids)?;
                check("--gidmap", &maps.gids)?;
                Ok(Some(maps))
            }
        }
    }

    /// Ids that no other container has: where the container's own id points to, or behind. So they are mostly the same at each start.
    fn block_of_ids(&self, id: Option<&str>) -> Result<Maps> {
        let mut taken = BTreeSet::new();
        let others = match id {
            Some(_) => ids(&self.roots().containers())?,
            None => Vec::new(),
        };
        for other in others.iter().filter(|other| id != Some(other)) {
            let spec = self.spec_of(other).ok().flatten();
            let maps = spec.map(|spec| parts::id_maps(&spec)).into_iter().flatten();
            taken.extend(
                maps.flatten()
                    .flat_map(|map| blocks(map.outside, map.count)),
            );
        }
        // Nor those that were granted to somebody.
        for (first, count) in rocker_ns::granted_ids() {
            taken.extend(blocks(first, count));
        }
        let digits = id.and_then(|id| id.get(..8)).unwrap_or_default();
        let number = u32::from_str_radix(digits, 16).unwrap_or(0);
        let span = BLOCKS.end - BLOCKS.start;
        let block = (0..span)
            .map(|step| BLOCKS.start + (number % span + step) % span)
            .find(|block| !taken.contains(block));
        let block = block.ok_or_else(|| {
            Error::bad_value(
                "--userns",
                "auto",
                "fewer containers with users of their own",
            )
        })?;
        let map = vec![IdMap {
            inside: 0,
            outside: block * COUNT,
            count: COUNT,
        }];
        Ok(Maps {
            uids: map.clone(),
            gids: map,
        })
    }
}

/// The blocks in which a run of ids lies, of those that are for containers.
fn blocks(first: u32, count: u32) -> Range<u32> {
    let last = first.saturating_add(count.saturating_sub(1));
    let clip = |block: u32| block.clamp(BLOCKS.start, BLOCKS.end);
    clip(first / COUNT)..clip(last / COUNT + 1)
}

/// The caller's own ids, which are 0 in the user namespace that rocker is in, under the numbers that they have outside of it.
fn keep_id() -> Result<Maps> {
    let map = |all: Vec<IdMap>| {
        let own = all.iter().find(|run| run.inside == 0);
        let count = all.iter().map(|run| run.count).sum();
        own.map_or_else(Vec::new, |own| keep(own.outside, count))
    };
    Ok(Maps {
        uids: map(rocker_ns::own_uid_map()?),
        gids: map(rocker_ns::own_gid_map()?),
    })
}

/// The user and group that the caller has outside of the user namespace that rocker is in.
pub(crate) fn callers_own() -> Result<String> {
    let own = |maps: Vec<IdMap>| maps.iter().find_map(|run| run.outside_of(0)).unwrap_or(0);
    let (user, group) = (
        own(rocker_ns::own_uid_map()?),
        own(rocker_ns::own_gid_map()?),
    );
    Ok(format!("{user}:{group}"))
}

/// `id` for 0, and all of the `count` others that there are around it, in order.
fn keep(id: u32, count: u32) -> Vec<IdMap> {
    let run = |inside, outside, count| IdMap {
        inside,
        outside,
        count,
    };
    let below = id.min(count.saturating_sub(1));
    let above = count.saturating_sub(1 + below);
    [
        run(0, 1, below),
        run(id, 0, 1),
        run(id.saturating_add(1), 1 + below, above),
    ]
    .into_iter()
    .filter(|run| run.count > 0)
    .collect()
}

/// Whether a map is one that the kernel takes, see user_namespaces(7).
fn check(flag: &'static str, maps: &[IdMap]) -> Result<()> {
    let bad = |map: &IdMap, expected: &str| Error::bad_value(flag, shown(map), expected);
    if !maps.iter().any(|map| map.inside == 0) {
        return Err(Error::bad_value(
            flag,
            String::new(),
            "a map that has the container's root, such as 0:100000:65536",
        ));
    }
    let overlap = |one: u32, ones: u32, other: u32, others: u32| {
        u64::from(one) < u64::from(other) + u64::from(others)
            && u64::from(other) < u64::from(one) + u64::from(ones)
    };
    for (at, map) in maps.iter().enumerate() {
        let ends = [map.inside, map.outside].map(|first| first.checked_add(map.count));
        if map.count == 0 || ends.contains(&None) {
            return Err(bad(map, "at least one id, and none above 4294967294"));
        }
        if maps[..at].iter().any(|other| {
            overlap(map.inside, map.count, other.inside, other.count)
                || overlap(map.outside, map.count, other.outside, other.count)
        }) {
            return Err(bad(map, "maps that do not overlap"));
        }
    }
    Ok(())
}

/// A run of ids as the command line has it.
fn shown(map: &IdMap) -> String {
    map.to_string().replace(' ', ":")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(maps: &[IdMap]) -> Vec<String> {
        maps.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_callers_id_is_kept_and_all_others_have_one() {
        assert_eq!(
            all(&keep(1000, 65_537)),
            ["0 1 1000", "1000 0 1", "1001 1001 64536"]
        );
        assert_eq!(all(&keep(1000, 1)), ["1000 0 1"]);
        assert_eq!(all(&keep(0, 10)), ["0 0 1", "1 1 9"]);
        assert_eq!(all(&keep(100_000, 10)), ["0 1 9", "100000 0 1"]);
    }

    #[test]
    fn a_run_of_ids_takes_every_block_that_it_touches() {
        assert_eq!(blocks(600_000, 65_536), 9..11);
        assert_eq!(blocks(524_288, 65_536), 8..9);
        assert_eq!(blocks(493_216, 65_536), 8..9);
        assert_eq!(blocks(100_000, 65_536), 8..8);
        assert_eq!(blocks(0, u32::MAX), BLOCKS);
    }

    #[test]
    fn maps_that_the_kernel_would_refuse_are_refused_with_a_reason() {
        let map = |inside, outside, count| IdMap {
            inside,
            outside,
            count,
        };
        check("--uidmap", &[map(0, 1000, 1), map(1, 2000, 5)]).unwrap();
        for maps in [
            &[][..],
            &[map(1, 1000, 1)],
            &[map(0, 1000, 0)],
            &[map(0, 1000, 2), map(1, 5000, 1)],
            &[map(0, 1000, 2), map(5, 1001, 1)],
            &[map(0, u32::MAX, 2)],
        ] {
            assert!(check("--uidmap", maps).is_err(), "{maps:?}");
        }
    }
}
