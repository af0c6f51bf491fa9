//! Bytes between two streams of any kind, both ways.
//!
//! Invariants: the end of one direction closes only that one; an error ends both without an orderly close, so that a
//! cut transfer never looks whole; memory is owned only for bytes that one side has not taken yet.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use culvert_runtime::scratch;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until};

/// Reads in one turn, after which other tasks get theirs.
const READS: usize = 8;

/// What was carried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Carried {
    /// Bytes from the first stream to the second.
    pub a_to_b: u64,
    /// Bytes from the second stream to the first.
    pub b_to_a: u64,
}

/// Carries bytes until both directions have ended, one fails, or none moved for `idle` (up to twice as long).
pub async fn relay<A, B>(a: &mut A, b: &mut B, idle: Duration) -> (Carried, io::Result<()>)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (mut forth, mut back) = (Half::default(), Half::default());
    let mut timer = pin!(sleep_until(Instant::now() + idle));
    let mut seen = 0;
    let result = std::future::poll_fn(|cx| {
        let forth_ended = forth.poll(a, b, cx)?;
        let back_ended = back.poll(b, a, cx)?;
        if forth_ended.is_ready() && back_ended.is_ready() {
            return Poll::Ready(Ok(()));
        }
        while timer.as_mut().poll(cx).is_ready() {
            let moved = forth.carried + back.carried;
            if moved == seen {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            seen = moved;
            timer.as_mut().reset(Instant::now() + idle);
        }
        Poll::Pending
    })
    .await;
    (
        Carried {
            a_to_b: forth.carried,
            b_to_a: back.carried,
        },
        result,
    )
}

/// One direction.
#[derive(Debug, Default)]
struct Half {
    /// Bytes that were read and not yet taken.
    parked: Vec<u8>,
    written: usize,
    carried: u64,
    ended: bool,
    closed: bool,
}

impl Half {
    fn poll<R, W>(&mut self, from: &mut R, to: &mut W, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        for _ in 0..READS {
            if self.closed {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_parked(to, cx))?;
            if self.ended {
                ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                self.closed = true;
                continue;
            }
            match scratch::with(|buffer| self.poll_pass(from, to, buffer, cx)) {
                Poll::Ready(passed) => passed?,
                Poll::Pending => {
                    // Nothing more to come for now: what was written should leave.
                    let _ = Pin::new(&mut *to).poll_flush(cx)?;
                    return Poll::Pending;
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes what is parked.
    fn poll_parked<W: AsyncWrite + Unpin>(
        &mut self,
        to: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while let Some(rest) = self
            .parked
            .get(self.written..)
            .filter(|rest| !rest.is_empty())
        {
            self.written += ready!(poll_some(to, rest, cx))?;
        }
        (self.parked, self.written) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }

    /// Reads once and writes it; parks what is not taken.
    fn poll_pass<R, W>(
        &mut self,
        from: &mut R,
        to: &mut W,
        buffer: &mut [u8],
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut read = ReadBuf::new(buffer);
        ready!(Pin::new(&mut *from).poll_read(cx, &mut read))?;
        let mut rest = read.filled();
        self.ended = rest.is_empty();
        self.carried += rest.len() as u64;
        while !rest.is_empty() {
            match poll_some(to, rest, cx) {
                Poll::Ready(taken) => rest = rest.get(taken?..).unwrap_or_default(),
                Poll::Pending => {
                    self.parked = rest.to_vec();
                    break;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Writes some bytes; none is an error.
fn poll_some<W: AsyncWrite + Unpin>(
    to: &mut W,
    bytes: &[u8],
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    match ready!(Pin::new(to).poll_write(cx, bytes))? {
        0 => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        taken => Poll::Ready(Ok(taken)),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn both_directions_are_whole_and_half_close_is_kept() {
        let (mut client, mut a) = duplex(1000);
        let (mut b, mut server) = duplex(333);
        let carrier = tokio::spawn(async move { relay(&mut a, &mut b, LONG).await });
        let echo = tokio::spawn(async move {
            let mut all = Vec::new();
            server.read_to_end(&mut all).await.unwrap();
            all.reverse();
            server.write_all(&all).await.unwrap();
        });
        let sent: Vec<u8> = (0..100_000u32).map(|n| n.to_le_bytes()[0]).collect();
        client.write_all(&sent).await.unwrap();
        client.shutdown().await.unwrap();
        let mut back = Vec::new();
        client.read_to_end(&mut back).await.unwrap();
        back.reverse();
        assert!(back == sent);
        echo.await.unwrap();
        let (carried, result) = carrier.await.unwrap();
        assert_eq!(
            carried,
            Carried {
                a_to_b: 100_000,
                b_to_a: 100_000
            }
        );
        result.unwrap();
    }

    #[tokio::test]
    async fn idle_streams_end() {
        let (mut client, mut a) = duplex(10);
        let (mut b, _server) = duplex(10);
        client.write_all(b"x").await.unwrap();
        let (carried, result) = relay(&mut a, &mut b, Duration::from_millis(200)).await;
        assert_eq!(
            (carried.a_to_b, result.unwrap_err().kind()),
            (1, io::ErrorKind::TimedOut)
        );
    }
}
