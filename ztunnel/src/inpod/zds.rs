//! The agent's orders, taken one by one for as long as this process lives.
//!
//! Invariants: every request gets one answer; pods stay while the agent is away, and only its word (Del, or a snapshot
//! that does not name them) takes them out; a connection that breaks during its snapshot takes nobody out.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use culvert_runtime::ready::ReadyTask;
use culvert_zds::{Client, Request, ZdsError};

use super::pods::Pods;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Follow the agent behind `socket`. `ready` is done after its first complete snapshot.
pub(crate) async fn run(socket: PathBuf, pods: Arc<Pods>, ready: ReadyTask) {
    let mut ready = Some(ready);
    let mut pause = FIRST_PAUSE;
    loop {
        match session(&socket, &pods, &mut ready, &mut pause).await {
            Ok(()) => tracing::info!("the agent closed the connection; its pods stay"),
            // Said once for each absence, which begins with the shortest pause.
            Err(error) if pause == FIRST_PAUSE => {
                tracing::warn!(socket = %socket.display(), %error, "no agent; its pods stay");
            }
            Err(error) => tracing::debug!(%error, "still no agent"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn session(
    socket: &Path,
    pods: &Pods,
    ready: &mut Option<ReadyTask>,
    pause: &mut Duration,
) -> Result<(), ZdsError> {
    let mut agent = Client::connect(socket).await?;
    tracing::info!(socket = %socket.display(), "connected to the agent");
    *pause = FIRST_PAUSE;
    let mut snapshot = Some(HashSet::new());
    while let Some(request) = agent.recv().await? {
        let result = apply(request, pods, &mut snapshot, ready);
        if let Err(error) = &result {
            tracing::warn!(%error, "refused a request of the agent");
        }
        agent.ack(result).await?;
    }
    Ok(())
}

/// `snapshot` holds what the agent has named, until it says that it has named all.
fn apply(
    request: Request,
    pods: &Pods,
    snapshot: &mut Option<HashSet<String>>,
    ready: &mut Option<ReadyTask>,
) -> Result<(), String> {
    let mut name = |uid: &str| {
        if let Some(named) = snapshot {
            named.insert(uid.to_owned());
        }
    };
    match request {
        Request::Add(workload, netns) => {
            name(&workload.uid);
            pods.add(workload, netns).map_err(|error| error.to_string())
        }
        Request::Keep(uid) => {
            name(&uid);
            pods.keep(&uid).map_err(|error| error.to_string())
        }
        Request::Del(uid) => {
            if let Some(named) = snapshot {
                named.remove(&uid);
            }
            pods.remove(&uid);
            Ok(())
        }
        Request::SnapshotSent => {
            if let Some(named) = snapshot.take() {
                pods.retain(&named);
            }
            drop(ready.take());
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Mesh, authority, fresh_netns, in_world, node};
    use culvert_runtime::ready::Ready;
    use culvert_zds::{Workload, WorkloadInfo};
    use std::os::fd::{AsFd as _, OwnedFd};

    fn add(uid: &str, netns: OwnedFd) -> Request {
        let info = WorkloadInfo {
            name: uid.into(),
            namespace: "demo".into(),
            service_account: uid.into(),
        };
        Request::Add(
            Workload {
                uid: uid.into(),
                info: Some(info),
                mark: 7,
                addresses: Vec::new(),
            },
            netns,
        )
    }

    #[test]
    fn only_a_complete_snapshot_takes_out_what_it_does_not_name() {
        in_world(
            "inpod::zds::tests::only_a_complete_snapshot_takes_out_what_it_does_not_name",
            async || {
                let (a, b) = (fresh_netns(), fresh_netns());
                let fd = |netns: &culvert_runtime::netns::Netns| {
                    netns.as_fd().as_fd().try_clone_to_owned().unwrap()
                };
                let pods = Pods::new(node(&Mesh::new([]), authority()));
                let served = || {
                    pods.list()
                        .iter()
                        .map(|pod| pod.uid().to_string())
                        .collect::<Vec<_>>()
                };
                let ready = Ready::new();
                let mut task = Some(ready.task("pods"));
                let mut session = |requests: Vec<Request>| -> Vec<bool> {
                    let mut snapshot = Some(HashSet::new());
                    requests
                        .into_iter()
                        .map(|request| apply(request, &pods, &mut snapshot, &mut task).is_ok())
                        .collect()
                };
                assert_eq!(
                    session(vec![add("a", fd(&a)), add("b", fd(&b))]),
                    [true, true]
                );
                assert_eq!(ready.pending(), ["pods"]);
                // This session broke before its end; the next names one of them.
                assert_eq!(
                    session(vec![Request::Keep("a".into()), Request::Keep("x".into())]),
                    [true, false]
                );
                assert_eq!(served(), ["a", "b"]);
                let whole = vec![
                    Request::Keep("b".into()),
                    Request::SnapshotSent,
                    Request::SnapshotSent,
                ];
                assert_eq!(session(whole), [true, true, true]);
                assert_eq!(served(), ["b"]);
                assert!(ready.pending().is_empty());
                assert_eq!(
                    session(vec![Request::Del("b".into()), Request::Del("b".into())]),
                    [true, true]
                );
                assert!(served().is_empty());
            },
        );
    }
}
