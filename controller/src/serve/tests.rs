//! The controller as its clients meet it: over TLS on loopback, by token.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use boring::asn1::Asn1Time;
use boring::ec::{EcGroup, EcKey};
use boring::hash::MessageDigest;
use boring::nid::Nid;
use boring::pkey::PKey;
use boring::x509::{X509, X509ReqBuilder};
use culvert_identity::controller::{Auth, Controller};
use culvert_identity::token::TokenKey;
use culvert_identity::{CaClient, CaError, CertificateSource as _};
use culvert_proto::ads::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use culvert_proto::ads::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Status as RpcStatus};
use culvert_proto::node::node_service_client::NodeServiceClient;
use culvert_proto::node::{PodState, Report};
use culvert_runtime::drain;
use serde_json::{Value, json};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};

use crate::app::{self, App};
use crate::config::{Dirs, Kind, Serve, Token};
use crate::testing::{culvert, namespace, pod_value, route, service, waypoint};
use crate::translate::Type;

/// For what must come. Nothing waits this long unless it fails.
const PATIENCE: Duration = Duration::from_secs(20);

struct Mesh {
    _temporary: tempfile::TempDir,
    dirs: Dirs,
    app: App,
    trigger: drain::Trigger,
}

impl Mesh {
    fn start(objects: &[Value]) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let config = temporary.path().to_path_buf();
        let dirs = Dirs {
            state: config.join(".state"),
            status: config.join(".status"),
            config,
        };
        write(&dirs.config, "objects", objects);
        let loopback = "127.0.0.1:0".parse().unwrap();
        let serve = Serve {
            listen: vec![loopback],
            admin: loopback,
            stats: loopback,
            ready: loopback,
            log_format: Default::default(),
        };
        let (trigger, drain) = drain::channel();
        let app = App::start(&serve, &dirs, &drain).unwrap();
        Self {
            _temporary: temporary,
            dirs,
            app,
            trigger,
        }
    }

    fn put(&self, file: &str, objects: &[Value]) {
        write(&self.dirs.config, file, objects);
    }

    fn token(&self, kind: Kind, name: &str) -> String {
        app::token(
            &Token {
                kind,
                name: name.into(),
            },
            &self.dirs,
        )
        .unwrap()
    }

    fn controller(&self, token: String) -> Controller {
        Controller::new(self.app.addresses[0], Auth::JoinToken(token)).unwrap()
    }

    fn node(&self, name: &str) -> Controller {
        self.controller(self.token(Kind::Node, name))
    }

    fn waypoint(&self, name: &str) -> Controller {
        self.controller(self.token(Kind::Waypoint, name))
    }

    /// Wait until the status file satisfies `expected`.
    async fn status(&self, what: &str, expected: impl Fn(&Value) -> bool) {
        let path = self.dirs.status.join("status.json");
        let waiting = async {
            loop {
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                let status: Value = serde_json::from_str(&text).unwrap_or_default();
                if expected(&status) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting)
            .await
            .unwrap_or_else(|_| panic!("{what}: {}", std::fs::read_to_string(&path).unwrap()));
    }
}

fn write(config: &std::path::Path, file: &str, objects: &[Value]) {
    let documents: Vec<_> = objects.iter().map(ToString::to_string).collect();
    let temporary: PathBuf = config.join(format!(".{file}"));
    std::fs::write(&temporary, documents.join("\n---\n")).unwrap();
    std::fs::rename(temporary, config.join(format!("{file}.yaml"))).unwrap();
}

struct Stream {
    requests: tokio::sync::mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
}

impl Stream {
    async fn open(controller: &Controller) -> Result<Self, tonic::Status> {
        let (requests, outgoing) = tokio::sync::mpsc::channel(64);
        let request = controller.authorize(tonic::Request::new(ReceiverStream::new(outgoing)))?;
        let mut client = AggregatedDiscoveryServiceClient::new(controller.channel());
        let responses = client
            .delta_aggregated_resources(request)
            .await?
            .into_inner();
        Ok(Self {
            requests,
            responses,
        })
    }

    async fn subscribe(&self, kind: Type) {
        let request = DeltaDiscoveryRequest {
            type_url: kind.url().into(),
            ..Default::default()
        };
        self.requests.send(request).await.unwrap();
    }

    async fn next(&mut self) -> DeltaDiscoveryResponse {
        let message = tokio::time::timeout(PATIENCE, self.responses.message()).await;
        message
            .expect("no response")
            .unwrap()
            .expect("the stream ended")
    }

    async fn answer(&self, response: &DeltaDiscoveryResponse, error: Option<&str>) {
        let status = |message: &str| RpcStatus {
            code: 3,
            message: message.into(),
            details: Vec::new(),
        };
        let request = DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            error_detail: error.map(status),
            ..Default::default()
        };
        self.requests.send(request).await.unwrap();
    }

    /// The next response, acknowledged.
    async fn take(&mut self) -> DeltaDiscoveryResponse {
        let response = self.next().await;
        self.answer(&response, None).await;
        response
    }
}

fn text(response: &DeltaDiscoveryResponse) -> String {
    let mut words = vec![Type::of_url(&response.type_url).unwrap().to_string()];
    words.extend(
        response
            .resources
            .iter()
            .map(|resource| format!("+{}", resource.name)),
    );
    words.extend(
        response
            .removed_resources
            .iter()
            .map(|name| format!("-{name}")),
    );
    words.join(" ")
}

fn demo() -> Vec<Value> {
    let mut elsewhere = pod_value("demo", "b", "10.0.0.2");
    elsewhere["spec"]["nodeName"] = json!("n2");
    vec![
        json!({"apiVersion": "culvert.dev/v1alpha1", "kind": "MeshConfig", "metadata": {"name": "default"}, "spec": {"certificateTTL": "10s"}}),
        namespace("demo", json!({"culvert.dev/dataplane-mode": "ambient"})),
        pod_value("demo", "a", "10.0.0.1"),
        elsewhere,
        service("demo", "a", "a", "10.96.0.1"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_reaches_the_client_policy_first() {
    let mesh = Mesh::start(&demo());
    let controller = mesh.node("n1");
    let mut stream = Stream::open(&controller).await.unwrap();
    for kind in [Type::Address, Type::Authorization, Type::TrustBundle] {
        stream.subscribe(kind).await;
    }
    assert_eq!(stream.take().await.resources.len(), 3);
    assert_eq!(text(&stream.take().await), "Authorization");
    assert_eq!(text(&stream.take().await), "TrustBundle +default");
    let policy = |app: &str| {
        culvert(
            "AuthorizationPolicy",
            "demo",
            app,
            json!({"selector": {"matchLabels": {"app": app}}}),
        )
    };
    mesh.put("policy", &[policy("a"), policy("b")]);
    assert_eq!(text(&stream.take().await), "Authorization +demo/a");
    assert_eq!(
        text(&stream.take().await),
        "Address +Kubernetes//Pod/demo/a +Kubernetes//Pod/demo/b"
    );
    std::fs::remove_file(mesh.dirs.config.join("policy.yaml")).unwrap();
    assert_eq!(
        text(&stream.take().await),
        "Address +Kubernetes//Pod/demo/a +Kubernetes//Pod/demo/b"
    );
    assert_eq!(text(&stream.take().await), "Authorization -demo/a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_type_that_is_not_served_there_is_nothing_and_the_stream_goes_on() {
    let mesh = Mesh::start(&demo());
    let controller = mesh.node("n1");
    let mut stream = Stream::open(&controller).await.unwrap();
    let request = DeltaDiscoveryRequest {
        type_url: "type.googleapis.com/culvert.node.v9.Later".into(),
        initial_resource_versions: [("kept".into(), "1".into())].into(),
        ..Default::default()
    };
    stream.requests.send(request.clone()).await.unwrap();
    let nothing = stream.take().await;
    let expected = DeltaDiscoveryResponse {
        type_url: request.type_url,
        nonce: nothing.nonce.clone(),
        ..Default::default()
    };
    assert_eq!(nothing, expected);
    // That it was taken gets no answer.
    stream.subscribe(Type::TrustBundle).await;
    assert_eq!(text(&stream.take().await), "TrustBundle +default");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_good_token_nothing_is_said() {
    let mesh = Mesh::start(&demo());
    let good = mesh.token(Kind::Node, "n1");
    let root = culvert_identity::token::parse_unverified(&good)
        .unwrap()
        .root;
    let other = TokenKey::load_or_create(&mesh.dirs.config.join(".other")).unwrap();
    let forged = other.mint(Kind::Node.into(), "n1", &root).unwrap();
    let controller = mesh.controller(forged);
    let refused = Stream::open(&controller).await.err().unwrap();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let refused = CaClient::new(controller.clone(), PATIENCE)
        .sign(&id("demo", "a"), &csr())
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("signature"), "{refused}");
    let mut node = NodeServiceClient::new(controller.channel());
    let reports = controller
        .authorize(tonic::Request::new(tokio_stream::iter([Report::default()])))
        .unwrap();
    assert_eq!(
        node.report(reports).await.unwrap_err().code(),
        Code::Unauthenticated
    );
    // None at all.
    let mut ads = AggregatedDiscoveryServiceClient::new(mesh.controller(good).channel());
    let none = ads.delta_aggregated_resources(tokio_stream::iter([])).await;
    assert_eq!(none.unwrap_err().code(), Code::Unauthenticated);
}

fn id(namespace: &str, account: &str) -> culvert_identity::SpiffeId {
    format!("spiffe://cluster.local/ns/{namespace}/sa/{account}")
        .parse()
        .unwrap()
}

/// Names in a CSR do not count: it asks for someone else.
fn csr() -> String {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut name = boring::x509::X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", "spiffe://cluster.local/ns/demo/sa/root")
        .unwrap();
    let mut request = X509ReqBuilder::new().unwrap();
    request.set_subject_name(&name.build()).unwrap();
    request.set_pubkey(&key).unwrap();
    request.sign(&key, MessageDigest::sha256()).unwrap();
    String::from_utf8(request.build().to_pem().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_only_for_ones_own() {
    let mesh = Mesh::start(&demo());
    let sign = async |controller: Controller, namespace: &str, account: &str| {
        let client = CaClient::new(controller, Duration::from_secs(86_400));
        client.sign(&id(namespace, account), &csr()).await
    };
    let chain = sign(mesh.node("n1"), "demo", "a").await.unwrap();
    let leaf = X509::from_pem(chain[0].as_bytes()).unwrap();
    let uris: Vec<_> = leaf
        .subject_alt_names()
        .unwrap()
        .iter()
        .filter_map(|n| n.uri().map(str::to_owned))
        .collect();
    assert_eq!(uris, ["spiffe://cluster.local/ns/demo/sa/a"]);
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let soon = Asn1Time::from_unix(i64::try_from(now).unwrap() + 11).unwrap();
    assert!(
        *leaf.not_after() < *soon,
        "the MeshConfig's ten seconds count, not the day that was asked for"
    );

    for (controller, namespace, account, reason) in [
        (
            mesh.node("n1"),
            "demo",
            "b",
            "node n1 runs no enrolled pod of service account demo/b",
        ),
        (
            mesh.node("n2"),
            "demo",
            "a",
            "node n2 runs no enrolled pod of service account demo/a",
        ),
        (
            mesh.node("n1"),
            "other",
            "a",
            "node n1 runs no enrolled pod of service account other/a",
        ),
        (
            mesh.waypoint("demo/gate"),
            "demo",
            "a",
            "waypoint demo/gate may not act as demo/a",
        ),
    ] {
        match sign(controller, namespace, account).await {
            Err(CaError::Refused(message)) => assert!(message.contains(reason), "{message}"),
            other => panic!("{namespace}/{account}: {other:?}"),
        }
    }
    assert!(
        sign(mesh.waypoint("demo/gate"), "demo", "gate")
            .await
            .is_ok()
    );
    // A pod that leaves the mesh takes its identity with it.
    let mut objects = demo();
    objects[2]["metadata"]["labels"]["culvert.dev/dataplane-mode"] = json!("none");
    mesh.put("objects", &objects);
    mesh.status("un-enrolment", |status| {
        status["nodes"][0]["pods"][0]["enrolled"] == json!(false)
    })
    .await;
    assert!(sign(mesh.node("n1"), "demo", "a").await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_never_answers_holds_up_nobody() {
    let mesh = Mesh::start(&demo());
    let controller = mesh.node("n1");
    let mut slow = Stream::open(&controller).await.unwrap();
    slow.subscribe(Type::Address).await;
    let first = slow.next().await;
    let mut quick = Stream::open(&controller).await.unwrap();
    quick.subscribe(Type::Address).await;
    quick.take().await;
    for i in 3..6 {
        mesh.put("more", &[pod_value("demo", "c", &format!("10.0.0.{i}"))]);
        assert_eq!(text(&quick.take().await), "Address +Kubernetes//Pod/demo/c");
    }
    slow.answer(&first, None).await;
    let response = slow.take().await;
    assert_eq!(text(&response), "Address +Kubernetes//Pod/demo/c");
    assert_eq!(response.nonce, "2", "three changes came as one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waypoint_is_programmed_when_it_has_taken_everything() {
    let mut objects = demo();
    objects[4]["metadata"]["labels"] = json!({"culvert.dev/use-waypoint": "gate"});
    objects.push(waypoint("demo", "gate", "10.0.0.9"));
    let parents = json!([{"group": "", "kind": "Service", "name": "a"}]);
    objects.push(route(
        "demo",
        "r",
        json!({"parentRefs": parents, "rules": [{"backendRefs": [{"name": "a", "port": 80}]}]}),
    ));
    let mesh = Mesh::start(&objects);
    let controller = mesh.node("n1");
    let mut ztunnel = Stream::open(&controller).await.unwrap();
    ztunnel.subscribe(Type::Address).await;
    ztunnel.take().await;
    let controller = mesh.waypoint("demo/gate");
    let mut gate = Stream::open(&controller).await.unwrap();
    for kind in [Type::Authorization, Type::Address, Type::HttpRoute] {
        gate.subscribe(kind).await;
    }
    gate.take().await;
    gate.take().await;
    let routes = gate.next().await;
    assert_eq!(text(&routes), "HttpRoute +HTTPRoute/demo/r");
    mesh.status("connected", |status| {
        status["waypoints"][0]["connected"] == json!(true)
    })
    .await;
    gate.answer(&routes, Some("1 rejected: HTTPRoute/demo/r: no"))
        .await;
    mesh.status("refusal", |status| {
        let waypoint = &status["waypoints"][0];
        waypoint["error"] == json!("HttpRoute: 1 rejected: HTTPRoute/demo/r: no")
            && waypoint["programmed"] == json!(false)
            && waypoint["waiting"] == json!(["demo/a"])
    })
    .await;
    let rules = json!([{"backendRefs": [{"name": "a", "port": 80, "weight": 2}]}]);
    objects.last_mut().unwrap()["spec"]["rules"] = rules;
    mesh.put("objects", &objects);
    gate.take().await;
    assert_eq!(
        text(&ztunnel.take().await),
        "Address +demo/a.demo.svc.cluster.local"
    );
    mesh.status("programmed", |status| {
        let waypoint = &status["waypoints"][0];
        waypoint["programmed"] == json!(true)
            && waypoint["services"] == json!(["demo/a"])
            && waypoint["error"] == json!("")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_agents_report_is_shown_believed_and_remembered() {
    let mesh = Mesh::start(&demo());
    let controller = mesh.node("n1");
    let state = |pod: &str| PodState {
        uid: format!("Kubernetes//Pod/demo/{pod}"),
        capture: "captured".into(),
        ..PodState::default()
    };
    let report = Report {
        component: "agent".into(),
        version: "1.2.3".into(),
        pods: vec![state("a"), state("b")],
        ..Report::default()
    };
    let (reports, outgoing) = tokio::sync::mpsc::channel(4);
    reports.send(report).await.unwrap();
    let request = controller
        .authorize(tonic::Request::new(ReceiverStream::new(outgoing)))
        .unwrap();
    let mut client = NodeServiceClient::new(controller.channel());
    let call = tokio::spawn(async move { client.report(request).await });
    mesh.status("report", |status| {
        let [own, other] = [0, 1].map(|i| &status["nodes"][i]);
        own["agent"]["connected"] == json!(true)
            && own["agent"]["version"] == json!("1.2.3")
            && own["pods"][0]["hbone"] == json!(true)
            && other["pods"][0]["hbone"] == json!(false)
    })
    .await;
    let memory = std::fs::read_to_string(mesh.dirs.status.join("memory.json")).unwrap();
    assert!(
        memory.contains("demo/a") && !memory.contains("demo/b"),
        "{memory}"
    );
    drop(reports);
    call.await.unwrap().unwrap();
    mesh.status("end of the report", |status| {
        status["nodes"][0]["agent"]["connected"] == json!(false)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_mesh_config_is_not_taken_for_none() {
    let temporary = tempfile::tempdir().unwrap();
    let config = temporary.path().to_path_buf();
    let dirs = Dirs {
        state: config.join(".state"),
        status: config.join(".status"),
        config,
    };
    let wrong = json!({"apiVersion": "culvert.dev/v1alpha1", "kind": "MeshConfig", "metadata": {"name": "default"}, "spec": {"trustdomain": "x"}});
    write(&dirs.config, "mesh", &[wrong]);
    let error = app::token(
        &Token {
            kind: Kind::Node,
            name: "n1".into(),
        },
        &dirs,
    )
    .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("mesh.yaml:1: MeshConfig default: spec.trustdomain: unknown field"),
        "{error}"
    );
    assert!(!dirs.state.join("root.pem").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_drain_ends_streams_and_the_program() {
    let mesh = Mesh::start(&demo());
    let controller = mesh.node("n1");
    let mut stream = Stream::open(&controller).await.unwrap();
    stream.subscribe(Type::Address).await;
    stream.take().await;
    mesh.trigger.start();
    let ended = tokio::time::timeout(PATIENCE, stream.responses.message())
        .await
        .unwrap();
    assert_eq!(ended.unwrap_err().code(), Code::Unavailable);
    tokio::time::timeout(PATIENCE, mesh.app.finished())
        .await
        .unwrap();
}

mod lag;
