//! EndpointSlices.

use k8s_openapi::api::discovery::v1;

use super::names::{address, port};
use crate::model::{Endpoint, EndpointSlice};
use crate::path::{FieldPath, Issues};

const SERVICE: &str = "kubernetes.io/service-name";

pub(super) fn admit(slice: &v1::EndpointSlice, issues: &mut Issues) -> EndpointSlice {
    let labels = slice.metadata.labels.as_ref();
    let service = labels.and_then(|labels| labels.get(SERVICE)).cloned();
    if service.is_none() {
        issues.add(
            FieldPath::label(SERVICE),
            "without it the slice belongs to no service",
        );
    }
    if !["IPv4", "IPv6"].contains(&slice.address_type.as_str()) {
        let message = format!("{:?} is neither IPv4 nor IPv6", slice.address_type);
        issues.add(FieldPath::of("addressType"), message);
    }
    EndpointSlice {
        service: service.unwrap_or_default(),
        ports: ports(slice, issues),
        endpoints: endpoints(slice, issues),
    }
}

fn ports(slice: &v1::EndpointSlice, issues: &mut Issues) -> Vec<(String, u16)> {
    let mut ports = Vec::new();
    for (i, p) in slice.ports.iter().flatten().enumerate() {
        let at = FieldPath::of("ports").index(i).key("port");
        let tcp = p.protocol.as_deref().unwrap_or("TCP") == "TCP";
        if let Some(number) = p
            .port
            .filter(|_| tcp)
            .and_then(|n| issues.take(&at, port(n)))
        {
            ports.push((p.name.clone().unwrap_or_default(), number));
        }
    }
    ports
}

/// Those that take traffic: the ready ones or, where there is none, those that are leaving and still serve.
fn endpoints(slice: &v1::EndpointSlice, issues: &mut Issues) -> Vec<Endpoint> {
    let (mut endpoints, mut leaving) = (Vec::new(), Vec::new());
    for (i, e) in slice.endpoints.iter().flatten().enumerate() {
        let at = FieldPath::of("endpoints").index(i).key("addresses");
        let mut addresses = Vec::new();
        for (j, text) in e.addresses.iter().enumerate() {
            addresses.extend(issues.take(&at.index(j), address(text)));
        }
        let conditions = e.conditions.clone().unwrap_or_default();
        let serves = conditions.serving == Some(true) && conditions.terminating == Some(true);
        let target = e
            .target_ref
            .as_ref()
            .filter(|target| target.kind.as_deref() == Some("Pod"));
        let endpoint = Endpoint {
            addresses,
            pod: target.and_then(|target| target.name.clone()),
        };
        if conditions.ready != Some(false) {
            endpoints.push(endpoint);
        } else if serves {
            leaving.push(endpoint);
        }
    }
    if endpoints.is_empty() {
        leaving
    } else {
        endpoints
    }
}
