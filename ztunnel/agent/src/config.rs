//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use culvert_runtime::trace::Format;

use crate::capture::tools::Choice;

/// Captures the traffic of a node's pods for its ztunnel.
#[derive(Debug, Parser)]
#[command(
    name = "culvert-agent",
    version,
    args_conflicts_with_subcommands = true
)]
pub struct Cli {
    /// Something else than to run.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to run.
    #[command(flatten)]
    pub config: Option<Config>,
    /// How log lines are written: text or json.
    #[arg(long, default_value = "text", global = true)]
    pub log_format: Format,
}

/// What else the agent can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Remove every rule and route that an agent made on this node, as for uninstalling. No agent may be
    /// running.
    Cleanup {
        /// The run directory of that agent.
        #[arg(long, env = "CULVERT_RUN_DIR")]
        run_dir: PathBuf,
        /// The node's /proc, to find namespaces that have no name of their own.
        #[arg(long, env = "CULVERT_PROC", default_value = "/host/proc")]
        proc: PathBuf,
        /// The node's CNI configuration, to take the plugin out of it.
        #[arg(long, env = "CULVERT_CNI_CONF_DIR")]
        cni_conf_dir: Option<PathBuf>,
        /// The node's CNI plugins, to take ours away.
        #[arg(long, env = "CULVERT_CNI_BIN_DIR")]
        cni_bin_dir: Option<PathBuf>,
    },
}

/// How to run.
#[derive(Clone, Debug, Args)]
pub struct Config {
    /// Name of this node.
    #[arg(long, env = "CULVERT_NODE")]
    pub node: String,
    /// The controller: IP:PORT, never a name [default: the Service culvert-controller of the pod's namespace, as kubelet
    /// tells of it].
    #[arg(long, env = "CULVERT_CONTROLLER")]
    pub controller: Option<String>,
    /// File with this node's join token or, with --root-file, with a service account's token.
    #[arg(long, env = "CULVERT_TOKEN_FILE")]
    pub token_file: PathBuf,
    /// File with the certificates that sign the controller's, for a service account's token. It may appear late: with
    /// --kubernetes the agent writes RUN_DIR/root.crt itself.
    #[arg(long, env = "CULVERT_ROOT_FILE")]
    pub root_file: Option<PathBuf>,
    /// Directory for the sockets and for what is remembered across restarts.
    #[arg(long, env = "CULVERT_RUN_DIR")]
    pub run_dir: PathBuf,
    /// Serve the admin interface here too, not only on a unix socket in the run directory.
    #[arg(long, env = "CULVERT_AGENT_ADMIN")]
    pub admin: Option<SocketAddr>,
    /// What keeps the rules in the pods' namespaces: auto, iptables or nftables.
    #[arg(long, env = "CULVERT_RULES", default_value = "auto")]
    pub rules: Choice,
    /// Seconds between two audits of a pod's rules.
    #[arg(long, default_value = "5", value_parser = seconds)]
    pub audit_interval: Duration,
    /// Learn of pods from the Kubernetes API, not from the controller.
    #[arg(long, env = "CULVERT_KUBERNETES")]
    pub kubernetes: bool,
    /// Reach the API with this file instead of the pod's service account.
    #[arg(long, env = "CULVERT_KUBECONFIG", requires = "kubernetes")]
    pub kubeconfig: Option<PathBuf>,
    /// The namespace that the mesh's own parts run in.
    #[arg(long, env = "POD_NAMESPACE", default_value = culvert_enrolment::SYSTEM_NAMESPACE)]
    pub namespace: String,
    /// The node's /proc.
    #[arg(long, env = "CULVERT_PROC", default_value = "/host/proc")]
    pub proc: PathBuf,
    /// The node's CNI configuration. With it, the agent keeps the CNI plugin installed; without, none holds pods until
    /// they are captured.
    #[arg(long, env = "CULVERT_CNI_CONF_DIR", requires = "cni_bin_dir")]
    pub cni_conf_dir: Option<PathBuf>,
    /// The node's CNI plugins.
    #[arg(long, env = "CULVERT_CNI_BIN_DIR")]
    pub cni_bin_dir: Option<PathBuf>,
    /// The run directory as the node has it, for the CNI plugin, which runs there [default: RUN_DIR].
    #[arg(long, env = "CULVERT_HOST_RUN_DIR")]
    pub host_run_dir: Option<PathBuf>,
    /// The plugin to install [default: culvert-cni beside this program].
    #[arg(long, env = "CULVERT_CNI_PLUGIN")]
    pub cni_plugin: Option<PathBuf>,
}

/// Parse a positive number of seconds.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| format!("{text:?} is not a number"))?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(format!("{text} is not a positive number of seconds")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_with_flags_and_cleans_up_without_them() {
        let flags = "a --node n --controller 10.0.0.1:15012 --token-file t --run-dir d";
        let cli = Cli::try_parse_from(flags.split(' ')).unwrap();
        assert!(cli.command.is_none());
        assert_eq!(cli.config.unwrap().audit_interval.as_secs(), 5);
        let flags = "a --node n --token-file t --root-file r --run-dir d --kubernetes \
                     --cni-conf-dir c --cni-bin-dir b";
        let config = Cli::try_parse_from(flags.split_whitespace())
            .unwrap()
            .config;
        let config = config.unwrap();
        assert!(config.kubernetes && config.controller.is_none());
        assert_eq!(config.namespace, "culvert-system");
        let cli = Cli::try_parse_from(["a", "cleanup", "--run-dir", "d"]).unwrap();
        assert!(matches!(cli.command, Some(Command::Cleanup { .. })));
        assert!(Cli::try_parse_from(["a", "--node", "n"]).is_err());
        assert!(seconds("0").is_err() && seconds("-1").is_err() && seconds("x").is_err());
    }
}
