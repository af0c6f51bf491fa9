//! The certificate service.
//!
//! Invariants: a node gets certificates for service accounts of enrolled, running pods of its own only, a waypoint for its
//! own only; of a request's CSR nothing counts but the public key; no certificate outlives what the MeshConfig allows.

use std::sync::Arc;
use std::time::Duration;

use culvert_identity::{SpiffeId, TrustDomain};
use culvert_proto::istio::ca::istio_certificate_service_server::IstioCertificateService;
use culvert_proto::istio::ca::{IstioCertificateRequest, IstioCertificateResponse};
use prost_types::value::Kind;
use tonic::{Request, Response, Status};

use super::Context;
use crate::engine::{Client, Snapshot};
use crate::metrics;

/// Says whom the certificate is for.
const IDENTITY: &str = "ImpersonatedIdentity";

/// The certificate service.
#[derive(Debug)]
pub(super) struct Service(Context);

impl Service {
    pub(super) fn new(context: Context) -> Self {
        Self(context)
    }

    fn sign(
        &self,
        client: &Client,
        request: &IstioCertificateRequest,
    ) -> Result<Vec<String>, Status> {
        let snapshot = self.0.snapshots.borrow().clone();
        let root = self.0.root.borrow().clone();
        let id = identity(root.trust_domain(), client, request)?;
        if id.trust_domain() != root.trust_domain().as_str() {
            let message = format!("{id} is not of trust domain {}", root.trust_domain());
            return Err(Status::permission_denied(message));
        }
        may_have(&snapshot, client, &id).map_err(Status::permission_denied)?;
        let asked = u64::try_from(request.validity_duration)
            .ok()
            .filter(|seconds| *seconds > 0);
        let longest = snapshot.certificate_ttl;
        let ttl = asked.map_or(longest, |seconds| longest.min(Duration::from_secs(seconds)));
        let signed = root.sign_csr(&request.csr, &id, ttl);
        signed.map_err(|error| Status::invalid_argument(format!("{id}: {error}")))
    }
}

/// Whom the certificate is asked for. A waypoint need not say.
fn identity(
    trust_domain: &TrustDomain,
    client: &Client,
    request: &IstioCertificateRequest,
) -> Result<SpiffeId, Status> {
    let fields = request.metadata.as_ref().map(|metadata| &metadata.fields);
    let value = fields
        .and_then(|fields| fields.get(IDENTITY))
        .and_then(|value| value.kind.as_ref());
    match (value, client) {
        (Some(Kind::StringValue(text)), _) => text
            .parse()
            .map_err(|error| Status::invalid_argument(format!("{IDENTITY} {text:?}: {error}"))),
        (Some(_), _) => Err(Status::invalid_argument(format!("{IDENTITY} is no text"))),
        (None, Client::Waypoint(name)) => {
            let id = SpiffeId::new(trust_domain, &name.namespace, &name.name);
            id.map_err(|error| Status::invalid_argument(format!("waypoint {name}: {error}")))
        }
        (None, Client::Node(_)) => Err(Status::invalid_argument(format!("{IDENTITY} is missing"))),
    }
}

/// Whether a client may act as `id`.
fn may_have(snapshot: &Snapshot, client: &Client, id: &SpiffeId) -> Result<(), String> {
    let (namespace, account) = (id.namespace(), id.service_account());
    match client {
        Client::Node(node) => {
            let view = snapshot.nodes.get(node);
            let key = (Arc::from(namespace), Arc::from(account));
            if view.is_some_and(|view| view.identities.contains(&key)) {
                return Ok(());
            }
            Err(format!(
                "node {node} runs no enrolled pod of service account {namespace}/{account}"
            ))
        }
        Client::Waypoint(name) if *name.namespace == *namespace && *name.name == *account => Ok(()),
        Client::Waypoint(name) => Err(format!(
            "waypoint {name} may not act as {namespace}/{account}"
        )),
    }
}

#[tonic::async_trait]
impl IstioCertificateService for Service {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let client = self
            .0
            .authenticator
            .client(request.metadata(), "ca")
            .await?;
        let signed = self.sign(&client, request.get_ref());
        let outcome = if signed.is_ok() { "issued" } else { "refused" };
        metrics::CERTIFICATES.with_label_values(&[outcome]).inc();
        let cert_chain = signed.inspect_err(|status| {
            tracing::warn!(%client, reason = status.message(), "certificate refused");
        })?;
        Ok(Response::new(IstioCertificateResponse { cert_chain }))
    }
}
