//! Where a machine's owner wants images to come from.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rocker_image::fuzzing::registries(bytes));
