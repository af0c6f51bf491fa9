//! The tunnels of one key.
//!
//! Invariants: a stream goes only into a tunnel that stands, has room, and whose server is one that the caller expects;
//! of these to the fullest, so that what a peak opened runs empty and is released; a crowded one last, of several the
//! emptiest.

use super::dial::{self, Dialing, Waiting};
use crate::client::Tunnel;
use crate::stream::Active;
use culvert_identity::SpiffeId;
use std::time::Duration;
use tokio::time::Instant;

/// A tunnel in the pool.
#[derive(Debug, Clone)]
pub(super) struct Pooled {
    pub(super) tunnel: Tunnel,
    generation: u64,
    old: Option<Instant>,
    idle_since: Option<Instant>,
}

impl Pooled {
    /// A tunnel that takes no new streams once it is `old`.
    pub(super) fn new(tunnel: Tunnel, generation: u64, old: Option<Instant>) -> Self {
        Self {
            tunnel,
            generation,
            old,
            idle_since: None,
        }
    }

    fn takes_streams(&self, now: Instant) -> bool {
        self.tunnel.is_usable() && self.old.is_none_or(|old| now < old)
    }
}

/// Tunnels of one key that are opened because the others are crowded.
const SPREAD: usize = 4;

/// The tunnels of one key, and the dial in progress.
#[derive(Debug, Default)]
pub(super) struct Entry {
    tunnels: Vec<Pooled>,
    dial: Option<Waiting>,
}

impl Entry {
    /// Takes out what gets no new streams: tunnels that close or are old, and those of an identity before `generation`.
    /// Their streams finish.
    pub(super) fn retire(&mut self, generation: u64) {
        let now = Instant::now();
        self.tunnels
            .retain(|pooled| pooled.generation >= generation && pooled.takes_streams(now));
    }

    /// Whether one more tunnel is worth its dial: those that there are belong to somebody who moves much.
    pub(super) fn is_crowded(&self, expected: &[SpiffeId]) -> bool {
        let mut fitting = (self.tunnels.iter())
            .filter(|pooled| expected.contains(pooled.tunnel.peer()))
            .peekable();
        self.tunnels.len() < SPREAD
            && fitting.peek().is_some()
            && fitting.all(|pooled| pooled.tunnel.is_crowded())
    }

    /// The best tunnel, with a place in it. Streams that share one share its reads, records and writes, too.
    pub(super) fn pick(&mut self, expected: &[SpiffeId]) -> Option<(Pooled, Active)> {
        let fits = |pooled: &&mut Pooled| {
            pooled.tunnel.active_streams() < pooled.tunnel.max_streams()
                && expected.contains(pooled.tunnel.peer())
        };
        let pooled = self
            .tunnels
            .iter_mut()
            .filter(fits)
            .min_by_key(|pooled| rank(&pooled.tunnel))?;
        pooled.idle_since = None;
        let active = pooled.tunnel.reserve();
        Some((pooled.clone(), active))
    }

    pub(super) fn waiting(&self) -> Option<Waiting> {
        self.dial.clone().filter(Waiting::is_pending)
    }

    pub(super) fn start_dial(&mut self) -> Dialing {
        let (dialing, waiting) = dial::start();
        self.dial = Some(waiting);
        dialing
    }

    pub(super) fn add(&mut self, pooled: Pooled) {
        self.tunnels.push(pooled);
    }

    /// Releases tunnels that are old or have been idle for `idle`; whether anything is left.
    pub(super) fn sweep(&mut self, now: Instant, idle: Duration) -> bool {
        self.tunnels.retain_mut(|pooled| {
            if pooled.tunnel.active_streams() > 0 {
                pooled.idle_since = None;
                return pooled.takes_streams(now);
            }
            now - *pooled.idle_since.get_or_insert(now) < idle && pooled.takes_streams(now)
        });
        !self.tunnels.is_empty() || self.is_dialing()
    }

    pub(super) fn is_dialing(&self) -> bool {
        self.dial.as_ref().is_some_and(Waiting::is_pending)
    }

    pub(super) fn tunnels(&self) -> usize {
        self.tunnels.len()
    }

    pub(super) fn streams(&self) -> usize {
        self.tunnels
            .iter()
            .map(|pooled| pooled.tunnel.active_streams())
            .sum()
    }
}

/// The lowest is taken.
fn rank(tunnel: &Tunnel) -> (bool, usize) {
    let (crowded, active) = (tunnel.is_crowded(), tunnel.active_streams());
    (crowded, if crowded { active } else { usize::MAX - active })
}
