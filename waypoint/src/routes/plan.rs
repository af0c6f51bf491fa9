//! What happens to a request once its rule is known.
//!
//! Invariant: everything is resolved here, once for each configuration: the route's own statements first, then a
//! TrafficPolicy of the route, of the backend's service, of the service that the client addressed.

use std::sync::Arc;
use std::time::Duration;

use crate::config::fault::FaultPolicy;
use crate::config::filter::Filters;
use crate::config::persistence::Persistence;
use crate::config::retry::Retry;
use crate::config::route::{Backend, Route, Rule};
use crate::config::traffic::Balancer;
use crate::upstream::budget::{Admission, Budget};
use crate::upstream::endpoints::Wanted;
use crate::upstream::group::Resilience;
use crate::upstream::limit::ConnectionLimit;

/// A rule, ready to serve. What the user wrote is shared with the route that it comes from.
#[derive(Debug)]
pub struct RulePlan {
    pub(super) route: Arc<Route>,
    pub(super) rule: Arc<Rule>,
    /// The rule's place inside the route.
    pub(super) index: usize,
    /// Of the rule's backends, in their order.
    pub(super) settings: Box<[Arc<Settings>]>,
    /// Some of these keep sessions, and the rule does not.
    pub(super) backends_persist: bool,
    pub(super) faults: Box<[Arc<FaultPolicy>]>,
}

/// One backend of a rule.
#[derive(Debug, Clone, Copy)]
pub struct BackendPlan<'a> {
    /// As the user wrote it.
    pub backend: &'a Backend,
    /// How requests are sent to it.
    pub settings: &'a Settings,
}

impl RulePlan {
    /// `NAMESPACE/NAME` of the route.
    pub fn route(&self) -> &Arc<str> {
        &self.route.name
    }

    /// What is done to each request.
    pub fn filters(&self) -> &Filters {
        &self.rule.filters
    }

    /// How requests of a session are kept at one endpoint.
    pub fn persistence(&self) -> Option<&Persistence> {
        self.rule.persistence.as_deref()
    }

    /// Whether the rule says nothing of sessions, and one of its backends does.
    pub fn has_sessions_of_backends(&self) -> bool {
        self.backends_persist
    }

    /// Where requests go.
    pub fn backends(&self) -> impl Iterator<Item = BackendPlan<'_>> + Clone {
        backends(&self.rule.backends, &self.settings)
    }

    /// Faults of the route, then of the service.
    pub fn faults(&self) -> &[Arc<FaultPolicy>] {
        &self.faults
    }
}

/// Backends with the settings of each.
pub(super) fn backends<'a>(
    backends: &'a [Backend],
    settings: &'a [Arc<Settings>],
) -> impl Iterator<Item = BackendPlan<'a>> + Clone {
    let both = backends.iter().zip(settings);
    both.map(|(backend, settings)| BackendPlan { backend, settings })
}

/// How requests are sent.
#[derive(Debug, Clone)]
pub struct Settings {
    /// From the request's arrival to the end of the response.
    pub request_timeout: Option<Duration>,
    /// From the start of a try to the end of its response.
    pub backend_timeout: Option<Duration>,
    /// What is tried again.
    pub retry: Arc<Retry>,
    /// Somebody asks for retries.
    pub asked: bool,
    /// The bound of retries, if somebody states one or asks for them.
    pub budget: Option<Arc<Budget>>,
    /// How an endpoint is picked.
    pub balancer: Balancer,
    /// The bound of requests at once.
    pub admission: Option<Arc<Admission>>,
    /// The bound of connections at once.
    pub connections: Option<Arc<ConnectionLimit>>,
    /// Which endpoints are left out or take less than their share.
    pub resilience: Option<Arc<Resilience>>,
    /// How sessions are kept at one endpoint where the route's rule does not say.
    pub persistence: Option<Arc<Persistence>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            request_timeout: None,
            backend_timeout: None,
            retry: Retry::connect_failures(),
            asked: false,
            budget: None,
            balancer: Balancer::default(),
            admission: None,
            connections: None,
            resilience: None,
            persistence: None,
        }
    }
}

impl Settings {
    /// Whom to pick for a request without a key or a session.
    pub fn wanted(&self) -> Wanted<'_> {
        Wanted {
            balancer: &self.balancer,
            resilience: self.resilience.as_ref(),
            key: None,
            session: None,
            copy: false,
        }
    }

    /// Whether these are the same, with the same counters.
    pub(super) fn is(&self, other: &Self) -> bool {
        fn one<T>(a: Option<&Arc<T>>, b: Option<&Arc<T>>) -> bool {
            a.map(Arc::as_ptr) == b.map(Arc::as_ptr)
        }
        self.request_timeout == other.request_timeout
            && self.backend_timeout == other.backend_timeout
            && self.retry == other.retry
            && self.asked == other.asked
            && self.balancer == other.balancer
            && one(self.budget.as_ref(), other.budget.as_ref())
            && one(self.admission.as_ref(), other.admission.as_ref())
            && one(self.connections.as_ref(), other.connections.as_ref())
            && one(self.resilience.as_ref(), other.resilience.as_ref())
            && one(self.persistence.as_ref(), other.persistence.as_ref())
    }
}
