//! From the resources as decoded to the snapshot that serves.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::config::ServiceRef;
use crate::config::certificate::Certificate;
use crate::config::fault::FaultPolicy;
use crate::config::gateway::{Attachment, Gateway};
use crate::config::retry::Retry;
use crate::config::route::{Backend, Route, Rule};
use crate::config::stream::StreamRoute;
use crate::config::traffic::{BudgetSettings, TrafficPolicy};
use crate::upstream::budget::{Admission, Budget};
use crate::upstream::group::Resilience;
use crate::upstream::limit::ConnectionLimit;
use crate::upstream::registry::Registry;

use super::gateway::{GatewayPlan, Gathered};
use super::plan::{RulePlan, Settings};
use super::stream::{StreamPlan, Streams};
use super::table::HostTable;
use super::{PortConfig, Ports, Routes};

/// Counters that live on from snapshot to snapshot, by policy (or route) and service.
#[derive(Debug, Default)]
pub struct Carried {
    budgets: HashMap<(Arc<str>, Arc<str>), Arc<Budget>>,
    admissions: HashMap<(Arc<str>, Arc<str>), Arc<Admission>>,
    connections: HashMap<(Arc<str>, Arc<str>), Arc<ConnectionLimit>>,
    resiliences: HashMap<ServiceRef, Arc<Resilience>>,
    /// What cores know of endpoints.
    pub(super) registry: Arc<Registry>,
}

/// The resources that a snapshot is built from, by name.
#[derive(Debug, Default)]
pub struct Resources {
    /// HTTPRoutes and GRPCRoutes.
    pub routes: BTreeMap<String, Arc<Route>>,
    /// TCPRoutes and TLSRoutes.
    pub streams: BTreeMap<String, Arc<StreamRoute>>,
    /// This process's own Gateway, if it has listeners. There is one at most.
    pub gateways: BTreeMap<String, Arc<Gateway>>,
    /// What its listeners prove themselves with.
    pub certificates: BTreeMap<String, Arc<Certificate>>,
    /// TrafficPolicies.
    pub traffic: BTreeMap<String, Arc<TrafficPolicy>>,
    /// FaultPolicies.
    pub faults: BTreeMap<String, Arc<FaultPolicy>>,
}

/// Everything that a snapshot is built from.
struct Input<'a> {
    routes: &'a BTreeMap<String, Arc<Route>>,
    /// Older ones first.
    streams: Vec<&'a Arc<StreamRoute>>,
    traffic: &'a BTreeMap<String, Arc<TrafficPolicy>>,
    faults: &'a BTreeMap<String, Arc<FaultPolicy>>,
    carried: &'a mut Carried,
    used: Carried,
    /// The last ones that differ: most rules have the same as their neighbours.
    settings: VecDeque<Arc<Settings>>,
}

/// So many are looked at for ones that are the same.
const SETTINGS: usize = 16;

/// Builds a snapshot; counters come from `carried` where policy, service and limits are what they were.
pub fn build(resources: &Resources, carried: &mut Carried) -> Routes {
    let mut streams: Vec<_> = resources.streams.values().collect();
    streams.sort_by(|one, other| (&one.created, &one.name).cmp(&(&other.created, &other.name)));
    let mut input = Input {
        routes: &resources.routes,
        streams,
        traffic: &resources.traffic,
        faults: &resources.faults,
        carried,
        used: Carried::default(),
        settings: VecDeque::new(),
    };
    input.used.registry = Arc::clone(&input.carried.registry);
    let mut ports: BTreeMap<Arc<str>, BTreeSet<u16>> = BTreeMap::new();
    for named in input.service_refs() {
        ports
            .entry(Arc::clone(&named.service))
            .or_default()
            .insert(named.port);
    }
    let mut services = HashMap::new();
    for (service, mentioned) in ports {
        let others = input.port(&service, 0);
        let named = mentioned.into_iter().filter(|port| *port != 0);
        let named = named
            .map(|port| (port, input.port(&service, port)))
            .collect();
        services.insert(service, Ports { named, others });
    }
    let gateway = resources.gateways.values().next();
    let gateway = gateway.map(|config| input.gateway(config, &resources.certificates));
    let used = std::mem::take(&mut input.used);
    *carried = used;
    Routes { services, gateway }
}

impl Input<'_> {
    fn service_refs(&self) -> impl Iterator<Item = &ServiceRef> {
        let parents = self.routes.values();
        let parents = parents.flat_map(|route| route.parents.iter().chain(&route.consumed));
        let streams = self.streams.iter().flat_map(|route| &route.parents);
        let traffic = self.traffic.values().flat_map(|policy| &policy.services);
        let faults = self.faults.values().flat_map(|policy| &policy.services);
        parents.chain(streams).chain(traffic).chain(faults)
    }

    /// What holds at `port` of `service`; 0 stands for every port that nobody names.
    fn port(&mut self, service: &Arc<str>, port: u16) -> PortConfig {
        let here = ServiceRef {
            service: Arc::clone(service),
            port,
        };
        let routes = self.routes;
        let attached = routes.values().filter(|r| covered(&r.parents, &here));
        let attached: Vec<_> = attached.collect();
        let table = (!attached.is_empty()).then(|| self.table(&attached, &here));
        let mut consumers: BTreeMap<&Arc<str>, Vec<_>> = BTreeMap::new();
        for route in routes.values().filter(|r| covered(&r.consumed, &here)) {
            consumers.entry(&route.namespace).or_default().push(route);
        }
        let consumers = consumers.into_iter();
        let consumers = consumers.map(|(namespace, routes)| {
            let table = self.table(&routes, &here);
            (Arc::clone(namespace), table)
        });
        let consumers = consumers.collect();
        let mut streams = Streams::default();
        for route in self.streams.clone() {
            if covered(&route.parents, &here) {
                streams.add(&self.stream(route, Some(&here)), &route.hostnames);
            }
        }
        streams.sort();
        let policies = self.traffic_of(&here);
        let direct = self.settings(&policies, &here, None);
        PortConfig {
            table,
            consumers,
            streams,
            direct,
            faults: self.faults_of(Some(&here), None),
        }
    }

    fn table(&mut self, attached: &[&Arc<Route>], here: &ServiceRef) -> HostTable {
        let mut table = HostTable::default();
        for route in attached {
            for (index, rule) in route.rules.iter().enumerate() {
                let plan = self.rule(route, (index, rule), Some(here));
                table.add(&plan, &route.hostnames);
            }
        }
        table.sort();
        table
    }

    /// This process's own listeners with what is attached to each.
    fn gateway(
        &mut self,
        config: &Arc<Gateway>,
        certificates: &BTreeMap<String, Arc<Certificate>>,
    ) -> GatewayPlan {
        let mut gathered: HashMap<&str, Gathered> = HashMap::new();
        for listener in &config.listeners {
            gathered.insert(&listener.name, Gathered::default());
        }
        let here = |at: &Attachment| at.gateway == config.name;
        let routes = self.routes;
        for route in routes.values() {
            let places: Vec<_> = route.listeners.iter().filter(|at| here(at)).collect();
            if places.is_empty() {
                continue;
            }
            for (index, rule) in route.rules.iter().enumerate() {
                // The same at each listener: it depends on none.
                let plan = self.rule(route, (index, rule), None);
                for at in &places {
                    if let Some(listener) = gathered.get_mut(&*at.listener) {
                        listener.http.add(&plan, &at.hostnames);
                    }
                }
            }
        }
        for route in self.streams.clone() {
            let mut plan = None;
            for at in route.listeners.iter().filter(|at| here(at)) {
                if let Some(listener) = gathered.get_mut(&*at.listener) {
                    let plan = plan.get_or_insert_with(|| self.stream(route, None));
                    listener.streams.add(plan, &at.hostnames);
                }
            }
        }
        GatewayPlan::new(config, certificates, |listener| {
            gathered.remove(&*listener.name).unwrap_or_default()
        })
    }

    /// A rule at the service that the client addresses, or at a listener.
    fn rule(
        &mut self,
        route: &Arc<Route>,
        (index, rule): (usize, &Arc<Rule>),
        parent: Option<&ServiceRef>,
    ) -> Arc<RulePlan> {
        let settings = self.of_backends(&route.name, &rule.backends, Some(rule), parent);
        Arc::new(RulePlan {
            route: Arc::clone(route),
            rule: Arc::clone(rule),
            index,
            settings,
            faults: self.faults_of(parent, Some(&route.name)).into(),
        })
    }

    fn stream(&mut self, route: &Arc<StreamRoute>, parent: Option<&ServiceRef>) -> Arc<StreamPlan> {
        Arc::new(StreamPlan {
            route: Arc::clone(route),
            settings: self.of_backends(&route.name, &route.backends, None, parent),
        })
    }

    /// The settings for each backend: the rule's own statements, then policies of the route, of the backend's service, of
    /// the parent.
    fn of_backends(
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
        let of_parent = parent.map_or_else(Vec::new, |parent| self.traffic_of(parent));
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
                Some(service) => self.settings(&policies, service, rule.map(|rule| (route, rule))),
                // Nothing is ever sent there.
                None => Settings::default(),
            };
            all.push(self.shared(settings));
        }
        all.into()
    }

    /// The same as lately made ones, if they are.
    fn shared(&mut self, settings: Settings) -> Arc<Settings> {
        if let Some(known) = self.settings.iter().find(|known| known.is(&settings)) {
            return Arc::clone(known);
        }
        let settings = Arc::new(settings);
        self.settings.truncate(SETTINGS - 1);
        self.settings.push_front(Arc::clone(&settings));
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

    /// Faults of a route, then of the service.
    fn faults_of(&self, here: Option<&ServiceRef>, route: Option<&str>) -> Vec<Arc<FaultPolicy>> {
        let of_route =
            |policy: &Arc<FaultPolicy>| route.is_some_and(|route| names(&policy.routes, route));
        let first = self.faults.values().filter(|policy| of_route(policy));
        let second = self
            .faults
            .values()
            .filter(|policy| !of_route(policy))
            .filter(|policy| here.is_some_and(|here| covered(&policy.services, here)));
        first.chain(second).cloned().collect()
    }

    /// Resolves the settings for requests to `service`: the rule's own statements, then the first policy that states.
    fn settings(
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
            budget: asked.map(|(asker, _)| self.budget(policies, asker, service)),
            retry: asked.map_or_else(Retry::connect_failures, |(_, retry)| Arc::clone(retry)),
            balancer: policies
                .iter()
                .find_map(|policy| policy.balancer.clone())
                .unwrap_or_default(),
            admission: self.admission(service),
            connections: self.connections(service),
            resilience: self.resilience(service),
        }
    }

    /// The budget of the policy that states one, else a default one of whoever asks for retries.
    fn budget(
        &mut self,
        policies: &[Arc<TrafficPolicy>],
        asker: &Arc<str>,
        service: &ServiceRef,
    ) -> Arc<Budget> {
        let stated = policies
            .iter()
            .find_map(|policy| Some((&policy.name, policy.budget?)));
        let (owner, settings) = stated.unwrap_or((asker, BudgetSettings::default()));
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
        budget
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
fn covered(refs: &[ServiceRef], here: &ServiceRef) -> bool {
    refs.iter()
        .any(|named| named.covers(&here.service, here.port))
}

/// Whether one of `refs` names the very port.
fn names_port(refs: &[ServiceRef], here: &ServiceRef) -> bool {
    here.port != 0 && refs.contains(here)
}

fn names(routes: &[String], route: &str) -> bool {
    routes.iter().any(|name| name == route)
}

#[cfg(test)]
mod tests;
