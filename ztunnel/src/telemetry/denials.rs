//! Refused and cut connections by their `DenyReason`, and, for the controller, those to our pods that policy refused.
//!
//! Invariant: what clients do does not make memory grow: of refusals that nobody took yet only so many are kept.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use culvert_policy::DenyReason;
use culvert_proto::node;
use culvert_runtime::metrics::int_counter_vec;
use prometheus::IntCounterVec;

use super::facts::{Direction, Facts};
use crate::proxy::denial::Denial;

/// Kinds of refusals that are kept for the controller.
const MOST: usize = 64;

static DENIED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    int_counter_vec(
        "culvert_connections_denied_total",
        "Connections that were refused, or ended before their time, by the reason.",
        &["direction", "reason"],
    )
});

/// How often each was refused since somebody took them.
static REFUSED: Mutex<BTreeMap<Refusal, u32>> = Mutex::new(BTreeMap::new());

/// Connections that are alike.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Refusal {
    namespace: String,
    pod: String,
    peer: String,
    port: u16,
    reason: DenyReason,
    message: String,
}

/// One more.
pub(super) fn count(facts: &Facts, denial: &Denial) {
    let labels = [facts.direction.as_str(), denial.reason.as_str()];
    DENIED.with_label_values(&labels).inc();
    if facts.direction == Direction::Inbound && denial.reason.is_policy() {
        let mut refused = REFUSED.lock().unwrap_or_else(PoisonError::into_inner);
        add(&mut refused, facts, denial);
    }
}

fn add(refused: &mut BTreeMap<Refusal, u32>, facts: &Facts, denial: &Denial) {
    let identity = facts.source.identity.as_ref();
    let message = match &denial.policy {
        Some(policy) => format!("{denial} (policy {policy})"),
        None => denial.to_string(),
    };
    let refusal = Refusal {
        namespace: facts.destination.namespace().to_owned(),
        pod: facts.destination.pod().to_owned(),
        peer: identity.map_or_else(|| facts.source_addr.ip().to_string(), ToString::to_string),
        port: facts.destination_addr.port(),
        reason: denial.reason,
        message,
    };
    if refused.len() < MOST || refused.contains_key(&refusal) {
        let count = refused.entry(refusal).or_default();
        *count = count.saturating_add(1);
    }
}

/// Those since the last time.
pub(crate) fn take() -> Vec<node::Denial> {
    let taken = std::mem::take(&mut *REFUSED.lock().unwrap_or_else(PoisonError::into_inner));
    let denial = |(refusal, count): (Refusal, u32)| node::Denial {
        namespace: refusal.namespace,
        name: refusal.pod,
        peer: refusal.peer,
        port: refusal.port.into(),
        reason: refusal.reason.as_str().to_owned(),
        message: refusal.message,
        count,
    };
    taken.into_iter().map(denial).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_alike_is_counted_and_what_is_too_much_is_left_out() {
        let client = |last: u8| ([10, 0, 0, last], 1).into();
        let facts = |last| Facts::new(Direction::Inbound, client(last), ([10, 1, 0, 1], 80).into());
        let denial = Denial::from(DenyReason::MtlsRequired);
        let mut refused = BTreeMap::new();
        for last in 0..=255 {
            add(&mut refused, &facts(last), &denial);
            add(&mut refused, &facts(0), &denial);
        }
        assert_eq!(refused.len(), MOST);
        let of = |peer: &str| refused.iter().find(|(refusal, _)| refusal.peer == peer);
        assert_eq!(of("10.0.0.0").map(|(_, count)| *count), Some(257));
        assert_eq!(of("10.0.0.7").map(|(_, count)| *count), Some(1));
    }
}
