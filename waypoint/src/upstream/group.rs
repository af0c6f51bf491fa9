//! The endpoints of one service port as all cores see them: what one core learns of an endpoint holds for all.
//!
//! Invariants: no lock on a request's way, but for the one whose failure leaves an endpoint out and the one that finds an
//! interval at its end. Never more endpoints are left out than the policy allows, whatever cores do at once.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::member::{Member, Millis, Sample, millis};
use super::outlier;
use super::ramp::Ramp;
use super::registry::Registry;
use crate::config::ServiceRef;
use crate::config::locality::Locality;
use crate::config::resilience::OutlierDetection;
use crate::telemetry::series;

/// What a policy says of a service's endpoints, and where what is known of them is kept.
#[derive(Debug)]
pub struct Resilience {
    /// Who is left out.
    pub outlier: Option<OutlierDetection>,
    /// How new endpoints come to their share.
    pub warmup: Option<Ramp>,
    /// Who is near; absent: as the Service says.
    pub locality: Option<Locality>,
    /// Where the groups are.
    pub registry: Arc<Registry>,
}

/// The endpoints of one service port.
#[derive(Debug)]
pub struct Group {
    pub(super) service: ServiceRef,
    start: Instant,
    pub(super) roster: Mutex<Roster>,
    /// Counts changes of who is left out and who is there.
    changes: AtomicU64,
    /// When there is something to do.
    due: AtomicU64,
}

/// Who is there.
#[derive(Debug, Default)]
pub(super) struct Roster {
    /// Of the snapshot that says so; none before the first.
    version: Option<u64>,
    pub(super) members: HashMap<(Arc<str>, SocketAddr), Arc<Member>>,
    ejected: usize,
    /// When rates are compared next.
    compare: Millis,
}

impl Group {
    pub(super) fn new(service: ServiceRef) -> Self {
        Self {
            service,
            start: Instant::now(),
            roster: Mutex::default(),
            changes: AtomicU64::new(1),
            due: AtomicU64::default(),
        }
    }

    /// Milliseconds since the group was made, from 1.
    pub(super) fn now(&self) -> Millis {
        millis(self.start.elapsed()) + 1
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often who takes what has changed.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// The members that stand for the endpoints of a core's set, which comes from the snapshot `version`. Who is there is
    /// what the newest snapshot says. Who comes after the first is new.
    pub(super) fn sync<'a>(
        &self,
        version: u64,
        endpoints: impl Iterator<Item = (&'a Arc<str>, SocketAddr)>,
    ) -> Vec<Arc<Member>> {
        let mut roster = self.lock();
        let since = roster.version.map_or(0, |_| self.now());
        let newer = roster.version.is_none_or(|known| known < version);
        let mut next = HashMap::new();
        let members = endpoints.map(|(uid, address)| {
            let key = (Arc::clone(uid), address);
            let known = roster.members.get(&key).map(Arc::clone);
            let member = known.unwrap_or_else(|| Arc::new(Member::new(uid, address, since)));
            if newer {
                next.insert(key, Arc::clone(&member));
            }
            member
        });
        let members = members.collect();
        if newer {
            let before = std::mem::replace(&mut roster.members, next);
            let ejected = roster.members.values().filter(|m| m.ejected() != 0).count();
            let gone = before.values().filter(|m| m.ejected() != 0).count() - ejected;
            series::ejected(
                &self.service.service,
                -i64::try_from(gone).unwrap_or_default(),
            );
            roster.ejected = ejected;
            roster.version = Some(version);
            self.changes.fetch_add(1, Ordering::AcqRel);
        }
        // The policy may be another one.
        self.due.store(0, Ordering::Release);
        members
    }

    /// Does what is due: lets endpoints back, compares rates. Whoever comes first does it for all cores.
    pub(super) fn review(&self, resilience: &Resilience, now: Millis) {
        let due = self.due.load(Ordering::Acquire);
        if now < due {
            return;
        }
        let mine = self
            .due
            .compare_exchange(due, Millis::MAX, Ordering::AcqRel, Ordering::Acquire);
        if mine.is_err() {
            return;
        }
        let mut roster = self.lock();
        let mut next = Millis::MAX;
        for member in roster.members.values() {
            match member.ejected() {
                0 => {}
                until if until > now => next = next.min(until),
                _ => {
                    member.let_back(now);
                    tracing::info!(service = %self.service.service, endpoint = %member.uid, "endpoint returns");
                    series::ejected(&self.service.service, -1);
                    self.changes.fetch_add(1, Ordering::AcqRel);
                }
            }
        }
        roster.ejected = roster.members.values().filter(|m| m.ejected() != 0).count();
        if let Some(outlier) = &resilience.outlier {
            if now >= roster.compare {
                // Whatever was counted before the first interval began is no interval.
                let first = roster.compare == 0;
                roster.compare = now + millis(outlier.interval);
                next = next.min(self.compare(&mut roster, outlier, now, first));
            }
            next = next.min(roster.compare);
        }
        drop(roster);
        self.due.fetch_min(next, Ordering::AcqRel);
    }

    /// Ends an interval.
    fn compare(
        &self,
        roster: &mut Roster,
        outlier: &OutlierDetection,
        now: Millis,
        first: bool,
    ) -> Millis {
        let members: Vec<_> = roster.members.values().map(Arc::clone).collect();
        let intervals: Vec<_> = members.iter().map(|member| member.interval()).collect();
        let mut next = Millis::MAX;
        if first {
            return next;
        }
        for member in members.iter().filter(|member| member.ejected() == 0) {
            member.calm();
        }
        let failing = outlier
            .success_rate
            .map(|settings| outlier::failing(&intervals, &settings));
        let slow = outlier
            .latency
            .map(|settings| outlier::slow(&intervals, &settings));
        for (found, reason) in [(failing, "success-rate"), (slow, "latency")] {
            for member in found
                .iter()
                .flatten()
                .filter_map(|index| members.get(*index))
            {
                if let Some(until) = self.eject(roster, member, outlier, now, reason) {
                    next = next.min(until);
                }
            }
        }
        next
    }

    /// Takes the end of a try at `member`.
    pub(super) fn observe(
        &self,
        resilience: &Resilience,
        member: &Arc<Member>,
        sample: Sample,
        took: Duration,
    ) {
        let Some(outlier) = &resilience.outlier else {
            return;
        };
        if outlier.success_rate.is_some() || outlier.latency.is_some() {
            member.count(sample, took);
        }
        let Some(row) = member.row(sample) else {
            return;
        };
        let reason =
            if row.gateway >= outlier.consecutive_gateway && outlier.consecutive_gateway != 0 {
                "consecutive-gateway-errors"
            } else if row.server >= outlier.consecutive_5xx && outlier.consecutive_5xx != 0 {
                "consecutive-5xx-errors"
            } else {
                return;
            };
        if member.ejected() != 0 {
            return;
        }
        let now = self.now();
        let until = self.eject(&mut self.lock(), member, outlier, now, reason);
        // One that may not go begins a new row.
        member.forget_row();
        if let Some(until) = until {
            self.due.fetch_min(until, Ordering::AcqRel);
        }
    }

    /// Leaves `member` out, if it is there and not too many are left out already. Says until when.
    fn eject(
        &self,
        roster: &mut Roster,
        member: &Arc<Member>,
        outlier: &OutlierDetection,
        now: Millis,
        reason: &str,
    ) -> Option<Millis> {
        let key = (Arc::clone(&member.uid), member.address);
        let there = roster
            .members
            .get(&key)
            .is_some_and(|known| Arc::ptr_eq(known, member));
        let allowed = outlier::allowed(roster.members.len(), outlier.max_ejection_percent);
        if !there || member.ejected() != 0 || roster.ejected >= allowed {
            return None;
        }
        let until = member.eject(now, outlier.base_ejection);
        roster.ejected += 1;
        self.changes.fetch_add(1, Ordering::AcqRel);
        series::ejection(&self.service.service, reason);
        series::ejected(&self.service.service, 1);
        let (service, endpoint) = (&self.service.service, &member.uid);
        let time = Duration::from_millis(until - now);
        tracing::info!(%service, %endpoint, reason, ?time, "endpoint ejected");
        Some(until)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let ejected = i64::try_from(self.lock().ejected).unwrap_or_default();
        series::ejected(&self.service.service, -ejected);
    }
}

#[cfg(test)]
mod tests;
