//! Clients outside the mesh, at a gateway's listeners.

use std::io;
use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use boring::ssl::{SslConnector, SslMethod, SslVerifyMode};
use http::Request;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio_boring::SslStream;

use crate::backend::Body;
use crate::client::{Http, get};
use crate::mesh::{PATIENCE, at};

/// A connection from 10.99.0.2 to a port of the gateway, as soon as it is open.
pub(crate) async fn tcp(port: u16) -> Result<TcpStream> {
    let connecting = async {
        loop {
            match tcp_once(port).await {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    tokio::task::yield_now().await;
                }
                other => return other,
            }
        }
    };
    Ok(tokio::time::timeout(PATIENCE, connecting)
        .await
        .context("the port does not open")??)
}

/// The same for a port that may be closed.
pub(crate) async fn tcp_once(port: u16) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(at(2, 0))?;
    socket.connect(at(1, port)).await
}

/// HTTP/1.1 in plain text.
pub(crate) async fn http1(port: u16) -> Result<Http> {
    Http::one(tcp(port).await?).await
}

/// HTTP/2 in plain text.
pub(crate) async fn http2(port: u16) -> Result<Http> {
    Http::two(tcp(port).await?).await
}

/// TLS with this server name, if any, that offers these protocols (in ALPN's form). Any certificate will do.
pub(crate) async fn tls(port: u16, name: &str, alpn: &[u8]) -> Result<SslStream<TcpStream>> {
    handshake(tcp(port).await?, name, alpn).await
}

/// The same over a stream.
pub(crate) async fn handshake<S>(stream: S, name: &str, alpn: &[u8]) -> Result<SslStream<S>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + std::fmt::Debug,
{
    let mut builder = SslConnector::builder(SslMethod::tls())?;
    builder.set_verify(SslVerifyMode::NONE);
    if !alpn.is_empty() {
        builder.set_alpn_protos(alpn)?;
    }
    let configure = builder.build().configure()?;
    let configure = configure
        .verify_hostname(false)
        .use_server_name_indication(!name.is_empty());
    let name = if name.is_empty() { "none" } else { name };
    let connecting = tokio_boring::connect(configure, name, stream);
    let connected = tokio::time::timeout(PATIENCE, connecting)
        .await
        .context("no end of the handshake")?;
    connected.map_err(|error| anyhow::anyhow!("{error}"))
}

/// HTTPS with HTTP/2.
pub(crate) async fn https(port: u16, name: &str) -> Result<Http> {
    let stream = tls(port, name, b"\x02h2\x08http/1.1").await?;
    anyhow::ensure!(stream.ssl().selected_alpn_protocol() == Some(&b"h2"[..]));
    Http::two(stream).await
}

/// The certificate that a server has shown, in PEM.
pub(crate) fn shown<S>(stream: &SslStream<S>) -> Result<String> {
    let certificate = stream.ssl().peer_certificate().context("no certificate")?;
    Ok(String::from_utf8(certificate.to_pem()?)?)
}

/// A GET of a host.
pub(crate) fn of(host: &str, path: &str) -> Request<Body> {
    let mut request = get(path);
    request.headers_mut().insert("host", host.parse().unwrap());
    request
}

/// How a connection ends when nothing more is said: in order, or by a reset.
pub(crate) async fn end(stream: &mut TcpStream) -> Result<io::Result<Vec<u8>>> {
    let mut all = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut all)).await;
    Ok(read.context("no end comes")?.map(|_| all))
}

/// Where the gateway is.
pub(crate) fn address(port: u16) -> SocketAddr {
    at(1, port)
}
