//! The waypoint as the hop, between ztunnels.

use super::{Found, Scene, prefixes};
use crate::{
    stage::{HTTP, NAMESPACE},
    work::names::Hop,
};
use anyhow::Result;
use culvert_lab::{
    Mesh, MeshOptions, http,
    objects::{self, Port},
    until,
    wait::PATIENCE,
};
use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 50);
/// As many as the Gateway API allows in one route.
const RULES: usize = 16;
/// Until a large set of routes is in force.
const LONG: Duration = Duration::from_secs(60);

/// The way without the hop, then with each of `hops`, which all have the server in the mesh or all do not.
pub(super) fn run(scene: &Scene<'_>, hops: &[Hop]) -> Result<Vec<Found>> {
    let stage = scene.stage;
    let options = MeshOptions {
        waypoint_args: vec!["--data-cores".into(), "1".into()],
        ..MeshOptions::default()
    };
    let mut mesh = Mesh::start(scene.lab, options)?;
    let tls = hops.iter().all(|hop| hop.tls);
    let plain: &[objects::Pair<'_>] = &[("culvert.dev/dataplane-mode", "none")];
    mesh.put_pod(stage.client(), &[], &[])?;
    mesh.put_pod(stage.far(), if tls { &[] } else { plain }, &[])?;
    mesh.put_namespace(NAMESPACE, &[objects::AMBIENT])?;
    put_service(&mesh, &[])?;
    mesh.wait_captured(stage.client())?;
    if tls {
        mesh.wait_captured(stage.far())?;
    }
    mesh.start_waypoint(stage.hop())?;
    let service = SocketAddr::new(IpAddr::V4(SERVICE), HTTP);
    let url = format!("http://{service}/64B");
    let ask = || {
        let argv = ["curl", "-sSf", "--max-time", "5", &url];
        stage.client().net.run(&argv).map(Some)
    };
    until("an answer of the service", PATIENCE, ask)?;
    let mut found = Vec::new();
    for (i, hop) in hops.iter().enumerate() {
        if i == 0 {
            found.push(scene.measure(hop.without(), service, None)?);
            put_service(&mesh, &[("culvert.dev/use-waypoint", &stage.hop().name)])?;
        }
        mesh.put("hop-routes", &routes(hop.routes))?;
        wait_for_routes(&mesh, scene, hop.routes)?;
        until("an answer through the hop", PATIENCE, ask)?;
        let pid = mesh.waypoint(&stage.hop().key())?.pid();
        found.push(scene.measure(hop.name(), service, Some(pid))?);
    }
    for file in ["hop-routes", "hop-service", "waypoint-hop"] {
        mesh.remove(file)?;
    }
    mesh.put_namespace(NAMESPACE, &[])?;
    stage.pods().try_for_each(|pod| mesh.wait_released(pod))?;
    Ok(found)
}

fn put_service(mesh: &Mesh<'_>, labels: &[objects::Pair<'_>]) -> Result<()> {
    let port = Port {
        app_protocol: "http",
        ..Port::same(HTTP)
    };
    let vips = [IpAddr::V4(SERVICE)];
    let service = objects::service(NAMESPACE, "far", "far", &vips, &[port], labels);
    mesh.put("hop-service", &service)
}

/// In force at the waypoint, and the ztunnel of the client sends it what is for the service.
fn wait_for_routes(mesh: &Mesh<'_>, scene: &Scene<'_>, routes: usize) -> Result<()> {
    let hop = scene.stage.hop();
    let socket = scene
        .lab
        .dir()
        .join(format!("waypoint-{}", hop.name))
        .join("waypoint-admin.sock");
    let (last, one_more) = (
        format!("/none-{:05}", routes - 1),
        format!("/none-{routes:05}"),
    );
    until(format!("{routes} routes at the waypoint"), LONG, || {
        let dump = http::unix(&socket, "GET", "/config_dump")?.ok()?;
        Ok((dump.contains(&last) && !dump.contains(&one_more)).then_some(()))
    })?;
    let address = hop.ip().to_string();
    mesh.wait_ztunnel_state("n1", "the service's waypoint", |dump| {
        let services = dump.get("services").map(ToString::to_string);
        services.is_some_and(|text| text.contains(&address) || text.contains(&hop.name))
    })
}

fn routes(count: usize) -> String {
    let mut text = String::new();
    for (i, prefixes) in prefixes(count).chunks(RULES).enumerate() {
        let _ = write!(
            text,
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata:\n  name: hop-{i}\n  \
             namespace: {NAMESPACE}\nspec:\n  parentRefs: [{{group: \"\", kind: Service, name: far}}]\n  rules:\n"
        );
        for prefix in prefixes {
            let _ = writeln!(
                text,
                "  - matches: [{{path: {{type: PathPrefix, value: {prefix}}}}}]\n    \
                 backendRefs: [{{name: far, port: {HTTP}}}]"
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_have_as_many_rules_as_are_allowed() {
        let text = routes(40);
        assert_eq!(text.matches("kind: HTTPRoute").count(), 3);
        assert_eq!(text.matches("- matches:").count(), 40);
    }
}
