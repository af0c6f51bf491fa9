//! The process from its start to its end: what is made in which order, and how it is taken apart.
//!
//! Invariant: the listener opens after the mesh's state, the routes and this waypoint's own certificate are there;
//! readiness is given up before it closes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use culvert_hbone::TunnelConfig;
use culvert_identity::controller::Controller;
use culvert_identity::{
    CaClient, CertHandle, SecretManager, SecretOptions, SpiffeId, TrustDomain, bundle,
};
use culvert_resolve::{Resolver, Servers};
use culvert_runtime::accept;
use culvert_runtime::drain::{self, Drain};
use culvert_runtime::limits::Limits;
use culvert_runtime::net::{self, ListenOptions};
use culvert_runtime::ready::Ready;
use culvert_runtime::{build, signal, task, trace};
use culvert_xds::Store;
use culvert_xds::state::Settings;
use tokio::net::TcpListener;

use crate::args::{Args, GatewayName};
use crate::control::{self, RouteFeed, Shown, Shutdown};
use crate::cores::{DataCores, Spread};
use crate::destination::Own;
use crate::gateway::Ports;
use crate::world::World;

/// Lifetime that we ask for; the controller decides.
const CERTIFICATE_TTL: Duration = Duration::from_secs(24 * 3600);
/// How long a gateway goes on taking clients although it is not ready any more: whoever sends them has to hear of that.
const FAREWELL: Duration = Duration::from_secs(5);

/// Runs until the operator ends it.
pub fn run(args: Args) -> anyhow::Result<()> {
    let _log = trace::init(args.log_format, "info")?;
    build::register("waypoint");
    let cores = DataCores::start(args.cores()).context("data cores")?;
    let control = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("control")
        .enable_all()
        .build()
        .context("control runtime")?;
    control.block_on(serve(Arc::new(args), cores))
}

async fn serve(args: Arc<Args>, cores: DataCores) -> anyhow::Result<()> {
    tracing::info!(version = build::VERSION, name = %args.name, cores = args.cores(), "waypoint starts");
    let controller = Controller::new(args.controller()?, args.auth()?)?;
    let (trust, trusted) = bundle::channel();
    let source = Arc::new(CaClient::new(controller.clone(), CERTIFICATE_TTL));
    let secrets = SecretManager::new(source, trusted, SecretOptions::default());
    let (store, routes) = (Store::new(Settings::default()), RouteFeed::new());
    let (ready, shutdown) = (Ready::new(), Shutdown::default());
    let starting = ready.task("state from the controller");
    let own = Own::new(&args.name.namespace, &args.name.name).in_pod(args.pod.as_deref());
    let shown = Shown {
        own: own.clone(),
        store: store.clone(),
        routes: routes.clone(),
        secrets: secrets.clone(),
        cores: cores.clone(),
    };
    control::serve_admin(&args, &shown, &ready, &shutdown)?;

    let (_end, ended) = drain::channel();
    let stream = {
        let (args, controller) = (Arc::clone(&args), controller.clone());
        let (store, routes) = (store.clone(), routes.clone());
        async move {
            controller.rooted().await;
            control::run_xds(&args, controller, store, routes, ended).await;
        }
    };
    task::spawn("xds", stream);
    task::spawn("trust_bundle", control::follow_trust(store.clone(), trust));
    task::spawn(
        "report",
        control::report(controller, secrets.clone(), ready.clone()),
    );

    let (stop, draining) = drain::channel();
    let service = async {
        store.wait_synced(Store::TYPES).await;
        routes.synced().await;
        let opening = ready.task("listeners");
        starting.done();
        let certificate = own_certificate(&store, &secrets, &args.name, &ready).await?;
        let limits = Limits {
            drain: Duration::from_secs(args.drain_seconds),
            tunnel_age: Duration::from_secs(args.tunnel_age_seconds),
            served_age: Duration::from_secs(args.served_age_seconds),
            ..Limits::default()
        };
        let world = Arc::new(World {
            store: store.clone(),
            routes: routes.shared(),
            gateway: routes.gateway(),
            certificate,
            own: own.clone(),
            tunnels: tunnels(&limits),
            limits: Arc::new(limits),
            resolver: Resolver::new(Servers::read(&args.resolv_conf)),
        });
        let spread = Arc::new(cores.serve(&world, &draining));
        let ports = Ports::new(args.gateway_address, Arc::clone(&spread), ready.clone());
        let ports = ports.run(routes.gateway(), draining.clone(), opening);
        task::spawn("gateway_ports", ports);
        listen(&args, &spread, &draining).await
    };
    tokio::select! {
        ended = service => ended?,
        () = signal::shutdown() => {}
        () = shutdown.notified() => tracing::info!("asked to shut down"),
    }
    let _unready = ready.task("draining");
    if routes.gateway().borrow().is_some() {
        tokio::select! {
            () = tokio::time::sleep(FAREWELL) => {}
            () = signal::shutdown() => {}
        }
    }
    end(stop, draining, Duration::from_secs(args.drain_seconds)).await;
    Ok(())
}

/// Waits for this waypoint's own certificate, for as long as it takes.
async fn own_certificate(
    store: &Store,
    secrets: &SecretManager,
    name: &GatewayName,
    ready: &Ready,
) -> anyhow::Result<CertHandle> {
    const PATIENCE: Duration = Duration::from_secs(30);
    let pending = ready.task("certificate");
    let trust_domain = TrustDomain::new(&store.snapshot().settings().trust_domain)?;
    let id = SpiffeId::new(&trust_domain, &name.namespace, &name.name)?;
    let certificate = secrets.watch(&id);
    while let Err(error) = certificate.ready(PATIENCE).await {
        tracing::warn!(%error, "still without a certificate");
    }
    pending.done();
    Ok(certificate)
}

/// Accepts connections until the drain starts.
async fn listen(args: &Args, spread: &Spread, draining: &Drain) -> anyhow::Result<()> {
    let listener = net::listen(args.listen, &ListenOptions::default());
    let listener = listener
        .and_then(TcpListener::from_std)
        .with_context(|| format!("--listen {}", args.listen))?;
    tracing::info!(address = %args.listen, "waypoint is ready");
    accept::run(listener, draining.clone(), |tcp, _| spread.hand(tcp)).await;
    Ok(())
}

/// Takes nothing new, and lets what is there finish for `patience`.
async fn end(stop: drain::Trigger, draining: Drain, patience: Duration) {
    drop(draining);
    stop.start();
    tracing::info!(?patience, "draining");
    tokio::select! {
        ended = tokio::time::timeout(patience, stop.finished()) => {
            if ended.is_err() {
                tracing::warn!("ending what is left");
            }
        }
        () = signal::shutdown() => tracing::warn!("told twice, ending at once"),
    }
}

fn tunnels(limits: &Limits) -> TunnelConfig {
    TunnelConfig {
        handshake: limits.handshake,
        connect: limits.connect_request,
        idle: limits.tunnel_idle,
        client_age: Some(limits.tunnel_age).filter(|age| !age.is_zero()),
        server_age: Some(limits.served_age).filter(|age| !age.is_zero()),
        ..TunnelConfig::default()
    }
}
