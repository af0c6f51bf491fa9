//! A real gRPC server behind our acceptor, and clients with the right and the wrong pin.

use super::*;
use crate::ca::{Root, ServerNames};
use crate::server_tls::{self, Acceptor};
use crate::token::{TokenKey, TokenKind};
use crate::{CaClient, CaError, CertificateSource, SpiffeId, TrustDomain, csr};
use culvert_proto::istio::ca::istio_certificate_service_server::{
    IstioCertificateService, IstioCertificateServiceServer,
};
use culvert_proto::istio::ca::{IstioCertificateRequest, IstioCertificateResponse};
use culvert_runtime::drain;
use std::io::Write as _;
use tempfile::TempDir;
use tonic::{Request, Response, Status};

struct Mesh {
    dir: TempDir,
    root: Root,
    key: TokenKey,
    addr: SocketAddr,
    _drain: drain::Trigger,
}

struct Service {
    root: Root,
    key: TokenKey,
}

#[tonic::async_trait]
impl IstioCertificateService for Service {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let token = request
            .metadata()
            .get("authorization")
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default();
        let token = token.strip_prefix("Bearer ").unwrap_or_default();
        self.key
            .verify(token)
            .map_err(|error| Status::permission_denied(error.to_string()))?;
        let request = request.into_inner();
        let id = match &request.metadata.unwrap().fields["ImpersonatedIdentity"].kind {
            Some(prost_types::value::Kind::StringValue(id)) => id.parse::<SpiffeId>().unwrap(),
            other => panic!("{other:?}"),
        };
        let ttl = Duration::from_secs(request.validity_duration.try_into().unwrap());
        let cert_chain = self.root.sign_csr(&request.csr, &id, ttl).unwrap();
        Ok(Response::new(IstioCertificateResponse { cert_chain }))
    }
}

async fn mesh() -> Mesh {
    let dir = tempfile::tempdir().unwrap();
    let root =
        Root::load_or_create(dir.path(), TrustDomain::new("cluster.local").unwrap()).unwrap();
    let key = TokenKey::load_or_create(dir.path()).unwrap();
    let names = ServerNames {
        dns: vec!["localhost".into()],
        ips: vec!["127.0.0.1".parse().unwrap()],
    };
    let acceptor = Arc::new(Acceptor::new(root.clone(), names).unwrap());
    let listener = net::listen(
        "127.0.0.1:0".parse().unwrap(),
        &net::ListenOptions::default(),
    )
    .unwrap();
    let addr = listener.local_addr().unwrap();
    let (trigger, drain) = drain::channel();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let incoming = server_tls::incoming(listener, acceptor, drain);
    let service = Service {
        root: root.clone(),
        key: key.clone(),
    };
    culvert_runtime::task::spawn("test_controller", async move {
        let server = tonic::transport::Server::builder()
            .add_service(IstioCertificateServiceServer::new(service));
        server.serve_with_incoming(incoming).await.unwrap();
    });
    Mesh {
        dir,
        root,
        key,
        addr,
        _drain: trigger,
    }
}

async fn sign(addr: SocketAddr, auth: Auth) -> Result<Vec<String>, CaError> {
    let controller = Controller::new(addr, auth).unwrap();
    let id: SpiffeId = "spiffe://cluster.local/ns/shop/sa/a".parse().unwrap();
    let request = csr::new_request(&id).unwrap();
    CaClient::new(controller, Duration::from_secs(60))
        .sign(&id, &request.pem)
        .await
}

#[tokio::test]
async fn a_join_token_pins_the_controller_and_names_its_holder() {
    let mesh = mesh().await;
    let token = mesh
        .key
        .mint(TokenKind::Node, "n1", &mesh.root.root_hash().unwrap())
        .unwrap();
    let chain = sign(mesh.addr, Auth::JoinToken(token)).await.unwrap();
    assert_eq!(chain.len(), 2);
}

#[tokio::test]
async fn another_pin_sends_nothing() {
    let mesh = mesh().await;
    let token = mesh
        .key
        .mint(TokenKind::Node, "n1", &"ab".repeat(32))
        .unwrap();
    let error = sign(mesh.addr, Auth::JoinToken(token)).await.unwrap_err();
    assert!(matches!(error, CaError::Unavailable(_)), "{error}");
}

#[tokio::test]
async fn a_token_of_another_key_is_refused() {
    let mesh = mesh().await;
    let other = tempfile::tempdir().unwrap();
    let other = TokenKey::load_or_create(other.path()).unwrap();
    let token = other
        .mint(TokenKind::Node, "n1", &mesh.root.root_hash().unwrap())
        .unwrap();
    let error = sign(mesh.addr, Auth::JoinToken(token)).await.unwrap_err();
    assert!(matches!(error, CaError::Refused(_)), "{error}");
}

#[tokio::test]
async fn a_workload_is_not_the_controller() {
    // A server with a certificate of the same root, for a workload.
    let mesh = mesh().await;
    let id: SpiffeId = "spiffe://cluster.local/ns/shop/sa/a".parse().unwrap();
    let request = csr::new_request(&id).unwrap();
    let chain = mesh
        .root
        .sign_csr(&request.pem, &id, Duration::from_secs(60))
        .unwrap();
    let chain = x509::from_pems(chain.iter().map(String::as_str)).unwrap();
    let mut builder = tls::base().unwrap();
    tls::present(&mut builder, &request.key, &chain, true).unwrap();
    tls::require_h2(&mut builder);
    let context = builder.build();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let server = async {
        let (tcp, _) = listener.accept().await.unwrap();
        let ssl = boring::ssl::Ssl::new(&context).unwrap();
        SslStreamBuilder::new(ssl, tcp).accept().await.map(|_| ())
    };
    let hash = crate::token::parse_unverified(
        &mesh
            .key
            .mint(TokenKind::Node, "n1", &mesh.root.root_hash().unwrap())
            .unwrap(),
    )
    .unwrap();
    let trust = Trust::Pinned(pinned(hash.root_hash().unwrap()).unwrap());
    let (_, result) = tokio::join!(server, connect(addr, &trust));
    let error = result.unwrap_err();
    assert!(
        matches!(&error, ControllerError::Tls { source: TlsError::UnexpectedIdentity { peer }, .. } if *peer == id),
        "{error}"
    );
}

#[tokio::test]
async fn mounted_files_are_read_again_for_each_call() {
    let mesh = mesh().await;
    let (root_path, token_path) = (
        mesh.dir.path().join("ca.pem"),
        mesh.dir.path().join("token"),
    );
    std::fs::write(&root_path, mesh.root.roots_pem().unwrap().concat()).unwrap();
    std::fs::write(&token_path, "stale").unwrap();
    let auth = |server_name: &str| Auth::Mounted {
        root_path: root_path.clone(),
        token_path: token_path.clone(),
        server_name: server_name.to_owned(),
    };
    let controller = Controller::new(mesh.addr, auth("localhost")).unwrap();
    let client = CaClient::new(controller, Duration::from_secs(60));
    let id: SpiffeId = "spiffe://cluster.local/ns/shop/sa/a".parse().unwrap();
    let request = csr::new_request(&id).unwrap();
    assert!(matches!(
        client.sign(&id, &request.pem).await,
        Err(CaError::Refused(_))
    ));
    let token = mesh
        .key
        .mint(TokenKind::Node, "n1", &mesh.root.root_hash().unwrap())
        .unwrap();
    writeln!(std::fs::File::create(&token_path).unwrap(), "{token}").unwrap();
    client.sign(&id, &request.pem).await.unwrap();
    let error = sign(mesh.addr, auth("elsewhere.example"))
        .await
        .unwrap_err();
    assert!(matches!(error, CaError::Unavailable(_)), "{error}");
}

#[tokio::test]
async fn a_client_that_dawdles_holds_up_nobody() {
    let mesh = mesh().await;
    let mut slow = Vec::new();
    for _ in 0..32 {
        let socket = net::tcp_socket(&mesh.addr, &net::SocketOptions::default()).unwrap();
        slow.push(net::connect(socket, mesh.addr, CONNECT).await.unwrap());
    }
    let token = mesh
        .key
        .mint(TokenKind::Node, "n1", &mesh.root.root_hash().unwrap())
        .unwrap();
    sign(mesh.addr, Auth::JoinToken(token)).await.unwrap();
}

#[test]
fn debug_hides_the_token() {
    assert_eq!(
        format!("{:?}", Auth::JoinToken("secret".into())),
        "JoinToken(..)"
    );
}

#[tokio::test]
async fn a_root_may_come_late() {
    let dir = tempfile::tempdir().unwrap();
    let root_path = dir.path().join("root.crt");
    let auth = Auth::Mounted {
        root_path: root_path.clone(),
        token_path: dir.path().join("token"),
        server_name: SERVER_NAME.into(),
    };
    let controller = Controller::new("127.0.0.1:1".parse().unwrap(), auth).unwrap();
    let mut waiting = std::pin::pin!(controller.rooted());
    let early = tokio::time::timeout(Duration::from_millis(300), &mut waiting).await;
    assert!(early.is_err(), "there is no root yet");
    std::fs::write(&root_path, "").unwrap();
    let early = tokio::time::timeout(Duration::from_millis(300), &mut waiting).await;
    assert!(early.is_err(), "an empty file is no root");
    std::fs::write(&root_path, "x").unwrap();
    waiting.await;
}
