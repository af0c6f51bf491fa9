//! One Gateway with listeners of its own, and what attaches routes to them.
//!
//! Invariants: the listeners of one port agree on what is spoken there first, so that nobody is served in plain text what
//! another listener of the port encrypts. Listeners have different names.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use culvert_proto::waypoint as pb;

use super::clients::ClientValidation;
use super::route::Hostname;
use super::{ConfigError, decode_all};

/// A Gateway.
#[derive(Debug)]
pub struct Gateway {
    /// `NAMESPACE/NAME`.
    pub name: Arc<str>,
    /// In the user's order.
    pub listeners: Vec<Arc<Listener>>,
    /// Policies that every connection must pass, `NAMESPACE/NAME`.
    pub authorizations: Vec<Arc<str>>,
    /// What it proves itself with to backends, by name, or why there is none though there should be.
    pub client_certificate: Option<Result<Arc<str>, String>>,
}

/// A listener.
#[derive(Debug)]
pub struct Listener {
    /// Unique in its Gateway.
    pub name: Arc<str>,
    /// Where it listens.
    pub port: u16,
    /// Which hosts are its own; absent means every one.
    pub hostname: Option<Hostname>,
    /// What it speaks.
    pub protocol: Protocol,
    /// Why its hosts are refused.
    pub unresolved: Option<String>,
    /// What is asked of clients where TLS ends here.
    pub clients: Option<Arc<ClientValidation>>,
}

/// What a listener speaks. Certificates by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP in plain text.
    Http,
    /// HTTP in TLS.
    Https(Vec<Arc<str>>),
    /// TLS that ends here, whatever is in it.
    Terminate(Vec<Arc<str>>),
    /// TLS that ends at the backend.
    Passthrough,
    /// Bytes.
    Tcp,
}

/// What a port speaks before anything else is known of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// HTTP in plain text.
    Http,
    /// A TLS handshake.
    Tls,
    /// Bytes.
    Tcp,
}

/// What a port speaks, and what it asks of clients: connections to one that asks for something else are no longer its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Spoken {
    /// What comes first.
    pub transport: Transport,
    /// Which certificates of clients are good, where TLS ends here.
    pub clients: Option<Arc<ClientValidation>>,
}

/// A listener to which a route is attached, and the hosts for which it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// `NAMESPACE/NAME`.
    pub gateway: Arc<str>,
    /// The listener's name.
    pub listener: Arc<str>,
    /// Empty means every host.
    pub hostnames: Vec<Hostname>,
}

impl Gateway {
    /// Decodes a Gateway.
    pub fn decode(raw: &pb::Gateway) -> Result<Self, ConfigError> {
        let validations = raw.client_validations.iter();
        let validations: Vec<_> = validations
            .map(|one| ClientValidation::decode(one).map(Arc::new))
            .collect();
        let listeners = decode_all("listeners", &raw.listeners, |listener| {
            Listener::decode(listener, &validations)
        })?;
        let (mut names, mut ports) = (HashMap::new(), HashMap::new());
        for (index, listener) in listeners.iter().enumerate() {
            let wrong = |field: &str, message: String| {
                Err(ConfigError::new(field, message).within(&format!("listeners[{index}]")))
            };
            if names.insert(&listener.name, ()).is_some() {
                return wrong("name", format!("`{}` is there twice", listener.name));
            }
            let spoken = listener.protocol.transport();
            let first = ports.entry(listener.port).or_insert(spoken);
            if *first != spoken {
                let port = listener.port;
                return wrong(
                    "protocol",
                    format!("port {port} cannot speak both {first:?} and {spoken:?}"),
                );
            }
        }
        Ok(Self {
            name: format!("{}/{}", raw.namespace, raw.name).into(),
            listeners: listeners.into_iter().map(Arc::new).collect(),
            authorizations: raw
                .authorizations
                .iter()
                .map(|name| name.as_str().into())
                .collect(),
            client_certificate: client_certificate(raw),
        })
    }

    /// Whether a listener of this port ends TLS here, and so may speak to clients.
    pub fn ends_tls(&self, port: u16) -> bool {
        let mut here = self.listeners.iter().filter(|one| one.port == port);
        here.any(|one| matches!(one.protocol, Protocol::Https(_) | Protocol::Terminate(_)))
    }

    /// What is listened at.
    pub fn ports(&self) -> BTreeMap<u16, Spoken> {
        let mut ports: BTreeMap<u16, Spoken> = BTreeMap::new();
        for listener in &self.listeners {
            let port = ports.entry(listener.port).or_insert_with(|| Spoken {
                transport: listener.protocol.transport(),
                clients: None,
            });
            // Those of one port that ask for anything ask for the same.
            if let Some(clients) = &listener.clients {
                port.clients.get_or_insert_with(|| Arc::clone(clients));
            }
        }
        ports
    }
}

fn client_certificate(raw: &pb::Gateway) -> Option<Result<Arc<str>, String>> {
    if !raw.client_certificate_unresolved.is_empty() {
        return Some(Err(raw.client_certificate_unresolved.clone()));
    }
    let name = &raw.client_certificate;
    (!name.is_empty()).then(|| Ok(name.as_str().into()))
}

impl Listener {
    fn decode(
        raw: &pb::Listener,
        validations: &[Result<Arc<ClientValidation>, ConfigError>],
    ) -> Result<Self, ConfigError> {
        if raw.name.is_empty() {
            return Err(ConfigError::new("name", "is empty"));
        }
        let port = u16::try_from(raw.port).ok().filter(|port| *port != 0);
        let port =
            port.ok_or_else(|| ConfigError::new("port", format!("{} is not a port", raw.port)))?;
        let hostname = (!raw.hostname.is_empty()).then(|| Hostname::decode(&raw.hostname));
        let hostname = hostname.transpose()?.map(|name| {
            if raw.one_label {
                name.of_one_label()
            } else {
                name
            }
        });
        let certificates: Vec<Arc<str>> =
            raw.certificates.iter().map(|c| c.as_str().into()).collect();
        let protocol = match raw.protocol() {
            pb::ListenerProtocol::Http => Protocol::Http,
            pb::ListenerProtocol::Https => Protocol::Https(certificates),
            pb::ListenerProtocol::Tls if certificates.is_empty() => Protocol::Passthrough,
            pb::ListenerProtocol::Tls => Protocol::Terminate(certificates),
            pb::ListenerProtocol::Tcp => Protocol::Tcp,
            pb::ListenerProtocol::Unspecified => {
                return Err(ConfigError::new(
                    "protocol",
                    format!("{} is not a known one", raw.protocol),
                ));
            }
        };
        let mut listener = Self {
            name: raw.name.as_str().into(),
            port,
            hostname,
            protocol,
            unresolved: (!raw.unresolved.is_empty()).then(|| raw.unresolved.clone()),
            clients: None,
        };
        if let Some(index) = raw.client_validation.checked_sub(1) {
            listener.ask(
                usize::try_from(index)
                    .ok()
                    .and_then(|index| validations.get(index)),
            );
        }
        Ok(listener)
    }

    /// Asks clients for this. What it cannot judge them by nobody passes.
    fn ask(&mut self, validation: Option<&Result<Arc<ClientValidation>, ConfigError>>) {
        match validation {
            Some(Ok(clients)) => {
                self.clients = Some(Arc::clone(clients));
                // Was for versions that cannot ask.
                self.unresolved = None;
            }
            Some(Err(error)) => self.unresolved = Some(format!("client validation: {error}")),
            None => self.unresolved = Some("client validation: is not there".to_owned()),
        }
    }
}

impl Protocol {
    /// What comes first on a connection.
    pub fn transport(&self) -> Transport {
        match self {
            Self::Http => Transport::Http,
            Self::Https(_) | Self::Terminate(_) | Self::Passthrough => Transport::Tls,
            Self::Tcp => Transport::Tcp,
        }
    }

    /// Names of the certificates that it needs.
    pub fn certificates(&self) -> &[Arc<str>] {
        match self {
            Self::Https(names) | Self::Terminate(names) => names,
            Self::Http | Self::Passthrough | Self::Tcp => &[],
        }
    }
}

impl Attachment {
    pub(super) fn decode(raw: &pb::ListenerRef) -> Result<Self, ConfigError> {
        Ok(Self {
            gateway: raw.gateway.as_str().into(),
            listener: raw.listener.as_str().into(),
            hostnames: decode_all("hostnames", &raw.hostnames, |name| Hostname::decode(name))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(name: &str, port: u32, protocol: pb::ListenerProtocol) -> pb::Listener {
        pb::Listener {
            name: name.into(),
            port,
            protocol: protocol.into(),
            ..Default::default()
        }
    }

    fn refused(listeners: Vec<pb::Listener>) -> String {
        let raw = pb::Gateway {
            listeners,
            ..Default::default()
        };
        Gateway::decode(&raw).unwrap_err().to_string()
    }

    #[test]
    fn a_port_speaks_one_thing_first() {
        use pb::ListenerProtocol::{Http, Https, Tls};
        assert_eq!(
            refused(vec![listener("a", 80, Http), listener("b", 80, Https)]),
            "listeners[1].protocol: port 80 cannot speak both Http and Tls"
        );
        let listeners = vec![listener("a", 443, Https), listener("b", 443, Tls)];
        let raw = pb::Gateway {
            listeners,
            ..Default::default()
        };
        assert!(Gateway::decode(&raw).is_ok(), "SNI tells these apart");
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        use pb::ListenerProtocol::{Http, Unspecified};
        for (listeners, expected) in [
            (
                vec![listener("a", 0, Http)],
                "listeners[0].port: 0 is not a port",
            ),
            (
                vec![listener("a", 65_536, Http)],
                "listeners[0].port: 65536 is not a port",
            ),
            (
                vec![listener("a", 80, Unspecified)],
                "listeners[0].protocol: 0 is not a known one",
            ),
            (vec![listener("", 80, Http)], "listeners[0].name: is empty"),
            (
                vec![listener("a", 80, Http), listener("a", 81, Http)],
                "listeners[1].name: `a` is there twice",
            ),
        ] {
            assert_eq!(refused(listeners), expected);
        }
        let hostname = "a b".into();
        let odd = pb::Listener {
            hostname,
            ..listener("a", 80, Http)
        };
        assert_eq!(
            refused(vec![odd]),
            "listeners[0].hostname: `a b` is not a host name"
        );
    }
}
