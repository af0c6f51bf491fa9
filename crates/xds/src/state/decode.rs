//! From the wire's messages to the types of [`state`](super): strict, and every error names the field.

mod egress;
mod policy;
mod service;
mod settings;
mod workload;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use culvert_proto::istio::workload::{GatewayAddress, gateway_address::Destination};

use super::gateway::{GatewayDestination, GatewayRef};
use super::intern::Interners;

pub(super) use egress::decode_egress_policy;
pub use policy::{TARGETS_EXTENSION, UnreadablePolicy, decode_policy};
pub(super) use policy::{attachment_by_name, unreadable as unreadable_policy};
pub(super) use service::decode_service;
pub(super) use settings::{decode_settings, decode_trust_bundle};
pub(super) use workload::{decode_workload, with_trust_domain};

/// A resource that fails validation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Invalid {
    /// The field's path in the message.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

impl From<prost::DecodeError> for Invalid {
    fn from(error: prost::DecodeError) -> Self {
        Self {
            field: "message".to_owned(),
            problem: error.to_string(),
        }
    }
}

type Result<T, E = Invalid> = std::result::Result<T, E>;

fn invalid<T>(field: impl fmt::Display, problem: impl fmt::Display) -> Result<T> {
    Err(Invalid {
        field: field.to_string(),
        problem: problem.to_string(),
    })
}

/// An address of 4 or 16 bytes, in canonical form.
fn ip(field: impl fmt::Display, bytes: &[u8]) -> Result<IpAddr> {
    let ip = if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        IpAddr::from(v4)
    } else if let Ok(v6) = <[u8; 16]>::try_from(bytes) {
        IpAddr::from(v6)
    } else {
        return invalid(
            field,
            format_args!("an address has 4 or 16 bytes, not {}", bytes.len()),
        );
    };
    Ok(ip.to_canonical())
}

/// An address that traffic can be sent to.
fn unicast(field: impl fmt::Display, bytes: &[u8]) -> Result<IpAddr> {
    let ip = ip(&field, bytes)?;
    if ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() {
        return invalid(field, format_args!("{ip} cannot be a destination"));
    }
    Ok(ip)
}

fn port(field: impl fmt::Display, port: u32) -> Result<u16> {
    match u16::try_from(port) {
        Ok(port) if port != 0 => Ok(port),
        _ => invalid(field, format_args!("{port} is no port")),
    }
}

fn required(field: impl fmt::Display, text: &str) -> Result<&str> {
    if text.is_empty() {
        return invalid(field, "is empty");
    }
    Ok(text)
}

/// An enumeration's value that this version knows.
fn known<E: TryFrom<i32>>(field: impl fmt::Display, value: i32) -> Result<E> {
    E::try_from(value).or_else(|_| invalid(field, format_args!("{value} is unknown")))
}

/// A resource must be what its name says.
fn named(field: &str, name: &str, expected: &str) -> Result<()> {
    if name != expected {
        return invalid(
            field,
            format_args!("the resource is named {name:?}, not {expected:?}"),
        );
    }
    Ok(())
}

/// `NAMESPACE/REST`, neither part empty.
fn namespaced(field: impl fmt::Display, name: &str) -> Result<()> {
    match name.split_once('/') {
        Some((namespace, rest)) if !namespace.is_empty() && !rest.is_empty() => Ok(()),
        _ => invalid(field, format_args!("{name:?} is not NAMESPACE/NAME")),
    }
}

fn gateway(interners: &mut Interners, field: &str, gateway: &GatewayAddress) -> Result<GatewayRef> {
    let destination = match &gateway.destination {
        None => return invalid(field, "names no destination"),
        Some(Destination::Address(address)) => {
            let field = format!("{field}.address");
            GatewayDestination::Address {
                network: interners.text.intern(address.network.as_str()),
                ip: unicast(&field, &address.address)?,
            }
        }
        Some(Destination::Hostname(name)) => GatewayDestination::Hostname {
            namespace: intern_required(
                interners,
                format_args!("{field}.hostname.namespace"),
                &name.namespace,
            )?,
            hostname: intern_required(
                interners,
                format_args!("{field}.hostname.hostname"),
                &name.hostname,
            )?,
        },
    };
    Ok(GatewayRef {
        destination,
        hbone_port: port(
            format_args!("{field}.hbone_mtls_port"),
            gateway.hbone_mtls_port,
        )?,
    })
}

fn intern_required(
    interners: &mut Interners,
    field: impl fmt::Display,
    text: &str,
) -> Result<Arc<str>> {
    required(field, text).map(|text| interners.text.intern(text))
}
