//! The admin server as its clients see it.

use super::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

fn admin() -> Admin {
    Admin::new()
        .route(Method::GET, "/echo", |query| async move {
            Response::text(query.get("say").unwrap_or_default().to_owned())
        })
        .route(Method::POST, "/quitquitquit", |_query| async {
            Response::text("draining\n")
        })
        .with_metrics()
        .with_logging()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test's client on loopback needs no socket options"
)]
async fn ask(addr: SocketAddr, line: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let request = format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    reply
}

#[tokio::test]
async fn routes_by_method_and_path() {
    let addr = admin().serve_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let reply = ask(addr, "GET /echo?say=%3Cb%3E").await;
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    assert!(reply.ends_with("\r\n\r\n<b>"), "{reply}");
    assert!(
        reply.contains("content-type: text/plain"),
        "never HTML: {reply}"
    );
    assert!(reply.contains("x-content-type-options: nosniff"), "{reply}");
    assert!(
        ask(addr, "POST /quitquitquit")
            .await
            .ends_with("draining\n")
    );
    assert!(
        ask(addr, "GET /quitquitquit")
            .await
            .starts_with("HTTP/1.1 405")
    );
    assert!(ask(addr, "GET /<script>").await.starts_with("HTTP/1.1 4"));
    assert!(ask(addr, "GET /nowhere").await.starts_with("HTTP/1.1 404"));
    assert!(ask(addr, "POST /logging").await.starts_with("HTTP/1.1 400"));
    assert!(ask(addr, "GET /metrics").await.contains("culvert_tasks{"));
}

#[tokio::test]
async fn a_unix_socket_is_private_and_replaces_a_dead_one() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("admin.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    admin().serve_unix(&path).unwrap();
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(
        admin().serve_unix(&path).is_err(),
        "a living server is not displaced"
    );
    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream
        .write_all(b"GET /echo?say=hi HTTP/1.0\r\n\r\n")
        .await
        .unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    assert!(reply.ends_with("hi"), "{reply}");
}

#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "a test's client on loopback needs no socket options"
)]
async fn a_request_that_never_ends_is_cut_off() {
    let addr = admin().serve_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream
        .write_all(b"GET /echo HTTP/1.1\r\nhost:")
        .await
        .unwrap();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).await.unwrap();
    assert!(!reply.starts_with(b"HTTP/1.1 200"));
}
