//! Certificates of seconds, a source that fails, and what a handle keeps alive.

use super::*;
use crate::bundle::{self, TrustBundle};
use crate::source::CaError;
use crate::testing::Ca;
use crate::{LocalSource, TrustDomain, ca::Root};
use async_trait::async_trait;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tempfile::TempDir;

const A: &str = "spiffe://cluster.local/ns/shop/sa/a";
const SOON: Duration = Duration::from_secs(10);

fn id() -> SpiffeId {
    A.parse().unwrap()
}

struct Source {
    _dir: TempDir,
    root: Root,
    local: LocalSource,
    down: AtomicBool,
    asked: AtomicUsize,
}

impl Source {
    fn new(ttl: u64) -> Arc<Self> {
        let dir = tempfile::tempdir().unwrap();
        let root =
            Root::load_or_create(dir.path(), TrustDomain::new("cluster.local").unwrap()).unwrap();
        let local = LocalSource::new(root.clone(), Duration::from_secs(ttl));
        Arc::new(Self {
            _dir: dir,
            root,
            local,
            down: AtomicBool::new(false),
            asked: AtomicUsize::new(0),
        })
    }
}

#[async_trait]
impl CertificateSource for Source {
    async fn sign(&self, id: &SpiffeId, csr_pem: &str) -> Result<Vec<String>, CaError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.down.load(Ordering::SeqCst) {
            return Err(CaError::Unavailable("down for the test".into()));
        }
        self.local.sign(id, csr_pem).await
    }
}

fn manager(source: &Arc<Source>) -> SecretManager {
    let options = SecretOptions {
        backoff_max: Duration::from_millis(200),
        ..SecretOptions::default()
    };
    SecretManager::new(Arc::clone(source) as _, bundle::channel().1, options)
}

/// The next generation after the one that is seen now.
async fn next_generation(handle: &CertHandle) -> u64 {
    let mut changed = handle.changed();
    changed.mark_unchanged();
    tokio::time::timeout(SOON, changed.changed())
        .await
        .unwrap()
        .unwrap();
    *changed.borrow()
}

#[tokio::test]
async fn certificates_of_seconds_are_renewed_before_they_end() {
    let source = Source::new(2);
    let handle = manager(&source).watch(&id());
    let mut last = handle.ready(SOON).await.unwrap();
    for _ in 0..2 {
        next_generation(&handle).await;
        let now = handle.current().expect("never without a valid certificate");
        assert!(now.generation > last.generation);
        assert_ne!(now.serial, last.serial);
        last = now;
    }
}

#[tokio::test]
async fn a_valid_certificate_is_kept_while_renewal_fails() {
    let source = Source::new(4);
    let manager = manager(&source);
    let handle = manager.watch(&id());
    let first = handle.ready(SOON).await.unwrap();
    source.down.store(true, Ordering::SeqCst);
    while source.asked.load(Ordering::SeqCst) < 3 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(handle.current().unwrap().serial, first.serial);
    let status = manager.list();
    assert!(
        status[0]
            .error
            .as_deref()
            .unwrap()
            .contains("down for the test"),
        "{status:?}"
    );
    // Past its end it is no longer handed out.
    while handle.current().is_some() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let error = handle.ready(Duration::from_millis(50)).await.unwrap_err();
    assert!(error.to_string().contains("down for the test"), "{error}");
    source.down.store(false, Ordering::SeqCst);
    assert_ne!(handle.ready(SOON).await.unwrap().serial, first.serial);
    assert_eq!(manager.list()[0].error, None);
}

#[tokio::test]
async fn handles_share_and_the_last_one_ends_the_renewal() {
    let source = Source::new(3600);
    let manager = manager(&source);
    let (one, two) = (manager.watch(&id()), manager.watch(&id()));
    assert_eq!(
        one.ready(SOON).await.unwrap().serial,
        two.ready(SOON).await.unwrap().serial
    );
    assert_eq!(source.asked.load(Ordering::SeqCst), 1);
    drop(one);
    assert_eq!(manager.list().len(), 1);
    drop(two);
    assert_eq!(manager.list(), vec![]);
    manager.watch(&id()).ready(SOON).await.unwrap();
    assert_eq!(source.asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn another_trust_bundle_gives_the_same_certificate_a_new_generation() {
    let source = Source::new(3600);
    let (sender, trust) = bundle::channel();
    let manager = SecretManager::new(Arc::clone(&source) as _, trust, SecretOptions::default());
    let handle = manager.watch(&id());
    let first = handle.ready(SOON).await.unwrap();
    let mut roots = source.root.roots_pem().unwrap();
    roots.push(Ca::new().pem());
    sender.publish(TrustBundle::from_pem(&roots).unwrap());
    let generation = next_generation(&handle).await;
    let second = handle.current().unwrap();
    assert_eq!(second.generation, generation);
    assert!(generation > first.generation);
    assert_eq!(second.serial, first.serial);
}

#[tokio::test]
async fn a_trust_bundle_without_the_certificates_root_asks_for_another_certificate() {
    let source = Source::new(3600);
    let (sender, trust) = bundle::channel();
    let manager = SecretManager::new(Arc::clone(&source) as _, trust, SecretOptions::default());
    let handle = manager.watch(&id());
    let first = handle.ready(SOON).await.unwrap();
    assert_eq!(source.asked.load(Ordering::SeqCst), 1);
    sender.publish(Ca::new().bundle());
    while source.asked.load(Ordering::SeqCst) < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(
        handle.current().unwrap().serial,
        first.serial,
        "the old one is kept"
    );
}

#[tokio::test]
async fn a_certificate_outside_the_trust_bundle_is_not_used() {
    let source = Source::new(3600);
    let (sender, trust) = bundle::channel();
    sender.publish(Ca::new().bundle());
    let manager = SecretManager::new(source, trust, SecretOptions::default());
    let error = manager
        .watch(&id())
        .ready(Duration::from_millis(300))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("leads to no root"), "{error}");
}

/// Signs for somebody else than was asked, or with another key.
struct Liar {
    honest: Arc<Source>,
    other_key: bool,
}

#[async_trait]
impl CertificateSource for Liar {
    async fn sign(&self, id: &SpiffeId, csr_pem: &str) -> Result<Vec<String>, CaError> {
        if self.other_key {
            let request = crate::csr::new_request(id).unwrap();
            return self.honest.local.sign(id, &request.pem).await;
        }
        let other = "spiffe://cluster.local/ns/shop/sa/other".parse().unwrap();
        self.honest.local.sign(&other, csr_pem).await
    }
}

#[tokio::test]
async fn an_answer_for_somebody_else_is_not_used() {
    for (other_key, why) in [(false, "it is for spiffe://"), (true, "another key")] {
        let liar = Liar {
            honest: Source::new(3600),
            other_key,
        };
        let manager = SecretManager::new(
            Arc::new(liar),
            bundle::channel().1,
            SecretOptions::default(),
        );
        let error = manager
            .watch(&id())
            .ready(Duration::from_millis(300))
            .await
            .unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
}
