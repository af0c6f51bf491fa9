//! From the resources as decoded to the snapshot that serves: which routes and faults hold where. How requests are then
//! sent is looked up beside.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::config::ServiceRef;
use crate::config::backend_tls::BackendTlsPolicy;
use crate::config::certificate::Certificate;
use crate::config::fault::FaultPolicy;
use crate::config::gateway::{Attachment, Gateway};
use crate::config::route::{Route, Rule};
use crate::config::stream::StreamRoute;
use crate::config::traffic::TrafficPolicy;

use super::backend_tls::BackendTls;
use super::gateway::{GatewayPlan, Gathered};
use super::plan::{RulePlan, Settings};
use super::settings::{Carried, Lookup, covered, names};
use super::stream::{StreamPlan, Streams};
use super::table::HostTable;
use super::{PortConfig, Ports, Routes};

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
    /// BackendTLSPolicies.
    pub backend_tls: BTreeMap<String, Arc<BackendTlsPolicy>>,
    /// TrafficPolicies.
    pub traffic: BTreeMap<String, Arc<TrafficPolicy>>,
    /// FaultPolicies.
    pub faults: BTreeMap<String, Arc<FaultPolicy>>,
}

/// Everything that a snapshot is built from.
struct Input<'a> {
    routes: &'a BTreeMap<String, Arc<Route>>,
    /// Older ones first.
    streams: &'a [&'a Arc<StreamRoute>],
    faults: &'a BTreeMap<String, Arc<FaultPolicy>>,
    settings: Lookup<'a>,
}

/// Builds a snapshot; counters come from `carried` where policy, service and limits are what they were.
pub fn build(resources: &Resources, carried: &mut Carried) -> Routes {
    let mut streams: Vec<_> = resources.streams.values().collect();
    streams.sort_by(|one, other| (&one.created, &one.name).cmp(&(&other.created, &other.name)));
    let mut input = Input {
        routes: &resources.routes,
        streams: &streams,
        faults: &resources.faults,
        settings: Lookup::new(&resources.traffic, carried),
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
    let gateway = resources.gateways.values().next();
    let gateway = gateway.map(|config| input.gateway(config, &resources.certificates));
    input.settings.finish();
    let backend_tls = BackendTls::new(resources, &mut carried.originations);
    Routes {
        services,
        gateway,
        backend_tls,
    }
}

impl Input<'_> {
    fn service_refs(&self) -> impl Iterator<Item = &ServiceRef> {
        let parents = self.routes.values();
        let parents = parents.flat_map(|route| route.parents.iter().chain(&route.consumed));
        let streams = self.streams.iter().flat_map(|route| &route.parents);
        let traffic = self.settings.services();
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
        for route in self.streams {
            if covered(&route.parents, &here) {
                streams.add(&self.stream(route, Some(&here)), &route.hostnames);
            }
        }
        streams.sort();
        let direct = self.settings.direct(&here);
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
        for route in self.streams {
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
        let settings = self
            .settings
            .of_backends(&route.name, &rule.backends, Some(rule), parent);
        let persists = |settings: &Arc<Settings>| settings.persistence.is_some();
        Arc::new(RulePlan {
            route: Arc::clone(route),
            rule: Arc::clone(rule),
            index,
            backends_persist: rule.persistence.is_none() && settings.iter().any(persists),
            settings,
            faults: self.faults_of(parent, Some(&route.name)).into(),
        })
    }

    fn stream(&mut self, route: &Arc<StreamRoute>, parent: Option<&ServiceRef>) -> Arc<StreamPlan> {
        Arc::new(StreamPlan {
            route: Arc::clone(route),
            settings: self
                .settings
                .of_backends(&route.name, &route.backends, None, parent),
        })
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
}

#[cfg(test)]
mod tests;
