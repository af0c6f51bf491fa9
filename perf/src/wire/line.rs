//! Packets of one direction, each until it is due.
//!
//! Invariant: they leave in the order in which they came; no more bytes than [`ROOM`] wait.

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Far more than any window of a connection that is measured.
const ROOM: usize = 256 << 20;
/// Buffers that are kept for packets to come.
const KEPT: usize = 1024;

/// Packets on their way.
pub(super) struct Line {
    waiting: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    free: Vec<Vec<u8>>,
    /// The same packets are lost in every run that sends the same ones.
    chance: StdRng,
}

/// Why a packet is not on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// As the way would have it.
    ByChance,
    /// More are under way than there is room for.
    NoRoom,
}

impl Line {
    /// With chances of its own.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            waiting: VecDeque::new(),
            bytes: 0,
            free: Vec::new(),
            chance: StdRng::seed_from_u64(seed),
        }
    }

    /// A buffer of this length.
    pub(super) fn room(&mut self, length: usize) -> Vec<u8> {
        let mut room = self.free.pop().unwrap_or_default();
        room.resize(length, 0);
        room
    }

    /// For packets to come.
    pub(super) fn give_back(&mut self, room: Vec<u8>) {
        if self.free.len() < KEPT {
            self.free.push(room);
        }
    }

    /// A packet sets out, or is lost.
    pub(super) fn take(
        &mut self,
        packet: Vec<u8>,
        due: Instant,
        lost_of_million: u32,
    ) -> Option<Lost> {
        let lost =
            if lost_of_million > 0 && self.chance.random_range(0..1_000_000) < lost_of_million {
                Lost::ByChance
            } else if self.bytes + packet.len() > ROOM {
                Lost::NoRoom
            } else {
                self.bytes += packet.len();
                self.waiting.push_back((due, packet));
                return None;
            };
        self.give_back(packet);
        Some(lost)
    }

    /// The next packet, if its time has come.
    pub(super) fn due(&mut self, now: Instant) -> Option<Vec<u8>> {
        let (_, packet) = self.waiting.pop_front_if(|(due, _)| *due <= now)?;
        self.bytes -= packet.len();
        Some(packet)
    }

    /// Until then.
    pub(super) fn next(&self) -> Option<Duration> {
        let (due, _) = self.waiting.front()?;
        Some(due.saturating_duration_since(Instant::now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_leave_in_order_and_not_before_they_are_due() {
        let (mut line, now) = (Line::new(0), Instant::now());
        let later = now + Duration::from_millis(5);
        assert_eq!(line.take(vec![1], later, 0), None);
        // A shorter way from now on does not overtake.
        assert_eq!(line.take(vec![2], now, 0), None);
        assert_eq!(line.due(now), None);
        assert_eq!(line.due(later), Some(vec![1]));
        assert_eq!(line.due(later), Some(vec![2]));
        assert_eq!((line.due(later), line.next(), line.bytes), (None, None, 0));
    }

    #[test]
    fn about_as_many_are_lost_as_was_asked() {
        let (mut line, now) = (Line::new(1), Instant::now());
        let lost = (0..100_000)
            .filter(|_| line.take(vec![0], now, 10_000) == Some(Lost::ByChance))
            .count();
        assert!((800..1200).contains(&lost), "{lost}");
    }

    #[test]
    fn what_there_is_no_room_for_is_told() {
        let (mut line, now) = (Line::new(2), Instant::now());
        assert_eq!(line.take(vec![0; ROOM], now, 0), None);
        assert_eq!(line.take(vec![0], now, 0), Some(Lost::NoRoom));
    }
}
