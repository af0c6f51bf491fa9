//! The report that is kept with the project: `docs/performance.md` and its plots, made from a run's file.
//!
//! Invariant: everything above the mark is made from the file and from [`METHOD`]; what people wrote below it stays.

mod svg;

use crate::{
    figures::{HOST_GB, HOST_REQUEST, short},
    latency::Latency,
    results::{self, Run},
    stage::Place,
    stats::Spread,
    subject::{CULVERT, DIRECT, STOCK},
    summary::{self, SUBJECTS},
    table, targets,
    work::names,
};
use anyhow::{Context, Result};
use clap::Args as ClapArgs;
use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};
use svg::{Group, Line};

/// Which run, and where to.
#[derive(ClapArgs, Debug)]
pub(crate) struct Args {
    /// A run's file.
    run: PathBuf,
    /// The text; plots go into a directory of its name beside it.
    #[arg(long, default_value = "docs/performance.md")]
    output: PathBuf,
}

const MARK: &str =
    "<!-- What follows was written by people, and stays when the rest is made anew. -->";
const METHOD: &str = include_str!("method.md");

/// Writes all of it.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let run = Run::read(&args.run)?;
    let dir = args.output.with_extension("");
    let mut text = head(&run);
    for (file, caption, svg) in plots(&run) {
        results::write(&dir.join(file), &svg)?;
        let name = dir.file_name().unwrap_or_default().display().to_string();
        let _ = writeln!(text, "![{caption}]({name}/{file})\n");
    }
    text.push_str(&all_rows(&run));
    let _ = write!(text, "\n{METHOD}\n{MARK}\n{}", by_people(&args.output)?);
    fs::write(&args.output, text.trim_end().to_owned() + "\n")
        .with_context(|| args.output.display().to_string())?;
    Ok(ExitCode::SUCCESS)
}

/// What stands below the mark already.
fn by_people(path: &Path) -> Result<String> {
    if !path.exists() {
        return Ok(String::new());
    }
    let text = fs::read_to_string(path)?;
    Ok(text
        .split_once(MARK)
        .map(|(_, kept)| kept.trim_start_matches('\n').to_owned())
        .unwrap_or_default())
}

fn head(run: &Run) -> String {
    let machine = &run.machine;
    let mut text = format!(
        "# Performance\n\nMade by `culvert-perf report` from a run of {} rounds{} on {} cores of {}, Linux {}, {}. \
         The open loop sends {} requests/s: {}.\n\n",
        run.rounds,
        if run.quick { " in the short form" } else { "" },
        machine.cores,
        machine.processor,
        machine.kernel,
        machine.congestion_control,
        run.open_rate,
        run.open_rate_is
    );
    text.push_str("## Targets\n\nRatios with their intervals of 95 percent. A target is held when the upper end is within it.\n\n");
    text.push_str("| work | measure | beside | ratio | at most | |\n|---|---|---|---|---|---|\n");
    for verdict in targets::judge(run, !run.quick) {
        let ratio = verdict
            .estimate()
            .as_ref()
            .map_or_else(|| "not measured".into(), table::estimate);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {ratio} | {} | {} |",
            verdict.work,
            verdict.measure,
            verdict.peer,
            verdict.at_most,
            if verdict.held() { "held" } else { "**missed**" }
        );
    }
    text.push_str("\n| program | version | SHA-256 |\n|---|---|---|\n");
    for program in &run.programs {
        let version = program.version.replace('|', "/");
        let _ = writeln!(
            text,
            "| {} | {version} | `{}` |",
            program.name, program.sha256
        );
    }
    text.push('\n');
    text
}

/// File, caption, text.
fn plots(run: &Run) -> Vec<(&'static str, &'static str, String)> {
    let bulk = [1, 4, 16, 64].map(|streams| (Place::TwoNodes, names::bulk(streams)));
    let bulk = bulk.into_iter().chain([
        (Place::SameNode, names::bulk(1)),
        (Place::Outside, names::bulk(1)),
    ]);
    let http =
        [1, 16, 64, 1024].map(|connections| (Place::TwoNodes, names::http(connections, "64B")));
    let http = http
        .into_iter()
        .chain([(Place::TwoNodes, names::CONNECT.to_owned())]);
    vec![
        (
            "bulk.svg",
            "CPU of bulk",
            cost(run, "host CPU, seconds per GB", HOST_GB, bulk),
        ),
        (
            "requests.svg",
            "CPU of requests",
            cost(
                run,
                "host CPU, microseconds per request",
                HOST_REQUEST,
                http,
            ),
        ),
        (
            "latency.svg",
            "Latency in the open loop",
            latency(run, names::OPEN_HALF),
        ),
        (
            "elephant.svg",
            "Latency beside an elephant",
            latency(run, names::ELEPHANT),
        ),
    ]
}

fn cost(
    run: &Run,
    title: &str,
    figure: &str,
    kinds: impl Iterator<Item = (Place, String)>,
) -> String {
    let series = [DIRECT, CULVERT, STOCK];
    let groups: Vec<Group> = kinds
        .map(|(place, work)| Group {
            values: series
                .iter()
                .map(|subject| {
                    let values = run.values(place, &work, subject, figure);
                    Spread::of(&values).map(|spread| spread.median)
                })
                .collect(),
            name: match place {
                Place::TwoNodes => work,
                place => format!("{work}, {place}"),
            },
        })
        .filter(|group| group.values.iter().any(Option::is_some))
        .collect();
    svg::bars(title, &series, &groups)
}

/// Percentiles by how rare they are: 90, 99 and 99.9 are as far from each other as they are rarer.
fn latency(run: &Run, work: &str) -> String {
    let ticks = [(0.3, "p50"), (1.0, "p90"), (2.0, "p99"), (3.0, "p99.9")];
    let line = |subject: &str| {
        let mut pool = Latency::default();
        let samples = run.of(Place::TwoNodes, work, subject);
        samples
            .filter_map(|sample| sample.latency.as_ref())
            .for_each(|latency| pool.add(latency));
        let points = (0..=60).map(|i| {
            let nines = f64::from(i) / 20.0;
            (nines, pool.quantile(1.0 - 10_f64.powf(-nines)))
        });
        Line {
            name: subject.to_owned(),
            points: points.filter(|(_, y)| *y > 0.0).collect(),
        }
    };
    let lines = [DIRECT, CULVERT, STOCK].map(line);
    svg::lines(
        &format!("{work}: latency in microseconds, from the intended send time"),
        &ticks,
        &lines,
    )
}

fn all_rows(run: &Run) -> String {
    let mut text = String::from(
        "## All figures\n\nMedian (least-greatest) of the rounds.\n\n| place | work | figure |",
    );
    for subject in SUBJECTS {
        let _ = write!(text, " {subject} |");
    }
    text.push_str(" culvert/peer |\n|---|---|---|---|---|---|---|---|---|---|\n");
    for row in summary::rows(run) {
        let _ = write!(text, "| {} | {} | {} |", row.place, row.work, row.figure);
        for subject in SUBJECTS {
            let cell = row.subjects.get(subject).map(|spread| {
                format!(
                    "{} ({}-{})",
                    short(spread.median),
                    short(spread.min),
                    short(spread.max)
                )
            });
            let _ = write!(text, " {} |", cell.unwrap_or_default());
        }
        let ratio = row.ratio.as_ref().map(table::estimate).unwrap_or_default();
        let _ = writeln!(text, " {ratio} |");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::testing;

    #[test]
    fn what_people_wrote_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (file, output) = (
            dir.path().join("run.json"),
            dir.path().join("performance.md"),
        );
        let samples = testing::samples(Place::TwoNodes, "bulk 1", HOST_GB, CULVERT, &[1.0, 1.1]);
        testing::run(samples).write(&file).unwrap();
        let args = Args {
            run: file,
            output: output.clone(),
        };
        run(&args).unwrap();
        let mut text = fs::read_to_string(&output).unwrap();
        assert!(
            text.contains("| two nodes | bulk 1 | host s/GB |"),
            "{text}"
        );
        text.push_str("\n## By hand\n");
        fs::write(&output, &text).unwrap();
        run(&args).unwrap();
        assert_eq!(
            fs::read_to_string(&output)
                .unwrap()
                .matches("## By hand")
                .count(),
            1
        );
        assert!(dir.path().join("performance/bulk.svg").exists());
    }
}
