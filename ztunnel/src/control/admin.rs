//! The admin server: what this process knows and does, for operators and `culvert`.
//!
//! Invariants: it listens on loopback and on a socket that only its owner may open, unless the operator says otherwise;
//! nothing that it shows holds a secret.

use std::sync::Arc;
use std::time::SystemTime;

use culvert_identity::CertStatus;
use culvert_runtime::admin::{Admin, Response};
use culvert_runtime::build::VERSION;
use culvert_runtime::ready::Ready;
use http::Method;
use serde::Serialize;
use tokio::sync::Notify;

use crate::config::Config;
use crate::inpod::Pods;
use crate::node::Node;

/// Asks the process to drain and end.
pub(crate) type Shutdown = Arc<Notify>;

/// A certificate as it is shown.
#[derive(Serialize)]
struct CertificateView {
    identity: String,
    /// `valid`, `expired` or `pending`.
    state: &'static str,
    serial: String,
    not_before: Option<u64>,
    not_after: Option<u64>,
    error: Option<String>,
}

#[derive(Serialize)]
struct ConfigDump<'a> {
    version: &'a str,
    node: &'a str,
    workloads: Vec<&'a culvert_xds::state::Workload>,
    services: Vec<&'a culvert_xds::state::Service>,
    policies: Vec<&'a culvert_xds::state::AttachedPolicy>,
    certificates: Vec<CertificateView>,
    pods: Vec<crate::inpod::PodView>,
    settings: &'a culvert_xds::state::Settings,
    faults: Vec<crate::faults::View>,
    egress_policies: Vec<&'a culvert_policy::EgressPolicy>,
    /// Who says which addresses the names in them have.
    resolvers: &'a [std::net::SocketAddr],
}

/// Serve admin, statistics and readiness at their addresses.
pub(crate) fn serve(
    config: &Config,
    node: &Arc<Node>,
    pods: &Arc<Pods>,
    ready: &Ready,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    use anyhow::Context as _;
    let stats = Admin::new().with_metrics();
    stats
        .serve_tcp(config.stats)
        .with_context(|| format!("--stats {}", config.stats))?;
    let readiness = with_ready(Admin::new(), ready);
    readiness
        .serve_tcp(config.ready)
        .with_context(|| format!("--ready {}", config.ready))?;
    let admin = routes(config, node, pods, ready, shutdown);
    admin
        .serve_tcp(config.admin)
        .with_context(|| format!("--admin {}", config.admin))?;
    let socket = config.run_dir.join("ztunnel-admin.sock");
    admin
        .serve_unix(&socket)
        .with_context(|| socket.display().to_string())
}

fn with_ready(admin: Admin, ready: &Ready) -> Admin {
    let ready = ready.clone();
    admin.route(Method::GET, "/healthz/ready", move |_query| {
        let response = ready.response();
        async move { response }
    })
}

fn routes(
    config: &Config,
    node: &Arc<Node>,
    pods: &Arc<Pods>,
    ready: &Ready,
    shutdown: &Shutdown,
) -> Admin {
    let admin = with_ready(Admin::new().with_metrics().with_logging(), ready);
    let name = config.node.clone();
    let (dumped, dumped_pods) = (node.clone(), pods.clone());
    let admin = admin.route(Method::GET, "/config_dump", move |_query| {
        let response = config_dump(&name, &dumped, &dumped_pods);
        async move { response }
    });
    let shown = pods.clone();
    let admin = admin.route(Method::GET, "/connections", move |_query| {
        let response = connections(&shown);
        async move { response }
    });
    let held = node.clone();
    let admin = admin.route(Method::GET, "/certificates", move |_query| {
        let response = Response::json(&certificates(&held));
        async move { response }
    });
    let shutdown = shutdown.clone();
    admin.route(Method::POST, "/quitquitquit", move |_query| {
        shutdown.notify_one();
        async { Response::text("draining\n") }
    })
}

fn config_dump(name: &str, node: &Node, pods: &Pods) -> Response {
    let snapshot = node.store.snapshot();
    Response::json(&ConfigDump {
        version: VERSION,
        node: name,
        workloads: snapshot.workloads().map(|workload| &**workload).collect(),
        services: snapshot.services().map(|service| &**service).collect(),
        policies: snapshot.policies().map(|policy| &**policy).collect(),
        certificates: certificates(node),
        pods: pods.list().iter().map(|pod| pod.view()).collect(),
        settings: snapshot.settings(),
        faults: node.faults.views(),
        egress_policies: snapshot.egress_policies().map(|policy| &**policy).collect(),
        resolvers: node.egress.resolvers(),
    })
}

fn connections(pods: &Pods) -> Response {
    #[derive(Serialize)]
    struct OfPod {
        pod: Arc<str>,
        #[serde(flatten)]
        connection: crate::proxy::connections::View,
    }
    let of_pod = |pod: Arc<crate::inpod::Pod>| {
        let views = pod.connections.views().into_iter();
        views
            .map(move |connection| OfPod {
                pod: pod.uid().clone(),
                connection,
            })
            .collect::<Vec<_>>()
    };
    Response::json(
        &pods
            .with_connections()
            .into_iter()
            .flat_map(of_pod)
            .collect::<Vec<_>>(),
    )
}

fn certificates(node: &Node) -> Vec<CertificateView> {
    let seconds = |time: SystemTime| {
        time.duration_since(SystemTime::UNIX_EPOCH)
            .ok()
            .map(|since| since.as_secs())
    };
    let now = SystemTime::now();
    let view = |CertStatus {
                    id,
                    serial,
                    validity,
                    error,
                }| CertificateView {
        identity: id.to_string(),
        state: match validity {
            None => "pending",
            Some((from, to)) if from <= now && now < to => "valid",
            Some(_) => "expired",
        },
        serial,
        not_before: validity.and_then(|(from, _)| seconds(from)),
        not_after: validity.and_then(|(_, to)| seconds(to)),
        error,
    };
    node.certificates.list().into_iter().map(view).collect()
}
