//! The process from its start to its end: what is made in which order, and how it is taken apart.
//!
//! Invariant: readiness is claimed when the mesh's state is complete and the agent has named its pods, and is given up
//! before the first listener closes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use culvert_hbone::TunnelConfig;
use culvert_identity::controller::Controller;
use culvert_identity::{CaClient, SecretManager, SecretOptions, bundle};
use culvert_policy::DenyReason;
use culvert_resolve::{Resolver, Servers};
use culvert_runtime::drain;
use culvert_runtime::limits::Limits;
use culvert_runtime::ready::Ready;
use culvert_runtime::{build, signal, task, trace};
use culvert_xds::state::Settings;
use culvert_xds::{Handlers, Store};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::sync::Notify;

use crate::asking::Asking;
use crate::certificates::Certificates;
use crate::config::Config;
use crate::control::{self, Shutdown};
use crate::egress::Egress;
use crate::faults::Faults;
use crate::inpod::{Pods, zds};
use crate::node::Node;
use crate::proxy::connections::Quota;
use crate::proxy::cores::DataCores;
use crate::proxy::load::Load;
use crate::proxy::neighbours::Neighbours;
use crate::proxy::revoke;

/// Lifetime that we ask for; the controller decides.
const CERTIFICATE_TTL: Duration = Duration::from_secs(24 * 3600);
/// What connections have to end in order, after they were told to.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How often it is looked whether something is left.
const POLL: Duration = Duration::from_millis(10);

/// Run until the operator ends it.
pub(crate) fn run(config: Config) -> anyhow::Result<()> {
    let _log = trace::init(config.log_format, "info")?;
    build::register("ztunnel");
    raise_descriptor_limit();
    let tunnel = tunnel_config(&config.limits);
    let cores = DataCores::start(config.data_cores, &tunnel).context("data cores")?;
    let control = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        .enable_all()
        .build()
        .context("control runtime")?;
    control.block_on(serve(config, cores, tunnel))
}

/// Each connection is two descriptors, so take what the operator allows rather than what shells get by default.
fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

fn tunnel_config(limits: &Limits) -> TunnelConfig {
    TunnelConfig {
        handshake: limits.handshake,
        connect: limits.connect_request,
        idle: limits.tunnel_idle,
        client_age: Some(limits.tunnel_age).filter(|age| !age.is_zero()),
        ..TunnelConfig::default()
    }
}

async fn serve(config: Config, cores: DataCores, tunnel: TunnelConfig) -> anyhow::Result<()> {
    tracing::info!(
        version = build::VERSION,
        node = config.node,
        cores = config.data_cores,
        "ztunnel starts"
    );
    let controller = Controller::new(config.controller, config.auth.clone())?;
    let (trust, trusted) = bundle::channel();
    let source = Arc::new(CaClient::new(controller.clone(), CERTIFICATE_TTL));
    let node = Arc::new(Node {
        store: Store::new(Settings::default()),
        faults: Faults::default(),
        egress: Egress::new(config.resolvers.clone()),
        asking: Asking::default(),
        certificates: Certificates::new(SecretManager::new(
            source,
            trusted,
            SecretOptions::default(),
        )),
        cores,
        tunnel,
        quota: Quota::new(config.limits.connections),
        load: Load::default(),
        neighbours: Neighbours::default(),
        resolver: Resolver::new(Servers::read(&config.resolv_conf)),
        limits: config.limits.clone(),
    });
    let pods = Arc::new(Pods::new(node.clone()));
    let (ready, shutdown) = (Ready::new(), Shutdown::new(Notify::new()));
    let (xds_ready, zds_ready) = (
        ready.task("state from the controller"),
        ready.task("pods from the agent"),
    );
    control::serve_admin(&config, &node, &pods, &ready, &shutdown)?;

    let (_end, ended) = drain::channel();
    control::follow(&node, &pods, trust, xds_ready);
    let client = xds(&config, controller.clone(), &node);
    task::spawn("xds", {
        let controller = controller.clone();
        async move {
            controller.rooted().await;
            client.run(ended).await;
        }
    });
    task::spawn("faults", node.faults.clone().run());
    task::spawn("revoke", revoke::run(node.store.clone(), pods.clone()));
    task::spawn(
        "upkeep",
        control::upkeep(pods.clone(), config.limits.stream_idle),
    );
    task::spawn(
        "report",
        control::report(controller, node.clone(), ready.clone()),
    );
    let agent = task::spawn("zds", zds::run(config.zds.clone(), pods.clone(), zds_ready));

    tokio::select! {
        () = signal::shutdown() => {}
        () = shutdown.notified() => tracing::info!("asked to shut down"),
    }
    let draining = ready.task("draining");
    agent.abort();
    tokio::select! {
        () = end(&pods, &node, config.limits.drain) => {}
        () = signal::shutdown() => tracing::warn!("told twice, ending at once"),
    }
    drop(draining);
    Ok(())
}

fn xds(config: &Config, controller: Controller, node: &Node) -> culvert_xds::Client<Handlers> {
    // What is named goes before what names it.
    let handlers = Handlers::new()
        .with(Store::EGRESS_TYPES, node.store.clone())
        .with(Store::TYPES, node.store.clone())
        .with(Faults::TYPES, node.faults.clone());
    let types = handlers.types();
    let name = format!("ztunnel-{}", config.node);
    let about = culvert_xds::node(
        "ztunnel",
        config.admin.ip(),
        &name,
        "culvert-system",
        &[("NODE_NAME", &config.node)],
    );
    let client = culvert_xds::Client::new(controller, about, &types, handlers);
    let demand = node.asking.demand();
    if config.on_demand {
        client.on_demand(Some(demand))
    } else {
        client.beginning_with(demand)
    }
}

/// Take nothing new, let what is there finish for `patience`, and end the rest.
async fn end(pods: &Pods, node: &Node, patience: Duration) {
    pods.drain();
    tracing::info!(connections = node.quota.used(), ?patience, "draining");
    if tokio::time::timeout(patience, quiet(pods, node))
        .await
        .is_ok()
    {
        return;
    }
    tracing::warn!(connections = node.quota.used(), "ending what is left");
    for pod in pods.with_connections() {
        pod.connections.end_all(DenyReason::Draining);
    }
    drop(tokio::time::timeout(LAST_WORDS, quiet(pods, node)).await);
}

/// Until nothing is served and nothing waits to be written. A connection that has ended may have left its last bytes to a
/// tunnel; whoever exits before the tunnel has written them makes a reset of an orderly end.
async fn quiet(pods: &Pods, node: &Node) {
    pods.drained().await;
    let own_tunnels = || {
        task::live()
            .iter()
            .any(|(name, n)| name == "hbone_client" && *n > 0)
    };
    while node.quota.used() > 0 {
        tokio::time::sleep(POLL).await;
    }
    while own_tunnels() {
        // Only now: a connection that is served to its end may have dialled one in the meantime.
        pods.release_tunnels();
        tokio::time::sleep(POLL).await;
    }
}
