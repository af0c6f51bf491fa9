//! A process that does nothing but keep the mesh's state as a ztunnel does: what it weighs is what the state weighs, and
//! two of them that know the same say the same.

use super::{
    clients::{Endpoint, Proxy},
    usage::{self, Memory},
};
use anyhow::{Context, Result};
use clap::Args as ClapArgs;
use culvert_runtime::{drain, task};
use culvert_xds::{Store, state::Settings};
use serde::{Deserialize, Serialize};
use std::{
    io::{BufRead as _, BufReader, Write as _, stdin},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio},
};

/// The allocator's settings, as a ztunnel has them (`ztunnel/src/sys.rs`).
const MALLOC_CONF: &str =
    "background_thread:true,thp:never,dirty_decay_ms:5000,muzzy_decay_ms:5000";

/// Whom to follow.
#[derive(ClapArgs, Debug)]
pub(crate) struct Args {
    #[arg(long)]
    controller: SocketAddr,
    #[arg(long)]
    root_file: PathBuf,
    #[arg(long)]
    token_file: PathBuf,
    #[arg(long)]
    node: String,
    /// What to ask for, instead of all of the mesh.
    #[arg(long, value_delimiter = ',')]
    names: Option<Vec<String>>,
}

/// What it knows and weighs.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Account {
    pub(crate) workloads: usize,
    pub(crate) services: usize,
    /// Of every workload, service and policy.
    pub(crate) digest: String,
    pub(crate) rss_mb: f64,
    pub(crate) peak_rss_mb: f64,
    /// Before anything was known.
    pub(crate) empty_rss_mb: f64,
}

impl Account {
    /// Memory for each workload, in kilobytes.
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    pub(crate) fn kb_a_workload(&self) -> f64 {
        (self.rss_mb - self.empty_rss_mb) * 1024.0 / self.workloads.max(1) as f64
    }
}

/// The process: an account for each line of its input.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let store = Store::new(Settings::default());
    let empty_rss_mb = usage::memory(std::process::id())?.rss_mb;
    let (_trigger, drain) = drain::channel();
    let endpoint = Endpoint {
        address: args.controller,
        root: args.root_file.clone(),
    };
    runtime.block_on(async {
        let proxy = Proxy {
            node: args.node.clone(),
            token: args.token_file.clone(),
            names: args.names.clone(),
        };
        let client = endpoint.client(&proxy, store.clone())?;
        task::spawn("watch", client.run(drain));
        store.wait_synced(Store::TYPES).await;
        anyhow::Ok(())
    })?;
    for line in stdin().lock().lines() {
        line?;
        let memory = usage::memory(std::process::id())?;
        let account = account(&store, memory, empty_rss_mb)?;
        println!("{}", serde_json::to_string(&account)?);
        std::io::stdout().flush()?;
    }
    Ok(ExitCode::SUCCESS)
}

fn account(store: &Store, memory: Memory, empty_rss_mb: f64) -> Result<Account> {
    let snapshot = store.snapshot();
    let mut hash = boring::sha::Sha256::new();
    for workload in snapshot.workloads() {
        hash.update(&serde_json::to_vec(&**workload)?);
    }
    for service in snapshot.services() {
        hash.update(&serde_json::to_vec(&**service)?);
    }
    for policy in snapshot.policies() {
        hash.update(format!("{policy:?}").as_bytes());
    }
    Ok(Account {
        workloads: snapshot.workload_count(),
        services: snapshot.services().count(),
        digest: hash
            .finish()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
        rss_mb: memory.rss_mb,
        peak_rss_mb: memory.peak_rss_mb,
        empty_rss_mb,
    })
}

/// Such a process, as its parent sees it.
pub(crate) struct Watcher {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Watcher {
    pub(crate) fn start(endpoint: &Endpoint, proxy: &Proxy, log: &Path) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let names = proxy
            .names
            .iter()
            .map(|names| format!("--names={}", names.join(",")));
        let mut child = command
            .arg("watch")
            .arg(format!("--controller={}", endpoint.address))
            .arg(format!("--root-file={}", endpoint.root.display()))
            .arg(format!("--token-file={}", proxy.token.display()))
            .arg(format!("--node={}", proxy.node))
            .args(names)
            .env("_RJEM_MALLOC_CONF", MALLOC_CONF)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(log)?)
            .spawn()?;
        let input = child.stdin.take().context("no input")?;
        let output = child.stdout.take().context("no output")?;
        Ok(Self {
            child,
            input,
            output: BufReader::new(output),
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it knows now, as soon as it has been told once.
    pub(crate) fn account(&mut self) -> Result<Account> {
        writeln!(self.input)?;
        self.input.flush()?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        serde_json::from_str(&line).with_context(|| format!("the watcher said {line:?}"))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
