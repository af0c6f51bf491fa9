//! How a client introduces itself to the control plane. The server trusts its token only; this is for people.

use std::collections::BTreeMap;
use std::net::IpAddr;

use culvert_proto::ads;
use prost_types::value::Kind;
use prost_types::{Struct, Value};

/// The node `COMPONENT~IP~NAME.NAMESPACE~NAMESPACE.svc.cluster.local` with metadata such as `NODE_NAME`.
#[must_use]
pub fn node(
    component: &str,
    address: IpAddr,
    name: &str,
    namespace: &str,
    metadata: &[(&str, &str)],
) -> ads::Node {
    let text = |text: &str| Value {
        kind: Some(Kind::StringValue(text.to_owned())),
    };
    let fields: BTreeMap<_, _> = [("NAME", name), ("NAMESPACE", namespace)]
        .iter()
        .chain(metadata)
        .map(|(key, value)| ((*key).to_owned(), text(value)))
        .collect();
    ads::Node {
        id: format!("{component}~{address}~{name}.{namespace}~{namespace}.svc.cluster.local"),
        metadata: Some(Struct { fields }),
        build_version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Default::default()
    }
}
