//! Near endpoints come first; others step in for what they can't do.

use std::collections::BTreeMap;

use anyhow::Result;
use culvert_proto::istio::workload::{
    Address, LoadBalancing, Locality, Service, Workload, address, load_balancing,
};
use culvert_proto::{type_url, waypoint as pb};

use crate::backend::{Backend, Speaks, response};
use crate::client::{Client, Http, get};
use crate::mesh::{Mesh, ip, test};
use crate::resources::{self, AppProtocol, Pod, millis, traffic};

const VIP: &str = "10.96.0.10:80";

fn place((region, zone): (&str, &str)) -> Option<Locality> {
    Some(Locality {
        region: region.into(),
        zone: zone.into(),
        subzone: String::new(),
    })
}

fn workload(
    mut resource: (String, Address),
    change: impl FnOnce(&mut Workload),
) -> (String, Address) {
    if let Some(address::Type::Workload(workload)) = &mut resource.1.r#type {
        change(workload);
    }
    resource
}

/// Says where the waypoint is.
fn here(mesh: &Mesh, at: (&str, &str)) -> Result<()> {
    let own = workload(resources::waypoint(), |own| {
        own.locality = place(at);
        own.node = "n1".into();
    });
    mesh.put(type_url::ADDRESS, &own)
}

/// Says where a pod is.
fn moved(mesh: &Mesh, pod: &Pod, at: (&str, &str), node: &str) -> Result<()> {
    let pod = workload(pod.resource(), |pod| {
        pod.locality = place(at);
        pod.node = node.into();
    });
    mesh.put(type_url::ADDRESS, &pod)
}

async fn backend(mesh: &Mesh, name: &str, last: u8, at: (&str, &str)) -> Result<Backend> {
    let backend = Backend::named(mesh, name, "web", last).await?;
    moved(mesh, &backend.pod, at, "n2")?;
    Ok(backend)
}

/// The service, which prefers the same of these, the most important first.
fn prefers(
    mesh: &Mesh,
    mode: load_balancing::Mode,
    scopes: &[load_balancing::Scope],
) -> Result<()> {
    let (name, mut address) = resources::service("web", "10.96.0.10", AppProtocol::Unknown);
    if let Some(address::Type::Service(Service { load_balancing, .. })) = &mut address.r#type {
        *load_balancing = Some(LoadBalancing {
            routing_preference: scopes.iter().map(|scope| (*scope).into()).collect(),
            mode: mode.into(),
            ..LoadBalancing::default()
        });
    }
    mesh.put(type_url::ADDRESS, &(name, address))
}

fn close(mesh: &Mesh) -> Result<()> {
    use load_balancing::Scope;
    prefers(
        mesh,
        load_balancing::Mode::Failover,
        &[Scope::Region, Scope::Zone],
    )
}

fn says(mesh: &Mesh, locality: pb::Locality, more: pb::TrafficPolicy) -> Result<()> {
    let policy = pb::TrafficPolicy {
        locality: Some(locality),
        load_balancer: pb::LoadBalancer::RoundRobin.into(),
        ..more
    };
    mesh.put(type_url::TRAFFIC_POLICY, &traffic("near", "web", policy))
}

fn by(mode: pb::LocalityMode, levels: &[pb::LocalityLevel]) -> pb::Locality {
    pb::Locality {
        mode: mode.into(),
        levels: levels.iter().map(|level| (*level).into()).collect(),
        failover: Vec::new(),
    }
}

fn zones(mode: pb::LocalityMode) -> pb::Locality {
    by(mode, &[pb::LocalityLevel::Region, pb::LocalityLevel::Zone])
}

/// How often each text was the answer to so many requests.
async fn tally(http: &mut Http, count: usize) -> Result<BTreeMap<String, usize>> {
    let mut texts = BTreeMap::new();
    for _ in 0..count {
        let answer = http.get("/").await?;
        *texts.entry(answer.text().to_owned()).or_default() += 1;
    }
    Ok(texts)
}

fn only(text: &str, count: usize) -> BTreeMap<String, usize> {
    BTreeMap::from([(text.to_owned(), count)])
}

#[test]
fn a_services_preference_goes_from_zone_to_region_to_all() {
    test(
        "locality::a_services_preference_goes_from_zone_to_region_to_all",
        |mesh| async move {
            close(&mesh)?;
            here(&mesh, ("eu", "eu-1"))?;
            let near = backend(&mesh, "near", 10, ("eu", "eu-1")).await?;
            let region = backend(&mesh, "region", 11, ("eu", "eu-2")).await?;
            // A zone of this name in another region is another zone.
            let _far = backend(&mesh, "far", 12, ("us", "eu-1")).await?;
            let mut http = Client::new(&mesh, "curl").await?.http1(VIP).await?;
            assert_eq!(tally(&mut http, 40).await?, only("near", 40));
            mesh.remove(type_url::ADDRESS, &near.pod.uid());
            assert_eq!(tally(&mut http, 40).await?, only("region", 40));
            mesh.remove(type_url::ADDRESS, &region.pod.uid());
            assert_eq!(tally(&mut http, 40).await?, only("far", 40));
            // The nearest is back at once.
            moved(&mesh, &near.pod, ("eu", "eu-1"), "n2")?;
            assert_eq!(tally(&mut http, 40).await?, only("near", 40));
            // The instance itself is elsewhere now.
            here(&mesh, ("us", "us-1"))?;
            assert_eq!(tally(&mut http, 40).await?, only("far", 40));
            Ok(())
        },
    );
}

#[test]
fn an_instance_that_does_not_know_where_it_is_takes_all_for_alike() {
    test(
        "locality::an_instance_that_does_not_know_where_it_is_takes_all_for_alike",
        |mesh| async move {
            close(&mesh)?;
            let _near = backend(&mesh, "near", 10, ("eu", "eu-1")).await?;
            let _far = backend(&mesh, "far", 12, ("us", "us-1")).await?;
            says(
                &mesh,
                zones(pb::LocalityMode::Failover),
                pb::TrafficPolicy::default(),
            )?;
            let mut http = Client::new(&mesh, "curl").await?.http1(VIP).await?;
            let both = BTreeMap::from([("near".to_owned(), 20), ("far".to_owned(), 20)]);
            assert_eq!(tally(&mut http, 40).await?, both);
            Ok(())
        },
    );
}

#[test]
fn a_policy_goes_before_the_service_and_strict_goes_nowhere_else() {
    test(
        "locality::a_policy_goes_before_the_service_and_strict_goes_nowhere_else",
        |mesh| async move {
            close(&mesh)?;
            here(&mesh, ("eu", "eu-1"))?;
            let near = backend(&mesh, "near", 10, ("eu", "eu-1")).await?;
            let far = backend(&mesh, "far", 12, ("eu", "eu-2")).await?;
            let mut http = Client::new(&mesh, "curl").await?.http1(VIP).await?;
            let both = BTreeMap::from([("near".to_owned(), 20), ("far".to_owned(), 20)]);
            says(
                &mesh,
                by(pb::LocalityMode::Disabled, &[]),
                pb::TrafficPolicy::default(),
            )?;
            assert_eq!(tally(&mut http, 40).await?, both);
            says(
                &mesh,
                zones(pb::LocalityMode::Strict),
                pb::TrafficPolicy::default(),
            )?;
            assert_eq!(tally(&mut http, 40).await?, only("near", 40));
            mesh.remove(type_url::ADDRESS, &near.pod.uid());
            for _ in 0..10 {
                let refused = http.get("/").await?;
                assert_eq!(refused.status, 503);
                assert_eq!(refused.header("culvert-deny-reason"), Some("no_endpoint"));
            }
            // A node is a level as any other; the zone need not be one.
            moved(&mesh, &far.pod, ("eu", "eu-2"), "n1")?;
            says(
                &mesh,
                by(pb::LocalityMode::Strict, &[pb::LocalityLevel::Node]),
                pb::TrafficPolicy::default(),
            )?;
            assert_eq!(tally(&mut http, 40).await?, only("far", 40));
            mesh.remove(type_url::TRAFFIC_POLICY, "TrafficPolicy/demo/near");
            moved(&mesh, &near.pod, ("eu", "eu-1"), "n2")?;
            assert_eq!(
                tally(&mut http, 40).await?,
                only("near", 40),
                "as the service says again"
            );
            Ok(())
        },
    );
}

#[test]
fn only_endpoints_of_the_clients_node_is_no_wish_about_the_waypoints_node() {
    test(
        "locality::only_endpoints_of_the_clients_node_is_no_wish_about_the_waypoints_node",
        |mesh| async move {
            prefers(
                &mesh,
                load_balancing::Mode::Strict,
                &[load_balancing::Scope::Node],
            )?;
            here(&mesh, ("eu", "eu-1"))?;
            let _far = backend(&mesh, "far", 12, ("eu", "eu-2")).await?;
            let mut http = Client::new(&mesh, "curl").await?.http1(VIP).await?;
            assert_eq!(tally(&mut http, 10).await?, only("far", 10));
            Ok(())
        },
    );
}

#[test]
fn without_an_own_region_the_one_that_is_named_comes_first() {
    test(
        "locality::without_an_own_region_the_one_that_is_named_comes_first",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            here(&mesh, ("eu", "eu-1"))?;
            let asia = backend(&mesh, "asia", 10, ("asia", "asia-1")).await?;
            let us = backend(&mesh, "us", 11, ("us", "us-1")).await?;
            let failover = pb::RegionFailover {
                from: "eu".into(),
                to: "us".into(),
            };
            let locality = pb::Locality {
                failover: vec![failover],
                ..zones(pb::LocalityMode::Failover)
            };
            says(&mesh, locality, pb::TrafficPolicy::default())?;
            let mut http = Client::new(&mesh, "curl").await?.http1(VIP).await?;
            assert_eq!(tally(&mut http, 40).await?, only("us", 40));
            let _own = backend(&mesh, "own", 12, ("eu", "eu-2")).await?;
            assert_eq!(tally(&mut http, 40).await?, only("own", 40));
            mesh.remove(type_url::ADDRESS, "c1//Pod/demo/own");
            mesh.remove(type_url::ADDRESS, &us.pod.uid());
            assert_eq!(tally(&mut http, 40).await?, only("asia", 40));
            assert_eq!(asia.requests.get(), 40);
            Ok(())
        },
    );
}

#[test]
fn what_is_too_much_for_the_healthy_part_of_a_zone_goes_to_the_next() {
    test(
        "locality::what_is_too_much_for_the_healthy_part_of_a_zone_goes_to_the_next",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            here(&mesh, ("eu", "eu-1"))?;
            let sick = Backend::start(&mesh, "sick", "web", 10, Speaks::Both, |_| async {
                response(503, "sick")
            })
            .await?;
            moved(&mesh, &sick.pod, ("eu", "eu-1"), "n2")?;
            let near = backend(&mesh, "near", 11, ("eu", "eu-1")).await?;
            let far = backend(&mesh, "far", 12, ("eu", "eu-2")).await?;
            let outlier = pb::OutlierDetection {
                consecutive_gateway_errors: 3,
                interval: millis(600_000),
                base_ejection_time: millis(600_000),
                max_ejection_percent: 100,
                r#return: Some(pb::Ramp {
                    duration: millis(1),
                    minimum_percent: 10,
                    aggression: 100,
                }),
                ..Default::default()
            };
            let more = |min_health_percent| pb::TrafficPolicy {
                outlier_detection: Some(pb::OutlierDetection {
                    min_health_percent,
                    ..outlier
                }),
                ..Default::default()
            };
            says(&mesh, zones(pb::LocalityMode::Failover), more(0))?;
            let mut http = Client::new(&mesh, "curl").await?.http1(VIP).await?;
            while sick.requests.get() < 3 {
                http.get("/").await?;
            }
            assert_eq!(far.requests.get(), 0, "as long as the zone is well");
            let before = near.requests.get();
            tally(&mut http, 1000).await?;
            assert_eq!(sick.requests.get(), 3);
            // One of two is well and takes 70 %. Six standard deviations are 87.
            let taken = near.requests.get() - before;
            assert!((613..=787).contains(&taken), "{taken}");
            assert_eq!(taken + far.requests.get(), 1000);
            // Where the next zone can take the rest, no threshold brings back who was left out.
            says(&mesh, zones(pb::LocalityMode::Failover), more(90))?;
            tally(&mut http, 100).await?;
            assert_eq!(sick.requests.get(), 3);
            // Without it, the threshold does.
            mesh.remove(type_url::ADDRESS, &far.pod.uid());
            let mut again = 0;
            for _ in 0..100 {
                again += usize::from(http.get("/").await?.text() == "sick");
            }
            assert_eq!(again, 50, "all of what is left take turns");
            Ok(())
        },
    );
}

#[test]
fn a_failed_connection_is_tried_again_in_the_next_zone() {
    test(
        "locality::a_failed_connection_is_tried_again_in_the_next_zone",
        |mesh| async move {
            close(&mesh)?;
            here(&mesh, ("eu", "eu-1"))?;
            let far = backend(&mesh, "far", 12, ("eu", "eu-2")).await?;
            let gone = Pod {
                name: "gone".into(),
                ip: ip(13),
                service: "web".into(),
                hbone: true,
                policies: Vec::new(),
            };
            moved(&mesh, &gone, ("eu", "eu-1"), "n2")?;
            let mut http = Client::new(&mesh, "curl").await?.http1(VIP).await?;
            assert_eq!(tally(&mut http, 20).await?, only("far", 20));
            assert_eq!(far.requests.get(), 20);
            Ok(())
        },
    );
}

#[test]
fn keys_stay_near_and_sessions_where_they_began() {
    test(
        "locality::keys_stay_near_and_sessions_where_they_began",
        |mesh| async move {
            close(&mesh)?;
            here(&mesh, ("eu", "eu-1"))?;
            let _one = backend(&mesh, "one", 10, ("eu", "eu-1")).await?;
            let _two = backend(&mesh, "two", 11, ("eu", "eu-1")).await?;
            let far = backend(&mesh, "far", 12, ("eu", "eu-2")).await?;
            let policy = pb::TrafficPolicy {
                load_balancer: pb::LoadBalancer::ConsistentHash.into(),
                consistent_hash: Some(pb::ConsistentHash {
                    key: Some(pb::consistent_hash::Key::Header("x-user".into())),
                    balance_factor: 10_000,
                }),
                ..Default::default()
            };
            mesh.put(type_url::TRAFFIC_POLICY, &traffic("keys", "web", policy))?;
            let mut http = Client::new(&mesh, "curl").await?.http1(VIP).await?;
            let mut hits = BTreeMap::<String, usize>::new();
            for user in 0..40 {
                let mut first = None;
                for _ in 0..3 {
                    let mut request = get("/");
                    let user = format!("user-{user}").parse()?;
                    request.headers_mut().insert("x-user", user);
                    let answer = http.fetch(request).await?.text().to_owned();
                    assert_eq!(first.get_or_insert(answer.clone()), &answer);
                }
                *hits.entry(first.unwrap_or_default()).or_default() += 1;
            }
            assert_eq!(hits.keys().collect::<Vec<_>>(), ["one", "two"], "{hits:?}");
            assert_eq!(far.requests.get(), 0);
            // A session that began when there was nobody near goes on there.
            mesh.remove(type_url::TRAFFIC_POLICY, "TrafficPolicy/demo/keys");
            let rule = pb::HttpRule {
                session_persistence: Some(pb::SessionPersistence {
                    header: true,
                    session_name: "x-session".into(),
                    ..Default::default()
                }),
                ..resources::rule(Vec::new(), &[("web", 1)])
            };
            let (name, route) = resources::route("sticky", "web", vec![rule]);
            mesh.put(type_url::HTTP_ROUTE, &(name, route))?;
            here(&mesh, ("eu", "eu-2"))?;
            let begun = http.get("/").await?;
            assert_eq!(begun.text(), "far");
            let session = begun
                .header("x-session")
                .unwrap_or_default()
                .parse::<http::HeaderValue>()?;
            here(&mesh, ("eu", "eu-1"))?;
            for _ in 0..10 {
                let mut request = get("/");
                request.headers_mut().insert("x-session", session.clone());
                assert_eq!(http.fetch(request).await?.text(), "far");
                assert_ne!(http.get("/").await?.text(), "far");
            }
            Ok(())
        },
    );
}
