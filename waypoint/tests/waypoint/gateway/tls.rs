//! HTTPS: the server name chooses listener and certificate, and a connection speaks to that listener alone.

use culvert_proto::type_url;
use culvert_proto::waypoint as pb;
use culvert_proto::waypoint::ListenerProtocol::{Http, Https};

use super::{listener, secured};
use crate::backend::Backend;
use crate::certificates::{ecdsa, rsa};
use crate::client::Http as Client;
use crate::mesh::{Mesh, test};
use crate::outside::{self, of, shown};
use crate::resources::{filter, rule};

/// Two listeners with names and one without, each with a certificate and a route of its own.
async fn three(mesh: &Mesh) -> anyhow::Result<Vec<Backend>> {
    let mut backends = Vec::new();
    let mut listeners = Vec::new();
    for (last, (name, host)) in [("one", "one.example"), ("wild", "*.example"), ("any", "")]
        .into_iter()
        .enumerate()
    {
        let last = u8::try_from(last)? + 10;
        mesh.service(name, &format!("10.96.0.{last}"))?;
        backends.push(Backend::named(mesh, name, name, last).await?);
        mesh.certificate(name, ecdsa(&[if host.is_empty() { "any" } else { host }]))?;
        listeners.push(secured(listener(name, 8443, Https, host), name));
        let hosts: Vec<_> = [host].into_iter().filter(|host| !host.is_empty()).collect();
        mesh.attach(name, name, &hosts, name)?;
    }
    mesh.listeners(listeners)?;
    Ok(backends)
}

#[test]
fn the_server_name_chooses_and_other_hosts_are_misdirected() {
    test(
        "gateway::tls::the_server_name_chooses_and_other_hosts_are_misdirected",
        |mesh| async move {
            let _backends = three(&mesh).await?;
            for (name, host, expected) in [
                ("one.example", "one.example", (200, "one")),
                ("ONE.example", "one.example:8443", (200, "one")),
                ("two.example", "two.example", (200, "wild")),
                ("two.example", "three.example", (200, "wild")),
                ("elsewhere", "elsewhere.too", (200, "any")),
                ("", "elsewhere", (200, "any")),
                ("one.example", "two.example", (421, "")),
                ("two.example", "one.example", (421, "")),
                ("one.example", "elsewhere", (421, "")),
                ("", "one.example", (421, "")),
            ] {
                let answer = outside::https(8443, name)
                    .await?
                    .fetch(of(host, "/"))
                    .await?;
                let text = if answer.status == 200 {
                    answer.text()
                } else {
                    ""
                };
                assert_eq!((answer.status.as_u16(), text), expected, "{name} {host}");
                if answer.status == 421 {
                    let reason = answer.header("culvert-deny-reason");
                    assert_eq!(reason, Some("misdirected"));
                }
            }
            Ok(())
        },
    );
}

#[test]
fn protocols_are_agreed_on_or_refused() {
    test(
        "gateway::tls::protocols_are_agreed_on_or_refused",
        |mesh| async move {
            let _backends = three(&mesh).await?;
            for (offered, chosen) in [
                (&b"\x08http/1.1\x02h2"[..], Some(&b"h2"[..])),
                (b"\x08http/1.1", Some(b"http/1.1")),
                (b"", None),
            ] {
                let stream = outside::tls(8443, "one.example", offered).await?;
                let ssl = stream.ssl();
                assert_eq!(ssl.selected_alpn_protocol(), chosen);
                assert_eq!(ssl.curve_name(), Some("X25519MLKEM768"));
                let mut http = match chosen {
                    Some(b"h2") => Client::two(stream).await?,
                    _ => Client::one(stream).await?,
                };
                assert_eq!(http.fetch(of("one.example", "/")).await?.text(), "one");
            }
            let refused = outside::tls(8443, "one.example", b"\x03foo").await;
            let refused = refused.unwrap_err().to_string();
            assert!(refused.contains("NO_APPLICATION_PROTOCOL"), "{refused}");
            Ok(())
        },
    );
}

#[test]
fn a_name_of_nobody_and_a_listener_that_is_broken_get_no_handshake() {
    test(
        "gateway::tls::a_name_of_nobody_and_a_listener_that_is_broken_get_no_handshake",
        |mesh| async move {
            mesh.certificate("known", ecdsa(&["one.example"]))?;
            mesh.listeners(vec![
                secured(listener("one", 8443, Https, "one.example"), "known"),
                secured(listener("gone", 8443, Https, "gone.example"), "unknown"),
                pb::Listener {
                    unresolved: "no such Secret".into(),
                    ..secured(listener("broken", 8443, Https, "broken.example"), "known")
                },
            ])?;
            for (name, alert) in [
                ("two.example", "UNRECOGNIZED_NAME"),
                ("", "UNRECOGNIZED_NAME"),
                ("gone.example", "HANDSHAKE_FAILURE"),
                ("broken.example", "HANDSHAKE_FAILURE"),
            ] {
                let refused = outside::tls(8443, name, b"").await.unwrap_err();
                assert!(refused.to_string().contains(alert), "{name}: {refused}");
            }
            assert!(outside::tls(8443, "one.example", b"").await.is_ok());
            Ok(())
        },
    );
}

#[test]
fn a_new_certificate_serves_new_handshakes_and_a_wrong_one_none() {
    test(
        "gateway::tls::a_new_certificate_serves_new_handshakes_and_a_wrong_one_none",
        |mesh| async move {
            let _backends = three(&mesh).await?;
            let mut open = outside::https(8443, "one.example").await?;
            assert_eq!(open.fetch(of("one.example", "/")).await?.text(), "one");
            let renewed = rsa(&["one.example"]);
            mesh.certificate("one", renewed.clone())?;
            let stream = outside::tls(8443, "one.example", b"").await?;
            assert_eq!(shown(&stream)?, renewed.chain);
            let mixed = pb::Certificate {
                key: ecdsa(&["x"]).key,
                ..renewed.clone()
            };
            let error = mesh.certificate("one", mixed).unwrap_err().to_string();
            assert_eq!(error, "key: does not belong to the first certificate");
            let stream = outside::tls(8443, "one.example", b"").await?;
            assert_eq!(shown(&stream)?, renewed.chain, "the last good one serves");
            assert_eq!(
                open.fetch(of("one.example", "/")).await?.text(),
                "one",
                "what is open stays"
            );
            mesh.remove(type_url::CERTIFICATE, "one");
            assert!(outside::tls(8443, "one.example", b"").await.is_err());
            assert!(outside::tls(8443, "two.example", b"").await.is_ok());
            Ok(())
        },
    );
}

#[test]
fn of_several_certificates_the_one_with_the_name_serves() {
    test(
        "gateway::tls::of_several_certificates_the_one_with_the_name_serves",
        |mesh| async move {
            let (a, b) = (ecdsa(&["a.example"]), rsa(&["b.example"]));
            mesh.certificate("a", a.clone())?;
            mesh.certificate("b", b.clone())?;
            let mut both = listener("both", 8443, Https, "*.example");
            both.certificates = vec!["a".into(), "b".into()];
            mesh.listeners(vec![both])?;
            for (name, expected) in [("a.example", &a), ("b.example", &b), ("c.example", &a)] {
                let stream = outside::tls(8443, name, b"").await?;
                assert_eq!(shown(&stream)?, expected.chain, "{name}");
            }
            Ok(())
        },
    );
}

#[test]
fn redirects_keep_the_clients_scheme() {
    test(
        "gateway::tls::redirects_keep_the_clients_scheme",
        |mesh| async move {
            mesh.certificate("one", ecdsa(&["one.example"]))?;
            mesh.listeners(vec![
                secured(listener("https", 8443, Https, ""), "one"),
                listener("http", 8000, Http, ""),
            ])?;
            let redirect = |scheme: &str| {
                let redirect = pb::Redirect {
                    scheme: scheme.into(),
                    ..Default::default()
                };
                let kind = pb::http_filter::Kind::Redirect(redirect);
                let filters = vec![filter(kind)];
                vec![pb::HttpRule {
                    filters,
                    ..rule(vec![], &[])
                }]
            };
            mesh.attach_rules("https", "https", &[], redirect(""))?;
            mesh.attach_rules("http", "http", &[], redirect("https"))?;
            let answer = outside::https(8443, "one.example").await?;
            let answer = { answer }.fetch(of("one.example", "/a?b")).await?;
            assert_eq!(
                answer.header("location"),
                Some("https://one.example:8443/a?b")
            );
            let answer = outside::http1(8000)
                .await?
                .fetch(of("one.example", "/"))
                .await?;
            assert_eq!(answer.header("location"), Some("https://one.example/"));
            Ok(())
        },
    );
}
