//! The certificate authority as Kubernetes keeps it: the Secret `culvert-ca`, made once, and the ConfigMap
//! `culvert-ca-root` with what everybody trusts.
//!
//! Invariants: of several replicas that start at once one makes the root and all use it; a Secret that is there and
//! cannot be used ends the start: a new root in its place would cut off everybody who trusts the old one. What replaces
//! it while controllers run counts at once, in the order that [`Rotation`] keeps.

mod follow;
mod rotation;

use std::collections::BTreeMap;

use culvert_identity::TrustDomain;
use culvert_identity::ca::{PemError, Pems, Root};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

pub use follow::Follower;
pub use rotation::{Authority, Published, Rotation};

/// The Secret.
pub const SECRET: &str = "culvert-ca";
/// The ConfigMap, and its key.
pub const ROOTS: (&str, &str) = ("culvert-ca-root", "root.crt");
/// Another key of it: until when roots that no longer sign are trusted.
const RETIRED: &str = "retired.json";
/// Annotation of the Secret: no root before this one is trusted any more, what it signed neither.
const ALONE: &str = "culvert.dev/trust-only-this-root";
const CHAIN: &str = "ca.crt";
const KEY: &str = "ca.key";
const ROOT: &str = "root.crt";
/// Who we are to the API server when fields are managed.
const MANAGER: &str = "culvert-controller";

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each says what it wraps")]
pub enum AuthorityError {
    #[error("Secret {namespace}/{SECRET}: {source}")]
    Api {
        namespace: String,
        source: Box<kube::Error>,
    },
    #[error(
        "Secret {namespace}/{SECRET}: {key} {why}; restore the Secret, since every certificate of the mesh comes from it, \
         or delete it to begin with a new root"
    )]
    Damaged {
        namespace: String,
        key: &'static str,
        why: &'static str,
    },
    #[error(
        "Secret {namespace}/{SECRET}: {source}; restore the Secret, since every certificate of the mesh comes from it, \
         or delete it to begin with a new root"
    )]
    Unusable { namespace: String, source: PemError },
    #[error("ConfigMap {namespace}/culvert-ca-root: {source}")]
    Published {
        namespace: String,
        source: Box<kube::Error>,
    },
    #[error("making a root: {0}")]
    Make(#[source] PemError),
}

/// The authority of the Secret, which is made if there is none.
pub async fn load(
    client: &Client,
    namespace: &str,
    trust_domain: TrustDomain,
) -> Result<Authority, AuthorityError> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let api = |source| AuthorityError::Api {
        namespace: namespace.into(),
        source: Box::new(source),
    };
    loop {
        if let Some(secret) = secrets.get_opt(SECRET).await.map_err(api)? {
            return authority(&secret, namespace, trust_domain);
        }
        let made = Root::generate(&trust_domain).map_err(AuthorityError::Make)?;
        match secrets.create(&PostParams::default(), &secret(made)).await {
            Ok(_) => tracing::info!(namespace, secret = SECRET, "a new root was made"),
            // Another replica was faster: its root is ours too.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(api(error)),
        }
    }
}

/// The authority of a Secret.
fn authority(
    secret: &Secret,
    namespace: &str,
    trust_domain: TrustDomain,
) -> Result<Authority, AuthorityError> {
    let pems = pems(secret, namespace)?;
    let alone = secret.metadata.annotations.as_ref();
    let alone = alone.is_some_and(|all| all.get(ALONE).is_some_and(|value| value == "true"));
    let root = Root::from_pems(&pems, trust_domain);
    let made = root.and_then(|root| Ok(Authority::new(pems, alone, root)?));
    made.map_err(|source| AuthorityError::Unusable {
        namespace: namespace.into(),
        source,
    })
}

/// What was published before this start.
pub async fn published(client: &Client, namespace: &str) -> Result<Published, AuthorityError> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let map = maps.get_opt(ROOTS.0).await;
    let map = map.map_err(|source| AuthorityError::Published {
        namespace: namespace.into(),
        source: Box::new(source),
    })?;
    let data = map.and_then(|map| map.data).unwrap_or_default();
    let text = |key: &str| data.get(key).map(String::as_str).unwrap_or_default();
    Ok(Published::parse(text(ROOTS.1), text(RETIRED)))
}

fn pems(secret: &Secret, namespace: &str) -> Result<Pems, AuthorityError> {
    let text = |key: &'static str| {
        let damaged = |why| AuthorityError::Damaged {
            namespace: namespace.into(),
            key,
            why,
        };
        let data = secret.data.as_ref().and_then(|data| data.get(key));
        let Some(ByteString(bytes)) = data else {
            return Ok(None);
        };
        let text = String::from_utf8(bytes.clone()).map_err(|_| damaged("is no text"))?;
        Ok(Some(text))
    };
    let needed = |key: &'static str| {
        text(key)?.ok_or(AuthorityError::Damaged {
            namespace: namespace.into(),
            key,
            why: "is missing",
        })
    };
    Ok(Pems {
        key: needed(KEY)?,
        chain: needed(CHAIN)?,
        roots: text(ROOT)?,
    })
}

fn secret(pems: Pems) -> Secret {
    let data = [(KEY, pems.key), (CHAIN, pems.chain)];
    let bytes = |(key, text): (&str, String)| (key.to_owned(), ByteString(text.into_bytes()));
    Secret {
        metadata: ObjectMeta {
            name: Some(SECRET.into()),
            labels: Some(labels()),
            ..ObjectMeta::default()
        },
        data: Some(data.into_iter().map(bytes).collect()),
        ..Secret::default()
    }
}

fn labels() -> BTreeMap<String, String> {
    let pairs = [
        ("app.kubernetes.io/name", "culvert-controller"),
        ("app.kubernetes.io/part-of", "culvert"),
    ];
    let owned = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
    owned.into_iter().collect()
}

/// Put what everybody trusts where clients mount it, unless it is there.
pub async fn publish(
    client: &Client,
    namespace: &str,
    trusted: &Published,
) -> Result<(), kube::Error> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let (name, key) = ROOTS;
    let roots = trusted.roots.concat();
    let before = maps.get_opt(name).await?.and_then(|map| map.data);
    let before = before.unwrap_or_default();
    let retired = before.get(RETIRED).map(String::as_str).unwrap_or_default();
    let said = Published::parse("", retired).retired;
    // Replicas need not agree to the second on when a root goes.
    let same = said.keys().eq(trusted.retired.keys());
    if before.get(key) == Some(&roots) && same {
        return Ok(());
    }
    let mut data = json!({ key: roots });
    if !trusted.retired.is_empty() {
        data[RETIRED] = json!(trusted.retired).to_string().into();
    }
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "labels": labels()},
        "data": data,
    });
    let params = PatchParams::apply(MANAGER).force();
    maps.patch(name, &params, &Patch::Apply(&map)).await?;
    tracing::info!(namespace, name, "the root certificate was published");
    Ok(())
}

#[cfg(test)]
mod tests;
