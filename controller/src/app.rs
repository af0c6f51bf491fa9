//! Puts the parts together: reads, then serves, then drains.

mod kubernetes;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use culvert_identity::TrustDomain;
use culvert_identity::ca::{Root, ServerNames};
use culvert_identity::server_tls::Acceptor;
use culvert_identity::token::{TokenError, TokenKey};
use culvert_runtime::drain::Drain;
use culvert_runtime::net::{ListenOptions, listen};
use culvert_runtime::ready::Ready;
use culvert_runtime::task;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use crate::admin;
use crate::config::{Dirs, Kind, Serve, Token};
use crate::engine::{Engine, Event};
use crate::model::{NsName, Object};
use crate::serve::{self, Authenticator, Context};
use crate::source::dir::{Dir, DirError, Watched};
use crate::source::{Batch, Change, Rejection, Source};
use crate::status::{Journal, Memory, MemoryError, Writer};
use crate::world::World;

/// Events that wait for the engine.
const EVENTS: usize = 1024;
/// How long streams may take to end.
const DRAIN: Duration = Duration::from_secs(10);

/// Why the controller does not start.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each says what it wraps")]
pub enum AppError {
    #[error(transparent)]
    Dir(#[from] DirError),
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error("certificate authority: {0}")]
    Root(#[from] culvert_identity::ca::RootError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("trust domain: {0}")]
    TrustDomain(#[from] culvert_identity::SpiffeError),
    #[error("listening on {address}: {source}")]
    Listen {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error(
        "{file}:{line}: {object}: {field}: {message}; without it the mesh's names are not known"
    )]
    MeshConfig {
        file: String,
        line: u32,
        object: String,
        field: String,
        message: String,
    },
    #[error("{path}: {source}")]
    State {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{0:?} is no name of a waypoint: NAMESPACE/NAME")]
    WaypointName(String),
    #[error(transparent)]
    Connect(#[from] culvert_kube::ConnectError),
    #[error("certificate authority: {0}")]
    Authority(#[from] crate::authority::AuthorityError),
    #[error(transparent)]
    Ledger(#[from] crate::status::kube::LedgerError),
    #[error(transparent)]
    Hosts(#[from] crate::status::kube::HostsError),
    #[error("making the first configuration: {0}")]
    Engine(String),
}

/// A controller that has read its objects and listens.
#[derive(Debug)]
pub struct App {
    /// Where it serves.
    pub addresses: Vec<SocketAddr>,
    /// Where its admin endpoint is.
    pub admin: SocketAddr,
    /// What presents our own certificate.
    acceptor: Arc<Acceptor>,
    servers: Vec<tokio::task::JoinHandle<()>>,
    /// What has something to write at the end.
    last: Vec<tokio::task::JoinHandle<()>>,
}

/// What differs between a standalone mesh and Kubernetes, for those who are served.
struct Served {
    authenticator: Authenticator,
    root: watch::Receiver<Arc<Root>>,
    captures: Option<crate::status::kube::Captures>,
    catch_up: Option<crate::source::kube::CatchUp>,
    /// Addresses of our own that are not those that we listen on.
    ips: Vec<IpAddr>,
}

impl App {
    /// Read the objects, then serve until the drain.
    pub fn start(config: &Serve, dirs: &Dirs, drain: &Drain) -> Result<Self, AppError> {
        let Dirs { state, status, .. } = dirs;
        make_private(state)?;
        let path = Writer::memory(status);
        let memory = Memory::load(&path)?;
        let world = memory.recall();
        let (source, batch) = Watched::open(&dirs.config, state)?;
        check_mesh_config(&batch)?;
        let mut engine = Engine::new(world, batch);
        engine.set_journal(Journal::new(path, memory));
        let root = Root::load_or_create(state, TrustDomain::new(engine.trust_domain())?)?;
        engine.set_roots(root.roots_pem()?);
        let (events, inbox) = mpsc::channel(EVENTS);
        let served = Served {
            authenticator: Authenticator::JoinTokens(TokenKey::load_or_create(state)?),
            root: watch::channel(Arc::new(root)).1,
            captures: None,
            // It reads its one source whole before it serves.
            catch_up: None,
            ips: Vec::new(),
        };
        let writer = Writer::new(status).run(events.clone(), engine.events(), drain.clone());
        let ready = Ready::new();
        let mut app = Self::serve(
            config,
            served,
            engine,
            (events.clone(), inbox),
            ready,
            drain,
        )?;
        follow(source, &events, drain);
        app.last.push(task::spawn("status_writer", writer));
        tracing::info!(dir = %dirs.config.display(), "watching");
        Ok(app)
    }

    /// Listen, and let the engine run.
    fn serve(
        config: &Serve,
        served: Served,
        engine: Engine,
        (events, inbox): (mpsc::Sender<Event>, mpsc::Receiver<Event>),
        ready: Ready,
        drain: &Drain,
    ) -> Result<Self, AppError> {
        let context = Context {
            authenticator: Arc::new(served.authenticator),
            snapshots: engine.snapshots(),
            events: events.clone(),
            captures: served.captures,
            catch_up: served.catch_up,
            root: served.root,
            drain: drain.clone(),
        };
        let listeners = config
            .listen
            .iter()
            .map(|address| bind(*address))
            .collect::<Result<Vec<_>, _>>()?;
        let addresses: Vec<_> = listeners
            .iter()
            .filter_map(|l| l.local_addr().ok())
            .collect();
        let admin = admin::serve(config.admin, ready, events.clone()).map_err(|source| {
            AppError::Listen {
                address: config.admin,
                source,
            }
        })?;
        let names = names(&addresses, &served.ips);
        let acceptor = Arc::new(Acceptor::new((**context.root.borrow()).clone(), names)?);
        task::spawn("engine", engine.run(inbox));
        let server = |listener| {
            task::spawn(
                "controller_server",
                serve::run(listener, acceptor.clone(), context.clone()),
            )
        };
        let servers = listeners.into_iter().map(server).collect();
        tracing::info!(?addresses, %admin, "serving");
        Ok(Self {
            addresses,
            admin,
            acceptor,
            servers,
            last: Vec::new(),
        })
    }

    /// Wait until the drain has started and all streams have ended, or a while has passed.
    pub async fn finished(self) {
        let all = async {
            for server in self.servers {
                // A server that panicked has ended too.
                let _ = server.await;
            }
            for writer in self.last {
                let _ = writer.await;
            }
        };
        if tokio::time::timeout(DRAIN, all).await.is_err() {
            tracing::warn!("streams are still open after {DRAIN:?}");
        }
    }
}

pub(crate) fn follow(source: impl Source, events: &mpsc::Sender<Event>, drain: &Drain) {
    let (batches, mut inbox) = mpsc::channel(1);
    task::spawn("source", source.run(batches, drain.clone()));
    let events = events.clone();
    task::spawn("source_events", async move {
        while let Some(batch) = inbox.recv().await {
            if events.send(Event::Batch(batch)).await.is_err() {
                return;
            }
        }
    });
}

fn bind(address: SocketAddr) -> Result<TcpListener, AppError> {
    let listener = listen(address, &ListenOptions::default()).and_then(TcpListener::from_std);
    listener.map_err(|source| AppError::Listen { address, source })
}

/// What the controller's certificate says: as Istio's clients and those of a Service know it, and where it listens.
fn names(addresses: &[SocketAddr], own: &[IpAddr]) -> ServerNames {
    let dns = [
        "culvert-controller.culvert-system.svc",
        "istiod.istio-system.svc",
        "localhost",
    ];
    let loopback = [
        IpAddr::from([127, 0, 0, 1]),
        IpAddr::from(std::net::Ipv6Addr::LOCALHOST),
    ];
    let listening = addresses
        .iter()
        .map(SocketAddr::ip)
        .filter(|ip| !ip.is_unspecified());
    let own = own.iter().copied();
    let ips: BTreeSet<IpAddr> = loopback.into_iter().chain(listening).chain(own).collect();
    ServerNames {
        dns: dns.map(str::to_owned).into(),
        ips: ips.into_iter().collect(),
    }
}

/// Names that are given out stay. They do not begin with defaults because of a mistake in what should have set them.
fn check_mesh_config(batch: &Batch) -> Result<(), AppError> {
    let is_config = |change: &Change| matches!(change, Change::Put(Object::MeshConfig(_), _));
    let wrong = batch
        .rejections
        .iter()
        .find(|r| r.object.starts_with("MeshConfig"));
    match wrong {
        Some(rejection) if !batch.changes.iter().any(is_config) => {
            let Rejection {
                file,
                line,
                object,
                field,
                message,
                ..
            } = rejection.clone();
            let file = file
                .map(|file| file.display().to_string())
                .unwrap_or_default();
            Err(AppError::MeshConfig {
                file,
                line,
                object,
                field,
                message,
            })
        }
        _ => Ok(()),
    }
}

/// Keys are for nobody else's eyes.
fn make_private(dir: &Path) -> Result<(), AppError> {
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir);
    made.map_err(|source| AppError::State {
        path: dir.into(),
        source,
    })
}

/// The join token of a node or waypoint. Makes the mesh's keys if there are none yet.
pub fn token(token: &Token, dirs: &Dirs) -> Result<String, AppError> {
    if token.kind == Kind::Waypoint && NsName::parse(&token.name).is_none() {
        return Err(AppError::WaypointName(token.name.clone()));
    }
    let Dirs { config, state, .. } = dirs;
    let trust_domain = trust_domain(config, state)?;
    make_private(state)?;
    let root = Root::load_or_create(state, trust_domain)?;
    let key = TokenKey::load_or_create(state)?;
    Ok(key.mint(token.kind.into(), &token.name, &root.root_hash()?)?)
}

/// As the MeshConfig says, before any controller has run.
fn trust_domain(config: &Path, state: &Path) -> Result<TrustDomain, AppError> {
    let (_, batch) = Dir::read(config, state)?;
    check_mesh_config(&batch)?;
    let mut world = World::default();
    for change in batch.changes {
        if let Change::Put(object @ Object::MeshConfig(_), _) = change {
            world.put(&object);
        }
    }
    Ok(TrustDomain::new(world.settings.trust_domain())?)
}
