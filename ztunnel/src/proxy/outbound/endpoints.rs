//! Which endpoints of a service a connection tries, and in which order: those that can take it, the nearest where the
//! service wants that, and of two at random the one with fewer connections from this node.

use std::cmp::Ordering;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use culvert_xds::state::{
    Endpoint, HealthPolicy, LoadBalancing, LoadBalancingMode, LoadBalancingScope, Service, Workload,
};
use rand::Rng;
use smallvec::SmallVec;

use super::route::View;

/// How many endpoints one connection tries at most.
const TRIES: usize = 3;

/// The endpoints to try, the best first.
pub(super) fn choose<'a>(
    view: &View<'a>,
    service: &'a Service,
    port: u16,
) -> SmallVec<[Endpoint<'a>; TRIES]> {
    let balancing = &service.load_balancing;
    let mut ranked: Vec<(usize, Endpoint<'a>)> = view
        .snapshot
        .endpoints(service, port)
        .filter(|endpoint| takes_traffic(endpoint.workload, balancing.health_policy))
        .filter_map(|endpoint| Some((rank(balancing, view.source, endpoint.workload)?, endpoint)))
        .collect();
    if balancing.client_affinity {
        // Every choice is the same while the endpoint is there, and one that goes moves only its own clients.
        ranked.sort_by_key(|(rank, endpoint)| (*rank, affinity(view.source, endpoint.workload)));
        return ranked
            .into_iter()
            .take(TRIES)
            .map(|(_, endpoint)| endpoint)
            .collect();
    }
    let mut chosen = SmallVec::new();
    while chosen.len() < TRIES {
        let Some(index) = best_of_two(&ranked, &mut rand::rng(), |endpoint| {
            (
                view.load.of(endpoint.workload.uid()),
                endpoint.workload.capacity(),
            )
        }) else {
            break;
        };
        chosen.push(ranked.swap_remove(index).1);
    }
    chosen
}

fn takes_traffic(workload: &Workload, policy: HealthPolicy) -> bool {
    workload.capacity() > 0 && (workload.healthy() || policy == HealthPolicy::AllowAll)
}

/// The order of endpoints for one client: the same on every node, at every time, and another for each client.
fn affinity(client: &Workload, endpoint: &Workload) -> u64 {
    let mut hasher = DefaultHasher::new();
    client.addresses().hash(&mut hasher);
    endpoint.uid().hash(&mut hasher);
    hasher.finish()
}

/// How far away an endpoint is, 0 being the nearest; `None` if the service does not want it used from here.
fn rank(balancing: &LoadBalancing, source: &Workload, endpoint: &Workload) -> Option<usize> {
    let wanted = &balancing.routing_preference;
    let common = wanted
        .iter()
        .take_while(|&&scope| shares(scope, source, endpoint))
        .count();
    match balancing.mode {
        LoadBalancingMode::Unspecified | LoadBalancingMode::Passthrough => Some(0),
        LoadBalancingMode::Failover => Some(wanted.len() - common),
        LoadBalancingMode::Strict => (common == wanted.len()).then_some(0),
    }
}

fn shares(scope: LoadBalancingScope, a: &Workload, b: &Workload) -> bool {
    match scope {
        LoadBalancingScope::Region => a.locality().region == b.locality().region,
        LoadBalancingScope::Zone => a.locality().zone == b.locality().zone,
        LoadBalancingScope::Subzone => a.locality().subzone == b.locality().subzone,
        LoadBalancingScope::Node => a.node() == b.node(),
        LoadBalancingScope::Cluster => a.cluster_id() == b.cluster_id(),
        LoadBalancingScope::Network => a.network() == b.network(),
    }
}

/// The index of the better of two endpoints drawn from the nearest ones. `load` gives an endpoint's connections and its
/// capacity for them.
fn best_of_two<T>(
    ranked: &[(usize, T)],
    rng: &mut impl Rng,
    load: impl Fn(&T) -> (u32, u32),
) -> Option<usize> {
    let nearest = ranked.iter().map(|(rank, _)| *rank).min()?;
    let group: SmallVec<[usize; 16]> = ranked
        .iter()
        .enumerate()
        .filter(|(_, (rank, _))| *rank == nearest)
        .map(|(index, _)| index)
        .collect();
    let first = rng.random_range(0..group.len());
    if group.len() == 1 {
        return group.first().copied();
    }
    let second = (first + rng.random_range(1..group.len())) % group.len();
    let (&first, &second) = (group.get(first)?, group.get(second)?);
    let loads = (load(&ranked.get(first)?.1), load(&ranked.get(second)?.1));
    Some(if relative(loads.1, loads.0) == Ordering::Less {
        second
    } else {
        first
    })
}

/// Compare connections per capacity, the connection to come included.
fn relative(a: (u32, u32), b: (u32, u32)) -> Ordering {
    let cross = |(active, _): (u32, u32), (_, capacity): (u32, u32)| {
        (u64::from(active) + 1) * u64::from(capacity)
    };
    cross(a, b).cmp(&cross(b, a))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    #[test]
    fn the_less_loaded_of_any_two_is_taken_and_the_farther_only_when_nothing_is_nearer() {
        let mut rng = StdRng::seed_from_u64(1);
        let ranked = [(0, (9, 1)), (0, (0, 1)), (1, (0, 1))];
        for _ in 0..100 {
            assert_eq!(best_of_two(&ranked, &mut rng, |load| *load), Some(1));
        }
        let all_far = [(2, (0, 1)), (1, (50, 1))];
        assert_eq!(best_of_two(&all_far, &mut rng, |load| *load), Some(1));
        assert_eq!(best_of_two::<(u32, u32)>(&[], &mut rng, |load| *load), None);
    }

    #[test]
    fn capacity_counts_as_well_as_load() {
        assert_eq!(relative((3, 4), (1, 1)), Ordering::Less);
        assert_eq!(relative((3, 1), (3, 1)), Ordering::Equal);
        assert_eq!(relative((1, 1), (0, 1)), Ordering::Greater);
    }

    #[test]
    fn equal_endpoints_share_evenly() {
        let mut rng = StdRng::seed_from_u64(2);
        let ranked: Vec<_> = (0..4).map(|_| (0, (0, 1))).collect();
        let mut counts = [0; 4];
        for _ in 0..4000 {
            counts[best_of_two(&ranked, &mut rng, |load| *load).unwrap()] += 1;
        }
        // Binomial with p = 1/4: five standard deviations are 137.
        assert!(
            counts.iter().all(|&count: &i32| (count - 1000).abs() < 137),
            "{counts:?}"
        );
    }
}
