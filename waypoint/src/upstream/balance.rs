//! Choosing: one of weighted backends, one of a service's endpoints.
//!
//! Invariant: a choice is a function of the weights or loads and of the random numbers alone; each backend's share is
//! exactly its weight's, without a bias of rounding. An endpoint that is left out is never chosen.

use std::time::Duration;

use rand::Rng;

use super::hash;
use super::shares::{Shares, Tier};
use crate::config::resilience::HashPolicy;
use crate::config::traffic::Balancer;

/// Picks an index by weight; nothing if all weights are zero.
pub fn weighted(weights: impl Iterator<Item = u32> + Clone, rng: &mut impl Rng) -> Option<usize> {
    let total: u64 = weights.clone().map(u64::from).sum();
    if total == 0 {
        return None;
    }
    let mut left = rng.random_range(0..total);
    for (index, weight) in weights.enumerate() {
        match left.checked_sub(u64::from(weight)) {
            Some(rest) => left = rest,
            None => return Some(index),
        }
    }
    None
}

/// What of an endpoint its choice depends on.
pub trait Load {
    /// Requests in flight.
    fn active(&self) -> u32;
    /// Expected wait for one more request, in nanoseconds.
    fn cost(&self) -> f64;
}

/// How to choose.
#[derive(Debug, Clone, Copy)]
pub struct Choice<'a> {
    /// By what.
    pub balancer: &'a Balancer,
    /// Left out unless there is no other.
    pub tried: &'a [usize],
    /// The parts that endpoints take of their shares; absent where all take the whole.
    pub shares: Option<&'a Shares>,
    /// Counts the choices.
    pub turn: usize,
}

/// A key, and what it is hashed over.
#[derive(Debug, Clone, Copy)]
pub struct Keyed<'a> {
    /// The key's hash.
    pub key: u64,
    /// Those of the endpoints.
    pub endpoints: &'a [u64],
    /// What all of them have in flight.
    pub in_flight: u32,
}

/// Picks one of `candidates`.
pub fn endpoint<L: Load>(
    choice: &Choice<'_>,
    candidates: &[L],
    rng: &mut impl Rng,
) -> Option<usize> {
    let Some(shares) = choice.shares else {
        return whole(choice, candidates, rng);
    };
    let drawn = shares.tier(|| rng.random())?;
    let (tier, list) = shares.untried(drawn, choice.tried);
    if tier.even {
        let nth = |nth: usize| list.get(nth).copied().unwrap_or_default();
        return among(choice, candidates, list.len(), rng, nth);
    }
    uneven(choice, shares, candidates, &list, rng)
}

/// All take their whole share.
fn whole<L: Load>(choice: &Choice<'_>, candidates: &[L], rng: &mut impl Rng) -> Option<usize> {
    let tried = choice.tried;
    let fresh = candidates.len().checked_sub(tried.len())?;
    if fresh == 0 || tried.is_empty() {
        return among(choice, candidates, candidates.len(), rng, |nth| nth);
    }
    // The nth candidate that was not tried: both lists are short when this matters.
    let untried = |nth: usize| {
        (0..candidates.len())
            .filter(|index| !tried.contains(index))
            .nth(nth)
            .unwrap_or(0)
    };
    among(choice, candidates, fresh, rng, untried)
}

fn among<L: Load>(
    choice: &Choice<'_>,
    candidates: &[L],
    count: usize,
    rng: &mut impl Rng,
    index: impl Fn(usize) -> usize,
) -> Option<usize> {
    if count <= 1 {
        return (count == 1).then(|| index(0));
    }
    let nth = match choice.balancer {
        Balancer::RoundRobin => return Some(index(choice.turn % count)),
        Balancer::Random => return Some(index(rng.random_range(0..count))),
        // A request without the key goes where there is least to do.
        Balancer::LeastRequest | Balancer::PeakEwma | Balancer::ConsistentHash(_) => {
            rng.random_range(0..count)
        }
    };
    // Two different ones.
    let other = (nth + rng.random_range(1..count)) % count;
    better(choice, candidates, (index(nth), index(other)), |_| 1.0)
}

/// Some take less than others. Two at random may be the same one, or a small one would be looked at as often as a large
/// one.
fn uneven<L: Load>(
    choice: &Choice<'_>,
    shares: &Shares,
    candidates: &[L],
    list: &[usize],
    rng: &mut impl Rng,
) -> Option<usize> {
    match choice.balancer {
        // Steps of the golden ratio go round evenly, and each gets its share.
        Balancer::RoundRobin => {
            let turn = u64::try_from(choice.turn).unwrap_or_default();
            shares.at(
                list,
                hash::fraction(turn.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            )
        }
        Balancer::Random => shares.at(list, rng.random()),
        Balancer::LeastRequest | Balancer::PeakEwma | Balancer::ConsistentHash(_) => {
            let first = shares.at(list, rng.random())?;
            let second = shares.at(list, rng.random())?;
            better(choice, candidates, (first, second), |index| {
                shares.of(index)
            })
        }
    }
}

/// The one of two with less to do for its share.
fn better<L: Load>(
    choice: &Choice<'_>,
    candidates: &[L],
    (first, second): (usize, usize),
    share: impl Fn(usize) -> f32,
) -> Option<usize> {
    let (a, b) = (candidates.get(first)?, candidates.get(second)?);
    let load = |load: &L, index| {
        let load = match choice.balancer {
            Balancer::PeakEwma => load.cost(),
            _ => load.active().into(),
        };
        load / f64::from(share(index))
    };
    let second_is_better = load(b, second) < load(a, first);
    Some(if second_is_better { second } else { first })
}

/// Picks the endpoint of a key in the key's tier, or the next one of it that has room: none has more in flight than `policy` allows of the
/// mean, as long as another may have more.
pub fn keyed<L: Load>(
    policy: &HashPolicy,
    keyed: &Keyed<'_>,
    choice: &Choice<'_>,
    candidates: &[L],
) -> Option<usize> {
    let fits = |index: usize, mean: f64, share: f32| {
        let bound = (f64::from(policy.balance) * mean * f64::from(share)).ceil();
        let active = candidates.get(index).map_or(u32::MAX, Load::active);
        f64::from(active) < bound
    };
    let is_tried = |index: usize| choice.tried.contains(&index);
    let in_flight = f64::from(keyed.in_flight);
    let pick = |share: &dyn Fn(usize) -> f32, fits: &dyn Fn(usize) -> bool| {
        let untried = |index| if is_tried(index) { 0.0 } else { share(index) };
        hash::pick(keyed.key, keyed.endpoints, untried, fits)
    };
    let Some(shares) = choice.shares else {
        let mean = (in_flight + 1.0) / float(candidates.len());
        let fits = |index| fits(index, mean, 1.0);
        return pick(&|_| 1.0, &fits)
            .or_else(|| hash::pick(keyed.key, keyed.endpoints, |_| 1.0, fits));
    };
    // The same tier for the key as long as loads are what they are; when a load grows, keys come and none goes.
    let drawn = shares.tier(|| hash::fraction(hash::mix(keyed.key ^ TIERS)))?;
    let of = |tier: &Tier, untried: bool| {
        let share = |index| {
            if tier.has(index) {
                shares.of(index)
            } else {
                0.0
            }
        };
        let mean = (in_flight * f64::from(tier.load) + 1.0) / f64::from(tier.sum);
        let fits = |index| fits(index, mean, share(index));
        if untried {
            pick(&share, &fits)
        } else {
            hash::pick(keyed.key, keyed.endpoints, share, fits)
        }
    };
    let untried = shares.starting_with(drawn).find_map(|tier| of(tier, true));
    untried.or_else(|| of(drawn, false))
}

/// Tells what a key says of tiers from what it says of endpoints.
const TIERS: u64 = 0x5851_f42d_4c95_7f2d;

#[expect(clippy::cast_precision_loss, reason = "a count of endpoints")]
fn float(count: usize) -> f64 {
    count as f64
}

/// A moving average of response times that jumps to peaks and decays with time.
#[derive(Debug, Clone, Copy)]
pub struct PeakEwma {
    nanos: f64,
}

impl Default for PeakEwma {
    fn default() -> Self {
        // What an endpoint is taken for before it has answered: new ones get traffic, but not all of it.
        Self {
            nanos: 30_000_000.0,
        }
    }
}

impl PeakEwma {
    /// Takes a response time, `since` after the one before.
    pub fn observe(&mut self, took: Duration, since: Duration) {
        const DECAY_SECONDS: f64 = 10.0;
        let took = took.as_secs_f64() * 1e9;
        if took > self.nanos {
            self.nanos = took;
        } else {
            let kept = (-since.as_secs_f64() / DECAY_SECONDS).exp();
            self.nanos = self.nanos * kept + took * (1.0 - kept);
        }
    }

    /// The expected wait behind `active` requests.
    pub fn cost(&self, active: u32) -> f64 {
        self.nanos * (f64::from(active) + 1.0)
    }
}

#[cfg(test)]
mod tests;
