//! What everything on this node shares: the mesh's state, certificates, cores, limits.

use std::sync::Arc;

use culvert_hbone::TunnelConfig;
use culvert_resolve::Resolver;
use culvert_runtime::limits::Limits;
use culvert_xds::Store;

use crate::asking::Asking;
use crate::certificates::Certificates;
use crate::egress::Egress;
use crate::faults::Faults;
use crate::proxy::connections::Quota;
use crate::proxy::cores::DataCores;
use crate::proxy::load::Load;
use crate::proxy::neighbours::Neighbours;

/// One for the process.
#[derive(Debug)]
pub(crate) struct Node {
    /// The mesh as the controller tells it.
    pub(crate) store: Store,
    /// What users ask to go wrong.
    pub(crate) faults: Faults,
    /// Which addresses names outside of the mesh have.
    pub(crate) egress: Egress,
    /// What of it is asked for.
    pub(crate) asking: Asking,
    /// Certificates of the service accounts of this node's pods.
    pub(crate) certificates: Certificates,
    /// Where bytes move.
    pub(crate) cores: DataCores,
    pub(crate) limits: Limits,
    /// How tunnels are set up, both ways.
    pub(crate) tunnel: TunnelConfig,
    /// Connections of all pods together.
    pub(crate) quota: Arc<Quota>,
    /// Connections to each workload.
    pub(crate) load: Load,
    /// The pods that are served here.
    pub(crate) neighbours: Neighbours,
    /// Where endpoints outside of the cluster are that have but a name.
    pub(crate) resolver: Resolver,
}

impl Node {
    /// Waits until the controller has said, once, all that a decision needs: before that, what is unknown can't be told
    /// from what is outside the mesh, so nothing is decided.
    pub(crate) async fn synced(&self) {
        self.store.wait_synced(Store::TYPES).await;
    }
}
