//! User and group IDs inside and outside of a user namespace.

/// The owner in place of one who is not mapped, as the kernel shows it.
const NOBODY: u32 = 65_534;

/// A run of user or group IDs: `count` of them from `inside` on are those from `outside` on, outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a line of /proc/PID/uid_map has these three numbers"
)]
pub struct IdRange {
    /// The first ID in the user namespace.
    pub inside: u32,
    /// The first ID outside of it.
    pub outside: u32,
    /// How many there are.
    pub count: u32,
}

/// The ID inside of a user namespace.
pub(crate) fn inside(map: &[IdRange], id: u32) -> u32 {
    if map.is_empty() {
        return id;
    }
    map.iter()
        .find_map(|range| {
            let offset = id.checked_sub(range.outside)?;
            (offset < range.count).then(|| range.inside + offset)
        })
        .unwrap_or(NOBODY)
}

/// The ID outside of a user namespace.
pub(crate) fn outside(map: &[IdRange], id: u32) -> u32 {
    if map.is_empty() {
        return id;
    }
    map.iter()
        .find_map(|range| {
            let offset = id.checked_sub(range.inside)?;
            (offset < range.count).then(|| range.outside + offset)
        })
        .unwrap_or(NOBODY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_found_from_either_side() {
        let map = [
            IdRange {
                inside: 0,
                outside: 1000,
                count: 1,
            },
            IdRange {
                inside: 1,
                outside: 100_000,
                count: 10,
            },
        ];
        for (within, without) in [(0, 1000), (1, 100_000), (10, 100_009)] {
            assert_eq!(outside(&map, within), without);
            assert_eq!(inside(&map, without), within);
        }
        assert_eq!((outside(&map, 11), inside(&map, 0)), (NOBODY, NOBODY));
        assert_eq!((outside(&[], 11), inside(&[], 12)), (11, 12));
    }
}
