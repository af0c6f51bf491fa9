//! Header blocks at the decoder of one connection: whatever comes, it neither panics nor passes on more than its limit.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| culvert_hbone::fuzzing::header_blocks(bytes));
