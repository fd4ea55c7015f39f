//! Memory for a command that lives a moment.
#![allow(unsafe_code)] // An allocator cannot be written without.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// As much as the small pieces of a run take together.
const SIZE: usize = 768 << 10;
/// What is larger has a page of its own.
const SMALL: usize = 4096;
/// How much the kernel is asked to make ready at once. Otherwise each page is, when it is first written to, and the process stops
/// for that a hundred times.
const STRIDE: usize = 128 << 10;

/// The memory allocator of the `rocker` command. Small pieces it hands out one behind the other, and takes none but the last one back,
/// until its room is used up; all others are the system's.
///
/// A run asks for some ten thousand small pieces, and has ended before it would need the first ones again. To keep account of them
/// takes a general allocator a tenth of a run: each piece that is given back is written to, and after the container's process was
/// forked off every page that is written to is copied first. Whoever looks after a container for months goes on with the system's
/// allocator, and keeps the room.
#[derive(Debug)]
pub(crate) struct Arena {
    room: UnsafeCell<Room>,
    /// How much of the room is handed out.
    used: AtomicUsize,
}

#[derive(Debug)]
#[repr(align(4096))]
#[expect(dead_code, reason = "it is used by address")]
struct Room([u8; SIZE]);

// SAFETY: a piece of the room is one thread's from the moment at which that has moved `used` behind it.
unsafe impl Sync for Arena {}

impl Arena {
    pub(crate) const fn new() -> Self {
        Self {
            room: UnsafeCell::new(Room([0; SIZE])),
            used: AtomicUsize::new(0),
        }
    }

    /// A piece at the end of what is handed out; None when there is no room for it.
    fn take(&self, layout: Layout) -> Option<*mut u8> {
        let mut used = self.used.load(Ordering::Acquire);
        loop {
            let start = used.next_multiple_of(layout.align());
            let end = start
                .checked_add(layout.size())
                .filter(|end| *end <= SIZE)?;
            match self.move_end(used, end) {
                Ok(()) => {
                    if used == 0 || used / STRIDE != end / STRIDE {
                        self.make_ready(used.next_multiple_of(STRIDE));
                    }
                    return Some(self.address(start));
                }
                Err(other) => used = other,
            }
        }
    }

    /// Has the kernel give the process the pages of a stride.
    fn make_ready(&self, from: usize) {
        // SAFETY: it changes nothing that can be read. Before Linux 5.14 it is an error, and each page comes when it is used.
        unsafe {
            let start = self.address(from).cast();
            libc::madvise(
                start,
                STRIDE.min(SIZE.saturating_sub(from)),
                libc::MADV_POPULATE_WRITE,
            );
        }
    }

    fn address(&self, place: usize) -> *mut u8 {
        self.room.get().cast::<u8>().wrapping_add(place)
    }

    /// Where in the room a piece begins; None if it is the system's.
    fn place(&self, piece: *mut u8) -> Option<usize> {
        let place = (piece as usize).wrapping_sub(self.room.get() as usize);
        (place < SIZE).then_some(place)
    }

    /// Moves the end of what is handed out, unless another thread has done so.
    fn move_end(&self, from: usize, to: usize) -> Result<(), usize> {
        let moved = self
            .used
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
        moved.map(drop)
    }
}

// SAFETY: pieces are aligned as asked for, do not overlap, and stay where they are until they are given back. What is given back
// goes to where it came from.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let small = layout.size() <= SMALL && layout.align() <= SMALL;
        match small.then(|| self.take(layout)).flatten() {
            Some(piece) => piece,
            // SAFETY: the caller promises what this asks for.
            None => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.size() > SMALL {
            // SAFETY: the caller promises what this asks for.
            return unsafe { System.alloc_zeroed(layout) };
        }
        // SAFETY: the same; and a piece is as long as was asked for.
        unsafe {
            let piece = self.alloc(layout);
            if !piece.is_null() {
                piece.write_bytes(0, layout.size());
            }
            piece
        }
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        match self.place(piece) {
            Some(start) => {
                let _ = self.move_end(start + layout.size(), start);
            }
            // SAFETY: it is a piece of the system's, of this layout, as the caller promises.
            None => unsafe { System.dealloc(piece, layout) },
        }
    }

    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Some(start) = self.place(piece) else {
            // SAFETY: as with `dealloc`.
            return unsafe { System.realloc(piece, layout, size) };
        };
        let fits = size <= SMALL && start + size <= SIZE;
        if size <= layout.size()
            || (fits && self.move_end(start + layout.size(), start + size).is_ok())
        {
            return piece;
        }
        // SAFETY: the alignment is that of a layout, and the caller promises the size to be one for it.
        let new = unsafe { self.alloc(Layout::from_size_align_unchecked(size, layout.align())) };
        if !new.is_null() {
            // SAFETY: the new piece is larger than the old one, which ends before it.
            unsafe { new.copy_from_nonoverlapping(piece, layout.size()) };
        }
        new
    }
}
