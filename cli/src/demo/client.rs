//! Requests by curl, one or many, and what came of them.

use anyhow::{Context, Result, ensure};
use culvert_lab::Pod;
use std::collections::BTreeMap;

/// Before what curl tells of a transfer, which its body then can't be taken for.
const TOLD: &str = "#told ";

/// What came of one or more requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Replies {
    /// How many ended in each status; 0 is none at all.
    pub(crate) statuses: BTreeMap<u16, u32>,
    /// How often each line stood in a body.
    pub(crate) lines: BTreeMap<String, u32>,
    /// Seconds that each took.
    pub(crate) seconds: Vec<f64>,
    /// What curl said of failures.
    pub(crate) errors: String,
}

impl Replies {
    /// How many ended in `status`.
    pub(crate) fn with_status(&self, status: u16) -> u32 {
        self.statuses.get(&status).copied().unwrap_or_default()
    }

    /// How often `line` was a body.
    pub(crate) fn with_line(&self, line: &str) -> u32 {
        self.lines.get(line).copied().unwrap_or_default()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u32 {
        self.statuses.values().sum()
    }

    /// Fails unless every one was answered with 200.
    pub(crate) fn all_ok(self) -> Result<Self> {
        let ok = self.count() > 0 && self.with_status(200) == self.count();
        ensure!(
            ok,
            "expected nothing but 200, got {:?} {}",
            self.statuses,
            self.errors.trim()
        );
        Ok(self)
    }

    /// Fails if any was answered.
    pub(crate) fn none_answered(self) -> Result<Self> {
        let none = self.count() > 0 && self.with_status(0) == self.count();
        ensure!(none, "expected no answer, got {:?}", self.statuses);
        Ok(self)
    }
}

/// `http://ADDRESS` of a pod.
pub(crate) fn url(pod: &Pod) -> String {
    match pod.ip4 {
        Some(ip) => format!("http://{ip}"),
        None => format!("http://[{}]", pod.ip6),
    }
}

/// One request.
pub(crate) fn get(from: &Pod, url: &str, headers: &[String]) -> Result<Replies> {
    curl(from, url, headers, &[])
}

/// `count` requests, several at a time, over kept-alive connections.
pub(crate) fn get_many(from: &Pod, url: &str, count: u32, headers: &[String]) -> Result<Replies> {
    let replies = curl(
        from,
        &format!("{url}?[1-{count}]"),
        headers,
        &["--parallel", "--parallel-max", "16"],
    )?;
    ensure!(
        replies.count() == count,
        "curl made {} of {count} requests: {}",
        replies.count(),
        replies.errors
    );
    Ok(replies)
}

fn curl(from: &Pod, url: &str, headers: &[String], options: &[&str]) -> Result<Replies> {
    let told = format!("{TOLD}%{{http_code}} %{{time_total}}\\n");
    let mut argv = vec![
        "curl",
        "-sS",
        "-m",
        "20",
        "--connect-timeout",
        "3",
        "-w",
        &told,
    ];
    argv.extend(options);
    for header in headers {
        argv.extend(["-H", header]);
    }
    argv.push(url);
    let output = from.net.exec(&argv)?;
    // In parallel curl shows its progress there too, whatever it is told.
    let errors: Vec<_> = output
        .stderr
        .lines()
        .filter(|line| line.starts_with("curl:"))
        .collect();
    let mut replies = Replies {
        errors: errors.join(" "),
        ..Replies::default()
    };
    for line in output.stdout.lines() {
        let Some(told) = line.strip_prefix(TOLD) else {
            *replies.lines.entry(line.to_owned()).or_default() += 1;
            continue;
        };
        let (status, seconds) = told.split_once(' ').with_context(|| told.to_owned())?;
        *replies.statuses.entry(status.parse()?).or_default() += 1;
        replies.seconds.push(seconds.parse()?);
    }
    Ok(replies)
}

/// Downloads `url` and yields how many bytes came.
pub(crate) fn download(from: &Pod, url: &str) -> Result<usize> {
    let argv = [
        "curl",
        "-sS",
        "-f",
        "-m",
        "30",
        "-o",
        "/dev/null",
        "-w",
        "%{size_download}",
        url,
    ];
    Ok(from.net.run(&argv)?.parse()?)
}
