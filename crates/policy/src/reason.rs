//! [`DenyReason`]: why a connection or request was refused. Every refusal anywhere in the mesh has exactly one, and it
//! is the same word in metrics, access logs, the `culvert-deny-reason` header and the command line.

use std::fmt;
use std::str::FromStr;

impl DenyReason {
    /// Whether it is what somebody wrote that refuses, rather than a failure or an impostor.
    #[must_use]
    pub const fn is_policy(self) -> bool {
        matches!(
            self,
            Self::PolicyDeny
                | Self::PolicyNotAllowed
                | Self::PolicyMalformed
                | Self::PolicyMissing
                | Self::MtlsRequired
                | Self::WaypointRequired
                | Self::EgressNotAllowed
                | Self::EgressRegistryOnly
                | Self::EgressNameMissing
                | Self::EgressNameUnproven
        )
    }
}

/// The table below is the whole truth about a reason: variant, name, Istio response flag, HTTP status, explanation.
macro_rules! deny_reasons {
    ($($variant:ident $name:literal $flag:literal $status:literal $explanation:literal)*) => {
        /// Why something was refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum DenyReason {
            $(#[doc = $explanation] $variant,)*
        }

        impl DenyReason {
            /// Every reason, in the order of a connection's way through the mesh.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The stable name: metric label, access-log field and header value.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Istio's `response_flags` value for it.
            #[must_use]
            pub const fn response_flag(self) -> &'static str {
                match self { $(Self::$variant => $flag,)* }
            }

            /// The status that refuses a CONNECT, or a request at a waypoint, for this reason.
            #[must_use]
            pub const fn http_status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }

            /// One sentence for people.
            #[must_use]
            pub const fn explanation(self) -> &'static str {
                match self { $(Self::$variant => $explanation,)* }
            }
        }
    };
}

deny_reasons! {
    PolicyDeny "policy_deny" "DENY" 401
        "A DENY policy matches the connection."
    PolicyNotAllowed "policy_not_allowed" "DENY" 401
        "ALLOW policies apply to the destination and none of them matches the connection."
    PolicyMalformed "policy_malformed" "DENY" 401
        "A policy that applies to the destination could not be read, so it denies."
    PolicyMissing "policy_missing" "DENY" 401
        "The workload names a policy that this proxy does not know, so it denies."
    MtlsRequired "mtls_required" "DENY" 401
        "The destination accepts mutual TLS only and the peer spoke plain text."
    WaypointRequired "waypoint_required" "DENY" 401
        "The destination admits only its waypoint and the peer is not that waypoint."
    EgressNotAllowed "egress_not_allowed" "DENY" 401
        "EgressPolicies apply to the client and none of them allows this destination outside of the mesh."
    EgressRegistryOnly "egress_registry_only" "DENY" 401
        "The mesh lets its workloads reach only what it knows, and the destination is outside of it."
    EgressNameMissing "egress_name_missing" "DENY" 401
        "Only a name could allow the destination, and the client gave none that can be read."
    EgressNameUnproven "egress_name_unproven" "DENY" 401
        "The name that the client gave is allowed, and the destination is no address that it resolves to."
    WorkloadUnknown "workload_unknown" "IDENTITY_ERROR" 503
        "This proxy does not know the workload whose connection it holds."
    DestinationUnknown "destination_unknown" "CONNECT" 503
        "The address lies in the cluster's ranges and belongs to no known workload or service."
    PortUnknown "port_unknown" "CONNECT" 503
        "The service has no such port."
    NameUnresolved "name_unresolved" "CONNECT" 503
        "The destination's name leads to no address outside of the cluster."
    NoEndpoint "no_endpoint" "CONNECT" 503
        "The service has no endpoint that can take the connection."
    WaypointUnavailable "waypoint_unavailable" "CONNECT" 503
        "The destination has a waypoint and no instance of it can be reached."
    CrossNetwork "cross_network" "CONNECT" 503
        "The destination lies in another network, to which this proxy has no way."
    SelfCall "self_call" "CONNECT" 503
        "The destination is one of the mesh's own ports, which would loop."
    ProtocolRefused "protocol_refused" "DENY" 503
        "The mesh does not carry this protocol and the pod's settings forbid to let it pass."
    ConnectFailed "connect_failed" "CONNECT" 503
        "The destination could not be connected to."
    ConnectTimeout "connect_timeout" "NETWORK_POLICY" 503
        "The destination did not answer in time, perhaps because a NetworkPolicy drops port 15008."
    PeerRefused "peer_refused" "CONNECT" 503
        "The peer's proxy refused the tunnel."
    CertificateUnavailable "certificate_unavailable" "IDENTITY_ERROR" 503
        "The workload has no valid certificate of its own yet."
    CertificateMissing "certificate_missing" "TLS_FAILURE" 401
        "The peer presented no certificate."
    CertificateUntrusted "certificate_untrusted" "TLS_FAILURE" 401
        "The peer's certificate leads to no root that the mesh trusts."
    CertificateExpired "certificate_expired" "TLS_FAILURE" 401
        "The peer's certificate has expired."
    CertificateNotYetValid "certificate_not_yet_valid" "TLS_FAILURE" 401
        "The peer's certificate is not valid yet."
    CertificateWrongUsage "certificate_wrong_usage" "TLS_FAILURE" 401
        "The peer's certificate may not be used for this side of TLS."
    CertificateRevoked "certificate_revoked" "CERT_REVOKED" 401
        "The peer's certificate is revoked."
    TrustDomainMismatch "trust_domain_mismatch" "TLS_FAILURE" 401
        "The peer's identity belongs to a trust domain that this mesh does not accept."
    IdentityMalformed "identity_malformed" "TLS_FAILURE" 401
        "The peer's certificate does not carry exactly one well-formed SPIFFE identity."
    IdentityUnexpected "identity_unexpected" "TLS_FAILURE" 401
        "The peer proved another identity than the destination has."
    TlsHandshake "tls_handshake" "TLS_FAILURE" 503
        "The TLS handshake failed for a reason other than the peer's certificate."
    HandshakeTimeout "handshake_timeout" "TLS_FAILURE" 503
        "TLS, HTTP/2 or CONNECT was not completed in time."
    H2Failure "h2_failure" "H2_HANDSHAKE_FAILURE" 503
        "The HTTP/2 connection that carries the tunnel failed."
    MalformedRequest "malformed_request" "CONNECT" 400
        "The request (CONNECT, HTTP or DNS) is not well formed."
    AuthorityInvalid "authority_invalid" "CONNECT" 400
        "The CONNECT authority is not a host and port in canonical form."
    DestinationMismatch "destination_mismatch" "CONNECT" 400
        "The CONNECT authority names an address that is not this workload's."
    RouteNotFound "route_not_found" "-" 404
        "No route of the service matches the request."
    Misdirected "misdirected" "-" 421
        "The request's host belongs to another listener than the one that its TLS handshake named."
    BackendUnresolved "backend_unresolved" "-" 500
        "The route's backend or filter refers to something that does not exist or may not be used."
    BackendCertificateUntrusted "backend_certificate_untrusted" "TLS_FAILURE" 503
        "The backend's certificate leads to no authority that its BackendTLSPolicy trusts, or may not be a server's."
    BackendCertificateExpired "backend_certificate_expired" "TLS_FAILURE" 503
        "The backend's certificate, or one above it, has expired or is not valid yet."
    BackendCertificateName "backend_certificate_name" "TLS_FAILURE" 503
        "The backend's certificate has none of the names that its BackendTLSPolicy asks for."
    BackendTls "backend_tls" "TLS_FAILURE" 503
        "TLS with the backend failed for a reason other than its certificate."
    RequestTimeout "request_timeout" "-" 504
        "The request was not answered within the route's timeout."
    PathForbidden "path_forbidden" "NETWORK_POLICY" 503
        "The connection stayed within its node, and a NetworkPolicy or MeshConfig does not allow that any more."
    FaultInjected "fault_injected" "-" 503
        "A FaultPolicy aborted the request or connection."
    IdleTimeout "idle_timeout" "-" 504
        "No byte moved for as long as a connection may be idle."
    Overload "overload" "-" 503
        "A limit on connections, streams, requests or memory is reached."
    Draining "draining" "-" 503
        "The proxy or the workload is shutting down and takes nothing new."
}

impl fmt::Display for DenyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl serde::Serialize for DenyReason {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The text is no [`DenyReason`] of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a known deny reason")]
pub struct UnknownDenyReason;

impl FromStr for DenyReason {
    type Err = UnknownDenyReason;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .find(|reason| reason.as_str() == text)
            .copied()
            .ok_or(UnknownDenyReason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_snake_case_and_round_trip() {
        let mut seen = HashSet::new();
        for reason in DenyReason::ALL {
            let name = reason.as_str();
            assert!(seen.insert(name), "{name} is used twice");
            assert!(
                name.chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'),
                "{name}"
            );
            assert_eq!(name.parse(), Ok(*reason));
        }
        assert_eq!("Policy_Deny".parse::<DenyReason>(), Err(UnknownDenyReason));
        assert_eq!("".parse::<DenyReason>(), Err(UnknownDenyReason));
    }

    #[test]
    fn every_reason_is_a_refusal_and_says_why() {
        let flags = [
            "-",
            "DENY",
            "CONNECT",
            "TLS_FAILURE",
            "H2_HANDSHAKE_FAILURE",
            "NETWORK_POLICY",
            "IDENTITY_ERROR",
            "CERT_REVOKED",
        ];
        for reason in DenyReason::ALL {
            assert!(flags.contains(&reason.response_flag()), "{reason}");
            assert!((400..600).contains(&reason.http_status()), "{reason}");
            assert!(reason.explanation().ends_with('.'), "{reason}");
        }
    }
}
