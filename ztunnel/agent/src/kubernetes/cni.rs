//! Answers the CNI plugin: a pod of the mesh may start when it is captured, every other at once.
//!
//! Invariant: nobody waits longer than the deadline, nor for a pod that is being deleted or whose runtime has given up;
//! who is not let go is told what to do.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use culvert_cni_wire::{Answer, Command, Question};
use culvert_runtime::drain::Drain;
use culvert_runtime::netns::Netns;
use culvert_runtime::task;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::Instant;

use super::cache::Found;
use super::node::Node;
use crate::metrics;
use crate::status::{Capture, Statuses};

/// The runtime gives a sandbox a few minutes, all plugins together.
const DEADLINE: Duration = Duration::from_secs(25);
/// For the question itself.
const HEAR: Duration = Duration::from_secs(2);
const ACCEPT_BACKOFF: Duration = Duration::from_secs(1);

/// What an answer needs.
#[derive(Debug)]
pub struct Doorman {
    /// What is known.
    pub node: Node,
    /// How far captures are.
    pub statuses: Statuses,
    /// This node's name.
    pub name: String,
    /// How long a pod is held at most.
    pub deadline: Duration,
}

impl Doorman {
    /// With the usual deadline.
    #[must_use]
    pub fn new(node: Node, statuses: Statuses, name: String) -> Self {
        let deadline = DEADLINE;
        Self {
            node,
            statuses,
            name,
            deadline,
        }
    }

    /// Listen at `path`, for root only.
    pub fn bind(path: &Path) -> io::Result<UnixListener> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(listener)
    }

    /// Answer until the drain starts; who waits then is answered by the next agent.
    pub async fn serve(self, listener: UnixListener, drain: Drain) {
        let this = Arc::new(self);
        loop {
            let accepted = tokio::select! {
                () = drain.signaled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((socket, _)) => {
                    let (this, drain) = (Arc::clone(&this), drain.clone());
                    task::spawn("cni", async move {
                        tokio::select! {
                            () = drain.signaled() => {}
                            ended = this.converse(socket) => if let Err(error) = ended {
                                tracing::debug!(%error, "CNI plugin");
                            }
                        }
                    });
                }
                Err(error) => {
                    tracing::error!(%error, "cannot accept the CNI plugin");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    }

    async fn converse(&self, socket: UnixStream) -> io::Result<()> {
        let socket = socket.into_std()?;
        let heard = tokio::task::spawn_blocking(move || {
            socket.set_nonblocking(false)?;
            socket.set_read_timeout(Some(HEAR))?;
            let heard = culvert_cni_wire::hear(&socket)?;
            socket.set_nonblocking(true)?;
            Ok::<_, io::Error>((socket, heard))
        });
        let (socket, (question, netns)) = heard.await.map_err(io::Error::other)??;
        let mut socket = UnixStream::from_std(socket)?;
        let started = Instant::now();
        let mut nothing = [0; 1];
        let (mut reader, mut writer) = socket.split();
        let answer = tokio::select! {
            answer = self.answer(&question, netns.map(Netns::from_fd).transpose()?) => answer,
            // The runtime has given the pod up.
            _ = reader.read(&mut nothing) => return Ok(()),
        };
        let (namespace, pod, took) = (&question.namespace, &question.name, started.elapsed());
        match &answer {
            Answer::Start => tracing::debug!(namespace, pod, ?took, "pod may start"),
            Answer::Refuse(reason) => {
                metrics::failure("cni");
                tracing::warn!(namespace, pod, reason, "pod may not start");
            }
        }
        writer.write_all(&culvert_cni_wire::encode(&answer)?).await
    }

    /// The answer, as soon as there is one.
    pub async fn answer(&self, question: &Question, netns: Option<Netns>) -> Answer {
        match (question.command, netns) {
            // The pod may get another namespace, or goes, of which the API tells.
            (Command::Del, _) => Answer::Start,
            (Command::Add, Some(netns)) => {
                let deadline = Instant::now() + self.deadline;
                match tokio::time::timeout_at(deadline, self.admit(question, netns)).await {
                    Ok(answer) => answer,
                    Err(_) => Answer::Refuse(self.overdue(question)),
                }
            }
            (Command::Add, None) => {
                Answer::Refuse("the CNI plugin named no network namespace".to_owned())
            }
        }
    }

    async fn admit(&self, question: &Question, netns: Netns) -> Answer {
        let Question {
            namespace,
            name,
            uid,
            ..
        } = question;
        let mut changed = self.node.subscribe();
        let uid = loop {
            changed.borrow_and_update();
            match self.node.look(|cache| cache.find(namespace, name, uid)) {
                Found::Inside(uid) => break uid,
                Found::Outside(_) => return Answer::Start,
                Found::Deleting => {
                    return Answer::Refuse(format!("pod {namespace}/{name} is being deleted"));
                }
                // The API may be slower than the runtime. Its sender lives as long as the node.
                Found::Unknown => drop(changed.changed().await),
            }
        };
        let inode = netns.id().inode;
        self.node.change(|cache| {
            cache.made(&uid, netns, question.addresses.clone());
            Vec::new()
        });
        let mut statuses = self.statuses.subscribe();
        loop {
            statuses.borrow_and_update();
            if self.statuses.is_captured_in(&uid, inode) {
                return Answer::Start;
            }
            match self.node.look(|cache| cache.find(namespace, name, &uid)) {
                Found::Inside(_) => {}
                // The label went while it waited.
                Found::Outside(_) => return Answer::Start,
                Found::Deleting | Found::Unknown => {
                    return Answer::Refuse(format!("pod {namespace}/{name} is being deleted"));
                }
            }
            tokio::select! {
                _ = statuses.changed() => {}
                _ = changed.changed() => {}
            }
        }
    }

    /// What to say when nothing came of it.
    fn overdue(&self, question: &Question) -> String {
        let Question {
            namespace,
            name,
            uid,
            ..
        } = question;
        let node = &self.name;
        let found = self
            .node
            .look(|cache| match cache.find(namespace, name, uid) {
                Found::Inside(uid) => Some(uid),
                _ if cache.is_synced() => Some(String::new()),
                _ => None,
            });
        match found {
            None => format!(
                "the agent of node {node} has not reached the Kubernetes API since it started, so it cannot tell \
                 whether pod {namespace}/{name} is in the mesh; kubelet tries again. See: kubectl -n culvert-system \
                 logs ds/culvert-agent"
            ),
            Some(uid) if uid.is_empty() => format!(
                "the Kubernetes API has not told the agent of node {node} of pod {namespace}/{name}; kubelet tries \
                 again. See: kubectl -n culvert-system logs ds/culvert-agent"
            ),
            Some(uid) => {
                let why = match self.statuses.all().remove(&uid) {
                    Some(status) if status.capture == Capture::Failed => status.message,
                    Some(status) if !status.message.is_empty() => status.message,
                    _ => "no answer yet".to_owned(),
                };
                format!(
                    "pod {namespace}/{name} is in the mesh, but its traffic could not be captured within {} s: {why}. \
                     Kubelet tries again. See: kubectl -n culvert-system get pods -o wide --field-selector \
                     spec.nodeName={node}",
                    self.deadline.as_secs()
                )
            }
        }
    }
}

#[cfg(test)]
mod tests;
