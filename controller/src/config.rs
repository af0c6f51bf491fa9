//! What the operator says on the command line.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use culvert_identity::token::TokenKind;
use culvert_runtime::trace::Format;

/// The control plane of a Culvert mesh.
#[derive(Debug, Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
pub struct Cli {
    /// Without a subcommand: serve.
    #[command(flatten)]
    pub serve: Serve,
    /// What to do instead.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do instead of serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the join token of a node or waypoint.
    Token(Token),
}

/// Where objects and state are.
#[derive(Clone, Debug, Args)]
pub struct Dirs {
    /// The directory of YAML that configures the mesh.
    #[arg(long, env = "CULVERT_CONFIG", value_name = "DIR")]
    pub config: PathBuf,
    /// Where the root certificate, its key and the key of join tokens are. DIR/.state if left out.
    #[arg(long, env = "CULVERT_STATE", value_name = "DIR")]
    state: Option<PathBuf>,
}

impl Dirs {
    /// Keys, and the last good objects.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.state
            .clone()
            .unwrap_or_else(|| self.config.join(".state"))
    }

    /// What people read.
    #[must_use]
    pub fn status(&self) -> PathBuf {
        self.config.join(".status")
    }
}

/// How to serve.
#[derive(Clone, Debug, Args)]
pub struct Serve {
    /// Where objects and state are.
    #[command(flatten)]
    pub dirs: Dirs,
    /// Where agents, ztunnels and waypoints connect. May be repeated.
    #[arg(long, env = "CULVERT_LISTEN", value_name = "IP:PORT", value_delimiter = ',',
          default_values_t = [SocketAddr::from((Ipv6Addr::UNSPECIFIED, 15012))])]
    pub listen: Vec<SocketAddr>,
    /// Where readiness, metrics and the dump of the configuration are.
    #[arg(long, env = "CULVERT_ADMIN", value_name = "IP:PORT",
          default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, 15014)))]
    pub admin: SocketAddr,
    /// How to log: text or json.
    #[arg(long, env = "CULVERT_LOG_FORMAT", default_value = "text")]
    pub log_format: Format,
}

/// Whose token.
#[derive(Clone, Debug, Args)]
pub struct Token {
    /// Where objects and state are.
    #[command(flatten)]
    pub dirs: Dirs,
    /// Of what.
    pub kind: Kind,
    /// NAME of a node, NAMESPACE/NAME of a waypoint.
    pub name: String,
}

/// What a token is for.
#[derive(Clone, Copy, Debug, ValueEnum)]
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

    #[test]
    fn serves_by_default() {
        let cli = Cli::try_parse_from(["culvert-controller", "--config", "/c"]).unwrap();
        assert!(cli.command.is_none());
        assert_eq!(cli.serve.listen, ["[::]:15012".parse().unwrap()]);
        assert_eq!(cli.serve.admin, "127.0.0.1:15014".parse().unwrap());
        assert_eq!(cli.serve.dirs.state(), PathBuf::from("/c/.state"));
        let two = [
            "culvert-controller",
            "--config",
            "/c",
            "--listen",
            "127.0.0.1:1",
            "--listen",
            "[::1]:2",
        ];
        assert_eq!(Cli::try_parse_from(two).unwrap().serve.listen.len(), 2);
        assert!(Cli::try_parse_from(["culvert-controller"]).is_err());
    }

    #[test]
    fn tokens() {
        let arguments = [
            "culvert-controller",
            "token",
            "--config",
            "/c",
            "waypoint",
            "demo/gate",
        ];
        let Some(Command::Token(token)) = Cli::try_parse_from(arguments).unwrap().command else {
            panic!()
        };
        assert_eq!(
            (token.name.as_str(), TokenKind::from(token.kind)),
            ("demo/gate", TokenKind::Waypoint)
        );
    }
}
