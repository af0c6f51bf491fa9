//! W3C trace context of version 00: `00-TRACE-PARENT-FLAGS`.
//!
//! Invariant: neither id is all zeros, and the text is the only form.

use std::fmt;

/// A trace, and the span that calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// 16 bytes, not all zero.
    pub trace: u128,
    /// 8 bytes, not all zero.
    pub parent: u64,
    /// Bit 0: sampled.
    pub flags: u8,
}

impl TraceParent {
    /// A new trace that is not sampled.
    #[must_use]
    pub fn random() -> Self {
        Self {
            trace: rand::random_range(1..=u128::MAX),
            parent: rand::random_range(1..=u64::MAX),
            flags: 0,
        }
    }

    /// A new span of the same trace.
    #[must_use]
    pub fn child(self) -> Self {
        Self {
            parent: rand::random_range(1..=u64::MAX),
            ..self
        }
    }

    /// Parses a header's value. `None` when it is of another version or malformed.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (Some("00"), Some(trace), Some(parent), Some(flags), None) = (
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
        ) else {
            return None;
        };
        let hex = |part: &str, length: usize| {
            let digits = part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            if digits && part.len() == length {
                u128::from_str_radix(part, 16).ok()
            } else {
                None
            }
        };
        let trace = hex(trace, 32).filter(|&t| t != 0)?;
        let parent = u64::try_from(hex(parent, 16)?).ok().filter(|&p| p != 0)?;
        Some(Self {
            trace,
            parent,
            flags: u8::try_from(hex(flags, 2)?).ok()?,
        })
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "00-{:032x}-{:016x}-{:02x}",
            self.trace, self.parent, self.flags
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let parent = TraceParent::parse(text).unwrap();
        assert_eq!(parent.to_string(), text);
        let child = parent.child();
        assert_eq!(child.trace, parent.trace);
        assert_ne!(child.parent, parent.parent);
        let random = TraceParent::random();
        assert_eq!(TraceParent::parse(&random.to_string()), Some(random));
    }

    #[test]
    fn refused() {
        for text in [
            "",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceParent::parse(text), None, "{text}");
        }
    }
}
