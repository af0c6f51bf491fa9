//! Reading the cluster.
//!
//! Invariant: what may not be read, or does not exist, is no error here but is said: a check that saw nothing must not
//! look like one that found nothing.

use std::fmt::Debug;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use kube::{Client, Error, Resource};
use serde::de::DeserializeOwned;

use super::agents;
use super::facts::Facts;
use super::finding::{Finding, Severity};

const PAGE: u32 = 500;

/// Kinds without generated types: group, version, kind.
const OTHERS: [(&str, &str, &str); 7] = [
    ("culvert.dev", "v1alpha1", "PeerAuthentication"),
    ("culvert.dev", "v1alpha1", "MeshConfig"),
    ("gateway.networking.k8s.io", "v1", "Gateway"),
    ("gateway.networking.k8s.io", "v1", "HTTPRoute"),
    ("gateway.networking.k8s.io", "v1", "GRPCRoute"),
    ("crd.projectcalico.org", "v1", "FelixConfiguration"),
    ("cilium.io", "v2", "CiliumClusterwideNetworkPolicy"),
];

/// Everything that checks look at.
pub(crate) async fn facts(client: &Client) -> Result<Facts> {
    let version = client
        .apiserver_version()
        .await
        .context("the API server does not answer")?;
    let mut facts = Facts {
        version: version.git_version,
        ..Facts::default()
    };
    let unread = &mut facts.unread;
    facts.nodes = typed(client, unread).await?;
    facts.namespaces = typed(client, unread).await?;
    facts.pods = typed(client, unread).await?;
    facts.services = typed(client, unread).await?;
    facts.network_policies = typed(client, unread).await?;
    facts.ingresses = typed(client, unread).await?;
    facts.daemon_sets = typed(client, unread).await?;
    facts.deployments = typed(client, unread).await?;
    let definitions: Vec<CustomResourceDefinition> = typed(client, unread).await?;
    facts.definitions = definitions
        .into_iter()
        .map(|it| {
            let annotations = it.metadata.annotations.unwrap_or_default();
            let version = annotations
                .get("gateway.networking.k8s.io/bundle-version")
                .cloned();
            (it.metadata.name.unwrap_or_default(), version)
        })
        .collect();
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-system");
    match maps.get_opt("cilium-config").await {
        Ok(map) => facts.cilium = map.map(|it| it.data.unwrap_or_default()),
        Err(error) => refused("ConfigMap kube-system/cilium-config", error, unread)?,
    }
    for (group, version, kind) in OTHERS {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        let objects = pages(&api, kind, unread).await?;
        let values: Result<_, _> = objects.iter().map(serde_json::to_value).collect();
        facts.others.insert(kind, values?);
    }
    facts.agents = agents::ask(client, &facts).await?;
    Ok(facts)
}

async fn typed<K>(client: &Client, unread: &mut Vec<(String, String)>) -> Result<Vec<K>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    pages(&Api::all(client.clone()), &K::kind(&()), unread).await
}

async fn pages<K>(api: &Api<K>, kind: &str, unread: &mut Vec<(String, String)>) -> Result<Vec<K>>
where
    K: Clone + Debug + DeserializeOwned,
{
    let mut params = ListParams::default().limit(PAGE);
    let mut objects = Vec::new();
    loop {
        match api.list(&params).await {
            Ok(page) => {
                objects.extend(page.items);
                params.continue_token = page.metadata.continue_.filter(|it| !it.is_empty());
            }
            // The cluster does not know the kind.
            Err(Error::Api(status)) if status.code == 404 => return Ok(Vec::new()),
            Err(error) => {
                refused(kind, error, unread)?;
                return Ok(Vec::new());
            }
        }
        if params.continue_token.is_none() {
            return Ok(objects);
        }
    }
}

/// What the API server forbids is noted; any other error is one.
fn refused(what: &str, error: Error, unread: &mut Vec<(String, String)>) -> Result<()> {
    match error {
        Error::Api(status) if status.code == 403 => {
            unread.push((what.to_owned(), status.message.clone()));
            Ok(())
        }
        error => Err(error).with_context(|| format!("reading {what}")),
    }
}

/// What could not be looked at.
pub(crate) fn unread(facts: &Facts) -> Vec<Finding> {
    let finding = |(kind, why): &(String, String)| {
        Finding::new(
            Severity::Warning,
            "unread",
            kind.clone(),
            format!("could not be read, and was not checked: {why}"),
            "check with credentials that may list it",
        )
    };
    facts.unread.iter().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_seen_is_said() {
        assert!(unread(&Facts::default()).is_empty());
        let facts = Facts {
            unread: vec![("Pod".into(), "pods is forbidden".into())],
            ..Facts::default()
        };
        let found = unread(&facts);
        assert_eq!(
            (found[0].check, found[0].object.as_str()),
            ("unread", "Pod")
        );
    }
}
