//! What the operator says on the command line or by the environment, checked as a whole.
//!
//! Invariant: a [`Config`] that exists is complete and valid; whoever gets it wrong hears of every mistake at once.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::Parser;
use culvert_identity::controller::{self, Access, Auth};
use culvert_identity::token::TokenKind;
use culvert_runtime::limits::Limits;
use culvert_runtime::trace::Format;

use crate::egress;

/// Where a system says whom it asks for names.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Port of resolvers.
const DNS: u16 = 53;

/// The proxy of a node: mutual TLS between pods, without sidecars.
#[derive(Debug, Parser)]
#[command(name = "culvert-ztunnel", version)]
pub(crate) struct Args {
    /// Name of this node.
    #[arg(
        long,
        env = "CULVERT_NODE",
        default_value = "",
        hide_default_value = true
    )]
    node: String,
    /// Where the controller listens: IP:PORT, never a name, so that a node can start before DNS does [default: the
    /// Service culvert-controller of the pod's namespace, as kubelet tells of it].
    #[arg(
        long,
        env = "CULVERT_CONTROLLER",
        default_value = "",
        hide_default_value = true
    )]
    controller: String,
    /// File with this node's join token or, with --root-file, with a service account's token.
    #[arg(
        long,
        env = "CULVERT_TOKEN_FILE",
        default_value = "",
        hide_default_value = true
    )]
    token_file: String,
    /// File with the certificates that sign the controller's, for a service account's token. It may appear late.
    #[arg(long, env = "CULVERT_ROOT_FILE")]
    root_file: Option<PathBuf>,
    /// Directory of the sockets of this node's agent and ztunnel.
    #[arg(
        long,
        env = "CULVERT_RUN_DIR",
        default_value = "",
        hide_default_value = true
    )]
    run_dir: String,
    /// The agent's socket [default: RUN_DIR/ztunnel.sock].
    #[arg(long, env = "CULVERT_ZDS")]
    zds: Option<PathBuf>,
    /// Threads that move bytes [default: the machine's processors, at most 4].
    #[arg(long, env = "CULVERT_DATA_CORES")]
    data_cores: Option<String>,
    /// Take of the mesh only what this node's pods talk to, each when it is first talked to, and never all of it.
    #[arg(long, env = "CULVERT_ON_DEMAND")]
    on_demand: bool,
    /// Names the resolvers that know where services outside of the cluster are.
    #[arg(long, env = "CULVERT_RESOLV_CONF", default_value = "/etc/resolv.conf")]
    resolv_conf: PathBuf,
    /// Resolvers that say which addresses the names in EgressPolicies have, each IP or IP:PORT [default: the name servers
    /// of /etc/resolv.conf].
    #[arg(long, env = "CULVERT_RESOLVERS", value_delimiter = ',')]
    resolvers: Vec<String>,
    /// Address of the admin server: dumps, log level, drain.
    #[arg(long, env = "CULVERT_ADMIN", default_value = "127.0.0.1:15000")]
    admin: String,
    /// Address for metrics.
    #[arg(long, env = "CULVERT_STATS", default_value = "[::]:15020")]
    stats: String,
    /// Address for readiness.
    #[arg(long, env = "CULVERT_READY", default_value = "[::]:15021")]
    ready: String,
    /// How long established connections may go on after SIGTERM, in seconds.
    #[arg(long, env = "CULVERT_DRAIN_SECONDS", default_value = "25")]
    drain_seconds: String,
    /// Tunnels get no new streams after so many seconds, or up to a fifth less; 0: never.
    #[arg(long, env = "CULVERT_TUNNEL_AGE_SECONDS", default_value = "600")]
    tunnel_age_seconds: String,
    /// Connections that one pod may have open, both directions together.
    #[arg(long, env = "CULVERT_CONNECTIONS_PER_POD", default_value = "10000")]
    connections_per_pod: String,
    /// How log lines are written: text or json.
    #[arg(long, env = "CULVERT_LOG_FORMAT", default_value = "text")]
    log_format: String,
}

/// A valid configuration.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) node: String,
    pub(crate) controller: SocketAddr,
    pub(crate) auth: Auth,
    pub(crate) run_dir: PathBuf,
    pub(crate) zds: PathBuf,
    pub(crate) data_cores: usize,
    pub(crate) on_demand: bool,
    pub(crate) resolv_conf: PathBuf,
    pub(crate) resolvers: Vec<SocketAddr>,
    pub(crate) admin: SocketAddr,
    pub(crate) stats: SocketAddr,
    pub(crate) ready: SocketAddr,
    pub(crate) limits: Limits,
    pub(crate) log_format: Format,
}

/// One thing that is wrong with the command line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("--{0} is missing")]
    Missing(&'static str),
    #[error("--{flag} {value:?}: {why}")]
    Invalid {
        flag: &'static str,
        value: String,
        why: String,
    },
    #[error(transparent)]
    Access(#[from] controller::AccessError),
}

impl Config {
    /// Check everything, and say everything that is wrong.
    pub(crate) fn from_args(args: Args) -> Result<Self, Vec<ConfigError>> {
        let mut errors = Errors(Vec::new());
        let node = errors.required("node", args.node);
        let run_dir = PathBuf::from(errors.required("run-dir", args.run_dir));
        let token_file = errors.required("token-file", args.token_file);
        let cores = args
            .data_cores
            .map(|text| errors.parse::<usize>("data-cores", &text));
        let config = Self {
            controller: errors.controller(&args.controller),
            auth: errors.auth(&token_file, args.root_file.as_deref(), &node),
            zds: args.zds.unwrap_or_else(|| run_dir.join("ztunnel.sock")),
            data_cores: cores.unwrap_or_else(default_cores),
            on_demand: args.on_demand,
            resolv_conf: args.resolv_conf,
            resolvers: errors.resolvers(&args.resolvers),
            admin: errors.address("admin", &args.admin),
            stats: errors.address("stats", &args.stats),
            ready: errors.address("ready", &args.ready),
            limits: Limits {
                drain: Duration::from_secs(errors.parse("drain-seconds", &args.drain_seconds)),
                tunnel_age: Duration::from_secs(
                    errors.parse("tunnel-age-seconds", &args.tunnel_age_seconds),
                ),
                connections_per_pod: errors.parse("connections-per-pod", &args.connections_per_pod),
                ..Limits::default()
            },
            log_format: errors.parse("log-format", &args.log_format),
            node,
            run_dir,
        };
        if config.data_cores == 0 {
            errors.invalid("data-cores", "0", "at least one core has to move bytes");
        }
        if errors.0.is_empty() {
            Ok(config)
        } else {
            Err(errors.0)
        }
    }
}

fn default_cores() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get().min(4))
}

/// Collects what is wrong; each method returns something to go on with.
struct Errors(Vec<ConfigError>);

impl Errors {
    fn invalid(&mut self, flag: &'static str, value: &str, why: impl Display) {
        let (value, why) = (value.to_owned(), why.to_string());
        self.0.push(ConfigError::Invalid { flag, value, why });
    }

    fn required(&mut self, flag: &'static str, value: String) -> String {
        if value.is_empty() {
            self.0.push(ConfigError::Missing(flag));
        }
        value
    }

    fn parse<T: FromStr<Err: Display> + Default>(&mut self, flag: &'static str, text: &str) -> T {
        text.parse().unwrap_or_else(|why: T::Err| {
            self.invalid(flag, text, why);
            T::default()
        })
    }

    fn address(&mut self, flag: &'static str, text: &str) -> SocketAddr {
        let fallback = SocketAddr::from(([127, 0, 0, 1], 0));
        text.parse().unwrap_or_else(|_error| {
            self.invalid(flag, text, "not an IP address and a port");
            fallback
        })
    }

    fn resolvers(&mut self, given: &[String]) -> Vec<SocketAddr> {
        if given.is_empty() {
            // Without any, no name is proved, and so no rule by name admits anything.
            return egress::of_system(Path::new(RESOLV_CONF)).unwrap_or_default();
        }
        let mut resolvers = Vec::new();
        for text in given {
            let alone = || text.parse().map(|ip: IpAddr| SocketAddr::new(ip, DNS));
            let resolver: Result<SocketAddr, _> = text.parse().or_else(|_| alone());
            match resolver {
                Ok(resolver) => resolvers.push(resolver),
                Err(_) => {
                    let why = "not an IP address, with or without a port";
                    self.invalid("resolvers", text, why);
                }
            }
        }
        resolvers
    }

    fn controller(&mut self, given: &str) -> SocketAddr {
        let address = controller::address(Some(given), |name| std::env::var(name).ok());
        address.unwrap_or_else(|error| {
            self.0.push(error.into());
            SocketAddr::from(([127, 0, 0, 1], 0))
        })
    }

    fn auth(&mut self, token_file: &str, root_file: Option<&Path>, node: &str) -> Auth {
        let nothing = || Auth::JoinToken(String::new());
        if token_file.is_empty() || node.is_empty() {
            // Said already.
            return nothing();
        }
        let access = Access {
            token_file: Path::new(token_file),
            root_file,
        };
        access.auth(TokenKind::Node, node).unwrap_or_else(|error| {
            self.0.push(error.into());
            nothing()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(args: &[&str]) -> Result<Config, Vec<ConfigError>> {
        let args = [&["culvert-ztunnel"], args].concat();
        Config::from_args(Args::try_parse_from(args).unwrap())
    }

    #[test]
    fn every_mistake_is_named_at_once() {
        let errors = config(&[
            "--controller",
            "controller:15012",
            "--data-cores",
            "0",
            "--log-format",
            "xml",
            "--resolvers",
            "192.0.2.1,dns",
        ]);
        let texts: Vec<String> = errors
            .unwrap_err()
            .iter()
            .map(ToString::to_string)
            .collect();
        let flags = [
            "--node is",
            "--run-dir is",
            "--token-file is",
            "--controller \"c",
            "--log-format \"xml\"",
            "--resolvers \"dns\"",
            "--data-cores \"0\"",
        ];
        for flag in flags {
            assert_eq!(
                texts.iter().filter(|text| text.starts_with(flag)).count(),
                1,
                "{flag}: {texts:?}"
            );
        }
        assert_eq!(texts.len(), flags.len(), "{texts:?}");
    }

    #[test]
    fn defaults_follow_from_the_rest() {
        let args = [
            "--node",
            "n1",
            "--controller",
            "[fd10::1]:15012",
            "--token-file",
            "/nowhere/token",
            "--root-file",
            "/nowhere/root.crt",
            "--run-dir",
            "/run/c",
            "--resolvers",
            "192.0.2.1,[fd00::1]:5353",
        ];
        let config = config(&args).unwrap();
        assert_eq!(config.zds, Path::new("/run/c/ztunnel.sock"));
        assert_eq!(
            config.resolvers,
            ["192.0.2.1:53", "[fd00::1]:5353"].map(|text| text.parse().unwrap())
        );
        assert!((1..=4).contains(&config.data_cores));
        assert_eq!(config.limits.drain, Duration::from_secs(25));
        assert_eq!(config.limits.tunnel_age, Duration::from_secs(600));
        assert!(matches!(config.auth, Auth::Mounted { .. }));
    }

    #[test]
    fn without_a_root_the_token_must_be_this_nodes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "not a token").unwrap();
        let args = [
            "--node",
            "n1",
            "--controller",
            "10.0.0.1:1",
            "--token-file",
            path.to_str().unwrap(),
            "--run-dir",
            "/r",
        ];
        let errors = config(&args).unwrap_err();
        let text = errors[0].to_string();
        assert!(
            errors.len() == 1 && text.starts_with("--token-file"),
            "{text}"
        );
    }
}
