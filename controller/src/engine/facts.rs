//! What the translation found out about who concerns whom, beside the resources themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::attached::{Attached, Listener};
use crate::model::{Key, NsName};
use crate::world::Consumer;

/// Who concerns whom.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) pods: BTreeMap<NsName, PodFacts>,
    /// Names of workloads by the service that they are endpoints of.
    pub(crate) endpoints: BTreeMap<NsName, BTreeSet<Arc<str>>>,
    /// Who asks for a waypoint, whether or not it may.
    pub(crate) wanted: BTreeMap<NsName, BTreeSet<Consumer>>,
    /// Those of them who may.
    pub(crate) uses: BTreeMap<NsName, BTreeSet<Consumer>>,
    /// Both by who asks.
    asks: BTreeMap<Consumer, (Option<NsName>, Option<NsName>)>,
    /// Services by the workloads of which nothing else is known.
    bare: BTreeMap<Arc<str>, BTreeSet<NsName>>,
    /// Waypoints whose consumers changed.
    touched: BTreeSet<NsName>,
    /// Names of the resources that each entry makes.
    pub(crate) entries: BTreeMap<NsName, Vec<Arc<str>>>,
    /// Routes by the services that they are attached to.
    pub(crate) routes: Links<Key, Consumer>,
    /// Routes by the listeners that they are attached to.
    pub(crate) attached: Attached,
    /// Names of what is made of an Ingress.
    parts: BTreeMap<Key, Vec<Arc<str>>>,
    /// Services by the routes that lead to them.
    pub(crate) backends: BTreeMap<Key, Vec<Consumer>>,
    /// BackendTLSPolicies by the services for which they hold.
    pub(crate) backend_tls: Links<NsName, Consumer>,
    /// Names of TrafficPolicies' resources by services, and by routes.
    pub(crate) traffic: (Links<Arc<str>, Consumer>, Links<Arc<str>, Key>),
    /// FaultPolicies by services, and by routes.
    pub(crate) faults: (Links<NsName, Consumer>, Links<NsName, Key>),
}

/// What counts of a pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PodFacts {
    /// Its workload.
    pub(crate) workload: Option<Arc<str>>,
    pub(crate) node: Arc<str>,
    pub(crate) services: BTreeSet<NsName>,
    pub(crate) policies: Vec<Arc<str>>,
    /// EgressPolicies that hold for it.
    pub(crate) egress: Vec<Arc<str>>,
    /// Faults of connections that may strike it.
    pub(crate) faults: Vec<Arc<str>>,
    /// The policy of its guard, and the waypoints that the guard lets through.
    pub(crate) guard: Option<(Arc<str>, BTreeSet<NsName>)>,
    /// Namespace and service account, if its node may have a certificate for it.
    pub(crate) identity: Option<(Arc<str>, Arc<str>)>,
}

/// Names by what they are linked to.
#[derive(Debug)]
pub(crate) struct Links<N, T> {
    to: BTreeMap<T, BTreeSet<N>>,
    of: BTreeMap<N, Vec<T>>,
}

impl<N, T> Default for Links<N, T> {
    fn default() -> Self {
        Self {
            to: BTreeMap::new(),
            of: BTreeMap::new(),
        }
    }
}

impl<N: Clone + Ord, T: Clone + Ord> Links<N, T> {
    /// Link `name` to these and no others.
    pub(crate) fn set(&mut self, name: &N, linked: Vec<T>) {
        for old in self.of.remove(name).unwrap_or_default() {
            if let Some(names) = self.to.get_mut(&old) {
                names.remove(name);
                if names.is_empty() {
                    self.to.remove(&old);
                }
            }
        }
        for new in &linked {
            self.to.entry(new.clone()).or_default().insert(name.clone());
        }
        if !linked.is_empty() {
            self.of.insert(name.clone(), linked);
        }
    }

    /// Names that are linked to this.
    pub(crate) fn of(&self, linked: &T) -> impl Iterator<Item = &N> + use<'_, N, T> {
        self.to.get(linked).into_iter().flatten()
    }

    /// What a name is linked to.
    pub(crate) fn links(&self, name: &N) -> &[T] {
        self.of.get(name).map(Vec::as_slice).unwrap_or_default()
    }
}

impl Facts {
    /// A workload is an endpoint of these services and no others.
    pub(crate) fn set_endpoint(
        &mut self,
        workload: &Arc<str>,
        before: &BTreeSet<NsName>,
        now: &BTreeSet<NsName>,
    ) {
        for service in before.difference(now) {
            if let Some(endpoints) = self.endpoints.get_mut(service) {
                endpoints.remove(workload);
                if endpoints.is_empty() {
                    self.endpoints.remove(service);
                }
            }
        }
        for service in now {
            self.endpoints
                .entry(service.clone())
                .or_default()
                .insert(workload.clone());
        }
    }

    /// The same for a workload of which nothing else is known. Gives back the services before.
    pub(crate) fn set_endpoint_anew(
        &mut self,
        workload: &Arc<str>,
        now: &BTreeSet<NsName>,
    ) -> BTreeSet<NsName> {
        let before = if now.is_empty() {
            self.bare.remove(workload)
        } else {
            self.bare.insert(workload.clone(), now.clone())
        };
        let before = before.unwrap_or_default();
        self.set_endpoint(workload, &before, now);
        before
    }

    /// An entry makes resources of these names. Whether that is new.
    pub(crate) fn set_entry(&mut self, entry: &NsName, made: Vec<Arc<str>>) -> bool {
        let known = self.entries.get(entry).map(Vec::as_slice);
        if known.unwrap_or_default() == made {
            return false;
        }
        if made.is_empty() {
            self.entries.remove(entry);
        } else {
            self.entries.insert(entry.clone(), made);
        }
        true
    }

    /// The waypoint that a consumer uses.
    pub(crate) fn used_by(&self, consumer: &Consumer) -> Option<&NsName> {
        self.asks.get(consumer)?.1.as_ref()
    }

    /// Waypoints whose consumers changed since the last time.
    pub(crate) fn take_touched(&mut self) -> BTreeSet<NsName> {
        std::mem::take(&mut self.touched)
    }

    /// A route is attached to these and leads to these. Whoever is told of it, if that differs, is touched.
    pub(crate) fn set_route(
        &mut self,
        route: &Key,
        parents: Vec<Consumer>,
        attached: Vec<Listener>,
        backends: Vec<Consumer>,
    ) {
        let before = self.backends.get(route).map(Vec::as_slice);
        if self.routes.links(route) == parents
            && self.attached.of(route) == attached
            && before.unwrap_or_default() == backends
        {
            return;
        }
        self.touch_tellers(route);
        self.routes.set(route, parents);
        self.attached.set(route, attached);
        if backends.is_empty() {
            self.backends.remove(route);
        } else {
            self.backends.insert(route.clone(), backends);
        }
        self.touch_tellers(route);
    }

    /// The same of an Ingress, of which several resources are made.
    pub(crate) fn set_ingress(
        &mut self,
        ingress: &Key,
        parts: Vec<Arc<str>>,
        attached: Vec<Listener>,
        backends: Vec<Consumer>,
    ) {
        if self.parts(ingress) != parts {
            self.touch_tellers(ingress);
            if parts.is_empty() {
                self.parts.remove(ingress);
            } else {
                self.parts.insert(ingress.clone(), parts);
            }
            self.touch_tellers(ingress);
        }
        self.set_route(ingress, Vec::new(), attached, backends);
    }

    /// Names of what is made of an Ingress.
    pub(crate) fn parts(&self, ingress: &Key) -> &[Arc<str>] {
        self.parts
            .get(ingress)
            .map(Vec::as_slice)
            .unwrap_or_default()
    }

    fn touch_tellers(&mut self, route: &Key) {
        let services = self.routes.links(route).iter();
        let waypoints = services.filter_map(|service| self.used_by(service));
        let gateways = self.attached.of(route).iter().map(|(gateway, _)| gateway);
        let touched: Vec<_> = waypoints.chain(gateways).cloned().collect();
        self.touched.extend(touched);
    }

    /// A consumer asks for this waypoint or none, and may use this one or none. Whether it may use another one now.
    pub(crate) fn set_waypoint(
        &mut self,
        consumer: &Consumer,
        wanted: Option<NsName>,
        usable: Option<NsName>,
    ) -> bool {
        let now = (wanted, usable);
        let before = match &now {
            (None, None) => self.asks.remove(consumer),
            _ => self.asks.insert(consumer.clone(), now.clone()),
        };
        let before = before.unwrap_or_default();
        let other = before.1 != now.1;
        if other {
            let changed = [before.1.as_ref(), now.1.as_ref()];
            self.touched.extend(changed.into_iter().flatten().cloned());
        }
        for (table, before, now) in [
            (&mut self.wanted, before.0, now.0),
            (&mut self.uses, before.1, now.1),
        ] {
            if before == now {
                continue;
            }
            if let Some(before) = before
                && let Some(consumers) = table.get_mut(&before)
            {
                consumers.remove(consumer);
                if consumers.is_empty() {
                    table.remove(&before);
                }
            }
            if let Some(now) = now {
                table.entry(now).or_default().insert(consumer.clone());
            }
        }
        other
    }
}
