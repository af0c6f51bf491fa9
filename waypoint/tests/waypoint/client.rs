//! Clients: applications whose node proxy reaches the waypoint.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use culvert_hbone::{
    Authority, ConnectError, ConnectHeaders, ConnectRequest, Tunnel, TunnelConfig, TunnelStream,
};
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::task::spawn_local;

use crate::backend::{Body, Local};
use crate::mesh::{Mesh, PATIENCE, WAYPOINT, at, id};

/// A client's tunnel to the waypoint.
pub(crate) struct Client(Tunnel);

/// A response with its whole body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

/// An HTTP connection through the waypoint.
pub(crate) enum Http {
    One(hyper::client::conn::http1::SendRequest<Body>),
    Two(hyper::client::conn::http2::SendRequest<Body>),
}

impl Client {
    /// A client of the service account, at 10.99.0.2.
    pub(crate) async fn new(mesh: &Mesh, service_account: &str) -> Result<Self> {
        let identity = mesh.identity(service_account).await?;
        let socket = TcpSocket::new_v4()?;
        socket.bind(at(2, 0))?;
        let tcp = socket.connect(WAYPOINT.parse::<SocketAddr>()?).await?;
        let config = TunnelConfig::default();
        let tunnel =
            culvert_hbone::client::handshake(tcp, &identity.client, &[id("waypoint")?], &config)
                .await?;
        Ok(Self(tunnel))
    }

    /// A connection to `authority`.
    pub(crate) async fn connect(&self, authority: &str) -> Result<TunnelStream, ConnectError> {
        let authority =
            Authority::parse(authority).map_err(|error| ConnectError::Tunnel(error.to_string()))?;
        let headers = ConnectHeaders::default();
        Ok(self
            .0
            .connect(ConnectRequest {
                authority,
                headers,
                ahead: bytes::Bytes::new(),
            })
            .await?
            .0)
    }

    /// An HTTP/1.1 connection to `authority`.
    pub(crate) async fn http1(&self, authority: &str) -> Result<Http> {
        Http::one(self.connect(authority).await?).await
    }

    /// An HTTP/2 connection to `authority`.
    pub(crate) async fn http2(&self, authority: &str) -> Result<Http> {
        Http::two(self.connect(authority).await?).await
    }

    /// Writes bytes to `authority`, and reads until the other side ends.
    pub(crate) async fn raw(&self, authority: &str, bytes: &[u8]) -> Result<String> {
        let mut stream = self.connect(authority).await?;
        stream.write_all(bytes).await?;
        let mut all = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut all))
            .await
            .context("no end came")??;
        Ok(String::from_utf8_lossy(&all).into_owned())
    }
}

impl Http {
    /// HTTP/1.1 over a stream.
    pub(crate) async fn one<S>(stream: S) -> Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let io = TokioIo::new(stream);
        let (sender, connection) = hyper::client::conn::http1::handshake(io).await?;
        spawn_local(async move { drop(connection.await) });
        Ok(Self::One(sender))
    }

    /// HTTP/2 over a stream.
    pub(crate) async fn two<S>(stream: S) -> Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let io = TokioIo::new(stream);
        let (sender, connection) = hyper::client::conn::http2::handshake(Local, io).await?;
        spawn_local(async move { drop(connection.await) });
        Ok(Self::Two(sender))
    }

    /// Sends a request; the host and the form of the target follow from the protocol.
    pub(crate) async fn send(&mut self, mut request: Request<Body>) -> Result<Response<Incoming>> {
        match self {
            Self::One(sender) => {
                if !request.headers().contains_key("host") {
                    request.headers_mut().insert("host", "web.demo".parse()?);
                }
                sender.ready().await?;
                Ok(sender.send_request(request).await?)
            }
            Self::Two(sender) => {
                let host = request.headers_mut().remove("host");
                let host = host.map_or("web.demo".to_owned(), |host| {
                    host.to_str().unwrap_or_default().to_owned()
                });
                let path = request
                    .uri()
                    .path_and_query()
                    .context("no path")?
                    .to_string();
                *request.uri_mut() = format!("http://{host}{path}").parse()?;
                *request.version_mut() = Version::HTTP_2;
                Ok(sender.send_request(request).await?)
            }
        }
    }

    /// Sends a request and reads its whole answer.
    pub(crate) async fn fetch(&mut self, request: Request<Body>) -> Result<Answer> {
        let response = tokio::time::timeout(PATIENCE, self.send(request))
            .await
            .context("no response")??;
        let (head, body) = response.into_parts();
        let body = tokio::time::timeout(PATIENCE, body.collect())
            .await
            .context("no end of the body")??;
        let trailers = body.trailers().cloned();
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body: body.to_bytes(),
            trailers,
        })
    }

    /// GETs a path.
    pub(crate) async fn get(&mut self, path: &str) -> Result<Answer> {
        self.fetch(get(path)).await
    }
}

/// A GET.
pub(crate) fn get(path: &str) -> Request<Body> {
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let mut request = Request::new(body);
    *request.uri_mut() = path.parse().unwrap();
    request
}

/// A POST with a body.
pub(crate) fn post(path: &str, body: Body) -> Request<Body> {
    let mut request = Request::new(body);
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = path.parse().unwrap();
    request
}

impl Answer {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap_or("not UTF-8")
    }
}
