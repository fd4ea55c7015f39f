//! The least program that there is: a static executable of some 130 bytes, whose one system call is exit_group(0).
//!
//! What is measured with it is the making of a process, and not the start of a C library.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
/// xor edi, edi; mov eax, 231; syscall
#[cfg(target_arch = "x86_64")]
const CODE: &[u8] = &[0x31, 0xff, 0xb8, 231, 0, 0, 0, 0x0f, 0x05];

#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;
/// mov x0, #0; mov x8, #94; svc #0
#[cfg(target_arch = "aarch64")]
const CODE: &[u8] = &[
    0x00, 0x00, 0x80, 0xd2, 0xc8, 0x0b, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4,
];

/// Where the file is in memory.
const ADDRESS: u64 = 0x40_0000;
/// The lengths of the ELF header and of its one program header, see elf(5).
const HEADERS: u64 = 64 + 56;

/// Writes the executable to `path`.
///
/// # Errors
/// Those of writing a file.
pub(crate) fn write(path: &Path) -> io::Result<()> {
    let length = HEADERS + CODE.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let mut put = |bytes: &[u8]| file.extend_from_slice(bytes);
    put(&2_u16.to_le_bytes()); // ET_EXEC
    put(&MACHINE.to_le_bytes());
    put(&1_u32.to_le_bytes());
    // The first instruction, the program headers, and no section headers.
    [ADDRESS + HEADERS, 64, 0]
        .iter()
        .for_each(|word| put(&word.to_le_bytes()));
    put(&0_u32.to_le_bytes());
    // The sizes of the headers, and how many there are of each.
    [64_u16, 56, 1, 64, 0, 0]
        .iter()
        .for_each(|half| put(&half.to_le_bytes()));
    // PT_LOAD, to be read and executed: the whole file.
    [1_u32, 5].iter().for_each(|half| put(&half.to_le_bytes()));
    [0, ADDRESS, ADDRESS, length, length, 0x1000]
        .iter()
        .for_each(|word| put(&word.to_le_bytes()));
    put(CODE);
    fs::write(path, file)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}
