//! The mesh at scale, simulated: the real etcd, API server and controller; pods that exist only as objects; one client for
//! each node that decodes all it is sent.
//!
//! Invariant: a run that ends well has seen that a store which lived through the churn equals a fresh one.

mod api;
mod churn;
mod clients;
mod load;
mod marks;
mod objects;
mod report;
mod usage;
pub(crate) mod watch;

use crate::machine;
use anyhow::{Context, Result, ensure};
use api::Api;
use churn::Churn;
use clap::Args as ClapArgs;
use clients::{Endpoint, Node, Proxy};
use culvert_lab::Process;
use culvert_runtime::drain::{self, Drain};
use load::Writer;
use marks::{Kind, Marks};
use objects::{SYSTEM, Size};
use report::{Latency, Report};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::PoisonError,
    time::Duration,
};
use tokio::time::{Instant, sleep};
use usage::{Memory, Processes, Used};
use watch::Watcher;

/// Clients that take their first, large response at once.
const SYNC_AT_ONCE: usize = 8;
const PATIENCE: Duration = Duration::from_secs(300);
/// The allocator gives back over twice five seconds.
const SETTLE: Duration = Duration::from_secs(15);
/// For a dial that asks whether somebody listens.
const PROBE: Duration = Duration::from_millis(100);

/// How large, how long, and where the programs are.
#[derive(ClapArgs, Clone, Debug)]
pub(crate) struct Args {
    #[arg(long, default_value_t = 5000)]
    pods: usize,
    /// A tenth of the pods if left out.
    #[arg(long)]
    services: Option<usize>,
    #[arg(long, default_value_t = 200)]
    nodes: usize,
    /// xDS clients, one for each of so many nodes.
    #[arg(long, default_value_t = 200)]
    clients: usize,
    /// Pods that are replaced each second.
    #[arg(long, default_value_t = 100)]
    churn: usize,
    /// Seconds of churn.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Each client asks for so many services, rather than for all of the mesh.
    #[arg(long, value_name = "SERVICES")]
    on_demand: Option<usize>,
    /// Directory of etcd, kube-apiserver and kubectl.
    #[arg(long, default_value = "target/cluster/bin")]
    programs: PathBuf,
    /// The controller.
    #[arg(long, default_value = "target/release/culvert-controller")]
    controller: PathBuf,
    /// File for the figures.
    #[arg(long, default_value = "target/perf-scale.json")]
    output: PathBuf,
    /// Keep data and logs.
    #[arg(long)]
    keep: bool,
}

/// Simulates, prints the table and writes the file.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let dir = tempfile::Builder::new()
        .prefix("culvert-scale-")
        .tempdir()?;
    let path = dir.path().to_owned();
    let outcome = runtime.block_on(simulate(args, &path));
    if args.keep || outcome.is_err() {
        eprintln!("logs are in {}", dir.keep().display());
    }
    let report = outcome?;
    if let Some(dir) = args.output.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(&args.output, serde_json::to_string_pretty(&report)? + "\n")?;
    println!("{report}");
    Ok(if report.wrong().is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What runs.
struct Mesh {
    api: Api,
    controller: Process,
    endpoint: Endpoint,
    dir: PathBuf,
}

impl Mesh {
    /// What is measured.
    fn processes(&self, store: u32) -> Processes {
        vec![
            ("etcd", self.api.etcd.pid()),
            ("apiserver", self.api.server.pid()),
            ("controller", self.controller.pid()),
            ("store", store),
            ("simulator", std::process::id()),
        ]
    }
}

async fn simulate(args: &Args, dir: &Path) -> Result<Report> {
    let size = Size {
        pods: args.pods,
        services: args.services.unwrap_or(args.pods / 10),
        nodes: args.nodes,
    };
    ensure!(
        args.clients <= args.nodes,
        "a client is one of a node: {} nodes",
        args.nodes
    );
    let api = start_api(args, dir).await?;
    let tokens = populate(&api.writer, size, args.clients, dir).await?;
    let (mesh, controller_ready_seconds) = start_controller(args, api, dir).await?;
    let (_trigger, drain) = drain::channel();
    let marks = Marks::new();
    let began = Instant::now();
    let proxies = proxies(args, size, tokens);
    let first = proxies
        .first()
        .context("without a client there is nothing to see")?;
    let mut watcher = Watcher::start(&mesh.endpoint, first, &dir.join("watch.log"))?;
    watcher.account()?;
    let nodes = start_clients(&mesh, &proxies, &marks, &drain).await?;
    let clients_synced_seconds = began.elapsed().as_secs_f64();
    eprintln!(
        "{} clients synced in {clients_synced_seconds:.1} s",
        nodes.len()
    );

    let processes = mesh.processes(watcher.pid());
    sleep(Duration::from_secs(5)).await;
    let cpu_idle = measure(&processes, async {
        sleep(Duration::from_secs(10)).await;
        Ok(())
    })
    .await?
    .1;
    let before = Totals::of(&nodes);
    let churn = Churn::new(mesh.api.writer.clone(), size, marks.clone());
    let (outcome, cpu_churn) = measure(&processes, churn.run(args.churn, args.seconds)).await?;
    let load_average = fs::read_to_string("/proc/loadavg")?.trim().to_owned();
    let latencies = latencies(&nodes, &marks).await;
    let after = Totals::of(&nodes);
    let memory = memory(&processes)?;
    let store = watcher.account()?;
    let mut fresh = Watcher::start(&mesh.endpoint, first, &dir.join("fresh.log"))?;
    // Once, to know that it is there; then when the allocator has given back what the first response took.
    fresh.account()?;
    sleep(SETTLE).await;
    let fresh = fresh.account()?;
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let each = |after: u64, before: u64, of: usize| (after - before) as f64 / of as f64;
    Ok(Report {
        machine: machine::describe()?,
        versions: versions(args)?,
        pods: size.pods,
        services: size.all_services(),
        nodes: size.nodes,
        clients: nodes.len(),
        on_demand: args.on_demand,
        rate: args.churn,
        churn: outcome,
        controller_ready_seconds,
        clients_synced_seconds,
        cpu_idle,
        cpu_churn,
        memory,
        resources_a_client: each(after.resources, before.resources, nodes.len()),
        resource_bytes_a_client: each(after.bytes, before.bytes, nodes.len()),
        response_bytes_a_replacement: each(
            after.wire,
            before.wire,
            nodes.len() * outcome.replaced.max(1),
        ),
        responses_a_client: each(after.responses, before.responses, nodes.len()),
        latencies,
        store,
        fresh,
        load_average,
    })
}

fn memory(processes: &Processes) -> Result<BTreeMap<&'static str, Memory>> {
    processes
        .iter()
        .map(|(name, pid)| Ok((*name, usage::memory(*pid)?)))
        .collect()
}

/// The API server, which knows our kinds.
async fn start_api(args: &Args, dir: &Path) -> Result<Api> {
    let api = Api::start(&args.programs, dir).await?;
    let manifest = dir.join("crds.yaml");
    let crds = Command::new(&args.controller)
        .arg("crds")
        .output()
        .context("culvert-controller crds")?;
    fs::write(&manifest, crds.stdout)?;
    api.apply(&manifest)?;
    Ok(api)
}

/// All objects, and a token file for each client.
async fn populate(client: &Writer, size: Size, clients: usize, dir: &Path) -> Result<Vec<PathBuf>> {
    let (first, rest): (Vec<_>, Vec<_>) = size
        .foundations()
        .into_iter()
        .partition(|(path, _)| path == "/api/v1/namespaces");
    load::create(client, "namespaces", first).await?;
    load::create(client, "nodes and service accounts", rest).await?;
    let proxies = load::create(client, "pods of proxies", size.proxies(clients)).await?;
    let mut tokens = Vec::new();
    for (node, pod) in proxies.iter().enumerate() {
        let uid = pod
            .pointer("/metadata/uid")
            .and_then(Value::as_str)
            .context("a pod without a uid")?;
        let token = load::token(client, &objects::proxy(node), uid).await?;
        let path = dir.join(format!("token-{node}"));
        fs::write(&path, token)?;
        tokens.push(path);
    }
    let services = (0..size.all_services()).map(|service| size.service(service));
    load::create(client, "services", services.collect()).await?;
    load::create_pods(client, size).await?;
    let slice = |service| {
        let pods: Vec<_> = size
            .pods_of(service)
            .map(|index| objects::Pod {
                index,
                generation: 0,
            })
            .collect();
        size.slice(service, &pods)
    };
    load::create(
        client,
        "slices",
        (0..size.all_services()).map(slice).collect(),
    )
    .await?;
    Ok(tokens)
}

/// The clients, each with what it asks for.
fn proxies(args: &Args, size: Size, tokens: Vec<PathBuf>) -> Vec<Proxy> {
    let proxy = |(node, token): (usize, PathBuf)| {
        let services = |count: usize| {
            let spread = |n: usize| (node * 37 + n * 131) % size.all_services();
            (0..count).map(|n| size.service_key(spread(n))).collect()
        };
        Proxy {
            node: size.node(node),
            token,
            names: args.on_demand.map(services),
        }
    };
    tokens.into_iter().enumerate().map(proxy).collect()
}

async fn start_controller(args: &Args, api: Api, dir: &Path) -> Result<(Mesh, f64)> {
    let [port, admin, ready, stats] = api::free_ports()?;
    let socket = SocketAddr::from(([127, 0, 0, 1], port));
    let address = socket.to_string();
    let mut command = Command::new(&args.controller);
    command
        .arg("--kubernetes")
        .arg(format!("--kubeconfig={}", api.kubeconfig().display()))
        .arg(format!("--namespace={SYSTEM}"))
        .arg(format!("--listen={address}"))
        .arg(format!("--admin=127.0.0.1:{admin}"))
        .arg(format!("--ready=127.0.0.1:{ready}"))
        .arg(format!("--stats=127.0.0.1:{stats}"))
        .env("POD_NAME", "culvert-controller-0")
        .env("POD_NAMESPACE", SYSTEM);
    let began = Instant::now();
    let mut controller = Process::start("controller", command, dir.join("controller.log"))?;
    let root = dir.join("root.crt");
    loop {
        ensure!(
            controller.is_running(),
            "the controller has ended: {}",
            controller.log()
        );
        ensure!(
            began.elapsed() < PATIENCE,
            "the controller does not serve: {}",
            controller.log()
        );
        let path = format!("/api/v1/namespaces/{SYSTEM}/configmaps/culvert-ca-root");
        let request = http::Request::get(path).body(Vec::new())?;
        let config = api
            .writer
            .client()
            .request::<Value>(request)
            .await
            .unwrap_or_default();
        let listens = std::net::TcpStream::connect_timeout(&socket, PROBE).is_ok();
        let pem = config.pointer("/data/root.crt").and_then(Value::as_str);
        if let (Some(pem), true) = (pem, listens) {
            fs::write(&root, pem)?;
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    let seconds = began.elapsed().as_secs_f64();
    eprintln!("controller ready in {seconds:.1} s");
    let endpoint = Endpoint {
        address: socket,
        root,
    };
    let mesh = Mesh {
        api,
        controller,
        endpoint,
        dir: dir.to_owned(),
    };
    Ok((mesh, seconds))
}

async fn start_clients(
    mesh: &Mesh,
    proxies: &[Proxy],
    marks: &Marks,
    drain: &Drain,
) -> Result<Vec<Node>> {
    let mut nodes = Vec::new();
    for some in proxies.chunks(SYNC_AT_ONCE) {
        let from = nodes.len();
        for proxy in some {
            nodes.push(Node::start(
                &mesh.endpoint,
                proxy,
                marks.clone(),
                drain.clone(),
            )?);
        }
        for node in nodes.iter_mut().skip(from) {
            let synced = tokio::time::timeout(PATIENCE, node.synced()).await;
            synced.with_context(|| {
                format!("a client got nothing; logs in {}", mesh.dir.display())
            })??;
        }
    }
    Ok(nodes)
}

async fn measure<T>(
    processes: &Processes,
    work: impl Future<Output = Result<T>>,
) -> Result<(T, BTreeMap<&'static str, f64>)> {
    let (before, began) = (Used::now(processes)?, Instant::now());
    let done = work.await?;
    let used = Used::now(processes)?.since(&before, began.elapsed().as_secs_f64());
    Ok((done, used))
}

/// What all clients have been sent.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    resources: u64,
    bytes: u64,
    wire: u64,
    responses: u64,
}

impl Totals {
    fn of(nodes: &[Node]) -> Self {
        let mut totals = Self::default();
        for node in nodes {
            let seen = node.seen.lock().unwrap_or_else(PoisonError::into_inner);
            totals.resources += seen.resources;
            totals.bytes += seen.bytes;
        }
        for family in culvert_runtime::metrics::registry().gather() {
            let sum = || {
                family
                    .get_metric()
                    .iter()
                    .map(|metric| metric.get_counter().get_value())
            };
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "counters of whole things"
            )]
            match family.name() {
                "istio_xds_message_bytes_total" => totals.wire = sum().sum::<f64>() as u64,
                "istio_xds_message_total" => totals.responses = sum().sum::<f64>() as u64,
                _ => {}
            }
        }
        totals
    }
}

/// Waits until every client has seen every change, or a while.
async fn latencies(nodes: &[Node], marks: &Marks) -> Vec<Latency> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let all: Vec<_> = Kind::ALL
            .into_iter()
            .map(|kind| latency(nodes, marks, kind))
            .collect();
        if all.iter().all(|latency| latency.complete) || Instant::now() > deadline {
            return all;
        }
        sleep(Duration::from_millis(500)).await;
    }
}

fn latency(nodes: &[Node], marks: &Marks, kind: Kind) -> Latency {
    let mut all = marks::histogram();
    for node in nodes {
        let seen = node.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(histogram) = seen.latencies.get(&kind) {
            // Of equal bounds.
            let _ = all.add(histogram);
        }
    }
    let writes = marks.count(kind);
    Latency::new(kind, writes, (writes * nodes.len()) as u64, &all)
}

fn versions(args: &Args) -> Result<BTreeMap<&'static str, String>> {
    let version = |program: &Path| -> Result<String> {
        let output = Command::new(program).arg("--version").output();
        let output = output.with_context(|| program.display().to_string())?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(text.lines().next().unwrap_or_default().to_owned())
    };
    Ok(BTreeMap::from([
        ("etcd", version(&args.programs.join("etcd"))?),
        (
            "API server",
            version(&args.programs.join("kube-apiserver"))?,
        ),
        ("controller", version(&args.controller)?),
    ]))
}
