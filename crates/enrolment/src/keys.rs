//! Labels and annotations that decide over enrolment and capture.

/// All labels and annotations of ours begin with this.
pub const PREFIX: &str = "culvert.dev/";
/// Label of Namespace and Pod: `ambient` or `none`.
pub const DATAPLANE_MODE: &str = "culvert.dev/dataplane-mode";
/// Annotation of Pod: ports of its own that are not captured.
pub const EXCLUDE_INBOUND_PORTS: &str = "culvert.dev/exclude-inbound-ports";
/// Annotation of Pod: ports of others that are not captured.
pub const EXCLUDE_OUTBOUND_PORTS: &str = "culvert.dev/exclude-outbound-ports";
/// Annotation of Pod: addresses of others that are not captured.
pub const EXCLUDE_OUTBOUND_CIDRS: &str = "culvert.dev/exclude-outbound-cidrs";
/// Annotation of Pod: whether DNS questions are captured.
pub const DNS_CAPTURE: &str = "culvert.dev/dns-capture";
/// Label of Pod, on what a Gateway's controller deploys: the Gateway's class.
pub const GATEWAY_CLASS: &str = "gateway.networking.k8s.io/gateway-class-name";
