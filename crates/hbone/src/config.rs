//! The settings of a tunnel.
//!
//! Invariant: a stream's window is smaller than its connection's, so that one stream whose reader stands still never
//! stops its siblings.

use crate::engine::{Limits, Role, Setup};
use std::time::Duration;
use tokio::time::Instant;

/// Sizes, counts and deadlines of tunnels.
#[derive(Debug, Clone)]
pub struct TunnelConfig {
    /// Bytes that a stream's peer may send before we have passed them on, where the way is short. 512 KiB: 10 Gb/s for
    /// 0.4 ms. What is in flight is also what a small request waits behind.
    pub near_stream_window: u32,
    /// The same where the way is long. 4 MiB.
    pub stream_window: u32,
    /// The same for all streams of a tunnel together. 16 MiB.
    pub connection_window: u32,
    /// The largest frame that we take. 1 MiB.
    pub frame_size: u32,
    /// Bytes that may wait in this process for a tunnel's socket. 256 KiB; streams that send much stop at half of it. The
    /// rest waits in the applications' sockets.
    pub send_buffer: usize,
    /// Streams that we open in one tunnel, if the peer allows as many. 100.
    pub client_streams: u32,
    /// Streams that a peer may open in one tunnel. 200.
    pub server_streams: u32,
    /// A tunnel in which so many bytes moved in the last 0.1 s gets no new streams where another one can be had. 10 MB:
    /// 0.8 Gb/s.
    pub crowd: u64,
    /// Decoded size of an answer's headers. 16 KiB.
    pub client_headers: u32,
    /// Decoded size of a CONNECT's headers. 64 KiB.
    pub server_headers: u32,
    /// From the TCP connection to HTTP/2. 10 s.
    pub handshake: Duration,
    /// From a CONNECT to its answer, and at the server from HTTP/2 to the first CONNECT. 15 s.
    pub connect: Duration,
    /// A client closes a tunnel that had no stream for so long; a server waits twice as long. 5 min.
    pub idle: Duration,
    /// A client opens no stream in a tunnel that is older, less up to a fifth by chance. The tunnel ends with its streams.
    /// 10 min; never if absent.
    pub client_age: Option<Duration>,
    /// A server sends GOAWAY in a tunnel that is older, less up to a fifth by chance; its streams finish. Never.
    pub server_age: Option<Duration>,
    /// Between PINGs in a tunnel where nothing arrives. 10 s.
    pub ping_interval: Duration,
    /// For the answer to a PING, or anything else, to arrive. 20 s.
    pub ping_timeout: Duration,
}

impl Default for TunnelConfig {
    fn default() -> Self {
        Self {
            near_stream_window: 512 << 10,
            stream_window: 4 << 20,
            connection_window: 16 << 20,
            frame_size: 1 << 20,
            send_buffer: 256 << 10,
            client_streams: 100,
            server_streams: 200,
            crowd: 10_000_000,
            client_headers: 16 << 10,
            server_headers: 64 << 10,
            handshake: Duration::from_secs(10),
            connect: Duration::from_secs(15),
            idle: Duration::from_secs(300),
            client_age: Some(Duration::from_secs(600)),
            server_age: None,
            ping_interval: Duration::from_secs(10),
            ping_timeout: Duration::from_secs(20),
        }
    }
}

/// The bandwidth that one stream should be able to fill: 10 Gb/s.
const BYTES_PER_MICROSECOND: u128 = 1250;

impl TunnelConfig {
    /// The window of each stream where the way takes so long.
    fn window(&self, round_trip: Duration) -> u32 {
        let product = round_trip.as_micros() * BYTES_PER_MICROSECOND;
        let window = u32::try_from(product).unwrap_or(u32::MAX);
        window.min(self.stream_window).max(self.near_stream_window)
    }

    /// When a tunnel that begins now is old.
    pub(crate) fn old(age: Option<Duration>) -> Option<Instant> {
        let age = age?;
        // Tunnels that began together don't end together.
        let earlier = age.mul_f64(rand::random_range(0.0..0.2));
        Instant::now().checked_add(age - earlier)
    }

    /// What a connection over a way of this round trip starts with. A way that is not known is short.
    pub(crate) fn setup(&self, role: Role, round_trip: Option<Duration>) -> Setup {
        let limits = match role {
            Role::Client => Limits::new(0, self.client_headers),
            Role::Server => Limits::new(self.server_streams, self.server_headers),
        };
        Setup {
            role,
            stream_window: self.window(round_trip.unwrap_or_default()),
            connection_window: self.connection_window,
            frame_size: self.frame_size,
            client_streams: self.client_streams,
            send_buffer: self.send_buffer,
            limits,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_is_old_within_the_last_fifth_of_its_age() {
        let age = Duration::from_secs(100);
        for _ in 0..1000 {
            let from = Instant::now();
            let old = TunnelConfig::old(Some(age)).unwrap();
            assert!(old >= from + age.mul_f64(0.8) && old <= Instant::now() + age);
        }
        assert_eq!(TunnelConfig::old(None), None);
        assert_eq!(TunnelConfig::old(Some(Duration::MAX)), None);
    }

    #[test]
    fn windows_grow_with_the_way() {
        let config = TunnelConfig::default();
        for (micros, window) in [
            (50, 512 << 10),
            (400, 512 << 10),
            (2000, 2_500_000),
            (50_000, 4 << 20),
            (u64::MAX, 4 << 20),
        ] {
            assert_eq!(config.window(Duration::from_micros(micros)), window);
        }
    }
}
