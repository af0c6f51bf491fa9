//! One Ingress: a route for each host that it has, and what is wrong with it.
//!
//! A host's route is attached to the host's listeners. One that sends clients from plain text to HTTPS is two routes.
//! Invariant: a path that is not served because of what is wrong with it is answered with an error, never by what is less
//! specific.

mod tls;

use std::collections::BTreeSet;

use culvert_proto::waypoint::{
    HttpRoute, HttpRule, ListenerRef, ServiceRef, http_backend::Target, path_match,
};

use super::claims::{self, Claims, is_same};
use super::class;
use super::gateway::{self, HTTP, HTTPS};
use super::rule::{kind, redirecting, rule};
use crate::keys;
use crate::model::{
    BackendPort, Ingress, IngressBackend, IngressPath, Key, Kind, NsName, Obj, PathType,
};
use crate::path::FieldPath;
use crate::translate::finding::{ConditionType, Finding, Findings};
use crate::translate::resource::{Message, Resource};
use crate::translate::route::created;
use crate::translate::{ingress, names};
use crate::world::World;

/// What is more than itself in other controllers' paths.
const SPECIAL: [char; 12] = ['*', '(', ')', '[', ']', '{', '}', '^', '$', '|', '\\', '+'];

/// What is made of an Ingress.
#[derive(Debug, Default)]
pub struct Made {
    /// Its routes.
    pub resources: Vec<Resource>,
    /// What is wrong with it.
    pub findings: Vec<Finding>,
    /// Services that it leads to.
    pub backends: Vec<NsName>,
    /// The gateway, and by which of its ports the Ingress is reached.
    pub attached: Vec<(NsName, String)>,
}

/// One Ingress; nothing of another controller's.
#[must_use]
pub fn of(world: &World, ingress: &Obj<Ingress>) -> Made {
    if !super::is_ours(world, &ingress.spec) {
        return Made::default();
    }
    let mut making = Making::new(world, ingress);
    match class::refused(world, &ingress.spec) {
        Some(message) => making.refuse(
            "InvalidParameters",
            FieldPath::of("spec.ingressClassName"),
            message,
        ),
        None => making.make(),
    }
    making.made.findings = making.findings.into_vec();
    making.made
}

/// While one Ingress is translated.
struct Making<'a> {
    world: &'a World,
    ingress: &'a Obj<Ingress>,
    findings: Findings,
    made: Made,
    /// Ports that it is reached by.
    ports: BTreeSet<&'static str>,
}

impl<'a> Making<'a> {
    fn new(world: &'a World, ingress: &'a Obj<Ingress>) -> Self {
        let name = ingress.meta.name.clone();
        Self {
            world,
            ingress,
            findings: Findings::new(Key {
                kind: Kind::Ingress,
                name,
            }),
            made: Made::default(),
            ports: BTreeSet::new(),
        }
    }

    fn refuse(&mut self, reason: &'static str, at: FieldPath, message: String) {
        self.findings
            .error(ConditionType::Accepted, reason, at, message);
    }

    fn unresolved(&mut self, reason: &'static str, at: FieldPath, message: String) {
        self.findings
            .error(ConditionType::ResolvedRefs, reason, at, message);
    }

    fn make(&mut self) {
        let (world, spec) = (self.world, &self.ingress.spec);
        let default = spec.default_backend.as_ref();
        let default = default.map(|b| self.backend(b, &FieldPath::of("spec.defaultBackend")));
        let own = &self.ingress.meta.name;
        for host in spec.hosts() {
            match claims::of(world, host) {
                Some(claims) if claims.admits(own) => self.host(host, &claims, default.as_ref()),
                Some(claims) => self.not_owned(host, claims.owner),
                None => {}
            }
        }
        self.certificates();
        let gateway = world.ingresses.gateway();
        if !ingress::is_programmed(world, gateway) {
            let message = format!("no instance of Gateway {gateway} is ready yet");
            let at = FieldPath::root();
            self.findings
                .note(ConditionType::Programmed, "Pending", at, message);
        }
        let ports = std::mem::take(&mut self.ports).into_iter();
        self.made.attached = ports
            .map(|port| (gateway.clone(), port.to_owned()))
            .collect();
    }

    /// Say that another namespace has a host.
    fn not_owned(&mut self, host: &str, owner: &str) {
        let what = if host.is_empty() {
            "all hosts that no Ingress names"
        } else {
            host
        };
        let message = format!(
            "namespace {owner} had {what} first: nothing of this Ingress is served there (MeshConfig's ingressHostOwnership)"
        );
        self.refuse("HostNotOwned", self.field_of(host), message);
    }

    /// Where an Ingress first asks for a host.
    fn field_of(&self, host: &str) -> FieldPath {
        let spec = &self.ingress.spec;
        let at = FieldPath::of("spec");
        if let Some(i) = spec.rules.iter().position(|rule| rule.host == host) {
            return at.key("rules").index(i).key("host");
        }
        let of_tls = |tls: &crate::model::IngressTls| tls.hosts.iter().any(|one| one == host);
        match spec.tls.iter().position(of_tls) {
            Some(i) => at.key("tls").index(i).key("hosts"),
            None => at.key("defaultBackend"),
        }
    }

    fn host(&mut self, host: &str, claims: &Claims<'_>, default: Option<&Target>) {
        let own = &self.ingress.meta.name;
        let mut rules = self.rules(host, claims);
        if let Some(default) = default
            && claims.defaults_to(own)
        {
            let everything = path_match::Kind::Prefix("/".into());
            rules.push(rule(everything, default.clone()));
        }
        let secure = claims.certificate().is_some();
        let redirects = self.ingress.spec.redirect;
        if redirects && !secure {
            let at = FieldPath::of("metadata.annotations").key(keys::SSL_REDIRECT);
            let message = format!(
                "no Ingress has a certificate for {}: clients are sent to what is not served",
                gateway::name(HTTPS.0, host).trim_start_matches("https/")
            );
            self.unresolved("InvalidCertificateRef", at, message);
        }
        self.ports.insert(HTTP.0);
        let mut ports = vec![HTTP.0];
        if redirects {
            let redirecting = rules.iter().map(redirecting).collect();
            self.add("redirect", host, &[HTTP.0], redirecting);
            ports.clear();
        }
        if secure {
            self.ports.insert(HTTPS.0);
            ports.push(HTTPS.0);
        }
        if !ports.is_empty() {
            self.add("host", host, &ports, rules);
        }
    }

    /// Rules for the paths of a host.
    fn rules(&mut self, host: &str, claims: &Claims<'_>) -> Vec<HttpRule> {
        let (own, spec) = (&self.ingress.meta.name, &self.ingress.spec);
        let mut rules = Vec::new();
        let mut known: Vec<&IngressPath> = Vec::new();
        for (i, of_host) in spec
            .rules
            .iter()
            .enumerate()
            .filter(|(_, r)| r.host == host)
        {
            let at = FieldPath::of("spec.rules")
                .index(i)
                .key("http")
                .key("paths");
            for (j, path) in of_host.paths.iter().enumerate() {
                let at = at.index(j);
                let target = self.backend(&path.backend, &at.key("backend"));
                if let Some(elder) = claims.taken(own, path) {
                    let message = format!("the older Ingress {elder} has this path already");
                    self.refuse("PathTaken", at.key("path"), message);
                    continue;
                }
                if known.iter().any(|other| is_same(other, path)) {
                    let message = "stands twice: the first one counts".to_owned();
                    self.refuse("PathTaken", at.key("path"), message);
                    continue;
                }
                known.push(path);
                self.literally(path, &at.key("path"));
                rules.push(rule(kind(path), target));
            }
        }
        rules
    }

    /// Say of a path that it means less than its author may think.
    fn literally(&mut self, path: &IngressPath, at: &FieldPath) {
        if path.kind == PathType::ImplementationSpecific && path.path.contains(SPECIAL) {
            let message = format!(
                "{:?}: ImplementationSpecific is Prefix here, and no character stands for others",
                path.path
            );
            self.refuse("UnsupportedValue", at.clone(), message);
        }
    }

    fn add(&mut self, what: &str, host: &str, ports: &[&str], rules: Vec<HttpRule>) {
        let meta = &self.ingress.meta;
        let gateway = self.world.ingresses.gateway().to_string();
        let listener = |port: &&str| ListenerRef {
            gateway: gateway.clone(),
            listener: gateway::name(port, host),
            hostnames: Vec::new(),
        };
        let record = HttpRoute {
            namespace: meta.name.namespace.to_string(),
            // No HTTPRoute has such a name, which policies could mean.
            name: format!("ingress:{}", meta.name.name),
            created: created(meta),
            rules,
            listeners: ports.iter().map(listener).collect(),
            ..HttpRoute::default()
        };
        self.made.resources.push(Resource {
            name: format!("Ingress/{}/{}", meta.name, gateway::name(what, host)).into(),
            aliases: Vec::new(),
            message: Message::HttpRoute(record),
        });
    }

    /// Where a backend leads. One that leads nowhere is told as such.
    fn backend(&mut self, backend: &IngressBackend, at: &FieldPath) -> Target {
        match self.resolve(backend) {
            Ok((service, port)) => {
                let reference = ServiceRef {
                    service: names::service(&self.world.settings, &service),
                    port: port.into(),
                };
                if !self.made.backends.contains(&service) {
                    self.made.backends.push(service);
                }
                Target::Service(reference)
            }
            Err((field, reason, message)) => {
                let at = field.split('.').fold(at.clone(), |at, key| at.key(key));
                self.unresolved(reason, at, message.clone());
                Target::Unresolved(message)
            }
        }
    }

    fn resolve(
        &self,
        backend: &IngressBackend,
    ) -> Result<(NsName, u16), (&'static str, &'static str, String)> {
        let (name, port) = match backend {
            IngressBackend::Service(name, port) => (name, port),
            IngressBackend::Resource(what) => {
                return Err(("resource", "InvalidKind", format!("{what} is no Service")));
            }
        };
        let name = NsName::new(self.ingress.meta.name.namespace.clone(), name.as_str());
        let service = self.world.cache.services.get(&name);
        let service = service.filter(|service| !service.spec.external_name);
        let service = service.ok_or_else(|| {
            let message = format!("there is no Service {name}");
            ("service.name", "BackendNotFound", message)
        })?;
        let ports = &service.spec.ports;
        let found = match port {
            BackendPort::Number(number) => ports.iter().find(|port| port.port == *number),
            BackendPort::Name(text) => ports.iter().find(|port| port.name == *text),
        };
        let found = found.ok_or_else(|| {
            let stated = match port {
                BackendPort::Number(number) => number.to_string(),
                BackendPort::Name(text) => format!("named {text:?}"),
            };
            let message = format!("Service {name} has no port {stated}");
            ("service.port", "BackendNotFound", message)
        })?;
        Ok((name, found.port))
    }
}
