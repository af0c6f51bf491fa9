//! The renewal of one identity's certificate, for as long as somebody holds a handle.
//!
//! Invariant: a certificate is published only when its key is ours, its one name is the asked identity, it is valid now,
//! and it leads to a trusted root.

use super::schedule::{Backoff, Due, Now};
use super::{Entry, Inner};
use crate::bundle::TrustBundle;
use crate::source::CaError;
use crate::{Identity, SpiffeId, csr, x509};
use boring::error::ErrorStack;
use boring::pkey::{PKey, Private};
use boring::stack::Stack;
use boring::x509::store::X509StoreBuilder;
use boring::x509::{X509, X509StoreContext};
use std::sync::{Arc, Weak};
use std::time::SystemTime;

/// What the source signed, with the key that never left this process.
struct Issued {
    key: PKey<Private>,
    chain: Vec<X509>,
}

pub(super) async fn run(manager: Arc<Inner>, entry: Weak<Entry>, id: SpiffeId) {
    let options = &manager.options;
    let mut trust = manager.trust.clone();
    let mut backoff = Backoff::new(options.backoff_min, options.backoff_max);
    let mut issued = None;
    loop {
        let result = issue(&manager, &id, trust.current()).await;
        let Some(held) = entry.upgrade() else { return };
        let due = match result {
            Ok((new, identity)) => {
                tracing::debug!(%id, serial = identity.serial, "certificate issued");
                let due = Due::half_life(Now::read(), identity.not_before, identity.not_after);
                held.publish(identity);
                issued = Some(new);
                backoff.reset();
                due
            }
            Err(error) => {
                tracing::warn!(%id, %error, "no certificate");
                held.failed(error.to_string());
                let remaining = held
                    .current
                    .load()
                    .as_ref()
                    .and_then(|i| i.not_after.duration_since(SystemTime::now()).ok());
                Due::after(Now::read(), backoff.pause(remaining))
            }
        };
        drop(held);
        while let Some(wait) = due.wait(Now::read(), options.check) {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = trust.changed() => {
                    let Some(held) = entry.upgrade() else { return };
                    if !rebuild(&held, issued.as_ref(), trust.current()) {
                        break;
                    }
                }
            }
        }
    }
}

/// The same certificate under another trust bundle. Whether it still leads to a trusted root: else it is time for a new
/// one, and until then the old one may serve with peers that still trust it.
fn rebuild(entry: &Entry, issued: Option<&Issued>, trust: Option<TrustBundle>) -> bool {
    let (Some(issued), Some(trust)) = (issued, trust) else {
        return true;
    };
    match Identity::new(&entry.id, &issued.key, &issued.chain, &trust) {
        Ok(identity) => entry.publish(identity),
        Err(error) => entry.failed(format!("trust bundle: {error}")),
    }
    let leaf = issued.chain.first();
    leaf.is_some_and(|leaf| trusted(leaf, &issued.chain, &trust).unwrap_or(false))
}

async fn issue(
    manager: &Inner,
    id: &SpiffeId,
    trust: Option<TrustBundle>,
) -> Result<(Issued, Identity), CaError> {
    let answer = |why: String| CaError::Answer {
        id: id.clone(),
        why,
    };
    let crypto = |error: ErrorStack| answer(error.to_string());
    // The semaphore is never closed.
    let _slot = manager.requests.acquire().await;
    let request = csr::new_request(id).map_err(crypto)?;
    let limit = manager.options.request;
    let signed = tokio::time::timeout(limit, manager.source.sign(id, &request.pem));
    let texts = signed.await.map_err(|_| CaError::Timeout(limit))??;
    let chain = x509::from_pems(texts.iter().map(String::as_str)).map_err(crypto)?;
    let trust = match trust {
        Some(trust) => trust,
        // No bundle yet: the authority proved itself on its channel, and its roots come last.
        None => TrustBundle::from_certificates(chain.last().cloned().into_iter().collect())
            .map_err(|error| answer(error.to_string()))?,
    };
    check(id, &request.key, &chain, &trust).map_err(answer)?;
    let identity = Identity::new(id, &request.key, &chain, &trust).map_err(crypto)?;
    if !identity.is_valid() {
        return Err(answer("it is not valid now".to_owned()));
    }
    Ok((
        Issued {
            key: request.key,
            chain,
        },
        identity,
    ))
}

fn check(
    id: &SpiffeId,
    key: &PKey<Private>,
    chain: &[X509],
    trust: &TrustBundle,
) -> Result<(), String> {
    let leaf = chain.first().ok_or("the answer is empty")?;
    let named = x509::spiffe_id(leaf).map_err(|error| error.to_string())?;
    if named != *id {
        return Err(format!("it is for {named}"));
    }
    let own_key = leaf.public_key().is_ok_and(|public| public.public_eq(key));
    if !own_key {
        return Err("it is for another key".to_owned());
    }
    match trusted(leaf, chain, trust) {
        Ok(true) => Ok(()),
        Ok(false) => Err("it leads to no root of the trust bundle".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn trusted(leaf: &X509, chain: &[X509], trust: &TrustBundle) -> Result<bool, ErrorStack> {
    let mut store = X509StoreBuilder::new()?;
    for root in trust.roots() {
        store.add_cert(root)?;
    }
    let mut others = Stack::new()?;
    for certificate in chain.iter().skip(1) {
        others.push(certificate.clone())?;
    }
    X509StoreContext::new()?.init(&store.build(), leaf, &others, |context| {
        context.verify_cert()
    })
}
