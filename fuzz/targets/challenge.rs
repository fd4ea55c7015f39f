//! How a registry asks for credentials.
#![no_main]

libfuzzer_sys::fuzz_target!(|value: &str| rocker_image::fuzzing::challenge(value));
