//! Asking a proxy's admin endpoint: on a Unix socket or a local address.

use anyhow::{Context, Result, bail};
use http::Request;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::{net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpSocket, UnixStream},
    time::timeout,
};

const DEADLINE: Duration = Duration::from_secs(10);
/// More than the dump of a mesh of 100,000 workloads.
const MAX_BODY: usize = 256 << 20;

/// Where an admin endpoint is: `unix:PATH` or `IP:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("unix:") {
            Some("") => Err("unix: wants a path".into()),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text
                .parse()
                .map(Self::Tcp)
                .map_err(|_| "expected unix:PATH or IP:PORT".into()),
        }
    }
}

impl Endpoint {
    /// The JSON that it answers for `path`.
    pub(crate) fn get(&self, path: &str) -> Result<Value> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let answer = timeout(DEADLINE, self.exchange(path));
            answer
                .await
                .with_context(|| format!("{self:?} did not answer within {DEADLINE:?}"))?
        })
    }

    async fn exchange(&self, path: &str) -> Result<Value> {
        let what = || format!("reaching {self:?}");
        match self {
            Self::Unix(socket) => {
                send(UnixStream::connect(socket).await.with_context(what)?, path).await
            }
            Self::Tcp(address) => {
                let socket = if address.is_ipv4() {
                    TcpSocket::new_v4()
                } else {
                    TcpSocket::new_v6()
                }?;
                send(socket.connect(*address).await.with_context(what)?, path).await
            }
        }
    }
}

/// The JSON that the admin endpoint at the other end of a stream answers for `path`.
pub(crate) async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    path: &str,
) -> Result<Value> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let request = Request::get(path)
        .header("host", "localhost")
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
    let body = body
        .map_err(|error| anyhow::anyhow!("reading the answer: {error}"))?
        .to_bytes();
    drop(sender);
    driver.abort();
    if !status.is_success() {
        bail!(
            "{path}: {status}: {}",
            String::from_utf8_lossy(&body).trim()
        );
    }
    serde_json::from_slice(&body).with_context(|| format!("what {path} answered is no JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{Read, Write},
        os::unix::net::UnixListener,
    };

    #[test]
    fn endpoints_are_read_from_text() {
        assert_eq!(
            "unix:/run/x.sock".parse(),
            Ok(Endpoint::Unix("/run/x.sock".into()))
        );
        assert_eq!(
            "[::1]:15000".parse(),
            Ok(Endpoint::Tcp("[::1]:15000".parse().unwrap()))
        );
        for wrong in ["", "unix:", "localhost:15000", "127.0.0.1"] {
            assert!(wrong.parse::<Endpoint>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_error_of_the_endpoint_is_told() {
        let dir = std::env::temp_dir().join(format!("culvert-admin-{}", std::process::id()));
        let listener = UnixListener::bind(&dir).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]).unwrap();
            stream
                .write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\nnone")
                .unwrap();
        });
        let error = Endpoint::Unix(dir.clone()).get("/nothing").unwrap_err();
        std::fs::remove_file(dir).unwrap();
        server.join().unwrap();
        assert_eq!(error.to_string(), "/nothing: 404 Not Found: none");
    }
}
