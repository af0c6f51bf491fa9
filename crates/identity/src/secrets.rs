//! The certificates that this process holds for workloads, kept fresh.
//!
//! Invariants: a certificate is renewed at half its life; one that is valid is kept when renewal fails; one that isn't
//! is never handed out. The last handle's drop ends the renewal.

mod renew;
mod schedule;

use crate::bundle::TrustHandle;
use crate::source::CertificateSource;
use crate::{Identity, SpiffeId};
use arc_swap::ArcSwapOption;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, SystemTime};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;

/// How certificates are renewed.
#[derive(Debug, Clone)]
pub struct SecretOptions {
    /// Deadline of one request to the source.
    pub request: Duration,
    /// First pause after a failure; it doubles.
    pub backoff_min: Duration,
    /// Longest pause after a failure.
    pub backoff_max: Duration,
    /// The wall clock is looked at this often, so that a jump of it or a sleep of the machine is noticed.
    pub check: Duration,
    /// Requests at once.
    pub concurrency: usize,
}

impl Default for SecretOptions {
    fn default() -> Self {
        Self {
            request: Duration::from_secs(10),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(15),
            check: Duration::from_secs(30),
            concurrency: 16,
        }
    }
}

/// Why there is no usable certificate.
#[derive(Debug, Clone, thiserror::Error)]
#[error("no valid certificate for {id}: {why}")]
pub struct CertificateUnavailable {
    /// For whom.
    pub id: SpiffeId,
    /// The last failure, if there was one.
    pub why: String,
}

/// A certificate as operators see it. No secret in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertStatus {
    /// For whom.
    pub id: SpiffeId,
    /// The serial number in hexadecimal; empty when there is no certificate yet.
    pub serial: String,
    /// Start and end of validity.
    pub validity: Option<(SystemTime, SystemTime)>,
    /// Why the last renewal failed.
    pub error: Option<String>,
}

/// Keeps one certificate for each identity that somebody watches. Cheap to clone.
#[derive(Clone)]
pub struct SecretManager(Arc<Inner>);

struct Inner {
    source: Arc<dyn CertificateSource>,
    trust: TrustHandle,
    options: SecretOptions,
    requests: Semaphore,
    runtime: Handle,
    entries: Mutex<HashMap<SpiffeId, Weak<Entry>>>,
}

/// One identity's state, shared by its handles and its renewal.
struct Entry {
    id: SpiffeId,
    current: ArcSwapOption<Identity>,
    generation: watch::Sender<u64>,
    error: Mutex<Option<String>>,
    renewal: OnceLock<AbortHandle>,
    manager: Weak<Inner>,
}

impl fmt::Debug for SecretManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretManager")
            .field("certificates", &self.list())
            .finish()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left half done under these locks, so a poisoned one is as good as another.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SecretManager {
    /// Renewals run on the current tokio runtime, wherever handles are taken and used.
    pub fn new(
        source: Arc<dyn CertificateSource>,
        trust: TrustHandle,
        options: SecretOptions,
    ) -> Self {
        let requests = Semaphore::new(options.concurrency);
        let entries = Mutex::default();
        Self(Arc::new(Inner {
            source,
            trust,
            options,
            requests,
            runtime: Handle::current(),
            entries,
        }))
    }

    /// Holds a certificate for `id` as long as the handle, or another one for it, lives.
    pub fn watch(&self, id: &SpiffeId) -> CertHandle {
        let mut entries = lock(&self.0.entries);
        if let Some(entry) = entries.get(id).and_then(Weak::upgrade) {
            return CertHandle(entry);
        }
        let entry = Arc::new(Entry {
            id: id.clone(),
            current: ArcSwapOption::empty(),
            generation: watch::Sender::new(0),
            error: Mutex::default(),
            renewal: OnceLock::new(),
            manager: Arc::downgrade(&self.0),
        });
        entries.insert(id.clone(), Arc::downgrade(&entry));
        let _runtime = self.0.runtime.enter();
        let task = renew::run(Arc::clone(&self.0), Arc::downgrade(&entry), id.clone());
        let task = culvert_runtime::task::spawn("certificate_renewal", task);
        // Fresh, so never set before.
        let _ = entry.renewal.set(task.abort_handle());
        CertHandle(entry)
    }

    /// Every certificate that is held, by name.
    #[must_use]
    pub fn list(&self) -> Vec<CertStatus> {
        let entries: Vec<_> = lock(&self.0.entries)
            .values()
            .filter_map(Weak::upgrade)
            .collect();
        let mut list: Vec<_> = entries.iter().map(|entry| entry.status()).collect();
        list.sort_by(|a, b| a.id.cmp(&b.id));
        list
    }
}

impl Entry {
    fn status(&self) -> CertStatus {
        let identity = self.current.load();
        let identity = identity.as_ref();
        CertStatus {
            id: self.id.clone(),
            serial: identity.map(|i| i.serial.clone()).unwrap_or_default(),
            validity: identity.map(|i| (i.not_before, i.not_after)),
            error: lock(&self.error).clone(),
        }
    }

    fn publish(&self, identity: Identity) {
        let generation = identity.generation;
        self.current.store(Some(Arc::new(identity)));
        *lock(&self.error) = None;
        self.generation.send_replace(generation);
    }

    fn failed(&self, error: String) {
        *lock(&self.error) = Some(error);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(renewal) = self.renewal.get() {
            renewal.abort();
        }
        if let Some(manager) = self.manager.upgrade() {
            let mut entries = lock(&manager.entries);
            // A new entry may have taken the place already.
            if entries
                .get(&self.id)
                .is_some_and(|entry| entry.strong_count() == 0)
            {
                entries.remove(&self.id);
            }
        }
    }
}

/// Keeps one identity's certificate alive, and gives the current one. Cheap to clone.
#[derive(Clone)]
pub struct CertHandle(Arc<Entry>);

impl fmt::Debug for CertHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CertHandle").field(&self.0.status()).finish()
    }
}

impl CertHandle {
    /// For whom.
    #[must_use]
    pub fn id(&self) -> &SpiffeId {
        &self.0.id
    }

    /// The certificate, if there is one that is valid now.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Identity>> {
        self.0
            .current
            .load_full()
            .filter(|identity| identity.is_valid())
    }

    /// Waits for a valid certificate, for at most `deadline`.
    pub async fn ready(&self, deadline: Duration) -> Result<Arc<Identity>, CertificateUnavailable> {
        let mut changed = self.changed();
        let valid = async {
            loop {
                changed.borrow_and_update();
                if let Some(identity) = self.current() {
                    return identity;
                }
                if changed.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::time::timeout(deadline, valid)
            .await
            .map_err(|_| CertificateUnavailable {
                id: self.0.id.clone(),
                why: lock(&self.0.error)
                    .clone()
                    .unwrap_or_else(|| format!("none was issued within {deadline:?}")),
            })
    }

    /// Tells of each new generation.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.0.generation.subscribe()
    }
}

#[cfg(test)]
mod tests;
