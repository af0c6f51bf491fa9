//! A stream of delta ADS over HTTP/2, in gRPC's frames.
//!
//! Written by hand, because the first response has all of the mesh: gRPC libraries keep the buffer of the largest
//! message for as long as the stream, and that of the largest request too.
//!
//! Invariant: what a message took is free as soon as it was applied or sent.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut as _, Bytes, BytesMut};
use culvert_identity::controller::Controller;
use culvert_proto::ads::DeltaDiscoveryRequest;
use http::header::{CONTENT_TYPE, HeaderValue, TE};
use http::{Method, StatusCode, Version};
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt as _;
use prost::Message as _;
use tokio::sync::mpsc;
use tonic::body::Body;
use tonic::client::GrpcService as _;
use tonic::{Code, Status};

use crate::client::MAX_RESPONSE_BYTES;

const PATH: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
/// What comes before each message: whether it is compressed, and its length.
const HEAD: usize = 5;
/// What is set aside for a message before any of it is there, whatever the length it claims.
const AT_FIRST: usize = 64 << 10;

/// Opens a stream on which these requests go out.
pub(crate) async fn open(
    controller: &Controller,
    requests: mpsc::Receiver<DeltaDiscoveryRequest>,
) -> Result<Responses, Status> {
    let request = controller.authorize(tonic::Request::new(Body::new(Requests(requests))))?;
    let (metadata, _, body) = request.into_parts();
    let mut request = http::Request::new(body);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = http::Uri::from_static(PATH);
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = metadata.into_headers();
    let headers = request.headers_mut();
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));

    let failed = |error| Status::from_error(Box::new(error));
    let mut channel = controller.channel();
    poll_fn(|cx| channel.poll_ready(cx)).await.map_err(failed)?;
    let response = channel.call(request).await.map_err(failed)?;
    if let Some(status) = Status::from_header_map(response.headers())
        && status.code() != Code::Ok
    {
        return Err(status);
    }
    if response.status() != StatusCode::OK {
        let status = response.status();
        return Err(Status::unavailable(format!("HTTP status {status}")));
    }
    Ok(Responses {
        body: response.into_body(),
        data: Bytes::new(),
        messages: Messages::default(),
    })
}

/// Requests as the body of HTTP's request, each in a buffer of its own.
#[derive(Debug)]
struct Requests(mpsc::Receiver<DeltaDiscoveryRequest>);

impl HttpBody for Requests {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let request = ready!(self.0.poll_recv(cx));
        Poll::Ready(request.map(|request| framed(&request).map(Frame::data)))
    }
}

fn framed(request: &DeltaDiscoveryRequest) -> Result<Bytes, Status> {
    let len = request.encoded_len();
    let too_large = |_| Status::resource_exhausted("a request of more than 4 GiB");
    let mut out = BytesMut::with_capacity(HEAD + len);
    // Not compressed.
    out.put_u8(0);
    out.put_u32(u32::try_from(len).map_err(too_large)?);
    let failed = |error: prost::EncodeError| Status::internal(error.to_string());
    request.encode(&mut out).map_err(failed)?;
    Ok(out.freeze())
}

/// What the server says.
#[derive(Debug)]
pub(crate) struct Responses {
    body: Body,
    /// Of the body, what no message has taken yet.
    data: Bytes,
    messages: Messages,
}

impl Responses {
    /// The next message; nothing after the server has ended the stream. Losing the future loses no message.
    pub(crate) async fn message(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some(message) = self.messages.take(&mut self.data)? {
                return Ok(Some(message));
            }
            let Some(frame) = self.body.frame().await else {
                return Err(Status::unavailable("the stream broke off"));
            };
            match frame?.into_data() {
                Ok(data) => self.data = data,
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    let status = Status::from_header_map(&trailers);
                    let status = status.unwrap_or_else(|| Status::unknown("ended without status"));
                    return match status.code() {
                        Code::Ok => Ok(None),
                        _ => Err(status),
                    };
                }
            }
        }
    }
}

/// Puts messages together.
#[derive(Debug, Default)]
struct Messages {
    /// The head, as far as it is there.
    head: Vec<u8>,
    /// The message, as far as it is there.
    message: BytesMut,
}

impl Messages {
    /// Takes from the data what belongs to a message. The message, if that was its end.
    fn take(&mut self, data: &mut Bytes) -> Result<Option<Bytes>, Status> {
        let missing = HEAD.saturating_sub(self.head.len()).min(data.len());
        self.head.extend_from_slice(&data.split_to(missing));
        let Ok([compressed, len @ ..]) = <[u8; HEAD]>::try_from(&*self.head) else {
            return Ok(None);
        };
        if compressed != 0 {
            return Err(Status::internal(
                "a compressed message, which nobody asked for",
            ));
        }
        let len = usize::try_from(u32::from_be_bytes(len)).unwrap_or(usize::MAX);
        if len > MAX_RESPONSE_BYTES {
            return Err(Status::out_of_range(format!(
                "a response of {len} bytes, more than {MAX_RESPONSE_BYTES}"
            )));
        }
        if self.message.is_empty() {
            self.message.reserve(len.min(AT_FIRST));
        }
        let missing = len.saturating_sub(self.message.len()).min(data.len());
        self.message.put(data.split_to(missing));
        if self.message.len() < len {
            return Ok(None);
        }
        self.head.clear();
        Ok(Some(std::mem::take(&mut self.message).freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(compressed: u8, len: u32, body: &[u8]) -> Vec<u8> {
        [&[compressed][..], &len.to_be_bytes(), body].concat()
    }

    fn whole(body: &[u8]) -> Vec<u8> {
        frame(0, u32::try_from(body.len()).unwrap_or(u32::MAX), body)
    }

    #[test]
    fn messages_are_the_same_however_they_are_cut() {
        let sent: [&[u8]; 4] = [b"one", b"", &[7; 3 * AT_FIRST], b"four"];
        let wire: Vec<u8> = sent.iter().flat_map(|body| whole(body)).collect();
        for cut in [1, 2, 3, 5, 7, 1000, wire.len()] {
            let (mut messages, mut got) = (Messages::default(), Vec::new());
            for piece in wire.chunks(cut) {
                let mut data = Bytes::copy_from_slice(piece);
                while let Ok(Some(message)) = messages.take(&mut data) {
                    got.push(message);
                }
                assert!(data.is_empty());
            }
            assert_eq!(got, sent, "cut into {cut}");
            assert_eq!(messages.message.capacity(), 0, "nothing is kept");
        }
    }

    #[test]
    fn what_is_too_long_or_compressed_is_an_error_before_it_is_there() {
        let code = |frame: Vec<u8>| {
            let taken = Messages::default().take(&mut frame.into());
            taken.map_err(|status| status.code())
        };
        assert_eq!(code(frame(0, u32::MAX, b"")), Err(Code::OutOfRange));
        assert_eq!(code(frame(1, 1, b"x")), Err(Code::Internal));
        assert_eq!(code(frame(0, 2, b"x")), Ok(None));
    }

    #[test]
    fn a_request_is_framed() {
        let request = DeltaDiscoveryRequest {
            response_nonce: "n".into(),
            ..Default::default()
        };
        assert_eq!(
            framed(&request).ok().as_deref(),
            Some(&*whole(&request.encode_to_vec()))
        );
    }
}
