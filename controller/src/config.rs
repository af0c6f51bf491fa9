//! What the operator says on the command line.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use culvert_identity::token::TokenKind;
use culvert_runtime::trace::Format;

/// The control plane of a Culvert mesh.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Cli {
    /// The directory of YAML that configures the mesh.
    #[arg(long, env = "CULVERT_CONFIG", value_name = "DIR", global = true)]
    config: Option<PathBuf>,
    /// Read the objects of a Kubernetes cluster instead of a directory.
    #[arg(long, conflicts_with_all = ["config", "state"])]
    pub kubernetes: bool,
    /// Which cluster, and as whom.
    #[command(flatten)]
    pub cluster: Kubernetes,
    /// Where the root certificate, its key and the key of join tokens are. DIR/.state if left out.
    #[arg(long, env = "CULVERT_STATE", value_name = "DIR", global = true)]
    state: Option<PathBuf>,
    /// Without a subcommand: serve.
    #[command(flatten)]
    pub serve: Serve,
    /// What to do instead.
    #[command(subcommand)]
    pub command: Option<Command>,
}

impl Cli {
    /// Where objects and state are.
    pub fn dirs(&self) -> Result<Dirs, clap::Error> {
        let missing = || {
            Self::command().error(
                ErrorKind::MissingRequiredArgument,
                "--config <DIR> is missing",
            )
        };
        let config = self.config.clone().ok_or_else(missing)?;
        let state = self.state.clone().unwrap_or_else(|| config.join(".state"));
        let status = config.join(".status");
        Ok(Dirs {
            config,
            state,
            status,
        })
    }
}

/// Which cluster, and as whom.
#[derive(Clone, Debug, Args)]
pub struct Kubernetes {
    /// How to reach the API server. Left out: by the service account of the pod that this is.
    #[arg(long, value_name = "FILE", requires = "kubernetes")]
    pub kubeconfig: Option<PathBuf>,
    /// The namespace of the control plane.
    #[arg(
        long,
        env = "POD_NAMESPACE",
        value_name = "NAME",
        default_value = "culvert-system"
    )]
    pub namespace: String,
    /// The name of this replica.
    #[arg(
        long,
        env = "POD_NAME",
        default_value = "culvert-controller",
        hide = true
    )]
    pub pod_name: String,
    /// Addresses of this replica, for its certificate.
    #[arg(long, env = "POD_IPS", value_delimiter = ',', hide = true)]
    pub pod_ips: Vec<IpAddr>,
    /// The image of waypoints. Without it none are deployed.
    #[arg(long, env = "CULVERT_WAYPOINT_IMAGE", value_name = "IMAGE")]
    pub waypoint_image: Option<String>,
    /// When it is pulled.
    #[arg(
        long,
        env = "CULVERT_IMAGE_PULL_POLICY",
        value_name = "POLICY",
        default_value = "IfNotPresent"
    )]
    pub image_pull_policy: String,
}

/// Where objects and state are.
#[derive(Clone, Debug)]
pub struct Dirs {
    /// YAML.
    pub config: PathBuf,
    /// Keys, and the last good objects.
    pub state: PathBuf,
    /// What people read.
    pub status: PathBuf,
}

/// What to do instead of serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the join token of a node or waypoint.
    Token(Token),
    /// Print the CustomResourceDefinitions of Culvert's kinds.
    Crds {
        /// Write each into a file of this directory instead.
        #[arg(long)]
        dir: Option<PathBuf>,
    },
}

/// How to serve.
#[derive(Clone, Debug, Args)]
pub struct Serve {
    /// Where agents, ztunnels and waypoints connect. May be repeated.
    #[arg(long, env = "CULVERT_LISTEN", value_name = "IP:PORT", value_delimiter = ',',
          default_values_t = [SocketAddr::from((Ipv6Addr::UNSPECIFIED, 15012))])]
    pub listen: Vec<SocketAddr>,
    /// Where readiness, metrics and the dump of the configuration are.
    #[arg(long, env = "CULVERT_ADMIN", value_name = "IP:PORT",
          default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, 15014)))]
    pub admin: SocketAddr,
    /// Where a cluster's probes and Prometheus find metrics; on Kubernetes only.
    #[arg(long, env = "CULVERT_STATS", value_name = "IP:PORT",
          default_value_t = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 15020)))]
    pub stats: SocketAddr,
    /// Where a cluster's probes find readiness; on Kubernetes only.
    #[arg(long, env = "CULVERT_READY", value_name = "IP:PORT",
          default_value_t = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 15021)))]
    pub ready: SocketAddr,
    /// How to log: text or json.
    #[arg(long, env = "CULVERT_LOG_FORMAT", default_value = "text")]
    pub log_format: Format,
}

/// Whose token.
#[derive(Clone, Debug, Args)]
pub struct Token {
    /// Of what.
    pub kind: Kind,
    /// NAME of a node, NAMESPACE/NAME of a waypoint.
    pub name: String,
}

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// The agent and ztunnel of one node.
    Node,
    /// One waypoint.
    Waypoint,
}

impl From<Kind> for TokenKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Node => Self::Node,
            Kind::Waypoint => Self::Waypoint,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Cli {
        Cli::try_parse_from([&["culvert-controller"], arguments].concat()).unwrap()
    }

    #[test]
    fn serves_by_default() {
        let cli = parse(&["--config", "/c"]);
        assert!(cli.command.is_none());
        assert_eq!(cli.serve.listen, ["[::]:15012".parse().unwrap()]);
        assert_eq!(cli.serve.admin, "127.0.0.1:15014".parse().unwrap());
        assert_eq!(cli.dirs().unwrap().state, PathBuf::from("/c/.state"));
        let cli = parse(&[
            "--config",
            "/c",
            "--listen",
            "127.0.0.1:1",
            "--listen",
            "[::1]:2",
        ]);
        assert_eq!(cli.serve.listen.len(), 2);
        assert!(parse(&[]).dirs().is_err());
        let cli = parse(&["--kubernetes", "--kubeconfig", "/k"]);
        assert!(cli.kubernetes);
        assert_eq!(cli.cluster.namespace, "culvert-system");
        assert_eq!(cli.cluster.kubeconfig, Some(PathBuf::from("/k")));
        for wrong in [
            ["--kubernetes", "--config", "/c"].as_slice(),
            &["--kubeconfig", "/k"],
        ] {
            let arguments = [&["culvert-controller"], wrong].concat();
            assert!(Cli::try_parse_from(arguments).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn tokens() {
        for arguments in [
            ["token", "--config", "/c", "waypoint", "demo/gate"],
            ["--config", "/c", "token", "waypoint", "demo/gate"],
        ] {
            let cli = parse(&arguments);
            assert_eq!(cli.dirs().unwrap().config, PathBuf::from("/c"));
            let Some(Command::Token(token)) = cli.command else {
                panic!()
            };
            assert_eq!(
                (token.name.as_str(), token.kind),
                ("demo/gate", Kind::Waypoint)
            );
        }
    }
}
