//! The protocol with a real socket and an API server's part played by the test.

use super::*;
use boring::asn1::Asn1Time;
use boring::bn::BigNum;
use boring::ec::{EcGroup, EcKey};
use boring::hash::MessageDigest;
use boring::nid::Nid;
use boring::pkey::{PKey, Private};
use boring::ssl::{SslAcceptor, SslMethod};
use boring::x509::extension::SubjectAlternativeName;
use boring::x509::{X509, X509NameBuilder};
use culvert_cni_wire::{Credentials, SOCKET, encode, hear};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::thread;

fn run(dir: &tempfile::TempDir) -> PathBuf {
    let run = dir.path().join("culvert");
    std::fs::create_dir_all(&run).unwrap();
    run
}

fn credentials_of(dir: &tempfile::TempDir) -> PathBuf {
    let path = culvert_cni_wire::credentials(&run(dir));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    path
}

fn call(dir: &tempfile::TempDir, command: &str, namespace: &str) -> Call {
    let env = |name: &str| match name {
        "CNI_COMMAND" => Some(command.to_owned()),
        "CNI_ARGS" => Some(format!(
            "K8S_POD_NAMESPACE={namespace};K8S_POD_NAME=web;K8S_POD_UID=u"
        )),
        "CNI_NETNS" => Some("/proc/self/ns/net".to_owned()),
        "CNI_CONTAINERID" => Some("c".to_owned()),
        _ => None,
    };
    let previous = json!({"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.5/24"}], "dns": {}});
    let config =
        json!({"cniVersion": "1.0.0", "name": "n", "runDir": run(dir), "prevResult": previous});
    Call::parse(env, config.to_string().as_bytes()).unwrap()
}

/// An agent that answers once.
fn agent(dir: &tempfile::TempDir, answer: Option<Answer>) -> thread::JoinHandle<()> {
    let listener = UnixListener::bind(run(dir).join(SOCKET)).unwrap();
    thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let (question, netns) = hear(&socket).unwrap();
        assert_eq!(
            (&*question.namespace, &*question.name, &*question.uid),
            ("demo", "web", "u")
        );
        assert_eq!(
            question.addresses,
            ["10.0.0.5".parse::<std::net::IpAddr>().unwrap()]
        );
        assert!(netns.is_some());
        if let Some(answer) = answer {
            socket.write_all(&encode(&answer).unwrap()).unwrap();
        }
    })
}

/// An API server that knows one namespace and one pod; its credentials go into `dir`.
fn api(dir: &tempfile::TempDir, mode: &'static str, status: u16) {
    let (key, certificate) = certificate();
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
    acceptor.set_private_key(&key).unwrap();
    acceptor.set_certificate(&certificate).unwrap();
    let acceptor = acceptor.build();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let credentials = Credentials {
        server: listener.local_addr().unwrap().to_string(),
        ca: String::from_utf8(certificate.to_pem().unwrap()).unwrap(),
        token: "T".into(),
    };
    std::fs::write(
        credentials_of(dir),
        serde_json::to_vec(&credentials).unwrap(),
    )
    .unwrap();
    thread::spawn(move || {
        for tcp in listener.incoming() {
            let Ok(mut stream) = acceptor.accept(tcp.unwrap()) else {
                continue;
            };
            let mut request = Vec::new();
            let mut byte = [0; 1];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                request.push(byte[0]);
            }
            let request = String::from_utf8(request).unwrap();
            assert!(request.contains("Authorization: Bearer T\r\n"), "{request}");
            let labels = match request.split(' ').nth(1).unwrap() {
                "/api/v1/namespaces/demo" => json!({"culvert.dev/dataplane-mode": mode}),
                "/api/v1/namespaces/demo/pods/web" => json!({}),
                other => panic!("{other}"),
            };
            let body = json!({"metadata": {"labels": labels}, "message": "no"});
            stream
                .write_all(format!("HTTP/1.0 {status} X\r\n\r\n{body}").as_bytes())
                .unwrap();
            drop(stream.shutdown());
        }
    });
}

fn certificate() -> (PKey<Private>, X509) {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", "kube-apiserver").unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_u32(1).unwrap().to_asn1_integer().unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder
        .set_not_before(&Asn1Time::days_from_now(0).unwrap())
        .unwrap();
    builder
        .set_not_after(&Asn1Time::days_from_now(1).unwrap())
        .unwrap();
    let names = SubjectAlternativeName::new()
        .ip("127.0.0.1")
        .build(&builder.x509v3_context(None, None))
        .unwrap();
    builder.append_extension(&names).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    (key, builder.build())
}

fn refused(call: &Call) -> String {
    answer(call).unwrap_err().message
}

#[test]
fn the_agents_word_counts_and_the_result_before_is_passed_on() {
    let dir = tempfile::tempdir().unwrap();
    let call = call(&dir, "ADD", "demo");
    let agent = agent(&dir, Some(Answer::Start));
    let said: Value = serde_json::from_str(&answer(&call).unwrap()).unwrap();
    assert_eq!(Some(&said), call.previous.as_ref());
    agent.join().unwrap();
}

#[test]
fn a_refusal_is_the_pods_event() {
    let dir = tempfile::tempdir().unwrap();
    let call = call(&dir, "ADD", "demo");
    let agent = agent(&dir, Some(Answer::Refuse("waiting for a ztunnel".into())));
    assert_eq!(refused(&call), "waiting for a ztunnel");
    agent.join().unwrap();
}

#[test]
fn without_an_agent_outsiders_start_and_others_hear_why_not() {
    let dir = tempfile::tempdir().unwrap();
    let call = call(&dir, "ADD", "demo");
    let text = refused(&call);
    assert!(
        text.contains("cni.sock") && text.contains("api.json") && text.contains("cannot be told"),
        "{text}"
    );
    api(&dir, "none", 200);
    assert!(answer(&call).is_ok());
    api(&dir, "ambient", 200);
    let text = refused(&call);
    assert!(
        text.starts_with(
            "pod demo/web is in the mesh, but this node's culvert-agent does not answer"
        ),
        "{text}"
    );
    api(&dir, "none", 401);
    let text = refused(&call);
    assert!(
        text.contains("cannot be told") && text.contains("401 no"),
        "{text}"
    );
}

#[test]
fn an_agent_that_dies_while_it_is_asked_is_no_word() {
    let dir = tempfile::tempdir().unwrap();
    let call = call(&dir, "ADD", "demo");
    let agent = agent(&dir, None);
    api(&dir, "ambient", 200);
    assert!(refused(&call).contains("went while it was asked"));
    agent.join().unwrap();
}

#[test]
fn a_server_that_is_somebody_else_gets_no_token() {
    let dir = tempfile::tempdir().unwrap();
    api(&dir, "none", 200);
    let path = credentials_of(&dir);
    let mut credentials: Credentials =
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    credentials.ca = String::from_utf8(certificate().1.to_pem().unwrap()).unwrap();
    std::fs::write(&path, serde_json::to_vec(&credentials).unwrap()).unwrap();
    let text = refused(&call(&dir, "ADD", "demo"));
    assert!(text.contains("TLS"), "{text}");
}

#[test]
fn the_clusters_own_pods_and_those_that_leave_wait_for_nobody() {
    let dir = tempfile::tempdir().unwrap();
    for namespace in ["kube-system", "culvert-system"] {
        assert!(answer(&call(&dir, "ADD", namespace)).is_ok());
    }
    assert_eq!(answer(&call(&dir, "DEL", "demo")).unwrap(), "");
    assert_eq!(answer(&call(&dir, "CHECK", "demo")).unwrap(), "");
    let versions: Value =
        serde_json::from_str(&answer(&call(&dir, "VERSION", "")).unwrap()).unwrap();
    assert!(
        versions["supportedVersions"]
            .as_array()
            .unwrap()
            .contains(&json!("1.1.0"))
    );
}

#[test]
fn it_comes_after_a_plugin_that_gives_a_network() {
    let dir = tempfile::tempdir().unwrap();
    let call = Call {
        previous: None,
        ..call(&dir, "ADD", "demo")
    };
    assert!(refused(&call).contains("prevResult"));
}
