//! The byte path. `outbound` carries what applications of a pod dial, `inbound` what reaches the pod over HBONE,
//! `passthrough` what reaches it in plain text. Each reads as one sentence of named steps.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;

use culvert_policy::DenyReason;
use culvert_runtime::cores::Core;
use culvert_runtime::drain::Drain;
use culvert_runtime::{accept, net, task};
use culvert_xds::state::{Snapshot, Workload};
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout_at};

use crate::dns::{self, Dns};
use crate::inpod::Pod;
use crate::inpod::listeners::Listeners;
use crate::node::Node;

pub(crate) mod connections;
mod copy;
pub(crate) mod cores;
pub(crate) mod denial;
pub(crate) mod faulted;
pub(crate) mod handshakes;
mod inbound;
pub(crate) mod load;
pub(crate) mod neighbours;
mod outbound;
mod passthrough;
pub(crate) mod ports;
pub(crate) mod revoke;

/// What every connection of one pod is served with.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) node: Arc<Node>,
    pub(crate) pod: Arc<Pod>,
    /// The pod takes no new connections any more.
    pub(crate) drain: Drain,
}

impl Context {
    /// What `ask` finds in the mesh's state, asked again with each change for as long as a connection may wait for what
    /// is not known yet. `ask` gets the workload that this pod is.
    async fn settled<T>(
        &self,
        mut ask: impl FnMut(&Arc<Snapshot>, &Arc<Workload>) -> Result<T, DenyReason>,
    ) -> Result<T, DenyReason> {
        let deadline = Instant::now() + self.node.limits.workload_wait;
        if timeout_at(deadline, self.node.synced()).await.is_err() {
            return Err(DenyReason::WorkloadUnknown);
        }
        let mut changed = self.node.store.changed();
        loop {
            changed.borrow_and_update();
            let reason = match self.ask_once(&mut ask) {
                Ok(answer) => return Ok(answer),
                Err(reason) => reason,
            };
            let Ok(Ok(())) = timeout_at(deadline, changed.changed()).await else {
                return Err(reason);
            };
        }
    }

    /// The workload that this pod is, and what is known besides.
    async fn own_workload(&self) -> Result<(Arc<Snapshot>, Arc<Workload>), DenyReason> {
        self.settled(|snapshot, workload| Ok((snapshot.clone(), workload.clone())))
            .await
    }

    fn ask_once<T>(
        &self,
        ask: impl FnOnce(&Arc<Snapshot>, &Arc<Workload>) -> Result<T, DenyReason>,
    ) -> Result<T, DenyReason> {
        let snapshot = self.node.store.snapshot();
        let Some(workload) = self.pod.workload(&snapshot) else {
            for ip in self.pod.addresses() {
                // Its address is asked for, unless that comes of itself.
                self.node.asking.knows_address("", *ip);
            }
            return Err(DenyReason::WorkloadUnknown);
        };
        ask(&snapshot, workload)
    }
}

/// Serve a pod on its home core, until the drain.
pub(crate) fn serve(node: &Arc<Node>, pod: &Arc<Pod>, listeners: Listeners, drain: &Drain) {
    let cx = Arc::new(Context {
        node: node.clone(),
        pod: pod.clone(),
        drain: drain.clone(),
    });
    node.neighbours.add(&cx);
    let home = node.cores.of(pod.uid());
    accept_on(home, "outbound", listeners.outbound, &cx, outbound::serve);
    accept_on(
        home,
        "passthrough",
        listeners.inbound,
        &cx,
        passthrough::serve,
    );
    accept_on(home, "inbound", listeners.hbone, &cx, inbound::serve);
    home.spawn(move || async move {
        let dns = Dns::new(cx.node.clone(), cx.pod.clone(), cx.drain.clone());
        for socket in listeners.dns_udp {
            task::spawn_local("dns_udp", dns::serve_udp(dns.clone(), socket));
        }
        dns::serve_tcp(dns, listeners.dns_tcp).await;
    });
}

/// Run `on` for each connection to `listener`.
fn accept_on(
    home: &Core,
    name: &'static str,
    listener: std::net::TcpListener,
    cx: &Arc<Context>,
    on: fn(Arc<Context>, std::net::TcpStream, SocketAddr),
) {
    let cx = cx.clone();
    home.spawn(move || async move {
        let listener = match TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => {
                return tracing::error!(pod = %cx.pod.uid(), %error, "no listener for {name}");
            }
        };
        let drain = cx.drain.clone();
        accept::run(listener, drain, |stream, peer| on(cx.clone(), stream, peer)).await;
    });
}

/// End a connection so that its other side sees an error, never an orderly end.
fn reset(stream: impl AsFd) {
    // It may be gone already; then there is nobody to tell.
    drop(net::set_reset_on_close(&stream));
    drop(stream);
}

#[cfg(test)]
mod tests;
