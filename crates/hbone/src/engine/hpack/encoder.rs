//! What we send: fields of the static table, and literals that no table keeps.
//!
//! Invariant: any decoder understands a block by itself.

/// Writes one header block.
pub(crate) struct Encoder<'a>(&'a mut Vec<u8>);

impl<'a> Encoder<'a> {
    /// `announce`: the peer's table is now smaller than HTTP/2 starts with, which has to be acknowledged by a size, and
    /// ours is zero.
    pub(crate) fn new(block: &'a mut Vec<u8>, announce: bool) -> Self {
        if announce {
            block.push(0x20);
        }
        Self(block)
    }

    /// `:method: CONNECT`
    pub(crate) fn connect(&mut self) {
        self.named(2, b"CONNECT");
    }

    /// `:authority`
    pub(crate) fn authority(&mut self, authority: &str) {
        self.named(1, authority.as_bytes());
    }

    /// `:status`
    pub(crate) fn status(&mut self, status: u16) {
        match status {
            200 => self.0.push(0x88),
            400 => self.0.push(0x8c),
            _ => self.named(8, status.to_string().as_bytes()),
        }
    }

    /// A field whose name stands in no table.
    pub(crate) fn field(&mut self, name: &str, value: &[u8]) {
        self.0.push(0x00);
        self.string(name.as_bytes());
        self.string(value);
    }

    /// A field whose name stands in the static table, before its sixteenth entry.
    fn named(&mut self, index: u8, value: &[u8]) {
        self.0.push(index & 0x0f);
        self.string(value);
    }

    fn string(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    /// Section 5.1, with a prefix of seven bits.
    fn length(&mut self, length: usize) {
        if length < 127 {
            self.0.push(length as u8);
            return;
        }
        self.0.push(127);
        let mut rest = length - 127;
        while rest >= 128 {
            self.0.push((rest % 128) as u8 | 0x80);
            rest /= 128;
        }
        self.0.push(rest as u8);
    }
}
