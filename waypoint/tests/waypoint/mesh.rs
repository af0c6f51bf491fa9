//! A mesh of one waypoint, made for one test.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use culvert_hbone::TunnelConfig;
use culvert_identity::ca::Root;
use culvert_identity::{
    Identity, LocalSource, SecretManager, SecretOptions, SpiffeId, TrustDomain, bundle,
};
use culvert_proto::type_url;
use culvert_resolve::{Resolver, Servers};
use culvert_runtime::drain::{self, Drain, Trigger};
use culvert_runtime::limits::Limits;
use culvert_runtime::ready::Ready;
use culvert_waypoint::cores::{DataCores, Spread};
use culvert_waypoint::destination::Own;
use culvert_waypoint::gateway::Ports;
use culvert_waypoint::routes::RouteStore;
use culvert_waypoint::world::World;
use culvert_xds::state::Settings;
use culvert_xds::{Handler as _, Resource, Store, Update};
use prost::Message;
use tokio::net::TcpListener;

use crate::resources;

/// Where the waypoint listens.
pub(crate) const WAYPOINT: &str = "10.99.0.1:15008";
/// How long anything may take before a test gives up on it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Runs `body` on a mesh of its own, in a private world. `name` is the test's own path.
pub(crate) fn test<F>(name: &str, body: impl FnOnce(Rc<Mesh>) -> F)
where
    F: Future<Output = Result<()>>,
{
    culvert_lab::test(name, |_| {
        // Every address of this network is this namespace's own.
        let added = std::process::Command::new("ip")
            .args(["route", "add", "local", "10.99.0.0/16", "dev", "lo"])
            .status()?;
        ensure!(added.success(), "ip route add local failed");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async {
            let mesh = Rc::new(Mesh::start().await?);
            let outcome = tokio::time::timeout(Duration::from_secs(60), body(mesh)).await;
            outcome.context("the test took over a minute")?
        })
    });
}

/// The waypoint and what it is told.
pub(crate) struct Mesh {
    secrets: SecretManager,
    store: Store,
    routes: std::cell::RefCell<RouteStore>,
    trigger: Trigger,
    pub(crate) ready: Ready,
    pub(crate) cores: DataCores,
    _root: tempfile::TempDir,
}

impl Mesh {
    async fn start() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let root = Root::load_or_create(dir.path(), TrustDomain::new("cluster.local")?)?;
        let source = Arc::new(LocalSource::new(root, Duration::from_secs(3600)));
        let secrets = SecretManager::new(source, bundle::channel().1, SecretOptions::default());
        let store = Store::new(Settings {
            cluster_id: "c1".into(),
            ..Settings::default()
        });
        let routes = RouteStore::default();
        let certificate = secrets.watch(&id("waypoint")?);
        certificate.ready(PATIENCE).await?;
        let world = World {
            store: store.clone(),
            routes: routes.shared(),
            gateway: routes.gateway(),
            certificate,
            own: Own::new("demo", "waypoint"),
            limits: Arc::new(Limits {
                request_header: Duration::from_millis(500),
                connect: Duration::from_secs(2),
                handshake: Duration::from_secs(3),
                client_silence: Duration::from_secs(1),
                client_idle: Duration::from_secs(2),
                client_stall: Duration::from_secs(2),
                client_handshakes: 4,
                client_body_silence: Duration::from_millis(700),
                ..Limits::default()
            }),
            tunnels: TunnelConfig::default(),
            resolver: Resolver::new(Servers::new(Vec::new())),
        };
        let (trigger, drain) = drain::channel();
        let cores = DataCores::start(2)?;
        let spread = Arc::new(cores.serve(&Arc::new(world), &drain));
        let ready = Ready::new();
        let ports = Ports::new(ip(1), Arc::clone(&spread), ready.clone());
        let opening = ready.task("listeners");
        tokio::task::spawn_local(ports.run(routes.gateway(), drain.clone(), opening));
        tokio::task::spawn_local(accept(TcpListener::bind(WAYPOINT).await?, drain, spread));
        let mesh = Self {
            secrets,
            store,
            routes: routes.into(),
            trigger,
            ready,
            cores,
            _root: dir,
        };
        mesh.put(type_url::ADDRESS, &resources::waypoint())?;
        Ok(mesh)
    }

    /// The identity of a service account of the namespace `demo`.
    pub(crate) async fn identity(&self, service_account: &str) -> Result<Arc<Identity>> {
        Ok(self
            .secrets
            .watch(&id(service_account)?)
            .ready(PATIENCE)
            .await?)
    }

    /// Tells the waypoint of a resource.
    pub(crate) fn put(&self, type_url: &str, resource: &(String, impl Message)) -> Result<()> {
        let (name, message) = resource;
        let body = message.encode_to_vec();
        if RouteStore::takes(type_url) {
            let mut routes = self.routes.borrow_mut();
            routes.set(type_url, name, &body)?;
            routes.publish();
            return Ok(());
        }
        let resource = Resource {
            name: name.as_str().into(),
            version: "1".into(),
            body: body.into(),
        };
        let update = Update {
            resources: vec![resource],
            ..Update::default()
        };
        let rejected = self.store.clone().apply(type_url, update);
        ensure!(rejected.is_empty(), "rejected: {rejected:?}");
        Ok(())
    }

    /// Tells the waypoint that a resource is gone.
    pub(crate) fn remove(&self, type_url: &str, name: &str) {
        if RouteStore::takes(type_url) {
            let mut routes = self.routes.borrow_mut();
            routes.remove(type_url, name);
            return routes.publish();
        }
        let update = Update {
            removed: vec![name.into()],
            ..Update::default()
        };
        self.store.clone().apply(type_url, update);
    }

    /// A service `NAME` with a virtual address, behind the waypoint, and its port 80.
    pub(crate) fn service(&self, name: &str, vip: &str) -> Result<()> {
        self.put(
            type_url::ADDRESS,
            &resources::service(name, vip, resources::AppProtocol::Unknown),
        )
    }

    /// Starts the drain.
    pub(crate) fn drain(&self) {
        self.trigger.start();
    }

    /// Waits until everything of the waypoint has ended.
    pub(crate) async fn drained(&self) -> Result<()> {
        Ok(tokio::time::timeout(PATIENCE, self.trigger.finished()).await?)
    }
}

async fn accept(listener: TcpListener, drain: Drain, spread: Arc<Spread>) {
    culvert_runtime::accept::run(listener, drain, |tcp, _| spread.hand(tcp)).await;
}

/// The name of a service account of the namespace `demo`.
pub(crate) fn id(service_account: &str) -> Result<SpiffeId> {
    Ok(SpiffeId::new(
        &TrustDomain::new("cluster.local")?,
        "demo",
        service_account,
    )?)
}

/// An address of the test's network.
pub(crate) fn ip(last: u8) -> IpAddr {
    IpAddr::from([10, 99, 0, last])
}

/// An address and port of the test's network.
pub(crate) fn at(last: u8, port: u16) -> SocketAddr {
    SocketAddr::new(ip(last), port)
}
