//! The order of the suite: the cluster, the matrix without the mesh, the installation, the cases, the removal.
//!
//! Invariant: a case that cannot make its precondition fails; none is left out in silence.

use crate::cases::{self, Case, Matrix};
use anyhow::{Context, Result, ensure};
use culvert_e2e::{
    cluster::Cluster,
    link::Link,
    mesh,
    node::{self, NODES},
    report::Report,
    run::root,
};
use std::time::{Duration, Instant};

/// What every case may use.
#[derive(Debug)]
pub(crate) struct Suite {
    pub(crate) cluster: Cluster,
    pub(crate) link: Link,
    pub(crate) matrix: Matrix,
}

/// What to run.
#[derive(Debug)]
pub(crate) struct Choice {
    /// Cases whose names contain one of these; all if empty.
    pub(crate) only: Vec<String>,
    /// Leave cluster, mesh and objects.
    pub(crate) keep: bool,
    /// Only what needs no mesh: whether the matrix itself holds on the bare cluster.
    pub(crate) without_mesh: bool,
    /// How kube-proxy works in a cluster that the suite starts.
    pub(crate) proxy_mode: String,
}

impl Choice {
    pub(crate) fn takes(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| name.contains(only.as_str()))
    }
}

/// Runs the chosen cases. Yields whether all passed.
pub(crate) fn run(choice: &Choice) -> Result<bool> {
    let begin = Instant::now();
    let mut report = Report::default();
    std::fs::create_dir_all(Report::directory())?;
    let cluster = Cluster::default();
    let started = cluster.up(&choice.proxy_mode).context("the cluster")?;
    println!(
        "cluster {} ({:.0} s)",
        if started { "started" } else { "was up" },
        begin.elapsed().as_secs_f64()
    );
    let mut archives = if choice.without_mesh {
        Vec::new()
    } else {
        mesh::images()
    };
    archives.push(root().join("target/e2e/apps.tar"));
    cluster.load(&archives).context("images")?;
    println!("images loaded ({:.0} s)", begin.elapsed().as_secs_f64());
    let outcome = whole(choice, &cluster, &mut report);
    if let Err(error) = &outcome {
        report.add(
            "suite",
            begin.elapsed(),
            Err(anyhow::anyhow!("{error:#}")),
            &mesh::details(&cluster),
        );
    }
    if started && !choice.keep {
        let begin = Instant::now();
        report.add(
            "cluster-down",
            begin.elapsed(),
            cluster.down().map(|()| Vec::new()),
            "",
        );
    }
    report.write(begin.elapsed())?;
    println!(
        "e2e: {} of {} cases passed in {:.0} s",
        report.total() - report.failed(),
        report.total(),
        begin.elapsed().as_secs_f64()
    );
    Ok(report.failed() == 0)
}

fn whole(choice: &Choice, cluster: &Cluster, report: &mut Report) -> Result<()> {
    let installed = mesh::is_installed(cluster)?;
    ensure!(
        !installed || choice.keep || !choice.only.is_empty(),
        "Culvert is installed already; the whole suite begins without it"
    );
    let states = NODES
        .map(|node| node::state(cluster, node).map(|state| (node, state)))
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    let link = Link::start(cluster).context("the link's capture")?;
    let mut suite = Suite {
        cluster: cluster.clone(),
        link,
        matrix: Matrix::default(),
    };
    if Matrix::is_chosen(choice) {
        timed(report, cluster, "matrix-without-mesh", || {
            suite.matrix_off(choice)
        });
    }
    if choice.without_mesh {
        return cases::clean(&mut suite);
    }
    if !installed {
        timed(report, cluster, "install", || {
            mesh::install(cluster)?;
            Ok(Vec::new())
        });
        ensure!(
            report.failed() == 0,
            "without the mesh there is nothing to test"
        );
    }
    if Matrix::is_chosen(choice) {
        suite.matrix_on(choice, report);
    }
    for Case { name, run } in cases::ALL.iter().filter(|case| choice.takes(case.name)) {
        timed(report, cluster, name, || run(&mut suite));
        suite.link.no_more_excuses(name);
    }
    if !choice.keep {
        cases::clean(&mut suite)?;
        timed(report, cluster, "uninstall", || {
            cases::uninstall(&mut suite, &states)
        });
        for case in cases::REMOVED.iter().filter(|it| choice.takes(it.name)) {
            timed(report, cluster, case.name, || {
                (case.run)(&mut suite, &states)
            });
        }
    }
    let link = suite.link;
    timed(report, cluster, "encryption", || cases::encryption(link));
    Ok(())
}

/// Runs one case and adds it to the report.
pub(crate) fn timed(
    report: &mut Report,
    cluster: &Cluster,
    name: &str,
    case: impl FnOnce() -> Result<Vec<String>>,
) {
    let begin = Instant::now();
    let outcome = case();
    let took: Duration = begin.elapsed();
    let details = if outcome.is_err() {
        mesh::details(cluster)
    } else {
        String::new()
    };
    report.add(name, took, outcome, &details);
}
