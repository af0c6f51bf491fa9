//! What is left out has the stated default; what is stated arrives as it is.

use serde_json::{Value, json};

use super::*;

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn millis(millis: i32) -> Option<prost_types::Duration> {
    Some(prost_types::Duration {
        seconds: (millis / 1000).into(),
        nanos: millis % 1000 * 1_000_000,
    })
}

#[test]
fn outlier_detection_has_its_defaults() {
    let bare = outlier(&read(json!({})));
    let returning = Ramp {
        duration: millis(10_000),
        minimum_percent: 10,
        aggression: 100,
    };
    let expected = OutlierDetection {
        consecutive_5xx_errors: 5,
        consecutive_gateway_errors: 0,
        interval: millis(10_000),
        base_ejection_time: millis(30_000),
        max_ejection_percent: 10,
        min_health_percent: 0,
        success_rate: None,
        latency: None,
        r#return: Some(returning),
    };
    assert_eq!(bare, expected);
    let full = outlier(&read(json!({
        "consecutive5xxErrors": 0, "consecutiveGatewayErrors": 3, "returnDuration": "0s",
        "successRate": {"stdevFactor": 2.5}, "latency": {"factor": 4, "threshold": "50ms"},
    })));
    assert_eq!(
        (full.consecutive_5xx_errors, full.consecutive_gateway_errors),
        (0, 3)
    );
    assert_eq!(full.r#return.unwrap().duration, millis(0));
    let rate = full.success_rate.unwrap();
    assert_eq!(
        (rate.minimum_hosts, rate.request_volume, rate.stdev_factor),
        (5, 100, 250)
    );
    let latency = full.latency.unwrap();
    assert_eq!(
        (latency.minimum_hosts, latency.factor, latency.threshold),
        (3, 400, millis(50))
    );
}

#[test]
fn a_key_says_what_it_is_made_of() {
    let hash = |value| {
        load_balancer(Some(&read(json!({"consistentHash": value}))))
            .1
            .unwrap()
    };
    let key = |value| hash(value).key.unwrap();
    assert_eq!(
        key(json!({"httpHeaderName": "x-user"})),
        Key::Header("x-user".into())
    );
    assert_eq!(key(json!({"useSourceIp": true})), Key::SourceIp(true));
    assert_eq!(
        key(json!({"httpQueryParameterName": "q"})),
        Key::QueryParameter("q".into())
    );
    let cookie = HashCookie {
        name: "c".into(),
        ttl: millis(3000),
        path: String::new(),
    };
    let written = json!({"httpCookie": {"name": "c", "ttl": "3s"}, "balanceFactor": 1.5});
    assert_eq!(key(written.clone()), Key::Cookie(cookie));
    assert_eq!(hash(written).balance_factor, 150);
    assert_eq!(hash(json!({"useSourceIp": true})).balance_factor, 125);
}

#[test]
fn warmup_alone_leaves_the_algorithm_open() {
    let balancer: api::LoadBalancer = read(json!({"warmup": {"duration": "30s"}}));
    assert_eq!(
        load_balancer(Some(&balancer)),
        (LoadBalancer::Unspecified, None)
    );
    let ramp = warmup(&balancer.warmup.unwrap());
    assert_eq!(
        (ramp.duration, ramp.minimum_percent, ramp.aggression),
        (millis(30_000), 10, 100)
    );
}

#[test]
fn sessions_arrive_as_they_are_written() {
    let bare = session(&read(json!({})));
    assert_eq!(bare, SessionPersistence::default());
    let full = session(&read(json!({
        "type": "Cookie", "sessionName": "s", "absoluteTimeout": "1h", "idleTimeout": "500ms",
        "cookieConfig": {"lifetimeType": "Permanent"},
    })));
    let expected = SessionPersistence {
        header: false,
        session_name: "s".into(),
        absolute_timeout: millis(3_600_000),
        idle_timeout: millis(1000),
        permanent: true,
    };
    assert_eq!(full, expected);
    assert!(session(&read(json!({"type": "Header"}))).header);
}
