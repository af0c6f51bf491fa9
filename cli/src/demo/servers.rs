//! The unmodified servers of the demo: nginx in several configurations, and redis.

use anyhow::{Context, Result, ensure};
use culvert_lab::{Lab, Pod, Process};
use std::{fs, path::PathBuf};

/// Size of the file that `/big` serves.
pub(crate) const BIG: usize = 8 << 20;
/// The share of requests that the unreliable server answers with 503.
pub(crate) const UNRELIABLE_SHARE: f64 = 0.10;

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    process: Process,
    access_log: PathBuf,
    started: String,
}

/// What an nginx answers on `/`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer<'a> {
    /// A line of text.
    Text(&'a str),
    /// 503 to a random share of requests, `ok` to the others.
    Unreliable,
}

impl Server {
    /// Starts nginx on port 80 of a pod.
    pub(crate) fn nginx(lab: &Lab, pod: &Pod, answer: Answer<'_>) -> Result<Self> {
        let dir = lab.subdir(&pod.name)?;
        let files = dir.join("files");
        fs::create_dir_all(&files)?;
        fs::File::create(files.join("big"))?.set_len(BIG as u64)?;
        fs::File::create(files.join("bulk"))?.set_len(256 << 20)?;
        let config = dir.join("nginx.conf");
        fs::write(&config, nginx_config(&dir.display().to_string(), answer))?;
        let argv = ["nginx", "-e", "stderr", "-c", &config.display().to_string()];
        let mut process = pod.net.spawn(&pod.name, &argv)?;
        pod.net.wait_for_server(&mut process, 80)?;
        Self::of(process, dir.join("access.log"))
    }

    /// Starts redis on its usual port of a pod.
    pub(crate) fn redis(lab: &Lab, pod: &Pod) -> Result<Self> {
        let dir = lab.subdir(&pod.name)?;
        let argv = [
            "redis-server",
            "--save",
            "",
            "--appendonly",
            "no",
            "--protected-mode",
            "no",
            "--bind",
            "*",
            "-::*",
        ];
        let dir_argument = dir.display().to_string();
        let argv = [&argv[..], &["--dir", &dir_argument]].concat();
        let mut process = pod.net.spawn(&pod.name, &argv)?;
        pod.net.wait_for_server(&mut process, 6379)?;
        Self::of(process, dir.join("access.log"))
    }

    fn of(process: Process, access_log: PathBuf) -> Result<Self> {
        let started = start_time(process.pid())?;
        Ok(Self {
            process,
            access_log,
            started,
        })
    }

    /// Fails unless it is the very process that was started at first.
    pub(crate) fn check_same_process(&self) -> Result<()> {
        let now = start_time(self.process.pid());
        let same = now.is_ok_and(|now| now == self.started);
        ensure!(
            same,
            "{} is not the process {} any more",
            self.process.name(),
            self.process.pid()
        );
        Ok(())
    }

    /// Requests that it answered with `status`, by its own access log.
    pub(crate) fn answered(&self, status: u16) -> Result<u32> {
        let text = fs::read_to_string(&self.access_log)
            .with_context(|| self.access_log.display().to_string())?;
        let status = status.to_string();
        let count = text
            .lines()
            .filter(|line| line.split(' ').nth(1) == Some(&status))
            .count();
        Ok(u32::try_from(count)?)
    }
}

/// When a process started, in the kernel's ticks: with its id that names it for good.
fn start_time(pid: u32) -> Result<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat")?;
    Ok(fields
        .split_whitespace()
        .nth(19)
        .context("start time")?
        .to_owned())
}

fn nginx_config(dir: &str, answer: Answer<'_>) -> String {
    let root = match answer {
        Answer::Text(text) => format!("return 200 \"{text}\\n\";"),
        Answer::Unreliable => {
            "if ($lot = fail) { return 503 \"unlucky\\n\"; } return 200 \"ok\\n\";".to_owned()
        }
    };
    format!(
        "user root;
worker_processes 1;
daemon off;
pid {dir}/nginx.pid;
events {{ worker_connections 8192; }}
http {{
    log_format counted '$remote_addr $status $request_uri';
    access_log {dir}/access.log counted;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    split_clients \"$request_id\" $lot {{ {}% fail; * pass; }}
    server {{
        listen 80;
        listen [::]:80;
        root {dir}/files;
        location / {{ {root} }}
        location = /big {{ access_log off; }}
        location = /bulk {{ access_log off; }}
        location = /fast {{ access_log off; return 200 \"fast\\n\"; }}
    }}
}}
",
        UNRELIABLE_SHARE * 100.0
    )
}
