//! This waypoint's account of itself to the controller: its certificate, and what it still waits for.
//!
//! Invariant: a controller that is away is asked again, ever more seldom, and nothing else waits for it.

use std::time::{Duration, SystemTime};

use culvert_identity::controller::Controller;
use culvert_identity::{CertStatus, SecretManager};
use culvert_proto::node::node_service_client::NodeServiceClient;
use culvert_proto::node::{CertificateState, Report};
use culvert_runtime::build::VERSION;
use culvert_runtime::ready::Ready;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// How often we look whether there is something new to say.
const LOOK: Duration = Duration::from_secs(1);
/// How often we say it although nothing is new, in looks.
const REPEAT: u32 = 30;
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// For ever.
pub(crate) async fn run(controller: Controller, secrets: SecretManager, ready: Ready) {
    controller.rooted().await;
    let mut pause = LOOK;
    loop {
        match session(&controller, &secrets, &ready).await {
            Ok(()) => pause = LOOK,
            Err(error) => tracing::debug!(%error, "cannot report to the controller"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn session(
    controller: &Controller,
    secrets: &SecretManager,
    ready: &Ready,
) -> Result<(), tonic::Status> {
    let (reports, stream) = mpsc::channel(1);
    let request = controller.authorize(tonic::Request::new(ReceiverStream::new(stream)))?;
    let mut client = NodeServiceClient::new(controller.channel());
    tokio::select! {
        ended = client.report(request) => ended.map(drop),
        () = feed(&reports, secrets, ready) => Ok(()),
    }
}

/// Sends a report at once, and again when it would differ or is old, until nobody takes them.
async fn feed(reports: &mpsc::Sender<Report>, secrets: &SecretManager, ready: &Ready) {
    let mut said = None;
    let mut age = 0;
    loop {
        let report = compose(secrets, ready);
        if said.as_ref() != Some(&report) || age >= REPEAT {
            if reports.send(report.clone()).await.is_err() {
                return;
            }
            said = Some(report);
            age = 0;
        }
        tokio::time::sleep(LOOK).await;
        age += 1;
    }
}

fn compose(secrets: &SecretManager, ready: &Ready) -> Report {
    Report {
        component: "waypoint".to_owned(),
        version: VERSION.to_owned(),
        pods: Vec::new(),
        certificates: secrets.list().into_iter().map(state).collect(),
        pending: ready.pending(),
        denials: Vec::new(),
    }
}

fn state(certificate: CertStatus) -> CertificateState {
    let seconds = |time: SystemTime| {
        let since = time
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    };
    let (from, to) = certificate
        .validity
        .map_or((0, 0), |(from, to)| (seconds(from), seconds(to)));
    CertificateState {
        identity: certificate.id.to_string(),
        serial: certificate.serial,
        not_before: from,
        not_after: to,
        error: certificate.error.unwrap_or_default(),
    }
}
