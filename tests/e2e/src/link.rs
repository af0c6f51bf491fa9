//! The link's capture: tcpdump on the switch's bridge from the first case to the last, judged as it comes.
//!
//! Who is in the mesh changes while the suite runs, so cases say when it begins and ends for a pod's addresses. At the end
//! every connection that began between two such addresses must have been HBONE, or be excused by case and reason.
//! Invariant: nothing is excused by default, and an excuse that excused nothing is an error too.

use crate::{
    cluster::Cluster,
    connections::{Connection, Connections},
};
use anyhow::{Context, Result, bail, ensure};
use culvert_lab::{
    packet::{FILE_HEADER, check_header, next_record},
    wait,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    collections::HashMap,
    io::Read,
    net::IpAddr,
    process::Child,
    sync::{Arc, Mutex, MutexGuard},
    thread::{self, JoinHandle},
    time::{Duration, SystemTime},
};

/// A time during which an address belonged to a pod of the mesh.
#[derive(Debug)]
struct Membership {
    from: SystemTime,
    to: Option<SystemTime>,
    pod: String,
}

/// A connection that may be something else.
struct Excuse {
    case: String,
    reason: String,
    applies: Box<dyn Fn(&Connection) -> bool + Send>,
    from: SystemTime,
    to: Option<SystemTime>,
}

/// What the whole capture amounts to.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Connections between pods of the mesh.
    pub connections: usize,
    /// Their TLS records.
    pub records: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Case, reason, and how many connections it excused.
    pub excused: Vec<(String, String, usize)>,
    /// What must not be.
    pub wrong: Vec<String>,
}

/// The running capture.
pub struct Link {
    child: Child,
    reader: Option<JoinHandle<Result<()>>>,
    errors: Option<JoinHandle<String>>,
    connections: Arc<Mutex<Connections>>,
    members: HashMap<IpAddr, Vec<Membership>>,
    excuses: Vec<Excuse>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

impl Link {
    /// Starts to capture the pods' TCP.
    pub fn start(cluster: &Cluster) -> Result<Self> {
        let argv = [
            "tcpdump",
            "-i",
            "br0",
            "-n",
            "-U",
            "--immediate-mode",
            "-s",
            "0",
            "-B",
            "131072",
            "-Z",
            "root",
            "-w",
            "-",
            "tcp and (net 10.244.0.0/16 or net fd00:10:244::/48)",
        ];
        let mut child = cluster.spawn_outside(&argv)?;
        let mut stdout = child.stdout.take().context("tcpdump's output")?;
        let mut stderr = child.stderr.take().context("tcpdump's errors")?;
        let mut header = [0; FILE_HEADER];
        if stdout.read_exact(&mut header).is_err() {
            let mut why = String::new();
            stderr.read_to_string(&mut why)?;
            bail!("tcpdump: {why}");
        }
        check_header(&header)?;
        let connections = Arc::new(Mutex::new(Connections::default()));
        let shared = Arc::clone(&connections);
        let reader = thread::spawn(move || follow(stdout, &shared));
        let errors = thread::spawn(move || {
            let mut text = String::new();
            drop(stderr.read_to_string(&mut text));
            text
        });
        Ok(Self {
            child,
            reader: Some(reader),
            errors: Some(errors),
            connections,
            members: HashMap::new(),
            excuses: Vec::new(),
        })
    }

    /// What was seen so far.
    pub fn seen(&self) -> MutexGuard<'_, Connections> {
        self.connections
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// From `since` on these addresses belong to a pod of the mesh.
    pub fn enrolled(&mut self, pod: &str, addresses: &[IpAddr], since: SystemTime) {
        for address in addresses {
            let times = self.members.entry(*address).or_default();
            if times
                .last()
                .is_some_and(|last| last.to.is_none() && last.pod == pod)
            {
                continue;
            }
            times.push(Membership {
                from: since,
                to: None,
                pod: pod.to_owned(),
            });
        }
    }

    /// From now on what these pods do is not judged: their label goes, or they do.
    pub fn released(&mut self, chosen: impl Fn(&str) -> bool) {
        let now = SystemTime::now();
        let open = self.members.values_mut().flatten();
        for membership in open.filter(|one| one.to.is_none() && chosen(&one.pod)) {
            membership.to = Some(now);
        }
    }

    /// Connections that may be other than HBONE, until [`Link::no_more_excuses`] of the case.
    pub fn excuse(
        &mut self,
        case: &str,
        reason: &str,
        applies: impl Fn(&Connection) -> bool + Send + 'static,
    ) {
        self.excuses.push(Excuse {
            case: case.to_owned(),
            reason: reason.to_owned(),
            applies: Box::new(applies),
            from: SystemTime::now(),
            to: None,
        });
    }

    /// The case has ended, and with it what it excused.
    pub fn no_more_excuses(&mut self, case: &str) {
        let now = SystemTime::now();
        for excuse in self.excuses.iter_mut().filter(|one| one.case == case) {
            excuse.to.get_or_insert(now);
        }
    }

    /// Waits until the connections since `since` that `which` chooses are as many as `least`, and yields how they look.
    pub fn find(
        &self,
        what: &str,
        since: SystemTime,
        least: usize,
        which: impl Fn(&Connection) -> bool,
    ) -> Result<Vec<(bool, String)>> {
        wait::until(format!("{what} on the link"), wait::PATIENCE, || {
            let seen = self.seen();
            let found: Vec<_> = seen
                .iter()
                .filter(|one| one.last >= since && which(one))
                .map(|one| (one.is_hbone(), one.describe()))
                .collect();
            ensure!(
                found.len() >= least,
                "{} of {least} connections",
                found.len()
            );
            Ok(Some(found))
        })
    }

    fn member(&self, address: IpAddr, at: SystemTime) -> Option<&Membership> {
        let times = self.members.get(&address)?;
        times
            .iter()
            .find(|one| one.from <= at && one.to.is_none_or(|to| at <= to))
    }

    /// Ends the capture and judges all of it.
    pub fn finish(mut self) -> Result<Verdict> {
        // What was sent a moment ago is on its way through tcpdump.
        thread::sleep(Duration::from_millis(500));
        kill(
            Pid::from_raw(i32::try_from(self.child.id())?),
            Signal::SIGINT,
        )?;
        self.child.wait()?;
        let (reader, errors) = (self.reader.take(), self.errors.take());
        let text = errors
            .and_then(|thread| thread.join().ok())
            .context("tcpdump's errors")?;
        let dropped = text
            .lines()
            .find(|line| line.contains("dropped by kernel"))
            .with_context(|| format!("how many packets were dropped: {text}"))?;
        ensure!(
            dropped.starts_with("0 "),
            "the capture has holes: {dropped}"
        );
        match reader.map(JoinHandle::join) {
            Some(Ok(outcome)) => outcome?,
            _ => bail!("the capture's reader has failed"),
        }
        Ok(self.judge())
    }

    fn judge(&self) -> Verdict {
        let seen = self.seen();
        let mut verdict = Verdict::default();
        let mut excused = vec![0; self.excuses.len()];
        for one in seen.iter() {
            let (Some(client), Some(server)) = (
                self.member(one.client.ip(), one.begun),
                self.member(one.server.ip(), one.begun),
            ) else {
                continue;
            };
            if one.is_hbone() {
                verdict.connections += 1;
                verdict.records += one.records();
                verdict.bytes += one.bytes;
                continue;
            }
            let excuse = self.excuses.iter().position(|excuse| {
                excuse.from <= one.begun
                    && excuse.to.is_none_or(|to| one.begun <= to)
                    && (excuse.applies)(one)
            });
            match excuse {
                Some(index) => excused[index] += 1,
                None => verdict.wrong.push(format!(
                    "{} to {}: {}",
                    client.pod,
                    server.pod,
                    one.describe()
                )),
            }
        }
        for (excuse, count) in self.excuses.iter().zip(excused) {
            if count == 0 {
                verdict.wrong.push(format!(
                    "{}: excused ({}) and never seen",
                    excuse.case, excuse.reason
                ));
            }
            verdict
                .excused
                .push((excuse.case.clone(), excuse.reason.clone(), count));
        }
        verdict
    }
}

/// Reads records until tcpdump ends.
fn follow(mut from: impl Read, connections: &Mutex<Connections>) -> Result<()> {
    let mut bytes = Vec::new();
    let mut piece = vec![0; 1 << 20];
    loop {
        let count = from.read(&mut piece)?;
        if count == 0 {
            ensure!(bytes.is_empty(), "the capture ends within a packet");
            return Ok(());
        }
        bytes.extend_from_slice(&piece[..count]);
        let mut at = 0;
        let mut connections = connections
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        while let Some((packet, size)) = next_record(&bytes[at..])? {
            let word = |offset: usize| -> Result<u32> {
                Ok(u32::from_ne_bytes(
                    bytes[at + offset..at + offset + 4].try_into()?,
                ))
            };
            let time = Duration::new(u64::from(word(0)?), word(4)?.saturating_mul(1000));
            if let Some(packet) = packet {
                connections.take(&packet, time)?;
            }
            at += size;
        }
        bytes.drain(..at);
    }
}
