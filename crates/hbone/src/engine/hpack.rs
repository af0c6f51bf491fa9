//! HPACK (RFC 7541): header lists in few bytes.
//!
//! Invariants: the decoder's table never holds more than [`TABLE`] bytes, whatever the peer does; decoding takes time
//! and memory in proportion to the block's length, however much the block expands to. What we encode uses the static
//! table alone, so that we keep no table for the peer.

mod decoder;
mod encoder;
mod huffman;
mod table;

pub(crate) use decoder::Decoder;
pub(crate) use encoder::Encoder;

/// The dynamic table that a peer's encoder may use: what HTTP/2 starts with, so that nothing has to be agreed on.
const TABLE: usize = 4096;
