//! The status file, version 1. Its schema is in `docs/configuration.md` under "Status"; fields may be added.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use culvert_proto::node::CertificateState;
use imbl::OrdMap;
use k8s_openapi::jiff::Timestamp;
use serde::Serialize;

use super::components::{Components, State};
use super::egress;
use super::gateways::{self, Gateway};
use super::sets::{self, SetVerdict};
use crate::engine::{Client, Component, Problem, Problems};
use crate::model::{Key, Kind, NsName};
use crate::source::{Origin, Seen};
use crate::translate::listener::GatewayState;
use crate::translate::{ConditionType, Finding, enrolment, entry, ingresses, names};
use crate::world::{Consumer, World};

/// What the status is made from.
#[derive(Debug)]
pub struct View<'a> {
    /// Objects and settings.
    pub world: &'a World,
    /// Who connected.
    pub components: &'a Components,
    /// What the translation found.
    pub findings: Vec<&'a Finding>,
    /// Where objects stand.
    pub origins: &'a BTreeMap<Key, Origin>,
    /// Everything that is wrong.
    pub problems: &'a Problems,
    /// Who asks for which waypoint.
    pub wanted: &'a BTreeMap<NsName, BTreeSet<Consumer>>,
    /// What became of the listeners of gateways.
    pub gateways: &'a OrdMap<NsName, Arc<GatewayState>>,
    /// Gateways that lead to what each BackendTLSPolicy is for.
    pub ancestors: BTreeMap<NsName, BTreeSet<NsName>>,
}

/// The status, and what the next start must know.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    version: u32,
    updated: Timestamp,
    trust_domain: String,
    nodes: Vec<Node>,
    waypoints: Vec<Waypoint>,
    gateways: Vec<Gateway>,
    objects: Vec<Object>,
    rejected: Vec<Rejected>,
}

#[derive(Debug, Serialize)]
struct Node {
    name: String,
    agent: Process,
    ztunnel: Process,
    pods: Vec<Pod>,
    certificates: Vec<Certificate>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Process {
    connected: bool,
    version: String,
    last_seen: Option<Timestamp>,
    pending: Vec<String>,
    error: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Pod {
    namespace: String,
    name: String,
    uid: String,
    enrolled: bool,
    hbone: bool,
    capture: String,
    message: String,
    generation: String,
    connections_before: u32,
    connections_closed: u32,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Certificate {
    identity: String,
    serial: String,
    not_before: Option<Timestamp>,
    not_after: Option<Timestamp>,
    error: String,
}

#[derive(Debug, Serialize)]
struct Waypoint {
    namespace: String,
    name: String,
    addresses: Vec<std::net::IpAddr>,
    #[serde(flatten)]
    process: Process,
    programmed: bool,
    services: Vec<String>,
    /// ServiceEntries.
    entries: Vec<String>,
    workloads: Vec<String>,
    waiting: Vec<String>,
    certificates: Vec<Certificate>,
}

#[derive(Debug, Serialize)]
pub(super) struct Object {
    pub(super) kind: Kind,
    pub(super) namespace: String,
    pub(super) name: String,
    file: String,
    line: u32,
    pub(super) conditions: Vec<Condition>,
}

#[derive(Debug, Serialize)]
pub(super) struct Condition {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) status: &'static str,
    pub(super) reason: &'static str,
    pub(super) message: String,
    pub(super) field: String,
    line: u32,
}

#[cfg(test)]
impl Condition {
    pub(super) fn new(
        kind: &'static str,
        status: &'static str,
        reason: &'static str,
        message: String,
        field: String,
    ) -> Self {
        let line = 0;
        Self {
            kind,
            status,
            reason,
            message,
            field,
            line,
        }
    }
}

/// What became of each object, for the objects themselves.
#[derive(Debug)]
pub struct Verdicts {
    pub(super) objects: Vec<Object>,
    /// By the object's key as text.
    pub(super) rejected: BTreeMap<String, Vec<crate::source::Rejection>>,
    /// Pods that have the condition of capture and are not in the mesh.
    pub(super) outsiders: Vec<NsName>,
    /// Gateways whose routes we speak of.
    pub(super) gateways: BTreeSet<NsName>,
    /// The gateway that serves Ingresses.
    pub(super) ingress_gateway: NsName,
    /// Which addresses the statuses of ServiceEntries are to name.
    pub(super) addresses: BTreeMap<NsName, entry::Wish>,
    /// Gateways that lead to what each BackendTLSPolicy is for.
    pub(super) ancestors: BTreeMap<NsName, BTreeSet<NsName>>,
    /// Routes of nothing but Gateways of others: what was said of them before is taken back.
    pub(super) of_others: BTreeSet<Key>,
    /// How far the source was read for all this. Of an object that is newer nothing is known.
    pub(super) seen: Seen,
    /// ListenerSets of our Gateways.
    pub(super) sets: BTreeMap<NsName, SetVerdict>,
    /// ListenerSets whose Gateway does not exist.
    pub(super) orphans: BTreeSet<NsName>,
}

impl Verdicts {
    /// The same, of what was read so far.
    #[must_use]
    pub fn at(mut self, seen: Seen) -> Self {
        self.seen = seen;
        self
    }
}

/// What became of each object now.
#[must_use]
pub fn verdicts(view: &View<'_>) -> Verdicts {
    let mut rejected: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for problem in view.problems.iter() {
        let rejection = &problem.rejection;
        if rejection.effect != crate::source::Effect::FailClosed {
            let list = rejected.entry(rejection.object.clone()).or_default();
            list.push(rejection.clone());
        }
    }
    let pods = view.world.cache.pods.iter();
    let outsiders =
        pods.filter(|pod| pod.spec.capture_told && !enrolment::is_enrolled(view.world, pod));
    Verdicts {
        objects: objects(view),
        rejected,
        outsiders: outsiders.map(|pod| pod.meta.name.clone()).collect(),
        gateways: view.gateways.keys().cloned().collect(),
        ingress_gateway: view.world.ingresses.gateway().clone(),
        addresses: entry::wishes(view.world),
        ancestors: view.ancestors.clone(),
        of_others: Kind::ROUTES
            .into_iter()
            .flat_map(|kind| view.world.cache.objects(kind))
            .map(|route| route.key())
            .filter(|route| of_others(view.world, route))
            .collect(),
        seen: Seen::default(),
        sets: sets::all(view),
        orphans: sets::orphans(view),
    }
}

#[derive(Debug, Serialize)]
struct Rejected {
    file: String,
    line: u32,
    object: String,
    field: String,
    message: String,
    effect: crate::source::Effect,
    since: Timestamp,
}

/// The status now.
#[must_use]
pub fn document(view: &View<'_>) -> Document {
    let world = view.world;
    Document {
        version: 1,
        updated: crate::clock::now(),
        trust_domain: world.settings.trust_domain().to_owned(),
        nodes: nodes(view),
        waypoints: waypoints(view),
        gateways: gateways::all(view),
        objects: objects(view),
        rejected: view.problems.iter().map(rejected).collect(),
    }
}

fn nodes(view: &View<'_>) -> Vec<Node> {
    let pods = &view.world.cache.pods;
    let mut names: BTreeSet<&str> = view.components.nodes().collect();
    names.extend(
        view.world
            .cache
            .nodes
            .iter()
            .map(|node| &*node.meta.name.name),
    );
    names.extend(
        pods.iter()
            .map(|pod| &*pod.spec.node)
            .filter(|node| !node.is_empty()),
    );
    let node = |name: &str| {
        let client = Client::Node(name.into());
        let ztunnel = view.components.get(&client, Component::Ztunnel);
        let pods = view
            .world
            .index
            .pods_on(name)
            .filter_map(|pod| pods.get(pod));
        Node {
            name: name.to_owned(),
            agent: process(view.components.get(&client, Component::Agent)),
            ztunnel: process(ztunnel),
            pods: pods
                .filter(|pod| !pod.spec.ended)
                .map(|object| pod(view.world, object))
                .collect(),
            certificates: certificates(ztunnel),
        }
    };
    names.into_iter().map(node).collect()
}

fn pod(world: &World, pod: &crate::model::Obj<crate::model::Pod>) -> Pod {
    let name = &pod.meta.name;
    let said = world
        .capture
        .get(name)
        .map(|capture| capture.said.clone())
        .unwrap_or_default();
    Pod {
        namespace: name.namespace.to_string(),
        name: name.name.to_string(),
        uid: names::pod_uid(&world.settings, name),
        enrolled: enrolment::is_enrolled(world, pod),
        hbone: world.capture.is_hbone(name),
        capture: said.capture,
        message: said.message,
        generation: said.generation,
        connections_before: said.connections_before,
        connections_closed: said.connections_closed,
    }
}

pub(super) fn process(state: Option<&State>) -> Process {
    let Some(state) = state else {
        return Process::default();
    };
    Process {
        connected: state.streams > 0,
        version: state.report.version.clone(),
        last_seen: state.last_seen,
        pending: state.report.pending.clone(),
        error: state.error(),
    }
}

pub(super) fn certificates(state: Option<&State>) -> Vec<Certificate> {
    let time = |seconds| Timestamp::from_second(seconds).ok();
    let certificate = |c: &CertificateState| Certificate {
        identity: c.identity.clone(),
        serial: c.serial.clone(),
        not_before: time(c.not_before),
        not_after: time(c.not_after),
        error: c.error.clone(),
    };
    state
        .iter()
        .flat_map(|state| &state.report.certificates)
        .map(certificate)
        .collect()
}

fn waypoints(view: &View<'_>) -> Vec<Waypoint> {
    let world = view.world;
    let ours = world.cache.gateways.iter().filter_map(|gateway| {
        let waypoint = gateway.spec.waypoint.as_ref()?;
        Some((&gateway.meta.name, waypoint))
    });
    let waypoint = |(name, waypoint): (&NsName, &crate::model::Waypoint)| {
        let state = view
            .components
            .get(&Client::Waypoint(name.clone()), Component::Waypoint);
        let (mut services, mut workloads) = (Vec::new(), Vec::new());
        let mut entries = Vec::new();
        for consumer in world.waypoints.consumers(name) {
            match consumer {
                Consumer::Service(name) => services.push(name.to_string()),
                Consumer::Entry(name) => entries.push(name.to_string()),
                Consumer::Pod(name) => workloads.push(name.to_string()),
            }
        }
        let served: BTreeSet<_> = world.waypoints.consumers(name).collect();
        let wanted = view.wanted.get(name).into_iter().flatten();
        let waiting = |consumer: &&Consumer| match consumer {
            Consumer::Service(_) | Consumer::Entry(_) => {
                waypoint.purpose.services() && !served.contains(consumer)
            }
            Consumer::Pod(_) => waypoint.purpose.workloads() && !served.contains(consumer),
        };
        Waypoint {
            namespace: name.namespace.to_string(),
            name: name.name.to_string(),
            addresses: waypoint.addresses.clone(),
            process: process(state),
            programmed: world.waypoints.is_programmed(name),
            services,
            entries,
            workloads,
            waiting: wanted
                .filter(waiting)
                .map(|consumer| consumer.name().to_string())
                .collect(),
            certificates: certificates(state),
        }
    };
    ours.map(waypoint).collect()
}

/// The conditions that a kind has whether or not anything is wrong.
fn conditions_of(kind: Kind) -> &'static [ConditionType] {
    use ConditionType::{Accepted, Enforced, Programmed, ResolvedRefs};
    match kind {
        Kind::Gateway | Kind::ListenerSet => &[Accepted, Programmed],
        Kind::HttpRoute | Kind::GrpcRoute | Kind::TlsRoute | Kind::TcpRoute => {
            &[Accepted, ResolvedRefs, Programmed]
        }
        Kind::Ingress => &[Accepted, ResolvedRefs, Programmed],
        Kind::AuthorizationPolicy => &[Accepted, ResolvedRefs, Enforced],
        Kind::PeerAuthentication | Kind::MeshConfig => &[Accepted],
        Kind::TrafficPolicy | Kind::BackendTlsPolicy => &[Accepted, ResolvedRefs],
        Kind::ServiceEntry => &[Accepted, Programmed],
        Kind::FaultPolicy => &[Accepted, ResolvedRefs, Enforced],
        Kind::EgressPolicy => &[Accepted, Enforced],
        Kind::XBackendTrafficPolicy => &[Accepted, Enforced],
        _ => &[],
    }
}

fn objects(view: &View<'_>) -> Vec<Object> {
    let unaware = egress::unaware(view);
    let mut findings: BTreeMap<&Key, Vec<&Finding>> = BTreeMap::new();
    for finding in view.findings.iter().copied().chain(&unaware) {
        let list = findings.entry(&finding.object).or_default();
        if !list.contains(&finding) {
            list.push(finding);
        }
    }
    let cache = &view.world.cache;
    let judged = Kind::ALL
        .into_iter()
        .filter(|kind| !conditions_of(*kind).is_empty());
    let mut shown: BTreeSet<Key> = judged
        .flat_map(|kind| cache.objects(kind))
        .map(|object| object.key())
        .collect();
    let found = findings.keys().filter(|key| cache.get(key).is_some());
    shown.extend(found.map(|key| (*key).clone()));
    let foreign = |key: &Key| match key.kind {
        Kind::Gateway => is_foreign(view.world, &key.name),
        Kind::Ingress => {
            let ingress = cache.ingresses.get(&key.name);
            ingress.is_some_and(|ingress| !ingresses::is_ours(view.world, &ingress.spec))
        }
        Kind::ListenerSet => is_set_of_others(view.world, &key.name),
        kind if Kind::ROUTES.contains(&kind) => of_others(view.world, key),
        _ => false,
    };
    let object = |key: &Key| {
        let origin = view.origins.get(key);
        let found = findings.get(key).map(Vec::as_slice).unwrap_or_default();
        Object {
            kind: key.kind,
            namespace: key.name.namespace.to_string(),
            name: key.name.name.to_string(),
            file: origin.map(file).unwrap_or_default(),
            line: origin.map_or(0, |origin| origin.line),
            conditions: conditions(key.kind, found, origin),
        }
    };
    let own = shown.iter().filter(|key| !foreign(key));
    own.map(object).collect()
}

/// Whether a Gateway is somebody else's.
fn is_foreign(world: &World, gateway: &NsName) -> bool {
    let gateway = world.cache.gateways.get(gateway);
    gateway.is_some_and(|gateway| !gateway.spec.is_ours())
}

/// Whether a ListenerSet is for something else than a Gateway of ours.
fn is_set_of_others(world: &World, set: &NsName) -> bool {
    let set = world.cache.listener_sets.get(set);
    set.is_some_and(|set| {
        let gateway = set.spec.gateway.as_ref();
        gateway.is_none_or(|gateway| world.merged(gateway).is_none())
    })
}

/// Whether a route is attached to nothing but Gateways and ListenerSets of others.
fn of_others(world: &World, route: &Key) -> bool {
    let of_http = world.cache.route(route).map(|o| &o.spec.parent_refs);
    let of_stream = world.cache.stream_route(route).map(|o| &o.spec.parent_refs);
    let parents = of_http.or(of_stream).map(Vec::as_slice).unwrap_or_default();
    let own = &route.name.namespace;
    let others = parents.iter().all(|parent| {
        let namespace = parent.namespace.as_deref().unwrap_or(own);
        let name = NsName::new(namespace, parent.name.as_str());
        match parent.kind.as_deref() {
            Some("Service" | "ServiceEntry") => false,
            Some("ListenerSet") => is_set_of_others(world, &name),
            _ => is_foreign(world, &name),
        }
    });
    others && !parents.is_empty()
}

fn conditions(kind: Kind, findings: &[&Finding], origin: Option<&Origin>) -> Vec<Condition> {
    let mut conditions: Vec<Condition> = findings
        .iter()
        .map(|finding| Condition {
            kind: finding.condition.as_str(),
            status: "False",
            reason: finding.reason,
            message: finding.message.clone(),
            field: finding.field.to_string(),
            line: origin.map_or(0, |origin| origin.line_of(&finding.field)),
        })
        .collect();
    for known in conditions_of(kind) {
        if findings.iter().all(|finding| finding.condition != *known) {
            let reason = known.as_str();
            let line = origin.map_or(0, |origin| origin.line);
            let (message, field) = (String::new(), String::new());
            conditions.push(Condition {
                kind: reason,
                status: "True",
                reason,
                message,
                field,
                line,
            });
        }
    }
    conditions
}

fn file(origin: &Origin) -> String {
    origin
        .file
        .as_ref()
        .map(|file| file.display().to_string())
        .unwrap_or_default()
}

fn rejected(problem: &Problem) -> Rejected {
    let rejection = &problem.rejection;
    Rejected {
        file: rejection
            .file
            .as_ref()
            .map(|file| file.display().to_string())
            .unwrap_or_default(),
        line: rejection.line,
        object: rejection.object.clone(),
        field: rejection.field.clone(),
        message: rejection.message.clone(),
        effect: rejection.effect,
        since: problem.since,
    }
}
