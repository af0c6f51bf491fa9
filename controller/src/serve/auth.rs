//! Who a caller is: what its token says, and nothing else.

use culvert_identity::token::{Claims, TokenKey, TokenKind};
use tonic::Status;
use tonic::metadata::MetadataMap;

use crate::engine::Client;
use crate::metrics;
use crate::model::NsName;

/// Tells callers by their join tokens.
#[derive(Debug)]
pub struct Authenticator {
    key: TokenKey,
}

impl Authenticator {
    /// Of tokens minted with this key.
    #[must_use]
    pub fn new(key: TokenKey) -> Self {
        Self { key }
    }

    /// The caller of an RPC.
    pub(super) fn client(
        &self,
        metadata: &MetadataMap,
        service: &'static str,
    ) -> Result<Client, Status> {
        self.verify(metadata).map_err(|reason| {
            metrics::UNAUTHENTICATED.with_label_values(&[service]).inc();
            tracing::warn!(service, reason, "refused");
            Status::unauthenticated(reason)
        })
    }

    fn verify(&self, metadata: &MetadataMap) -> Result<Client, String> {
        let header = metadata
            .get("authorization")
            .ok_or("there is no join token")?;
        let text = header.to_str().map_err(|_| "the join token is no text")?;
        let token = text
            .strip_prefix("Bearer ")
            .ok_or("the join token is no bearer token")?;
        let Claims { kind, name } = self
            .key
            .verify(token.trim())
            .map_err(|error| error.to_string())?;
        Ok(match kind {
            TokenKind::Node => Client::Node(name.into()),
            TokenKind::Waypoint => {
                let name = NsName::parse(&name);
                Client::Waypoint(name.ok_or("the join token names no waypoint NAMESPACE/NAME")?)
            }
        })
    }
}
