//! The head of a program: for which machine it is, and which loader it asks for. The file is an image's, so nothing in it
//! is believed that the bytes at hand do not bear out.

/// What an ELF header says, see elf(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Elf {
    machine: u16,
    /// The loader that starts it (`PT_INTERP`); none for a static program.
    pub(crate) interpreter: Option<Vec<u8>>,
}

/// A segment that names the loader.
const PT_INTERP: u64 = 3;
/// The longest path that the kernel takes for a loader's.
const PATH_MAX: u64 = 4096;

/// The machines by their number in the header, their name, and what images call them.
const MACHINES: [(u16, &str, &str); 9] = [
    (3, "x86", "386"),
    (8, "mips", "mips"),
    (20, "powerpc", "ppc"),
    (21, "powerpc64", "ppc64le"),
    (22, "s390x", "s390x"),
    (40, "arm", "arm"),
    (62, "x86_64", "amd64"),
    (183, "aarch64", "arm64"),
    (243, "riscv64", "riscv64"),
];

impl Elf {
    /// Reads the header out of a file's first bytes; none where they are no ELF file's.
    pub(crate) fn read(head: &[u8]) -> Option<Self> {
        if !head.starts_with(b"\x7fELF") {
            return None;
        }
        let bytes = Bytes {
            head,
            wide: *head.get(4)? == 2,
            big_endian: *head.get(5)? == 2,
        };
        let machine = u16::try_from(bytes.number(18, 2)?).ok()?;
        Some(Self {
            machine,
            interpreter: bytes.interpreter(),
        })
    }

    /// The name of the machine that it is for.
    pub(crate) fn machine(&self) -> String {
        let known = MACHINES.iter().find(|(number, ..)| *number == self.machine);
        known.map_or_else(
            || format!("the machine number {}", self.machine),
            |(_, name, _)| (*name).to_owned(),
        )
    }

    /// Whether it is for this machine. One of 32 bits may run on its bigger sister.
    pub(crate) fn is_for(&self, architecture: &str) -> bool {
        let name = self.machine();
        name == architecture
            || matches!(
                (name.as_str(), architecture),
                ("x86", "x86_64") | ("arm", "aarch64")
            )
    }
}

/// What images call this machine.
pub(crate) fn platform(architecture: &str) -> String {
    let known = MACHINES.iter().find(|(_, name, _)| *name == architecture);
    format!("linux/{}", known.map_or(architecture, |(_, _, name)| name))
}

/// The bytes of a file in its own notation.
struct Bytes<'a> {
    head: &'a [u8],
    wide: bool,
    big_endian: bool,
}

impl Bytes<'_> {
    /// The number of `size` bytes at `at`.
    fn number(&self, at: u64, size: u64) -> Option<u64> {
        let bytes = self.slice(at, size)?;
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Some(if self.big_endian {
            bytes.iter().fold(0, add)
        } else {
            bytes.iter().rev().fold(0, add)
        })
    }

    fn slice(&self, at: u64, size: u64) -> Option<&[u8]> {
        let at = usize::try_from(at).ok()?;
        let end = at.checked_add(usize::try_from(size).ok()?)?;
        self.head.get(at..end)
    }

    fn interpreter(&self) -> Option<Vec<u8>> {
        let pick = |wide: (u64, u64), narrow: (u64, u64)| {
            let (at, size) = if self.wide { wide } else { narrow };
            self.number(at, size)
        };
        let table = pick((32, 8), (28, 4))?;
        let size = pick((54, 2), (42, 2))?;
        let count = pick((56, 2), (44, 2))?;
        let (offset_at, length_at, word) = if self.wide { (8, 32, 8) } else { (4, 16, 4) };
        for index in 0..count {
            let at = table.checked_add(index.checked_mul(size)?)?;
            if self.number(at, 4)? != PT_INTERP {
                continue;
            }
            let offset = self.number(at.checked_add(offset_at)?, word)?;
            let length = self.number(at.checked_add(length_at)?, word)?;
            let path = self.slice(offset, length.min(PATH_MAX))?;
            let path = path.split(|byte| *byte == 0).next()?;
            return Some(path.to_owned());
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A header of 64 bits with one segment that names `loader`.
    fn dynamic(machine: u16, loader: &[u8]) -> Vec<u8> {
        let mut head = vec![0; 64 + 56];
        head[..6].copy_from_slice(b"\x7fELF\x02\x01");
        head[18..20].copy_from_slice(&machine.to_le_bytes());
        head[32] = 64;
        head[54] = 56;
        head[56] = 1;
        head[64] = 3;
        head[64 + 8] = 120;
        head[64 + 32..64 + 40].copy_from_slice(&(loader.len() as u64).to_le_bytes());
        head.extend_from_slice(loader);
        head
    }

    #[test]
    fn machine_and_loader_of_a_program_are_read() {
        let elf = Elf::read(&dynamic(183, b"/lib/ld.so\0")).unwrap();
        assert_eq!(elf.machine(), "aarch64");
        assert!(elf.is_for("aarch64") && !elf.is_for("x86_64"));
        assert_eq!(elf.interpreter.as_deref(), Some(&b"/lib/ld.so"[..]));
        assert_eq!(platform("x86_64"), "linux/amd64");
        assert_eq!(Elf::read(b"#!/bin/sh"), None);
    }

    #[test]
    fn the_running_program_is_for_this_machine() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        let elf = Elf::read(&own).unwrap();
        assert!(elf.is_for(std::env::consts::ARCH), "{elf:?}");
    }

    proptest! {
        #[test]
        fn no_bytes_at_all_make_the_reader_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200)
        ) {
            let head = [b"\x7fELF".as_slice(), &bytes].concat();
            let _ = Elf::read(&head);
        }

        #[test]
        fn no_header_with_some_bytes_changed_makes_the_reader_panic(
            changes in proptest::collection::vec((0..140_usize, any::<u8>()), 1..12)
        ) {
            let mut head = dynamic(62, b"/lib64/ld-linux-x86-64.so.2\0");
            for (at, byte) in changes {
                if let Some(place) = head.get_mut(at) {
                    *place = byte;
                }
            }
            if let Some(Elf { interpreter: Some(path), .. }) = Elf::read(&head) {
                prop_assert!(path.len() < head.len());
            }
        }
    }
}
