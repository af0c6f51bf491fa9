//! A mesh in miniature: identities, TCP pairs, servers and tunnels, on one thread as in a data core.

use culvert_hbone::server::{self, Incoming};
use culvert_hbone::{
    Authority, ConnectHeaders, ConnectRequest, ResponseHeaders, ServerError, Tunnel, TunnelConfig,
    TunnelStream, client, copy,
};
use culvert_identity::ca::Root;
use culvert_identity::{
    CertHandle, Identity, LocalSource, SecretManager, SecretOptions, SpiffeId, TrustDomain, bundle,
};
use culvert_runtime::drain::{self, Drain, Trigger};
use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, LocalSet, spawn_local};

pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Runs a test as a data core would.
pub(crate) fn on_core<F: Future>(test: impl FnOnce() -> F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(SOON, test())
            .await
            .expect("the test hangs")
    })
}

/// A connected pair of sockets.
pub(crate) fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    let one = StdStream::connect(listener.local_addr().unwrap()).unwrap();
    let two = listener.accept().unwrap().0;
    (tokio_stream(one), tokio_stream(two))
}

fn tokio_stream(stream: StdStream) -> TcpStream {
    stream.set_nonblocking(true).unwrap();
    stream.set_nodelay(true).unwrap();
    TcpStream::from_std(stream).unwrap()
}

pub(crate) fn dial(addr: SocketAddr) -> io::Result<TcpStream> {
    StdStream::connect(addr).map(tokio_stream)
}

pub(crate) fn spiffe(name: &str) -> SpiffeId {
    format!("spiffe://cluster.local/ns/shop/sa/{name}")
        .parse()
        .unwrap()
}

/// An authority and the identities that it gave.
pub(crate) struct Mesh {
    _dir: TempDir,
    manager: SecretManager,
    handles: RefCell<Vec<CertHandle>>,
}

impl Mesh {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root =
            Root::load_or_create(dir.path(), TrustDomain::new("cluster.local").unwrap()).unwrap();
        let source = Arc::new(LocalSource::new(root, Duration::from_secs(3600)));
        let manager = SecretManager::new(source, bundle::channel().1, SecretOptions::default());
        Self {
            _dir: dir,
            manager,
            handles: RefCell::default(),
        }
    }

    pub(crate) async fn identity(&self, name: &str) -> Arc<Identity> {
        let handle = self.manager.watch(&spiffe(name));
        let identity = handle.ready(SOON).await.unwrap();
        self.handles.borrow_mut().push(handle);
        identity
    }

    /// The same name, issued again: a later generation.
    pub(crate) async fn reissued(&self, name: &str) -> Arc<Identity> {
        self.handles
            .borrow_mut()
            .retain(|handle| handle.id() != &spiffe(name));
        self.identity(name).await
    }
}

/// A server that answers each CONNECT by a function.
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    pub(crate) drain: Trigger,
    /// How each connection ended.
    pub(crate) ended: mpsc::UnboundedReceiver<Result<(), ServerError>>,
    /// Connections so far.
    pub(crate) connections: Rc<RefCell<usize>>,
    accepting: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

pub(crate) fn serve(
    identity: &Arc<Identity>,
    config: TunnelConfig,
    on: impl Fn(Incoming) + 'static,
) -> Server {
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let addr = listener.local_addr().unwrap();
    let listener = TcpListener::from_std(listener).unwrap();
    let (trigger, drain) = drain::channel();
    let (tx, ended) = mpsc::unbounded_channel();
    let connections = Rc::new(RefCell::new(0));
    let (on, identity, count) = (Rc::new(on), Arc::clone(identity), Rc::clone(&connections));
    let accepting = spawn_local(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            *count.borrow_mut() += 1;
            let (on, identity, config, drain, tx) = (
                Rc::clone(&on),
                Arc::clone(&identity),
                config.clone(),
                drain.clone(),
                tx.clone(),
            );
            spawn_local(async move {
                let result = server::serve(tcp, &identity.server, &config, &drain, |incoming| {
                    on(incoming)
                })
                .await;
                let _ = tx.send(result);
            });
        }
    });
    Server {
        addr,
        drain: trigger,
        ended,
        connections,
        accepting,
    }
}

/// Echoes every stream.
pub(crate) fn echo(incoming: Incoming) {
    spawn_local(async move {
        let stream = incoming.accept(&ResponseHeaders::default()).unwrap();
        let (mut read, mut write) = tokio::io::split(stream);
        let _ = tokio::io::copy(&mut read, &mut write).await;
        let _ = tokio::io::AsyncWriteExt::shutdown(&mut write).await;
    });
}

pub(crate) fn request(authority: &str) -> ConnectRequest {
    ConnectRequest {
        authority: Authority::parse(authority).unwrap(),
        headers: ConnectHeaders::default(),
        ahead: bytes::Bytes::new(),
    }
}

pub(crate) async fn tunnel(server: &Server, identity: &Identity, config: &TunnelConfig) -> Tunnel {
    let tcp = dial(server.addr).unwrap();
    client::handshake(tcp, &identity.client, &[spiffe("server")], config)
        .await
        .unwrap()
}

pub(crate) fn no_drain() -> (Trigger, Drain) {
    drain::channel()
}

/// The two applications at the ends of a tunnel, and the outcomes of both copies.
pub(crate) struct EndToEnd {
    pub(crate) client: TcpStream,
    pub(crate) server: TcpStream,
    pub(crate) client_copy: JoinHandle<culvert_runtime::copy::Outcome>,
    pub(crate) server_copy: JoinHandle<culvert_runtime::copy::Outcome>,
    pub(crate) tunnel: Tunnel,
    _server: Server,
}

/// application - copy - tunnel - copy - application
pub(crate) async fn end_to_end(config: TunnelConfig, idle: Option<Duration>) -> EndToEnd {
    let mesh = Mesh::new();
    let (accepted_tx, mut accepted) = mpsc::unbounded_channel::<TunnelStream>();
    let server = serve(
        &mesh.identity("server").await,
        config.clone(),
        move |incoming| {
            accepted_tx
                .send(incoming.accept(&ResponseHeaders::default()).unwrap())
                .unwrap();
        },
    );
    let tunnel = tunnel(&server, &*mesh.identity("client").await, &config).await;
    let (stream, _) = tunnel.connect(request("10.0.0.1:80")).await.unwrap();
    let at_server = accepted.recv().await.unwrap();
    let ((client, client_inner), (server_app, server_inner)) = (tcp_pair(), tcp_pair());
    EndToEnd {
        client,
        server: server_app,
        client_copy: spawn_local(copy::bidirectional(client_inner, stream, idle)),
        server_copy: spawn_local(copy::bidirectional(server_inner, at_server, idle)),
        tunnel,
        _server: server,
    }
}
