//! What the agent remembers across restarts: which namespaces hold its rules, and what these rules are.
//!
//! Invariants: a pod is written here before the first rule of it is, and removed only after the last;
//! the file is replaced as a whole and readable by the owner only, because it holds the pods' marks; a
//! lock says which agent owns it, and with it the rules.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use culvert_runtime::netns::NetnsId;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::capture::connections::Connection;
use crate::capture::rules::Spec;
use crate::place::Place;
use crate::pod::Pod;

const FILE: &str = "pods.json";
const LOCK: &str = "agent.lock";

/// One captured pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The pod as it was last told of.
    pub pod: Pod,
    /// Device and inode of its network namespace.
    pub netns: (u64, u64),
    /// The rules that are in it.
    pub spec: Spec,
    /// Connections that were open before and still are.
    pub before: Vec<Connection>,
}

impl Record {
    /// The namespace that holds the rules.
    #[must_use]
    pub fn id(&self) -> NetnsId {
        let (dev, inode) = self.netns;
        NetnsId { dev, inode }
    }

    /// Whether `id` is the namespace that holds the rules.
    #[must_use]
    pub fn is_in(&self, id: NetnsId) -> bool {
        self.id() == id
    }
}

/// The ownership of a run directory; it ends when this is dropped or the process ends.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
}

/// All records.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    records: Mutex<BTreeMap<String, Record>>,
    _lock: Lock,
}

impl Lock {
    /// Take the ownership of `directory`; `None` while another agent has it.
    pub fn take(directory: &Path) -> io::Result<Option<Self>> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(directory.join(LOCK))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Some(Self { _file: file })),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(errno.into()),
        }
    }
}

impl Store {
    /// Read what an agent before this one left in the directory that `lock` owns. A file that cannot be
    /// understood is set aside: capture begins anew with what the source tells.
    pub fn load(directory: &Path, lock: Lock) -> io::Result<Self> {
        let path = directory.join(FILE);
        let records = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            read => match serde_json::from_slice(&read?) {
                Ok(records) => records,
                Err(error) => {
                    let aside = directory.join(format!("{FILE}.bad"));
                    tracing::error!(path = %path.display(), aside = %aside.display(), %error,
                        "the record of captured pods is damaged and was set aside");
                    fs::rename(&path, aside)?;
                    BTreeMap::new()
                }
            },
        };
        Ok(Self {
            directory: directory.to_owned(),
            records: Mutex::new(records),
            _lock: lock,
        })
    }

    /// All records.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        self.lock().values().cloned().collect()
    }

    /// Say where a pod's namespace is found now, which is nothing to remember.
    pub fn place(&self, uid: &str, netns: Place) {
        if let Some(record) = self.lock().get_mut(uid) {
            record.pod.netns = netns;
        }
    }

    /// Add or replace a record. It is on disk when this returns.
    pub fn put(&self, record: Record) -> io::Result<()> {
        let mut records = self.lock();
        let uid = record.pod.uid.clone();
        if records.get(&uid) == Some(&record) {
            return Ok(());
        }
        let before = records.insert(uid.clone(), record);
        self.write(&records).inspect_err(|_| {
            match before {
                Some(before) => records.insert(uid, before),
                None => records.remove(&uid),
            };
        })
    }

    /// Forget a pod whose rules are gone.
    pub fn remove(&self, uid: &str) -> io::Result<()> {
        let mut records = self.lock();
        match records.remove(uid) {
            Some(_) => self.write(&records),
            None => Ok(()),
        }
    }

    fn write(&self, records: &BTreeMap<String, Record>) -> io::Result<()> {
        let json = serde_json::to_vec_pretty(records)?;
        let (path, new) = (
            self.directory.join(FILE),
            self.directory.join(format!("{FILE}.new")),
        );
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(&json)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(&self.directory)?.sync_all()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::rules::{Flavour, Mark};
    use crate::pod::CaptureOptions;
    use std::os::unix::fs::PermissionsExt as _;

    fn record(uid: &str) -> Record {
        let options = CaptureOptions {
            exclude_outbound_cidrs: vec!["10.0.0.0/8".parse().unwrap()],
            ..Default::default()
        };
        Record {
            pod: Pod {
                uid: uid.into(),
                name: "a".into(),
                namespace: "ns".into(),
                service_account: "default".into(),
                addresses: vec!["fd00::1".parse().unwrap()],
                netns: "/run/netns/a".into(),
                enrolled: true,
                options: options.clone(),
                strict: None,
            },
            netns: (4, 4_026_532_000),
            spec: Spec {
                mark: Mark::random(),
                former: None,
                flavour: Flavour::Culvert,
                options,
                generation: 3,
            },
            before: vec![Connection {
                local: "10.0.0.1:80".parse().unwrap(),
                remote: "[fd00::2]:81".parse().unwrap(),
            }],
        }
    }

    fn load(directory: &Path) -> Store {
        let lock = Lock::take(directory).unwrap().unwrap();
        Store::load(directory, lock).unwrap()
    }

    #[test]
    fn the_next_agent_reads_what_this_one_wrote() {
        let dir = tempfile::tempdir().unwrap();
        let store = load(dir.path());
        let (a, b) = (record("a"), record("b"));
        store.put(a.clone()).unwrap();
        store.put(b).unwrap();
        store.remove("b").unwrap();
        store.remove("unknown").unwrap();
        let file = fs::metadata(dir.path().join(FILE)).unwrap();
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
        drop(store);
        assert_eq!(load(dir.path()).records(), [a]);
    }

    #[test]
    fn one_agent_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = Lock::take(dir.path()).unwrap();
        assert!(first.is_some());
        assert!(Lock::take(dir.path()).unwrap().is_none());
        drop(first);
        assert!(Lock::take(dir.path()).unwrap().is_some());
    }

    #[test]
    fn a_damaged_file_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), b"{\"a\": {").unwrap();
        assert!(load(dir.path()).records().is_empty());
        assert!(dir.path().join("pods.json.bad").exists());
    }

    #[test]
    fn what_could_not_be_written_is_not_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let store = load(dir.path());
        fs::create_dir(dir.path().join("pods.json.new")).unwrap();
        assert!(store.put(record("a")).is_err());
        assert!(store.records().is_empty());
    }
}
