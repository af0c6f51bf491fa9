//! DATA that arrives, and the windows it is bound by.
//!
//! Invariants: every byte of every DATA frame leaves the connection's window and comes back once: when it is passed on,
//! when it is padding, or when nobody wants it; a stream gets window back only for what was passed on.

use super::super::frame::{Code, Head, flag, kind};
use super::super::stream::Reset;
use super::super::{StreamError, Violation};
use super::receive::{Received, protocol};
use super::{Connection, Role};
use bytes::Bytes;
use std::io::IoSlice;
use std::task::{Context, Poll};

/// The DATA frame that is arriving.
pub(super) struct Frame {
    stream: u32,
    /// Somebody wants its bytes.
    wanted: bool,
    ends: bool,
    bytes: u32,
}

impl Connection {
    pub(super) fn data_begins(&mut self, head: Head) -> Received {
        let id = head.stream;
        if id == 0 {
            return Err(protocol("DATA on no stream"));
        }
        let left = self.recv.left.checked_sub(head.length);
        self.recv.left = left.ok_or(Violation(
            Code::FLOW_CONTROL_ERROR,
            "more DATA than the connection's window",
        ))?;
        let wanted = self.data_is_wanted(head)?;
        self.data = Some(Frame {
            stream: id,
            wanted,
            ends: head.has(flag::END_STREAM),
            bytes: 0,
        });
        Ok(())
    }

    fn data_is_wanted(&mut self, head: Head) -> Result<bool, Violation> {
        let id = head.stream;
        let client = self.role == Role::Client;
        let fault = if let Some(stream) = self.streams.get_mut(id) {
            match stream.reset {
                Some(Reset::Local(_) | Reset::Unprocessed) => return Ok(false),
                Some(Reset::Peer(_)) => Code::STREAM_CLOSED,
                None if stream.recv_ended => Code::STREAM_CLOSED,
                None if client && !stream.answered => Code::PROTOCOL_ERROR,
                None => match stream.recv_window.checked_sub(head.length) {
                    Some(left) => {
                        stream.recv_window = left;
                        return Ok(true);
                    }
                    None => Code::FLOW_CONTROL_ERROR,
                },
            }
        } else if self.is_idle(id) {
            return Err(protocol("DATA on a stream that nobody opened"));
        } else if self.is_ignored(id) {
            return Ok(false);
        } else {
            Code::STREAM_CLOSED
        };
        self.break_stream(id, fault)?;
        Ok(false)
    }

    pub(super) fn data_part(&mut self, bytes: Bytes) {
        let Some(frame) = &mut self.data else { return };
        let n = bytes.len();
        frame.bytes = frame.bytes.saturating_add(n as u32);
        let id = frame.stream;
        let stream = self.streams.get_mut(id);
        // It may have been reset since the frame began.
        match stream.filter(|stream| frame.wanted && stream.reset.is_none()) {
            Some(stream) => {
                if stream.queue.push(bytes) {
                    self.pinned.push(id);
                }
                if !stream.parked {
                    stream.wake_reader();
                }
            }
            None => self.give_back(n),
        }
    }

    pub(super) fn data_ends(&mut self, padding: u32) -> Received {
        let Some(frame) = self.data.take() else {
            return Ok(());
        };
        let id = frame.stream;
        self.passed_on(id, padding as usize);
        if frame.bytes == 0 && !frame.ends {
            self.charge()?;
        } else {
            self.frames.earn(1 + frame.bytes / 1024);
        }
        if frame.wanted
            && frame.ends
            && let Some(stream) = self.streams.get_mut(id).filter(|s| s.reset.is_none())
        {
            stream.recv_ended = true;
            stream.wake_reader();
            self.settle(id);
        }
        Ok(())
    }

    /// `n` bytes of a stream were passed on, or were never anybody's.
    pub(crate) fn passed_on(&mut self, id: u32, n: usize) {
        let half = self.stream_window / 2;
        if let Some(stream) = self.streams.get_mut(id).filter(|s| s.reset.is_none()) {
            stream.unreported = stream.unreported.saturating_add(n as u32);
            let more = stream.unreported;
            if more >= half && more > 0 && !stream.recv_ended && self.failure.is_none() {
                stream.unreported = 0;
                stream.recv_window = stream.recv_window.saturating_add(more);
                self.out
                    .frame(kind::WINDOW_UPDATE, 0, id, &more.to_be_bytes());
            }
        }
        self.give_back(n);
    }

    /// `n` bytes no longer count against the connection's window.
    pub(super) fn give_back(&mut self, n: usize) {
        let window = &mut self.recv;
        window.unreported = window.unreported.saturating_add(n as u32);
        if window.unreported >= window.size / 2 && self.failure.is_none() {
            let more = std::mem::take(&mut window.unreported);
            window.left = window.left.saturating_add(more);
            self.out
                .frame(kind::WINDOW_UPDATE, 0, 0, &more.to_be_bytes());
        }
    }

    /// Ready when there is something to read (true), or the peer has ended the stream (false).
    pub(crate) fn poll_data(
        &mut self,
        id: u32,
        cx: &Context<'_>,
    ) -> Poll<Result<bool, StreamError>> {
        let (role, failure) = (self.role, self.failure);
        let Some(stream) = self.streams.get_mut(id) else {
            return Poll::Ready(Ok(false));
        };
        stream.parked = false;
        if stream.queue.len() > 0 {
            return Poll::Ready(Ok(true));
        }
        if let Some(error) = stream.recv_error(role, failure) {
            return Poll::Ready(Err(error));
        }
        if stream.recv_ended {
            return Poll::Ready(Ok(false));
        }
        register(&mut stream.reader, cx);
        Poll::Pending
    }

    /// Ready when a stream, whose reader cannot take what is there, breaks.
    pub(crate) fn poll_broken(&mut self, id: u32, cx: &Context<'_>) -> Poll<StreamError> {
        let (role, failure) = (self.role, self.failure);
        let Some(stream) = self.streams.get_mut(id) else {
            return Poll::Pending;
        };
        if let Some(error) = stream.recv_error(role, failure) {
            return Poll::Ready(error);
        }
        stream.parked = true;
        register(&mut stream.reader, cx);
        Poll::Pending
    }

    /// Lends what a stream has to be read; how many of the slices are in use.
    pub(crate) fn lend<'a>(&'a mut self, id: u32, slices: &mut [IoSlice<'a>]) -> usize {
        let stream = self.streams.get_mut(id);
        stream.map_or(0, |stream| stream.queue.lend(slices))
    }

    /// The first bytes that a stream has to be read.
    pub(crate) fn front(&mut self, id: u32) -> &[u8] {
        let stream = self.streams.get_mut(id);
        stream.map_or(&[], |stream| stream.queue.front())
    }

    /// `n` bytes of a stream were read and passed on.
    pub(crate) fn consume(&mut self, id: u32, n: usize) {
        if let Some(stream) = self.streams.get_mut(id) {
            stream.queue.consume(n);
        }
        self.passed_on(id, n);
    }
}

/// Whom to wake.
pub(super) fn register(slot: &mut Option<std::task::Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) if waker.will_wake(cx.waker()) => {}
        _ => *slot = Some(cx.waker().clone()),
    }
}
