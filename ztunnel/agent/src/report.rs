//! Tells the controller what is captured, over one stream that is opened again whenever it ends.
//!
//! Invariant: each message is the whole account, so that a lost one does not matter.

use std::time::Duration;

use culvert_identity::controller::Controller;
use culvert_proto::node as proto;
use culvert_proto::node::node_service_client::NodeServiceClient;
use culvert_runtime::build;
use culvert_runtime::drain::Drain;
use culvert_runtime::ready::Ready;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::metrics;
use crate::status::Statuses;

/// Changes of many pods at once make one message.
const SETTLE: Duration = Duration::from_millis(50);
/// What is not a pod's state, as readiness, is told by then.
const PERIOD: Duration = Duration::from_secs(5);
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LAST_BACKOFF: Duration = Duration::from_secs(15);

/// Report until the drain starts.
pub async fn run(controller: Controller, statuses: Statuses, ready: Ready, drain: Drain) {
    tokio::select! {
        () = drain.signaled() => return,
        () = controller.rooted() => {}
    }
    let mut backoff = FIRST_BACKOFF;
    loop {
        let (reports, stream) = mpsc::channel(1);
        let opened = tokio::time::Instant::now();
        let ended = tokio::select! {
            () = drain.signaled() => return,
            () = feed(&reports, &statuses, &ready) => "the controller stopped reading".to_owned(),
            ended = send(&controller, stream) => ended,
        };
        metrics::failure("report");
        if opened.elapsed() > LAST_BACKOFF {
            backoff = FIRST_BACKOFF;
        }
        tracing::debug!(error = ended, ?backoff, "report stream ended");
        tokio::select! {
            () = drain.signaled() => return,
            () = tokio::time::sleep(backoff.mul_f64(rand::random_range(0.5..1.0))) => {}
        }
        backoff = (backoff * 2).min(LAST_BACKOFF);
    }
}

/// Hold the stream open; says why it ended.
async fn send(controller: &Controller, stream: mpsc::Receiver<proto::Report>) -> String {
    let request = tonic::Request::new(ReceiverStream::new(stream));
    let request = match controller.authorize(request) {
        Ok(request) => request,
        Err(error) => return error.to_string(),
    };
    match NodeServiceClient::new(controller.channel())
        .report(request)
        .await
    {
        Ok(_) => "the controller ended it".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// Put a message into the stream now, after each change, and from time to time.
async fn feed(reports: &mpsc::Sender<proto::Report>, statuses: &Statuses, ready: &Ready) {
    let mut changes = statuses.subscribe();
    while reports.send(report(statuses, ready)).await.is_ok() {
        tokio::select! {
            // The sender lives as long as `statuses`.
            _ = changes.changed() => tokio::time::sleep(SETTLE).await,
            () = tokio::time::sleep(PERIOD) => {}
        }
        changes.mark_unchanged();
    }
}

fn report(statuses: &Statuses, ready: &Ready) -> proto::Report {
    let pods = statuses
        .all()
        .into_iter()
        .map(|(uid, status)| proto::PodState {
            uid,
            namespace: status.namespace,
            name: status.name,
            capture: status.capture.as_str().to_owned(),
            message: status.message,
            generation: match status.generation {
                0 => String::new(),
                generation => generation.to_string(),
            },
            connections_before: u32::try_from(status.connections_before).unwrap_or(u32::MAX),
            connections_closed: u32::try_from(status.connections_closed).unwrap_or(u32::MAX),
        });
    proto::Report {
        component: "agent".to_owned(),
        version: build::VERSION.to_owned(),
        pods: pods.collect(),
        certificates: Vec::new(),
        pending: ready.pending(),
        denials: Vec::new(),
    }
}
