//! Envoy's configuration as JSON: listeners that lead to clusters by routes, plain or in mutual TLS.

use serde_json::{Value, json};
use std::{net::SocketAddr, path::Path};

/// A listener on all addresses and where it leads.
pub(super) struct Way<'a> {
    pub(super) port: u16,
    /// Mutual TLS and HTTP/2 towards the listener.
    pub(super) tls_in: bool,
    pub(super) to: SocketAddr,
    /// The same from it.
    pub(super) tls_out: bool,
    /// Prefixes of paths, all of which lead to the same place.
    pub(super) prefixes: &'a [String],
}

/// The whole configuration.
pub(super) fn envoy(ways: &[Way<'_>], certificates: &Path) -> Value {
    let listeners: Vec<Value> = ways.iter().map(|way| listener(way, certificates)).collect();
    let clusters: Vec<Value> = ways.iter().map(|way| cluster(way, certificates)).collect();
    json!({"static_resources": {"listeners": listeners, "clusters": clusters}})
}

fn name(way: &Way<'_>) -> String {
    format!("way-{}", way.port)
}

fn listener(way: &Way<'_>, certificates: &Path) -> Value {
    let route = |prefix: &String| {
        let retry = json!({"retry_on": "connect-failure,refused-stream", "num_retries": 2});
        json!({"match": {"prefix": prefix}, "route": {"cluster": name(way), "retry_policy": retry}})
    };
    let routes: Vec<Value> = way.prefixes.iter().map(route).collect();
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "codec_type": if way.tls_in { "HTTP2" } else { "HTTP1" },
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}
        }]
    });
    let mut chain = json!({"filters": [{
        "name": "envoy.filters.network.http_connection_manager", "typed_config": manager
    }]});
    if way.tls_in {
        chain["transport_socket"] = socket(
            json!({
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                "require_client_certificate": true
            }),
            certificates,
        );
    }
    json!({
        "name": name(way),
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": way.port}},
        "filter_chains": [chain]
    })
}

fn cluster(way: &Way<'_>, certificates: &Path) -> Value {
    let endpoint = json!({"endpoint": {"address": {"socket_address": {
        "address": way.to.ip().to_string(), "port_value": way.to.port()
    }}}});
    let http = if way.tls_out {
        json!({"http2_protocol_options": {}})
    } else {
        json!({"http_protocol_options": {}})
    };
    let mut cluster = json!({
        "name": name(way),
        "type": "STATIC",
        "circuit_breakers": {"thresholds": [{
            "max_connections": 10_000, "max_pending_requests": 10_000, "max_requests": 10_000
        }]},
        "load_assignment": {"cluster_name": name(way), "endpoints": [{"lb_endpoints": [endpoint]}]},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": http
        }}
    });
    if way.tls_out {
        cluster["transport_socket"] = socket(
            json!({"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"}),
            certificates,
        );
    }
    cluster
}

fn socket(mut context: Value, certificates: &Path) -> Value {
    let file = |name: &str| json!({"filename": certificates.join(name).display().to_string()});
    context["common_tls_context"] = json!({
        "alpn_protocols": ["h2"],
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
        "tls_certificates": [{"certificate_chain": file("cert.pem"), "private_key": file("key.pem")}],
        "validation_context": {"trusted_ca": file("ca.pem")}
    });
    json!({"name": "envoy.transport_sockets.tls", "typed_config": context})
}
