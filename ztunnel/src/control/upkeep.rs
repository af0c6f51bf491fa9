//! What has to be done at intervals.

use std::sync::Arc;
use std::time::Duration;

use crate::inpod::Pods;
use crate::telemetry;

/// How old the byte counts of a long connection may be, and how much longer than allowed an idle one may last.
const COUNT: Duration = Duration::from_secs(5);
/// How often unused metric series are looked for, in counts.
const FORGET: u32 = 60;

/// For ever.
pub(crate) async fn run(pods: Arc<Pods>, idle: Duration) {
    let mut rounds = 0;
    loop {
        tokio::time::sleep(COUNT).await;
        for pod in pods.with_connections() {
            pod.connections.look_after(idle);
        }
        rounds += 1;
        if rounds % FORGET == 0 {
            telemetry::forget_idle();
        }
    }
}
