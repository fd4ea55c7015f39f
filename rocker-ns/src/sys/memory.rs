//! Memory: where what is mapped lies, and memory of a child's and its parent's.

use std::arch::asm;
use std::io;
use std::ops::Range;
use std::ptr::{self, NonNull};

use crate::report::{Header, Record};
use crate::trace::traced;
use crate::{Error, Result};

/// Where the program and its shared libraries lie in memory, code and static data alike.
pub(crate) fn objects() -> Vec<Range<usize>> {
    unsafe extern "C" fn note(
        info: *mut libc::dl_phdr_info,
        _: libc::size_t,
        found: *mut libc::c_void,
    ) -> libc::c_int {
        // SAFETY: dl_iterate_phdr passes what it was given, and a description that is valid during the call.
        let (info, found) = unsafe { (&*info, &mut *found.cast::<Vec<Range<usize>>>()) };
        // SAFETY: the description has that many headers.
        let headers =
            unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
        for header in headers
            .iter()
            .filter(|header| header.p_type == libc::PT_LOAD)
        {
            let start = info.dlpi_addr.wrapping_add(header.p_vaddr) as usize;
            found.push(start..start + header.p_memsz as usize);
        }
        0
    }
    let mut found: Vec<Range<usize>> = Vec::new();
    // SAFETY: the function is called before this returns, with the vector.
    unsafe { libc::dl_iterate_phdr(Some(note), ptr::from_mut(&mut found).cast()) };
    found
}

// Weak: a C library that registers no such area has no such symbols.
std::arch::global_asm!(".weak __rseq_offset", ".weak __rseq_size");

/// The area that the kernel writes to whenever the calling thread comes to run on a CPU, where the C library has
/// registered one, see rseq(2). A child has it too.
pub(crate) fn rseq_area() -> Option<Range<usize>> {
    let (offset, size, thread): (*const isize, *const u32, usize);
    // SAFETY: it reads three addresses: of two variables, where they exist, and of the thread's own data.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        asm!(
            "mov {offset}, [rip + __rseq_offset@GOTPCREL]",
            "mov {size}, [rip + __rseq_size@GOTPCREL]",
            "mov {thread}, fs:[0]",
            offset = out(reg) offset, size = out(reg) size, thread = out(reg) thread,
            options(nostack, readonly, preserves_flags),
        );
        #[cfg(target_arch = "aarch64")]
        asm!(
            "adrp {offset}, :got:__rseq_offset",
            "ldr {offset}, [{offset}, :got_lo12:__rseq_offset]",
            "adrp {size}, :got:__rseq_size",
            "ldr {size}, [{size}, :got_lo12:__rseq_size]",
            "mrs {thread}, tpidr_el0",
            offset = out(reg) offset, size = out(reg) size, thread = out(reg) thread,
            options(nostack, readonly, preserves_flags),
        );
    }
    // SAFETY: where they are not null they are the C library's constants.
    let (offset, size) = unsafe { (offset.as_ref()?, size.as_ref()?) };
    let start = thread.wrapping_add_signed(*offset);
    // The area is at least of this size, whatever part of it is in use.
    (*size > 0).then(|| start..start + 32_usize.max(*size as usize))
}

/// Anonymous memory of a child's and its parent's.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<libc::c_void>,
    length: usize,
}

// SAFETY: what is shared is only ever reached as atomics, the rest through `&mut`, and no mapping is bound to a thread.
unsafe impl Send for Mapping {}
// SAFETY: as for Send.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Memory that both see.
    pub(crate) fn shared(length: usize) -> Result<Self> {
        let why = "so that the new process can tell its parent how far it came";
        Self::new(length, (libc::MAP_SHARED, "MAP_SHARED"), why)
    }

    /// Memory of which the child gets a copy.
    pub(crate) fn private(length: usize) -> Result<Self> {
        let why = "so that the container's init has a stack of its own";
        Self::new(length, (libc::MAP_PRIVATE, "MAP_PRIVATE"), why)
    }

    fn new(length: usize, (kind, name): (i32, &str), why: &'static str) -> Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let args = || format!("NULL, {length}, PROT_READ|PROT_WRITE, {name}|MAP_ANONYMOUS, -1, 0");
        let start = traced("mmap", why, args, || {
            // SAFETY: a new anonymous mapping touches no existing memory.
            let start = unsafe {
                libc::mmap(
                    ptr::null_mut(),
                    length,
                    protection,
                    kind | libc::MAP_ANONYMOUS,
                    -1,
                    0,
                )
            };
            NonNull::new(start)
                .filter(|_| start != libc::MAP_FAILED)
                .ok_or_else(io::Error::last_os_error)
        });
        let start = start.map_err(|source| Error::Call {
            call: format!("mmap({})", args()),
            why,
            source,
        })?;
        Ok(Self { start, length })
    }

    /// The addresses of the memory.
    pub(crate) fn range(&self) -> Range<usize> {
        let start = self.start.as_ptr() as usize;
        start..start + self.length
    }

    /// The memory as numbers. For memory that is not shared.
    pub(crate) fn words(&mut self) -> &mut [usize] {
        let count = self.length / size_of::<usize>();
        // SAFETY: the memory is page-aligned, of that length, initialised to zero, and `&mut self` is the only way to it.
        unsafe { std::slice::from_raw_parts_mut(self.start.cast().as_ptr(), count) }
    }

    /// The structure at the beginning of the memory.
    pub(crate) fn header(&self) -> &Header {
        assert!(self.length >= size_of::<Header>());
        // SAFETY: the memory is page-aligned, long enough, initialised to zero, and consists of atomics only.
        unsafe { self.start.cast::<Header>().as_ref() }
    }

    /// The `count` records behind the header.
    pub(crate) fn records(&self, count: usize) -> &[Record] {
        assert!(self.length >= size_of::<Header>() + count * size_of::<Record>());
        // SAFETY: as for the header, whose size is a multiple of a record's alignment.
        unsafe {
            std::slice::from_raw_parts(
                self.start.byte_add(size_of::<Header>()).cast().as_ptr(),
                count,
            )
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no reference into it outlives `self`.
        unsafe { libc::munmap(self.start.as_ptr(), self.length) };
    }
}
