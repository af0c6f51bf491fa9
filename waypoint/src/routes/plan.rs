//! What happens to a request once its rule is known.
//!
//! Invariant: everything is resolved here, once for each configuration: the route's own statements first, then a
//! TrafficPolicy of the route, of the backend's service, of the service that the client addressed.

use std::sync::Arc;
use std::time::Duration;

use crate::config::ServiceRef;
use crate::config::fault::FaultPolicy;
use crate::config::filter::Filters;
use crate::config::retry::Retry;
use crate::config::traffic::Balancer;
use crate::upstream::budget::{Admission, Budget};
use crate::upstream::limit::ConnectionLimit;

/// A rule, ready to serve.
#[derive(Debug)]
pub struct RulePlan {
    /// `NAMESPACE/NAME` of the route.
    pub route: Arc<str>,
    /// What is done to each request.
    pub filters: Filters,
    /// Where requests go.
    pub backends: Vec<BackendPlan>,
    /// Faults of the route, then of the service.
    pub faults: Vec<Arc<FaultPolicy>>,
}

/// One backend of a rule.
#[derive(Debug)]
pub struct BackendPlan {
    /// The service, or why there is none.
    pub target: Result<ServiceRef, String>,
    /// Its share among the rule's backends.
    pub weight: u32,
    /// What is done to requests that fall to it.
    pub filters: Filters,
    /// How they are sent.
    pub settings: Settings,
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
    /// The bound of retries that somebody asked for.
    pub budget: Option<Arc<Budget>>,
    /// How an endpoint is picked.
    pub balancer: Balancer,
    /// The bound of requests at once.
    pub admission: Option<Arc<Admission>>,
    /// The bound of connections at once.
    pub connections: Option<Arc<ConnectionLimit>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            request_timeout: None,
            backend_timeout: None,
            retry: Arc::new(Retry::connect_failures()),
            budget: None,
            balancer: Balancer::default(),
            admission: None,
            connections: None,
        }
    }
}
