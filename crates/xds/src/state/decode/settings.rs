//! `culvert.node.v1.MeshSettings` and `culvert.node.v1.TrustBundle`.

use std::sync::Arc;

use culvert_identity::{TrustBundle, TrustDomain};
use culvert_proto::node as proto;
use ipnet::IpNet;
use prost::Message as _;

use super::{Result, invalid, named, required};
use crate::state::settings::{Settings, TrustRoots};

/// The name of the one resource of each of these types.
const DEFAULT: &str = "default";

const PEM_BEGIN: &str = "-----BEGIN CERTIFICATE-----";

/// Validates the mesh's settings.
pub(in crate::state) fn decode_settings(name: &str, body: &[u8]) -> Result<Settings> {
    named("name", name, DEFAULT)?;
    let settings = proto::MeshSettings::decode(body)?;
    let mut cluster_cidrs = Vec::with_capacity(settings.cluster_cidrs.len());
    for (index, text) in settings.cluster_cidrs.iter().enumerate() {
        match text.parse::<IpNet>() {
            Ok(net) => cluster_cidrs.push(net),
            Err(error) => {
                return invalid(
                    format_args!("cluster_cidrs[{index}]"),
                    format_args!("{text:?}: {error}"),
                );
            }
        }
    }
    let namespaces = settings.network_policy_namespaces.into_iter();
    let mut network_policy_namespaces: Vec<Arc<str>> = namespaces.map(Arc::from).collect();
    network_policy_namespaces.sort_unstable();
    Ok(Settings {
        trust_domain: trust_domain(&settings.trust_domain)?,
        cluster_id: settings.cluster_id.into(),
        root_namespace: required("root_namespace", &settings.root_namespace)?.into(),
        cluster_cidrs,
        cluster_domain: required("cluster_domain", &settings.cluster_domain)?.into(),
        refuse_udp_when_strict: settings.refuse_udp_when_strict,
        same_node_in_process: settings.same_node_in_process,
        network_policy_namespaces,
        registry_only: settings.registry_only,
    })
}

/// Validates the trust bundle.
pub(in crate::state) fn decode_trust_bundle(name: &str, body: &[u8]) -> Result<TrustRoots> {
    named("name", name, DEFAULT)?;
    let bundle = proto::TrustBundle::decode(body)?;
    for (index, root) in bundle.roots.iter().enumerate() {
        if root.matches(PEM_BEGIN).count() != 1 {
            return invalid(format_args!("roots[{index}]"), "is not one PEM certificate");
        }
    }
    let parsed = TrustBundle::from_pem(&bundle.roots).or_else(|error| invalid("roots", error))?;
    Ok(TrustRoots {
        trust_domain: trust_domain(&bundle.trust_domain)?,
        roots: bundle.roots,
        bundle: parsed,
    })
}

fn trust_domain(text: &str) -> Result<Arc<str>> {
    match TrustDomain::new(text) {
        Ok(name) => Ok(name.as_str().into()),
        Err(error) => invalid("trust_domain", error),
    }
}
