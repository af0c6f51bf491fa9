//! The demo tells the truth: it passes, sabotage of a check fails that check and no other, and nothing of it is left
//! behind, whatever ends it.

use anyhow::{Context, Result, ensure};
use culvert_lab::{programs, wait};
use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

const CHECKS: usize = 9;

fn demo(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(programs::own("culvert")?);
    command.arg("demo").args(arguments);
    Ok(command)
}

/// The checks that failed, by their numbers; and whether the demo's own verdict agrees.
fn failures(output: &str) -> Result<Vec<usize>> {
    let mut verdicts = Vec::new();
    for line in output.lines() {
        if let Some(number) = line.strip_prefix('[').and_then(|rest| rest.split_once('/')) {
            ensure!(
                number.0.parse() == Ok(verdicts.len() + 1),
                "out of order: {line}"
            );
        }
        let line = line.trim_start();
        if line.starts_with("passed (") || line.starts_with("FAILED (") {
            verdicts.push(line.starts_with("passed"));
        }
    }
    ensure!(
        verdicts.len() == CHECKS,
        "{} verdicts in {output}",
        verdicts.len()
    );
    let passed = verdicts.iter().filter(|passed| **passed).count();
    let closing = format!("\ndemo: {passed} of {CHECKS} checks passed\n");
    ensure!(output.contains(&closing), "no line {closing:?} in {output}");
    Ok((1..)
        .zip(verdicts)
        .filter(|(_, passed)| !passed)
        .map(|(number, _)| number)
        .collect())
}

fn sabotage(check: usize) -> Result<()> {
    let output = demo(&["--quick", "--sabotage", &check.to_string()])?.output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let failed =
        failures(&text).with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    ensure!(
        failed == [check],
        "sabotage of {check} failed {failed:?}:\n{text}"
    );
    ensure!(output.status.code() == Some(1), "{}", output.status);
    Ok(())
}

#[test]
fn the_demo_passes() {
    let output = demo(&[]).unwrap().output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(failures(&text).unwrap(), [0; 0], "{text}");
    assert_eq!(output.status.code(), Some(0));
    for line in ["off ", "layer 4 ", "layer 4 + waypoint "] {
        assert!(
            text.lines().any(|found| found.starts_with(line)),
            "no figures for {line:?}: {text}"
        );
    }
}

#[test]
fn traffic_captured_too_early_fails_check_1() {
    sabotage(1).unwrap();
}

#[test]
fn missing_rules_fail_check_2() {
    sabotage(2).unwrap();
}

#[test]
fn an_uncaptured_port_fails_check_3() {
    sabotage(3).unwrap();
}

#[test]
fn redis_taken_for_http_fails_check_4() {
    sabotage(4).unwrap();
}

#[test]
fn permissive_for_strict_and_no_denial_fail_check_5() {
    sabotage(5).unwrap();
}

#[test]
fn wrong_weights_fail_check_6() {
    sabotage(6).unwrap();
}

#[test]
fn no_retries_fail_check_7() {
    sabotage(7).unwrap();
}

#[test]
fn rules_that_go_with_ztunnel_fail_check_8() {
    sabotage(8).unwrap();
}

#[test]
fn a_label_that_stays_fails_check_9() {
    sabotage(9).unwrap();
}

/// A running demo.
struct Running {
    child: Child,
    /// What its own processes carry in their environment.
    mark: String,
    /// The namespace of all processes that it started.
    namespace: PathBuf,
}

impl Running {
    /// A demo that has begun its first check.
    fn start(mark: String) -> Result<Self> {
        let mut child = demo(&["--quick"])?
            .env("CULVERT_DEMO_MARK", &mark)
            .process_group(0)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let stdout = child.stdout.take().context("stdout")?;
        let begun = BufReader::new(stdout)
            .lines()
            .any(|line| line.is_ok_and(|line| line.starts_with("[1/")));
        ensure!(begun, "the demo ended before its first check");
        let own = fs::read_link("/proc/self/ns/pid")?;
        let inner = processes(|process| {
            carries(process, &mark) && process_namespace(process).is_some_and(|it| it != own)
        });
        let namespace = inner
            .first()
            .and_then(|process| process_namespace(process))
            .context("no process of the demo")?;
        let running = Self {
            child,
            mark,
            namespace,
        };
        ensure!(
            running.left() > 10,
            "a demo of {} processes",
            running.left()
        );
        Ok(running)
    }

    /// Its processes.
    fn left(&self) -> usize {
        let ours = |process: &Path| {
            carries(process, &self.mark)
                || process_namespace(process).as_ref() == Some(&self.namespace)
        };
        processes(ours).len()
    }
}

/// Directories of `/proc` of the processes of which `which` is true.
fn processes(which: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    entries
        .filter(|path| path.join("status").exists() && which(path))
        .collect()
}

fn process_namespace(process: &Path) -> Option<PathBuf> {
    fs::read_link(process.join("ns/pid")).ok()
}

fn carries(process: &Path, mark: &str) -> bool {
    let variable = format!("CULVERT_DEMO_MARK={mark}");
    let environment = fs::read(process.join("environ")).unwrap_or_default();
    environment
        .split(|byte| *byte == 0)
        .any(|entry| entry == variable.as_bytes())
}

fn ended_by(signal: Signal, group: bool) -> Result<()> {
    let mut running = Running::start(format!("{signal}-{group}-{}", std::process::id()))?;
    let pid = Pid::from_raw(i32::try_from(running.child.id())?);
    if group {
        killpg(pid, signal)?
    } else {
        kill(pid, signal)?
    };
    running.child.wait()?;
    wait::until(
        format!("nothing to be left after {signal}"),
        wait::PATIENCE,
        || Ok((running.left() == 0).then_some(())),
    )
}

#[test]
fn ctrl_c_leaves_nothing_behind() {
    ended_by(Signal::SIGINT, true).unwrap();
}

#[test]
fn sigterm_leaves_nothing_behind() {
    ended_by(Signal::SIGTERM, false).unwrap();
}

#[test]
fn kill_9_leaves_nothing_behind() {
    ended_by(Signal::SIGKILL, false).unwrap();
}
