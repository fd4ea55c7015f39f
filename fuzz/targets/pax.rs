//! The records of a PAX header, and the headers in front of an entry.
#![no_main]

libfuzzer_sys::fuzz_target!(|raw: &[u8]| rocker_fs::fuzzing::pax(raw));
