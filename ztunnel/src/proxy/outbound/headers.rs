//! What a CONNECT tells the other side for its telemetry.

use culvert_hbone::ConnectHeaders;
use culvert_hbone::headers::{Baggage, Forwarded, TraceParent, WorkloadKind};
use culvert_xds::state::{Workload, WorkloadType};

use crate::telemetry::Facts;

/// The headers of a connection of `source`.
pub(super) fn of(source: &Workload, facts: &Facts) -> ConnectHeaders {
    let host = facts
        .service
        .as_ref()
        .map(|service| Box::from(&*service.hostname));
    ConnectHeaders {
        baggage: Some(baggage(source)),
        forwarded: Some(Forwarded {
            client: facts.source_addr,
            host,
        }),
        traceparent: Some(TraceParent::random()),
    }
}

/// Who `workload` is.
pub(crate) fn baggage(workload: &Workload) -> Baggage {
    let some = |text: &str| (!text.is_empty()).then(|| text.into());
    let kind = match workload.workload_type() {
        WorkloadType::Deployment => WorkloadKind::Deployment,
        WorkloadType::CronJob => WorkloadKind::CronJob,
        WorkloadType::Job => WorkloadKind::Job,
        WorkloadType::Pod => WorkloadKind::Pod,
    };
    Baggage {
        cluster: some(workload.cluster_id()),
        namespace: some(workload.namespace()),
        workload: some(workload.workload_name()).map(|name| (kind, name)),
        service: some(workload.canonical_name()),
        version: some(workload.canonical_revision()),
        region: some(&workload.locality().region),
        zone: some(&workload.locality().zone),
    }
}
