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
use culvert_xds::{Client, Demand, Handler, Rejected, Store, Update};
use prost::Message as _;
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::watch;

/// The name in the controller's certificate.
const SERVER: &str = "culvert-controller.culvert-system.svc";

/// A node's proxy: who it is, and what it asks for, if not for all of the mesh.
#[derive(Clone, Debug)]
pub(crate) struct Proxy {
    pub(crate) node: String,
    pub(crate) token: PathBuf,
    pub(crate) names: Option<Vec<String>>,
}

/// Where the controller is and how it is known.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) root: PathBuf,
}

impl Endpoint {
    /// A client for a node, not running yet.
    pub(crate) fn client<H: Handler>(&self, proxy: &Proxy, handler: H) -> Result<Client<H>> {
        let Proxy { node, token, names } = proxy;
        let auth = Auth::Mounted {
            root_path: self.root.clone(),
            token_path: token.clone(),
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
        let client = Client::new(controller, introduction, Store::TYPES, handler);
        let demand = names.as_ref().map(|names| {
            let demand = Demand::new();
            for name in names {
                // It is asked for; the answer comes to the handler.
                let _answered = demand.want(name);
            }
            demand
        });
        Ok(client.on_demand(demand))
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
        proxy: &Proxy,
        marks: Marks,
        drain: Drain,
    ) -> Result<Self> {
        let seen = Arc::new(Mutex::new(Seen::new(marks)));
        let (tell, synced) = watch::channel(false);
        let decoder = Decoder {
            seen: seen.clone(),
            synced: tell,
        };
        let client = endpoint.client(proxy, decoder)?;
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
