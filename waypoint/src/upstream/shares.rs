//! Which part of its share each endpoint of a set takes, where some take less than the whole or some are nearer than
//! others.
//!
//! Invariant: an endpoint that is left out has no part; whoever picks has only those to pick from that have one. A tier
//! gets the part of all requests that is its load, whatever its endpoints have to do.

use std::borrow::Cow;

use super::tiers::{Loads, Tiers};

/// The parts, by the endpoints' indices.
#[derive(Debug)]
pub struct Shares {
    of: Box<[f32]>,
    tiers: Box<[Tier]>,
}

/// Endpoints that are as near as each other.
#[derive(Debug, Default)]
pub struct Tier {
    open: Box<[usize]>,
    /// All parts together.
    pub sum: f32,
    /// All that have a part have the same.
    pub even: bool,
    /// The part of all requests that it gets.
    pub load: f32,
}

impl Shares {
    /// Of parts from 0 to 1; none where all take the whole.
    pub fn new(of: Vec<f32>) -> Option<Self> {
        if of.iter().all(|share| *share >= 1.0) {
            return None;
        }
        let tier = Tier::new(&of, 1.0, |_| true);
        Some(Self {
            tiers: [tier].into(),
            of: of.into(),
        })
    }

    /// The same where tiers have these loads. Who is in none has no part.
    pub fn tiered(mut of: Vec<f32>, tiers: &Tiers, loads: &Loads) -> Self {
        for (index, share) in of.iter_mut().enumerate() {
            if tiers.of(index).is_none() {
                *share = 0.0;
            }
        }
        let all = loads.of.iter().enumerate();
        let all = all.map(|(tier, load)| Tier::new(&of, *load, |i| tiers.of(i) == Some(tier)));
        Self {
            tiers: all.collect(),
            of: of.into(),
        }
    }

    /// The part of one.
    pub fn of(&self, index: usize) -> f32 {
        self.of.get(index).copied().unwrap_or_default()
    }

    /// The tier at a point of the way along their loads, from 0 to 1. It has somebody, if any has.
    pub fn tier(&self, point: impl FnOnce() -> f32) -> Option<&Tier> {
        let mut loaded = self.tiers.iter().filter(|tier| tier.load > 0.0);
        let first = loaded.next()?;
        if first.load >= 1.0 {
            return Some(first);
        }
        let mut left = point() - first.load;
        if left < 0.0 {
            return Some(first);
        }
        let mut last = first;
        for tier in loaded {
            left -= tier.load;
            last = tier;
            if left < 0.0 {
                break;
            }
        }
        Some(last)
    }

    /// `drawn`, then all others, the nearest first.
    pub fn starting_with<'a>(&'a self, drawn: &'a Tier) -> impl Iterator<Item = &'a Tier> {
        let others = self
            .tiers
            .iter()
            .filter(move |tier| !std::ptr::eq(*tier, drawn));
        std::iter::once(drawn).chain(others)
    }

    /// A tier that has somebody who was not tried, and whom: `drawn`, else the nearest. If all were tried, all of `drawn`.
    pub fn untried<'a>(&'a self, drawn: &'a Tier, tried: &[usize]) -> (&'a Tier, Cow<'a, [usize]>) {
        if !tried.is_empty() {
            for tier in self.starting_with(drawn) {
                let open = tier.open.iter().copied();
                let fresh: Vec<_> = open.filter(|index| !tried.contains(index)).collect();
                if !fresh.is_empty() {
                    return (tier, Cow::Owned(fresh));
                }
            }
        }
        (drawn, Cow::Borrowed(&drawn.open))
    }

    /// The one of `among` at this point of the way along their parts, from 0 to 1.
    pub fn at(&self, among: &[usize], point: f32) -> Option<usize> {
        let whole: f32 = among.iter().map(|index| self.of(*index)).sum();
        let mut left = point * whole;
        for index in among {
            left -= self.of(*index);
            if left < 0.0 {
                return Some(*index);
            }
        }
        among.last().copied()
    }
}

impl Tier {
    fn new(of: &[f32], load: f32, has: impl Fn(usize) -> bool) -> Self {
        let parts = || {
            (0..)
                .zip(of)
                .filter(|(index, share)| **share > 0.0 && has(*index))
        };
        let first = parts().next().map(|(_, share)| *share).unwrap_or_default();
        Self {
            open: parts().map(|(index, _)| index).collect(),
            sum: parts().map(|(_, share)| share).sum(),
            // Endpoints that all grow alike take as much as each other.
            even: parts().all(|(_, share)| (share - first).abs() < 0.01),
            load,
        }
    }

    /// Whether an endpoint is in it and has a part.
    pub fn has(&self, index: usize) -> bool {
        self.open.binary_search(&index).is_ok()
    }
}
