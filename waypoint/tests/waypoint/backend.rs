//! Backends: pods behind their own node proxy, or outside the mesh in plain text.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use anyhow::Result;
use bytes::Bytes;
use culvert_hbone::{Authority, ResponseHeaders, TunnelConfig};
use culvert_proto::type_url;
use culvert_runtime::drain;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::spawn_local;

use crate::mesh::{Mesh, at, ip};
use crate::resources::Pod;
use crate::tls_server::Server;

/// Anything that a body can fail with.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;
/// A body of a backend.
pub(crate) type Body = UnsyncBoxBody<Bytes, BodyError>;
type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, BodyError>>>>;

/// A running backend and what it has seen.
pub(crate) struct Backend {
    pub(crate) pod: Pod,
    /// Requests that arrived.
    pub(crate) requests: Rc<Cell<usize>>,
    /// Connections of applications that arrived.
    pub(crate) connections: Rc<Cell<usize>>,
    /// Where CONNECTs wanted to go.
    pub(crate) authorities: Rc<RefCell<Vec<Authority>>>,
}

/// What HTTP a backend speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    Http1,
    Http2,
    /// Whichever the client speaks.
    Both,
}

/// A body of this text.
pub(crate) fn text(text: impl Into<Bytes>) -> Body {
    Full::new(text.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// A response with this status and text.
pub(crate) fn response(status: u16, body: impl Into<Bytes>) -> Result<Response<Body>, BodyError> {
    Ok(Response::builder().status(status).body(text(body))?)
}

impl Backend {
    /// A pod of the service with HBONE, that answers with its own name.
    pub(crate) async fn named(mesh: &Mesh, name: &str, service: &str, last: u8) -> Result<Self> {
        let own = name.to_owned();
        Self::start(mesh, name, service, last, Speaks::Both, move |_| {
            let own = own.clone();
            async move { response(200, own) }
        })
        .await
    }

    /// A pod of the service with HBONE.
    pub(crate) async fn start<F>(
        mesh: &Mesh,
        name: &str,
        service: &str,
        last: u8,
        speaks: Speaks,
        answer: impl Fn(Request<Incoming>) -> F + 'static,
    ) -> Result<Self>
    where
        F: Future<Output = Result<Response<Body>, BodyError>> + 'static,
    {
        let backend = Self::new(name, service, last, true);
        let identity = mesh.identity("backend").await?;
        let answer = backend.counted(answer);
        let connections = Rc::clone(&backend.connections);
        backend
            .serve_tunnels(identity, move |stream| {
                connections.set(connections.get() + 1);
                serve_http(stream, speaks, Rc::clone(&answer))
            })
            .await?;
        mesh.put(type_url::ADDRESS, &backend.pod.resource())?;
        Ok(backend)
    }

    /// A pod of the service outside the mesh, at port 8080 in plain text.
    pub(crate) async fn plain<F>(
        mesh: &Mesh,
        name: &str,
        service: &str,
        last: u8,
        answer: impl Fn(Request<Incoming>) -> F + 'static,
    ) -> Result<Self>
    where
        F: Future<Output = Result<Response<Body>, BodyError>> + 'static,
    {
        let backend = Self::new(name, service, last, false);
        let answer = backend.counted(answer);
        let listener = TcpListener::bind(at(last, 8080)).await?;
        let connections = Rc::clone(&backend.connections);
        spawn_local(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                connections.set(connections.get() + 1);
                spawn_local(serve_http(tcp, Speaks::Http1, Rc::clone(&answer)));
            }
        });
        mesh.put(type_url::ADDRESS, &backend.pod.resource())?;
        Ok(backend)
    }

    /// A pod of the service whose application speaks TLS, and HTTP in it, and answers with its own name. With HBONE, or
    /// at port 8080 of its own.
    pub(crate) async fn secured(
        mesh: &Mesh,
        name: &str,
        (service, last): (&str, u8),
        hbone: bool,
        server: &Server,
    ) -> Result<Self> {
        let backend = Self::new(name, service, last, hbone);
        let own = name.to_owned();
        let answer = backend.counted(move |_| {
            let own = own.clone();
            async move { response(200, own) }
        });
        if hbone {
            let identity = mesh.identity("backend").await?;
            let (server, connections) = (server.clone(), Rc::clone(&backend.connections));
            backend
                .serve_tunnels(identity, move |stream| {
                    connections.set(connections.get() + 1);
                    serve_https(stream, server.clone(), Rc::clone(&answer))
                })
                .await?;
        } else {
            let listener = TcpListener::bind(at(last, 8080)).await?;
            let (server, connections) = (server.clone(), Rc::clone(&backend.connections));
            spawn_local(async move {
                while let Ok((tcp, _)) = listener.accept().await {
                    connections.set(connections.get() + 1);
                    spawn_local(serve_https(tcp, server.clone(), Rc::clone(&answer)));
                }
            });
        }
        mesh.put(type_url::ADDRESS, &backend.pod.resource())?;
        Ok(backend)
    }

    /// A pod of the service with HBONE whose application is no HTTP server: it gets the stream itself.
    pub(crate) async fn bytes<F>(
        mesh: &Mesh,
        name: &str,
        service: &str,
        last: u8,
        application: impl Fn(culvert_hbone::TunnelStream) -> F + 'static,
    ) -> Result<Self>
    where
        F: Future<Output = ()> + 'static,
    {
        let backend = Self::new(name, service, last, true);
        let identity = mesh.identity("backend").await?;
        let connections = Rc::clone(&backend.connections);
        backend
            .serve_tunnels(identity, move |stream| {
                connections.set(connections.get() + 1);
                application(stream)
            })
            .await?;
        mesh.put(type_url::ADDRESS, &backend.pod.resource())?;
        Ok(backend)
    }

    fn new(name: &str, service: &str, last: u8, hbone: bool) -> Self {
        let pod = Pod {
            name: name.into(),
            ip: ip(last),
            service: service.into(),
            hbone,
            policies: Vec::new(),
        };
        Self {
            pod,
            requests: Rc::default(),
            connections: Rc::default(),
            authorities: Rc::default(),
        }
    }

    fn counted<F>(
        &self,
        answer: impl Fn(Request<Incoming>) -> F + 'static,
    ) -> Rc<dyn Fn(Request<Incoming>) -> Answer>
    where
        F: Future<Output = Result<Response<Body>, BodyError>> + 'static,
    {
        let requests = Rc::clone(&self.requests);
        Rc::new(move |request| {
            requests.set(requests.get() + 1);
            Box::pin(answer(request))
        })
    }

    async fn serve_tunnels<F>(
        &self,
        identity: std::sync::Arc<culvert_identity::Identity>,
        serve: impl Fn(culvert_hbone::TunnelStream) -> F + 'static,
    ) -> Result<()>
    where
        F: Future<Output = ()> + 'static,
    {
        let listener = TcpListener::bind((self.pod.ip, 15008)).await?;
        let authorities = Rc::clone(&self.authorities);
        let serve = Rc::new(serve);
        spawn_local(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (identity, authorities, serve) =
                    (identity.clone(), Rc::clone(&authorities), Rc::clone(&serve));
                spawn_local(async move {
                    let (_trigger, drain) = drain::channel();
                    let on = |incoming: culvert_hbone::Incoming| {
                        assert_eq!(incoming.peer.service_account(), "waypoint");
                        authorities.borrow_mut().push(incoming.authority.clone());
                        if let Ok(stream) = incoming.accept(&ResponseHeaders::default()) {
                            spawn_local(serve(stream));
                        }
                    };
                    let config = TunnelConfig::default();
                    drop(
                        culvert_hbone::server::serve(tcp, &identity.server, &config, &drain, on)
                            .await,
                    );
                });
            }
        });
        Ok(())
    }
}

async fn serve_https<S>(stream: S, server: Server, answer: Rc<dyn Fn(Request<Incoming>) -> Answer>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    if let Some(stream) = server.accept(stream).await {
        serve_http(stream, Speaks::Both, answer).await;
    }
}

async fn serve_http<S>(
    mut stream: S,
    speaks: Speaks,
    answer: Rc<dyn Fn(Request<Incoming>) -> Answer>,
) where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let mut first = [0; 3];
    if stream.read_exact(&mut first).await.is_err() {
        return;
    }
    let http2 = match speaks {
        Speaks::Http1 => false,
        Speaks::Http2 => true,
        Speaks::Both => first == *b"PRI",
    };
    let (reader, writer) = tokio::io::split(stream);
    let io = TokioIo::new(tokio::io::join(
        std::io::Cursor::new(first).chain(reader),
        writer,
    ));
    let service = service_fn(move |request| answer(request));
    let served = if http2 {
        hyper::server::conn::http2::Builder::new(Local)
            .serve_connection(io, service)
            .await
    } else {
        hyper::server::conn::http1::Builder::new()
            .serve_connection(io, service)
            .await
    };
    drop(served);
}

/// Spawns HTTP/2's tasks on the test's thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        spawn_local(async move { drop(future.await) });
    }
}
