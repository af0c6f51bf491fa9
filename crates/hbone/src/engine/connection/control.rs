//! Frames about the connection itself: SETTINGS, PING, GOAWAY, PRIORITY, WINDOW_UPDATE.
//!
//! Invariants: what has to be answered is answered once; a peer's settings apply as a whole or end the connection.

use super::super::Violation;
use super::super::frame::{
    Code, DEFAULT_FRAME, Head, MAX_31, MAX_FRAME, flag, kind, number, setting,
};
use super::super::stream::Reset;
use super::receive::{Received, protocol};
use super::{ALIVE, Connection, DRAIN, Role};

const OVERFLOW: Violation = Violation(Code::FLOW_CONTROL_ERROR, "a window that is too large");

impl Connection {
    pub(super) fn put_settings(&mut self, settings: &[(u16, u32)]) {
        let mut payload = Vec::with_capacity(settings.len() * 6);
        for (name, value) in settings {
            payload.extend_from_slice(&name.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        self.out.frame(kind::SETTINGS, 0, 0, &payload);
    }

    pub(super) fn goaway(&mut self, last: u32, code: Code) {
        let mut payload = [0; 8];
        let (stream, reason) = payload.split_at_mut(4);
        stream.copy_from_slice(&last.to_be_bytes());
        reason.copy_from_slice(&code.0.to_be_bytes());
        self.out.frame(kind::GOAWAY, 0, 0, &payload);
    }

    pub(super) fn settings(&mut self, head: Head, payload: &[u8]) -> Received {
        if head.has(flag::ACK) {
            if !payload.is_empty() {
                let what = "an acknowledgement with settings";
                return Err(Violation(Code::FRAME_SIZE_ERROR, what));
            }
            return self.charge();
        }
        if !payload.len().is_multiple_of(6) {
            return Err(Violation(Code::FRAME_SIZE_ERROR, "half a setting"));
        }
        self.charge()?;
        self.peer.spoke = true;
        let mut window = None;
        for entry in payload.chunks_exact(6) {
            let Some((name, value)) = entry.split_first_chunk::<2>() else {
                continue;
            };
            let value = number(value, 0);
            match u16::from_be_bytes(*name) {
                setting::HEADER_TABLE_SIZE => self.peer.announce |= value < 4096,
                setting::ENABLE_PUSH if value > 1 || value == 1 && self.role == Role::Client => {
                    return Err(protocol("a push setting that it cannot have"));
                }
                setting::MAX_CONCURRENT_STREAMS => self.peer.streams = value,
                setting::INITIAL_WINDOW_SIZE if value > MAX_31 => return Err(OVERFLOW),
                setting::INITIAL_WINDOW_SIZE => window = Some(value),
                setting::MAX_FRAME_SIZE if !(DEFAULT_FRAME..=MAX_FRAME).contains(&value) => {
                    return Err(protocol("a frame size that it cannot have"));
                }
                setting::MAX_FRAME_SIZE => self.peer.frame = value as usize,
                // What is unknown is ignored.
                _ => {}
            }
        }
        if let Some(window) = window {
            self.peer_window(window)?;
        }
        self.out.frame(kind::SETTINGS, flag::ACK, 0, &[]);
        if self.can_open() {
            self.wake_openers();
        }
        Ok(())
    }

    /// RFC 9113 section 6.9.2: the windows of all streams change by as much as the setting does.
    fn peer_window(&mut self, window: u32) -> Received {
        let change = i64::from(window) - i64::from(self.peer.window);
        self.peer.window = window;
        for (_, stream) in self.streams.iter_mut() {
            stream.send_window += change;
            if stream.send_window > i64::from(MAX_31) {
                return Err(OVERFLOW);
            }
            if change > 0 && stream.send_window > 0 {
                stream.wake_writer();
            }
        }
        Ok(())
    }

    pub(super) fn window_update(&mut self, id: u32, payload: &[u8]) -> Received {
        let more = i64::from(number(payload, 0) & MAX_31);
        self.charge()?;
        if id == 0 {
            if more == 0 {
                return Err(protocol("a window update of nothing"));
            }
            self.send_window += more;
            if self.send_window > i64::from(MAX_31) {
                return Err(OVERFLOW);
            }
            self.grant();
            return Ok(());
        }
        let Some(stream) = self.streams.get_mut(id).filter(|s| s.is_open()) else {
            if self.is_idle(id) {
                return Err(protocol("WINDOW_UPDATE of a stream that nobody opened"));
            }
            return Ok(());
        };
        if more == 0 {
            return self.break_stream(id, Code::PROTOCOL_ERROR);
        }
        stream.send_window += more;
        if stream.send_window > i64::from(MAX_31) {
            return self.break_stream(id, Code::FLOW_CONTROL_ERROR);
        }
        if stream.send_window > 0 {
            stream.wake_writer();
        }
        Ok(())
    }

    /// Priorities are of no use here.
    pub(super) fn priority(&mut self, head: Head, payload: &[u8]) -> Received {
        self.charge()?;
        if number(payload, 0) & MAX_31 == head.stream {
            return self.break_stream(head.stream, Code::PROTOCOL_ERROR);
        }
        Ok(())
    }

    pub(super) fn ping_arrives(&mut self, head: Head, payload: &[u8]) -> Received {
        self.charge()?;
        if !head.has(flag::ACK) {
            self.out.frame(kind::PING, flag::ACK, 0, payload);
        } else if payload == ALIVE {
            self.pong = true;
        } else if payload == DRAIN && std::mem::take(&mut self.going.asked) {
            self.finish();
        }
        Ok(())
    }

    /// Asks whether the peer is there.
    pub(crate) fn ping(&mut self) {
        if self.failure.is_none() {
            self.out.frame(kind::PING, 0, 0, &ALIVE);
        }
    }

    /// Whether an answer to [`Self::ping`] came since the last call.
    pub(crate) fn take_pong(&mut self) -> bool {
        std::mem::take(&mut self.pong)
    }

    /// Tells the peer to open no more streams. Those that it opens before it knows are still served.
    pub(crate) fn drain(&mut self) {
        if self.failure.is_some() || self.going.asked || self.going.sent.is_some() {
            return;
        }
        self.going.asked = true;
        self.goaway(MAX_31, Code::NO_ERROR);
        self.out.frame(kind::PING, 0, 0, &DRAIN);
    }

    /// Serves no more streams than there are.
    pub(crate) fn finish(&mut self) {
        if self.failure.is_some() || self.going.sent.is_some() {
            return;
        }
        self.going.sent = Some(self.last_peer);
        self.goaway(self.last_peer, Code::NO_ERROR);
    }

    pub(super) fn peer_goes(&mut self, payload: &[u8]) -> Received {
        self.charge()?;
        let last = number(payload, 0) & MAX_31;
        let code = Code(number(payload, 4));
        let last = match self.going.received {
            // It may only take back more.
            Some((before, _)) => last.min(before),
            None => last,
        };
        self.going.received = Some((last, code));
        self.wake_openers();
        if self.role == Role::Client {
            for id in self.streams.ids() {
                let stream = self.streams.get_mut(id);
                if let Some(stream) = stream.filter(|s| id > last && s.is_open()) {
                    stream.reset = Some(Reset::Unprocessed);
                    stream.wake();
                    self.settle(id);
                }
            }
        }
        Ok(())
    }

    /// Whether one side has said that it goes, and nothing is left to be done.
    pub(crate) fn is_over(&self) -> bool {
        let going = self.going.sent.is_some() || self.going.received.is_some();
        going && self.streams.open() == 0 && self.requests.is_empty()
    }
}
