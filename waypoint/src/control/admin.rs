//! The admin server: what this process knows and does, for operators and `culvert`.
//!
//! Invariants: it listens on loopback and on a socket that only its owner may open, unless the operator says otherwise;
//! nothing that it shows holds a secret.

use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context as _;
use culvert_identity::{CertStatus, SecretManager};
use culvert_runtime::admin::{Admin, Response};
use culvert_runtime::build::VERSION;
use culvert_runtime::ready::Ready;
use culvert_xds::Store;
use http::Method;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::xds::RouteFeed;
use crate::args::Args;
use crate::cores::DataCores;
use crate::destination::Own;

/// Asks the process to drain and end.
pub(crate) type Shutdown = Arc<Notify>;

/// What there is to show.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) own: Own,
    pub(crate) store: Store,
    pub(crate) routes: RouteFeed,
    pub(crate) secrets: SecretManager,
    pub(crate) cores: DataCores,
}

/// Serves admin, statistics and readiness at their addresses.
pub(crate) fn serve(
    args: &Args,
    shown: &Shown,
    ready: &Ready,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let stats = Admin::new().with_metrics();
    stats
        .serve_tcp(args.stats)
        .with_context(|| format!("--stats {}", args.stats))?;
    let readiness = with_ready(Admin::new(), ready);
    readiness
        .serve_tcp(args.ready)
        .with_context(|| format!("--ready {}", args.ready))?;
    let admin = routes(args, shown, ready, shutdown);
    admin
        .serve_tcp(args.admin)
        .with_context(|| format!("--admin {}", args.admin))?;
    if let Some(dir) = &args.run_dir {
        let socket = dir.join("waypoint-admin.sock");
        admin
            .serve_unix(&socket)
            .with_context(|| socket.display().to_string())?;
    }
    Ok(())
}

fn with_ready(admin: Admin, ready: &Ready) -> Admin {
    let ready = ready.clone();
    admin.route(Method::GET, "/healthz/ready", move |_query| {
        let response = ready.response();
        async move { response }
    })
}

fn routes(args: &Args, shown: &Shown, ready: &Ready, shutdown: &Shutdown) -> Admin {
    let admin = with_ready(Admin::new().with_metrics().with_logging(), ready);
    let (name, dumped) = (args.name.to_string(), shown.clone());
    let admin = admin.route(Method::GET, "/config_dump", move |_query| {
        let response = config_dump(&name, &dumped);
        async move { response }
    });
    let cores = shown.cores.clone();
    let admin = admin.route(Method::GET, "/connections", move |_query| {
        let response = Response::json(&json!({ "hbone_by_core": cores.connections() }));
        async move { response }
    });
    let secrets = shown.secrets.clone();
    let admin = admin.route(Method::GET, "/certificates", move |_query| {
        let response = Response::json(&certificates(&secrets));
        async move { response }
    });
    let shutdown = Arc::clone(shutdown);
    admin.route(Method::POST, "/quitquitquit", move |_query| {
        shutdown.notify_one();
        async { Response::text("draining\n") }
    })
}

fn config_dump(name: &str, shown: &Shown) -> Response {
    let snapshot = shown.store.snapshot();
    let routes = shown.routes.lock();
    Response::json(&json!({
        "version": VERSION,
        "waypoint": name,
        "workloads": snapshot.workloads().map(|workload| &**workload).collect::<Vec<_>>(),
        "services": snapshot.services().map(|service| &**service).collect::<Vec<_>>(),
        "policies": snapshot.policies().map(|policy| &**policy).collect::<Vec<_>>(),
        "routes": routes.raw_routes().map(|raw| super::dump::route(&raw)).collect::<Vec<_>>(),
        "stream_routes": routes.raw_streams().map(|raw| super::dump::stream(&raw)).collect::<Vec<_>>(),
        "gateways": routes.raw_gateways().map(|raw| super::dump::gateway(&raw)).collect::<Vec<_>>(),
        "listener_certificates": routes.certificates().map(|(name, known)| super::dump::certificate(name, known)).collect::<Vec<_>>(),
        "backend_tls_policies": routes.raw_backend_tls().map(|raw| super::dump::backend_tls(&raw)).collect::<Vec<_>>(),
        "traffic_policies": routes.raw_traffic().map(|raw| super::dump::traffic(&raw)).collect::<Vec<_>>(),
        "fault_policies": routes.raw_faults().map(|(raw, left)| super::dump::fault(&raw, left)).collect::<Vec<_>>(),
        "endpoints": routes.endpoints(),
        "localities": super::dump::locality::all(&snapshot, &routes, &shown.own),
        "certificates": certificates(&shown.secrets),
        "settings": &**snapshot.settings(),
    }))
}

fn certificates(secrets: &SecretManager) -> Vec<Value> {
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
                }| {
        let state = match validity {
            None => "pending",
            Some((from, to)) if from <= now && now < to => "valid",
            Some(_) => "expired",
        };
        json!({
            "identity": id.as_str(),
            "state": state,
            "serial": serial,
            "not_before": validity.and_then(|(from, _)| seconds(from)),
            "not_after": validity.and_then(|(_, to)| seconds(to)),
            "error": error,
        })
    };
    secrets.list().into_iter().map(view).collect()
}
