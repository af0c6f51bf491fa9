//! Rows of the matrix that are more than a script: pods that come and go, probes, webhooks.

use super::NAMESPACE;
use crate::suite::Suite;
use anyhow::{Context, Result, ensure};
use culvert_e2e::{
    kubectl::{PATIENCE, pause},
    mesh,
};
use culvert_lab::wait;

/// A row with objects of its own.
pub(super) struct Shape {
    pub(super) name: &'static str,
    pub(super) run: fn(&mut Suite, bool) -> Result<String>,
}

pub(super) const SHAPES: &[Shape] = &[
    Shape {
        name: "init-container",
        run: init_container,
    },
    Shape {
        name: "native-sidecar",
        run: native_sidecar,
    },
    Shape {
        name: "job",
        run: job,
    },
    Shape {
        name: "terminating-endpoint",
        run: terminating,
    },
    Shape {
        name: "probes-under-strict",
        run: probes,
    },
    Shape {
        name: "webhook",
        run: webhook,
    },
];

const CONTAINER: &str = "image: localhost/culvert-e2e/apps:1\n    imagePullPolicy: Never";

/// Makes a pod, waits until it has ended, and yields its log.
fn to_its_end(suite: &mut Suite, name: &str, spec: &str) -> Result<String> {
    let k = suite.cluster.kubectl.clone();
    k.run(&[
        "-n",
        NAMESPACE,
        "delete",
        "pod",
        name,
        "--ignore-not-found",
        "--wait",
    ])?;
    k.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\nspec:\n  restartPolicy: Never\n  \
         nodeSelector: {{kubernetes.io/hostname: node1}}\n{spec}"
    ))?;
    let object = format!("pod/{name}");
    let phase = wait::until(format!("the end of {object}"), PATIENCE, || {
        pause();
        let phase = k.field(NAMESPACE, &object, ".status.phase")?;
        Ok(matches!(phase.as_str(), "Succeeded" | "Failed").then_some(phase))
    })?;
    let log = k.run(&["-n", NAMESPACE, "logs", name, "--all-containers"])?;
    ensure!(phase == "Succeeded", "{phase}: {log}");
    k.run(&["-n", NAMESPACE, "delete", "pod", name, "--wait=false"])?;
    Ok(log)
}

/// An init container dials before anything else of the pod runs.
fn init_container(suite: &mut Suite, _: bool) -> Result<String> {
    let log = to_its_end(
        suite,
        "with-init",
        &format!(
            "  initContainers:\n  - name: first\n    {CONTAINER}\n    command: [bash, -c, \"curl -sS -m 10 http://web/ | sed s/^/init:/\"]\n  \
             containers:\n  - name: main\n    {CONTAINER}\n    command: [bash, -c, \"curl -sS -m 10 http://web/ | sed s/^/main:/\"]\n"
        ),
    )?;
    let mut lines: Vec<_> = log.lines().collect();
    lines.sort_unstable();
    ensure!(lines == ["init:nginx of web", "main:nginx of web"], "{log}");
    Ok(lines.join("\n"))
}

/// A sidecar by restartPolicy serves the main container, and dials too. It ends after the main one has.
fn native_sidecar(suite: &mut Suite, _: bool) -> Result<String> {
    let log = to_its_end(
        suite,
        "with-sidecar",
        &format!(
            "  terminationGracePeriodSeconds: 1\n  initContainers:\n  - name: side\n    restartPolicy: Always\n    {CONTAINER}\n    \
             command: [bash, -c, \"curl -sS -m 10 http://web/ >&2; exec culvert-echo --name side --http 8099\"]\n    \
             startupProbe: {{tcpSocket: {{port: 8099}}, periodSeconds: 1}}\n  \
             containers:\n  - name: main\n    {CONTAINER}\n    command: [bash, -c, \"curl -sS -m 10 http://localhost:8099/ | grep name; curl -sS -m 10 http://echo/ | grep ^name\"]\n"
        ),
    )?;
    let wanted: Vec<_> = log
        .lines()
        .filter(|line| line.contains("name: ") || line.contains("nginx"))
        .collect();
    ensure!(
        ["name: side", "name: echo", "nginx of web"]
            .iter()
            .all(|want| wanted.contains(want)),
        "{log}"
    );
    let mut wanted: Vec<_> = wanted.into_iter().map(str::to_owned).collect();
    wanted.sort();
    Ok(wanted.join("\n"))
}

/// A Job uses the network and completes.
fn job(suite: &mut Suite, _: bool) -> Result<String> {
    let k = suite.cluster.kubectl.clone();
    k.run(&[
        "-n",
        NAMESPACE,
        "delete",
        "job",
        "once",
        "--ignore-not-found",
        "--wait",
    ])?;
    k.apply(&format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: once, namespace: {NAMESPACE}}}\nspec:\n  completions: 2\n  parallelism: 2\n  \
         backoffLimit: 0\n  template:\n   spec:\n    restartPolicy: Never\n    containers:\n    - name: main\n      \
         image: localhost/culvert-e2e/apps:1\n      imagePullPolicy: Never\n      command: [bash, -c, \"redis-cli -h redis ping\"]\n"
    ))?;
    wait::until("the job completes", PATIENCE, || {
        pause();
        let failed = k.field(NAMESPACE, "job/once", ".status.failed")?;
        ensure!(failed.is_empty(), "{failed} pods of the job failed");
        Ok((k.field(NAMESPACE, "job/once", ".status.succeeded")? == "2").then_some(()))
    })?;
    let log = k.run(&["-n", NAMESPACE, "logs", "-l", "job-name=once"])?;
    k.run(&["-n", NAMESPACE, "delete", "job", "once", "--wait=false"])?;
    ensure!(log.matches("PONG").count() == 2, "{log}");
    Ok(log)
}

/// A pod that is being deleted still answers whoever dials it, by address and by a service that has no other.
fn terminating(suite: &mut Suite, mesh_on: bool) -> Result<String> {
    let k = suite.cluster.kubectl.clone();
    k.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: leaving, namespace: {NAMESPACE}, labels: {{app: leaving}}}}\nspec:\n  \
         nodeSelector: {{kubernetes.io/hostname: node2}}\n  terminationGracePeriodSeconds: 60\n  containers:\n  - name: main\n    {CONTAINER}\n    \
         command: [culvert-echo, --name, leaving, --http, \"8080\"]\n    readinessProbe: {{tcpSocket: {{port: 8080}}, periodSeconds: 1}}\n"
    ))?;
    k.wait_ready(NAMESPACE, "app=leaving")?;
    if mesh_on {
        let pods = mesh::wait_captured(&suite.cluster, NAMESPACE)?;
        mesh::known(&suite.cluster, &mut suite.link, NAMESPACE, &pods)?;
    }
    let address = k.field(NAMESPACE, "pod/leaving", ".status.podIP")?;
    let script = format!(
        "set -e -o pipefail; curl -sS -m 10 http://leaving/ | grep name; curl -sS -m 10 http://{address}:8080/ | grep name"
    );
    let before = wait::until("the service leaving answers", wait::PATIENCE, || {
        k.sh_ok(NAMESPACE, "client", &script).map(Some)
    })?;
    k.run(&["-n", NAMESPACE, "delete", "pod", "leaving", "--wait=false"])?;
    wait::until("the endpoint is terminating", PATIENCE, || {
        pause();
        let slices = k.list(&[
            "-n",
            NAMESPACE,
            "endpointslices",
            "-l",
            "kubernetes.io/service-name=leaving",
        ])?;
        let mut endpoints = slices
            .iter()
            .filter_map(|slice| slice["endpoints"].as_array())
            .flatten();
        Ok(endpoints
            .any(|one| one["conditions"]["terminating"] == true)
            .then_some(()))
    })?;
    // What follows the API has had its chance.
    std::thread::sleep(std::time::Duration::from_secs(2));
    let after = k.sh(NAMESPACE, "client", &script)?;
    suite.link.released(|pod| pod == "e2e-matrix/leaving");
    k.delete_pod(NAMESPACE, "leaving")?;
    wait::until("the pod leaving is gone", PATIENCE, || {
        pause();
        Ok((!k.try_run(&["-n", NAMESPACE, "get", "pod", "leaving"])?.ok).then_some(()))
    })?;
    ensure!(after.ok, "after its deletion: {}", after.text());
    Ok(format!("{before}{}", after.stdout))
}

/// All four kinds of probes keep a pod ready and running, under STRICT too; and STRICT is in force.
fn probes(suite: &mut Suite, mesh_on: bool) -> Result<String> {
    let k = suite.cluster.kubectl.clone();
    let namespace = "e2e-probes";
    let label = if mesh_on {
        "{culvert.dev/dataplane-mode: ambient}"
    } else {
        "{}"
    };
    k.apply(&format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}, labels: {label}}}\n"
    ))?;
    if mesh_on {
        k.apply(&format!(
            "apiVersion: culvert.dev/v1alpha1\nkind: PeerAuthentication\nmetadata: {{name: default, namespace: {namespace}}}\n\
             spec: {{mtls: {{mode: STRICT}}}}\n"
        ))?;
    }
    k.apply(&include_str!("../../../manifests/probes.yaml").replace("$(NODE)", "node2"))?;
    k.wait_ready(namespace, "app")?;
    // Long enough that a liveness probe that fails would have restarted its container: three times a second apart.
    std::thread::sleep(std::time::Duration::from_secs(6));
    k.wait_ready(namespace, "app")?;
    let lives = mesh::lives(&suite.cluster, namespace)?;
    let told: Vec<_> = lives
        .iter()
        .map(|life| {
            life.split(' ').next().unwrap_or_default().to_owned()
                + " restarts "
                + life.rsplit(' ').next().unwrap_or_default()
        })
        .collect();
    if mesh_on {
        let address = k.field(namespace, "pod/http", ".status.podIP")?;
        let refused = suite
            .cluster
            .on_node("node1", &format!("curl -sS -m 5 http://{address}:8081/"))?;
        ensure!(!refused.ok, "STRICT is not in force: {}", refused.text());
    }
    k.delete_namespaces(&[namespace])
        .context("removing the probes")?;
    ensure!(
        told.iter().all(|one| one.ends_with("restarts 0")),
        "{told:?}"
    );
    Ok(told.join("\n"))
}

/// The API server calls a webhook that a pod of the namespace serves; it allows one object and refuses another.
fn webhook(suite: &mut Suite, mesh_on: bool) -> Result<String> {
    let k = suite.cluster.kubectl.clone();
    let directory = culvert_e2e::report::Report::directory();
    let script = format!(
        "cd {} && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout hook.key -out hook.crt \
         -subj /CN=hook -addext subjectAltName=DNS:hook.{NAMESPACE}.svc 2>/dev/null && base64 -w0 hook.crt && echo && base64 -w0 hook.key",
        directory.display()
    );
    let made = culvert_e2e::run::run(
        std::process::Command::new("bash").args(["-c", &script]),
        "",
        std::time::Duration::from_secs(20),
    )?
    .success()?;
    let (certificate, key) = made.split_once('\n').context("a certificate and a key")?;
    let objects = include_str!("../../../manifests/webhook.yaml")
        .replace("$(CERTIFICATE)", certificate.trim())
        .replace("$(KEY)", key.trim());
    k.apply(&objects)?;
    let outcome = (|| -> Result<String> {
        k.wait_ready(NAMESPACE, "app=hook")?;
        if mesh_on {
            let pods = mesh::wait_captured(&suite.cluster, NAMESPACE)?;
            mesh::known(&suite.cluster, &mut suite.link, NAMESPACE, &pods)?;
        }
        let config = |name: &str, key: &str| {
            format!(
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: {NAMESPACE}, labels: {{hooked: \"yes\"}}}}\ndata: {{{key}: x}}\n"
            )
        };
        wait::until("the webhook is called", wait::PATIENCE, || {
            let output = k.try_apply(&config("hooked", "forbidden"))?;
            ensure!(!output.ok, "not called yet");
            Ok(output
                .stderr
                .contains("the e2e webhook says no")
                .then_some(()))
        })?;
        k.apply(&config("hooked", "allowed"))?;
        let refused = k.try_apply(&config("hooked-too", "forbidden"))?;
        Ok(format!(
            "allowed; {}",
            refused.stderr.lines().last().unwrap_or_default()
        ))
    })();
    k.run(&[
        "delete",
        "validatingwebhookconfiguration",
        "e2e-hook",
        "--ignore-not-found",
    ])?;
    k.run(&[
        "-n",
        NAMESPACE,
        "delete",
        "configmap,pod,secret,service",
        "-l",
        "part=hook",
        "--wait",
        "--ignore-not-found",
    ])?;
    k.run(&[
        "-n",
        NAMESPACE,
        "delete",
        "configmap",
        "hooked",
        "--ignore-not-found",
    ])?;
    suite.link.released(|pod| pod == "e2e-matrix/hook");
    let told = outcome?;
    ensure!(told.contains("the e2e webhook says no"), "{told}");
    Ok(told)
}
