//! What gateways can do, in the Gateway API's words: what their class's status lists, and what the conformance suite asks
//! of them.

/// In ascending order, as the status has to be.
pub(super) const FEATURES: [&str; 36] = [
    "GRPCRoute",
    "GRPCRouteNamedRouteRule",
    "Gateway",
    "GatewayHTTPListenerIsolation",
    "GatewayHTTPSListenerDetectMisdirectedRequests",
    "GatewayInfrastructure",
    "GatewayPort8080",
    "HTTPRoute",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "HTTPRouteBackendProtocolH2C",
    "HTTPRouteBackendProtocolWebSocket",
    "HTTPRouteBackendRequestHeaderModification",
    "HTTPRouteBackendTimeout",
    "HTTPRouteDestinationPortMatching",
    "HTTPRouteHostRewrite",
    "HTTPRouteMethodMatching",
    "HTTPRouteNamedRouteRule",
    "HTTPRouteParentRefPort",
    "HTTPRoutePathRedirect",
    "HTTPRoutePathRewrite",
    "HTTPRoutePortRedirect",
    "HTTPRouteQueryParamMatching",
    "HTTPRouteRequestMirror",
    "HTTPRouteRequestMultipleMirrors",
    "HTTPRouteRequestPercentageMirror",
    "HTTPRouteRequestTimeout",
    "HTTPRouteResponseHeaderModification",
    "HTTPRouteRetry",
    "HTTPRouteSchemeRedirect",
    "ReferenceGrant",
    "TCPRoute",
    "TLSRoute",
    "TLSRouteModeMixed",
    "TLSRouteModeTerminate",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_those_that_the_conformance_suite_is_told() {
        let file = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tests/conformance/gateway.yaml"
        );
        let text = std::fs::read_to_string(file).unwrap();
        let (_, after) = text.split_once("supportedFeatures:\n").unwrap();
        let told: Vec<_> = after
            .lines()
            .map_while(|line| line.strip_prefix("- "))
            .collect();
        assert_eq!(told, FEATURES);
        assert!(FEATURES.is_sorted());
        // As many as the status may name.
        assert!(FEATURES.len() <= 64);
    }
}
