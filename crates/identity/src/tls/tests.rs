//! What each side accepts and refuses, over a real handshake.

use super::*;
use crate::Identity;
use crate::bundle::TrustBundle;
use crate::testing::{Ca, Spec};
use boring::ssl::SslVersion;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

const SERVER: &str = "spiffe://cluster.local/ns/shop/sa/server";
const CLIENT: &str = "spiffe://cluster.local/ns/shop/sa/client";

fn id(text: &str) -> SpiffeId {
    text.parse().unwrap()
}

type Side = Result<(SslStream<DuplexStream>, SpiffeId), TlsError>;

/// Both results. The server's error reaches the client as an alert after the client's own success.
async fn handshake(server: &Identity, client: &Identity, expected: &[SpiffeId]) -> (Side, Side) {
    let (a, b) = duplex(64 * 1024);
    tokio::join!(server.server.accept(a), client.client.connect(b, expected))
}

/// What a sound server says to a client with this certificate.
async fn refusal(ca: &Ca, client: &Identity) -> TlsError {
    let server = ca.identity(&Spec::new(SERVER));
    let (server, _client) = handshake(&server, client, &[id(SERVER)]).await;
    server.unwrap_err()
}

#[tokio::test]
async fn both_sides_learn_who_the_other_is() {
    let ca = Ca::new();
    let (server, client) = handshake(
        &ca.identity(&Spec::new(SERVER)),
        &ca.identity(&Spec::new(CLIENT)),
        &[id("spiffe://cluster.local/ns/shop/sa/other"), id(SERVER)],
    )
    .await;
    let (mut server, seen_client) = server.unwrap();
    let (mut client, seen_server) = client.unwrap();
    assert_eq!((seen_client, seen_server), (id(CLIENT), id(SERVER)));
    client.write_all(b"hello").await.unwrap();
    let mut hello = [0; 5];
    server.read_exact(&mut hello).await.unwrap();
    assert_eq!(&hello, b"hello");
    let ssl = server.ssl();
    assert_eq!(ssl.version2(), Some(SslVersion::TLS1_3));
    assert_eq!(ssl.curve_name(), Some("X25519MLKEM768"));
    assert_eq!(ssl.selected_alpn_protocol(), Some(&b"h2"[..]));
    assert_eq!(
        ssl.servername(boring::ssl::NameType::HOST_NAME),
        None,
        "no SNI"
    );
    assert!(!ssl.session_reused());
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("aes") {
        assert_eq!(
            ssl.current_cipher().unwrap().name(),
            "TLS_AES_128_GCM_SHA256"
        );
    }
}

#[tokio::test]
async fn a_client_without_a_certificate() {
    let ca = Ca::new();
    let server = ca.identity(&Spec::new(SERVER));
    let (a, b) = duplex(64 * 1024);
    let mut builder = base().unwrap();
    builder.set_alpn_protos(ALPN_H2).unwrap();
    let ssl = boring::ssl::Ssl::new(&builder.build()).unwrap();
    let (server, _client) = tokio::join!(
        server.server.accept(a),
        SslStreamBuilder::new(ssl, b).connect()
    );
    assert_eq!(server.unwrap_err(), TlsError::NoCertificate);
}

#[tokio::test]
async fn certificates_that_lead_nowhere() {
    let ca = Ca::new();
    let another = Ca::new();
    // It trusts our root, yet its own certificate comes from another one.
    let stranger = another.identity_trusting(&Spec::new(CLIENT), &ca.bundle());
    assert!(matches!(
        refusal(&ca, &stranger).await,
        TlsError::Untrusted(_)
    ));
    let self_signed = ca.self_signed(&Spec::new(CLIENT));
    assert!(matches!(
        refusal(&ca, &self_signed).await,
        TlsError::Untrusted(_)
    ));
}

#[tokio::test]
async fn certificates_outside_their_validity_or_use() {
    let ca = Ca::new();
    let expired = Spec {
        not_before: -100,
        not_after: -10,
        ..Spec::new(CLIENT)
    };
    assert_eq!(
        refusal(&ca, &ca.identity(&expired)).await,
        TlsError::Expired
    );
    let future = Spec {
        not_before: 100,
        not_after: 200,
        ..Spec::new(CLIENT)
    };
    assert_eq!(
        refusal(&ca, &ca.identity(&future)).await,
        TlsError::NotYetValid
    );
    let server_only = Spec {
        usages: &["serverAuth"],
        ..Spec::new(CLIENT)
    };
    assert_eq!(
        refusal(&ca, &ca.identity(&server_only)).await,
        TlsError::WrongPurpose
    );
}

#[tokio::test]
async fn another_trust_domain() {
    let ca = Ca::new();
    let peer = "spiffe://other.mesh/ns/shop/sa/client";
    let expected = TlsError::TrustDomain {
        peer: id(peer),
        own: "cluster.local".into(),
    };
    assert_eq!(refusal(&ca, &ca.identity(&Spec::new(peer))).await, expected);
}

#[tokio::test]
async fn certificates_that_name_no_workload() {
    let ca = Ca::new();
    let nul = format!("{CLIENT}\0.evil");
    let cases: [&[&str]; 8] = [
        &[],
        &[CLIENT, "spiffe://cluster.local/ns/shop/sa/admin"],
        &[CLIENT, CLIENT],
        &[&nul],
        &["spiffe://cluster.local/ns/shop/sa/%61dmin"],
        &["spiffe://cluster.local/ns/../sa/admin"],
        &["SPIFFE://cluster.local/ns/shop/sa/client"],
        &["https://example.com/"],
    ];
    for uris in cases {
        let client = ca.identity(&Spec {
            uris: uris.to_vec(),
            ..Spec::new(CLIENT)
        });
        let error = refusal(&ca, &client).await;
        assert!(matches!(error, TlsError::Malformed(_)), "{uris:?}: {error}");
    }
    let without = Spec {
        uris: vec![],
        dns: vec![],
        ..Spec::new(CLIENT)
    };
    assert!(matches!(
        refusal(&ca, &ca.identity(&without)).await,
        TlsError::Malformed(_)
    ));
}

#[tokio::test]
async fn a_huge_certificate() {
    let ca = Ca::new();
    let names: Vec<String> = (0..2000)
        .map(|n| format!("{n}.a-rather-long-name.example"))
        .collect();
    let huge = Spec {
        dns: names.iter().map(String::as_str).collect(),
        ..Spec::new(CLIENT)
    };
    let error = refusal(&ca, &ca.identity(&huge)).await;
    assert!(
        matches!(&error, TlsError::Malformed(why) if why.contains("bytes")),
        "{error}"
    );
}

#[tokio::test]
async fn the_client_goes_to_nobody_else() {
    let ca = Ca::new();
    let client = ca.identity(&Spec::new(CLIENT));
    let other = "spiffe://cluster.local/ns/shop/sa/other";
    for (spec, expected) in [
        (
            Spec::new(other),
            TlsError::UnexpectedIdentity { peer: id(other) },
        ),
        (
            Spec {
                not_after: -10,
                not_before: -100,
                ..Spec::new(SERVER)
            },
            TlsError::Expired,
        ),
        (
            Spec {
                usages: &["clientAuth"],
                ..Spec::new(SERVER)
            },
            TlsError::WrongPurpose,
        ),
    ] {
        let (server, seen) = handshake(&ca.identity(&spec), &client, &[id(SERVER)]).await;
        assert_eq!(seen.unwrap_err(), expected);
        assert!(
            matches!(server.unwrap_err(), TlsError::Handshake(_)),
            "the server is told by an alert"
        );
    }
    let (_, seen) = handshake(&ca.identity(&Spec::new(SERVER)), &client, &[]).await;
    assert_eq!(
        seen.unwrap_err(),
        TlsError::UnexpectedIdentity { peer: id(SERVER) },
        "nobody is expected"
    );
}

#[tokio::test]
async fn what_is_no_tls_of_ours() {
    let ca = Ca::new();
    let server = ca.identity(&Spec::new(SERVER));
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"", b"\x16\x03\x01\xff\xff"] {
        let (a, mut b) = duplex(64 * 1024);
        let talk = async {
            b.write_all(bytes).await.unwrap();
            b.shutdown().await.unwrap();
            let mut answer = Vec::new();
            let _ = b.read_to_end(&mut answer).await;
        };
        let (result, ()) = tokio::join!(server.server.accept(a), talk);
        assert!(matches!(result.unwrap_err(), TlsError::Handshake(_)));
    }
}

#[tokio::test]
async fn a_peer_without_alpn_or_with_an_old_version() {
    let ca = Ca::new();
    let spec = Spec::new(CLIENT);
    let (key, chain) = ca.issue(&spec);
    for (alpn, version) in [
        (&b""[..], SslVersion::TLS1_3),
        (b"\x08http/1.1", SslVersion::TLS1_3),
        (b"\x02h2", SslVersion::TLS1_2),
    ] {
        let mut builder = base().unwrap();
        builder
            .set_min_proto_version(Some(SslVersion::TLS1_2))
            .unwrap();
        builder.set_max_proto_version(Some(version)).unwrap();
        present(&mut builder, &key, &chain, false).unwrap();
        if !alpn.is_empty() {
            builder.set_alpn_protos(alpn).unwrap();
        }
        let ssl = boring::ssl::Ssl::new(&builder.build()).unwrap();
        let (a, b) = duplex(64 * 1024);
        let server = ca.identity(&Spec::new(SERVER));
        let (result, _) = tokio::join!(
            server.server.accept(a),
            SslStreamBuilder::new(ssl, b).connect()
        );
        assert!(
            matches!(result.unwrap_err(), TlsError::Handshake(_)),
            "{alpn:?} {version:?}"
        );
    }
}

#[tokio::test]
async fn a_root_that_left_the_bundle_is_not_trusted() {
    let (old, new) = (Ca::new(), Ca::new());
    let both = TrustBundle::from_pem(&[old.pem(), new.pem()]).unwrap();
    let client = old.identity_trusting(&Spec::new(CLIENT), &both);
    let server = new.identity_trusting(&Spec::new(SERVER), &both);
    let (seen, _) = handshake(&server, &client, &[id(SERVER)]).await;
    assert_eq!(seen.unwrap().1, id(CLIENT));
    let server = new.identity_trusting(&Spec::new(SERVER), &new.bundle());
    let (seen, _) = handshake(&server, &client, &[id(SERVER)]).await;
    assert!(matches!(seen.unwrap_err(), TlsError::Untrusted(_)));
}

#[test]
fn every_error_has_its_own_reason() {
    let peer = id(CLIENT);
    let errors = [
        TlsError::NoCertificate,
        TlsError::Untrusted(String::new()),
        TlsError::Expired,
        TlsError::NotYetValid,
        TlsError::WrongPurpose,
        TlsError::TrustDomain {
            peer: peer.clone(),
            own: String::new(),
        },
        TlsError::Malformed(String::new()),
        TlsError::UnexpectedIdentity { peer },
        TlsError::Handshake(String::new()),
        TlsError::Timeout,
    ];
    let reasons: std::collections::HashSet<_> =
        errors.iter().map(|e| e.deny_reason().as_str()).collect();
    assert_eq!(reasons.len(), errors.len());
}

#[test]
fn debug_shows_no_key() {
    let identity = Ca::new().identity(&Spec::new(SERVER));
    let text = format!("{identity:?}").to_lowercase();
    assert!(
        text.contains("servercontext(..)") && !text.contains("private"),
        "{text}"
    );
}
