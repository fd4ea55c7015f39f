//! The kernel's list format for CPUs and memory nodes: `0-3,7`.

use std::collections::BTreeSet;

/// Above what any kernel counts (CPUs: 8192, memory nodes: 1024).
const END: u32 = 65_536;

/// Parses the list format of [cpuset(7)](https://man7.org/linux/man-pages/man7/cpuset.7.html); None if it is not one.
pub(crate) fn parse(text: &str) -> Option<BTreeSet<u32>> {
    let mut members = BTreeSet::new();
    for range in text.trim_end().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return None;
        }
        members.extend(first..=last);
    }
    Some(members)
}

fn number(text: &str) -> Option<u32> {
    // `parse` alone would take "+1".
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| digits && *number < END)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_and_single_numbers_mean_the_same_set_in_any_order() {
        assert_eq!(parse("0-2,4"), parse("4,0,1,2\n"));
        assert_eq!(parse("0"), Some(BTreeSet::from([0])));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in [
            "",
            ",",
            "a",
            "1-",
            "-1",
            "3-1",
            "0,,1",
            "+1",
            "0-4294967295",
            " 0",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[0-9,-]{0,20}") {
            if let Some(members) = parse(&text) {
                prop_assert!(!members.is_empty());
            }
        }
    }
}
