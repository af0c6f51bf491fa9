//! Finds the network namespaces of pods that run already, by their processes.
//!
//! Invariant: never yields a namespace of the node itself, whoever moved a pod's process there.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::path::Path;

use culvert_runtime::netns::{Netns, NetnsId};

use super::cgroup;

/// The namespaces that each pod of `proc` has processes in, the one of its oldest process first: that is the one that the
/// runtime made the pod's sandbox in.
pub fn namespaces(proc: &Path) -> io::Result<BTreeMap<String, Vec<Netns>>> {
    let mut processes = Vec::new();
    for entry in fs::read_dir(proc)? {
        let entry = entry?;
        let name = entry.file_name();
        if !name.as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        // A process may end while we look.
        let Ok(text) = fs::read_to_string(entry.path().join("cgroup")) else {
            continue;
        };
        if let Some(uid) = cgroup::pod_uid(&text) {
            let path = entry.path();
            processes.push((started(&path).unwrap_or(u64::MAX), uid, path));
        }
    }
    processes.sort();
    let own = node_namespaces(proc);
    let mut found = BTreeMap::<String, Vec<Netns>>::new();
    for (_, uid, path) in processes {
        match Netns::open(path.join("ns/net")) {
            Ok(netns) if own.contains(&netns.id()) => {}
            Ok(netns) => {
                let known = found.entry(uid).or_default();
                if known.iter().all(|known| known.id() != netns.id()) {
                    known.push(netns);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                tracing::error!(%error, "a pod's network namespace cannot be looked up: is CAP_SYS_PTRACE missing?");
            }
            Err(_ended) => {}
        }
    }
    Ok(found)
}

/// The node's network namespace: its first process's, and ours.
fn node_namespaces(proc: &Path) -> HashSet<NetnsId> {
    let first = Netns::open(proc.join("1/ns/net"));
    let found = [first, Netns::current()].into_iter().flatten();
    found.map(|netns| netns.id()).collect()
}

/// When a process started, in ticks since the node did.
fn started(process: &Path) -> Option<u64> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    // The second field is the command's name, which may hold anything, in parentheses.
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const UID: &str = "0b8f2c5e-1d0f-4c1c-9c38-2f7b5a7d9e10";

    fn process(proc: &Path, pid: u32, start: u64, cgroup: &str, netns: &Path) {
        let dir = proc.join(pid.to_string());
        fs::create_dir_all(dir.join("ns")).unwrap();
        fs::write(dir.join("cgroup"), cgroup).unwrap();
        let fields = "0 ".repeat(18);
        fs::write(
            dir.join("stat"),
            format!("{pid} (a) b) S {fields}{start} 0\n"),
        )
        .unwrap();
        symlink(netns, dir.join("ns/net")).unwrap();
    }

    #[test]
    fn the_oldest_process_outside_the_nodes_namespace_counts() {
        let dir = tempfile::tempdir().unwrap();
        let own = Path::new("/proc/self/ns/net");
        let Some(others) = two_namespaces() else {
            return;
        };
        let path = |netns: &Netns| {
            use std::os::fd::AsRawFd as _;
            std::path::PathBuf::from(format!("/proc/self/fd/{}", netns.as_fd().as_raw_fd()))
        };
        let (pause, app) = (path(&others[0]), path(&others[1]));
        let cgroup = format!("0::/kubepods/pod{UID}/c\n");
        process(dir.path(), 1, 1, "0::/init.scope\n", own);
        process(dir.path(), 30, 900, &cgroup, &pause);
        process(dir.path(), 20, 1000, &cgroup, &app);
        process(dir.path(), 10, 5, &cgroup, own);
        process(dir.path(), 11, 6, "0::/system.slice/x\n", &app);
        fs::create_dir(dir.path().join("sys")).unwrap();
        let found = namespaces(dir.path()).unwrap();
        let ids: Vec<NetnsId> = found[UID].iter().map(Netns::id).collect();
        assert_eq!(ids, [others[0].id(), others[1].id()]);
        assert_eq!(found.len(), 1);
    }

    /// Two namespaces; `None` where the kernel lets only root make any.
    fn two_namespaces() -> Option<[Netns; 2]> {
        let fresh = || {
            let made = std::thread::spawn(|| {
                nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).ok()?;
                Netns::current().ok()
            });
            made.join().unwrap()
        };
        let made = [fresh()?, fresh()?];
        Some(made)
    }

    #[test]
    fn our_own_start_is_read() {
        assert!(started(Path::new("/proc/self")).unwrap() > 0);
    }
}
