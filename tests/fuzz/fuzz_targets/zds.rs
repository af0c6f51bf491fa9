//! Frames of the agent's protocol: decoding never panics, and what decodes is within its own bounds.
#![no_main]

libfuzzer_sys::fuzz_target!(|frame: &[u8]| {
    if let Ok(message) = culvert_zds::decode(frame) {
        assert!(message.descriptors() <= 1);
        assert!(!message.name().is_empty());
    }
});
