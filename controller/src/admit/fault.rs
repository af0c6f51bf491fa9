//! FaultPolicies.

use std::time::Duration;

use super::http_route;
use super::traffic::check_targets;
use crate::api::{Abort, Delay, FaultPolicySpec, Percentage, TcpFault};
use crate::model::Meta;
use crate::path::{FieldPath, Issues};

/// The longest delay.
const MAX_DELAY: Duration = Duration::from_secs(3600);

/// Of ten thousand.
pub(crate) fn per_ten_thousand(percentage: Option<Percentage>) -> Result<u32, String> {
    let value = percentage.map_or(100.0, |percentage| percentage.value);
    let scaled = value * 100.0;
    if !(0.0..=10_000.0).contains(&scaled) || (scaled - scaled.round()).abs() > 1e-6 {
        return Err(format!("{value} is not between 0 and 100 in steps of 0.01"));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range was checked"
    )]
    Ok(scaled.round() as u32)
}

pub(super) fn check(meta: &Meta, spec: &FaultPolicySpec, issues: &mut Issues) {
    let at = FieldPath::of("spec");
    check_targets(
        meta,
        &spec.target_refs,
        &["Service", "ServiceEntry", "HTTPRoute", "GRPCRoute"],
        issues,
    );
    check_aim(spec, &at, issues);
    let matches = at.key("match");
    http_route::check_values(&spec.matches.headers, &matches.key("headers"), true, issues);
    for (i, principal) in spec.matches.principals.iter().enumerate() {
        let id: Result<culvert_identity::SpiffeId, _> = format!("spiffe://{principal}").parse();
        issues.take(&matches.key("principals").index(i), id);
    }
    if let Some(delay) = &spec.delay {
        check_delay(delay, &at.key("delay"), issues);
    }
    if let Some(abort) = &spec.abort {
        check_abort(abort, &at.key("abort"), issues);
    }
    if let Some(tcp) = &spec.tcp {
        check_tcp(tcp, &at.key("tcp"), issues);
        if !spec.matches.headers.is_empty() {
            let message = "stands beside tcp: connections have no headers";
            issues.add(matches.key("headers"), message);
        }
    }
    if spec.delay.is_none() && spec.abort.is_none() && spec.tcp.is_none() {
        issues.add(at.clone(), "has none of delay, abort and tcp");
    }
    if let Some(duration) = spec.duration {
        if duration.get().is_zero() {
            issues.add(at.key("duration"), "is zero");
        }
        if spec.start_time.is_none() && meta.created.is_none() {
            let message = "is missing: it must be written beside duration in an object without creationTimestamp";
            issues.add(at.key("startTime"), message);
        }
    }
}

/// Targets or a selector, and of kinds that what is asked for can strike.
fn check_aim(spec: &FaultPolicySpec, at: &FieldPath, issues: &mut Issues) {
    let targets = at.key("targetRefs");
    match &spec.selector {
        None if spec.target_refs.is_empty() => issues.add(targets.clone(), "is empty"),
        None => {}
        Some(selector) => {
            if selector.match_labels.is_empty() {
                issues.add(at.key("selector").key("matchLabels"), "is empty");
            }
            if !spec.target_refs.is_empty() {
                issues.add(at.key("selector"), "stands beside targetRefs");
            }
            for (member, there) in [
                ("delay", spec.delay.is_some()),
                ("abort", spec.abort.is_some()),
            ] {
                if there {
                    let message = "stands beside selector: only tcp strikes workloads";
                    issues.add(at.key(member), message);
                }
            }
        }
    }
    for (i, target) in spec.target_refs.iter().enumerate() {
        let why = match target.kind.as_str() {
            "HTTPRoute" | "GRPCRoute" => "connections have no route",
            "ServiceEntry" => "it strikes connections where pods take them",
            _ => continue,
        };
        if spec.tcp.is_some() {
            let message = format!("{:?} stands beside tcp: {why}", target.kind);
            issues.add(targets.index(i).key("kind"), message);
        }
    }
}

fn check_share(percentage: Option<Percentage>, at: &FieldPath, issues: &mut Issues) {
    let at = at.key("percentage").key("value");
    issues.take(&at, per_ten_thousand(percentage));
}

fn check_delay(delay: &Delay, at: &FieldPath, issues: &mut Issues) {
    check_share(delay.percentage, at, issues);
    let Delay {
        fixed_delay,
        uniform,
        normal,
        exponential,
        ..
    } = delay;
    let stated = [
        fixed_delay.is_some(),
        uniform.is_some(),
        normal.is_some(),
        exponential.is_some(),
    ];
    if stated.into_iter().filter(|stated| *stated).count() != 1 {
        let message = "has not exactly one of fixedDelay, uniform, normal, exponential";
        issues.add(at.clone(), message);
    }
    let mut bounds = Vec::new();
    if let Some(fixed) = fixed_delay
        && fixed.get() > MAX_DELAY
    {
        issues.add(at.key("fixedDelay"), "is more than 1h");
    }
    if let Some(uniform) = uniform {
        bounds.push(("uniform", "min", uniform.min, uniform.max));
    }
    if let Some(normal) = normal {
        bounds.push(("normal", "mean", normal.mean, normal.max));
    }
    if let Some(exponential) = exponential {
        if exponential.mean.get().is_zero() {
            issues.add(at.key("exponential").key("mean"), "is zero");
        }
        bounds.push(("exponential", "mean", exponential.mean, exponential.max));
    }
    for (kind, member, low, max) in bounds {
        let at = at.key(kind);
        if low > max {
            issues.add(at.key(member), "is more than max");
        }
        if max.get() > MAX_DELAY {
            issues.add(at.key("max"), "is more than 1h");
        }
    }
}

fn check_abort(abort: &Abort, at: &FieldPath, issues: &mut Issues) {
    check_share(abort.percentage, at, issues);
    match abort.http_status {
        Some(status) if !(200..=599).contains(&status) => {
            let message = format!("{status} is not between 200 and 599");
            issues.add(at.key("httpStatus"), message);
        }
        None if abort.grpc_status.is_none() => {
            issues.add(at.clone(), "has neither httpStatus nor grpcStatus");
        }
        _ => {}
    }
}

fn check_tcp(tcp: &TcpFault, at: &FieldPath, issues: &mut Issues) {
    if let Some(delay) = &tcp.delay {
        check_delay(delay, &at.key("delay"), issues);
    }
    if let Some(reset) = &tcp.reset {
        check_share(reset.percentage, &at.key("reset"), issues);
    }
    if let Some(blackhole) = &tcp.blackhole {
        check_share(blackhole.percentage, &at.key("blackhole"), issues);
    }
    if let Some(throttle) = &tcp.throttle {
        let at = at.key("throttle");
        check_share(throttle.percentage, &at, issues);
        if throttle.bytes_per_second == 0 {
            issues.add(at.key("bytesPerSecond"), "is zero: write a blackhole");
        }
    }
    if *tcp == TcpFault::default() {
        issues.add(
            at.clone(),
            "has none of delay, reset, blackhole and throttle",
        );
    }
}
