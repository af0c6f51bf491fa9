//! Asking the mesh's own pods on Kubernetes: their admin endpoints are on loopback, where the API server's port forwarding
//! gets to. Whoever may forward ports in the mesh's namespace may ask.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use culvert_kube::Access;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::admin;

const DEADLINE: Duration = Duration::from_secs(10);
/// How many are asked at a time.
const ABREAST: usize = 16;

/// What a pod answered, or why it did not.
pub(crate) type Answer = Result<Value, String>;

/// Where to ask: a pod of the mesh's namespace and a port of its loopback, under the name that the answer shall have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) pod: String,
    pub(crate) port: u16,
}

/// Connects with these credentials; without, as kubectl would.
pub(crate) async fn connect(kubeconfig: Option<&PathBuf>) -> Result<Client> {
    Ok(culvert_kube::connect(&Access::of(kubeconfig.map(PathBuf::as_path))).await?)
}

/// Runs what asks a cluster.
pub(crate) fn run<T>(asking: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(asking)
}

/// The ready pods of one of the mesh's programs.
pub(crate) async fn pods(client: &Client, program: &str) -> Result<Vec<Pod>> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), culvert_enrolment::SYSTEM_NAMESPACE);
    let selector = ListParams::default().labels(&format!("app.kubernetes.io/name={program}"));
    let list = pods.list(&selector).await;
    let list = list.with_context(|| format!("listing the pods of {program}"))?;
    Ok(list.items.into_iter().filter(is_ready).collect())
}

/// Whether a pod serves.
fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|it| it.conditions.as_deref());
    let mut conditions = conditions.unwrap_or_default().iter();
    conditions.any(|it| it.type_ == "Ready" && it.status == "True")
}

/// Asks all of them for `path`. The answers are by the places' names.
pub(crate) async fn ask(
    client: &Client,
    places: &[Place],
    path: &'static str,
) -> Result<BTreeMap<String, Answer>> {
    let mut answers = BTreeMap::new();
    for some in places.chunks(ABREAST) {
        let mut asked = JoinSet::new();
        for place in some.iter().cloned() {
            let pods: Api<Pod> =
                Api::namespaced(client.clone(), culvert_enrolment::SYSTEM_NAMESPACE);
            asked.spawn(async move {
                let answer = tokio::time::timeout(DEADLINE, get(&pods, &place, path)).await;
                let answer =
                    answer.unwrap_or_else(|_| Err(anyhow!("no answer within {DEADLINE:?}")));
                (place.name, answer.map_err(|error| format!("{error:#}")))
            });
        }
        while let Some(answer) = asked.join_next().await {
            answers.extend([answer?]);
        }
    }
    Ok(answers)
}

async fn get(pods: &Api<Pod>, place: &Place, path: &str) -> Result<Value> {
    let mut forwarder = pods.portforward(&place.pod, &[place.port]).await?;
    let stream = forwarder
        .take_stream(place.port)
        .context("the port was not forwarded")?;
    let answer = admin::send(stream, path).await;
    forwarder.abort();
    answer
}
