//! The running agent: its parts and the order in which they start.
//!
//! Invariant: nothing is captured, offered or audited before this agent owns the run directory; when it
//! ends, the rules stay.

use std::fs::DirBuilder;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use culvert_enrolment::SYSTEM_NAMESPACE;
use culvert_identity::controller::{self, Access, AccessError, Controller, ControllerError};
use culvert_identity::token::TokenKind;
use culvert_proto::type_url;
use culvert_runtime::admin::{Admin, Response};
use culvert_runtime::drain::{self, Drain};
use culvert_runtime::ready::Ready;
use culvert_runtime::{build, signal, task};
use culvert_xds::Handler;
use culvert_zds::Server;
use http::Method;
use tokio::sync::mpsc;

use crate::capture::command::ToolError;
use crate::capture::tools::{Choice, Tools};
use crate::cni::directory::DirectoryError;
use crate::cni::install::{CONTENDED, Plugin};
use crate::config::{Command, Config};
use crate::kubernetes::strict::StrictPods;
use crate::kubernetes::{self, KubernetesError};
use crate::manager::Manager;
use crate::report;
use crate::source::XdsPods;
use crate::status::Statuses;
use crate::store::{Lock, Store};
use crate::upkeep;
use crate::worker::Context;

/// The socket that ztunnels connect to, in the run directory.
const ZDS_SOCKET: &str = "ztunnel.sock";
const ADMIN_SOCKET: &str = "agent-admin.sock";
/// A ztunnel that has not answered by then is taken for hung.
const ACK_DEADLINE: Duration = Duration::from_secs(10);
/// Between two looks whether another agent has gone.
const LOCK_RETRY: Duration = Duration::from_millis(500);

/// Why the agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// A file or a socket.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The admin interface's address.
    #[error("--admin {addr}: {source}")]
    Admin {
        /// Which.
        addr: SocketAddr,
        /// What went wrong.
        source: io::Error,
    },
    /// The flags that lead to the controller.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The controller cannot be talked to with this token.
    #[error(transparent)]
    Controller(#[from] ControllerError),
    /// Nothing to make rules with.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The Kubernetes API.
    #[error(transparent)]
    Kubernetes(#[from] KubernetesError),
    /// The CNI plugin could not be removed.
    #[error(transparent)]
    Cni(#[from] DirectoryError),
    /// Rules could not be removed.
    #[error("{0}")]
    Cleanup(String),
}

/// Run until SIGTERM or SIGINT.
pub async fn run(config: Config) -> Result<(), AgentError> {
    build::register("agent");
    let (trigger, drain) = drain::channel();
    task::spawn("signal", async move {
        signal::shutdown().await;
        trigger.start();
    });
    let run_dir = config.run_dir.as_path();
    make(run_dir).map_err(file(run_dir))?;
    let env = |name: &str| std::env::var(name).ok();
    let address = controller::address(config.controller.as_deref(), env)?;
    let access = Access {
        token_file: &config.token_file,
        root_file: config.root_file.as_deref(),
    };
    let controller = Controller::new(address, access.auth(TokenKind::Node, &config.node)?)?;

    let ready = Ready::new();
    let (owner, synced) = (ready.task("ownership of the rules"), ready.task("pods"));
    let statuses = Statuses::default();
    admin(&config, &ready, &statuses)?;
    let Some(lock) = own(run_dir, &drain).await? else {
        return Ok(());
    };
    let tools = detect(run_dir, config.rules).await?;
    tracing::info!(rules = tools.name(), ipv6 = tools.ipv6(), "capture backend");
    statuses.made_by(tools.name());
    let store = Store::load(run_dir, lock).map_err(file(run_dir))?;
    if config.kubernetes {
        kubernetes::find_again(&store, &config.proc);
    }
    let cx = Arc::new(Context::new(tools, store, statuses, config.audit_interval));
    let manager = Manager::resume(Arc::clone(&cx), drain.clone());
    task::spawn("node rules", upkeep::run(Arc::clone(&cx), drain.clone()));

    let socket = run_dir.join(ZDS_SOCKET);
    let server = Server::bind(&socket).map_err(file(&socket))?;
    let ztunnels = cx.ztunnels.clone();
    task::spawn("zds", ztunnels.serve(server, ACK_DEADLINE, drain.clone()));
    owner.done();

    let (events, told) = mpsc::unbounded_channel();
    if config.kubernetes {
        let client = kubernetes::connect(&config).await?;
        let parts = kubernetes::Parts {
            config: config.clone(),
            context: Arc::clone(&cx),
            ready: ready.clone(),
        };
        let node = kubernetes::start(parts, client, events, drain.clone()).await?;
        subscribe(
            &config.node,
            address,
            &controller,
            StrictPods::new(node),
            &drain,
        );
    } else {
        subscribe(
            &config.node,
            address,
            &controller,
            XdsPods::new(events),
            &drain,
        );
    }
    let statuses = cx.statuses.clone();
    task::spawn(
        "report",
        report::run(controller, statuses, ready, drain.clone()),
    );
    manager.run(told, synced).await;
    Ok(())
}

/// Have `pods` told what the controller says of this node's pods.
fn subscribe(
    name: &str,
    address: SocketAddr,
    controller: &Controller,
    pods: impl Handler + 'static,
    drain: &Drain,
) {
    let metadata = [("NODE_NAME", name)];
    let local = local_address(address);
    let node = culvert_xds::node("agent", local, name, SYSTEM_NAMESPACE, &metadata);
    let xds = culvert_xds::Client::new(controller.clone(), node, &[type_url::POD], pods);
    task::spawn("xds", xds.run(drain.clone()));
}

/// Undo what the agent of a run directory did: its CNI plugin and its rules.
pub async fn cleanup(command: Command) -> Result<(), AgentError> {
    let Command::Cleanup {
        run_dir,
        proc,
        cni_conf_dir,
        cni_bin_dir,
    } = command;
    let lock = Lock::take(&run_dir).map_err(file(&run_dir))?;
    let running = || AgentError::Cleanup("an agent is running; stop it first".to_owned());
    let store = Store::load(&run_dir, lock.ok_or_else(running)?).map_err(file(&run_dir))?;
    if let Some(conf_dir) = cni_conf_dir {
        Plugin::remove(&conf_dir, cni_bin_dir.as_deref())?;
    }
    kubernetes::find_again(&store, &proc);
    let tools = detect(&run_dir, Choice::Auto).await?;
    let cleaned = tokio::task::spawn_blocking(move || crate::cleanup::all(&tools, &store)).await;
    let failures = cleaned.unwrap_or_else(|error| vec![error.to_string()]);
    if failures.is_empty() {
        return Ok(());
    }
    Err(AgentError::Cleanup(failures.join("\n")))
}

fn make(run_dir: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(run_dir)
}

/// Wait until no other agent owns the run directory; `None` if the drain comes first.
async fn own(run_dir: &Path, drain: &Drain) -> Result<Option<Lock>, AgentError> {
    let mut waiting = false;
    loop {
        if let Some(lock) = Lock::take(run_dir).map_err(file(run_dir))? {
            return Ok(Some(lock));
        }
        if !waiting {
            tracing::info!("another agent owns the rules; waiting for its end");
            waiting = true;
        }
        tokio::select! {
            () = drain.signaled() => return Ok(None),
            () = tokio::time::sleep(LOCK_RETRY) => {}
        }
    }
}

async fn detect(run_dir: &Path, choice: Choice) -> Result<Tools, AgentError> {
    let lock = run_dir.join("xtables.lock");
    let detected = tokio::task::spawn_blocking(move || Tools::detect(choice, &lock)).await;
    let panicked = |error: tokio::task::JoinError| ToolError::Scratch(error.into());
    Ok(detected.map_err(panicked)??)
}

fn admin(config: &Config, ready: &Ready, statuses: &Statuses) -> Result<(), AgentError> {
    let (ready, statuses) = (ready.clone(), statuses.clone());
    let pending = ready.clone();
    let admin = Admin::new()
        .with_metrics()
        .with_logging()
        .route(Method::GET, "/healthz/ready", move |_query| {
            let response = ready.response();
            async { response }
        })
        .route(Method::GET, "/config_dump", move |_query| {
            let (pods, rules) = (statuses.all(), statuses.rules());
            let contended = pending.pending().iter().any(|name| name == CONTENDED);
            let dump = serde_json::json!({
                "rules": rules, "pods": pods, "cniContended": contended,
            });
            async move { Response::json(&dump) }
        });
    let socket = config.run_dir.join(ADMIN_SOCKET);
    admin.serve_unix(&socket).map_err(file(&socket))?;
    if let Some(addr) = config.admin {
        let failed = |source| AgentError::Admin { addr, source };
        admin.serve_tcp(addr).map_err(failed)?;
    }
    Ok(())
}

/// The address that this node reaches the controller from, for people to read.
fn local_address(controller: SocketAddr) -> IpAddr {
    let any: IpAddr = match controller {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let route = || {
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(controller)?;
        socket.local_addr()
    };
    route().map_or(any, |local| local.ip())
}

fn file(path: &Path) -> impl Fn(io::Error) -> AgentError + '_ {
    move |source| AgentError::File {
        path: path.to_owned(),
        source,
    }
}
