//! Waiting, bounded, and saying for what.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::Result;
use kube::api::ListParams;
use serde_json::Value;

use super::cluster::{Cluster, NAMESPACE, title};

const INTERVAL: Duration = Duration::from_millis(500);

/// The time was over before what was waited for had come.
#[derive(Debug, thiserror::Error)]
#[error("gave up waiting: {0}")]
pub(crate) struct GaveUp(pub(crate) String);

/// Until when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    /// This many seconds from now.
    pub(crate) fn within(seconds: u64) -> Self {
        Self(Instant::now() + Duration::from_secs(seconds))
    }

    /// Look again and again until nothing is waited for. `look` says what is, and that is said when it changes.
    pub(crate) async fn wait<F>(self, mut look: impl FnMut() -> F) -> Result<()>
    where
        F: Future<Output = Result<Option<String>>>,
    {
        let mut said = String::new();
        loop {
            let Some(waiting) = look().await? else {
                return Ok(());
            };
            if Instant::now() > self.0 {
                return Err(GaveUp(waiting).into());
            }
            if waiting != said {
                println!("waiting: {waiting}");
                said = waiting;
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

/// Wait until all of these are there and ready.
pub(crate) async fn ready(cluster: &Cluster, objects: &[&Value], deadline: Deadline) -> Result<()> {
    let waited = deadline
        .wait(|| async {
            let mut pending = Vec::new();
            for object in objects {
                let found = cluster.get(object).await?;
                let state = found
                    .as_ref()
                    .map_or(Some("is not there".into()), pending_of);
                pending.extend(state.map(|state| format!("{} {state}", title(object))));
            }
            Ok((!pending.is_empty()).then(|| pending.join("; ")))
        })
        .await;
    if waited.is_err() {
        for line in reasons(
            &cluster
                .list("v1", "Pod", Some(NAMESPACE), ListParams::default())
                .await?,
        ) {
            eprintln!("{line}");
        }
    }
    waited
}

/// Why pods are not ready, as far as their status says.
fn reasons(pods: &[Value]) -> Vec<String> {
    let mut lines = Vec::new();
    for pod in pods {
        let containers = pod
            .pointer("/status/containerStatuses")
            .and_then(Value::as_array);
        for container in containers
            .into_iter()
            .flatten()
            .filter(|it| it["ready"] != true)
        {
            let state = &container["state"];
            let last = &container["lastState"]["terminated"];
            for state in [&state["waiting"], &state["terminated"], last] {
                let text =
                    |field: &str| state[field].as_str().unwrap_or_default().trim().to_owned();
                if !text("reason").is_empty() {
                    lines.push(format!(
                        "{}: {} {}",
                        title(pod),
                        text("reason"),
                        text("message")
                    ));
                }
            }
        }
    }
    lines
}

/// What an object still lacks.
fn pending_of(object: &Value) -> Option<String> {
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    let of = |what: &str, have: u64, want: u64| {
        (have < want).then(|| format!("{have} of {want} {what}"))
    };
    let seen = number("/status/observedGeneration") >= number("/metadata/generation");
    match object["kind"].as_str() {
        Some("CustomResourceDefinition") => {
            let conditions = object
                .pointer("/status/conditions")
                .and_then(Value::as_array);
            let established = conditions.is_some_and(|all| {
                all.iter()
                    .any(|it| it["type"] == "Established" && it["status"] == "True")
            });
            (!established).then(|| "is not established".into())
        }
        Some("Deployment") if seen => {
            let want = number("/spec/replicas");
            of("updated", number("/status/updatedReplicas"), want)
                .or_else(|| of("available", number("/status/availableReplicas"), want))
                .or_else(|| {
                    let old = number("/status/replicas").saturating_sub(want);
                    (old > 0).then(|| format!("{old} of the version before end"))
                })
        }
        Some("DaemonSet") if seen => {
            let want = number("/status/desiredNumberScheduled");
            of("updated", number("/status/updatedNumberScheduled"), want)
                .or_else(|| of("available", number("/status/numberAvailable"), want))
        }
        Some("Deployment" | "DaemonSet") => Some("has not been looked at".into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use serde_json::json;

    #[test]
    fn a_deployment_is_ready_when_all_are_new_and_available() {
        let mut object = json!({"kind": "Deployment", "metadata": {"generation": 2}, "spec": {"replicas": 2},
            "status": {"observedGeneration": 1, "updatedReplicas": 2, "availableReplicas": 2, "replicas": 2}});
        assert_eq!(pending_of(&object).unwrap(), "has not been looked at");
        object["status"]["observedGeneration"] = json!(2);
        assert_eq!(pending_of(&object), None);
        object["status"]["replicas"] = json!(3);
        assert_eq!(pending_of(&object).unwrap(), "1 of the version before end");
        object["status"]["availableReplicas"] = json!(1);
        assert_eq!(pending_of(&object).unwrap(), "1 of 2 available");
        object["status"]["updatedReplicas"] = json!(0);
        assert_eq!(pending_of(&object).unwrap(), "0 of 2 updated");
    }

    #[test]
    fn a_daemon_set_is_ready_when_every_node_has_the_new_one() {
        let mut object = json!({"kind": "DaemonSet", "metadata": {"generation": 1}, "status": {
            "observedGeneration": 1, "desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 3}});
        assert_eq!(pending_of(&object), None);
        object["status"]["updatedNumberScheduled"] = json!(1);
        assert_eq!(pending_of(&object).unwrap(), "1 of 3 updated");
        let crd = json!({"kind": "CustomResourceDefinition", "status": {"conditions": []}});
        assert!(pending_of(&crd).is_some());
    }

    #[test]
    fn a_pod_that_is_not_ready_says_why() {
        let pod = |ready: bool| {
            json!({"kind": "Pod", "metadata": {"name": "p", "namespace": NAMESPACE}, "status": {"containerStatuses": [
                {"ready": ready, "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}]}})
        };
        assert_eq!(
            reasons(&[pod(true), pod(false)]),
            ["pod/p: ImagePullBackOff no such image"]
        );
    }

    #[tokio::test]
    async fn waiting_ends() {
        let error = Deadline::within(0)
            .wait(|| async { Ok(Some("for rain".to_owned())) })
            .await;
        assert!(error.unwrap_err().to_string().contains("for rain"));
    }
}
