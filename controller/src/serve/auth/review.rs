//! Service-account tokens, by the API server's word on them.
//!
//! Invariants: a token counts only for our audience; the node is the one that the API server says the token's pod runs on;
//! a waypoint or gateway is whose pod carries its Gateway's name, and has the service account of that name, and no other.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ApiResource, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client as Kube};
use serde_json::Value;
use tokio::time::Instant;

use super::Denial;
use super::cache::Cache;
use crate::admit::is_ours;
use crate::engine::Client;
use crate::model::NsName;

/// What our components' tokens are for.
pub const AUDIENCE: &str = "culvert-ca";
/// Which pod and node a token is bound to.
const NODE: &str = "authentication.kubernetes.io/node-name";
const POD: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";
/// Label on a waypoint's pods.
const GATEWAY: &str = "gateway.networking.k8s.io/gateway-name";
/// Service accounts of the controller's namespace that act for their node.
const NODE_ACCOUNTS: [&str; 2] = ["culvert-agent", "culvert-ztunnel"];
/// No token is longer.
const LONGEST: usize = 16 * 1024;

/// Asks the API server.
pub struct Reviewer {
    client: Kube,
    namespace: String,
    cache: Cache,
}

impl std::fmt::Debug for Reviewer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reviewer").finish_non_exhaustive()
    }
}

impl Reviewer {
    /// Agents and ztunnels run in `namespace`.
    #[must_use]
    pub fn new(client: Kube, namespace: String) -> Self {
        Self {
            client,
            namespace,
            cache: Cache::default(),
        }
    }

    pub(super) async fn verify(&self, token: &str) -> Result<Client, Denial> {
        if token.len() > LONGEST {
            return Err("the token is too long".into());
        }
        if let Some(answer) = self.cache.get(token, Instant::now()) {
            return answer;
        }
        let answer = self.ask(token).await;
        self.cache
            .put(token, &answer, expiry(token), Instant::now());
        answer
    }

    async fn ask(&self, token: &str) -> Result<Client, Denial> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                audiences: Some(vec![AUDIENCE.into()]),
                token: token.into(),
            },
            ..TokenReview::default()
        };
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        let review = reviews.create(&PostParams::default(), &review).await;
        let status = review.map_err(unknown)?.status.unwrap_or_default();
        if status.authenticated != Some(true) {
            let reason = status.error.unwrap_or_default();
            return Err(format!("the API server does not know the token: {reason}").into());
        }
        // An API server that knows no audiences leaves them out.
        let audiences = status.audiences.unwrap_or_default();
        if !audiences.iter().any(|audience| audience == AUDIENCE) {
            return Err(format!("the token is not for audience {AUDIENCE}").into());
        }
        let bound = Bound::of(&status.user.unwrap_or_default())?;
        if *bound.account.namespace == *self.namespace
            && NODE_ACCOUNTS.contains(&&*bound.account.name)
        {
            let node = bound.node.ok_or("the token is bound to no node")?;
            return Ok(Client::Node(node.into()));
        }
        self.waypoint(bound).await
    }

    async fn waypoint(&self, bound: Bound) -> Result<Client, Denial> {
        let Bound { account, pod, .. } = bound;
        let (name, uid) = pod.ok_or("the token is bound to no pod")?;
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &account.namespace);
        let pod = pods.get_opt(&name).await.map_err(unknown)?;
        let pod = pod.filter(|pod| pod.metadata.uid.as_deref() == Some(&*uid));
        let pod = pod.ok_or_else(|| format!("the token's pod {name} is gone"))?;
        let label = pod
            .metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(GATEWAY));
        if label.map(String::as_str) != Some(&*account.name) {
            return Err(format!(
                "service account {account} is none of an agent, ztunnel or waypoint"
            )
            .into());
        }
        let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "Gateway");
        let gateways: Api<DynamicObject> = Api::namespaced_with(
            self.client.clone(),
            &account.namespace,
            &ApiResource::from_gvk(&kind),
        );
        let gateway = gateways.get_opt(&account.name).await.map_err(unknown)?;
        let class = gateway.map(|gateway| gateway.data["spec"]["gatewayClassName"].clone());
        if !class.as_ref().and_then(Value::as_str).is_some_and(is_ours) {
            return Err(format!("there is no Gateway {account} of a class of ours").into());
        }
        Ok(Client::Waypoint(account))
    }
}

/// Whom a token is for.
struct Bound {
    account: NsName,
    node: Option<String>,
    pod: Option<(String, String)>,
}

impl Bound {
    fn of(user: &UserInfo) -> Result<Self, Denial> {
        let name = user.username.as_deref().unwrap_or_default();
        let account = name
            .strip_prefix("system:serviceaccount:")
            .and_then(|name| name.split_once(':'))
            .filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty());
        let (namespace, account) =
            account.ok_or_else(|| format!("{name:?} is no service account"))?;
        let extra: BTreeMap<_, _> = user.extra.clone().unwrap_or_default().into_iter().collect();
        let one = |key: &str| match extra.get(key).map(Vec::as_slice) {
            Some([one]) if !one.is_empty() => Some(one.clone()),
            _ => None,
        };
        Ok(Self {
            account: NsName::new(namespace, account),
            node: one(NODE),
            pod: one(POD).zip(one(POD_UID)),
        })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err wants it")]
fn unknown(error: kube::Error) -> Denial {
    Denial::Unknown(format!("the API server cannot be asked: {error}"))
}

/// When a token says that it ends. Only ever shortens what the API server's answer is worth.
fn expiry(token: &str) -> Option<u64> {
    let payload = token.split('.').nth(1)?;
    let claims = URL_SAFE_NO_PAD.decode(payload).ok()?;
    serde_json::from_slice::<Value>(&claims).ok()?["exp"].as_u64()
}

#[cfg(test)]
mod tests;
