//! "Behaves as without the mesh": every row runs with the namespace unlabelled and labelled, and the outputs are compared.
//!
//! The same pods serve both times, so that addresses and all are equal. A row that does not hold what its right answer
//! holds fails, with or without the mesh; and the link tells that its traffic was in the clear before and HBONE after.

mod rows;
mod shapes;

use crate::suite::{Choice, Suite, timed};
use anyhow::{Context, Result, bail, ensure};
use culvert_e2e::{
    kubectl::{name, pause},
    mesh,
    report::Report,
};
use culvert_lab::wait;
use rows::{From, PRELUDE, ROWS, Row, Via};
use serde_json::Value;
use std::{collections::BTreeMap, net::IpAddr, process::Child, time::SystemTime};

/// The matrix's namespace.
pub(crate) const NAMESPACE: &str = "e2e-matrix";
const OBJECTS: &str = include_str!("../../../manifests/matrix.yaml");

/// What the rows came to without the mesh, and what they refer to.
#[derive(Debug, Default)]
pub(crate) struct Matrix {
    off: BTreeMap<&'static str, Result<String>>,
    words: Vec<(String, String)>,
    addresses: BTreeMap<String, Vec<IpAddr>>,
    outside: Option<Child>,
}

impl Drop for Matrix {
    fn drop(&mut self) {
        if let Some(child) = &mut self.outside {
            // It may have ended by itself, with the cluster.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// The full names of the rows.
pub(crate) fn names() -> impl Iterator<Item = String> {
    let scripts = ROWS.iter().map(|row| row.name);
    scripts
        .chain(shapes::SHAPES.iter().map(|shape| shape.name))
        .map(full)
}

fn full(row: &str) -> String {
    format!("matrix/{row}")
}

impl Matrix {
    pub(crate) fn is_chosen(choice: &Choice) -> bool {
        names().any(|name| choice.takes(&name))
    }

    /// Puts addresses into a text.
    fn fill(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (word, value) in &self.words {
            text = text.replace(word, value);
        }
        text
    }

    fn addresses(&self, pod: &str) -> Result<&[IpAddr]> {
        self.addresses
            .get(pod)
            .map(Vec::as_slice)
            .with_context(|| format!("no pod {pod}"))
    }
}

impl Suite {
    /// Makes the objects and runs every row with the namespace outside the mesh.
    pub(crate) fn matrix_off(&mut self, choice: &Choice) -> Result<Vec<String>> {
        self.make_matrix()?;
        // From a run that kept its objects.
        let labels = self.cluster.kubectl.field(
            "default",
            &format!("namespace/{NAMESPACE}"),
            ".metadata.labels",
        )?;
        if labels.contains(mesh::LABEL) {
            mesh::release(&self.cluster, &mut self.link, NAMESPACE)?;
        }
        for row in ROWS.iter().filter(|row| choice.takes(&full(row.name))) {
            let outcome = self.row(row, false);
            self.matrix.off.insert(row.name, outcome);
        }
        for shape in shapes::SHAPES
            .iter()
            .filter(|one| choice.takes(&full(one.name)))
        {
            let outcome = (shape.run)(self, false);
            self.matrix.off.insert(shape.name, outcome);
        }
        let all = &self.matrix.off;
        let failed: Vec<_> = all
            .iter()
            .filter_map(|(name, outcome)| {
                outcome
                    .as_ref()
                    .err()
                    .map(|error| format!("{name}: {error:#}"))
            })
            .collect();
        ensure!(
            failed.is_empty(),
            "{} of {} rows fail without the mesh:\n{}",
            failed.len(),
            all.len(),
            failed.join("\n")
        );
        Ok(vec![format!("{} rows", all.len())])
    }

    /// Labels the namespace, runs every row again, and compares.
    pub(crate) fn matrix_on(&mut self, choice: &Choice, report: &mut Report) {
        let cluster = self.cluster.clone();
        let mut enrolled = false;
        timed(report, &cluster, "matrix-enrolled", || {
            let before = mesh::lives(&self.cluster, NAMESPACE)?;
            let took = mesh::enrol(&self.cluster, &mut self.link, NAMESPACE)?;
            ensure!(
                before == mesh::lives(&self.cluster, NAMESPACE)?,
                "something was restarted by the label"
            );
            enrolled = true;
            Ok(vec![format!(
                "{} pods captured {:.1} s after the label, none restarted",
                before.len(),
                took.as_secs_f64()
            )])
        });
        if !enrolled {
            return;
        }
        for row in ROWS.iter().filter(|row| choice.takes(&full(row.name))) {
            timed(report, &cluster, &full(row.name), || {
                if let Via::Clear(to, reason) = row.via {
                    self.excuse(row, to, reason)?;
                }
                let outcome = self.row(row, true);
                self.link.no_more_excuses(&full(row.name));
                self.compare(row.name, outcome)
            });
        }
        for shape in shapes::SHAPES
            .iter()
            .filter(|one| choice.takes(&full(one.name)))
        {
            timed(report, &cluster, &full(shape.name), || {
                let outcome = (shape.run)(self, true);
                self.compare(shape.name, outcome)
            });
        }
    }

    fn compare(&self, name: &str, on: Result<String>) -> Result<Vec<String>> {
        let on = on?;
        match self.matrix.off.get(name) {
            Some(Ok(off)) => ensure!(*off == on, "without the mesh:\n{off}\nwith it:\n{on}"),
            Some(Err(error)) => bail!("without the mesh: {error:#}"),
            None => bail!("it was not run without the mesh"),
        }
        Ok(Vec::new())
    }

    fn excuse(&mut self, row: &Row, to: &str, reason: &str) -> Result<()> {
        let From::Pod(client) = row.from else {
            bail!("outside is never judged");
        };
        let clients = self.matrix.addresses(client)?.to_vec();
        let servers = self.matrix.addresses(to)?.to_vec();
        self.link.excuse(&full(row.name), reason, move |one| {
            clients.contains(&one.client.ip()) && servers.contains(&one.server.ip())
        });
        Ok(())
    }

    /// Runs one row and yields its output.
    fn row(&self, row: &Row, mesh_on: bool) -> Result<String> {
        let since = SystemTime::now();
        let script = format!("{PRELUDE}{}", self.matrix.fill(row.script));
        let output = match row.from {
            From::Pod(pod) => self.cluster.kubectl.sh(NAMESPACE, pod, &script)?,
            From::Outside => self.cluster.outside(&script)?,
        };
        ensure!(output.ok, "exit code {}: {}", output.code, output.text());
        for want in row.wants {
            let want = self.matrix.fill(want);
            ensure!(
                output.stdout.contains(&want),
                "{want:?} is not in the output:\n{}",
                output.text()
            );
        }
        let (to, hbone) = match row.via {
            Via::NotJudged => return Ok(output.stdout),
            Via::Hbone(to) => (to, mesh_on),
            Via::Clear(to, _) => (to, false),
        };
        let From::Pod(client) = row.from else {
            bail!("outside is never judged");
        };
        let clients = self.matrix.addresses(client)?;
        let servers = self.matrix.addresses(to)?;
        let found = self
            .link
            .find(&format!("{client} to {to}"), since, 1, |one| {
                clients.iter().any(|client| {
                    servers
                        .iter()
                        .any(|server| one.is_between(*client, *server))
                })
            })?;
        // A connection in the clear may have opened just before the label, or be a tunnel's: each is told.
        let astray: Vec<_> = found
            .iter()
            .filter(|(is_hbone, _)| *is_hbone != hbone)
            .map(|(_, what)| what.as_str())
            .collect();
        ensure!(
            astray.is_empty(),
            "{} expected, and on the link: {astray:?}",
            if hbone { "HBONE" } else { "clear text" }
        );
        Ok(output.stdout)
    }

    /// The pods and services, a server outside, and all of their addresses.
    fn make_matrix(&mut self) -> Result<()> {
        let k = self.cluster.kubectl.clone();
        k.apply(&format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {NAMESPACE}}}\n"
        ))?;
        k.apply(OBJECTS)?;
        let mut child = self.cluster.spawn_outside(&[
            &culvert_e2e::run::root()
                .join("target/release/culvert-echo")
                .display()
                .to_string(),
            "--name",
            "outside",
            "--http",
            "18080",
        ])?;
        child.stdout.take();
        self.matrix.outside = Some(child);
        self.cluster
            .outside("ip route replace 192.0.2.10/32 via 172.30.0.11")?
            .success()?;
        k.run(&[
            "-n",
            NAMESPACE,
            "patch",
            "service",
            "balanced",
            "--subresource=status",
            "--type=merge",
            "-p",
            r#"{"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.10"}]}}}"#,
        ])?;
        k.wait_ready(NAMESPACE, "app,app!=unready")?;
        wait::until(
            "the pod unready runs",
            culvert_e2e::kubectl::PATIENCE,
            || {
                pause();
                Ok(
                    (k.field(NAMESPACE, "pod/unready", ".status.phase")? == "Running")
                        .then_some(()),
                )
            },
        )?;
        let pods = k.list(&["-n", NAMESPACE, "pods"])?;
        let nodes = k.list(&["nodes"])?;
        for pod in &pods {
            self.learn(&name(pod), mesh::addresses(pod));
        }
        for node in &nodes {
            self.learn(&name(node), node_addresses(node));
        }
        let echo = self.matrix.fill("{echo}");
        k.apply(&format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: by-hand-1, namespace: {NAMESPACE}, \
             labels: {{kubernetes.io/service-name: by-hand}}}}\naddressType: IPv4\n\
             ports: [{{name: http, port: 8080, protocol: TCP}}]\nendpoints: [{{addresses: [{echo}], conditions: {{ready: true}}}}]\n"
        ))?;
        self.routes_known()
    }

    /// kube-proxy follows the API: waits until the last service that was made answers everywhere.
    fn routes_known(&self) -> Result<()> {
        for (pod, url) in [
            ("client", "http://by-hand/"),
            ("client", "http://balanced/"),
            ("host-client", "http://web/"),
        ] {
            wait::until(format!("{url} answers"), wait::PATIENCE, || {
                let script = format!("curl -sS -m 3 {url}");
                self.cluster
                    .kubectl
                    .sh_ok(NAMESPACE, pod, &script)
                    .map(|_| Some(()))
            })?;
        }
        Ok(())
    }

    fn learn(&mut self, name: &str, addresses: Vec<IpAddr>) {
        for address in &addresses {
            let family = if address.is_ipv6() { "6" } else { "" };
            self.matrix
                .words
                .push((format!("{{{name}{family}}}"), address.to_string()));
        }
        self.matrix.addresses.insert(name.to_owned(), addresses);
    }
}

fn node_addresses(node: &Value) -> Vec<IpAddr> {
    let all = node["status"]["addresses"].as_array().into_iter().flatten();
    all.filter(|one| one["type"] == "InternalIP")
        .filter_map(|one| one["address"].as_str()?.parse().ok())
        .collect()
}
