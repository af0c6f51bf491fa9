//! Who a caller is: what its token says, and nothing else. Join tokens in a standalone mesh, service-account tokens on
//! Kubernetes.

mod cache;
mod review;

use culvert_identity::token::{Claims, TokenKey, TokenKind};
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

pub use review::{AUDIENCE, Reviewer};

use crate::engine::Client;
use crate::metrics;
use crate::model::NsName;

/// Tells callers by their tokens.
#[derive(Debug)]
pub enum Authenticator {
    /// By join tokens, minted with this key.
    JoinTokens(TokenKey),
    /// By asking the API server.
    Reviews(Box<Reviewer>),
}

/// Why a caller is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Denial {
    /// Its token is not good for this.
    Refused(String),
    /// It cannot be told now; the caller tries again.
    Unknown(String),
}

impl<T: Into<String>> From<T> for Denial {
    fn from(reason: T) -> Self {
        Self::Refused(reason.into())
    }
}

impl Authenticator {
    /// The caller of an RPC.
    pub(super) async fn client(
        &self,
        metadata: &MetadataMap,
        service: &'static str,
    ) -> Result<Client, Status> {
        let verified = match bearer(metadata) {
            Ok(token) => self.verify(token).await,
            Err(denial) => Err(denial),
        };
        verified.map_err(|denial| {
            metrics::UNAUTHENTICATED.with_label_values(&[service]).inc();
            let (code, reason) = match denial {
                Denial::Refused(reason) => (Code::Unauthenticated, reason),
                Denial::Unknown(reason) => (Code::Unavailable, reason),
            };
            tracing::warn!(service, reason, "refused");
            Status::new(code, reason)
        })
    }

    async fn verify(&self, token: &str) -> Result<Client, Denial> {
        let key = match self {
            Self::Reviews(reviewer) => return reviewer.verify(token).await,
            Self::JoinTokens(key) => key,
        };
        let Claims { kind, name } = key.verify(token).map_err(|error| error.to_string())?;
        Ok(match kind {
            TokenKind::Node => Client::Node(name.into()),
            TokenKind::Waypoint => {
                let name = NsName::parse(&name);
                Client::Waypoint(name.ok_or("the join token names no waypoint NAMESPACE/NAME")?)
            }
        })
    }
}

fn bearer(metadata: &MetadataMap) -> Result<&str, Denial> {
    let header = metadata.get("authorization").ok_or("there is no token")?;
    let text = header.to_str().map_err(|_| "the token is no text")?;
    let token = text.strip_prefix("Bearer ");
    Ok(token.ok_or("the token is no bearer token")?.trim())
}
