//! Endpoints by how near they are: the nearest are the first tier, and what is too much for the healthy part of a tier goes
//! to the next one.
//!
//! Invariants: the loads of all tiers are the whole, as long as anybody takes requests; a tier has a load only if every
//! nearer one has as much as it may have. Who is excluded is in no tier.

use culvert_xds::state::Workload;

use crate::config::locality::Locality;

/// A tier takes this times the part of it that is healthy: all requests as long as 5 of 7 endpoints are.
const OVERPROVISIONING: f32 = 1.4;

/// The tier of each endpoint of a set, by its index; the nearest is 0.
#[derive(Debug, PartialEq, Eq)]
pub struct Tiers {
    of: Box<[Option<usize>]>,
    count: usize,
}

/// What each tier takes.
#[derive(Debug, PartialEq)]
pub struct Loads {
    /// Parts of 1.
    pub of: Vec<f32>,
    /// Even all tiers together are not healthy enough.
    pub short: bool,
}

impl Tiers {
    /// The tiers of `endpoints` as seen from `here`; none where all are alike.
    pub fn new<'a>(
        locality: &Locality,
        here: Option<&Workload>,
        endpoints: impl Iterator<Item = &'a Workload>,
    ) -> Option<Self> {
        let distances: Vec<_> = endpoints
            .map(|endpoint| locality.distance(here, endpoint))
            .collect();
        let mut known: Vec<_> = distances.iter().flatten().copied().collect();
        known.sort_unstable();
        known.dedup();
        let tier = |distance: &Option<usize>| known.binary_search(&(*distance)?).ok();
        let of: Box<[_]> = distances.iter().map(tier).collect();
        let differ = known.len() > 1 || of.contains(&None);
        differ.then_some(Self {
            of,
            count: known.len(),
        })
    }

    #[cfg(test)]
    pub(super) fn for_tests(of: &[Option<usize>]) -> Self {
        let count = of.iter().flatten().max().map_or(0, |last| last + 1);
        Self {
            of: of.into(),
            count,
        }
    }

    /// The tier of an endpoint; none if it is not to be used.
    pub fn of(&self, index: usize) -> Option<usize> {
        *self.of.get(index)?
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// How many endpoints are in one.
    pub fn members(&self) -> usize {
        self.of.iter().flatten().count()
    }

    /// What each tier takes where its endpoints take these parts of their shares.
    pub fn loads(&self, shares: &[f32]) -> Loads {
        let mut sums = vec![(0.0_f32, 0.0_f32); self.count];
        for (tier, share) in self.of.iter().zip(shares) {
            if let Some((sum, all)) = tier.and_then(|tier| sums.get_mut(tier)) {
                *sum += share;
                *all += 1.0;
            }
        }
        let mut left = 1.0_f32;
        let take = |(sum, all): (f32, f32)| {
            let can = sum / all * OVERPROVISIONING;
            // What rounding leaves is nobody's.
            let takes = if can > left - 0.001 { left } else { can };
            left -= takes;
            takes
        };
        let mut of: Vec<_> = sums.into_iter().map(take).collect();
        let short = left > 0.0;
        let taken = 1.0 - left;
        if short && taken > 0.0 {
            of.iter_mut().for_each(|load| *load /= taken);
        }
        Loads { of, short }
    }
}

#[cfg(test)]
mod tests;
