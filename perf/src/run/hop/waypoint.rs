//! The waypoint as the hop: between ztunnels in HBONE, or as a Gateway that takes and speaks plain HTTP/1.1.

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

const LISTENER: u16 = 9000;
const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 50);
/// As many as the Gateway API allows in one route.
const RULES: usize = 16;
/// Until a large set of routes is in force.
const LONG: Duration = Duration::from_secs(60);

/// The way without the hop, then with each of `hops`, which are all plain or all in TLS.
pub(super) fn run(scene: &Scene<'_>, hops: &[Hop]) -> Result<Vec<Found>> {
    let options = MeshOptions {
        waypoint_args: vec!["--data-cores".into(), "1".into()],
        ..MeshOptions::default()
    };
    let mut mesh = Mesh::start(scene.lab, options)?;
    if hops.iter().all(|hop| hop.tls) {
        between(scene, &mut mesh, hops)
    } else {
        plain(scene, &mut mesh, hops)
    }
}

/// Ztunnels around the waypoint of a service.
fn between(scene: &Scene<'_>, mesh: &mut Mesh<'_>, hops: &[Hop]) -> Result<Vec<Found>> {
    let stage = scene.stage;
    mesh.put_pod(stage.client(), &[], &[])?;
    mesh.put_pod(stage.far(), &[], &[])?;
    mesh.put_namespace(NAMESPACE, &[objects::AMBIENT])?;
    put_service(mesh, &[])?;
    mesh.wait_captured(stage.client())?;
    mesh.wait_captured(stage.far())?;
    mesh.start_waypoint(stage.hop())?;
    let service = SocketAddr::new(IpAddr::V4(SERVICE), HTTP);
    answers(scene, service)?;
    let mut found = vec![scene.measure(hops[0].without(), service, None)?];
    put_service(mesh, &[("culvert.dev/use-waypoint", &stage.hop().name)])?;
    let address = stage.hop().ip().to_string();
    let parent = "{group: \"\", kind: Service, name: far}";
    for hop in hops {
        mesh.put("hop-routes", &routes(parent, hop.routes))?;
        wait_for_routes(scene, hop.routes)?;
        mesh.wait_ztunnel_state("n1", "the service's waypoint", |dump| {
            let services = dump.get("services").map(ToString::to_string);
            services.is_some_and(|text| text.contains(&address) || text.contains(&stage.hop().name))
        })?;
        found.push(through(scene, mesh, *hop, service)?);
    }
    for file in ["hop-routes", "hop-service", "waypoint-hop"] {
        mesh.remove(file)?;
    }
    mesh.put_namespace(NAMESPACE, &[])?;
    stage.pods().try_for_each(|pod| mesh.wait_released(pod))?;
    Ok(found)
}

/// A Gateway, with client and server outside of the mesh.
fn plain(scene: &Scene<'_>, mesh: &mut Mesh<'_>, hops: &[Hop]) -> Result<Vec<Found>> {
    let stage = scene.stage;
    let name = &stage.hop().name;
    mesh.put_namespace(NAMESPACE, &[])?;
    mesh.put_pod(stage.far(), &[], &[])?;
    put_service(mesh, &[])?;
    let server = SocketAddr::new(stage.far().ip(), HTTP);
    let mut found = vec![scene.measure(hops[0].without(), server, None)?];
    mesh.start_gateway(stage.hop(), &gateway(name))?;
    let listener = SocketAddr::new(stage.hop().ip(), LISTENER);
    let parent = format!("{{name: {name}}}");
    for hop in hops {
        mesh.put("hop-routes", &routes(&parent, hop.routes))?;
        wait_for_routes(scene, hop.routes)?;
        found.push(through(scene, mesh, *hop, listener)?);
    }
    Ok(found)
}

fn through(scene: &Scene<'_>, mesh: &mut Mesh<'_>, hop: Hop, target: SocketAddr) -> Result<Found> {
    answers(scene, target)?;
    let pid = mesh.waypoint(&scene.stage.hop().key())?.pid();
    scene.measure(hop.name(), target, Some(pid))
}

fn answers(scene: &Scene<'_>, target: SocketAddr) -> Result<()> {
    let url = format!("http://{target}/64B");
    until(format!("an answer of {url}"), PATIENCE, || {
        let argv = ["curl", "-sSf", "--max-time", "5", &url];
        scene.stage.client().net.run(&argv).map(Some)
    })?;
    Ok(())
}

fn gateway(name: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata:\n  name: {name}\n  namespace: {NAMESPACE}\n\
         spec:\n  gatewayClassName: culvert\n  listeners:\n  - name: http\n    port: {LISTENER}\n    protocol: HTTP\n"
    )
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

/// In force at the hop.
fn wait_for_routes(scene: &Scene<'_>, routes: usize) -> Result<()> {
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
    until(format!("{routes} routes at the hop"), LONG, || {
        let dump = http::unix(&socket, "GET", "/config_dump")?.ok()?;
        Ok((dump.contains(&last) && !dump.contains(&one_more)).then_some(()))
    })
}

fn routes(parent: &str, count: usize) -> String {
    let mut text = String::new();
    for (i, prefixes) in prefixes(count).chunks(RULES).enumerate() {
        let _ = write!(
            text,
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata:\n  name: hop-{i}\n  \
             namespace: {NAMESPACE}\nspec:\n  parentRefs: [{parent}]\n  rules:\n"
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
        let text = routes("{name: far}", 40);
        assert_eq!(text.matches("kind: HTTPRoute").count(), 3);
        assert_eq!(text.matches("- matches:").count(), 40);
    }
}
