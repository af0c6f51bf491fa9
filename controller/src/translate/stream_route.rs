//! TLSRoutes and TCPRoutes: what they are attached to and where they lead.

use culvert_proto::waypoint::StreamRoute;

use super::backend::Context;
use super::names;
use super::resource::{Message, Resource};
use super::route::{Translated, created};
use crate::api::StreamRouteSpec;
use crate::model::{Key, Kind, Obj};
use crate::path::FieldPath;
use crate::world::World;

/// One route.
#[must_use]
pub fn of(world: &World, kind: Kind, route: &Obj<StreamRouteSpec>) -> Translated {
    let (name, spec) = (&route.meta.name, &route.spec);
    let key = Key {
        kind,
        name: name.clone(),
    };
    let mut context = Context::new(world, key, &spec.parent_refs, &spec.hostnames);
    let mut backends = Vec::new();
    for (i, rule) in spec.rules.iter().enumerate() {
        let at = FieldPath::of("spec.rules").index(i).key("backendRefs");
        for (i, backend) in rule.backend_refs.iter().enumerate() {
            backends.push(context.backend(backend, &at.index(i)));
        }
    }
    let record = StreamRoute {
        namespace: name.namespace.to_string(),
        name: name.name.to_string(),
        created: created(&route.meta),
        parents: std::mem::take(&mut context.parents.own),
        listeners: context.parents.listeners.clone(),
        tls: kind == Kind::TlsRoute,
        hostnames: spec.hostnames.clone(),
        backends,
    };
    let resource = Resource {
        name: names::route(&context.route).into(),
        aliases: Vec::new(),
        message: Message::StreamRoute(record),
    };
    Translated::of(context, resource)
}
