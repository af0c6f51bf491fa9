//! What fuzz targets reach of this crate's inside. No program uses it.

use crate::engine::Decoder;

/// Decodes header blocks, each after a byte that says how long it is, as one connection's decoder does; checks that no
/// list exceeds its limit.
pub fn header_blocks(mut bytes: &[u8]) {
    const LIMIT: usize = 4096;
    let mut decoder = Decoder::new();
    while let Some((&length, rest)) = bytes.split_first() {
        let (block, rest) = rest.split_at(rest.len().min(usize::from(length)));
        bytes = rest;
        let mut size = 0;
        let fits = decoder.decode(block, LIMIT, |name, value| {
            size += name.len() + value.len() + 32;
        });
        assert!(size <= LIMIT, "a list of {size} bytes was passed on");
        if fits.is_err() {
            return;
        }
    }
}
