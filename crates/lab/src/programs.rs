//! The programs that a laboratory uses and the Debian packages that bring them.

use anyhow::{Result, bail};
use std::{
    collections::BTreeSet,
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

/// A program and the Debian package that it comes from.
pub type Program = (&'static str, &'static str);

/// Starts the private world.
pub const UNSHARE: Program = ("unshare", "util-linux");
/// Runs programs in a pod's namespaces.
pub const NSENTER: Program = ("nsenter", "util-linux");
/// Gives a pod its own resolver file.
pub const MOUNT: Program = ("mount", "mount");
/// Makes namespaces and links.
pub const IP: Program = ("ip", "iproute2");
/// What the agent captures with.
pub const IPTABLES: Program = ("iptables-restore", "iptables");
/// HTTP client.
pub const CURL: Program = ("curl", "curl");
/// HTTP server.
pub const NGINX: Program = ("nginx", "nginx-light");
/// Server that speaks no HTTP.
pub const REDIS_SERVER: Program = ("redis-server", "redis-server");
/// Its client.
pub const REDIS_CLI: Program = ("redis-cli", "redis-tools");
/// Packet capture.
pub const TCPDUMP: Program = ("tcpdump", "tcpdump");
/// HTTP load.
pub const WRK: Program = ("wrk", "wrk");
/// Bulk load.
pub const IPERF3: Program = ("iperf3", "iperf3");

/// Fails naming the packages of those programs that are not installed.
pub fn require(programs: &[Program]) -> Result<()> {
    let missing: Vec<&Program> = programs
        .iter()
        .filter(|(name, _)| find(name).is_none())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|(name, _)| *name).collect();
    let packages: BTreeSet<&str> = missing.iter().map(|(_, package)| *package).collect();
    let packages: Vec<&str> = packages.into_iter().collect();
    bail!(
        "missing: {}. Debian packages: {} (`make deps` installs what is missing)",
        names.join(", "),
        packages.join(" ")
    )
}

/// The directories to look for programs in: the user's, and those of system programs, which a user's often lacks.
pub fn search_path() -> OsString {
    let mut path = env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin");
    path
}

fn find(name: &str) -> Option<PathBuf> {
    env::split_paths(&search_path())
        .map(|dir| dir.join(name))
        .find(|path| Path::is_file(path))
}

/// One of our own programs: in a directory of `CULVERT_BIN` (a list as `PATH` is one), or beside the running program, or (for a test) one directory above.
pub fn own(name: &str) -> Result<PathBuf> {
    let mut candidates = Vec::new();
    if let Some(dirs) = env::var_os("CULVERT_BIN") {
        candidates.extend(env::split_paths(&dirs).map(|dir| dir.join(name)));
    } else {
        let exe = env::current_exe()?;
        candidates.extend(exe.ancestors().skip(1).take(2).map(|dir| dir.join(name)));
    }
    match candidates.iter().find(|path| path.is_file()) {
        Some(path) => Ok(path.clone()),
        None => bail!("{name} is not built: looked for {candidates:?}; `make build` builds it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_programs_are_named_with_their_packages() {
        let error = require(&[("sh", "dash"), ("no-such-program", "its-package")])
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("missing: no-such-program. Debian packages: its-package "),
            "{error}"
        );
    }
}
