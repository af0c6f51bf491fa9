//! The CONNECT authority: whatever parses has exactly one way to be written, and that one parses to the same.
#![no_main]

use culvert_hbone::Authority;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(authority) = Authority::parse(text) {
        let canonical = authority.to_string();
        assert_eq!(Authority::parse(&canonical).as_ref(), Ok(&authority));
    }
});
