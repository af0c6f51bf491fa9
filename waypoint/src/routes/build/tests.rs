//! Which settings and faults a request meets, and that counters outlive snapshots.

use std::time::Duration;

use culvert_proto::waypoint as pb;

use super::*;
use crate::config::retry::Outcome;
use crate::config::traffic::{Balancer, BudgetSettings};
use crate::routes::testing::get;

#[derive(Default)]
struct World {
    resources: Resources,
    carried: Carried,
}

fn service(service: &str, port: u32) -> pb::ServiceRef {
    pb::ServiceRef {
        service: service.into(),
        port,
    }
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn retry(code: u32) -> Option<pb::Retry> {
    Some(pb::Retry {
        attempts: 1,
        codes: vec![code],
        ..Default::default()
    })
}

impl World {
    /// A route `n/NAME` from `d/web` at `port` to `d/v1`.
    fn route(&mut self, name: &str, port: u32, rule: pb::HttpRule) -> &mut Self {
        let target = Some(pb::http_backend::Target::Service(service("d/v1", 8080)));
        let backends = vec![pb::HttpBackend {
            target,
            weight: 1,
            filters: Vec::new(),
        }];
        let raw = pb::HttpRoute {
            namespace: "n".into(),
            name: name.into(),
            parents: vec![service("d/web", port)],
            rules: vec![pb::HttpRule { backends, ..rule }],
            ..Default::default()
        };
        self.resources
            .routes
            .insert(name.into(), Arc::new(Route::decode(&raw).unwrap().route));
        self
    }

    fn traffic(&mut self, name: &str, raw: pb::TrafficPolicy) -> &mut Self {
        let raw = pb::TrafficPolicy {
            namespace: "n".into(),
            name: name.into(),
            ..raw
        };
        self.resources
            .traffic
            .insert(name.into(), Arc::new(TrafficPolicy::decode(&raw).unwrap()));
        self
    }

    fn build(&mut self) -> Routes {
        build(&self.resources, &mut self.carried)
    }
}

/// The settings of the first backend of the rule that serves `/` at `d/web:80`.
fn settings(routes: &Routes) -> Settings {
    let table = routes.port("d/web", 80).unwrap().table("d").unwrap();
    let found = table.find("web", &get("/")).unwrap();
    found.rule.backends().next().unwrap().settings.clone()
}

#[test]
fn the_closest_statement_wins_field_by_field() {
    let mut world = World::default();
    world
        .route(
            "r",
            0,
            pb::HttpRule {
                request_timeout: seconds(1),
                ..Default::default()
            },
        )
        .traffic(
            "of-route",
            pb::TrafficPolicy {
                route_targets: vec!["n/r".into()],
                request_timeout: seconds(2),
                backend_request_timeout: seconds(2),
                ..Default::default()
            },
        )
        .traffic(
            "of-backend",
            pb::TrafficPolicy {
                targets: vec![service("d/v1", 0)],
                backend_request_timeout: seconds(3),
                retry: retry(503),
                ..Default::default()
            },
        )
        .traffic(
            "of-parent",
            pb::TrafficPolicy {
                targets: vec![service("d/web", 80)],
                retry: retry(500),
                load_balancer: pb::LoadBalancer::RoundRobin.into(),
                ..Default::default()
            },
        );
    let settings = settings(&world.build());
    assert_eq!(settings.request_timeout, Some(Duration::from_secs(1)));
    assert_eq!(settings.backend_timeout, Some(Duration::from_secs(2)));
    assert!(
        settings.retry.wants(Outcome::Response(503, None))
            && !settings.retry.wants(Outcome::Response(500, None))
    );
    assert_eq!(settings.balancer, Balancer::RoundRobin);
    assert_eq!(
        settings.budget.unwrap().settings(),
        BudgetSettings::default()
    );
}

#[test]
fn zero_ends_the_search_and_means_no_timeout() {
    let mut world = World::default();
    world
        .route(
            "r",
            0,
            pb::HttpRule {
                request_timeout: seconds(0),
                ..Default::default()
            },
        )
        .traffic(
            "p",
            pb::TrafficPolicy {
                targets: vec![service("d/web", 0)],
                request_timeout: seconds(2),
                ..Default::default()
            },
        );
    assert_eq!(settings(&world.build()).request_timeout, None);
}

#[test]
fn a_policy_of_the_port_goes_before_one_of_the_service() {
    let of = |port, retries| pb::TrafficPolicy {
        targets: vec![service("d/web", port)],
        retry: retry(retries),
        ..Default::default()
    };
    let mut world = World::default();
    world.traffic("a", of(0, 500)).traffic("b", of(80, 503));
    let routes = world.build();
    let wants = |port, code| {
        routes
            .port("d/web", port)
            .unwrap()
            .direct
            .retry
            .wants(Outcome::Response(code, None))
    };
    assert!(wants(80, 503) && !wants(80, 500));
    assert!(wants(81, 500) && !wants(81, 503));
}

#[test]
fn routes_of_one_port_leave_others_alone() {
    let mut world = World::default();
    world.route("r", 80, pb::HttpRule::default());
    let routes = world.build();
    assert!(routes.port("d/web", 80).unwrap().table("d").is_some());
    assert!(routes.port("d/web", 81).unwrap().table("d").is_none());
    assert!(routes.port("d/other", 80).is_none());
}

#[test]
fn faults_of_the_route_come_first_and_others_stay_away() {
    let mut world = World::default();
    world.route("r", 0, pb::HttpRule::default());
    for (name, services, routes) in [
        ("a", vec![service("d/web", 0)], vec![]),
        ("b", vec![], vec!["n/r".to_owned()]),
        ("c", vec![service("d/web", 81)], vec![]),
        ("d", vec![service("d/v1", 0)], vec!["n/other".to_owned()]),
    ] {
        let raw = pb::FaultPolicy {
            namespace: "n".into(),
            name: name.into(),
            targets: services,
            route_targets: routes,
            ..Default::default()
        };
        world
            .resources
            .faults
            .insert(name.into(), Arc::new(FaultPolicy::decode(&raw).unwrap()));
    }
    let routes = world.build();
    let port = routes.port("d/web", 80).unwrap();
    let names = |faults: &[Arc<FaultPolicy>]| {
        faults
            .iter()
            .map(|f| f.name.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&port.faults), ["n/a"]);
    let rule = port
        .table("d")
        .unwrap()
        .find("web", &get("/"))
        .unwrap()
        .rule;
    assert_eq!(names(&rule.faults), ["n/b", "n/a"]);
}

#[test]
fn a_route_of_another_namespace_holds_for_its_clients_alone() {
    let mut world = World::default();
    world.route("own", 0, pb::HttpRule::default());
    let raw = pb::HttpRoute {
        namespace: "consumer".into(),
        name: "theirs".into(),
        consumed: vec![service("d/web", 0)],
        rules: vec![pb::HttpRule::default()],
        ..Default::default()
    };
    let route = Arc::new(Route::decode(&raw).unwrap().route);
    world.resources.routes.insert("theirs".into(), route);
    let routes = world.build();
    let config = routes.port("d/web", 80).unwrap();
    for (client, expected) in [
        ("d", "n/own"),
        ("n", "n/own"),
        ("consumer", "consumer/theirs"),
    ] {
        let found = config
            .table(client)
            .unwrap()
            .find("web", &get("/"))
            .unwrap();
        assert_eq!(&**found.rule.route(), expected, "clients of {client}");
    }
}

#[test]
fn counters_outlive_snapshots_until_their_limits_change() {
    let policy = |percent, max_requests| pb::TrafficPolicy {
        targets: vec![service("d/web", 0)],
        retry: retry(503),
        retry_budget: Some(pb::RetryBudget {
            percent,
            ..Default::default()
        }),
        max_requests,
        ..Default::default()
    };
    let mut world = World::default();
    let direct = |world: &mut World, raw| {
        let routes = world.traffic("p", raw).build();
        routes.port("d/web", 80).unwrap().direct.clone()
    };
    let first = direct(&mut world, policy(20, 5));
    let same = direct(&mut world, policy(20, 5));
    let other = direct(&mut world, policy(30, 6));
    assert!(Arc::ptr_eq(
        first.budget.as_ref().unwrap(),
        same.budget.as_ref().unwrap()
    ));
    assert!(Arc::ptr_eq(
        first.admission.as_ref().unwrap(),
        same.admission.as_ref().unwrap()
    ));
    assert_eq!(other.budget.unwrap().settings().percent, 30);
    assert_eq!(other.admission.unwrap().limit(), 6);
}
