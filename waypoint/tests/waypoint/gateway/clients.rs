//! Certificates of clients at listeners: who passes, and what backends are told of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use boring::pkey::PKey;
use boring::ssl::{
    SslConnector, SslConnectorBuilder, SslMethod, SslSessionCacheMode, SslVerifyMode, SslVersion,
};
use boring::x509::X509;
use culvert_proto::type_url;
use culvert_proto::waypoint as pb;
use culvert_proto::waypoint::ListenerProtocol::{Http, Https, Tls};
use tokio::net::TcpStream;
use tokio_boring::SslStream;

use super::{listener, secured};
use crate::backend::{Backend, Speaks, response};
use crate::certificates::{Authority, ecdsa};
use crate::client::{Answer, Http as Client};
use crate::mesh::{Mesh, PATIENCE, test};
use crate::outside::{self, of};

/// A backend that says what it is told of the client's certificate.
async fn telling(mesh: &Mesh) -> Result<Backend> {
    mesh.service("web", "10.96.0.10")?;
    let tell = |request: ::http::Request<hyper::body::Incoming>| async move {
        let values = request.headers().get_all("x-forwarded-client-cert").iter();
        let values: Vec<_> = values.filter_map(|value| value.to_str().ok()).collect();
        response(200, format!("told {}", values.join("|")))
    };
    Backend::start(mesh, "web-1", "web", 10, Speaks::Both, tell).await
}

/// What is asked of clients.
fn asks(authorities: &str, allow_insecure_fallback: bool) -> pb::ClientValidation {
    pb::ClientValidation {
        authorities: authorities.into(),
        allow_insecure_fallback,
    }
}

/// The listener asks for the first thing that the Gateway has to ask for.
fn asking(listener: pb::Listener) -> pb::Listener {
    pb::Listener {
        client_validation: 1,
        unresolved: "this version cannot ask".into(),
        ..listener
    }
}

impl Mesh {
    fn asking(&self, listeners: Vec<pb::Listener>, all: Vec<pb::ClientValidation>) -> Result<()> {
        let gateway = pb::Gateway {
            namespace: "demo".into(),
            name: "waypoint".into(),
            listeners,
            client_validations: all,
            ..Default::default()
        };
        self.put(
            type_url::GATEWAY,
            &("Gateway/demo/waypoint".into(), gateway),
        )
    }

    /// HTTPS at 8443, which asks for this.
    fn https_asking(&self, validation: pb::ClientValidation) -> Result<()> {
        let https = secured(listener("https", 8443, Https, ""), "one");
        self.asking(vec![asking(https)], vec![validation])
    }
}

/// TLS of a client that shows a certificate, or none.
async fn showing(port: u16, certificate: Option<&pb::Certificate>) -> Result<SslStream<TcpStream>> {
    connected(port, connector(certificate)?).await
}

fn connector(certificate: Option<&pb::Certificate>) -> Result<SslConnectorBuilder> {
    let mut builder = SslConnector::builder(SslMethod::tls())?;
    builder.set_verify(SslVerifyMode::NONE);
    if let Some(certificate) = certificate {
        builder.set_certificate(&*X509::from_pem(certificate.chain.as_bytes())?)?;
        builder.set_private_key(&*PKey::private_key_from_pem(certificate.key.as_bytes())?)?;
    }
    Ok(builder)
}

async fn connected(port: u16, builder: SslConnectorBuilder) -> Result<SslStream<TcpStream>> {
    let configure = builder.build().configure()?.verify_hostname(false);
    let tcp = outside::tcp(port).await?;
    let connecting = tokio_boring::connect(configure, "one.example", tcp);
    let connected = tokio::time::timeout(PATIENCE, connecting).await?;
    connected.map_err(|error| anyhow::anyhow!("{error}"))
}

/// What a client gets that shows this. In TLS 1.3 it hears of its certificate only after its handshake.
async fn asked(port: u16, certificate: Option<&pb::Certificate>) -> Result<Answer> {
    let mut http = Client::one(showing(port, certificate).await?).await?;
    http.fetch(of("one.example", "/")).await
}

#[test]
fn only_a_good_certificate_passes_and_is_told() {
    test(
        "gateway::clients::only_a_good_certificate_passes_and_is_told",
        |mesh| async move {
            let web = telling(&mesh).await?;
            mesh.certificate("one", ecdsa(&["one.example"]))?;
            let (authority, other) = (Authority::new(), Authority::new());
            mesh.https_asking(asks(&authority.certificate, false))?;
            mesh.attach("web", "https", &[], "web")?;
            let good = authority.client(&["client.example"], &["spiffe://x/client"]);
            let answer = asked(8443, Some(&good)).await?;
            let digest = X509::from_pem(good.chain.as_bytes())?;
            let digest = digest.digest(boring::hash::MessageDigest::sha256())?;
            let hash: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            let told = format!("told Hash={hash};DNS=client.example;URI=spiffe://x/client");
            assert_eq!((answer.status.as_u16(), answer.text()), (200, &*told));
            for (what, bad) in [
                ("none", None),
                (
                    "another authority's",
                    Some(other.client(&["client.example"], &[])),
                ),
                ("a server's", Some(authority.server(&["client.example"]))),
                ("its own", Some(ecdsa(&["client.example"]))),
            ] {
                assert!(asked(8443, bad.as_ref()).await.is_err(), "{what}");
            }
            assert_eq!(web.requests.get(), 1);
            Ok(())
        },
    );
}

#[test]
fn what_a_client_says_of_its_certificate_is_no_word_of_the_gateways() {
    test(
        "gateway::clients::what_a_client_says_of_its_certificate_is_no_word_of_the_gateways",
        |mesh| async move {
            let _web = telling(&mesh).await?;
            mesh.certificate("one", ecdsa(&["one.example"]))?;
            let authority = Authority::new();
            mesh.asking(
                vec![
                    listener("http", 8000, Http, ""),
                    asking(secured(listener("https", 8443, Https, ""), "one")),
                ],
                vec![asks(&authority.certificate, false)],
            )?;
            mesh.attach("plain", "http", &[], "web")?;
            mesh.attach("secure", "https", &[], "web")?;
            let forged = || {
                let mut request = of("one.example", "/");
                for value in ["Hash=00;URI=spiffe://x/admin", "Hash=01"] {
                    let value = value.parse().unwrap();
                    request
                        .headers_mut()
                        .append("X-Forwarded-Client-Cert", value);
                }
                request
            };
            for mut http in [outside::http1(8000).await?, outside::http2(8000).await?] {
                assert_eq!(http.fetch(forged()).await?.text(), "told ");
            }
            let client = authority.client(&["a"], &[]);
            let mut http = Client::one(showing(8443, Some(&client)).await?).await?;
            let told = http.fetch(forged()).await?;
            assert!(told.text().ends_with(";DNS=a") && !told.text().contains("Hash=0"));
            assert!(!told.text().contains('|'), "{}", told.text());
            Ok(())
        },
    );
}

#[test]
fn a_fallback_serves_everybody_and_tells_of_good_certificates_alone() {
    test(
        "gateway::clients::a_fallback_serves_everybody_and_tells_of_good_certificates_alone",
        |mesh| async move {
            let _web = telling(&mesh).await?;
            mesh.certificate("one", ecdsa(&["one.example"]))?;
            let (authority, other) = (Authority::new(), Authority::new());
            mesh.https_asking(asks(&authority.certificate, true))?;
            mesh.attach("web", "https", &[], "web")?;
            let good = asked(8443, Some(&authority.client(&["a"], &[]))).await?;
            assert!(good.text().ends_with(";DNS=a"), "{}", good.text());
            for bad in [
                None,
                Some(other.client(&["a"], &[])),
                Some(authority.server(&["a"])),
                Some(ecdsa(&["a"])),
            ] {
                let answer = asked(8443, bad.as_ref()).await?;
                assert_eq!((answer.status.as_u16(), answer.text()), (200, "told "));
            }
            Ok(())
        },
    );
}

#[test]
fn who_is_trusted_no_more_is_out_at_once() {
    test(
        "gateway::clients::who_is_trusted_no_more_is_out_at_once",
        |mesh| async move {
            let _web = telling(&mesh).await?;
            mesh.certificate("one", ecdsa(&["one.example"]))?;
            mesh.attach("web", "https", &[], "web")?;
            let (old, new) = (Authority::new(), Authority::new());
            let (of_old, of_new) = (old.client(&["old"], &[]), new.client(&["new"], &[]));
            let both = format!("{}{}", old.certificate, new.certificate);
            mesh.https_asking(asks(&both, false))?;
            let mut open = Client::one(showing(8443, Some(&of_old)).await?).await?;
            assert_eq!(open.fetch(of("one.example", "/")).await?.status, 200);
            assert_eq!(asked(8443, Some(&of_new)).await?.status, 200);
            mesh.https_asking(asks(&new.certificate, false))?;
            // What was let in by the old one ends.
            let ending = async { while open.fetch(of("one.example", "/")).await.is_ok() {} };
            tokio::time::timeout(PATIENCE, ending).await?;
            let refusing = async { while asked(8443, Some(&of_old)).await.is_ok() {} };
            tokio::time::timeout(PATIENCE, refusing).await?;
            assert_eq!(asked(8443, Some(&of_new)).await?.status, 200);
            // What cannot be read is nobody's leave.
            mesh.https_asking(asks("nonsense", false))?;
            let refused = showing(8443, Some(&of_new)).await.unwrap_err();
            assert!(
                refused.to_string().contains("HANDSHAKE_FAILURE"),
                "{refused}"
            );
            mesh.https_asking(asks(&new.certificate, false))?;
            assert_eq!(asked(8443, Some(&of_new)).await?.status, 200);
            // Nor is it what is not there.
            let https = secured(listener("https", 8443, Https, ""), "one");
            mesh.asking(vec![asking(https)], Vec::new())?;
            assert!(showing(8443, Some(&of_new)).await.is_err());
            Ok(())
        },
    );
}

#[test]
fn no_session_is_offered_that_could_go_on_unasked() {
    test(
        "gateway::clients::no_session_is_offered_that_could_go_on_unasked",
        |mesh| async move {
            let _web = telling(&mesh).await?;
            mesh.certificate("one", ecdsa(&["one.example"]))?;
            mesh.attach("web", "https", &[], "web")?;
            let authority = Authority::new();
            mesh.https_asking(asks(&authority.certificate, false))?;
            let client = authority.client(&["a"], &[]);
            for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
                // What could be resumed would be told.
                let offered = Arc::new(AtomicUsize::new(0));
                let count = Arc::clone(&offered);
                let mut builder = connector(Some(&client))?;
                builder.set_min_proto_version(Some(version))?;
                builder.set_max_proto_version(Some(version))?;
                builder.set_session_cache_mode(SslSessionCacheMode::CLIENT);
                builder.set_new_session_callback(move |_, _| {
                    count.fetch_add(1, Ordering::Relaxed);
                });
                let stream = connected(8443, builder).await?;
                assert_eq!(stream.ssl().version2(), Some(version));
                let mut http = Client::one(stream).await?;
                for _ in 0..2 {
                    assert_eq!(http.fetch(of("one.example", "/")).await?.status, 200);
                }
                assert_eq!(offered.load(Ordering::Relaxed), 0, "{version:?}");
                // Nor does a client of either version pass without.
                let mut builder = connector(None)?;
                builder.set_max_proto_version(Some(version))?;
                let passed = match connected(8443, builder).await {
                    Ok(stream) => {
                        let mut http = Client::one(stream).await?;
                        http.fetch(of("one.example", "/")).await.is_ok()
                    }
                    Err(_) => false,
                };
                assert!(!passed, "{version:?}");
            }
            Ok(())
        },
    );
}

#[test]
fn each_port_asks_for_its_own_and_other_kinds_of_tls_are_asked_too() {
    test(
        "gateway::clients::each_port_asks_for_its_own_and_other_kinds_of_tls_are_asked_too",
        |mesh| async move {
            let _web = telling(&mesh).await?;
            mesh.certificate("one", ecdsa(&["one.example"]))?;
            let (first, second) = (Authority::new(), Authority::new());
            let secured = |name, port, protocol| secured(listener(name, port, protocol, ""), "one");
            mesh.asking(
                vec![
                    asking(secured("https", 8443, Https)),
                    pb::Listener {
                        client_validation: 2,
                        ..secured("other", 9443, Https)
                    },
                    asking(secured("end", 7443, Tls)),
                    secured("open", 6443, Https),
                ],
                vec![
                    asks(&first.certificate, false),
                    asks(&second.certificate, false),
                ],
            )?;
            for name in ["https", "other", "open"] {
                mesh.attach(name, name, &[], "web")?;
            }
            mesh.stream("end", "end", None, "web")?;
            let (of_first, of_second) = (first.client(&["a"], &[]), second.client(&["a"], &[]));
            for (port, good, bad) in [
                (8443, &of_first, &of_second),
                (9443, &of_second, &of_first),
                (7443, &of_first, &of_second),
            ] {
                assert_eq!(asked(port, Some(good)).await?.status, 200, "{port}");
                assert!(asked(port, Some(bad)).await.is_err(), "{port}");
                assert!(asked(port, None).await.is_err(), "{port}");
            }
            assert_eq!(asked(6443, None).await?.text(), "told ");
            Ok(())
        },
    );
}

#[test]
fn a_listener_of_a_set_is_apart_from_the_gateways() {
    test(
        "gateway::clients::a_listener_of_a_set_is_apart_from_the_gateways",
        |mesh| async move {
            let mut backends = Vec::new();
            for (last, name) in [(10, "own"), (11, "team")] {
                mesh.service(name, &format!("10.96.0.{last}"))?;
                backends.push(Backend::named(&mesh, name, name, last).await?);
            }
            let set = "team/set/https";
            for name in ["own", set] {
                mesh.certificate(name, ecdsa(&["x.example"]))?;
            }
            mesh.listeners(vec![
                secured(listener("https", 8443, Https, "*.example"), "own"),
                secured(listener(set, 8443, Https, "team.example"), set),
            ])?;
            mesh.attach("own", "https", &[], "own")?;
            mesh.attach("team", set, &["team.example"], "team")?;
            for (name, host, expected) in [
                ("team.example", "team.example", (200, "team")),
                ("own.example", "own.example", (200, "own")),
                // A connection is its listener's alone, though the Gateway's covers the host.
                ("own.example", "team.example", (421, "")),
                ("team.example", "own.example", (421, "")),
            ] {
                let mut http = outside::https(8443, name).await?;
                let answer = http.fetch(of(host, "/")).await?;
                let text = if expected.0 == 200 { answer.text() } else { "" };
                assert_eq!((answer.status.as_u16(), text), expected, "{name} {host}");
            }
            // Without its route nobody else serves its host.
            mesh.remove(type_url::HTTP_ROUTE, "HTTPRoute/demo/team");
            let mut http = outside::https(8443, "team.example").await?;
            assert_eq!(http.fetch(of("team.example", "/")).await?.status, 404);
            Ok(())
        },
    );
}
