//! `culvert ztunnel`: what a node's ztunnel knows (its configuration dump) and does (its connections).

mod tables;

use crate::{
    admin::Endpoint,
    output::{self, Format},
    reach::{self, Place},
};
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;
use std::{path::PathBuf, process::ExitCode};

/// Of ztunnel's admin endpoint, on its pod's loopback.
const ADMIN_PORT: u16 = 15000;

/// Options of `culvert ztunnel`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// What to show.
    #[arg(value_enum)]
    subject: Subject,
    /// The ztunnel's admin endpoint: `unix:PATH` or `IP:PORT`.
    #[arg(
        long,
        value_name = "ENDPOINT",
        env = "CULVERT_ZTUNNEL_ADMIN",
        default_value = "127.0.0.1:15000"
    )]
    admin: Endpoint,
    /// On Kubernetes: the node whose ztunnel is asked.
    #[arg(long, value_name = "NODE", conflicts_with = "admin")]
    node: Option<String>,
    /// The cluster's credentials; otherwise $KUBECONFIG, ~/.kube/config or the pod's own.
    #[arg(long, value_name = "FILE", requires = "node")]
    kubeconfig: Option<PathBuf>,
    /// How to show it.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Subject {
    /// Pods and what stands for pods
    #[value(alias = "workload")]
    Workloads,
    /// Services and their virtual addresses
    #[value(alias = "service")]
    Services,
    /// Authorization policies
    #[value(alias = "policy")]
    Policies,
    /// Certificates of this node's workloads
    #[value(alias = "certificate")]
    Certificates,
    /// Open connections
    #[value(alias = "connection")]
    Connections,
}

impl Subject {
    /// Where ztunnel answers it, and under which key.
    fn place(self) -> (&'static str, &'static str) {
        match self {
            Self::Workloads => ("/config_dump", "workloads"),
            Self::Services => ("/config_dump", "services"),
            Self::Policies => ("/config_dump", "policies"),
            Self::Certificates => ("/config_dump", "certificates"),
            Self::Connections => ("/connections", "connections"),
        }
    }

    fn table(self, items: &[Value]) -> Result<String> {
        let table = match self {
            Self::Workloads => tables::workloads(items),
            Self::Services => tables::services(items),
            Self::Policies => tables::policies(items),
            Self::Certificates => tables::certificates(items),
            Self::Connections => tables::connections(items)?,
        };
        Ok(table.to_string())
    }
}

/// What the ztunnel of a Kubernetes node answers. While one replaces another, the newest that is ready.
async fn ask(options: &Options, node: &str, path: &'static str) -> Result<Value> {
    let client = reach::connect(options.kubeconfig.as_ref()).await?;
    let mut pods = reach::pods(&client, "culvert-ztunnel").await?;
    pods.retain(|pod| pod.spec.as_ref().and_then(|it| it.node_name.as_deref()) == Some(node));
    pods.sort_by(|a, b| {
        let made = |pod: &Pod| pod.metadata.creation_timestamp.clone();
        made(a).cmp(&made(b))
    });
    let pod = pods
        .pop()
        .and_then(|pod| pod.metadata.name)
        .with_context(|| format!("no ztunnel of node {node} is ready"))?;
    let place = Place {
        name: pod.clone(),
        pod: pod.clone(),
        port: ADMIN_PORT,
    };
    let answer = reach::ask(&client, &[place], path).await?.remove(&pod);
    answer
        .context("no answer")?
        .map_err(|error| anyhow::anyhow!("asking {pod}: {error}"))
}

/// Prints one of ztunnel's lists.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let (path, key) = options.subject.place();
    let mut answer = match &options.node {
        Some(node) => reach::run(ask(options, node, path))?,
        None => options.admin.get(path)?,
    };
    let list = if answer.is_array() {
        answer
    } else {
        answer[key].take()
    };
    let items = list
        .as_array()
        .with_context(|| format!("{path} has no list of {key}"))?;
    output::print(options.output, &list, || options.subject.table(items))?;
    Ok(ExitCode::SUCCESS)
}
