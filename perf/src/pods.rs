//! The two pods of every measurement: a client on one node, and on the other a server with nginx and iperf3.

use anyhow::{Context, Result, ensure};
use culvert_lab::{Lab, Pod, Process, programs};
use std::{fs, net::SocketAddr, path::Path};

/// Port of nginx, which answers every request with 64 bytes.
pub(crate) const HTTP: u16 = 8080;
/// Port of iperf3.
pub(crate) const BULK: u16 = 5201;
/// TCP's congestion control of every connection in the pods, whatever the machine's is: bbr's pacing alone can cost
/// more than a proxy.
pub(crate) const CONGESTION_CONTROL: &str = "cubic";
/// Body of an answer.
pub(crate) const BODY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde\n";

const NAMESPACE: &str = "bench";
const TUNNEL_PORT: u16 = 15008;
/// The kernel's name for a connection that is established, in `/proc/net/tcp`.
const ESTABLISHED: &str = "01";

/// Client and server, and what runs in the server.
pub(crate) struct Pods {
    client: Pod,
    server: Pod,
    _nginx: Process,
    _iperf: Process,
}

impl Pods {
    /// Makes the pods and waits until both servers listen.
    pub(crate) fn create(lab: &Lab) -> Result<Self> {
        programs::require(&[
            programs::NGINX,
            programs::IPERF3,
            programs::WRK,
            programs::CURL,
        ])?;
        let client = lab.pod("n1", NAMESPACE, "client", "client")?;
        let server = lab.pod("n2", NAMESPACE, "server", "server")?;
        for pod in [&client, &server] {
            set_congestion_control(pod)?;
        }
        let config = lab.dir().join("nginx.conf");
        fs::write(&config, nginx_config(lab.dir()))?;
        let config = config.display().to_string();
        let mut nginx = server.net.spawn("nginx", &["nginx", "-c", &config])?;
        let mut iperf = server.net.spawn(
            "iperf3",
            &[
                "iperf3",
                "-s",
                "--logfile",
                "/dev/null",
                "-p",
                &BULK.to_string(),
            ],
        )?;
        server.net.wait_for_server(&mut nginx, HTTP)?;
        server.net.wait_for_server(&mut iperf, BULK)?;
        Ok(Self {
            client,
            server,
            _nginx: nginx,
            _iperf: iperf,
        })
    }

    /// Where work is started.
    pub(crate) fn client(&self) -> &Pod {
        &self.client
    }

    /// The namespace of both.
    pub(crate) fn namespace(&self) -> &'static str {
        NAMESPACE
    }

    /// Client and server.
    pub(crate) fn both(&self) -> [&Pod; 2] {
        [&self.client, &self.server]
    }

    /// The server's address with a port.
    pub(crate) fn server_address(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.server.ip(), port)
    }

    /// Address of the 64 bytes.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.server_address(HTTP))
    }

    /// One request; fails unless the right bytes come back.
    pub(crate) fn request(&self) -> Result<()> {
        let body = self
            .client
            .net
            .run(&["curl", "-sS", "--max-time", "5", &self.url()])?;
        ensure!(body == BODY, "the answer is {body:?}");
        Ok(())
    }

    /// Whether the client's namespace holds an established connection to the server's tunnel port.
    pub(crate) fn tunnelled(&self) -> Result<bool> {
        let table = self
            .client
            .net
            .run(&["cat", "/proc/net/tcp", "/proc/net/tcp6"])?;
        let suffix = format!(":{TUNNEL_PORT:04X}");
        Ok(table.lines().any(|line| {
            let mut fields = line.split_whitespace().skip(2);
            let remote = fields.next().unwrap_or_default();
            remote.ends_with(&suffix) && fields.next() == Some(ESTABLISHED)
        }))
    }
}

/// By the routes, the local ones too: these no namespace is forbidden to change.
fn set_congestion_control(pod: &Pod) -> Result<()> {
    pod.net
        .script(&format!(
            "for table in main local; do
                 ip -4 route show table $table | while read -r route; do
                     case $route in
                         broadcast*) ;;
                         *) ip -4 route replace $route table $table congctl {CONGESTION_CONTROL} ;;
                     esac
                 done
             done"
        ))
        .context("setting congestion control")?;
    Ok(())
}

/// One worker, no log, connections that are never closed for their age.
fn nginx_config(dir: &Path) -> String {
    let dir = dir.display();
    let body = BODY.trim_end();
    format!(
        r#"daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {dir}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 19000; }}
http {{
    access_log off;
    default_type text/plain;
    client_body_temp_path {dir}/nginx-body;
    proxy_temp_path {dir}/nginx-proxy;
    fastcgi_temp_path {dir}/nginx-fastcgi;
    uwsgi_temp_path {dir}/nginx-uwsgi;
    scgi_temp_path {dir}/nginx-scgi;
    keepalive_timeout 600s;
    keepalive_requests 1000000000;
    server {{
        listen {HTTP} backlog=4096;
        listen [::]:{HTTP} backlog=4096;
        location / {{ return 200 "{body}\n"; }}
    }}
}}
"#
    )
}
