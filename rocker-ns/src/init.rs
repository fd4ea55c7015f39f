//! What a process needs to become the init of its PID namespace.
//!
//! It is a copy of the program that made it, with all that was in that program's memory: its heap, its arguments, its
//! environment. A container's init has no use for them, and a container's programs would find them there. So it moves
//! to a stack of its own and unmaps everything but code and static data, by a list that is made here beforehand.
//! What it does then is [`child::init`](crate::child).

use std::fs;
use std::ops::Range;

use nix::unistd::{SysconfVar, sysconf};

use crate::sys::{self, Mapping};
use crate::{Error, Result};

/// The memory of a future init: a list from one end, its stack from the other.
///
/// The list is of words: the number of ranges to unmap; one range to wipe; the ranges to unmap. A range is an address and
/// a length.
#[derive(Debug)]
pub(crate) struct Init {
    memory: Mapping,
}

/// What the stack has room for, at least.
const STACK: usize = 32 << 10;
/// Where a file tells which memory this process has mapped, see proc_pid_maps(5).
const MAPS: &str = "/proc/self/maps";

impl Init {
    /// Makes the list, for a child that is made right after.
    pub(crate) fn prepare() -> Result<Self> {
        let maps = fs::read_to_string(MAPS).map_err(|source| Error::Proc {
            operation: "read",
            path: MAPS.to_owned(),
            source,
        })?;
        let page = page_size();
        let mut keep = sys::objects();
        keep.extend(of_the_kernel(&maps));
        // The kernel goes on writing there, and would end a process that has nothing there.
        let rseq = sys::rseq_area().map(|area| pages(&area, page));
        keep.extend(rseq.clone());
        // Between and around what is kept there is at most one gap more; two words each, as for what is to be wiped.
        let list = (2 * (keep.len() + 2) + 4) * size_of::<usize>();
        let mut memory = Mapping::private((list + STACK).next_multiple_of(page))?;
        keep.push(memory.range());
        let gaps = gaps(keep, end_of_memory(&maps), page);
        let wipe = rseq.unwrap_or(0..0);
        let ranges = std::iter::once(wipe).chain(gaps.iter().cloned());
        let numbers = ranges.flat_map(|range| [range.start, range.len()]);
        let numbers = std::iter::once(gaps.len()).chain(numbers);
        for (word, number) in memory.words().iter_mut().zip(numbers) {
            *word = number;
        }
        Ok(Self { memory })
    }

    /// Where the memory lies.
    pub(crate) fn range(&self) -> Range<usize> {
        self.memory.range()
    }
}

/// The size of a page of memory; the largest there is where the kernel does not tell.
fn page_size() -> usize {
    let known = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    known
        .and_then(|size| usize::try_from(size).ok())
        .unwrap_or(64 << 10)
}

/// What the kernel has mapped, which it may not let go.
fn of_the_kernel(maps: &str) -> impl Iterator<Item = Range<usize>> {
    let named = |line: &&str| line.ends_with("[vdso]") || line.contains("[vvar");
    maps.lines().filter(named).filter_map(|line| {
        let (range, _) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let number = |digits| usize::from_str_radix(digits, 16).ok();
        Some(number(start)?..number(end)?)
    })
}

/// The end of the last mapping that is a process's own; the vsyscall page, in the upper half, is the kernel's.
fn end_of_memory(maps: &str) -> usize {
    let end = |line: &str| {
        let (_, rest) = line.split_once('-')?;
        usize::from_str_radix(rest.split(' ').next()?, 16).ok()
    };
    let ends = maps.lines().filter_map(end);
    ends.filter(|end| *end < usize::MAX / 2).max().unwrap_or(0)
}

/// The whole pages that a range touches.
fn pages(range: &Range<usize>, page: usize) -> Range<usize> {
    range.start - range.start % page..range.end.next_multiple_of(page)
}

/// What lies between the ranges of `keep` and around them, up to `end`, in whole pages of that size.
fn gaps(mut keep: Vec<Range<usize>>, end: usize, page: usize) -> Vec<Range<usize>> {
    keep.sort_by_key(|range| range.start);
    let mut gaps = Vec::new();
    let mut free = 0;
    for range in keep {
        let kept = pages(&range, page);
        if kept.start > free {
            gaps.push(free..kept.start);
        }
        free = free.max(kept.end);
    }
    if end > free {
        gaps.push(free..end);
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_kept_is_let_go_in_whole_pages() {
        let keep = vec![
            0x70_0001..0x71_0001,
            0x20_0000..0x21_8000,
            0x21_9000..0x22_0000,
        ];
        assert_eq!(
            gaps(keep, 0x90_1000, 0x1_0000),
            [0..0x20_0000, 0x22_0000..0x70_0000, 0x72_0000..0x90_1000]
        );
        assert_eq!(gaps(vec![], 0x1000, 0x1000).first(), Some(&(0..0x1000)));
    }

    #[test]
    fn the_end_of_memory_is_that_of_the_last_own_mapping() {
        let maps = "55d0-55e0 r-xp 00000000 fe:00 1 /bin/true\n\
            7ffd0000-7fff0000 rw-p 00000000 00:00 0 [stack]\n\
            ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]\n";
        assert_eq!(end_of_memory(maps), 0x7fff_0000);
        assert_eq!(end_of_memory(""), 0);
    }

    #[test]
    fn the_list_spares_this_code_and_the_stack_to_come() {
        let mut init = Init::prepare().unwrap();
        let range = init.range();
        let words = init.memory.words();
        let (count, list) = (words[0], &words[3..]);
        let gaps: Vec<_> = list[..2 * count]
            .chunks(2)
            .map(|pair| pair[0]..pair[0] + pair[1])
            .collect();
        let lies_in = |address: usize| gaps.iter().any(|gap| gap.contains(&address));
        assert!(!lies_in(range.start) && !lies_in(range.end - 1));
        assert!(!lies_in(Init::prepare as *const () as usize));
        let (heap, stack) = (Box::new(1), 1);
        assert!(lies_in(std::ptr::from_ref(&*heap) as usize));
        assert!(lies_in(std::ptr::from_ref(&stack) as usize));
    }
}
