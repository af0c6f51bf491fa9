//! Which endpoints are near, as this instance sees it.

use culvert_proto::waypoint as pb;
use culvert_xds::state::{LoadBalancingScope, Service, Snapshot, Workload};
use serde_json::{Value, json};

use super::{list, object, text};
use crate::config::locality::{Locality, LocalityMode};
use crate::destination::Own;
use crate::routes::RouteStore;
use crate::upstream::tiers::Tiers;

/// What a TrafficPolicy says.
pub(super) fn policy(raw: &pb::Locality) -> Value {
    let short = |name: &'static str| name.rsplit('_').next().unwrap_or_default().into();
    let levels: Vec<_> = raw
        .levels()
        .map(|level| short(level.as_str_name()))
        .collect();
    object([
        ("mode", short(raw.mode().as_str_name())),
        ("failoverPriority", Value::Array(levels)),
        (
            "failover",
            list(&raw.failover, |failover| {
                object([("from", text(&failover.from)), ("to", text(&failover.to))])
            }),
        ),
    ])
}

/// Of every service port for which somebody says what is near: from where that is seen, and the tier of each endpoint.
pub(in super::super) fn all(snapshot: &Snapshot, routes: &RouteStore, own: &Own) -> Vec<Value> {
    let here = own.workload(snapshot);
    let mut views = Vec::new();
    for service in snapshot.services() {
        for port in &service.ports {
            let port = port.port;
            let stated = routes.locality(&service.key, port);
            let by = if stated.is_some() {
                "TrafficPolicy"
            } else {
                "Service"
            };
            let locality = stated.or_else(|| Locality::of_service(&service.load_balancing));
            let Some(locality) = locality.filter(|l| l.mode != LocalityMode::Disabled) else {
                continue;
            };
            views.push(json!({
                "service": &*service.key,
                "port": port,
                "by": by,
                "mode": match locality.mode { LocalityMode::Strict => "STRICT", _ => "FAILOVER" },
                "levels": locality.levels.iter().map(level).collect::<Vec<_>>(),
                "from": here.map(|here| place(here)),
                "endpoints": endpoints(snapshot, service, port, &locality, here.map(|here| &**here)),
            }));
        }
    }
    views
}

fn endpoints(
    snapshot: &Snapshot,
    service: &Service,
    port: u16,
    locality: &Locality,
    here: Option<&Workload>,
) -> Vec<Value> {
    let found = snapshot
        .endpoints(service, port)
        .map(|found| &**found.workload);
    let found: Vec<_> = found.filter(|workload| workload.healthy()).collect();
    let tiers = Tiers::new(locality, here, found.iter().copied());
    let view = |(index, workload): (usize, &&Workload)| {
        let mut view = place(workload);
        view["endpoint"] = json!(&**workload.uid());
        // None: it is not used from here.
        view["tier"] = json!(tiers.as_ref().map_or(Some(0), |tiers| tiers.of(index)));
        view
    };
    found.iter().enumerate().map(view).collect()
}

fn place(workload: &Workload) -> Value {
    let locality = workload.locality();
    json!({
        "region": &*locality.region,
        "zone": &*locality.zone,
        "subzone": &*locality.subzone,
        "node": &**workload.node(),
    })
}

fn level(level: &LoadBalancingScope) -> Value {
    format!("{level:?}").to_uppercase().into()
}
