//! Objects of any kind in the cluster: apply, look, delete.
//!
//! Invariant: what is applied is ours by server-side apply under one name, so that fields of others stay as they are and
//! applying twice changes nothing.

use std::cell::RefCell;
use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow};
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams,
    PropagationPolicy,
};
use kube::core::GroupVersionKind;
use kube::discovery::{self, Scope};
use kube::{Client, Error};
use serde_json::Value;

/// Who applies.
const MANAGER: &str = "culvert";
/// Where the mesh lives.
pub(crate) const NAMESPACE: &str = culvert_enrolment::SYSTEM_NAMESPACE;

/// A cluster.
pub(crate) struct Cluster {
    client: Client,
    kinds: RefCell<BTreeMap<(String, String), (ApiResource, Scope)>>,
}

/// What applying did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Created,
    Configured,
    Unchanged,
}

impl Cluster {
    /// The cluster of this kubeconfig, else of the environment.
    pub(crate) async fn connect(kubeconfig: Option<&std::path::Path>) -> Result<Self> {
        let client = culvert_kube::connect(&culvert_kube::Access::of(kubeconfig)).await?;
        client
            .apiserver_version()
            .await
            .context("the API server does not answer")?;
        Ok(Self {
            client,
            kinds: RefCell::default(),
        })
    }

    /// A kind and its scope; `None` if the cluster does not know it.
    async fn kind(&self, version: &str, kind: &str) -> Result<Option<(ApiResource, Scope)>> {
        let key = (version.to_owned(), kind.to_owned());
        if let Some(found) = self.kinds.borrow().get(&key) {
            return Ok(Some(found.clone()));
        }
        let (group, number) = version.split_once('/').unwrap_or(("", version));
        let gvk = GroupVersionKind::gvk(group, number, kind);
        let found = match discovery::pinned_kind(&self.client, &gvk).await {
            Ok((resource, capabilities)) => (resource, capabilities.scope),
            Err(Error::Discovery(_)) => return Ok(None),
            Err(Error::Api(status)) if status.code == 404 => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("{version} {kind}")),
        };
        self.kinds.borrow_mut().insert(key, found.clone());
        Ok(Some(found))
    }

    /// Whether the cluster knows this kind.
    pub(crate) async fn knows(&self, version: &str, kind: &str) -> Result<bool> {
        Ok(self.kind(version, kind).await?.is_some())
    }

    /// All objects of a kind, or those of one namespace.
    async fn api(
        &self,
        version: &str,
        kind: &str,
        namespace: Option<&str>,
    ) -> Result<Api<DynamicObject>> {
        let found = self.kind(version, kind).await?;
        let (resource, scope) =
            found.ok_or_else(|| anyhow!("the cluster does not know the kind {version} {kind}"))?;
        let client = self.client.clone();
        Ok(match (scope, namespace) {
            (Scope::Namespaced, Some(namespace)) => {
                Api::namespaced_with(client, namespace, &resource)
            }
            _ => Api::all_with(client, &resource),
        })
    }

    async fn api_of(&self, object: &Value) -> Result<Api<DynamicObject>> {
        let namespace = object["metadata"]["namespace"].as_str();
        self.api(text(object, "apiVersion"), text(object, "kind"), namespace)
            .await
    }

    /// Make it so.
    pub(crate) async fn apply(&self, object: &Value) -> Result<Outcome> {
        let api = self.api_of(object).await?;
        let name = name(object);
        let context = || format!("applying {}", title(object));
        let before = api.get_opt(name).await.with_context(context)?;
        let params = PatchParams::apply(MANAGER).force();
        let after = api.patch(name, &params, &Patch::Apply(object)).await;
        let after = after.with_context(context)?;
        Ok(match before {
            None => Outcome::Created,
            Some(before) if substance(&before)? == substance(&after)? => Outcome::Unchanged,
            Some(_) => Outcome::Configured,
        })
    }

    /// The object as it is now.
    pub(crate) async fn get(&self, object: &Value) -> Result<Option<Value>> {
        let found = self.api_of(object).await?.get_opt(name(object)).await;
        let found = found.with_context(|| title(object))?;
        Ok(found.map(serde_json::to_value).transpose()?)
    }

    /// Delete it and what it owns. Whether it was there.
    pub(crate) async fn delete(&self, object: &Value) -> Result<bool> {
        if !self
            .knows(text(object, "apiVersion"), text(object, "kind"))
            .await?
        {
            return Ok(false);
        }
        let api = self.api_of(object).await?;
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Foreground),
            ..DeleteParams::default()
        };
        match api.delete(name(object), &params).await {
            Ok(_) => Ok(true),
            Err(Error::Api(status)) if status.code == 404 => Ok(false),
            Err(error) => Err(error).with_context(|| format!("deleting {}", title(object))),
        }
    }

    /// All objects of a kind that a selector names, page by page.
    pub(crate) async fn list(
        &self,
        version: &str,
        kind: &str,
        namespace: Option<&str>,
        params: ListParams,
    ) -> Result<Vec<Value>> {
        let api = self.api(version, kind, namespace).await?;
        let mut params = params.limit(500);
        let mut objects = Vec::new();
        loop {
            let page = api
                .list(&params)
                .await
                .with_context(|| format!("listing {kind}"))?;
            for object in page.items {
                let mut object = serde_json::to_value(object)?;
                // Lists leave out what is the same for all.
                object["apiVersion"] = version.into();
                object["kind"] = kind.into();
                objects.push(object);
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => return Ok(objects),
            }
        }
    }

    /// Change a pod's status.
    pub(crate) async fn patch_pod_status(
        &self,
        namespace: &str,
        pod: &str,
        patch: &Value,
    ) -> Result<()> {
        let api = self.api("v1", "Pod", Some(namespace)).await?;
        let params = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        match api
            .patch_status(pod, &params, &Patch::Strategic(patch))
            .await
        {
            Ok(_) => Ok(()),
            Err(Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error).with_context(|| format!("pod {namespace}/{pod}")),
        }
    }
}

/// An object without the accounts that the API server keeps of it and what others report on it.
fn substance(object: &DynamicObject) -> Result<Value> {
    let mut value = serde_json::to_value(object)?;
    if let Some(fields) = value.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = value["metadata"].as_object_mut() {
        metadata.retain(|key, _| !["managedFields", "resourceVersion"].contains(&key.as_str()));
    }
    Ok(value)
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field].as_str().unwrap_or_default()
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// How an object is called.
pub(crate) fn title(object: &Value) -> String {
    let kind = text(object, "kind").to_ascii_lowercase();
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) if namespace != NAMESPACE => format!("{kind}/{namespace}/{}", name(object)),
        _ => format!("{kind}/{}", name(object)),
    }
}
