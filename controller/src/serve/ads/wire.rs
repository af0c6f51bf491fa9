//! Requests and responses on the wire. Resources were encoded when they were made, and what a small response has in
//! common with those to other clients is put together once.
//!
//! Invariant: a response of any size takes little memory while it goes out, since its parts are put together as the
//! transport takes them.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut as _, Bytes, BytesMut};
use culvert_proto::ads::DeltaDiscoveryRequest;
use http::HeaderMap;
use http_body::{Body, Frame};
use prost::Message as _;
use prost::encoding::string;
use tokio::sync::mpsc;
use tonic::codec::{DecodeBuf, Decoder};
use tonic::{Code, Status};

use crate::engine::Delta;
use crate::translate::Type;

/// Field numbers of `DeltaDiscoveryResponse`. Its `resources` bring their own.
const TYPE_URL: u32 = 4;
const NONCE: u32 = 5;
const REMOVED: u32 = 6;
/// The nonce of what is said of a type that is not served. A session counts from 1.
const NOTHING: &str = "0";
/// What the transport is given at once.
const CHUNK: usize = 64 << 10;

/// A response.
#[derive(Clone, Debug)]
pub(super) struct Response {
    pub(super) kind: Type,
    pub(super) nonce: String,
    pub(super) delta: std::sync::Arc<Delta>,
}

impl Response {
    /// What it says of the resources themselves.
    fn resources_len(&self) -> usize {
        self.delta.resources.iter().map(|r| r.field.len()).sum()
    }

    /// All but the resources and the nonce.
    fn frame_of(&self) -> BytesMut {
        let mut out = BytesMut::new();
        string::encode(TYPE_URL, &self.kind.url().to_owned(), &mut out);
        string::encode_repeated(REMOVED, &self.delta.removed, &mut out);
        out
    }

    /// All but the nonce, which differs from client to client.
    fn shared(&self, resources_len: usize) -> Bytes {
        let encode = || {
            let frame = self.frame_of();
            let mut out = BytesMut::with_capacity(frame.len() + resources_len);
            out.put(frame);
            self.delta
                .resources
                .iter()
                .for_each(|r| out.put_slice(&r.field));
            out.freeze()
        };
        self.delta.encoded.get_or_init(encode).clone()
    }
}

/// What goes out.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// What there is of a type, or what changed of it.
    Response(Response),
    /// That there is nothing of a type that this server does not have.
    Nothing {
        /// As the client wrote it.
        type_url: String,
    },
}

impl Outgoing {
    /// The message's first part, which may be all of it.
    fn begin(self) -> Result<(Bytes, Option<Sending>), Status> {
        match self {
            Self::Response(response) => Sending::begin(response),
            Self::Nothing { type_url } => {
                let mut named = BytesMut::new();
                string::encode(TYPE_URL, &type_url, &mut named);
                Ok((begun(&NOTHING.to_owned(), &named, 0)?, None))
            }
        }
    }
}

/// The first part of a message, of which so many bytes are to follow.
fn begun(nonce: &String, first: &[u8], rest: usize) -> Result<Bytes, Status> {
    let mut named = BytesMut::new();
    string::encode(NONCE, nonce, &mut named);
    let too_large = |_| Status::resource_exhausted("a response of more than 4 GiB");
    let len = u32::try_from(named.len() + first.len() + rest).map_err(too_large)?;
    let mut out = BytesMut::with_capacity(5 + named.len() + first.len());
    // Not compressed.
    out.put_u8(0);
    out.put_u32(len);
    out.put(named);
    out.put(first);
    Ok(out.freeze())
}

/// A response on its way.
#[derive(Debug)]
struct Sending {
    response: Response,
    /// The first of the resources that the transport has not got.
    next: usize,
}

impl Sending {
    /// The message's first part, which may be all of it.
    fn begin(response: Response) -> Result<(Bytes, Option<Self>), Status> {
        let resources_len = response.resources_len();
        let small = resources_len <= CHUNK;
        let first = if small {
            response.shared(resources_len)
        } else {
            response.frame_of().freeze()
        };
        let rest = if small { 0 } else { resources_len };
        let first = begun(&response.nonce, &first, rest)?;
        let sending = (!small).then_some(Self { response, next: 0 });
        Ok((first, sending))
    }

    /// The next part; nothing after the last one.
    fn part(&mut self) -> Option<Bytes> {
        let rest = self.response.delta.resources.get(self.next..)?;
        if rest.is_empty() {
            return None;
        }
        let mut out = BytesMut::with_capacity(CHUNK + (4 << 10));
        for resource in rest {
            out.put_slice(&resource.field);
            self.next += 1;
            if out.len() >= CHUNK {
                break;
            }
        }
        Some(out.freeze())
    }
}

/// The responses of a stream as the body of HTTP's response.
#[derive(Debug)]
pub(super) struct Responses {
    inbox: mpsc::Receiver<Result<Outgoing, Status>>,
    sending: Option<Sending>,
    ended: bool,
}

impl Responses {
    pub(super) fn new(inbox: mpsc::Receiver<Result<Outgoing, Status>>) -> Self {
        Self {
            inbox,
            sending: None,
            ended: false,
        }
    }

    fn end(&mut self, status: &Status) -> Result<Frame<Bytes>, Status> {
        self.ended = true;
        let mut trailers = HeaderMap::new();
        status.add_header(&mut trailers)?;
        Ok(Frame::trailers(trailers))
    }
}

impl Body for Responses {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Some(sending) = &mut self.sending {
            if let Some(part) = sending.part() {
                return Poll::Ready(Some(Ok(Frame::data(part))));
            }
            self.sending = None;
        }
        let next = match ready!(self.inbox.poll_recv(cx)) {
            Some(next) => next.and_then(Outgoing::begin),
            None => Err(Status::new(Code::Ok, "")),
        };
        Poll::Ready(Some(match next {
            Ok((first, sending)) => {
                self.sending = sending;
                Ok(Frame::data(first))
            }
            Err(status) => self.end(&status),
        }))
    }
}

/// Requests.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Requests;

impl Decoder for Requests {
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
    use std::sync::Arc;

    use culvert_proto::ads;
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::engine::Served;
    use crate::translate::settings;

    async fn sent(resources: usize) -> (usize, ads::DeltaDiscoveryResponse) {
        let bundle = settings::trust_bundle("cluster.local", vec!["root".repeat(50)]);
        let resource = Arc::new(Served::new(bundle));
        let removed = vec!["a".into(), "b".into()];
        let response = Response {
            kind: Type::TrustBundle,
            nonce: "7".into(),
            delta: Arc::new(Delta::new(vec![resource; resources], removed)),
        };
        let (outbox, inbox) = mpsc::channel(2);
        let response = Outgoing::Response(response);
        outbox.send(Ok(response)).await.unwrap();
        outbox.send(Err(Status::unavailable("done"))).await.unwrap();
        let mut body = Responses::new(inbox);
        let (mut bytes, mut parts) = (Vec::new(), 0);
        loop {
            let frame = body.frame().await.unwrap().unwrap();
            match frame.into_data() {
                Ok(data) => {
                    assert!(data.len() < 2 * CHUNK);
                    bytes.extend_from_slice(&data);
                    parts += 1;
                }
                Err(trailers) => {
                    assert_eq!(trailers.into_trailers().unwrap()["grpc-status"], "14");
                    break;
                }
            }
        }
        assert!(body.frame().await.is_none());
        assert_eq!(bytes[0], 0);
        let len = u32::from_be_bytes(bytes[1..5].try_into().unwrap());
        assert_eq!(len as usize, bytes.len() - 5);
        let message = ads::DeltaDiscoveryResponse::decode(&bytes[5..]).unwrap();
        (parts, message)
    }

    #[tokio::test]
    async fn is_what_the_generated_message_would_be_whole_or_in_parts() {
        for (resources, in_parts) in [(0, false), (2, false), (1000, true)] {
            let (parts, message) = sent(resources).await;
            assert_eq!(parts > 1, in_parts, "{resources} in {parts} parts");
            assert_eq!(
                (message.nonce.as_str(), message.type_url.as_str()),
                ("7", Type::TrustBundle.url())
            );
            assert_eq!(message.removed_resources, ["a", "b"]);
            assert_eq!(message.resources.len(), resources);
            for resource in &message.resources {
                assert_eq!(resource.name, "default");
                assert_eq!(
                    resource.resource.as_ref().unwrap().type_url,
                    Type::TrustBundle.url()
                );
            }
        }
    }

    #[test]
    fn nothing_is_a_whole_response_of_the_type_that_was_asked_for() {
        let nothing = Outgoing::Nothing {
            type_url: "x".into(),
        };
        let (bytes, rest) = nothing.begin().unwrap();
        assert!(rest.is_none());
        let (head, body) = bytes.split_at(5);
        assert_eq!(usize::from(head[4]), body.len());
        let expected = ads::DeltaDiscoveryResponse {
            type_url: "x".into(),
            nonce: NOTHING.into(),
            ..ads::DeltaDiscoveryResponse::default()
        };
        assert_eq!(ads::DeltaDiscoveryResponse::decode(body).unwrap(), expected);
    }
}
