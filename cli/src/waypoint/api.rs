//! What of the cluster a waypoint has to do with.

use std::fmt;
use std::path::Path;

use anyhow::{Context as _, Result};
use culvert_kube::{Access, connect};
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client, Resource, ResourceExt as _};
use serde_json::{Value, json};

use super::object::{CLASS, USE_WAYPOINT, USE_WAYPOINT_NAMESPACE};

/// Who we are to the API server when fields are managed.
const MANAGER: &str = "culvert";

/// A cluster, and a namespace of it.
pub(crate) struct Cluster {
    client: Client,
    namespace: String,
}

/// Something that asks for a waypoint by its label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) kind: &'static str,
    pub(super) namespace: String,
    pub(super) name: String,
}

impl User {
    pub(super) fn full_name(&self) -> String {
        if self.namespace.is_empty() {
            self.name.clone()
        } else {
            format!("{}/{}", self.namespace, self.name)
        }
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.full_name())
    }
}

impl Cluster {
    pub(crate) async fn connect(
        kubeconfig: Option<&Path>,
        namespace: Option<&str>,
    ) -> Result<Self> {
        let client = connect(&Access::of(kubeconfig)).await;
        let client = client.context("reaching the cluster")?;
        let namespace = namespace
            .unwrap_or_else(|| client.default_namespace())
            .to_owned();
        Ok(Self { client, namespace })
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    fn gateways_of(&self, all: bool) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "Gateway");
        let resource = ApiResource::from_gvk(&kind);
        if all {
            Api::all_with(self.client.clone(), &resource)
        } else {
            Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
        }
    }

    /// ListenerSets that name a Gateway of the namespace: of all namespaces, or of those that one may look into.
    pub(crate) async fn listener_sets(&self, gateway: &str) -> Result<Vec<Value>> {
        let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "ListenerSet");
        let resource = ApiResource::from_gvk(&kind);
        let all: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
        let own = Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
        let mut listed = all.list(&ListParams::default()).await;
        if matches!(&listed, Err(kube::Error::Api(status)) if status.code == 403) {
            listed = own.list(&ListParams::default()).await;
        }
        let sets = match listed {
            Ok(list) => list.items,
            // No such kind, or not for this person to see.
            Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => Vec::new(),
            Err(error) => return Err(error).context("listing ListenerSets"),
        };
        let values = sets.into_iter().map(serde_json::to_value);
        let mut values: Vec<Value> = values.collect::<Result<_, _>>()?;
        values.retain(|set| {
            let parent = &set["spec"]["parentRef"];
            let namespace = parent["namespace"].as_str();
            let namespace = namespace.or(set["metadata"]["namespace"].as_str());
            parent["kind"].as_str().unwrap_or("Gateway") == "Gateway"
                && parent["name"] == gateway
                && namespace == Some(&*self.namespace)
        });
        Ok(values)
    }

    /// A Gateway of any class.
    pub(crate) async fn gateway(&self, name: &str) -> Result<Option<Value>> {
        let found = self.gateways_of(false).get_opt(name).await;
        let found = found.with_context(|| format!("reading Gateway {}/{name}", self.namespace))?;
        Ok(found.map(serde_json::to_value).transpose()?)
    }

    /// All waypoints.
    pub(super) async fn waypoints(&self, all: bool) -> Result<Vec<Value>> {
        self.of_classes(&[CLASS.to_owned()], all).await
    }

    /// All Gateways of these classes.
    pub(crate) async fn of_classes(&self, classes: &[String], all: bool) -> Result<Vec<Value>> {
        let list = self.gateways_of(all).list(&ListParams::default()).await;
        let list = list.context("listing Gateways (are the Gateway API's CRDs installed?)")?;
        let mut found = Vec::new();
        for gateway in list.items {
            let class = gateway.data.pointer("/spec/gatewayClassName");
            let class = class.and_then(Value::as_str).unwrap_or_default();
            if classes.iter().any(|name| name == class) {
                found.push(serde_json::to_value(gateway)?);
            }
        }
        Ok(found)
    }

    /// The names of the classes that name this controller.
    pub(crate) async fn classes(&self, controller: &str) -> Result<Vec<String>> {
        let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "GatewayClass");
        let resource = ApiResource::from_gvk(&kind);
        let classes: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
        let list = classes.list(&ListParams::default()).await;
        let list =
            list.context("listing GatewayClasses (are the Gateway API's CRDs installed?)")?;
        let ours = |class: &&DynamicObject| class.data["spec"]["controllerName"] == controller;
        let names = list.items.iter().filter(ours);
        Ok(names.map(DynamicObject::name_any).collect())
    }

    pub(super) async fn apply(&self, name: &str, gateway: &Value) -> Result<()> {
        let params = PatchParams::apply(MANAGER).force();
        let applied = self
            .gateways_of(false)
            .patch(name, &params, &Patch::Apply(gateway))
            .await;
        applied.with_context(|| format!("applying Gateway {}/{name}", self.namespace))?;
        Ok(())
    }

    pub(super) async fn delete(&self, name: &str) -> Result<()> {
        let deleted = self
            .gateways_of(false)
            .delete(name, &DeleteParams::default())
            .await;
        deleted.with_context(|| format!("deleting Gateway {}/{name}", self.namespace))?;
        Ok(())
    }

    /// Have the whole namespace use a waypoint of its own, or none.
    pub(super) async fn label_namespace(&self, waypoint: Option<&str>) -> Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let labels = json!({USE_WAYPOINT: waypoint, USE_WAYPOINT_NAMESPACE: null});
        let patch = Patch::Merge(json!({"metadata": {"labels": labels}}));
        let patched = namespaces
            .patch(&self.namespace, &PatchParams::default(), &patch)
            .await;
        patched.with_context(|| format!("labelling namespace {}", self.namespace))?;
        Ok(())
    }

    /// Whether the namespace itself asks for a waypoint of its own.
    pub(super) async fn namespace_uses(&self, waypoint: &str) -> Result<bool> {
        let users = self.users(waypoint).await?;
        Ok(users
            .iter()
            .any(|user| user.kind == "Namespace" && user.name == self.namespace))
    }

    /// All that ask for a waypoint of this namespace.
    pub(super) async fn users(&self, waypoint: &str) -> Result<Vec<User>> {
        let mut users = Vec::new();
        users.extend(self.labelled::<Namespace>("Namespace", waypoint).await?);
        users.extend(self.labelled::<Service>("Service", waypoint).await?);
        users.extend(self.labelled::<Pod>("Pod", waypoint).await?);
        Ok(users)
    }

    async fn labelled<K>(&self, kind: &'static str, waypoint: &str) -> Result<Vec<User>>
    where
        K: Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + fmt::Debug,
    {
        let objects: Api<K> = Api::all(self.client.clone());
        let params = ListParams::default().labels(&format!("{USE_WAYPOINT}={waypoint}"));
        let list = objects.list_metadata(&params).await;
        let list = list.with_context(|| format!("looking for a {kind} that uses {waypoint}"))?;
        let user = |object: &kube::core::PartialObjectMeta<K>| {
            let own = object.namespace().unwrap_or_else(|| object.name_any());
            let asked = object.labels().get(USE_WAYPOINT_NAMESPACE).unwrap_or(&own);
            (*asked == self.namespace).then(|| User {
                kind,
                namespace: object.namespace().unwrap_or_default(),
                name: object.name_any(),
            })
        };
        Ok(list.items.iter().filter_map(user).collect())
    }
}
