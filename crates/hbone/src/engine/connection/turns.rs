//! Who may send: an application's bytes are read only when they can be sent, straight into the output, and streams take
//! turns.
//!
//! Invariants: the output holds little more than one write of the socket; a stream that sends much waits for all others
//! that wait; one that sends little does not wait behind those that send much; a turn is a permission that nobody else
//! loses anything by, so that one which is not used blocks nobody; small frames of one stream are not sent one by one.

use super::super::StreamError;
use super::Connection;
use super::data::register;
use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll};

/// Bytes that the output may hold before streams wait: seven full TLS records, which with their surroundings fit into
/// one buffer of the socket.
const HIGH: usize = 7 * 16 * 1024;
/// Bytes that a stream may send in one turn while others wait.
const QUANTUM: usize = 32 * 1024;
/// Bytes that a stream which paused may send before it has to wait for turns.
const SPARSE: usize = 16 * 1024;
/// The largest frame that we make: one that the peer has to have whole before it passes it on is not to be too large.
const FRAME: usize = 64 * 1024;
/// Less room than this is no room.
const LEAST: usize = 4 * 1024;
/// A smaller frame is a small one: peers count those that they have not read yet.
const SMALL: usize = 1024;
/// Streams that are given their turn at once: as many as fill the output.
const AT_ONCE: usize = HIGH / QUANTUM + 1;

/// Who waits for a turn.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Streams that send little, and those that send much.
    sparse: VecDeque<u32>,
    waiting: VecDeque<u32>,
    /// Streams that wait until what they sent last is on its way.
    held: Vec<u32>,
    /// Counts how often all was sent.
    batch: u32,
    /// DATA was added since.
    added: bool,
    /// Streams that were given their turn since.
    given: usize,
}

impl Connection {
    /// Reads at most `want` bytes of an application by `read` to where they are sent from. Ready with how many there
    /// were. Pending either because the stream may not send, or because `read` was.
    pub(crate) fn fill(
        &mut self,
        id: u32,
        want: usize,
        cx: &mut Context<'_>,
        read: impl FnOnce(&mut Context<'_>, &mut [u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let failure = self.failure;
        let Some(stream) = self.streams.get_mut(id) else {
            return Poll::Ready(Err(StreamError::Ended.into()));
        };
        if let Some(error) = stream.send_error(failure) {
            return Poll::Ready(Err(error.into()));
        }
        let window = usize::try_from(stream.send_window).unwrap_or(0);
        let room = if window == 0 { 0 } else { self.admit(id) };
        if room == 0 {
            if let Some(stream) = self.streams.get_mut(id) {
                register(&mut stream.writer, cx);
            }
            return Poll::Pending;
        }
        let of_all = usize::try_from(self.send_window).unwrap_or(0);
        let want = want.min(room).min(window).min(of_all);
        let frame = self.peer.frame.min(FRAME);
        let space = self.out.room(id, want, frame, LEAST.min(want));
        let result = read(cx, space);
        let n = match &result {
            Poll::Ready(Ok(n)) => *n,
            _ => 0,
        };
        self.out.wrote(id, n);
        if n > 0 {
            self.count(id, n);
        }
        result
    }

    fn count(&mut self, id: u32, n: usize) {
        self.send_window -= n as i64;
        self.frames.earn(1 + n as u32 / 1024);
        self.turns.added = true;
        if let Some(stream) = self.streams.get_mut(id) {
            stream.send_window -= n as i64;
            stream.burst = stream.burst.saturating_add(n as u32);
            stream.batch = self.turns.batch;
            stream.small = n < SMALL;
            stream.granted = stream.granted.saturating_sub(n as u32);
        }
    }

    /// How many bytes a stream may send now. If none, it is woken when it may.
    fn admit(&mut self, id: u32) -> usize {
        let room = HIGH.saturating_sub(self.out.len());
        let batch = self.turns.batch;
        let Some(stream) = self.streams.get_mut(id) else {
            return 0;
        };
        let alone =
            !self.turns.somebody_waits() && self.turns.given <= usize::from(stream.granted > 0);
        if stream.waiting {
            return 0;
        }
        if stream.batch == batch {
            if stream.small && !self.out.grows(id) {
                stream.waiting = true;
                self.turns.held.push(id);
                return 0;
            }
        } else if stream.batch.wrapping_add(1) != batch {
            stream.burst = 0;
        }
        let sparse = SPARSE.saturating_sub(stream.burst as usize);
        if self.send_window > 0 {
            let any = self.out.len() < self.send_buffer;
            if stream.granted > 0 && any {
                let turn = stream.granted as usize;
                return if alone { turn.max(room) } else { turn };
            }
            if sparse > 0 && any {
                return if alone { sparse.max(room) } else { sparse };
            }
            if alone && room >= LEAST {
                return room;
            }
        }
        stream.waiting = true;
        let queue = if sparse > 0 {
            &mut self.turns.sparse
        } else {
            &mut self.turns.waiting
        };
        queue.push_back(id);
        0
    }

    /// Gives streams their turn, as many as there is room for.
    pub(super) fn grant(&mut self) {
        if self.send_window <= 0 || self.out.len() >= HIGH {
            return;
        }
        while self.turns.given < AT_ONCE {
            let sparse = self.turns.sparse.pop_front();
            let Some(id) = sparse.or_else(|| self.turns.waiting.pop_front()) else {
                return;
            };
            // One that has ended meanwhile needs no turn.
            let Some(stream) = self.streams.get_mut(id).filter(|s| s.waiting) else {
                continue;
            };
            stream.waiting = false;
            stream.granted = QUANTUM as u32;
            // That it waited is no pause.
            stream.batch = self.turns.batch.wrapping_sub(1);
            stream.wake_writer();
            self.turns.given += 1;
        }
    }

    /// All was sent, as far as the socket. Whether somebody still waits for a turn: then this is to be called again
    /// once those who got theirs have run, since they may have nothing to send.
    pub(crate) fn all_sent(&mut self) -> bool {
        self.turns.given = 0;
        if std::mem::take(&mut self.turns.added) {
            self.turns.batch = self.turns.batch.wrapping_add(1);
            for id in std::mem::take(&mut self.turns.held) {
                if let Some(stream) = self.streams.get_mut(id) {
                    stream.waiting = false;
                    stream.wake_writer();
                }
            }
        }
        self.grant();
        self.somebody_waits()
    }

    /// Whether somebody waits for a turn, and for nothing else.
    pub(super) fn somebody_waits(&self) -> bool {
        self.turns.somebody_waits() && self.send_window > 0
    }
}

impl Turns {
    fn somebody_waits(&self) -> bool {
        !self.waiting.is_empty() || !self.sparse.is_empty()
    }
}
