//! What most cases play on: the namespace `e2e-app`, in the mesh, and a client outside of it.

use crate::suite::Suite;
use anyhow::{Context, Result, ensure};
use culvert_e2e::{
    kubectl::{PATIENCE, name, pause},
    mesh,
    run::Output,
    traffic::Traffic,
};
use culvert_lab::wait;
use std::{net::IpAddr, time::SystemTime};

/// The namespace in the mesh.
pub(super) const APP: &str = "e2e-app";
/// The one outside.
pub(super) const OUTSIDER: &str = "e2e-outsider";
const OBJECTS: &str = include_str!("../../manifests/app.yaml");
/// How a test pod names its image.
pub(super) const IMAGE: &str = "image: localhost/culvert-e2e/apps:1, imagePullPolicy: Never";

impl Suite {
    /// Makes the pods if they are not there, and waits until they are captured and every ztunnel knows them.
    pub(super) fn app(&mut self) -> Result<()> {
        let k = self.cluster.kubectl.clone();
        k.apply(OBJECTS)?;
        k.wait_ready(APP, "app")?;
        k.wait_ready(OUTSIDER, "app")?;
        self.settled(APP)
    }

    /// Waits until a namespace's pods are captured and every ztunnel knows them, and tells the link.
    pub(super) fn settled(&mut self, namespace: &str) -> Result<()> {
        let pods = mesh::wait_captured(&self.cluster, namespace)?;
        mesh::known(&self.cluster, &mut self.link, namespace, &pods)
    }

    /// A pod's addresses.
    pub(super) fn addresses(&self, namespace: &str, pod: &str) -> Result<Vec<IpAddr>> {
        let pod = self.cluster.kubectl.json(&["-n", namespace, "pod", pod])?;
        let addresses = mesh::addresses(&pod);
        ensure!(!addresses.is_empty(), "{} has no address", name(&pod));
        Ok(addresses)
    }

    /// Asks an HTTP server once.
    pub(super) fn get(&self, namespace: &str, pod: &str, url: &str) -> Result<Output> {
        let script = format!("curl -sS -m 10 {url}");
        self.cluster.kubectl.sh(namespace, pod, &script)
    }

    /// Asks an HTTP server once, which has to be the one of this name.
    pub(super) fn get_from(
        &self,
        namespace: &str,
        pod: &str,
        url: &str,
        server: &str,
    ) -> Result<String> {
        let text = self
            .get(namespace, pod, url)?
            .success()
            .with_context(|| format!("{pod} to {url}"))?;
        ensure!(
            text.contains(&format!("name: {server}\n")),
            "{url} was answered by another: {text}"
        );
        Ok(text)
    }

    /// What went between two pods since `since` is HBONE, or is in the clear.
    pub(super) fn crossed(
        &self,
        since: SystemTime,
        one: &[IpAddr],
        other: &[IpAddr],
        hbone: bool,
    ) -> Result<usize> {
        let found = self
            .link
            .find("traffic between the two", since, 1, |connection| {
                one.iter().any(|one| {
                    other
                        .iter()
                        .any(|other| connection.is_between(*one, *other))
                })
            })?;
        let astray: Vec<_> = found.iter().filter(|(is, _)| *is != hbone).collect();
        ensure!(
            astray.is_empty(),
            "{} expected: {astray:?}",
            if hbone { "HBONE" } else { "clear text" }
        );
        Ok(found.len())
    }

    /// New connections from `pod` all the time to a server of the namespace.
    pub(super) fn load(&self, pod: &str, host: &str) -> Result<Traffic> {
        Traffic::load(&self.cluster.kubectl, APP, pod, "0.05", host, "80")
    }

    /// Applies a pod with one container, deleting what had its name.
    pub(super) fn pod(
        &self,
        namespace: &str,
        pod: &str,
        node: &str,
        command: &str,
        more: &str,
    ) -> Result<()> {
        let k = &self.cluster.kubectl;
        k.delete_pod(namespace, pod)?;
        k.apply(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {pod}, namespace: {namespace}, labels: {{app: {pod}}}{more}}}\nspec:\n  \
             nodeSelector: {{kubernetes.io/hostname: {node}}}\n  terminationGracePeriodSeconds: 0\n  restartPolicy: Never\n  \
             containers: [{{name: main, {IMAGE}, command: {command}}}]\n"
        ))
    }

    /// Waits until a pod runs.
    pub(super) fn runs(&self, namespace: &str, pod: &str) -> Result<()> {
        self.phase(namespace, pod, "Running")
    }

    /// Waits for a phase of a pod.
    pub(super) fn phase(&self, namespace: &str, pod: &str, phase: &str) -> Result<()> {
        wait::until(format!("{namespace}/{pod} is {phase}"), PATIENCE, || {
            let now =
                self.cluster
                    .kubectl
                    .field(namespace, &format!("pod/{pod}"), ".status.phase")?;
            pause();
            ensure!(now == phase, "it is {now}");
            Ok(Some(()))
        })
    }

    /// Waits until the events of an object hold a text. Yields that event's message.
    pub(super) fn event(&self, namespace: &str, object: &str, text: &str) -> Result<String> {
        let selector = format!("involvedObject.name={object}");
        wait::until(
            format!("an event of {namespace}/{object} with {text:?}"),
            PATIENCE,
            || {
                let events = self.cluster.kubectl.list(&[
                    "-n",
                    namespace,
                    "events",
                    "--field-selector",
                    &selector,
                ])?;
                let messages: Vec<_> = events
                    .iter()
                    .map(|event| format!("{}: {}", event["reason"], event["message"]))
                    .collect();
                let found = messages
                    .iter()
                    .find(|message| message.contains(text))
                    .cloned();
                if found.is_none() {
                    pause();
                    anyhow::bail!("events: {messages:?}");
                }
                Ok(found)
            },
        )
    }
}
