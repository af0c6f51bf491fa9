//! The evaluator against a model that is slow, allocates freely, and is short enough to be seen to be right; and the
//! laws that hold for any set of policies.

#![expect(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use culvert_policy::{
    Action, Clause, Connection, Match, Policy, PolicySet, Principal, Rule, ServiceAccountMatch,
    StringMatch, explain,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Names that a glob or a regular expression would take for each other.
const NAMES: &[&str] = &["web", "web2", "a.b", "axb", "*", "w.*", "w"];

fn name() -> impl Strategy<Value = &'static str> {
    select(NAMES)
}

fn ip() -> impl Strategy<Value = IpAddr> {
    select(vec![
        "10.0.0.1",
        "10.0.1.1",
        "::ffff:10.0.0.1",
        "fd00::1",
        "fd00:1::1",
    ])
    .prop_map(|text| text.parse().unwrap())
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        name().prop_map(str::to_owned),
        (name(), name()).prop_map(|(ns, sa)| format!("td/ns/{ns}/sa/{sa}")),
        select(vec!["td/ns/", "td/", "b", ".b", "eb", "/sa/web", ".*"]).prop_map(str::to_owned),
    ]
}

fn string_match() -> impl Strategy<Value = StringMatch> {
    prop_oneof![
        text().prop_map(|t| StringMatch::Exact(t.into())),
        text().prop_map(|t| StringMatch::Prefix(t.into())),
        text().prop_map(|t| StringMatch::Suffix(t.into())),
        Just(StringMatch::Presence),
    ]
}

fn account() -> impl Strategy<Value = ServiceAccountMatch> {
    (name(), name()).prop_map(|(namespace, account)| ServiceAccountMatch {
        namespace: namespace.into(),
        service_account: account.into(),
    })
}

/// Mostly empty, so that matches name few fields and are sometimes satisfied.
fn few<T: std::fmt::Debug + 'static>(
    of: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = Vec<T>> {
    prop_oneof![6 => Just(()).prop_map(|()| Vec::new()), 1 => vec(of, 1..3)]
}

fn nets() -> impl Strategy<Value = Vec<ipnet::IpNet>> {
    few(select(vec![
        "10.0.0.0/24",
        "10.0.0.0/8",
        "0.0.0.0/0",
        "::/0",
        "fd00::/32",
    ]))
    .prop_map(|nets| nets.iter().map(|net| net.parse().unwrap()).collect())
}

fn ports() -> impl Strategy<Value = Vec<u16>> {
    few(80u16..83)
}

fn a_match() -> impl Strategy<Value = Match> {
    let names = || few(string_match());
    let identity = (
        names(),
        names(),
        names(),
        names(),
        few(account()),
        few(account()),
    );
    let place = (nets(), nets(), nets(), nets(), ports(), ports());
    (identity, place, few(Just("unknown"))).prop_map(|(identity, place, unknown)| Match {
        namespaces: identity.0,
        not_namespaces: identity.1,
        principals: identity.2,
        not_principals: identity.3,
        service_accounts: identity.4,
        not_service_accounts: identity.5,
        source_ips: place.0,
        not_source_ips: place.1,
        destination_ips: place.2,
        not_destination_ips: place.3,
        destination_ports: place.4,
        not_destination_ports: place.5,
        unknown_conditions: unknown.into_iter().map(Box::from).collect(),
    })
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let clause = vec(a_match(), 0..3).prop_map(|matches| Clause { matches });
    vec(vec(clause, 0..3).prop_map(|clauses| Rule { clauses }), 0..3)
}

fn policy(action: impl Strategy<Value = Action>) -> impl Strategy<Value = Policy> {
    let malformed = prop_oneof![5 => Just(false), 1 => Just(true)];
    let dry_run = prop_oneof![4 => Just(false), 1 => Just(true)];
    ("[a-z]{6}", action, rules(), malformed, dry_run).prop_map(
        |(name, action, rules, malformed, dry_run)| {
            let policy = if malformed {
                Policy::malformed(name, action, "unreadable")
            } else {
                Policy::new(name, action, rules)
            };
            policy.with_dry_run(dry_run)
        },
    )
}

fn any_policies() -> impl Strategy<Value = Vec<Arc<Policy>>> {
    let action = select(vec![Action::Allow, Action::Deny]);
    vec(policy(action).prop_map(Arc::new), 0..5).prop_map(|mut policies| {
        policies.sort_by(|a, b| a.name().cmp(b.name()));
        policies.dedup_by(|a, b| a.name() == b.name());
        policies
    })
}

#[derive(Clone, Debug)]
struct Peer {
    principal: Option<Principal>,
    source: IpAddr,
    destination: SocketAddr,
}

impl Peer {
    fn connection(&self) -> Connection<'_> {
        Connection {
            peer: self.principal.as_ref(),
            source: self.source,
            destination: self.destination,
        }
    }
}

fn peer() -> impl Strategy<Value = Peer> {
    let principal = (name(), name()).prop_map(|(ns, sa)| Principal::new("td", ns, sa).unwrap());
    (proptest::option::of(principal), ip(), ip(), 80u16..83).prop_map(
        |(principal, source, destination, port)| Peer {
            principal,
            source,
            destination: SocketAddr::new(destination, port),
        },
    )
}

/// The model. Three truths: a condition on an identity that is not there is `None`, and `None` counts for what denies.
mod model {
    use super::*;

    pub(super) fn permits(policies: &[Arc<Policy>], peer: &Peer, with_dry_runs: bool) -> bool {
        let counted: Vec<_> = policies
            .iter()
            .filter(|p| with_dry_runs || !p.is_dry_run())
            .collect();
        let of = |action| counted.iter().filter(move |p| p.action() == action);
        let denied = of(Action::Deny).any(|p| matches(p, peer));
        let restricted = of(Action::Allow).count() > 0;
        let allowed = of(Action::Allow).any(|p| matches(p, peer));
        !denied && (allowed || !restricted)
    }

    fn matches(policy: &Policy, peer: &Peer) -> bool {
        let closed = policy.action() == Action::Deny;
        if policy.error().is_some() {
            return closed;
        }
        policy.rules().iter().any(|rule| {
            rule.clauses.iter().all(|clause| {
                clause.matches.is_empty()
                    || clause.matches.iter().any(|m| {
                        let conditions = conditions(m, peer);
                        !conditions.is_empty() && conditions.iter().all(|c| c.unwrap_or(closed))
                    })
            })
        })
    }

    fn conditions(m: &Match, peer: &Peer) -> Vec<Option<bool>> {
        let principal = peer.principal.as_ref();
        let namespace = principal.map(|p| p.namespace().to_owned());
        let account = principal.map(|p| format!("{}/{}", p.namespace(), p.service_account()));
        let whole =
            principal.map(|p| format!("td/ns/{}/sa/{}", p.namespace(), p.service_account()));
        let literal = |m: &StringMatch, name: &String| match m {
            StringMatch::Exact(text) => name.as_str() == &**text,
            StringMatch::Prefix(text) => name.get(..text.len()) == Some(&**text),
            StringMatch::Suffix(text) => name
                .chars()
                .rev()
                .collect::<String>()
                .starts_with(&text.chars().rev().collect::<String>()),
            StringMatch::Presence => true,
        };
        let same_account = |m: &ServiceAccountMatch, name: &String| m.to_string() == *name;
        let in_net = |net: &ipnet::IpNet, ip: &IpAddr| net.contains(ip);
        let source = Some(peer.source.to_canonical());
        let destination = Some(peer.destination.ip().to_canonical());
        let port = Some(peer.destination.port());
        let mut found = Vec::new();
        found.extend(plain(&m.namespaces, &namespace, literal));
        found.extend(negative(&m.not_namespaces, &namespace, literal));
        found.extend(plain(&m.principals, &whole, literal));
        found.extend(negative(&m.not_principals, &whole, literal));
        found.extend(plain(&m.service_accounts, &account, same_account));
        found.extend(negative(&m.not_service_accounts, &account, same_account));
        found.extend(plain(&m.source_ips, &source, in_net));
        found.extend(negative(&m.not_source_ips, &source, in_net));
        found.extend(plain(&m.destination_ips, &destination, in_net));
        found.extend(negative(&m.not_destination_ips, &destination, in_net));
        found.extend(plain(&m.destination_ports, &port, u16::eq));
        found.extend(negative(&m.not_destination_ports, &port, u16::eq));
        found.extend((!m.unknown_conditions.is_empty()).then_some(None));
        found
    }

    type Condition = Option<Option<bool>>;

    /// Plain: somebody who is nobody is none of those.
    fn plain<V, T>(list: &[V], value: &Option<T>, is: impl Fn(&V, &T) -> bool) -> Condition {
        let found = value
            .as_ref()
            .is_some_and(|value| list.iter().any(|v| is(v, value)));
        (!list.is_empty()).then_some(Some(found))
    }

    /// Negative: of somebody who is nobody it cannot be said.
    fn negative<V, T>(list: &[V], value: &Option<T>, is: impl Fn(&V, &T) -> bool) -> Condition {
        let found = value
            .as_ref()
            .map(|value| !list.iter().any(|v| is(v, value)));
        (!list.is_empty()).then_some(found)
    }
}

fn permits(policies: &[Arc<Policy>], peer: &Peer) -> bool {
    PolicySet::new(policies.iter().cloned())
        .evaluate(&peer.connection())
        .is_allowed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn evaluation_is_the_models(policies in any_policies(), peers in vec(peer(), 1..6)) {
        let set = PolicySet::new(policies.iter().cloned());
        for peer in &peers {
            let conn = peer.connection();
            prop_assert_eq!(set.evaluate(&conn).is_allowed(), model::permits(&policies, peer, false));
            let dry_runs = policies.iter().any(|p| p.is_dry_run());
            let expected = dry_runs.then(|| model::permits(&policies, peer, true));
            prop_assert_eq!(set.dry_run(&conn).map(|verdict| verdict.is_allowed()), expected);
            prop_assert_eq!(explain(&set, &conn).outcome.allowed, set.evaluate(&conn).is_allowed());
        }
    }

    #[test]
    fn adding_a_deny_policy_never_widens(
        policies in any_policies(),
        deny in policy(Just(Action::Deny)),
        peers in vec(peer(), 1..6),
    ) {
        let mut more = policies.clone();
        more.push(Arc::new(deny));
        for peer in &peers {
            prop_assert!(permits(&policies, peer) || !permits(&more, peer));
        }
    }

    /// While another ALLOW policy is enforced. Without one, everything that is not denied is permitted.
    #[test]
    fn removing_an_allow_policy_never_widens(
        policies in any_policies(),
        stays in policy(Just(Action::Allow)),
        goes in policy(Just(Action::Allow)),
        peers in vec(peer(), 1..6),
    ) {
        let mut fewer = policies;
        fewer.push(Arc::new(stays.with_dry_run(false)));
        let mut all = fewer.clone();
        all.push(Arc::new(goes));
        for peer in &peers {
            prop_assert!(permits(&all, peer) || !permits(&fewer, peer));
        }
    }

    #[test]
    fn removing_the_last_allow_policy_leaves_only_the_denials(
        denies in vec(policy(Just(Action::Deny)).prop_map(Arc::new), 0..3),
        peers in vec(peer(), 1..6),
    ) {
        for peer in &peers {
            let denied = denies.iter().any(|p| !p.is_dry_run() && p.matches(&peer.connection()));
            prop_assert_eq!(permits(&denies, peer), !denied);
        }
    }

    #[test]
    fn order_and_repetition_do_not_matter(policies in any_policies(), peer in peer()) {
        let mut shuffled = policies.clone();
        shuffled.reverse();
        shuffled.extend(policies.iter().cloned());
        let (one, other) = (PolicySet::new(policies), PolicySet::new(shuffled));
        prop_assert_eq!(one.evaluate(&peer.connection()), other.evaluate(&peer.connection()));
    }

    /// A name is matched by itself only, whatever characters it has.
    #[test]
    fn names_match_literally(written in "[a-z.*?+\\[\\]()|\\\\^$-]{1,12}", actual in "[a-z.*?+-]{1,12}") {
        let namespace = Match {
            namespaces: vec![StringMatch::Exact(written.as_str().into())],
            ..Match::default()
        };
        let rule = Rule { clauses: vec![Clause { matches: vec![namespace] }] };
        let policy = Policy::new("a/b", Action::Allow, vec![rule]);
        for name in [&written, &actual] {
            let principal = Principal::new("td", name, "sa").unwrap();
            let conn = Connection {
                peer: Some(&principal),
                source: IpAddr::from([10, 0, 0, 1]),
                destination: SocketAddr::from(([10, 0, 0, 2], 80)),
            };
            prop_assert_eq!(policy.matches(&conn), *name == written);
        }
    }
}
