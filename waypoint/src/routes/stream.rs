//! Which route carries a connection: TLSRoutes by server name, or the one TCPRoute.
//!
//! Invariant: of several routes for the same, the oldest serves, then the first by name.

use std::sync::Arc;

use crate::config::route::Hostname;
use crate::config::stream::StreamRoute;

use super::hosts::Hosts;
use super::plan::{self, BackendPlan, Settings};

/// A route of whole connections, ready to serve.
#[derive(Debug)]
pub struct StreamPlan {
    pub(super) route: Arc<StreamRoute>,
    /// Of its backends, in their order.
    pub(super) settings: Box<[Arc<Settings>]>,
}

/// The routes of whole connections at one place.
#[derive(Debug, Default)]
pub struct Streams {
    tcp: Option<Arc<StreamPlan>>,
    tls: Option<Hosts<Option<Arc<StreamPlan>>>>,
}

impl StreamPlan {
    /// `KIND/NAMESPACE/NAME` of the route.
    pub fn route(&self) -> &Arc<str> {
        &self.route.name
    }

    /// Where connections go.
    pub fn backends(&self) -> impl Iterator<Item = BackendPlan<'_>> + Clone {
        plan::backends(&self.route.backends, &self.settings)
    }
}

impl Streams {
    /// Adds a route for these names; without any, for every name. Older routes have to come first.
    pub(super) fn add(&mut self, plan: &Arc<StreamPlan>, hostnames: &[Hostname]) {
        if !plan.route.tls {
            self.tcp.get_or_insert_with(|| Arc::clone(plan));
            return;
        }
        let tls = self.tls.get_or_insert_default();
        tls.each(hostnames, |first| {
            first.get_or_insert_with(|| Arc::clone(plan));
        });
    }

    /// Puts everything in order; to be called once all routes were added.
    pub(super) fn sort(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.finish(|_| ());
        }
    }

    /// For connections of any kind.
    pub fn tcp(&self) -> Option<&Arc<StreamPlan>> {
        self.tcp.as_ref()
    }

    /// Whether connections that begin with TLS are told apart by server name.
    pub fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// For TLS to this server name (canonical; empty if there is none).
    pub fn tls(&self, server_name: &str) -> Option<&Arc<StreamPlan>> {
        let names = self.tls.as_ref()?;
        names.candidates(server_name).next()?.as_ref()
    }
}
