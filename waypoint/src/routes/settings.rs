//! How requests are sent to a backend: the statements of its rule and of policies, resolved, with the counters that they
//! share.
//!
//! Invariant: counters are those of the last snapshot where policy, service and limits are what they were.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::config::ServiceRef;
use crate::config::retry::Retry;
use crate::config::route::{Backend, Rule};
use crate::config::traffic::{BudgetSettings, TrafficPolicy};
use crate::upstream::budget::{Admission, Budget};
use crate::upstream::group::Resilience;
use crate::upstream::limit::ConnectionLimit;
use crate::upstream::registry::Registry;

use super::backend_tls::Origination;
use super::plan::Settings;

/// Counters that live on from snapshot to snapshot, by policy (or route) and service.
#[derive(Debug, Default)]
pub struct Carried {
    budgets: HashMap<(Arc<str>, Arc<str>), Arc<Budget>>,
    admissions: HashMap<(Arc<str>, Arc<str>), Arc<Admission>>,
    connections: HashMap<(Arc<str>, Arc<str>), Arc<ConnectionLimit>>,
    resiliences: HashMap<ServiceRef, Arc<Resilience>>,
    /// By policy.
    pub(super) originations: BTreeMap<Arc<str>, Arc<Origination>>,
    /// What cores know of endpoints.
    pub(super) registry: Arc<Registry>,
}

/// So many are looked at for ones that are the same.
const LATELY: usize = 16;

/// Resolves settings for one snapshot.
pub(super) struct Lookup<'a> {
    traffic: &'a BTreeMap<String, Arc<TrafficPolicy>>,
    carried: &'a mut Carried,
    used: Carried,
    /// The last ones that differ: most rules have the same as their neighbours.
    lately: VecDeque<Arc<Settings>>,
}

impl<'a> Lookup<'a> {
    pub(super) fn new(
        traffic: &'a BTreeMap<String, Arc<TrafficPolicy>>,
        carried: &'a mut Carried,
    ) -> Self {
        let used = Carried {
            registry: Arc::clone(&carried.registry),
            ..Carried::default()
        };
        Self {
            traffic,
            carried,
            used,
            lately: VecDeque::new(),
        }
    }

    /// Counters that nobody has asked for are forgotten.
    pub(super) fn finish(mut self) {
        self.used.originations = std::mem::take(&mut self.carried.originations);
        *self.carried = self.used;
    }

    /// Services that policies name.
    pub(super) fn services(&self) -> impl Iterator<Item = &'a ServiceRef> + use<'a> {
        self.traffic.values().flat_map(|policy| &policy.services)
    }

    /// For requests and connections without a route.
    pub(super) fn direct(&mut self, here: &ServiceRef) -> Settings {
        let policies = self.traffic_of(here);
        self.resolve(&policies, here, None)
    }

    /// The settings for each backend: the rule's own statements, then policies of the route, of the backend's service, of
    /// the parent.
    pub(super) fn of_backends(
        &mut self,
        route: &Arc<str>,
        backends: &[Backend],
        rule: Option<&Rule>,
        parent: Option<&ServiceRef>,
    ) -> Box<[Arc<Settings>]> {
        let of_route: Vec<_> = self
            .traffic
            .values()
            .filter(|policy| names(&policy.routes, route))
            .cloned()
            .collect();
        let mut of_parent = parent.map_or_else(Vec::new, |parent| self.traffic_of(parent));
        of_parent.retain(|policy| !policy.backend);
        let mut all = Vec::with_capacity(backends.len());
        for backend in backends {
            let mut policies = of_route.clone();
            let service = match &backend.target {
                Ok(service) => {
                    policies.extend(self.traffic_of(service));
                    Some(service)
                }
                Err(_) => parent,
            };
            policies.extend(of_parent.iter().cloned());
            let settings = match service {
                Some(service) => self.resolve(&policies, service, rule.map(|rule| (route, rule))),
                // Nothing is ever sent there.
                None => Settings::default(),
            };
            all.push(self.shared(settings));
        }
        all.into()
    }

    /// The same as lately made ones, if they are.
    fn shared(&mut self, settings: Settings) -> Arc<Settings> {
        if let Some(known) = self.lately.iter().find(|known| known.is(&settings)) {
            return Arc::clone(known);
        }
        let settings = Arc::new(settings);
        self.lately.truncate(LATELY - 1);
        self.lately.push_front(Arc::clone(&settings));
        settings
    }

    /// Policies of a service at a port, those that name the port first.
    fn traffic_of(&self, here: &ServiceRef) -> Vec<Arc<TrafficPolicy>> {
        let mut policies: Vec<_> = self
            .traffic
            .values()
            .filter(|policy| covered(&policy.services, here))
            .cloned()
            .collect();
        policies.sort_by_key(|policy| !names_port(&policy.services, here));
        policies
    }

    /// Resolves the settings for requests to `service`: the rule's own statements, then the first policy that states.
    fn resolve(
        &mut self,
        policies: &[Arc<TrafficPolicy>],
        service: &ServiceRef,
        rule: Option<(&Arc<str>, &Rule)>,
    ) -> Settings {
        let own = rule.map(|(_, rule)| rule);
        let timeout = |own: Option<Duration>, of: fn(&TrafficPolicy) -> Option<Duration>| {
            own.or_else(|| policies.iter().find_map(|policy| of(policy)))
                .filter(|timeout| !timeout.is_zero())
        };
        let by_policy = policies
            .iter()
            .find_map(|policy| Some((&policy.name, policy.retry.as_ref()?)));
        let asked = match rule {
            Some((
                name,
                Rule {
                    retry: Some(retry), ..
                },
            )) => Some((name, retry)),
            _ => by_policy,
        };
        Settings {
            request_timeout: timeout(own.and_then(|rule| rule.request_timeout), |policy| {
                policy.request_timeout
            }),
            backend_timeout: timeout(own.and_then(|rule| rule.backend_timeout), |policy| {
                policy.backend_timeout
            }),
            budget: self.budget(policies, asked.map(|(asker, _)| asker), service),
            asked: asked.is_some(),
            retry: asked.map_or_else(Retry::connect_failures, |(_, retry)| Arc::clone(retry)),
            balancer: policies
                .iter()
                .find_map(|policy| policy.balancer.clone())
                .unwrap_or_default(),
            admission: self.admission(service),
            connections: self.connections(service),
            resilience: self.resilience(service),
            persistence: policies.iter().find_map(|policy| {
                let mut sessions = policy.sessions.iter();
                let own = sessions.find(|(of, _)| *of == service.service);
                own.map(|(_, persistence)| Arc::clone(persistence))
            }),
        }
    }

    /// The budget of the policy that states one, for all requests, else a default one of whoever asks for retries.
    fn budget(
        &mut self,
        policies: &[Arc<TrafficPolicy>],
        asker: Option<&Arc<str>>,
        service: &ServiceRef,
    ) -> Option<Arc<Budget>> {
        let stated = policies
            .iter()
            .find_map(|policy| Some((&policy.name, policy.budget?)));
        let default = || Some((asker?, BudgetSettings::default()));
        let (owner, settings) = stated.or_else(default)?;
        let key = (Arc::clone(owner), Arc::clone(&service.service));
        let known = self
            .used
            .budgets
            .get(&key)
            .or_else(|| self.carried.budgets.get(&key));
        let budget = match known.filter(|budget| budget.settings() == settings) {
            Some(budget) => Arc::clone(budget),
            None => Arc::new(Budget::new(settings)),
        };
        self.used.budgets.insert(key, Arc::clone(&budget));
        Some(budget)
    }

    /// The bound of requests at once that a policy of the service itself states.
    fn admission(&mut self, service: &ServiceRef) -> Option<Arc<Admission>> {
        let policies = self.traffic_of(service);
        let (owner, limit) = policies
            .iter()
            .find_map(|policy| Some((&policy.name, policy.max_requests?)))?;
        let key = (Arc::clone(owner), Arc::clone(&service.service));
        let known = self
            .used
            .admissions
            .get(&key)
            .or_else(|| self.carried.admissions.get(&key));
        let admission = match known.filter(|admission| admission.limit() == limit) {
            Some(admission) => Arc::clone(admission),
            None => Arc::new(Admission::new(limit)),
        };
        self.used.admissions.insert(key, Arc::clone(&admission));
        Some(admission)
    }

    /// The bound of connections at once that a policy of the service itself states.
    fn connections(&mut self, service: &ServiceRef) -> Option<Arc<ConnectionLimit>> {
        let policies = self.traffic_of(service);
        let stated = |policy: &Arc<TrafficPolicy>| Some((policy.name.clone(), policy.connections?));
        let (owner, bounds) = policies.iter().find_map(stated)?;
        let key = (owner, Arc::clone(&service.service));
        let known = self
            .used
            .connections
            .get(&key)
            .or_else(|| self.carried.connections.get(&key));
        let limit = match known.filter(|limit| limit.bounds() == bounds) {
            Some(limit) => Arc::clone(limit),
            None => Arc::new(ConnectionLimit::new(bounds.0, bounds.1)),
        };
        self.used.connections.insert(key, Arc::clone(&limit));
        Some(limit)
    }

    /// What policies of the service itself say of its endpoints.
    fn resilience(&mut self, service: &ServiceRef) -> Option<Arc<Resilience>> {
        let policies = self.traffic_of(service);
        let outlier = policies.iter().find_map(|policy| policy.outlier.as_ref());
        let warmup = policies.iter().find_map(|policy| policy.warmup);
        let locality = policies.iter().find_map(|policy| policy.locality.as_ref());
        if outlier.is_none() && warmup.is_none() && locality.is_none() {
            return None;
        }
        let (used, carried) = (&self.used.resiliences, &self.carried.resiliences);
        let known = used.get(service).or_else(|| carried.get(service));
        let same = |known: &&Arc<Resilience>| {
            known.outlier.as_ref() == outlier
                && known.warmup == warmup
                && known.locality.as_ref() == locality
        };
        let resilience = known.filter(same).cloned().unwrap_or_else(|| {
            Arc::new(Resilience {
                outlier: outlier.cloned(),
                warmup,
                locality: locality.cloned(),
                registry: Arc::clone(&self.carried.registry),
            })
        });
        let shared = Arc::clone(&resilience);
        self.used.resiliences.insert(service.clone(), shared);
        Some(resilience)
    }
}

/// Whether one of `refs` covers `here`.
pub(super) fn covered(refs: &[ServiceRef], here: &ServiceRef) -> bool {
    refs.iter()
        .any(|named| named.covers(&here.service, here.port))
}

/// Whether one of `refs` names the very port.
fn names_port(refs: &[ServiceRef], here: &ServiceRef) -> bool {
    here.port != 0 && refs.contains(here)
}

/// Whether a route is among those that a policy names.
pub(super) fn names(routes: &[String], route: &str) -> bool {
    routes.iter().any(|name| name == route)
}
