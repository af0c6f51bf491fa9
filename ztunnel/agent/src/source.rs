//! Where pods come from. Standalone it is the controller, by xDS; whatever else tells of pods sends the
//! same events.
//!
//! Invariant: only what a source says changes anything: a pod that it has not named since the agent
//! started stays as the agent knew it, and only an explicit removal removes.

use culvert_proto::{node as proto, type_url};
use culvert_xds::{Handler, Rejected, Update};
use prost::Message as _;
use tokio::sync::mpsc;

use crate::pod::Pod;

/// What a source tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodEvent {
    /// A pod is there, or changed.
    Upsert(Box<Pod>),
    /// The pod of this uid is no longer told of; what is left of it is as if it never was in the mesh.
    Removed(String),
    /// The pod of this uid has been deleted. Should anything of it still run, it is not let out in the clear.
    Deleted(String),
    /// Everything that existed when the source connected was told.
    Synced,
}

/// Turns the controller's resources into events.
#[derive(Debug)]
pub struct XdsPods(mpsc::UnboundedSender<PodEvent>);

impl XdsPods {
    /// Send events to `events`.
    #[must_use]
    pub fn new(events: mpsc::UnboundedSender<PodEvent>) -> Self {
        Self(events)
    }

    fn send(&self, event: PodEvent) {
        // The receiver only goes when the agent ends.
        let _ended = self.0.send(event);
    }
}

impl Handler for XdsPods {
    fn apply(&mut self, type_url: &str, update: Update) -> Vec<Rejected> {
        if type_url != type_url::POD {
            return not_for_an_agent(type_url, update);
        }
        let mut rejected = Vec::new();
        for resource in update.resources {
            let name = resource.name;
            match parse(&name, &resource.body) {
                Ok(pod) => self.send(PodEvent::Upsert(Box::new(pod))),
                Err(error) => rejected.push(Rejected { name, error }),
            }
        }
        for uid in update.removed {
            self.send(PodEvent::Removed(uid.to_string()));
        }
        self.send(PodEvent::Synced);
        rejected
    }
}

/// Reject all of it.
pub(crate) fn not_for_an_agent(type_url: &str, update: Update) -> Vec<Rejected> {
    let names = update.resources.into_iter().map(|resource| resource.name);
    let error = format!("{type_url} is not for an agent");
    let rejected = names.map(|name| Rejected {
        name,
        error: error.clone(),
    });
    rejected.collect()
}

/// The pod of a resource.
pub(crate) fn parse(name: &str, body: &[u8]) -> Result<Pod, String> {
    let pod = proto::Pod::decode(body).map_err(|error| format!("not a pod: {error}"))?;
    let pod = Pod::try_from(pod).map_err(|error| error.to_string())?;
    if pod.uid != name {
        return Err(format!("uid: {} is not the resource's name", pod.uid));
    }
    Ok(pod)
}

#[cfg(test)]
mod tests {
    use super::*;
    use culvert_xds::Resource;

    fn resource(name: &str, pod: &proto::Pod) -> Resource {
        Resource {
            name: name.into(),
            version: "1".into(),
            body: pod.encode_to_vec().into(),
        }
    }

    #[test]
    fn good_pods_are_told_and_bad_ones_rejected_by_name() {
        let (events, mut told) = mpsc::unbounded_channel();
        let pod = proto::Pod {
            uid: "a".into(),
            name: "a".into(),
            namespace: "ns".into(),
            service_account: "default".into(),
            ..Default::default()
        };
        let nameless = proto::Pod {
            name: String::new(),
            ..pod.clone()
        };
        let update = Update {
            resources: vec![
                resource("a", &pod),
                resource("b", &pod),
                resource("c", &nameless),
            ],
            removed: vec!["z".into()],
            ..Default::default()
        };
        let rejected = XdsPods::new(events).apply(type_url::POD, update);
        let names: Vec<&str> = rejected.iter().map(|r| &*r.name).collect();
        assert_eq!(names, ["b", "c"]);
        let expected = Pod::try_from(pod).unwrap();
        assert_eq!(told.try_recv(), Ok(PodEvent::Upsert(Box::new(expected))));
        assert_eq!(told.try_recv(), Ok(PodEvent::Removed("z".into())));
        assert_eq!(told.try_recv(), Ok(PodEvent::Synced));
    }

    #[test]
    fn an_empty_snapshot_removes_nothing() {
        let (events, mut told) = mpsc::unbounded_channel();
        let mut pods = XdsPods::new(events);
        assert!(pods.apply(type_url::POD, Update::default()).is_empty());
        assert_eq!(told.try_recv(), Ok(PodEvent::Synced));
        assert!(told.try_recv().is_err());
    }
}
