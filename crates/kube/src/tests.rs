//! The client against a small API server over TLS, on IPv4 and IPv6.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use boring::asn1::Asn1Time;
use boring::ec::{EcGroup, EcKey};
use boring::hash::MessageDigest;
use boring::nid::Nid;
use boring::pkey::{PKey, Private};
use boring::ssl::{SslAcceptor, SslMethod, SslVerifyMode};
use boring::x509::extension::{BasicConstraints, SubjectAlternativeName};
use boring::x509::{X509, X509NameBuilder};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::json;
use tokio::net::TcpListener;

use crate::{Access, ConnectError, connect};

struct Pair {
    key: PKey<Private>,
    certificate: X509,
}

fn pair(name: &str, issuer: Option<&Pair>, alternative: &[&str]) -> Pair {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_nid(Nid::COMMONNAME, name).unwrap();
    let subject = subject.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let serial = boring::bn::BigNum::from_u32(rand::random::<u32>() >> 1).unwrap();
    let serial = serial.to_asn1_integer().unwrap();
    builder.set_serial_number(&serial).unwrap();
    let (from, to) = (Asn1Time::days_from_now(0), Asn1Time::days_from_now(1));
    builder.set_not_before(&from.unwrap()).unwrap();
    builder.set_not_after(&to.unwrap()).unwrap();
    builder.set_subject_name(&subject).unwrap();
    let above = issuer.map_or(&*subject, |issuer| issuer.certificate.subject_name());
    builder.set_issuer_name(above).unwrap();
    builder.set_pubkey(&key).unwrap();
    if issuer.is_none() {
        let extension = BasicConstraints::new().critical().ca().build().unwrap();
        builder.append_extension(&extension).unwrap();
    }
    if !alternative.is_empty() {
        let mut names = SubjectAlternativeName::new();
        for name in alternative {
            match name.parse::<std::net::IpAddr>() {
                Ok(_) => names.ip(name),
                Err(_) => names.dns(name),
            };
        }
        let names = names.build(&builder.x509v3_context(None, None)).unwrap();
        builder.append_extension(&names).unwrap();
    }
    let signer = issuer.map_or(&key, |issuer| &issuer.key);
    builder.sign(signer, MessageDigest::sha256()).unwrap();
    Pair {
        certificate: builder.build(),
        key,
    }
}

fn pem(pair: &Pair) -> String {
    String::from_utf8(pair.certificate.to_pem().unwrap()).unwrap()
}

/// What a request showed of its sender: the client certificate's name and the token.
type Seen = Arc<Mutex<Vec<(Option<String>, Option<String>)>>>;

async fn server(address: &str, own: &Pair, clients: &Pair) -> (SocketAddr, Seen) {
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
    acceptor.set_certificate(&own.certificate).unwrap();
    acceptor.set_private_key(&own.key).unwrap();
    acceptor
        .cert_store_mut()
        .add_cert(clients.certificate.clone())
        .unwrap();
    acceptor.set_verify(SslVerifyMode::PEER);
    let acceptor = acceptor.build();
    let listener = TcpListener::bind(address).await.unwrap();
    let bound = listener.local_addr().unwrap();
    let seen = Seen::default();
    let into = Arc::clone(&seen);
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            // A client that does not trust us goes away here.
            let Ok(tls) = tokio_boring::accept(&acceptor, tcp).await else {
                continue;
            };
            let who = tls.ssl().peer_certificate().map(|certificate| {
                let entry = certificate.subject_name().entries().next().unwrap();
                entry.data().as_utf8().unwrap().to_string()
            });
            let seen = Arc::clone(&into);
            let answer = service_fn(move |request: Request<Incoming>| {
                let token = request.headers().get("authorization");
                let token = token.map(|value| value.to_str().unwrap().to_owned());
                seen.lock().unwrap().push((who.clone(), token));
                assert_eq!(request.uri().path(), "/api/v1/namespaces/a/configmaps/b");
                let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b", "namespace": "a"}, "data": {"x": "y"}});
                let body = Full::new(Bytes::from(body.to_string()));
                async move { Ok::<_, std::convert::Infallible>(Response::new(body)) }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(tls), answer),
            );
        }
    });
    (bound, seen)
}

fn kubeconfig(
    dir: &Path,
    server: &str,
    cluster: &serde_json::Value,
    user: &serde_json::Value,
) -> Access {
    let mut cluster = cluster.clone();
    cluster["server"] = json!(format!("https://{server}"));
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    });
    let path = dir.join("config");
    std::fs::write(&path, text.to_string()).unwrap();
    Access::Kubeconfig(path)
}

async fn get(access: &Access) -> Result<ConfigMap, String> {
    let client = connect(access).await.map_err(|e| e.to_string())?;
    let maps: Api<ConfigMap> = Api::namespaced(client, "a");
    maps.get("b").await.map_err(|e| format!("{e:?}"))
}

#[tokio::test]
async fn certificates_and_tokens_over_both_families() {
    let root = pair("root", None, &[]);
    let own = pair("server", Some(&root), &["127.0.0.1", "::1"]);
    let mallory = pair("root", None, &[]);
    let client = pair("alice", Some(&root), &[]);
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let key = String::from_utf8(client.key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    let trusted = json!({"certificate-authority": file("ca.crt", &pem(&root))});
    let by_certificate = json!({
        "client-certificate": file("alice.crt", &pem(&client)), "client-key": file("alice.key", &key),
    });
    let by_token = json!({"tokenFile": file("token", "secret-1")});
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let (bound, seen) = server(address, &own, &root).await;
        let bound = bound.to_string();
        let access = kubeconfig(dir.path(), &bound, &trusted, &by_certificate);
        let map = get(&access).await.unwrap();
        assert_eq!(map.data.unwrap()["x"], "y");
        let access = kubeconfig(dir.path(), &bound, &trusted, &by_token);
        get(&access).await.unwrap();
        let seen = std::mem::take(&mut *seen.lock().unwrap());
        let token = Some("Bearer secret-1".to_owned());
        assert_eq!(seen, [(Some("alice".into()), None), (None, token)]);
    }
    // A server of another root, or of another name, hears nothing.
    let impostor = pair("server", Some(&mallory), &["127.0.0.1"]);
    let (bound, seen) = server("127.0.0.1:0", &impostor, &root).await;
    let access = kubeconfig(dir.path(), &bound.to_string(), &trusted, &by_token);
    assert!(
        get(&access)
            .await
            .unwrap_err()
            .contains("CERTIFICATE_VERIFY_FAILED")
    );
    assert!(seen.lock().unwrap().is_empty());
    let named = pair("server", Some(&root), &["api.example"]);
    let (bound, seen) = server("127.0.0.1:0", &named, &root).await;
    let access = kubeconfig(dir.path(), &bound.to_string(), &trusted, &by_token);
    assert!(get(&access).await.is_err());
    assert!(seen.lock().unwrap().is_empty());
    let mut expected = trusted.clone();
    expected["tls-server-name"] = json!("api.example");
    let access = kubeconfig(dir.path(), &bound.to_string(), &expected, &by_token);
    get(&access).await.unwrap();
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_wrong_with_a_kubeconfig_is_said_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let wrong = async |cluster, user| {
        let access = kubeconfig(dir.path(), "127.0.0.1:1", &cluster, &user);
        connect(&access).await.err().unwrap().to_string()
    };
    let error = wrong(json!({}), json!({"client-certificate-data": "AAAA"})).await;
    assert!(error.contains("both or neither"), "{error}");
    let error = wrong(
        json!({}),
        json!({"client-certificate-data": "-", "client-key-data": "-"}),
    )
    .await;
    assert!(
        error.contains("client-certificate-data is no base64"),
        "{error}"
    );
    let missing = dir.path().join("none").display().to_string();
    let error = wrong(json!({}), json!({"tokenFile": missing})).await;
    assert!(error.contains("/none"), "{error}");
    let user = json!({"client-certificate": missing, "client-key": missing});
    let error = wrong(json!({}), user).await;
    assert!(error.contains("/none: No such file"), "{error}");
    let error = wrong(json!({"proxy-url": "http://proxy.example:3128"}), json!({})).await;
    assert!(error.contains("http://proxy.example:3128"), "{error}");
    let absent = Access::Kubeconfig(dir.path().join("absent"));
    let error = connect(&absent).await.err().unwrap();
    assert!(matches!(error, ConnectError::Kubeconfig { .. }), "{error}");
}
