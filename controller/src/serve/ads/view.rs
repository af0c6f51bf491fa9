//! What a client ought to have.

use std::sync::Arc;

use crate::engine::{Client, Resources, Scope, Snapshot};
use crate::translate::Type;

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
        Type::Pod => view.map(|view| view.pods.clone()).unwrap_or_default(),
        Type::TrafficPolicy | Type::FaultPolicy | Type::HttpRoute => Resources::new(),
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
        Type::HttpRoute => snapshot.named(kind, scope.routes.iter()),
        Type::TrafficPolicy => snapshot.named(kind, scope.traffic.iter()),
        Type::FaultPolicy => snapshot.named(kind, scope.faults.iter()),
        Type::Pod => Resources::new(),
    }
}
