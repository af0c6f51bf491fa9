//! Labels and annotations that the mesh reads.

/// All labels and annotations of ours begin with this.
pub const PREFIX: &str = "culvert.dev/";

/// Label of Namespace and Pod: `ambient` or `none`.
pub const DATAPLANE_MODE: &str = "culvert.dev/dataplane-mode";
/// Label of Namespace, Service and Pod: name of a Gateway, or `none`.
pub const USE_WAYPOINT: &str = "culvert.dev/use-waypoint";
/// Label beside the former: the Gateway's namespace.
pub const USE_WAYPOINT_NAMESPACE: &str = "culvert.dev/use-waypoint-namespace";
/// Label of Gateway: `service`, `workload` or `all`.
pub const WAYPOINT_FOR: &str = "culvert.dev/waypoint-for";

/// Annotation that the source puts on a Gateway whose waypoint was ever programmed. Nobody else can.
pub const PROGRAMMED: &str = "culvert.dev/programmed";
/// Annotation that the source puts on a Gateway whose status says that it is not accepted. Nobody else can.
pub const REFUSED: &str = "culvert.dev/refused";
/// Label of the Gateway API on all that was made for a Gateway: its name.
pub const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";
/// Annotation of Gateway: how many instances of the waypoint there are; left out, one, or as whoever scales it says.
pub const WAYPOINT_REPLICAS: &str = "culvert.dev/waypoint-replicas";
/// Annotation of Gateway: the same for one that takes traffic from outside the mesh.
pub const GATEWAY_REPLICAS: &str = "culvert.dev/gateway-replicas";
/// Annotation of Gateway: the type of the Service that is made for it: `ClusterIP`, `NodePort` or `LoadBalancer`.
pub const SERVICE_TYPE: &str = "culvert.dev/service-type";

/// Annotation of Ingress: `true` sends requests in plain text to HTTPS.
pub const SSL_REDIRECT: &str = "culvert.dev/ssl-redirect";
/// Kubernetes' old annotation of Ingress: its class.
pub const INGRESS_CLASS: &str = "kubernetes.io/ingress.class";
/// Kubernetes' annotation of IngressClass: `true` for that of Ingresses that name none.
pub const IS_DEFAULT_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";

/// Annotation of Pod: path of its network namespace.
pub const NETNS: &str = "culvert.dev/netns";
/// Annotation of Pod: ports of its own that are not captured.
pub const EXCLUDE_INBOUND_PORTS: &str = "culvert.dev/exclude-inbound-ports";
/// Annotation of Pod: ports of others that are not captured.
pub const EXCLUDE_OUTBOUND_PORTS: &str = "culvert.dev/exclude-outbound-ports";
/// Annotation of Pod: addresses of others that are not captured.
pub const EXCLUDE_OUTBOUND_CIDRS: &str = "culvert.dev/exclude-outbound-cidrs";
/// Annotation of Pod: whether DNS questions are captured.
pub const DNS_CAPTURE: &str = "culvert.dev/dns-capture";
