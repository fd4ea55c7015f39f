//! Archives of images, as `load` reads them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rocker_image::fuzzing::members(bytes));
