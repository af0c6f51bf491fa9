//! The fields of a match, and the one function that decides each: [`Match::check`].

use std::fmt;

use crate::{Action, Connection, Match};

/// A field of a [`Match`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(
    missing_docs,
    reason = "each is the field of `Match` with the same name"
)]
pub enum Field {
    Namespaces,
    NotNamespaces,
    Principals,
    NotPrincipals,
    ServiceAccounts,
    NotServiceAccounts,
    SourceIps,
    NotSourceIps,
    DestinationIps,
    NotDestinationIps,
    DestinationPorts,
    NotDestinationPorts,
    UnknownConditions,
}

impl Field {
    /// Every field, the cheapest to decide first.
    pub const ALL: &[Self] = &[
        Self::DestinationPorts,
        Self::NotDestinationPorts,
        Self::UnknownConditions,
        Self::SourceIps,
        Self::NotSourceIps,
        Self::DestinationIps,
        Self::NotDestinationIps,
        Self::Namespaces,
        Self::NotNamespaces,
        Self::ServiceAccounts,
        Self::NotServiceAccounts,
        Self::Principals,
        Self::NotPrincipals,
    ];

    /// The field's name in a policy.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::NotNamespaces => "not_namespaces",
            Self::Principals => "principals",
            Self::NotPrincipals => "not_principals",
            Self::ServiceAccounts => "service_accounts",
            Self::NotServiceAccounts => "not_service_accounts",
            Self::SourceIps => "source_ips",
            Self::NotSourceIps => "not_source_ips",
            Self::DestinationIps => "destination_ips",
            Self::NotDestinationIps => "not_destination_ips",
            Self::DestinationPorts => "destination_ports",
            Self::NotDestinationPorts => "not_destination_ports",
            Self::UnknownConditions => "unknown_conditions",
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Match {
    /// Whether one field is satisfied; `None` when the match does not name it.
    ///
    /// The peer's identity decides the fail-closed cases. Without one, a plain field is never satisfied. A `not_` field
    /// could be read as satisfied, which is right for a DENY policy and would let an ALLOW policy admit a peer of whom
    /// nothing is known; so it is satisfied for DENY alone.
    pub(crate) fn check(
        &self,
        field: Field,
        conn: &Connection<'_>,
        action: Action,
    ) -> Option<bool> {
        let fails_closed = action == Action::Deny;
        let source = conn.source.to_canonical();
        let destination = conn.destination.ip().to_canonical();
        let port = conn.destination.port();
        match field {
            Field::DestinationPorts => any(&self.destination_ports, |p| *p == port),
            Field::NotDestinationPorts => none(&self.not_destination_ports, |p| *p == port),
            Field::UnknownConditions => any(&self.unknown_conditions, |_| fails_closed),
            Field::SourceIps => any(&self.source_ips, |net| net.contains(&source)),
            Field::NotSourceIps => none(&self.not_source_ips, |net| net.contains(&source)),
            Field::DestinationIps => any(&self.destination_ips, |net| net.contains(&destination)),
            Field::NotDestinationIps => {
                none(&self.not_destination_ips, |net| net.contains(&destination))
            }
            Field::Namespaces | Field::ServiceAccounts | Field::Principals => {
                self.names_identity(field, conn)
            }
            Field::NotNamespaces | Field::NotServiceAccounts | Field::NotPrincipals => {
                self.names_identity(field, conn).map(|named| {
                    if conn.peer.is_some() {
                        !named
                    } else {
                        fails_closed
                    }
                })
            }
        }
    }

    /// Whether any value of an identity field, plain or `not_`, is the peer's.
    fn names_identity(&self, field: Field, conn: &Connection<'_>) -> Option<bool> {
        let peer = conn.peer;
        match field {
            Field::Namespaces | Field::NotNamespaces => {
                let list = if field == Field::Namespaces {
                    &self.namespaces
                } else {
                    &self.not_namespaces
                };
                any(list, |m| peer.is_some_and(|p| m.matches(p.namespace())))
            }
            Field::Principals | Field::NotPrincipals => {
                let list = if field == Field::Principals {
                    &self.principals
                } else {
                    &self.not_principals
                };
                any(list, |m| peer.is_some_and(|p| m.matches(p.as_str())))
            }
            Field::ServiceAccounts | Field::NotServiceAccounts => {
                let list = if field == Field::ServiceAccounts {
                    &self.service_accounts
                } else {
                    &self.not_service_accounts
                };
                any(list, |m| {
                    peer.is_some_and(|p| {
                        p.namespace() == &*m.namespace && p.service_account() == &*m.service_account
                    })
                })
            }
            _ => None,
        }
    }

    /// The values of a field as text, for people.
    pub(crate) fn values(&self, field: Field) -> Vec<String> {
        fn texts<T: fmt::Display>(list: &[T]) -> Vec<String> {
            list.iter().map(T::to_string).collect()
        }
        match field {
            Field::Namespaces => texts(&self.namespaces),
            Field::NotNamespaces => texts(&self.not_namespaces),
            Field::Principals => texts(&self.principals),
            Field::NotPrincipals => texts(&self.not_principals),
            Field::ServiceAccounts => texts(&self.service_accounts),
            Field::NotServiceAccounts => texts(&self.not_service_accounts),
            Field::SourceIps => texts(&self.source_ips),
            Field::NotSourceIps => texts(&self.not_source_ips),
            Field::DestinationIps => texts(&self.destination_ips),
            Field::NotDestinationIps => texts(&self.not_destination_ips),
            Field::DestinationPorts => texts(&self.destination_ports),
            Field::NotDestinationPorts => texts(&self.not_destination_ports),
            Field::UnknownConditions => texts(&self.unknown_conditions),
        }
    }
}

fn any<T>(list: &[T], is: impl FnMut(&T) -> bool) -> Option<bool> {
    (!list.is_empty()).then(|| list.iter().any(is))
}

fn none<T>(list: &[T], is: impl FnMut(&T) -> bool) -> Option<bool> {
    any(list, is).map(|found| !found)
}
