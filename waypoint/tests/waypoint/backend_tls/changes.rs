//! Another policy, bundle or certificate is another connection, and none is used under what it was not made for.

use culvert_proto::waypoint::ListenerProtocol;
use culvert_proto::{type_url, waypoint as pb};

use super::*;
use crate::outside;
use crate::resources::rule;
use crate::tls_server::Like;

#[test]
fn a_connection_is_never_used_under_another_policy_or_none() {
    test(
        "backend_tls::changes::a_connection_is_never_used_under_another_policy_or_none",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let (authority, other) = (Authority::new(), Authority::new());
            let server = Server::new(&authority.server(&[HOST]));
            let backend = Backend::secured(&mesh, "web-1", ("web", 10), true, &server).await?;
            let client = Client::new(&mesh, "curl").await?;
            let good = (200, String::new());
            for http2 in [false, true] {
                let mut http = if http2 {
                    client.http2(VIP).await?
                } else {
                    client.http1(VIP).await?
                };
                let mut http = async || asked(&mut http).await;
                let before = backend.connections.get();
                let made = || backend.connections.get() - before;
                mesh.backend_tls(&policy("p", 0, trusting(&authority)))?;
                assert_eq!((http().await?, made()), (good.clone(), 1));
                // The same again, and another one that is for something else.
                mesh.backend_tls(&policy("p", 0, trusting(&authority)))?;
                mesh.backend_tls(&policy("q", 8080, trusting(&other)))?;
                assert_eq!((http().await?, made()), (good.clone(), 1));
                // A bundle that is rotated: both authorities, then the new one alone.
                let both = format!("{}{}", authority.pem(), other.pem());
                mesh.backend_tls(&policy("p", 0, Trust::CertificateAuthorities(both)))?;
                assert_eq!((http().await?, made()), (good.clone(), 2));
                mesh.backend_tls(&policy("p", 0, trusting(&other)))?;
                let untrusted = (503, "backend_certificate_untrusted".to_owned());
                assert_eq!(http().await?, untrusted);
                mesh.backend_tls(&policy("p", 0, trusting(&authority)))?;
                let now = made() + 1;
                assert_eq!((http().await?, made()), (good.clone(), now));
                // One for the port goes before, and without any there is no TLS to go on with.
                mesh.backend_tls(&policy("z", 80, trusting(&other)))?;
                assert_eq!(http().await?, untrusted);
                mesh.remove(type_url::BACKEND_TLS_POLICY, "BackendTLSPolicy/demo/z");
                mesh.remove(type_url::BACKEND_TLS_POLICY, "BackendTLSPolicy/demo/p");
                let handshakes = server.seen().len();
                assert_eq!(http().await?.0, 503, "plain text is nothing to this server");
                assert_eq!(server.seen().len(), handshakes);
            }
            Ok(())
        },
    );
}

/// A route of the gateway's listener to the service.
fn attached() -> (String, pb::HttpRoute) {
    let route = pb::HttpRoute {
        namespace: "demo".into(),
        name: "r".into(),
        listeners: vec![pb::ListenerRef {
            gateway: "demo/waypoint".into(),
            listener: "http".into(),
            hostnames: Vec::new(),
        }],
        rules: vec![rule(vec![], &[("web", 1)])],
        ..Default::default()
    };
    ("HTTPRoute/demo/r".into(), route)
}

#[test]
fn a_gateway_proves_itself_with_the_certificate_that_it_has_now() {
    test(
        "backend_tls::changes::a_gateway_proves_itself_with_the_certificate_that_it_has_now",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let (authority, clients) = (Authority::new(), Authority::new());
            let like = Like {
                clients: Some(&clients),
                ..Like::default()
            };
            let server = Server::like(&authority.server(&[HOST]), &like);
            let _backend = Backend::secured(&mesh, "web-1", ("web", 10), true, &server).await?;
            mesh.backend_tls(&policy("p", 0, trusting(&authority)))?;
            let listener = pb::Listener {
                name: "http".into(),
                port: 8000,
                protocol: ListenerProtocol::Http.into(),
                ..Default::default()
            };
            let gateway = |certificate: &str, unresolved: &str| {
                let gateway = pb::Gateway {
                    namespace: "demo".into(),
                    name: "waypoint".into(),
                    listeners: vec![listener.clone()],
                    client_certificate: certificate.into(),
                    client_certificate_unresolved: unresolved.into(),
                    ..Default::default()
                };
                mesh.put(
                    type_url::GATEWAY,
                    &("Gateway/demo/waypoint".into(), gateway),
                )
            };
            let certificate = |certificate: &pb::Certificate| {
                let resource = ("Secret/demo/client".to_owned(), certificate.clone());
                mesh.put(type_url::CERTIFICATE, &resource)
            };
            mesh.put(type_url::HTTP_ROUTE, &attached())?;
            gateway("", "")?;
            let mut http = outside::http1(8000).await?;
            let mut http = async || asked(&mut http).await;
            assert_eq!(http().await?.0, 503, "the server wants to know who asks");
            gateway("Secret/demo/client", "")?;
            let missing = (503, "certificate_unavailable".to_owned());
            assert_eq!(http().await?, missing);
            let [first, second] = [(), ()].map(|()| {
                clients.signed(&Wanted {
                    hosts: &["gateway.example"],
                    server: false,
                    ..Wanted::default()
                })
            });
            for shown in [&first, &second] {
                certificate(shown)?;
                for _ in 0..2 {
                    assert_eq!(http().await?, (200, String::new()));
                }
                assert_eq!(
                    server.seen().last().map(|seen| &seen.client),
                    Some(&shown.chain)
                );
            }
            let finished = server
                .seen()
                .into_iter()
                .filter(|seen| !seen.client.is_empty());
            assert_eq!(finished.count(), 2, "one connection for each");
            gateway("", "Secret demo/client: tls.key is missing")?;
            assert_eq!(http().await?, missing);
            Ok(())
        },
    );
}
