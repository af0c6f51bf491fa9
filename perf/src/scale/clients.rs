//! The data plane's side: a connection of its own for each node, with the token of that node's proxy, and all that comes
//! is decoded. What one keeps of a resource is its name and version; one process more keeps a whole store (`watch`).

use super::marks::{Kind, Marks, Seen};
use anyhow::{Context, Result};
use culvert_identity::controller::{Auth, Controller};
use culvert_proto::{
    istio::workload::{Address, address},
    type_url,
};
use culvert_runtime::{drain::Drain, task};
use culvert_xds::{Client, Handler, Rejected, Store, Update};
use prost::Message as _;
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::watch;

/// The name in the controller's certificate.
const SERVER: &str = "culvert-controller.culvert-system.svc";

/// Where the controller is and how it is known.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) root: PathBuf,
}

impl Endpoint {
    /// A client for a node, not running yet.
    pub(crate) fn client<H: Handler>(
        &self,
        node: &str,
        token: &Path,
        handler: H,
    ) -> Result<Client<H>> {
        let auth = Auth::Mounted {
            root_path: self.root.clone(),
            token_path: token.to_owned(),
            server_name: SERVER.to_owned(),
        };
        let controller = Controller::new(self.address, auth)?;
        let introduction = culvert_xds::node(
            "ztunnel",
            Ipv4Addr::LOCALHOST.into(),
            &format!("ztunnel-{node}"),
            "culvert-system",
            &[("NODE_NAME", node)],
        );
        Ok(Client::new(controller, introduction, Store::TYPES, handler))
    }
}

/// One of the clients.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) seen: Arc<Mutex<Seen>>,
    synced: watch::Receiver<bool>,
}

impl Node {
    /// Begins to follow the controller.
    pub(crate) fn start(
        endpoint: &Endpoint,
        node: &str,
        token: &Path,
        marks: Marks,
        drain: Drain,
    ) -> Result<Self> {
        let seen = Arc::new(Mutex::new(Seen::new(marks)));
        let (tell, synced) = watch::channel(false);
        let decoder = Decoder {
            seen: seen.clone(),
            synced: tell,
        };
        let client = endpoint.client(node, token, decoder)?;
        task::spawn("scale_client", client.run(drain));
        Ok(Self { seen, synced })
    }

    /// Waits until it has what there is.
    pub(crate) async fn synced(&mut self) -> Result<()> {
        let synced = self.synced.wait_for(|synced| *synced).await;
        synced.map(drop).context("a client has ended")
    }
}

/// Decodes everything and keeps nothing but figures.
struct Decoder {
    seen: Arc<Mutex<Seen>>,
    synced: watch::Sender<bool>,
}

impl Handler for Decoder {
    fn apply(&mut self, type_url: &str, update: Update) -> Vec<Rejected> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rejected = Vec::new();
        for name in &update.removed {
            seen.resources += 1;
            seen.bytes += name.len() as u64;
            if let Some(pod) = pod(name) {
                seen.saw(Kind::Gone, pod);
            }
        }
        for resource in &update.resources {
            seen.resources += 1;
            seen.bytes +=
                (resource.name.len() + resource.version.len() + resource.body.len()) as u64;
            if type_url != type_url::ADDRESS {
                continue;
            }
            match Address::decode(resource.body.clone()) {
                Ok(Address {
                    r#type: Some(address::Type::Workload(workload)),
                }) => {
                    if let Some(pod) = pod(&resource.name) {
                        seen.saw(Kind::Appeared, pod);
                        if !workload.services.is_empty() {
                            seen.saw(Kind::Endpoint, pod);
                        }
                    }
                }
                Ok(_) => {}
                Err(error) => rejected.push(Rejected {
                    name: resource.name.clone(),
                    error: error.to_string(),
                }),
            }
        }
        drop(seen);
        if type_url == type_url::ADDRESS {
            self.synced.send_replace(true);
        }
        rejected
    }
}

/// `NAMESPACE/NAME` of a pod's workload.
fn pod(uid: &str) -> Option<&str> {
    uid.split_once("//Pod/").map(|(_, pod)| pod)
}
