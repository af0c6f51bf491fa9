//! The CustomResourceDefinitions of Culvert's kinds, made from the Rust types that read them ([`crate::api`]).
//!
//! Invariant: what [`crate::admit`] refuses of an object on its own, a Kubernetes API server refuses already, as far as
//! its expressions (CEL) can say it within their cost limits. Each kind has its rules in [`rules`].

mod rules;
mod schema;
mod status;

use schemars::JsonSchema;
use serde_json::{Value, json};

use crate::api;
use crate::model::Kind;
use schema::PathError;

const GROUP: &str = "culvert.dev";
const VERSION: &str = "v1alpha1";

/// What distinguishes a kind's definition, besides its fields.
struct Definition {
    kind: Kind,
    plural: &'static str,
    short: &'static str,
    spec: Value,
    /// Of the whole object: CEL rules and their messages.
    rules: Value,
    /// Columns of `kubectl get`: name and path.
    columns: &'static [(&'static str, &'static str)],
}

/// All definitions, by name.
pub fn all() -> Result<[Value; 7], PathError> {
    Ok([
        Definition {
            kind: Kind::AuthorizationPolicy,
            plural: "authorizationpolicies",
            short: "culvert-ap",
            spec: spec::<api::AuthorizationPolicySpec>(rules::authorization::apply)?,
            rules: json!([]),
            columns: &[("Action", ".spec.action"), TARGET, ACCEPTED, ENFORCED],
        },
        Definition {
            kind: Kind::EgressPolicy,
            plural: "egresspolicies",
            short: "culvert-ep",
            spec: spec::<api::EgressPolicySpec>(rules::egress::apply)?,
            rules: json!([]),
            columns: &[
                ("Hosts", ".spec.egress[*].to[*].host"),
                ("Blocks", ".spec.egress[*].to[*].cidr"),
                ACCEPTED,
                ENFORCED,
            ],
        },
        fault_policy()?,
        Definition {
            kind: Kind::MeshConfig,
            plural: "meshconfigs",
            short: "culvert-mc",
            spec: spec::<api::MeshConfigSpec>(rules::mesh_config::apply)?,
            rules: rules::mesh_config::object(),
            columns: &[
                ("Trust Domain", ".spec.trustDomain"),
                ("Cluster", ".spec.clusterID"),
                ACCEPTED,
            ],
        },
        Definition {
            kind: Kind::PeerAuthentication,
            plural: "peerauthentications",
            short: "culvert-pa",
            spec: spec::<api::PeerAuthenticationSpec>(rules::peer_authentication::apply)?,
            rules: json!([]),
            columns: &[("Mode", ".spec.mtls.mode"), ACCEPTED],
        },
        Definition {
            kind: Kind::ServiceEntry,
            plural: "serviceentries",
            short: "culvert-se",
            spec: spec::<api::ServiceEntrySpec>(rules::service_entry::apply)?,
            rules: json!([]),
            columns: &[
                ("Hosts", ".spec.hosts[*]"),
                ("Resolution", ".spec.resolution"),
                ("Addresses", ".status.addresses[*].value"),
                ACCEPTED,
                PROGRAMMED,
            ],
        },
        Definition {
            kind: Kind::TrafficPolicy,
            plural: "trafficpolicies",
            short: "culvert-tp",
            spec: spec::<api::TrafficPolicySpec>(rules::traffic::apply)?,
            rules: json!([]),
            columns: &[TARGET, ACCEPTED, ENFORCED],
        },
    ]
    .map(Definition::into_value))
}

fn fault_policy() -> Result<Definition, PathError> {
    Ok(Definition {
        kind: Kind::FaultPolicy,
        plural: "faultpolicies",
        short: "culvert-fp",
        spec: spec::<api::FaultPolicySpec>(rules::fault::apply)?,
        rules: json!([]),
        columns: &[
            TARGET,
            ACCEPTED,
            ENFORCED,
            (
                "State",
                r#".status.conditions[?(@.type=="Enforced")].reason"#,
            ),
            ("Start", ".spec.startTime"),
            ("Duration", ".spec.duration"),
        ],
    })
}

const ACCEPTED: (&str, &str) = (
    "Accepted",
    r#".status.conditions[?(@.type=="Accepted")].status"#,
);
const ENFORCED: (&str, &str) = (
    "Enforced",
    r#".status.conditions[?(@.type=="Enforced")].status"#,
);
const PROGRAMMED: (&str, &str) = (
    "Programmed",
    r#".status.conditions[?(@.type=="Programmed")].status"#,
);
const TARGET: (&str, &str) = ("Target", ".spec.targetRefs[*].name");

fn spec<T: JsonSchema>(
    rules: impl FnOnce(&mut schema::Fields) -> Result<(), PathError>,
) -> Result<Value, PathError> {
    let mut fields = schema::Fields::of::<T>();
    rules(&mut fields)?;
    Ok(fields.into_value())
}

impl Definition {
    fn into_value(self) -> Value {
        let kind = self.kind.as_str();
        let singular = kind.to_lowercase();
        let name = format!("{}.{GROUP}", self.plural);
        let scope = if self.kind.is_cluster_scoped() {
            "Cluster"
        } else {
            "Namespaced"
        };
        let mut columns: Vec<_> = self
            .columns
            .iter()
            .map(|(name, path)| json!({"name": name, "jsonPath": path, "type": "string"}))
            .collect();
        columns.push(
            json!({"name": "Age", "jsonPath": ".metadata.creationTimestamp", "type": "date"}),
        );
        let mut schema = json!({
            "type": "object",
            "required": ["spec"],
            "properties": {
                "apiVersion": {"type": "string"},
                "kind": {"type": "string"},
                "metadata": {"type": "object"},
                "spec": self.spec,
                "status": status::schema(self.kind),
            },
        });
        if self.rules != json!([]) {
            schema["x-kubernetes-validations"] = self.rules;
        }
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": name, "labels": {"app.kubernetes.io/part-of": "culvert"}},
            "spec": {
                "group": GROUP,
                "scope": scope,
                "names": {
                    "kind": kind,
                    "listKind": format!("{kind}List"),
                    "plural": self.plural,
                    "singular": singular,
                    "shortNames": [self.short],
                    "categories": ["culvert"],
                },
                "versions": [{
                    "name": VERSION,
                    "served": true,
                    "storage": true,
                    "additionalPrinterColumns": columns,
                    "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": schema},
                }],
            },
        })
    }
}

/// Each as a file: its name and its YAML.
pub fn files() -> Result<Vec<(String, String)>, PathError> {
    let file = |definition: &Value| {
        let name = definition["metadata"]["name"].as_str().unwrap_or_default();
        (
            format!("{name}.yaml"),
            culvert_runtime::yaml::of(definition),
        )
    };
    Ok(all()?.iter().map(file).collect())
}

#[cfg(test)]
mod tests;
