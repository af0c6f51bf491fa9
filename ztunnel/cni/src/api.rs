//! Asks the Kubernetes API whether a pod is in the mesh, when no agent answers: a few blocking lines of HTTP/1.1, since
//! nothing else of the plugin needs more.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use boring::error::ErrorStack;
use boring::ssl::{SslConnector, SslMethod, SslVerifyMode};
use boring::x509::X509;
use boring::x509::store::X509StoreBuilder;
use culvert_cni_wire::Credentials;
use culvert_enrolment::{Map, Pod, decide, foreign, keys};
use serde_json::Value;

use crate::call::Call;

const CONNECT: Duration = Duration::from_secs(3);
const WAIT: Duration = Duration::from_secs(5);
/// A pod with its status is a few kilobytes; etcd takes no object of more than 1.5 MiB.
const LONGEST: u64 = 4 << 20;

/// Whether a pod is in the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Member {
    Inside,
    Outside,
}

/// Why that cannot be told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("{path}: {source}")]
    Credentials { path: String, source: io::Error },
    #[error("Kubernetes API {server}: {source}")]
    Connection { server: String, source: io::Error },
    #[error("Kubernetes API {server}: TLS: {why}")]
    Tls { server: String, why: String },
    #[error("Kubernetes API: {path}: {why}")]
    Answer { path: String, why: String },
}

/// Ask.
pub(crate) fn member(call: &Call) -> Result<Member, ApiError> {
    let Call {
        namespace, name, ..
    } = call;
    let credentials = credentials(&culvert_cni_wire::credentials(&call.run_dir))?;
    let of_namespace = get(&credentials, &path(&["namespaces", namespace])?)?;
    let of_pod = get(
        &credentials,
        &path(&["namespaces", namespace, "pods", name])?,
    )?;
    Ok(judge(&of_namespace, &of_pod, namespace))
}

/// What follows from the two objects.
pub(crate) fn judge(namespace: &Value, pod: &Value, name: &str) -> Member {
    let map = |object: &Value, pointer: &str| -> Map {
        let found = object.pointer(pointer).and_then(Value::as_object);
        let text =
            |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
        found.into_iter().flatten().filter_map(text).collect()
    };
    let (labels, of_namespace) = (
        map(pod, "/metadata/labels"),
        map(namespace, "/metadata/labels"),
    );
    let value = |map: &'_ Map, key: &str| map.get(key).cloned();
    let decided = decide(&Pod {
        namespace: name,
        namespace_mode: value(&of_namespace, keys::DATAPLANE_MODE).as_deref(),
        mode: value(&labels, keys::DATAPLANE_MODE).as_deref(),
        gateway_class: value(&labels, keys::GATEWAY_CLASS).as_deref(),
        foreign: foreign::mark(&map(pod, "/metadata/annotations")),
        host_network: pod.pointer("/spec/hostNetwork") == Some(&Value::Bool(true)),
        // It is about to start.
        ended: false,
    });
    if decided.is_ok() {
        Member::Inside
    } else {
        Member::Outside
    }
}

/// A path in the API. Names come from the runtime; what is no name of Kubernetes is none of a pod.
fn path(parts: &[&str]) -> Result<String, ApiError> {
    let plain = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.'
    };
    let path = format!("/api/v1/{}", parts.join("/"));
    match parts
        .iter()
        .all(|part| !part.is_empty() && part.bytes().all(plain))
    {
        true => Ok(path),
        false => Err(ApiError::Answer {
            path,
            why: "no name of Kubernetes".to_owned(),
        }),
    }
}

fn credentials(path: &Path) -> Result<Credentials, ApiError> {
    let read = || -> io::Result<Credentials> { Ok(serde_json::from_slice(&std::fs::read(path)?)?) };
    read().map_err(|source| ApiError::Credentials {
        path: path.display().to_string(),
        source,
    })
}

fn get(credentials: &Credentials, path: &str) -> Result<Value, ApiError> {
    let Credentials { server, ca, token } = credentials;
    let connection = |source: io::Error| ApiError::Connection {
        server: server.clone(),
        source,
    };
    let tls = |why: String| ApiError::Tls {
        server: server.clone(),
        why,
    };
    let address: SocketAddr = server
        .parse()
        .map_err(|_| connection(io::ErrorKind::InvalidInput.into()))?;
    let connector = connector(ca).map_err(|error| tls(error.to_string()))?;
    let tcp = TcpStream::connect_timeout(&address, CONNECT).map_err(connection)?;
    let timeouts = tcp
        .set_read_timeout(Some(WAIT))
        .and(tcp.set_write_timeout(Some(WAIT)));
    timeouts.map_err(connection)?;
    let stream = connector.connect(&address.ip().to_string(), tcp);
    let mut stream = stream.map_err(|error| tls(error.to_string()))?;
    let request = format!(
        "GET {path} HTTP/1.0\r\nHost: {server}\r\nAuthorization: Bearer {token}\r\nAccept: application/json\r\n\
         User-Agent: culvert-cni\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).map_err(connection)?;
    let mut response = Vec::new();
    stream
        .take(LONGEST)
        .read_to_end(&mut response)
        .map_err(connection)?;
    parse(&response).map_err(|why| ApiError::Answer {
        path: path.to_owned(),
        why,
    })
}

/// A client that trusts these roots and no others.
fn connector(ca: &str) -> Result<SslConnector, ErrorStack> {
    let mut builder = SslConnector::builder(SslMethod::tls())?;
    let mut store = X509StoreBuilder::new()?;
    for root in X509::stack_from_pem(ca.as_bytes())? {
        store.add_cert(root)?;
    }
    builder.set_cert_store_builder(store);
    builder.set_verify(SslVerifyMode::PEER);
    Ok(builder.build())
}

/// The object in an answer to HTTP/1.0, which ends with the connection.
fn parse(response: &[u8]) -> Result<Value, String> {
    let end = response.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.ok_or("the answer ends too early")?;
    let (head, body) = (
        response.get(..end).unwrap_or_default(),
        response.get(end + 4..).unwrap_or_default(),
    );
    let head = String::from_utf8_lossy(head);
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status != "200" {
        let said = serde_json::from_slice::<Value>(body).ok();
        let said = said.as_ref().and_then(|said| said.get("message")?.as_str());
        return Err(format!("{status} {}", said.unwrap_or_default()));
    }
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_labels_decide_as_everywhere() {
        let ambient =
            json!({"metadata": {"labels": {"culvert.dev/dataplane-mode": "ambient", "n": 1}}});
        let plain = json!({"metadata": {}});
        let host = json!({"metadata": {}, "spec": {"hostNetwork": true}});
        for (namespace, pod, name, expected) in [
            (&ambient, &plain, "demo", Member::Inside),
            (&plain, &plain, "demo", Member::Outside),
            (&plain, &ambient, "demo", Member::Inside),
            (&ambient, &host, "demo", Member::Outside),
            (&ambient, &ambient, SYSTEM, Member::Outside),
        ] {
            assert_eq!(judge(namespace, pod, name), expected, "{namespace} {pod}");
        }
    }

    const SYSTEM: &str = culvert_enrolment::SYSTEM_NAMESPACE;

    #[test]
    fn answers() {
        let ok = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"a\": 1}";
        assert_eq!(parse(ok), Ok(json!({"a": 1})));
        let refused = b"HTTP/1.0 403 Forbidden\r\n\r\n{\"message\": \"pods is forbidden\"}";
        assert_eq!(parse(refused), Err("403 pods is forbidden".to_owned()));
        for broken in [
            &b""[..],
            b"HTTP/1.0 200 OK\r\n",
            b"HTTP/1.0 200 OK\r\n\r\n{",
            b"\r\n\r\n",
        ] {
            assert!(parse(broken).is_err());
        }
    }

    #[test]
    fn names_that_are_none_are_not_asked_for() {
        assert_eq!(
            path(&["namespaces", "demo"]).unwrap(),
            "/api/v1/namespaces/demo"
        );
        for bad in ["", "..?x", "a/b", "a b", "A", "a\r\nX: y"] {
            assert!(path(&["namespaces", bad]).is_err(), "{bad:?}");
        }
    }
}
