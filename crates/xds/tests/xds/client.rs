//! The transport against a real gRPC server over TLS: reconnects, resumption, answers, and a response beyond the limit.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use culvert_identity::TrustDomain;
use culvert_identity::ca::{Root, ServerNames};
use culvert_identity::controller::{Auth, Controller};
use culvert_identity::server_tls::{self, Acceptor};
use culvert_identity::token::{TokenKey, TokenKind};
use culvert_proto::ads::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use culvert_proto::ads::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use culvert_proto::type_url::ADDRESS;
use culvert_runtime::{drain, net, task};
use culvert_xds::client::MAX_RESPONSE_BYTES;
use culvert_xds::state::Settings;
use culvert_xds::{Client, Store};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::common::{address, uid, wire, workload};

type Responses = mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>;

/// One stream as the server sees it.
struct Stream {
    requests: Streaming<DeltaDiscoveryRequest>,
    responses: Responses,
}

impl Stream {
    async fn next(&mut self) -> DeltaDiscoveryRequest {
        let request = tokio::time::timeout(Duration::from_secs(30), self.requests.message());
        request.await.unwrap().unwrap().unwrap()
    }

    async fn send(&self, nonce: &str, resources: Vec<culvert_proto::ads::Resource>) {
        let response = DeltaDiscoveryResponse {
            type_url: ADDRESS.into(),
            nonce: nonce.into(),
            resources,
            ..Default::default()
        };
        self.responses.send(Ok(response)).await.unwrap();
    }
}

/// Hands each stream to the test.
struct Server(mpsc::Sender<Stream>);

#[tonic::async_trait]
impl AggregatedDiscoveryService for Server {
    type DeltaAggregatedResourcesStream = ReceiverStream<Result<DeltaDiscoveryResponse, Status>>;

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        if !request.metadata().contains_key("authorization") {
            return Err(Status::unauthenticated("no token"));
        }
        let (responses, outgoing) = mpsc::channel(4);
        let stream = Stream {
            requests: request.into_inner(),
            responses,
        };
        self.0
            .send(stream)
            .await
            .map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }
}

struct Mesh {
    streams: mpsc::Receiver<Stream>,
    store: Store,
    client: tokio::task::JoinHandle<()>,
    client_drain: drain::Trigger,
    _server_drain: drain::Trigger,
}

impl Mesh {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root =
            Root::load_or_create(dir.path(), TrustDomain::new("cluster.local").unwrap()).unwrap();
        let key = TokenKey::load_or_create(dir.path()).unwrap();
        let token = key
            .mint(TokenKind::Node, "n1", &root.root_hash().unwrap())
            .unwrap();
        let names = ServerNames {
            dns: vec!["localhost".into()],
            ips: vec![Ipv4Addr::LOCALHOST.into()],
        };
        let acceptor = Arc::new(Acceptor::new(root, names).unwrap());
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = net::listen(any_port, &net::ListenOptions::default()).unwrap();
        let addr = listener.local_addr().unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let (server_trigger, server_drain) = drain::channel();
        let incoming = server_tls::incoming(listener, acceptor, server_drain);
        let (opened, streams) = mpsc::channel(4);
        task::spawn("test_ads", async move {
            let service = AggregatedDiscoveryServiceServer::new(Server(opened));
            let server = tonic::transport::Server::builder().add_service(service);
            server.serve_with_incoming(incoming).await.unwrap();
        });

        let controller = Controller::new(addr, Auth::JoinToken(token)).unwrap();
        let node = culvert_xds::node(
            "ztunnel",
            addr.ip(),
            "zt",
            "culvert-system",
            &[("NODE_NAME", "n1")],
        );
        let store = Store::new(Settings::default());
        let (client_drain, drain) = drain::channel();
        let client = Client::new(controller, node, &[ADDRESS], store.clone());
        Self {
            streams,
            store,
            client: task::spawn("test_xds", client.run(drain)),
            client_drain,
            _server_drain: server_trigger,
        }
    }

    async fn stream(&mut self) -> Stream {
        let stream = tokio::time::timeout(Duration::from_secs(30), self.streams.recv());
        stream.await.unwrap().unwrap()
    }
}

fn pod(name: &str, version: &str) -> culvert_proto::ads::Resource {
    let workload = workload(name, "10.1.0.1");
    let body = address(culvert_proto::istio::workload::address::Type::Workload(
        workload,
    ));
    wire(ADDRESS, &uid(name), version, body)
}

#[tokio::test]
async fn a_lost_stream_is_resumed_where_it_was() {
    let mut mesh = Mesh::start().await;
    let mut stream = mesh.stream().await;
    let first = stream.next().await;
    assert_eq!(first.type_url, ADDRESS);
    assert_eq!(
        first.node.unwrap().id,
        "ztunnel~127.0.0.1~zt.culvert-system~culvert-system.svc.cluster.local"
    );
    assert!(first.initial_resource_versions.is_empty());
    stream.send("1", vec![pod("a", "v1")]).await;
    let ack = stream.next().await;
    assert_eq!((ack.response_nonce.as_str(), ack.error_detail), ("1", None));
    mesh.store.wait_synced(&[ADDRESS]).await;

    drop(stream);
    let mut stream = mesh.stream().await;
    let again = stream.next().await;
    assert_eq!(again.response_nonce, "");
    assert_eq!(
        again.initial_resource_versions,
        [(uid("a"), "v1".to_owned())].into()
    );
    assert!(
        mesh.store.snapshot().workload(&uid("a")).is_some(),
        "a lost stream takes nothing away"
    );

    let mut bad = pod("b", "v1");
    bad.resource.as_mut().unwrap().value = vec![0xff];
    stream.send("2", vec![bad, pod("c", "v1")]).await;
    let nack = stream.next().await;
    assert_eq!(nack.response_nonce, "2");
    assert!(nack.error_detail.unwrap().message.contains(&uid("b")));
    assert!(mesh.store.snapshot().workload(&uid("c")).is_some());
}

#[tokio::test]
async fn a_response_beyond_the_limit_ends_the_stream_and_changes_nothing() {
    let mut mesh = Mesh::start().await;
    let mut stream = mesh.stream().await;
    stream.next().await;
    stream.send("1", vec![pod("a", "v1")]).await;
    stream.next().await;
    stream
        .send(
            "2",
            vec![wire(ADDRESS, "x", "1", vec![0; MAX_RESPONSE_BYTES + 1])],
        )
        .await;
    let mut stream = mesh.stream().await;
    let again = stream.next().await;
    assert_eq!(
        again.initial_resource_versions,
        [(uid("a"), "v1".to_owned())].into()
    );
}

#[tokio::test]
async fn the_drain_ends_the_client() {
    let mut mesh = Mesh::start().await;
    let mut stream = mesh.stream().await;
    stream.next().await;
    mesh.client_drain.start();
    mesh.client.await.unwrap();
}
