//! Connections that are no HTTP: carried as they are, told from HTTP by their first bytes.

use culvert_proto::{type_url, waypoint as pb};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::backend::Backend;
use crate::client::Client;
use crate::mesh::{Mesh, ip, test};
use crate::resources::{AppProtocol, Pod, prefix, route, rule, service};

const VIP: &str = "10.96.0.10:80";

/// Greets first, then reads to the end and answers with the number of bytes.
async fn greeter(mesh: &Mesh) -> anyhow::Result<Backend> {
    let greet = |mut stream: culvert_hbone::TunnelStream| async move {
        drop(stream.write_all(b"220 hello\r\n").await);
        let mut all = Vec::new();
        if stream.read_to_end(&mut all).await.is_ok() {
            drop(
                stream
                    .write_all(format!("{} bytes", all.len()).as_bytes())
                    .await,
            );
            drop(stream.shutdown().await);
        }
    };
    Backend::bytes(mesh, "mail-1", "web", 10, greet).await
}

#[test]
fn a_server_that_speaks_first_is_heard_whether_declared_or_not() {
    test(
        "tcp::a_server_that_speaks_first_is_heard_whether_declared_or_not",
        |mesh| async move {
            let _backend = greeter(&mesh).await?;
            let client = Client::new(&mesh, "curl").await?;
            for protocol in [AppProtocol::Tcp, AppProtocol::Unknown] {
                mesh.put(type_url::ADDRESS, &service("web", "10.96.0.10", protocol))?;
                let mut stream = client.connect(VIP).await?;
                let mut greeting = [0; 11];
                stream.read_exact(&mut greeting).await?;
                assert_eq!(&greeting, b"220 hello\r\n");
                stream.write_all(&vec![7; 1_000_000]).await?;
                stream.shutdown().await?;
                let mut rest = String::new();
                stream.read_to_string(&mut rest).await?;
                assert_eq!(rest, "1000000 bytes", "half-close is kept");
            }
            Ok(())
        },
    );
}

#[test]
fn tls_and_strange_bytes_pass_as_they_are() {
    test(
        "tcp::tls_and_strange_bytes_pass_as_they_are",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let echo = |mut stream: culvert_hbone::TunnelStream| async move {
                let mut all = Vec::new();
                if stream.read_to_end(&mut all).await.is_ok() {
                    drop(stream.write_all(&all).await);
                    drop(stream.shutdown().await);
                }
            };
            let _backend = Backend::bytes(&mesh, "tls-1", "web", 10, echo).await?;
            let client = Client::new(&mesh, "curl").await?;
            for bytes in [
                &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
                b"*1\r\n$4\r\nPING\r\n",
                b"GET nothing\r\n",
            ] {
                let mut stream = client.connect(VIP).await?;
                stream.write_all(bytes).await?;
                stream.shutdown().await?;
                let mut back = Vec::new();
                stream.read_to_end(&mut back).await?;
                assert_eq!(back, bytes);
            }
            Ok(())
        },
    );
}

#[test]
fn where_routes_are_attached_silence_is_no_way_around_them() {
    test(
        "tcp::where_routes_are_attached_silence_is_no_way_around_them",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let backend = greeter(&mesh).await?;
            mesh.put(
                type_url::HTTP_ROUTE,
                &route("r", "web", vec![rule(vec![prefix("/only")], &[("web", 1)])]),
            )?;
            let client = Client::new(&mesh, "curl").await?;
            let mut stream = client.connect(VIP).await?;
            tokio::time::sleep(std::time::Duration::from_millis(600)).await;
            assert_eq!(backend.connections.get(), 0);
            stream
                .write_all(b"GET /other HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")
                .await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
            assert_eq!(backend.connections.get(), 0);
            Ok(())
        },
    );
}

#[test]
fn a_failed_connection_is_refused_with_its_reason() {
    test(
        "tcp::a_failed_connection_is_refused_with_its_reason",
        |mesh| async move {
            mesh.put(
                type_url::ADDRESS,
                &service("web", "10.96.0.10", AppProtocol::Tcp),
            )?;
            let client = Client::new(&mesh, "curl").await?;
            let refused = |result: Result<_, culvert_hbone::ConnectError>| match result {
                Err(culvert_hbone::ConnectError::Refused { deny_reason, .. }) => deny_reason,
                _ => None,
            };
            assert_eq!(
                refused(client.connect(VIP).await).as_deref(),
                Some("no_endpoint")
            );
            let gone = Pod {
                name: "gone".into(),
                ip: ip(12),
                service: "web".into(),
                hbone: false,
                policies: vec![],
            };
            mesh.put(type_url::ADDRESS, &gone.resource())?;
            assert_eq!(
                refused(client.connect(VIP).await).as_deref(),
                Some("connect_failed")
            );
            let policy = pb::TrafficPolicy::default();
            assert!(
                mesh.put(type_url::TRAFFIC_POLICY, &("x".to_owned(), policy))
                    .is_ok()
            );
            Ok(())
        },
    );
}
