//! Manifests, indexes and configurations.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    rocker_image::fuzzing::document(bytes);
    rocker_image::fuzzing::config(bytes);
});
