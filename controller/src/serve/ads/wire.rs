//! Requests and responses on the wire. Resources were encoded when they were made: here their bytes are only put together.

use std::sync::Arc;

use culvert_proto::ads::DeltaDiscoveryRequest;
use prost::Message as _;
use prost::encoding::string;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use crate::engine::Served;
use crate::translate::Type;

/// Field numbers of `DeltaDiscoveryResponse`. Its `resources` bring their own.
const TYPE_URL: u32 = 4;
const NONCE: u32 = 5;
const REMOVED: u32 = 6;

/// A response.
#[derive(Clone, Debug)]
pub(super) struct Response {
    pub(super) kind: Type,
    pub(super) nonce: String,
    pub(super) resources: Vec<Arc<Served>>,
    pub(super) removed: Vec<String>,
}

impl Response {
    fn encode(&self, out: &mut impl prost::bytes::BufMut) {
        for resource in &self.resources {
            out.put_slice(&resource.field);
        }
        string::encode(TYPE_URL, &self.kind.url().to_owned(), out);
        string::encode(NONCE, &self.nonce, out);
        string::encode_repeated(REMOVED, &self.removed, out);
    }
}

/// Both directions.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wire;

impl Codec for Wire {
    type Encode = Response;
    type Decode = DeltaDiscoveryRequest;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Wire {
    type Item = Response;
    type Error = Status;

    fn encode(&mut self, response: Response, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let resources: usize = response.resources.iter().map(|r| r.field.len()).sum();
        out.reserve(resources);
        response.encode(out);
        Ok(())
    }
}

impl Decoder for Wire {
    type Item = DeltaDiscoveryRequest;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Status> {
        let request = DeltaDiscoveryRequest::decode(from);
        let malformed = |error: prost::DecodeError| Status::invalid_argument(error.to_string());
        request.map(Some).map_err(malformed)
    }
}

#[cfg(test)]
mod tests {
    use culvert_proto::ads;

    use super::*;
    use crate::translate::settings;

    #[test]
    fn is_what_the_generated_message_would_be() {
        let bundle = settings::trust_bundle("cluster.local", vec!["root".into()]);
        let resource = Arc::new(Served::new(bundle));
        let response = Response {
            kind: Type::TrustBundle,
            nonce: "7".into(),
            resources: vec![resource.clone(), resource],
            removed: vec!["a".into(), "b".into()],
        };
        let mut bytes = Vec::new();
        response.encode(&mut bytes);
        let message = ads::DeltaDiscoveryResponse::decode(bytes.as_slice()).unwrap();
        assert_eq!(
            (message.nonce.as_str(), message.type_url.as_str()),
            ("7", Type::TrustBundle.url())
        );
        assert_eq!(message.removed_resources, ["a", "b"]);
        assert_eq!(message.resources.len(), 2);
        assert_eq!(message.resources[0].name, "default");
        assert_eq!(
            message.resources[0].resource.as_ref().unwrap().type_url,
            Type::TrustBundle.url()
        );
    }
}
