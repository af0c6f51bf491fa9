//! The service as tonic sees it. Written by hand, because a response goes out from bytes that all clients share.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{self, Poll};

use culvert_proto::ads::DeltaDiscoveryRequest;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use tokio::sync::mpsc;
use tonic::body::Body;
use tonic::codegen::Service as TowerService;
use tonic::metadata::MetadataMap;
use tonic::server::NamedService;
use tonic::{Status, Streaming};

use super::driver::Driver;
use super::wire::{Requests, Responses};
use crate::serve::Context;

const DELTA: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
/// A client that comes back says the name and version of all that it has.
const MAX_REQUEST: usize = 64 << 20;
/// Responses that wait for the transport. The driver never has more than this unanswered.
const QUEUE: usize = 16;

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The service.
#[derive(Clone, Debug)]
pub(in crate::serve) struct Service(Context);

impl Service {
    pub(in crate::serve) fn new(context: Context) -> Self {
        Self(context)
    }
}

impl NamedService for Service {
    const NAME: &'static str = "envoy.service.discovery.v3.AggregatedDiscoveryService";
}

impl TowerService<http::Request<Body>> for Service {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let context = self.0.clone();
        Box::pin(async move {
            if request.uri().path() != DELTA {
                let status = Status::unimplemented("only the delta variant is served");
                return Ok(status.into_http());
            }
            let responses = serve(context, request).await;
            Ok(responses.unwrap_or_else(Status::into_http))
        })
    }
}

async fn serve(
    context: Context,
    request: http::Request<Body>,
) -> Result<http::Response<Body>, Status> {
    let (head, body) = request.into_parts();
    let metadata = MetadataMap::from_headers(head.headers);
    let client = context.authenticator.client(&metadata, "ads").await?;
    let requests: Streaming<DeltaDiscoveryRequest> =
        Streaming::new_request(Requests, body, None, Some(MAX_REQUEST));
    let (responses, inbox) = mpsc::channel(QUEUE);
    let driver = Driver::new(context, client, requests, responses);
    culvert_runtime::task::spawn("ads_stream", driver.run());
    let mut response = http::Response::new(Body::new(Responses::new(inbox)));
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(CONTENT_TYPE, grpc);
    Ok(response)
}
