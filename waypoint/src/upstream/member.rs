//! One endpoint of a service port as all cores see it: how it did, and whether it is left out.
//!
//! Invariant: only counters change without the group's lock. An endpoint is let back by whoever holds it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::outlier::Interval;
use super::ramp::Ramp;

/// How a try ended, as far as its endpoint is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sample {
    /// With an answer that is no server error.
    Good,
    /// With a server error of the application's.
    ServerError,
    /// Without an answer, or with 502, 503 or 504.
    GatewayError,
}

impl Sample {
    /// What a status of HTTP says.
    pub fn of_status(status: u16) -> Self {
        match status {
            502..=504 => Self::GatewayError,
            500..=599 => Self::ServerError,
            _ => Self::Good,
        }
    }

    /// What a status of gRPC says: UNAVAILABLE and DEADLINE_EXCEEDED are those of gateways; UNKNOWN, INTERNAL and
    /// DATA_LOSS are server errors.
    pub fn of_grpc(status: u8) -> Self {
        match status {
            4 | 14 => Self::GatewayError,
            2 | 13 | 15 => Self::ServerError,
            _ => Self::Good,
        }
    }
}

/// Milliseconds of the group's clock, from 1; 0 is never.
pub(super) type Millis = u64;

/// The endpoint.
#[derive(Debug)]
pub struct Member {
    pub(super) uid: Arc<str>,
    pub(super) address: SocketAddr,
    server_errors: AtomicU32,
    gateway_errors: AtomicU32,
    total: AtomicU32,
    failed: AtomicU32,
    nanos: AtomicU64,
    /// Bits of an f64; 0 before the first answer.
    latency: AtomicU64,
    /// Left out until then.
    until: AtomicU64,
    /// Times that it was left out, less one for each interval without.
    times: AtomicU32,
    /// Since when it comes to its share.
    since: AtomicU64,
    /// It comes back; otherwise it is new.
    returning: AtomicBool,
}

/// Errors in a row, this one included.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) server: u32,
    pub(super) gateway: u32,
}

impl Member {
    /// An endpoint that comes to its share since then, 0 for one that has it.
    pub(super) fn new(uid: &Arc<str>, address: SocketAddr, since: Millis) -> Self {
        Self {
            uid: Arc::clone(uid),
            address,
            server_errors: AtomicU32::default(),
            gateway_errors: AtomicU32::default(),
            total: AtomicU32::default(),
            failed: AtomicU32::default(),
            nanos: AtomicU64::default(),
            latency: AtomicU64::default(),
            until: AtomicU64::default(),
            times: AtomicU32::default(),
            since: AtomicU64::new(since),
            returning: AtomicBool::default(),
        }
    }

    /// Counts for the comparison of the interval.
    pub(super) fn count(&self, sample: Sample, took: Duration) {
        self.total.fetch_add(1, Ordering::Relaxed);
        if sample != Sample::Good {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX >> 20);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Counts errors in a row; none if this is no error. Who does well costs a look, no write that other cores would
    /// have to wait for.
    pub(super) fn row(&self, sample: Sample) -> Option<Row> {
        let end = |row: &AtomicU32| {
            if row.load(Ordering::Relaxed) != 0 {
                row.store(0, Ordering::Relaxed);
            }
        };
        match sample {
            Sample::Good => {
                end(&self.server_errors);
                end(&self.gateway_errors);
                None
            }
            Sample::ServerError => {
                end(&self.gateway_errors);
                let server = self.server_errors.fetch_add(1, Ordering::Relaxed) + 1;
                Some(Row { server, gateway: 0 })
            }
            Sample::GatewayError => Some(Row {
                server: self.server_errors.fetch_add(1, Ordering::Relaxed) + 1,
                gateway: self.gateway_errors.fetch_add(1, Ordering::Relaxed) + 1,
            }),
        }
    }

    /// Ends the interval: what was done in it.
    pub(super) fn interval(&self) -> Interval {
        let total = self.total.swap(0, Ordering::Relaxed);
        let failed = self.failed.swap(0, Ordering::Relaxed).min(total);
        let nanos = self.nanos.swap(0, Ordering::Relaxed);
        let before = Some(self.latency.load(Ordering::Relaxed)).filter(|bits| *bits != 0);
        let before = before.map(f64::from_bits);
        #[expect(clippy::cast_precision_loss, reason = "nanoseconds of a mean")]
        let mean = (total > 0).then(|| nanos as f64 / f64::from(total));
        let latency = match (before, mean) {
            (Some(before), Some(mean)) => Some(f64::midpoint(before, mean)),
            (before, mean) => mean.or(before),
        };
        self.latency
            .store(latency.map_or(0, f64::to_bits), Ordering::Relaxed);
        Interval {
            total,
            failed,
            latency,
        }
    }

    /// Left out until then; 0 if it is not.
    pub(super) fn ejected(&self) -> Millis {
        self.until.load(Ordering::Acquire)
    }

    /// Leaves it out, for longer each time.
    pub(super) fn eject(&self, now: Millis, base: Duration) -> Millis {
        let times = self.times.load(Ordering::Relaxed).saturating_add(1);
        self.times.store(times, Ordering::Relaxed);
        let longest = base.max(LONGEST);
        let until = now + millis(base.saturating_mul(times).min(longest)).max(1);
        self.until.store(until, Ordering::Release);
        until
    }

    /// Lets it back.
    pub(super) fn let_back(&self, now: Millis) {
        self.forget_row();
        self.latency.store(0, Ordering::Relaxed);
        self.returning.store(true, Ordering::Relaxed);
        self.since.store(now, Ordering::Release);
        self.until.store(0, Ordering::Release);
    }

    /// Errors so far don't count any more.
    pub(super) fn forget_row(&self) {
        self.server_errors.store(0, Ordering::Relaxed);
        self.gateway_errors.store(0, Ordering::Relaxed);
    }

    /// An interval in which it was not left out: the next time is shorter.
    pub(super) fn calm(&self) {
        let times = self.times.load(Ordering::Relaxed);
        self.times.store(times.saturating_sub(1), Ordering::Relaxed);
    }

    /// Whether it has been left out before, as it is now.
    pub(super) fn is_returning(&self) -> bool {
        self.returning.load(Ordering::Relaxed)
    }

    /// How often it was left out lately.
    pub(super) fn times(&self) -> u32 {
        self.times.load(Ordering::Relaxed)
    }

    /// The part of its share that it takes, if it is not left out.
    pub(super) fn share(
        &self,
        now: Millis,
        warmup: Option<&Ramp>,
        returning: Option<&Ramp>,
    ) -> f32 {
        let since = self.since.load(Ordering::Acquire);
        if since == 0 {
            return 1.0;
        }
        let ramp = if self.returning.load(Ordering::Relaxed) {
            returning
        } else {
            warmup
        };
        let elapsed = Duration::from_millis(now.saturating_sub(since));
        ramp.map_or(1.0, |ramp| ramp.share(elapsed))
    }
}

/// An endpoint is not left out for longer at once, unless its first time is.
const LONGEST: Duration = Duration::from_secs(300);

pub(super) fn millis(duration: Duration) -> Millis {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX >> 20)
}
