//! Authorization by who the client is: of the service, of the endpoint, and anew when policies change.

use std::time::Duration;

use culvert_proto::istio::security::Action;
use culvert_proto::type_url;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::backend::{Backend, BodyError, Speaks};
use crate::client::{Client, get};
use crate::mesh::test;
use crate::resources::{AppProtocol, authorization, service};

const VIP: &str = "10.96.0.10:80";

#[test]
fn policies_of_the_service_decide_by_the_clients_identity() {
    test(
        "policy::policies_of_the_service_decide_by_the_clients_identity",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            mesh.service("other", "10.96.0.11")?;
            let web = Backend::named(&mesh, "web-1", "web", 10).await?;
            let _other = Backend::named(&mesh, "other-1", "other", 11).await?;
            mesh.put(
                type_url::AUTHORIZATION,
                &authorization("only-curl", Action::Allow, "curl", Some("web")),
            )?;
            let curl = Client::new(&mesh, "curl").await?;
            let wget = Client::new(&mesh, "wget").await?;
            assert_eq!(curl.http1(VIP).await?.get("/").await?.status.as_u16(), 200);
            for http in [&mut wget.http1(VIP).await?, &mut wget.http2(VIP).await?] {
                let answer = http.get("/").await?;
                assert_eq!(
                    (answer.status.as_u16(), answer.header("culvert-deny-reason")),
                    (403, Some("policy_not_allowed"))
                );
            }
            assert_eq!(web.requests.get(), 1);
            assert_eq!(
                wget.http1("10.96.0.11:80")
                    .await?
                    .get("/")
                    .await?
                    .status
                    .as_u16(),
                200,
                "it targets web alone"
            );
            Ok(())
        },
    );
}

#[test]
fn policies_of_the_endpoint_hold_and_a_missing_one_denies() {
    test(
        "policy::policies_of_the_endpoint_hold_and_a_missing_one_denies",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let mut web = Backend::named(&mesh, "web-1", "web", 10).await?;
            web.pod.policies = vec!["demo/no-wget".into()];
            mesh.put(type_url::ADDRESS, &web.pod.resource())?;
            let curl = Client::new(&mesh, "curl").await?;
            let wget = Client::new(&mesh, "wget").await?;
            let (mut by_curl, mut by_wget) = (curl.http1(VIP).await?, wget.http1(VIP).await?);
            let answer = by_curl.get("/").await?;
            assert_eq!(
                (answer.status.as_u16(), answer.header("culvert-deny-reason")),
                (403, Some("policy_missing"))
            );
            mesh.put(
                type_url::AUTHORIZATION,
                &authorization("no-wget", Action::Deny, "wget", None),
            )?;
            assert_eq!(by_curl.get("/").await?.status.as_u16(), 200);
            let answer = by_wget.get("/").await?;
            assert_eq!(
                (answer.status.as_u16(), answer.header("culvert-deny-reason")),
                (403, Some("policy_deny"))
            );
            mesh.remove(type_url::AUTHORIZATION, "demo/no-wget");
            assert_eq!(
                by_curl.get("/").await?.status.as_u16(),
                403,
                "gone, it denies again"
            );
            assert_eq!(web.requests.get(), 1);
            Ok(())
        },
    );
}

#[test]
fn a_tcp_connection_is_refused_or_ended_by_policy() {
    test(
        "policy::a_tcp_connection_is_refused_or_ended_by_policy",
        |mesh| async move {
            mesh.put(
                type_url::ADDRESS,
                &service("web", "10.96.0.10", AppProtocol::Tcp),
            )?;
            let echo = |mut stream: culvert_hbone::TunnelStream| async move {
                let mut buffer = [0; 100];
                while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                    if stream.write_all(&buffer[..count]).await.is_err() {
                        return;
                    }
                }
            };
            let web = Backend::bytes(&mesh, "web-1", "web", 10, echo).await?;
            let wget = Client::new(&mesh, "wget").await?;
            let mut stream = wget.connect(VIP).await?;
            stream.write_all(b"hello").await?;
            let mut buffer = [0; 5];
            stream.read_exact(&mut buffer).await?;
            assert_eq!(&buffer, b"hello");
            mesh.put(
                type_url::AUTHORIZATION,
                &authorization("no-wget", Action::Deny, "wget", Some("web")),
            )?;
            let ended =
                tokio::time::timeout(Duration::from_secs(5), stream.read(&mut buffer)).await?;
            assert!(ended.is_err(), "reset, not closed in order: {ended:?}");
            match wget.connect(VIP).await {
                Err(culvert_hbone::ConnectError::Refused {
                    status,
                    deny_reason,
                    ..
                }) => {
                    assert_eq!((status, deny_reason.as_deref()), (401, Some("policy_deny")));
                }
                other => anyhow::bail!("{other:?}"),
            }
            assert_eq!(web.connections.get(), 1);
            Ok(())
        },
    );
}

#[test]
fn a_response_that_streams_ends_when_its_client_is_denied() {
    test(
        "policy::a_response_that_streams_ends_when_its_client_is_denied",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let endless = |_: http::Request<hyper::body::Incoming>| async {
                let first = tokio_stream::iter([Ok::<_, BodyError>(http_body::Frame::data(
                    "begin".into(),
                ))]);
                let frames = tokio_stream::StreamExt::chain(first, tokio_stream::pending());
                let body = http_body_util::StreamBody::new(frames);
                Ok(http::Response::new(http_body_util::BodyExt::boxed_unsync(
                    body,
                )))
            };
            let _web = Backend::start(&mesh, "web-1", "web", 10, Speaks::Both, endless).await?;
            let wget = Client::new(&mesh, "wget").await?;
            let curl = Client::new(&mesh, "curl").await?;
            let mut denied = Vec::new();
            for mut http in [wget.http1(VIP).await?, wget.http2(VIP).await?] {
                denied.push(http.send(get("/")).await?.into_body());
            }
            let mut kept = curl.http1(VIP).await?.send(get("/")).await?.into_body();
            mesh.put(
                type_url::AUTHORIZATION,
                &authorization("no-wget", Action::Deny, "wget", Some("web")),
            )?;
            for body in denied {
                let ended = http_body_util::BodyExt::collect(body);
                assert!(
                    tokio::time::timeout(Duration::from_secs(5), ended)
                        .await?
                        .is_err()
                );
            }
            let first = http_body_util::BodyExt::frame(&mut kept)
                .await
                .expect("a frame")?;
            assert_eq!(first.into_data().ok(), Some("begin".into()));
            let more = tokio::time::timeout(
                Duration::from_millis(300),
                http_body_util::BodyExt::frame(&mut kept),
            )
            .await;
            assert!(more.is_err(), "the other client's goes on");
            Ok(())
        },
    );
}
