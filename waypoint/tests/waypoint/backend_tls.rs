//! TLS to backends: who is trusted and by which name, what is proven, and what becomes of it when a policy changes.

mod changes;
mod protocols;

use anyhow::Result;
use culvert_proto::{type_url, waypoint as pb};
use pb::backend_tls_policy::Trust;
use pb::subject_alt_name::Kind as Name;

use crate::authority::{Authority, Wanted};
use crate::backend::Backend;
use crate::client::{Client, Http};
use crate::mesh::{Mesh, test};
use crate::resources::service_ref;
use crate::tls_server::{Seen, Server};

const VIP: &str = "10.96.0.10:80";
const HOST: &str = "web.example";

fn trusting(authority: &Authority) -> Trust {
    Trust::CertificateAuthorities(authority.pem())
}

/// A policy `demo/NAME` for the service `web`, or for one of its ports.
fn policy(name: &str, port: u32, trust: Trust) -> (String, pb::BackendTlsPolicy) {
    let service = service_ref("web", port);
    let policy = pb::BackendTlsPolicy {
        namespace: "demo".into(),
        name: name.into(),
        targets: vec![pb::BackendTlsTarget {
            kind: Some(pb::backend_tls_target::Kind::Service(service)),
        }],
        hostname: HOST.into(),
        subject_alt_names: Vec::new(),
        trust: Some(trust),
    };
    (format!("BackendTLSPolicy/demo/{name}"), policy)
}

fn names(kinds: &[Name]) -> Vec<pb::SubjectAltName> {
    let name = |kind: &Name| pb::SubjectAltName {
        kind: Some(kind.clone()),
    };
    kinds.iter().map(name).collect()
}

impl Mesh {
    fn backend_tls(&self, policy: &(String, pb::BackendTlsPolicy)) -> Result<()> {
        self.put(type_url::BACKEND_TLS_POLICY, policy)
    }
}

/// Status and reason of an answer.
async fn asked(http: &mut Http) -> Result<(u16, String)> {
    let answer = http.get("/").await?;
    let reason = answer.header("culvert-deny-reason").unwrap_or_default();
    Ok((answer.status.as_u16(), reason.to_owned()))
}

#[test]
fn the_application_is_spoken_to_in_tls_inside_of_the_tunnel_and_outside_the_mesh() {
    test(
        "backend_tls::the_application_is_spoken_to_in_tls_inside_of_the_tunnel_and_outside_the_mesh",
        |mesh| async move {
            let authority = Authority::new();
            mesh.backend_tls(&policy("p", 0, trusting(&authority)))?;
            for (hbone, last) in [(true, 10), (false, 11)] {
                mesh.service("web", "10.96.0.10")?;
                let server = Server::new(&authority.server(&[HOST]));
                let name = if hbone { "inside" } else { "outside" };
                let backend = Backend::secured(&mesh, name, ("web", last), hbone, &server).await?;
                let client = Client::new(&mesh, "curl").await?;
                let mut http = client.http1(VIP).await?;
                for _ in 0..3 {
                    let answer = http.get("/").await?;
                    assert_eq!((answer.status.as_u16(), answer.text()), (200, name));
                }
                assert_eq!(backend.connections.get(), 1, "kept for the next request");
                let expected = Seen {
                    name: HOST.into(),
                    alpn: "http/1.1".into(),
                    client: String::new(),
                };
                assert_eq!(server.seen(), [expected]);
                mesh.remove(type_url::ADDRESS, &backend.pod.uid());
            }
            Ok(())
        },
    );
}

#[test]
fn a_certificate_that_does_not_fit_is_named_and_nothing_is_sent() {
    test(
        "backend_tls::a_certificate_that_does_not_fit_is_named_and_nothing_is_sent",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let (authority, other) = (Authority::new(), Authority::new());
            let hosts: &[&str] = &[HOST];
            let wanted = |hosts| Wanted {
                hosts,
                ..Wanted::default()
            };
            let days = |days| Wanted {
                days,
                ..wanted(hosts)
            };
            let client = Wanted {
                server: false,
                ..wanted(hosts)
            };
            let (untrusted, expired, name) = (
                "backend_certificate_untrusted",
                "backend_certificate_expired",
                "backend_certificate_name",
            );
            mesh.backend_tls(&policy("p", 0, trusting(&authority)))?;
            let client_of = Client::new(&mesh, "curl").await?;
            for (last, (certificate, expected)) in [
                (authority.signed(&wanted(&[HOST])), ""),
                (authority.signed(&wanted(&["*.example"])), ""),
                (authority.signed(&wanted(&["x.example", HOST])), ""),
                (other.signed(&wanted(&[HOST])), untrusted),
                (crate::certificates::ecdsa(&[HOST]), untrusted),
                (authority.signed(&client), untrusted),
                (authority.signed(&days((-2, -1))), expired),
                (authority.signed(&days((1, 2))), expired),
                (authority.signed(&wanted(&["other.example"])), name),
                (authority.signed(&wanted(&["a.web.example"])), name),
                (authority.signed(&wanted(&["*.web.example"])), name),
            ]
            .into_iter()
            .enumerate()
            {
                let server = Server::new(&certificate);
                let last = u8::try_from(last)? + 10;
                let at = ("web", last);
                let backend = Backend::secured(&mesh, "web-1", at, true, &server).await?;
                let mut http = client_of.http1(VIP).await?;
                let status = if expected.is_empty() { 200 } else { 503 };
                assert_eq!(
                    asked(&mut http).await?,
                    (status, expected.to_owned()),
                    "{last}"
                );
                let reached = usize::from(expected.is_empty());
                assert_eq!(backend.requests.get(), reached, "{last}");
                mesh.remove(type_url::ADDRESS, &backend.pod.uid());
            }
            let counted = culvert_runtime::metrics::encode();
            let line = counted.lines().find(|line| {
                line.starts_with("culvert_waypoint_backend_tls_failures_total{")
                    && line.contains("policy=\"demo/p\"")
                    && line.contains(name)
            });
            assert!(line.is_some(), "{counted}");
            Ok(())
        },
    );
}

#[test]
fn alternative_names_go_before_the_hostname() {
    test(
        "backend_tls::alternative_names_go_before_the_hostname",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let authority = Authority::new();
            let certificate = authority.signed(&Wanted {
                hosts: &[HOST, "alt.example"],
                uris: &["spiffe://example/web"],
                ..Wanted::default()
            });
            let server = Server::new(&certificate);
            let _backend = Backend::secured(&mesh, "web-1", ("web", 10), true, &server).await?;
            let client = Client::new(&mesh, "curl").await?;
            let host = |host: &str| Name::Hostname(host.into());
            let uri = |uri: &str| Name::Uri(uri.into());
            for (kinds, fits) in [
                (vec![uri("spiffe://example/web")], true),
                (vec![uri("spiffe://example/web/")], false),
                (vec![uri("spiffe://example/other")], false),
                (vec![host("alt.example")], true),
                (vec![host("*.example")], true),
                // The hostname does not count then, nor does the common name.
                (vec![host("else.example")], false),
                (vec![host("common.example")], false),
                (vec![uri(HOST)], false),
                (
                    vec![host("else.example"), uri("spiffe://example/web")],
                    true,
                ),
                (vec![host("else.example"), uri("spiffe://else")], false),
            ] {
                let (name, record) = policy("p", 0, trusting(&authority));
                let record = pb::BackendTlsPolicy {
                    subject_alt_names: names(&kinds),
                    ..record
                };
                mesh.backend_tls(&(name, record))?;
                let mut http = client.http1(VIP).await?;
                let expected = if fits {
                    (200, String::new())
                } else {
                    (503, "backend_certificate_name".to_owned())
                };
                assert_eq!(asked(&mut http).await?, expected, "{kinds:?}");
            }
            assert!(server.seen().iter().all(|seen| seen.name == HOST));
            Ok(())
        },
    );
}

#[test]
fn a_policy_that_cannot_be_followed_keeps_its_backends_from_being_reached() {
    test(
        "backend_tls::a_policy_that_cannot_be_followed_keeps_its_backends_from_being_reached",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let plain = Backend::named(&mesh, "web-1", "web", 10).await?;
            let client = Client::new(&mesh, "curl").await?;
            let mut http = client.http1(VIP).await?;
            assert_eq!(asked(&mut http).await?, (200, String::new()));
            let unresolved = Trust::Unresolved("there is no ConfigMap demo/ca".into());
            mesh.backend_tls(&policy("p", 0, unresolved))?;
            let refused = (500, "backend_unresolved".to_owned());
            assert_eq!(asked(&mut http).await?, refused);
            // What makes no sense is reported, and in force all the same.
            let error =
                mesh.backend_tls(&policy("p", 0, Trust::CertificateAuthorities("x".into())));
            assert!(error.is_err());
            assert_eq!(asked(&mut http).await?, refused);
            let seen = (plain.requests.get(), plain.connections.get());
            assert_eq!(seen, (1, 1), "not even a connection");
            let bytes = client.raw(VIP, b"\x00\x01strange").await;
            assert!(bytes.is_err() || bytes.is_ok_and(|bytes| bytes.is_empty()));
            assert_eq!(plain.connections.get(), 1);
            mesh.remove(type_url::BACKEND_TLS_POLICY, "BackendTLSPolicy/demo/p");
            assert_eq!(asked(&mut http).await?, (200, String::new()));
            Ok(())
        },
    );
}
