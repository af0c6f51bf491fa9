//! What the operator says on the command line or by the environment.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use clap::Parser;
use culvert_identity::controller::{self, Access, AccessError, Auth};
use culvert_identity::token::TokenKind;
use culvert_runtime::trace::Format;

/// The layer 7 proxy of a namespace.
#[derive(Debug, Parser)]
#[command(name = "culvert-waypoint", version)]
pub struct Args {
    /// This waypoint's Gateway: NAMESPACE/NAME.
    #[arg(long, env = "CULVERT_WAYPOINT")]
    pub name: GatewayName,
    /// The pod that this instance runs in, of the Gateway's namespace: where the mesh says that it is, this instance is.
    #[arg(long, env = "CULVERT_POD")]
    pub pod: Option<String>,
    /// Where the controller listens: IP:PORT, never a name [default: the Service culvert-controller of the pod's
    /// namespace, as kubelet tells of it].
    #[arg(long, env = "CULVERT_CONTROLLER")]
    pub controller: Option<String>,
    /// File with this waypoint's join token or, with --root-file, with a service account's token.
    #[arg(long, env = "CULVERT_TOKEN_FILE")]
    pub token_file: PathBuf,
    /// File with the certificates that sign the controller's, for a service account's token. It may appear late.
    #[arg(long, env = "CULVERT_ROOT_FILE")]
    pub root_file: Option<PathBuf>,
    /// Directory of the admin socket.
    #[arg(long, env = "CULVERT_RUN_DIR")]
    pub run_dir: Option<PathBuf>,
    /// Address for HBONE.
    #[arg(long, env = "CULVERT_LISTEN", default_value = "[::]:15008")]
    pub listen: SocketAddr,
    /// Address at which a Gateway's own listeners listen, each at its port.
    #[arg(long, env = "CULVERT_GATEWAY_ADDRESS", default_value = "::")]
    pub gateway_address: IpAddr,
    /// Names the resolvers that know where services outside of the cluster are.
    #[arg(long, env = "CULVERT_RESOLV_CONF", default_value = "/etc/resolv.conf")]
    pub resolv_conf: PathBuf,
    /// Address of the admin server: dumps, log level, drain.
    #[arg(long, env = "CULVERT_ADMIN", default_value = "127.0.0.1:15000")]
    pub admin: SocketAddr,
    /// Address for metrics.
    #[arg(long, env = "CULVERT_STATS", default_value = "[::]:15020")]
    pub stats: SocketAddr,
    /// Address for readiness.
    #[arg(long, env = "CULVERT_READY", default_value = "[::]:15021")]
    pub ready: SocketAddr,
    /// Threads that move bytes [default: the machine's processors, at most 4].
    #[arg(long, env = "CULVERT_DATA_CORES")]
    pub data_cores: Option<usize>,
    /// How long requests in flight may go on after SIGTERM, in seconds.
    #[arg(long, env = "CULVERT_DRAIN_SECONDS", default_value = "25")]
    pub drain_seconds: u64,
    /// Tunnels to endpoints get no new streams after so many seconds, or up to a fifth less; 0: never.
    #[arg(long, env = "CULVERT_TUNNEL_AGE_SECONDS", default_value = "600")]
    pub tunnel_age_seconds: u64,
    /// Node proxies are sent away (GOAWAY, streams finish) after so many seconds, or up to a fifth less; 0: never.
    #[arg(long, env = "CULVERT_SERVED_AGE_SECONDS", default_value = "1800")]
    pub served_age_seconds: u64,
    /// How log lines are written: text or json.
    #[arg(long, env = "CULVERT_LOG_FORMAT", default_value = "text")]
    pub log_format: Format,
}

/// The name of a Gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayName {
    /// Its namespace.
    pub namespace: String,
    /// Its own name, which is that of its service account, too.
    pub name: String,
}

impl FromStr for GatewayName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((namespace, name))
                if !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
            {
                Ok(Self {
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                })
            }
            _ => Err("not NAMESPACE/NAME".to_owned()),
        }
    }
}

impl std::fmt::Display for GatewayName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl Args {
    /// How many data cores to start.
    pub fn cores(&self) -> usize {
        let processors = || std::thread::available_parallelism().map_or(1, |n| n.get().min(4));
        self.data_cores.unwrap_or_else(processors)
    }

    /// Where the controller is.
    pub fn controller(&self) -> Result<SocketAddr, AccessError> {
        controller::address(self.controller.as_deref(), |name| std::env::var(name).ok())
    }

    /// How to prove oneself to it.
    pub fn auth(&self) -> Result<Auth, AccessError> {
        let access = Access {
            token_file: &self.token_file,
            root_file: self.root_file.as_deref(),
        };
        access.auth(TokenKind::Waypoint, &self.name.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_has_a_namespace_and_a_name() {
        let parsed: GatewayName = "demo/waypoint".parse().unwrap();
        assert_eq!(
            (parsed.namespace.as_str(), parsed.name.as_str()),
            ("demo", "waypoint")
        );
        for wrong in ["", "demo", "/a", "a/", "a/b/c"] {
            assert!(wrong.parse::<GatewayName>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_defaults_are_the_documented_ports() {
        let args = [
            "culvert-waypoint",
            "--name",
            "a/b",
            "--controller",
            "10.0.0.1:15012",
            "--token-file",
            "/t",
        ];
        let args = Args::try_parse_from(args).unwrap();
        let ports = [args.listen, args.admin, args.stats, args.ready].map(|address| address.port());
        assert_eq!(ports, [15008, 15000, 15020, 15021]);
        assert!(args.admin.ip().is_loopback() && args.cores() >= 1);
    }
}
