//! Whole connections: TLS that passes or ends here, TCP, and the same routes at services of the mesh.

use boring::pkey::PKey;
use boring::ssl::{Ssl, SslAcceptor, SslMethod};
use boring::x509::X509;
use culvert_hbone::TunnelStream;
use culvert_proto::type_url;
use culvert_proto::waypoint as pb;
use culvert_proto::waypoint::ListenerProtocol::{Https, Tcp, Tls};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::{listener, secured, stream_route};
use crate::backend::Backend;
use crate::certificates::ecdsa;
use crate::client::Client;
use crate::mesh::{Mesh, test};
use crate::outside::{self, of, shown};
use crate::resources::{AppProtocol, service, service_ref};

/// Says its name, then what it got until the client ended.
async fn echo<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, name: &str) {
    drop(stream.write_all(format!("{name}:").as_bytes()).await);
    let mut all = Vec::new();
    if stream.read_to_end(&mut all).await.is_ok() {
        drop(stream.write_all(&all).await);
        drop(stream.shutdown().await);
    }
}

/// A pod that echoes bytes.
async fn plain(mesh: &Mesh, name: &'static str, last: u8) -> anyhow::Result<Backend> {
    mesh.service(name, &format!("10.96.0.{last}"))?;
    Backend::bytes(mesh, name, name, last, move |stream| echo(stream, name)).await
}

/// A pod that echoes in TLS of its own.
async fn encrypted(
    mesh: &Mesh,
    name: &'static str,
    last: u8,
    certificate: &pb::Certificate,
) -> anyhow::Result<Backend> {
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls())?;
    builder.set_certificate(&*X509::from_pem(certificate.chain.as_bytes())?)?;
    builder.set_private_key(&*PKey::private_key_from_pem(certificate.key.as_bytes())?)?;
    let acceptor = builder.build();
    mesh.service(name, &format!("10.96.0.{last}"))?;
    let serve = move |stream: TunnelStream| {
        let ssl = Ssl::new(acceptor.context());
        async move {
            let accepted = tokio_boring::SslStreamBuilder::new(ssl.unwrap(), stream).accept();
            if let Ok(stream) = accepted.await {
                echo(stream, name).await;
            }
        }
    };
    Backend::bytes(mesh, name, name, last, serve).await
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> anyhow::Result<String> {
    stream.write_all(b"hello").await?;
    stream.shutdown().await?;
    let mut all = String::new();
    let read = tokio::time::timeout(crate::mesh::PATIENCE, stream.read_to_string(&mut all));
    read.await??;
    Ok(all)
}

#[test]
fn tls_passes_by_server_name_and_ends_at_the_backend() {
    test(
        "gateway::streams::tls_passes_by_server_name_and_ends_at_the_backend",
        |mesh| async move {
            let (one, two) = (ecdsa(&["one.example"]), ecdsa(&["*.example"]));
            let _one = encrypted(&mesh, "one", 10, &one).await?;
            let _two = encrypted(&mesh, "two", 11, &two).await?;
            mesh.listeners(vec![listener("tls", 8443, Tls, "*.example")])?;
            mesh.stream("one", "tls", Some("one.example"), "one")?;
            mesh.stream("two", "tls", Some("*.example"), "two")?;
            for (name, certificate, expected) in [
                ("one.example", &one, "one:hello"),
                ("a.b.example", &two, "two:hello"),
            ] {
                let stream = outside::tls(8443, name, b"").await?;
                assert_eq!(shown(&stream)?, certificate.chain, "the backend's own");
                assert_eq!(exchange(stream).await?, expected);
            }
            assert!(outside::tls(8443, "elsewhere", b"").await.is_err());
            mesh.remove(type_url::STREAM_ROUTE, "StreamRoute/demo/two");
            let refused = outside::tls(8443, "a.b.example", b"").await;
            assert!(refused.is_err(), "no route");
            Ok(())
        },
    );
}

#[test]
fn one_port_terminates_for_some_names_and_passes_for_others() {
    test(
        "gateway::streams::one_port_terminates_for_some_names_and_passes_for_others",
        |mesh| async move {
            let (ours, theirs) = (ecdsa(&["ours.example"]), ecdsa(&["theirs.example"]));
            mesh.certificate("ours", ours.clone())?;
            let _theirs = encrypted(&mesh, "theirs", 10, &theirs).await?;
            let _plain = plain(&mesh, "plain", 11).await?;
            mesh.service("web", "10.96.0.12")?;
            let _web = Backend::named(&mesh, "web", "web", 12).await?;
            mesh.listeners(vec![
                listener("pass", 8443, Tls, "theirs.example"),
                secured(listener("end", 8443, Tls, "ours.example"), "ours"),
                secured(listener("https", 8443, Https, "web.example"), "ours"),
            ])?;
            mesh.stream("theirs", "pass", Some(""), "theirs")?;
            mesh.stream("ours", "end", Some(""), "plain")?;
            mesh.attach("web", "https", &["web.example"], "web")?;
            let stream = outside::tls(8443, "theirs.example", b"").await?;
            assert_eq!(shown(&stream)?, theirs.chain);
            assert_eq!(exchange(stream).await?, "theirs:hello");
            let stream = outside::tls(8443, "ours.example", b"").await?;
            assert_eq!(shown(&stream)?, ours.chain);
            assert_eq!(exchange(stream).await?, "plain:hello");
            let mut http = outside::https(8443, "web.example").await?;
            assert_eq!(http.fetch(of("web.example", "/")).await?.text(), "web");
            assert_eq!(http.fetch(of("ours.example", "/")).await?.status, 421);
            Ok(())
        },
    );
}

#[test]
fn tcp_goes_where_its_route_says_or_nowhere() {
    test(
        "gateway::streams::tcp_goes_where_its_route_says_or_nowhere",
        |mesh| async move {
            let one = plain(&mesh, "one", 10).await?;
            mesh.listeners(vec![
                listener("tcp", 9000, Tcp, ""),
                pb::Listener {
                    unresolved: "broken".into(),
                    ..listener("broken", 9001, Tcp, "")
                },
            ])?;
            for port in [9000, 9001] {
                let mut stream = outside::tcp(port).await?;
                assert!(outside::end(&mut stream).await?.is_err(), "reset");
            }
            mesh.stream("tcp", "tcp", None, "one")?;
            mesh.stream("broken", "broken", None, "one")?;
            assert_eq!(exchange(outside::tcp(9000).await?).await?, "one:hello");
            let mut stream = outside::tcp(9001).await?;
            assert!(outside::end(&mut stream).await?.is_err(), "reset");
            assert_eq!(one.connections.get(), 1);
            mesh.stream("tcp", "tcp", None, "unknown")?;
            let mut stream = outside::tcp(9000).await?;
            assert!(outside::end(&mut stream).await?.is_err(), "reset");
            Ok(())
        },
    );
}

#[test]
fn services_of_the_mesh_have_such_routes_too() {
    test(
        "gateway::streams::services_of_the_mesh_have_such_routes_too",
        |mesh| async move {
            let certificate = ecdsa(&["one.example"]);
            let front = plain(&mesh, "front", 10).await?;
            let _tcp = plain(&mesh, "other", 11).await?;
            let _tls = encrypted(&mesh, "tls", 12, &certificate).await?;
            let route = |name: &str, tls, backend: &str| {
                let route = pb::StreamRoute {
                    parents: vec![service_ref("front", 0)],
                    hostnames: if tls {
                        vec!["one.example".into()]
                    } else {
                        vec![]
                    },
                    ..stream_route(name, tls, backend)
                };
                (name.to_owned(), route)
            };
            let vip = "10.96.0.10:80";
            let client = Client::new(&mesh, "curl").await?;
            for protocol in [AppProtocol::Unknown, AppProtocol::Tcp] {
                mesh.put(type_url::ADDRESS, &service("front", "10.96.0.10", protocol))?;
                assert_eq!(exchange(client.connect(vip).await?).await?, "front:hello");
                mesh.put(type_url::STREAM_ROUTE, &route("by-name", true, "tls"))?;
                let stream = client.connect(vip).await?;
                let stream = outside::handshake(stream, "one.example", b"").await?;
                assert_eq!(exchange(stream).await?, "tls:hello");
                let stream = client.connect(vip).await?;
                let refused = outside::handshake(stream, "two.example", b"").await;
                assert!(refused.is_err(), "no route has the name");
                assert_eq!(
                    exchange(client.connect(vip).await?).await?,
                    "front:hello",
                    "no TLS, and no route of TCP"
                );
                mesh.put(type_url::STREAM_ROUTE, &route("all", false, "other"))?;
                assert_eq!(exchange(client.connect(vip).await?).await?, "other:hello");
                let stream = client.connect(vip).await?;
                let refused = outside::handshake(stream, "two.example", b"").await;
                assert!(refused.is_err(), "TLS is for the routes of TLS");
                mesh.remove(type_url::STREAM_ROUTE, "by-name");
                mesh.remove(type_url::STREAM_ROUTE, "all");
            }
            assert_eq!(front.connections.get(), 4);
            Ok(())
        },
    );
}
