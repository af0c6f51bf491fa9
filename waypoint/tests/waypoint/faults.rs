//! Faults strike as often as asked for, and only whom they are aimed at.

use std::time::{Duration, Instant};

use culvert_proto::{type_url, waypoint as pb};

use crate::backend::Backend;
use crate::client::{Client, get};
use crate::mesh::test;
use crate::resources::{exactly, fault, millis};

const VIP: &str = "10.96.0.10:80";

fn abort(status: u32, share: u32) -> Option<pb::FaultAbort> {
    Some(pb::FaultAbort {
        http_status: status,
        per_ten_thousand: share,
        ..Default::default()
    })
}

fn delay(wait: i32, share: u32) -> Option<pb::FaultDelay> {
    Some(pb::FaultDelay {
        fixed: millis(wait),
        per_ten_thousand: share,
        ..Default::default()
    })
}

#[test]
fn the_chosen_share_is_aborted_and_marked() {
    test(
        "faults::the_chosen_share_is_aborted_and_marked",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let web = Backend::named(&mesh, "web-1", "web", 10).await?;
            let policy = pb::FaultPolicy {
                abort: abort(418, 3000),
                ..Default::default()
            };
            mesh.put(type_url::FAULT_POLICY, &fault("abort", "web", policy))?;
            let mut http = Client::new(&mesh, "curl").await?.http1(VIP).await?;
            let mut aborted = 0;
            for _ in 0..1000 {
                let answer = http.get("/").await?;
                match answer.status.as_u16() {
                    200 => assert_eq!(answer.header("culvert-fault"), None),
                    418 => {
                        assert_eq!(answer.header("culvert-fault"), Some("abort"));
                        aborted += 1;
                    }
                    other => anyhow::bail!("status {other}"),
                }
            }
            // 300 expected; six standard deviations are 87.
            assert!((213..=387).contains(&aborted), "{aborted}");
            assert_eq!(
                web.requests.get(),
                1000 - aborted,
                "what was aborted was not sent"
            );
            let metrics = culvert_runtime::metrics::encode();
            let line = "culvert_waypoint_faults_total{destination_service=\"demo/web.demo.svc.cluster.local\",kind=\"abort\",policy=\"demo/abort\"}";
            assert!(metrics.contains(&format!("{line} {aborted}")), "{metrics}");
            Ok(())
        },
    );
}

#[test]
fn delays_wait_and_mark_the_backends_answer() {
    test(
        "faults::delays_wait_and_mark_the_backends_answer",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let _web = Backend::named(&mesh, "web-1", "web", 10).await?;
            let policy = pb::FaultPolicy {
                delay: delay(200, 10_000),
                ..Default::default()
            };
            mesh.put(type_url::FAULT_POLICY, &fault("delay", "web", policy))?;
            let client = Client::new(&mesh, "curl").await?;
            for http in [&mut client.http1(VIP).await?, &mut client.http2(VIP).await?] {
                let start = Instant::now();
                let answer = http.get("/").await?;
                assert!(start.elapsed() >= Duration::from_millis(200));
                assert_eq!(
                    (answer.text(), answer.header("culvert-fault")),
                    ("web-1", Some("delay"))
                );
            }
            Ok(())
        },
    );
}

#[test]
fn a_policy_ends_by_itself_and_delays_keep_within_their_bounds() {
    test(
        "faults::a_policy_ends_by_itself_and_delays_keep_within_their_bounds",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let _web = Backend::named(&mesh, "web-1", "web", 10).await?;
            let uniform = pb::FaultUniform {
                min: millis(20),
                max: millis(60),
            };
            let delay = pb::FaultDelay {
                uniform: Some(uniform),
                per_ten_thousand: 10_000,
                ..Default::default()
            };
            let until = |seconds: u64| {
                let not_after = std::time::SystemTime::now() + Duration::from_secs(seconds);
                Some(pb::FaultTerm {
                    not_after: Some(not_after.into()),
                    lasts: millis(3000),
                })
            };
            // By its clock it would have an hour, and it lasts three seconds.
            let policy = pb::FaultPolicy {
                delay: Some(delay),
                term: until(3600),
                ..Default::default()
            };
            mesh.put(
                type_url::FAULT_POLICY,
                &fault("term", "web", policy.clone()),
            )?;
            let mut http = Client::new(&mesh, "curl").await?.http1(VIP).await?;
            let start = Instant::now();
            let answer = http.get("/").await?;
            assert!(start.elapsed() >= Duration::from_millis(20));
            assert_eq!(answer.header("culvert-fault"), Some("delay"));
            while http.get("/").await?.header("culvert-fault").is_some() {
                assert!(start.elapsed() < Duration::from_secs(30), "it does not end");
            }
            // Over by the clock: it never strikes.
            let policy = pb::FaultPolicy {
                term: until(0),
                ..policy
            };
            mesh.put(type_url::FAULT_POLICY, &fault("over", "web", policy))?;
            assert_eq!(http.get("/").await?.header("culvert-fault"), None);
            Ok(())
        },
    );
}

#[test]
fn only_those_aimed_at_are_struck() {
    test(
        "faults::only_those_aimed_at_are_struck",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            mesh.service("other", "10.96.0.11")?;
            let _pods = (
                Backend::named(&mesh, "web-1", "web", 10).await?,
                Backend::named(&mesh, "other-1", "other", 11).await?,
            );
            let policy = pb::FaultPolicy {
                abort: abort(503, 10_000),
                headers: vec![exactly("x-chaos", "on")],
                principals: vec!["cluster.local/ns/demo/sa/curl".into()],
                ..Default::default()
            };
            mesh.put(type_url::FAULT_POLICY, &fault("aimed", "web", policy))?;
            let clients = [
                ("curl", Client::new(&mesh, "curl").await?),
                ("curl2", Client::new(&mesh, "curl2").await?),
            ];
            for (name, client) in &clients {
                for (vip, service) in [(VIP, "web"), ("10.96.0.11:80", "other")] {
                    let mut http = client.http1(vip).await?;
                    for chaos in ["on", "off"] {
                        let mut request = get("/");
                        request.headers_mut().insert("x-chaos", chaos.parse()?);
                        let struck = http.fetch(request).await?.status == 503;
                        let expected = *name == "curl" && service == "web" && chaos == "on";
                        assert_eq!(struck, expected, "{name} to {service} with {chaos}");
                    }
                }
            }
            Ok(())
        },
    );
}

#[test]
fn grpc_requests_get_a_grpc_status() {
    test(
        "faults::grpc_requests_get_a_grpc_status",
        |mesh| async move {
            mesh.service("web", "10.96.0.10")?;
            let abort = pb::FaultAbort {
                http_status: 503,
                per_ten_thousand: 10_000,
                grpc_status: 8,
                has_grpc_status: true,
            };
            let policy = pb::FaultPolicy {
                abort: Some(abort),
                ..Default::default()
            };
            mesh.put(type_url::FAULT_POLICY, &fault("grpc", "web", policy))?;
            let mut http = Client::new(&mesh, "curl").await?.http2(VIP).await?;
            let mut request = get("/pkg.Service/Method");
            request
                .headers_mut()
                .insert("content-type", "application/grpc".parse()?);
            let answer = http.fetch(request).await?;
            assert_eq!(
                (answer.status.as_u16(), answer.header("grpc-status")),
                (200, Some("8"))
            );
            assert_eq!(http.get("/").await?.status.as_u16(), 503);
            Ok(())
        },
    );
}
