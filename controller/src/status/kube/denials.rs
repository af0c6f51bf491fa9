//! Traffic that policy denied, as ztunnels report it: Events of the pods that it was for.
//!
//! Invariants: a node speaks of its own pods only; of what is alike one Event is made in a while, and what waits, and
//! what was said, is bounded, whatever clients do.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use culvert_proto::node::Denial;
use kube::Client;
use kube::runtime::events::{Recorder, Reporter};
use tokio::time::Instant;

use super::events;
use crate::model::{Key, Kind, NsName};
use crate::source::kube::Book;

/// Between two Events that are alike.
const QUIET: Duration = Duration::from_secs(60);
/// What may wait, and what is remembered to have been said.
const WAITING: usize = 256;
const REMEMBERED: usize = 4096;

/// What is to be told.
#[derive(Debug, Default)]
pub(super) struct Denials {
    waiting: VecDeque<Denied>,
    said: HashMap<Alike, Instant>,
}

/// The pod, who was refused, and why in words.
type Alike = (NsName, String, String);

/// One of them.
#[derive(Debug)]
pub(super) struct Denied {
    node: String,
    pod: NsName,
    note: String,
}

impl Denials {
    /// A node's ztunnel refused these.
    pub(super) fn add(&mut self, node: &str, denials: &[Denial], now: Instant) {
        let fresh = |said: &Instant| now.duration_since(*said) < QUIET;
        for denial in denials {
            let pod = NsName::new(denial.namespace.as_str(), denial.name.as_str());
            let alike = (pod.clone(), denial.peer.clone(), denial.message.clone());
            if denial.name.is_empty() || self.said.get(&alike).is_some_and(fresh) {
                continue;
            }
            if self.said.len() >= REMEMBERED {
                self.said.retain(|_, said| fresh(said));
            }
            if self.said.len() >= REMEMBERED || self.waiting.len() >= WAITING {
                continue;
            }
            self.said.insert(alike, now);
            let Denial {
                peer, port, count, ..
            } = denial;
            let times = match count {
                1 => "connection",
                _ => "connections",
            };
            let note = format!(
                "{}: {count} {times} from {peer} to port {port} refused: {}",
                denial.reason, denial.message
            );
            self.waiting.push_back(Denied {
                node: node.to_owned(),
                pod,
                note,
            });
        }
    }

    /// All that waits.
    pub(super) fn take(&mut self) -> VecDeque<Denied> {
        std::mem::take(&mut self.waiting)
    }
}

impl Denied {
    /// Make the Event, if the pod is one of that node.
    pub(super) async fn tell(self, book: &Book, client: &Client, reporter: &Reporter) {
        let key = Key {
            kind: Kind::Pod,
            name: self.pod,
        };
        if let Some(told) = book.get(&key).filter(|told| told.node == self.node) {
            // One recorder would count what is denied for another reason under the first reason's words.
            let recorder = Recorder::new(client.clone(), reporter.clone());
            events::warn(&recorder, &key, &told.uid, "TrafficDenied", &self.note).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denial(peer: &str, count: u32) -> Denial {
        Denial {
            namespace: "demo".into(),
            name: "web".into(),
            peer: peer.into(),
            port: 80,
            reason: "policy_deny".into(),
            message: "no".into(),
            count,
        }
    }

    #[test]
    fn what_is_alike_is_told_once_in_a_while() {
        let mut denials = Denials::default();
        let now = Instant::now();
        denials.add("n1", &[denial("a", 1), denial("a", 2), denial("b", 3)], now);
        let notes: Vec<_> = denials
            .take()
            .into_iter()
            .map(|denied| denied.note)
            .collect();
        assert_eq!(
            notes,
            [
                "policy_deny: 1 connection from a to port 80 refused: no",
                "policy_deny: 3 connections from b to port 80 refused: no"
            ]
        );
        denials.add("n1", &[denial("a", 1)], now + QUIET / 2);
        assert!(denials.take().is_empty());
        denials.add("n1", &[denial("a", 1)], now + QUIET);
        assert_eq!(denials.take().len(), 1);
    }

    #[test]
    fn what_waits_and_what_was_said_is_bounded() {
        let mut denials = Denials::default();
        let now = Instant::now();
        for client in 0..2 * REMEMBERED {
            denials.add("n1", &[denial(&client.to_string(), 1)], now);
            if client % 100 == 0 && client < REMEMBERED {
                denials.take();
            }
        }
        assert!(denials.said.len() <= REMEMBERED && denials.waiting.len() <= WAITING);
        denials.take();
        denials.add("n1", &[denial("later", 1)], now + QUIET);
        assert_eq!(denials.take().len(), 1);
    }
}
