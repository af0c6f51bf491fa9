//! From the resources as decoded to the snapshot that serves.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::config::ServiceRef;
use crate::config::fault::FaultPolicy;
use crate::config::retry::Retry;
use crate::config::route::{Route, Rule};
use crate::config::traffic::{BudgetSettings, TrafficPolicy};
use crate::upstream::budget::{Admission, Budget};
use crate::upstream::limit::ConnectionLimit;

use super::plan::{RulePlan, Settings};
use super::table::HostTable;
use super::{PortConfig, Ports, Routes};

/// Counters that live on from snapshot to snapshot, by policy (or route) and service.
#[derive(Debug, Default)]
pub struct Carried {
    budgets: HashMap<(Arc<str>, Arc<str>), Arc<Budget>>,
    admissions: HashMap<(Arc<str>, Arc<str>), Arc<Admission>>,
    connections: HashMap<(Arc<str>, Arc<str>), Arc<ConnectionLimit>>,
}

/// Everything that a snapshot is built from.
struct Input<'a> {
    routes: &'a BTreeMap<String, Arc<Route>>,
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
pub fn build(
    routes: &BTreeMap<String, Arc<Route>>,
    traffic: &BTreeMap<String, Arc<TrafficPolicy>>,
    faults: &BTreeMap<String, Arc<FaultPolicy>>,
    carried: &mut Carried,
) -> Routes {
    let mut input = Input {
        routes,
        traffic,
        faults,
        carried,
        used: Carried::default(),
        settings: VecDeque::new(),
    };
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
    let used = std::mem::take(&mut input.used);
    *carried = used;
    Routes { services }
}

impl Input<'_> {
    fn service_refs(&self) -> impl Iterator<Item = &ServiceRef> {
        let parents = self.routes.values();
        let parents = parents.flat_map(|route| route.parents.iter().chain(&route.consumed));
        let traffic = self.traffic.values().flat_map(|policy| &policy.services);
        let faults = self.faults.values().flat_map(|policy| &policy.services);
        parents.chain(traffic).chain(faults)
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
        let policies = self.traffic_of(&here);
        let direct = self.settings(&policies, &here, None);
        PortConfig {
            table,
            consumers,
            direct,
            faults: self.faults_of(&here, None),
        }
    }

    fn table(&mut self, attached: &[&Arc<Route>], here: &ServiceRef) -> HostTable {
        let mut table = HostTable::default();
        for route in attached {
            for (index, rule) in route.rules.iter().enumerate() {
                table.add(&self.rule(route, (index, rule), here));
            }
        }
        table.sort();
        table
    }

    fn rule(
        &mut self,
        route: &Arc<Route>,
        (index, rule): (usize, &Arc<Rule>),
        parent: &ServiceRef,
    ) -> Arc<RulePlan> {
        let of_route: Vec<_> = self
            .traffic
            .values()
            .filter(|policy| names(&policy.routes, &route.name))
            .cloned()
            .collect();
        let of_parent = self.traffic_of(parent);
        let mut all = Vec::with_capacity(rule.backends.len());
        for backend in &rule.backends {
            let mut policies = of_route.clone();
            let service = match &backend.target {
                Ok(service) => {
                    policies.extend(self.traffic_of(service));
                    service
                }
                Err(_) => parent,
            };
            policies.extend(of_parent.iter().cloned());
            let settings = self.settings(&policies, service, Some((&route.name, rule)));
            all.push(self.shared(settings));
        }
        Arc::new(RulePlan {
            route: Arc::clone(route),
            rule: Arc::clone(rule),
            index,
            settings: all.into(),
            faults: self.faults_of(parent, Some(&route.name)).into(),
        })
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
    fn faults_of(&self, here: &ServiceRef, route: Option<&str>) -> Vec<Arc<FaultPolicy>> {
        let of_route =
            |policy: &Arc<FaultPolicy>| route.is_some_and(|route| names(&policy.routes, route));
        let first = self.faults.values().filter(|policy| of_route(policy));
        let second = self
            .faults
            .values()
            .filter(|policy| !of_route(policy) && covered(&policy.services, here));
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
                .find_map(|policy| policy.balancer)
                .unwrap_or_default(),
            admission: self.admission(service),
            connections: self.connections(service),
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
