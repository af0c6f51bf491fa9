//! The Gateway that serves Ingresses: made in our own namespace with the first one that is ours, removed with the last.
//!
//! It is deployed like any other, from its object. What its listeners are is told by Ingresses; those of the object are but
//! its ports. Invariant: a Gateway of its name that is not marked as ours is neither written nor removed.

use std::sync::Arc;

use k8s_openapi::api::networking::v1::IngressClass;
use kube::api::{DeleteParams, DynamicObject, Preconditions};
use kube::{Api, ResourceExt as _};
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::apply::{ApplyError, Owner, apply};
use super::run::{Deployer, REFRESH, RETRY, resource};
use super::{MANAGED_BY, MANAGER};
use crate::keys;
use crate::model::NsName;
use crate::world::Ingresses;

/// The class of Ingresses that is installed. What its annotations say of the Service and of instances holds for the
/// Gateway.
const CLASS: &str = "culvert";
const CARRIED: [&str; 2] = [keys::SERVICE_TYPE, keys::GATEWAY_REPLICAS];

/// Why the Gateway is not as it should be.
#[derive(Debug, thiserror::Error)]
enum IngressError {
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error("{0}: {1}")]
    Api(&'static str, kube::Error),
}

/// Make and remove the Gateway as Ingresses come and go. Never ends.
pub(super) async fn follow(deployer: Arc<Deployer>) {
    let ingresses = Ingresses::served_in(&deployer.settings.namespace);
    let name = ingresses.gateway();
    let mut snapshots = deployer.heard.snapshots.clone();
    loop {
        let wanted = snapshots.borrow_and_update().gateways.contains_key(name);
        let done = if wanted {
            deployer.make(name).await
        } else {
            deployer.remove(name).await
        };
        let pause = match done {
            Ok(()) => REFRESH,
            Err(error) => {
                tracing::warn!(gateway = %name, %error, "the Gateway for Ingresses is not as it should be");
                RETRY
            }
        };
        let turned = snapshots.wait_for(|now| now.gateways.contains_key(name) != wanted);
        if let Ok(Err(_closed)) = timeout(pause, turned).await.map(|turned| turned.map(drop)) {
            // The program ends.
            std::future::pending::<()>().await;
        }
    }
}

impl Deployer {
    async fn make(&self, name: &NsName) -> Result<(), IngressError> {
        let classes: Api<IngressClass> = Api::all(self.client.clone());
        let class = classes.get_opt(CLASS).await;
        let class = class.map_err(|error| IngressError::Api("IngressClass culvert", error))?;
        let object = object(name, class.as_ref());
        apply(&self.client, &object, Owner::Shared).await?;
        Ok(())
    }

    async fn remove(&self, name: &NsName) -> Result<(), IngressError> {
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &name.namespace, &resource());
        let failed = |error| IngressError::Api("the Gateway for Ingresses", error);
        let before = match api.get_opt(&name.name).await {
            Ok(before) => before,
            // Without the Gateway API there is none.
            Err(kube::Error::Api(status)) if status.code == 404 => None,
            Err(error) => return Err(failed(error)),
        };
        let Some(before) = before.filter(is_ours) else {
            return Ok(());
        };
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: before.uid(),
                ..Preconditions::default()
            }),
            ..DeleteParams::default()
        };
        match api.delete(&name.name, &params).await {
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            done => done.map(drop).map_err(failed),
        }
    }
}

fn is_ours(gateway: &DynamicObject) -> bool {
    let by = gateway.labels().get(MANAGED_BY);
    by.is_some_and(|by| by == MANAGER)
}

fn object(name: &NsName, class: Option<&IngressClass>) -> Value {
    let annotations = class.map(carried).unwrap_or_default();
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {
            "name": name.name,
            "namespace": name.namespace,
            "labels": {MANAGED_BY: MANAGER, "app.kubernetes.io/part-of": "culvert"},
            "annotations": annotations,
        },
        "spec": {
            "gatewayClassName": culvert_enrolment::GATEWAY_CLASS,
            "listeners": [
                {"name": "http", "port": 80, "protocol": "HTTP"},
                // Which certificates, Ingresses say. The API wants one or an option.
                {"name": "https", "port": 443, "protocol": "HTTPS",
                 "tls": {"mode": "Terminate", "options": {"culvert.dev/certificates": "ingresses"}}},
            ],
        },
    })
}

/// What the class says that holds for the Gateway.
fn carried(class: &IngressClass) -> Map<String, Value> {
    let annotations = class.annotations();
    let carried = CARRIED.iter().filter_map(|key| {
        let value = annotations.get(*key)?;
        Some(((*key).to_owned(), value.as_str().into()))
    });
    carried.collect()
}

#[cfg(test)]
mod tests;
