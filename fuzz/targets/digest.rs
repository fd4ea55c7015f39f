//! Digests: the only text of a registry that becomes part of a path.
#![no_main]

use rocker_image::Digest;

libfuzzer_sys::fuzz_target!(|text: &str| {
    match text.parse::<Digest>() {
        Ok(digest) => {
            assert_eq!(digest.to_string(), text);
            assert_eq!(digest.hex().len(), digest.algorithm().hex_len());
            let hexadecimal = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            assert!(digest.hex().bytes().all(hexadecimal), "{text}");
        }
        Err(error) => assert!(!error.to_string().contains(char::is_control), "{error:?}"),
    }
});
