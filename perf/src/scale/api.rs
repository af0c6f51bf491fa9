//! The real etcd and API server on loopback, with a data directory that goes with them.
//!
//! Invariant: both end with the value, and whoever reaches the port without the token is nobody.

use super::load::Writer;
use anyhow::{Context, Result, ensure};
use boring::rsa::Rsa;
use culvert_kube::Access;
use culvert_lab::Process;
use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// Admission that costs and that nothing here is about.
const WITHOUT: &str = "ServiceAccount,LimitRanger,TaintNodesByCondition,PodSecurity,Priority,\
DefaultTolerationSeconds,RuntimeClass,MutatingAdmissionWebhook,ValidatingAdmissionPolicy,\
ValidatingAdmissionWebhook,ResourceQuota";
const PATIENCE: Duration = Duration::from_secs(120);

/// A Kubernetes without nodes.
pub(crate) struct Api {
    dir: PathBuf,
    programs: PathBuf,
    pub(crate) etcd: Process,
    pub(crate) server: Process,
    pub(crate) writer: Writer,
}

impl Api {
    /// Starts it and waits until it is ready.
    pub(crate) async fn start(programs: &Path, dir: &Path) -> Result<Self> {
        let [client_port, peer_port, port] = free_ports()?;
        let program = |name: &str| {
            let path = programs.join(name);
            ensure!(
                path.exists(),
                "{}: build it by `tests/cluster/cluster build`",
                path.display()
            );
            Ok(Command::new(path))
        };
        let mut etcd = program("etcd")?;
        let (client_url, peer_url) = (
            format!("http://127.0.0.1:{client_port}"),
            format!("http://127.0.0.1:{peer_port}"),
        );
        etcd.args(["--name=scale", "--unsafe-no-fsync", "--log-level=warn"])
            .arg(format!("--data-dir={}", dir.join("etcd").display()))
            .arg(format!("--listen-client-urls={client_url}"))
            .arg(format!("--advertise-client-urls={client_url}"))
            .arg(format!("--listen-peer-urls={peer_url}"))
            .arg(format!("--initial-advertise-peer-urls={peer_url}"))
            .arg(format!("--initial-cluster=scale={peer_url}"))
            .arg("--quota-backend-bytes=8589934592");
        let etcd = Process::start("etcd", etcd, dir.join("etcd.log"))?;
        let server = Process::start(
            "kube-apiserver",
            server(program("kube-apiserver")?, dir, &client_url, port)?,
            dir.join("kube-apiserver.log"),
        )?;
        let mut clients = vec![connect(dir, port, &server).await?];
        while clients.len() < Writer::CLIENTS {
            clients.push(culvert_kube::connect(&Access::Kubeconfig(kubeconfig(dir))).await?);
        }
        Ok(Self {
            dir: dir.to_owned(),
            programs: programs.to_owned(),
            etcd,
            server,
            writer: Writer::new(clients),
        })
    }

    /// How programs reach it.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        kubeconfig(&self.dir)
    }

    /// Creates or updates what a manifest says.
    pub(crate) fn apply(&self, manifest: &Path) -> Result<()> {
        let mut kubectl = Command::new(self.programs.join("kubectl"));
        kubectl
            .arg("--kubeconfig")
            .arg(self.kubeconfig())
            .args(["apply", "--server-side", "-f"])
            .arg(manifest);
        culvert_lab::process::complete(&mut kubectl, PATIENCE)?
            .success()
            .with_context(|| format!("applying {}", manifest.display()))?;
        Ok(())
    }
}

fn server(mut command: Command, dir: &Path, etcd: &str, port: u16) -> Result<Command> {
    let key = Rsa::generate(2048)?;
    let (private, public) = (dir.join("accounts.key"), dir.join("accounts.pub"));
    fs::write(&private, key.private_key_to_pem()?)?;
    fs::write(&public, key.public_key_to_pem()?)?;
    let token = hex(&boring::sha::sha256(&key.private_key_to_pem()?));
    let tokens = dir.join("tokens.csv");
    fs::write(&tokens, format!("{token},scale,scale,\"system:masters\"\n"))?;
    fs::write(dir.join("token"), token)?;
    command
        .arg(format!("--etcd-servers={etcd}"))
        .arg(format!("--secure-port={port}"))
        .arg("--bind-address=127.0.0.1")
        .arg("--advertise-address=192.0.2.1")
        .arg("--endpoint-reconciler-type=none")
        .arg(format!("--cert-dir={}", certificates(dir).display()))
        .arg("--service-cluster-ip-range=10.96.0.0/12")
        .arg("--service-account-issuer=https://kubernetes.default.svc.cluster.local")
        .arg(format!("--service-account-key-file={}", public.display()))
        .arg(format!(
            "--service-account-signing-key-file={}",
            private.display()
        ))
        .arg(format!("--token-auth-file={}", tokens.display()))
        .arg("--authorization-mode=RBAC")
        .arg(format!("--disable-admission-plugins={WITHOUT}"))
        .args([
            "--max-requests-inflight=3000",
            "--max-mutating-requests-inflight=1000",
        ])
        .arg("--enable-priority-and-fairness=false");
    Ok(command)
}

fn certificates(dir: &Path) -> PathBuf {
    dir.join("certificates")
}

fn kubeconfig(dir: &Path) -> PathBuf {
    dir.join("kubeconfig")
}

async fn connect(dir: &Path, port: u16, server: &Process) -> Result<kube::Client> {
    let root = certificates(dir).join("apiserver.crt");
    let text = format!(
        "{{apiVersion: v1, kind: Config, current-context: scale,\n\
         clusters: [{{name: scale, cluster: {{server: 'https://127.0.0.1:{port}', certificate-authority: {}}}}}],\n\
         users: [{{name: scale, user: {{token: '{}'}}}}],\n\
         contexts: [{{name: scale, context: {{cluster: scale, user: scale}}}}]}}\n",
        root.display(),
        fs::read_to_string(dir.join("token"))?
    );
    fs::write(kubeconfig(dir), text)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let ready = async {
            ensure!(root.exists(), "no certificate yet");
            let client = culvert_kube::connect(&Access::Kubeconfig(kubeconfig(dir))).await?;
            let request = http::Request::get("/readyz").body(Vec::new())?;
            client.request_text(request).await?;
            anyhow::Ok(client)
        };
        match ready.await {
            Ok(client) => return Ok(client),
            Err(error) if Instant::now() > deadline => {
                let log = server.log();
                let tail = log
                    .get(log.len().saturating_sub(2000)..)
                    .unwrap_or_default();
                return Err(error.context(format!("the API server is not ready: {tail}")));
            }
            Err(_) => sleep(Duration::from_millis(250)).await,
        }
    }
}

/// Ports that were free a moment ago.
pub(crate) fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut held = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
