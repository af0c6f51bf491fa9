//! A network namespace, and running programs and code in it.

use crate::{
    process::{self, Output, Process},
    programs, wait,
    world::DIR,
};
use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};
use std::{
    ffi::OsStr,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    thread,
};

/// A named network namespace. Programs that run in it see its own resolver file, if it has one.
#[derive(Clone, Debug)]
pub struct Netns {
    name: String,
    path: PathBuf,
    resolver: Option<PathBuf>,
}

impl Netns {
    /// Creates it, empty but for a loopback device that is up, with what makes addresses usable at once.
    pub(crate) fn create(name: &str) -> Result<Self> {
        process::run("ip", &["netns", "add", name])?;
        let netns = Self {
            name: name.to_owned(),
            path: Path::new("/run/netns").join(name),
            resolver: None,
        };
        netns.script(
            "ip link set lo up
             cd /proc/sys/net
             for scope in all default; do
                 echo 0 > ipv6/conf/$scope/accept_dad
                 echo 0 > ipv6/conf/$scope/accept_ra
             done
             # What bulk figures are compared with: not bbr, whose pacing costs CPU. Not allowed in every namespace.
             echo cubic > ipv4/tcp_congestion_control 2>/dev/null || true",
        )?;
        Ok(netns)
    }

    /// The name, as `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The path that holds it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives programs that are started from now on this `/etc/resolv.conf`.
    pub fn set_resolver(&mut self, text: &str) -> Result<()> {
        let path = Path::new(DIR).join(format!("{}.resolv.conf", self.name));
        fs::write(&path, text)?;
        self.resolver = Some(path);
        Ok(())
    }

    /// A command that runs in this namespace under its own process id (every step on the way there is an exec).
    pub fn command(&self, argv: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.path.display()))
            .arg("--");
        if let Some(resolver) = &self.resolver {
            command.args([
                "unshare",
                "--mount",
                "--propagation",
                "slave",
                "--",
                "sh",
                "-c",
            ]);
            command
                .arg("mount --bind \"$0\" \"$(readlink -f /etc/resolv.conf)\" && exec \"$@\"")
                .arg(resolver);
        }
        command.args(argv).env("PATH", programs::search_path());
        command
    }

    /// Runs a program to its end.
    pub fn exec(&self, argv: &[impl AsRef<OsStr>]) -> Result<Output> {
        process::complete(&mut self.command(argv), process::DEADLINE)
    }

    /// Runs a program to its end; fails unless it succeeds. Yields what it printed.
    pub fn run(&self, argv: &[impl AsRef<OsStr>]) -> Result<String> {
        let words: Vec<_> = argv
            .iter()
            .map(|word| word.as_ref().display().to_string())
            .collect();
        self.exec(argv)?
            .success()
            .with_context(|| format!("in {}: {}", self.name, words.join(" ")))
    }

    /// Runs a shell script that stops at its first failing command.
    pub fn script(&self, text: &str) -> Result<String> {
        self.run(&["sh", "-ec", text])
    }

    /// Starts a program; its log is `logs/NAME.log` of the world's directory.
    pub fn spawn(&self, name: &str, argv: &[impl AsRef<OsStr>]) -> Result<Process> {
        let log = Path::new(DIR).join("logs").join(format!("{name}.log"));
        Process::start(name, self.command(argv), log)
    }

    /// Runs code of this program on a thread of this namespace. Sockets that it makes stay of this namespace.
    pub fn enter<T: Send>(&self, code: impl FnOnce() -> T + Send) -> Result<T> {
        let netns =
            File::open(&self.path).with_context(|| format!("namespace {}", self.path.display()))?;
        thread::scope(|scope| {
            let thread = scope.spawn(|| -> Result<T> {
                setns(&netns, CloneFlags::CLONE_NEWNET)?;
                Ok(code())
            });
            match thread.join() {
                Ok(outcome) => outcome,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Ports on which some socket of this namespace listens for TCP.
    pub fn listening(&self) -> Result<Vec<u16>> {
        let tables = self.enter(|| {
            let v4 = fs::read_to_string("/proc/thread-self/net/tcp");
            let v6 = fs::read_to_string("/proc/thread-self/net/tcp6");
            v4.map(|v4| v4 + &v6.unwrap_or_default())
        })??;
        Ok(tables.lines().filter_map(listening_port).collect())
    }

    /// Waits until something listens on the TCP port.
    pub fn wait_for_port(&self, port: u16) -> Result<()> {
        wait::until(
            format!("a listener on port {port} in {}", self.name),
            wait::PATIENCE,
            || Ok(self.listening()?.contains(&port).then_some(())),
        )
    }

    /// Waits until `process` listens on the TCP port; fails at once if it ends instead.
    pub fn wait_for_server(&self, process: &mut Process, port: u16) -> Result<()> {
        let what = format!(
            "{} to listen on port {port} in {}",
            process.name(),
            self.name
        );
        let listens = wait::until(what, wait::PATIENCE, || {
            if !process.is_running() {
                return Ok(Some(false));
            }
            Ok(self.listening()?.contains(&port).then_some(true))
        })?;
        if !listens {
            bail!("{} ended: {}", process.name(), process.log());
        }
        Ok(())
    }

    /// The IPv4 and IPv6 rules and chains, each with its table. Tables that are there but empty don't show.
    pub fn rules(&self) -> Result<String> {
        Ok(rules_of(&self.run(&[
            "sh",
            "-c",
            "iptables-save && ip6tables-save",
        ])?))
    }
}

/// What `iptables-save` prints, without comments, counters and built-in chains.
fn rules_of(saved: &str) -> String {
    let mut table = "";
    let mut rules = String::new();
    for line in saved.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
        } else if line.starts_with("-A ") {
            rules.push_str(&format!("{table} {line}\n"));
        } else if let Some((chain, "-")) = line
            .rsplit_once(" [")
            .unwrap_or((line, ""))
            .0
            .rsplit_once(' ')
        {
            rules.push_str(&format!("{table} {chain}\n"));
        }
    }
    rules
}

/// The local port of a line of `/proc/net/tcp` whose state is LISTEN.
fn listening_port(line: &str) -> Option<u16> {
    let mut fields = line.split_whitespace().skip(1);
    let (_, port) = fields.next()?.rsplit_once(':')?;
    (fields.nth(1)? == "0A").then(|| u16::from_str_radix(port, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_told_from_what_is_always_there() {
        let saved = "# by iptables-save\n*nat\n:OUTPUT ACCEPT [7:420]\n:OURS - [0:0]\n-A OUTPUT -j OURS\nCOMMIT\n*raw\n\
                     :OUTPUT ACCEPT [0:0]\nCOMMIT\n";
        assert_eq!(rules_of(saved), "nat :OURS\nnat -A OUTPUT -j OURS\n");
    }

    #[test]
    fn listeners_are_told_from_connections() {
        let listen = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0 0 1 1 0";
        let established = "   1: 0100007F:1F90 0100007F:C001 01 00000000:00000000 00:00000000 00000000  0 0 1 1 0";
        assert_eq!(listening_port(listen), Some(8080));
        assert_eq!(listening_port(established), None);
        assert_eq!(listening_port("  sl  local_address rem_address   st"), None);
    }
}
