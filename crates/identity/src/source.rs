//! Where certificates come from: the trait, and its implementation by the certificate service.
//!
//! Invariant: what a source answers is not trusted by its form; [`crate::SecretManager`] checks key, name, validity and
//! chain before it uses a certificate.

use crate::SpiffeId;
use crate::ca::{Root, RootError};
use crate::controller::Controller;
use async_trait::async_trait;
use culvert_proto::istio::ca::IstioCertificateRequest;
use culvert_proto::istio::ca::istio_certificate_service_client::IstioCertificateServiceClient;
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use std::time::Duration;

/// Why there is no certificate.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CaError {
    /// The certificate service can't be reached or failed.
    #[error("certificate service: {0}")]
    Unavailable(String),
    /// The certificate service does not sign for this identity.
    #[error("certificate service refused: {0}")]
    Refused(String),
    /// What came back can't be used.
    #[error("certificate of {id}: {why}")]
    Answer {
        /// For whom it was asked.
        id: SpiffeId,
        /// What is wrong.
        why: String,
    },
    /// The service took too long.
    #[error("certificate service: no answer within {0:?}")]
    Timeout(Duration),
}

/// Signs certificates for the identities that this process may hold.
#[async_trait]
pub trait CertificateSource: Send + Sync {
    /// The chain for a request, in PEM: leaf first, roots last.
    async fn sign(&self, id: &SpiffeId, csr_pem: &str) -> Result<Vec<String>, CaError>;
}

/// Asks the mesh's certificate service, on behalf of workloads.
#[derive(Debug, Clone)]
pub struct CaClient {
    controller: Controller,
    ttl: Duration,
}

impl CaClient {
    /// Asks for certificates of this lifetime; the service may shorten it.
    #[must_use]
    pub fn new(controller: Controller, ttl: Duration) -> Self {
        Self { controller, ttl }
    }
}

/// The metadata field that names the workload for whom a node asks.
const IMPERSONATED_IDENTITY: &str = "ImpersonatedIdentity";

#[async_trait]
impl CertificateSource for CaClient {
    async fn sign(&self, id: &SpiffeId, csr_pem: &str) -> Result<Vec<String>, CaError> {
        let value = Value {
            kind: Some(Kind::StringValue(id.to_string())),
        };
        let request = IstioCertificateRequest {
            csr: csr_pem.to_owned(),
            validity_duration: i64::try_from(self.ttl.as_secs()).unwrap_or(i64::MAX),
            metadata: Some(Struct {
                fields: [(IMPERSONATED_IDENTITY.to_owned(), value)].into(),
            }),
        };
        let request = self
            .controller
            .authorize(tonic::Request::new(request))
            .map_err(status)?;
        let mut client = IstioCertificateServiceClient::new(self.controller.channel());
        let response = client.create_certificate(request).await.map_err(status)?;
        Ok(response.into_inner().cert_chain)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the form that map_err wants")]
fn status(status: tonic::Status) -> CaError {
    match status.code() {
        tonic::Code::PermissionDenied
        | tonic::Code::Unauthenticated
        | tonic::Code::InvalidArgument => CaError::Refused(status.message().to_owned()),
        code => CaError::Unavailable(format!("{code:?}: {}", status.message())),
    }
}

/// A root in this process as a source: for a controller that holds the root, and for tests.
#[derive(Debug, Clone)]
pub struct LocalSource {
    root: Root,
    ttl: Duration,
}

impl LocalSource {
    /// Signs with `root`, for `ttl`.
    #[must_use]
    pub fn new(root: Root, ttl: Duration) -> Self {
        Self { root, ttl }
    }
}

#[async_trait]
impl CertificateSource for LocalSource {
    async fn sign(&self, id: &SpiffeId, csr_pem: &str) -> Result<Vec<String>, CaError> {
        self.root
            .sign_csr(csr_pem, id, self.ttl)
            .map_err(|error| match error {
                RootError::Request(error) => CaError::Refused(error.to_string()),
                error => CaError::Unavailable(error.to_string()),
            })
    }
}
