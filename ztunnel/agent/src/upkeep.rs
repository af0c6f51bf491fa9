//! Keeps the node's own rules, which let the kubelet's probes past.
//!
//! Invariant: they are looked at when the agent starts, so that those of an earlier one go when nobody needs
//! them, and then again and again.

use std::sync::Arc;
use std::time::Duration;

use culvert_runtime::drain::Drain;

use crate::metrics;
use crate::worker::Context;

/// With iptables all rules of the node are read to look at ours, and there may be very many.
const IPTABLES_INTERVAL: Duration = Duration::from_secs(30);

/// Audit until the drain starts; the rules stay.
pub async fn run(cx: Arc<Context>, drain: Drain) {
    let interval = match cx.tools.backend().is_numbered() {
        true => cx.audit_interval,
        false => cx.audit_interval.max(IPTABLES_INTERVAL),
    };
    loop {
        audit(&cx).await;
        tokio::select! {
            () = drain.signaled() => return,
            () = tokio::time::sleep(interval.mul_f64(rand::random_range(0.9..1.1))) => {}
        }
    }
}

async fn audit(cx: &Arc<Context>) {
    let context = Arc::clone(cx);
    let audited = tokio::task::spawn_blocking(move || context.probes.audit()).await;
    match audited {
        Ok(Ok(drift)) if drift.is_empty() => {}
        Ok(Ok(drift)) => {
            metrics::repair();
            let drift = drift.join(", ");
            tracing::warn!(
                drift,
                "the node's rules for probes were changed and have been repaired"
            );
        }
        Ok(Err(error)) => {
            metrics::failure("probes");
            tracing::warn!(%error, "the node's rules for probes are not in force");
        }
        Err(error) => tracing::error!(%error, "the audit of the node's rules failed"),
    }
}
