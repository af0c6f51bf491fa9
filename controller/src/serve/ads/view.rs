//! What a client ought to have, and what that depends on.

use std::sync::Arc;

use crate::engine::{Client, NodeView, Resources, Scope, Snapshot};
use crate::translate::Type;

/// What a client's view of a type is made from. Equal bases, equal views.
#[derive(Clone, Debug, Default)]
pub(super) struct Basis {
    /// Of the type.
    pub(super) stamp: u64,
    node: Option<Arc<NodeView>>,
    scope: Option<Arc<Scope>>,
}

impl Basis {
    /// Of no view.
    pub(super) fn none() -> Self {
        Self {
            stamp: u64::MAX,
            ..Self::default()
        }
    }
}

impl PartialEq for Basis {
    fn eq(&self, other: &Self) -> bool {
        self.stamp == other.stamp
            && same(self.node.as_ref(), other.node.as_ref())
            && same(self.scope.as_ref(), other.scope.as_ref())
    }
}

fn same<T>(a: Option<&Arc<T>>, b: Option<&Arc<T>>) -> bool {
    a.map(Arc::as_ptr) == b.map(Arc::as_ptr)
}

/// Whether a client is shown all that there is of a type.
pub(super) fn is_whole(client: &Client, kind: Type) -> bool {
    match kind {
        Type::TrustBundle | Type::MeshSettings => true,
        Type::Address => matches!(client, Client::Node(_)),
        _ => false,
    }
}

/// What a client's view of a type is made from.
pub(super) fn basis(snapshot: &Snapshot, client: &Client, kind: Type) -> Basis {
    let mut basis = Basis {
        stamp: snapshot.stamp(kind),
        ..Basis::default()
    };
    match client {
        Client::Node(name) => basis.node = snapshot.nodes.get(name).cloned(),
        Client::Waypoint(name) => basis.scope = snapshot.waypoints.get(name).cloned(),
    }
    basis
}

/// All of a type that concerns a client.
pub(super) fn of(snapshot: &Snapshot, client: &Client, kind: Type) -> Resources {
    match client {
        Client::Node(name) => of_node(snapshot, name, kind),
        Client::Waypoint(name) => match snapshot.waypoints.get(name) {
            Some(scope) => of_waypoint(snapshot, scope, kind),
            None => of_waypoint(snapshot, &Scope::default(), kind),
        },
    }
}

fn of_node(snapshot: &Snapshot, name: &Arc<str>, kind: Type) -> Resources {
    let view = snapshot.nodes.get(name);
    match kind {
        Type::TrustBundle | Type::MeshSettings | Type::Address => snapshot.all(kind),
        Type::Authorization => {
            let policies = view.iter().flat_map(|view| &view.policies);
            snapshot.named(kind, policies)
        }
        Type::EgressPolicy => {
            let policies = view.iter().flat_map(|view| &view.egress);
            snapshot.named(kind, policies)
        }
        Type::Pod => view.map(|view| view.pods.clone()).unwrap_or_default(),
        Type::ConnectionFault => {
            let faults = view.iter().flat_map(|view| &view.faults);
            snapshot.named(kind, faults)
        }
        Type::BackendTlsPolicy
        | Type::TrafficPolicy
        | Type::FaultPolicy
        | Type::Certificate
        | Type::Gateway
        | Type::HttpRoute
        | Type::StreamRoute => Resources::new(),
    }
}

fn of_waypoint(snapshot: &Snapshot, scope: &Scope, kind: Type) -> Resources {
    match kind {
        Type::TrustBundle | Type::MeshSettings => snapshot.all(kind),
        Type::Address => snapshot.named(kind, scope.addresses.iter()),
        Type::Authorization => {
            let mut policies = snapshot.named(kind, scope.authorizations.iter());
            for name in &scope.waived {
                if let Some(served) = snapshot.waived.get(name) {
                    policies.insert(name.clone(), served.clone());
                }
            }
            policies
        }
        Type::Certificate => snapshot.named(kind, scope.certificates.iter()),
        Type::Gateway => snapshot.named(kind, scope.gateways.iter()),
        Type::HttpRoute => snapshot.named(kind, scope.routes.iter()),
        Type::StreamRoute => snapshot.named(kind, scope.streams.iter()),
        Type::BackendTlsPolicy => snapshot.named(kind, scope.backend_tls.iter()),
        Type::TrafficPolicy => snapshot.named(kind, scope.traffic.iter()),
        Type::FaultPolicy => snapshot.named(kind, scope.faults.iter()),
        Type::Pod | Type::ConnectionFault | Type::EgressPolicy => Resources::new(),
    }
}

/// The names of all of a type that concerns a client.
#[cfg(test)]
pub(crate) fn names(snapshot: &Snapshot, client: &Client, kind: Type) -> Vec<String> {
    let all = of(snapshot, client, kind);
    all.keys().map(ToString::to_string).collect()
}
