//! Names of images and platforms: what is understood has one form, which is safe and means the same.
#![no_main]

use rocker_image::{Platform, Reference};

libfuzzer_sys::fuzz_target!(|text: &str| {
    match text.parse::<Reference>() {
        Ok(reference) => {
            for form in [reference.to_string(), reference.familiar()] {
                let again: Reference = form.parse().expect("its own form is understood");
                assert_eq!(again, reference);
                assert!(form.bytes().all(|byte| byte.is_ascii_graphic()), "{form:?}");
            }
            assert!(reference.tag().is_some() || reference.digest().is_some());
            let name = format!("{}/{}", reference.domain(), reference.repository());
            assert!(name.len() <= 511 && !name.contains("/..") && !name.contains("//"));
        }
        Err(error) => assert!(!error.to_string().contains(char::is_control), "{error:?}"),
    }
    // A longer one is shown cut short.
    if let Ok(platform) = text.parse::<Platform>()
        && text.len() <= 100
    {
        let again: Platform = platform
            .to_string()
            .parse()
            .expect("its own form is understood");
        assert_eq!(again, platform);
    }
});
