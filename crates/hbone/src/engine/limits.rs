//! What a peer may make a connection do and keep.
//!
//! Invariant: everything that a peer can repeat has either a bound or a price; who has nothing left to pay with loses the
//! connection (ENHANCE_YOUR_CALM).

use std::time::Duration;

/// So many at once, and so many a second in the long run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    pub(crate) burst: u32,
    pub(crate) per_second: u32,
}

/// The bounds of a connection. What is not here follows from the protocol: windows bound DATA.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Streams that the peer may have open. Beyond: REFUSED_STREAM.
    pub(crate) streams: u32,
    /// Bytes of a decoded header list, as SETTINGS_MAX_HEADER_LIST_SIZE counts them. Beyond: the stream is refused.
    pub(crate) header_list: u32,
    /// Bytes of an encoded header block, over all its frames. Beyond: the connection ends.
    pub(crate) header_block: usize,
    /// CONTINUATION frames of one block; of frames of 16 KiB, a block of the largest size needs four.
    pub(crate) continuations: u32,
    /// Entries of one SETTINGS frame.
    pub(crate) settings: usize,
    /// Bytes that we owe the peer beside DATA (answers, acknowledgements, resets, window updates) and that it does not
    /// read.
    pub(crate) backlog: usize,
    /// Streams that come to nothing: which the peer resets before they are answered, and which it forces us to reset or
    /// to refuse as malformed (CVE-2023-44487, CVE-2025-8671).
    pub(crate) resets: Rate,
    /// Frames that move nothing: SETTINGS, PING, PRIORITY, WINDOW_UPDATE, empty DATA, unknown ones. Each KiB and each
    /// frame of DATA in either direction earns one, so that who works never pays.
    pub(crate) frames: Rate,
    /// Numbers of streams reset here that are remembered, so that what the peer sent before it knew is ignored.
    pub(crate) remembered: usize,
}

impl Limits {
    pub(crate) fn new(streams: u32, header_list: u32) -> Self {
        Self {
            streams,
            header_list,
            header_block: header_list as usize,
            continuations: 16,
            settings: 64,
            backlog: 256 * 1024,
            resets: Rate {
                burst: 400,
                per_second: 50,
            },
            frames: Rate {
                burst: 4000,
                per_second: 400,
            },
            remembered: 128,
        }
    }
}

/// What is left to pay with.
#[derive(Debug)]
pub(crate) struct Budget {
    rate: Rate,
    left: u32,
    /// When it was last filled up.
    at: Duration,
}

impl Budget {
    pub(crate) fn new(rate: Rate) -> Self {
        Self {
            rate,
            left: rate.burst,
            at: Duration::ZERO,
        }
    }

    /// Pays one at this time since the connection's start; whether that was possible.
    pub(crate) fn pay(&mut self, now: Duration) -> bool {
        if self.left == 0 {
            let millis = now.saturating_sub(self.at).as_millis();
            let earned = millis * u128::from(self.rate.per_second) / 1000;
            if earned > 0 {
                self.at = now;
                self.earn(u32::try_from(earned).unwrap_or(u32::MAX));
            }
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }

    pub(crate) fn earn(&mut self, n: u32) {
        self.left = self.left.saturating_add(n).min(self.rate.burst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_used_up_and_fills_with_time() {
        let mut budget = Budget::new(Rate {
            burst: 10,
            per_second: 5,
        });
        let pay = |budget: &mut Budget, at| {
            (0..1000)
                .take_while(|_| budget.pay(Duration::from_millis(at)))
                .count()
        };
        assert_eq!(pay(&mut budget, 0), 10);
        assert_eq!(pay(&mut budget, 100), 0);
        assert_eq!(pay(&mut budget, 1000), 5);
        assert_eq!(pay(&mut budget, 1_000_000), 10, "no more than the burst");
        budget.earn(3);
        assert_eq!(pay(&mut budget, 1_000_000), 3);
        assert_eq!(pay(&mut budget, 0), 0, "time never goes back");
    }
}
