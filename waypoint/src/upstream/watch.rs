//! What one core keeps of a group that all cores share.
//!
//! Invariant: a pick reads two numbers that other cores may write, and nothing more, as long as nothing changes.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::endpoint::Endpoint;
use super::group::{Group, Resilience};
use super::member::{Member, Millis, Sample, millis};
use super::place::Place;
use super::shares::Shares;
use super::tiers::Tiers;
use crate::config::ServiceRef;

/// A group, and the policy for it.
#[derive(Debug)]
struct Bound {
    group: Arc<Group>,
    resilience: Arc<Resilience>,
}

/// Where the failures of one endpoint are counted.
#[derive(Debug)]
pub(super) struct Watch {
    member: Arc<Member>,
    bound: Rc<Bound>,
}

/// The group of a core's set of endpoints.
#[derive(Debug)]
pub(super) struct Watched {
    bound: Rc<Bound>,
    /// As the endpoints of the set.
    members: Vec<Arc<Member>>,
    /// Who is near, where that makes a difference.
    tiers: Option<Tiers>,
    view: RefCell<View>,
}

/// Who takes what, as long as nothing changes.
#[derive(Debug, Default)]
struct View {
    changes: u64,
    until: Millis,
    shares: Option<Rc<Shares>>,
}

impl Watch {
    /// Takes the end of a try.
    pub(super) fn observe(&self, sample: Sample, took: Duration) {
        let Bound { group, resilience } = &*self.bound;
        group.observe(resilience, &self.member, sample, took);
    }
}

impl Watched {
    /// Joins the group of `service`, and makes failures of `endpoints` count there.
    pub(super) fn start(
        resilience: &Arc<Resilience>,
        service: &ServiceRef,
        version: u64,
        endpoints: &[Rc<Endpoint>],
        place: Option<&Place>,
    ) -> Rc<Self> {
        let group = resilience.registry.group(service);
        let named = endpoints
            .iter()
            .map(|endpoint| (endpoint.uid(), endpoint.address()));
        let members = group.sync(version, named);
        let bound = Rc::new(Bound {
            group,
            resilience: Arc::clone(resilience),
        });
        for (endpoint, member) in endpoints.iter().zip(&members) {
            endpoint.watch(Some(Watch {
                member: Arc::clone(member),
                bound: Rc::clone(&bound),
            }));
        }
        let tiers = place.and_then(|place| place.tiers(resilience.locality.as_ref(), endpoints));
        Rc::new(Self {
            bound,
            members,
            tiers,
            view: RefCell::default(),
        })
    }

    /// Whether this is the policy that it goes by. Routes that lead to one service may each have their own copy of it.
    pub(super) fn obeys(&self, resilience: &Arc<Resilience>) -> bool {
        let own = &self.bound.resilience;
        Arc::ptr_eq(own, resilience)
            || own.outlier == resilience.outlier
                && own.warmup == resilience.warmup
                && own.locality == resilience.locality
    }

    /// The group.
    pub(super) fn group(&self) -> &Arc<Group> {
        &self.bound.group
    }

    /// Does what is due for the group.
    pub(super) fn review(&self) {
        let now = self.bound.group.now();
        self.bound.group.review(&self.bound.resilience, now);
    }

    /// Who takes less than the whole of its share; none where nobody does.
    pub(super) fn shares(&self) -> Option<Rc<Shares>> {
        let Bound { group, resilience } = &*self.bound;
        let now = group.now();
        group.review(resilience, now);
        let changes = group.changes();
        let mut view = self.view.borrow_mut();
        if view.changes != changes || view.until <= now {
            *view = self.look(changes, now);
        }
        view.shares.clone()
    }

    fn look(&self, changes: u64, now: Millis) -> View {
        let Resilience {
            outlier, warmup, ..
        } = &*self.bound.resilience;
        let returning = outlier.as_ref().map(|outlier| &outlier.returning);
        let is_in = |member: &Arc<Member>| outlier.is_none() || member.ejected() == 0;
        let mut until = Millis::MAX;
        let share = |member: &Arc<Member>| {
            let share = member.share(now, warmup.as_ref(), returning);
            if share < 1.0 {
                let ramps = [warmup.as_ref(), returning].into_iter().flatten();
                let step = ramps.map(|ramp| millis(ramp.step())).min();
                until = until.min(now + step.unwrap_or(1));
            }
            share
        };
        let all: Vec<_> = self.members.iter().map(share).collect();
        let well = self.members.iter().zip(&all);
        let well = well.map(|(member, share)| if is_in(member) { *share } else { 0.0 });
        let well: Vec<_> = well.collect();
        let least = outlier
            .as_ref()
            .map_or(0, |outlier| outlier.min_health_percent);
        let shares = match &self.tiers {
            None if too_few(well.len(), &well, least) => Shares::new(all),
            None => Shares::new(well),
            Some(tiers) => Some(tiered(tiers, well, all, least)),
        };
        View {
            changes,
            until,
            shares: shares.map(Rc::new),
        }
    }
}

/// Whether less than `least` per cent of the endpoints have a part.
fn too_few(all: usize, well: &[f32], least: u32) -> bool {
    let well = well.iter().filter(|share| **share > 0.0).count();
    well * 100 < usize::try_from(least).unwrap_or_default() * all
}

/// The parts of those who are well and, where there are too few of these in all tiers together, of all.
fn tiered(tiers: &Tiers, mut well: Vec<f32>, all: Vec<f32>, least: u32) -> Shares {
    for (index, share) in well.iter_mut().enumerate() {
        if tiers.of(index).is_none() {
            *share = 0.0;
        }
    }
    let loads = tiers.loads(&well);
    if !loads.short || !too_few(tiers.members(), &well, least) {
        return Shares::tiered(well, tiers, &loads);
    }
    // Whoever is well says which tier is still worth going to.
    let nobody = well.iter().all(|share| *share <= 0.0);
    let loads = if nobody { tiers.loads(&all) } else { loads };
    Shares::tiered(all, tiers, &loads)
}
