//! The service as tonic sees it. Written by hand, because a response goes out from bytes that all clients share.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{self, Poll};

use culvert_proto::ads::DeltaDiscoveryRequest;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codegen::Service as TowerService;
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Status, Streaming};

use super::driver::Driver;
use super::wire::{Response, Wire};
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
        let method = Delta(self.0.clone());
        Box::pin(async move {
            if request.uri().path() != DELTA {
                let status = Status::unimplemented("only the delta variant is served");
                return Ok(status.into_http());
            }
            let mut grpc = Grpc::new(Wire).max_decoding_message_size(MAX_REQUEST);
            Ok(grpc.streaming(method, request).await)
        })
    }
}

/// The one method.
struct Delta(Context);

impl StreamingService<DeltaDiscoveryRequest> for Delta {
    type Response = Response;
    type ResponseStream = ReceiverStream<Result<Response, Status>>;
    type Future = BoxFuture<Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<DeltaDiscoveryRequest>>) -> Self::Future {
        let context = self.0.clone();
        Box::pin(async move {
            let client = context.authenticator.client(request.metadata(), "ads")?;
            let (responses, stream) = mpsc::channel(QUEUE);
            let driver = Driver::new(context, client, request.into_inner(), responses);
            culvert_runtime::task::spawn("ads_stream", driver.run());
            Ok(tonic::Response::new(ReceiverStream::new(stream)))
        })
    }
}
