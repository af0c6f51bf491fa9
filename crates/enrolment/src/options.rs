//! Which of a pod's traffic is captured: what its annotations exclude.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use crate::{Map, keys};

/// The mesh's own ports in a pod, which nobody may exclude: 15001 and 15006 take what was redirected, 15008 HBONE, 15053
/// DNS.
pub const OWN_PORTS: [u16; 4] = [15001, 15006, 15008, 15053];

/// What of a pod's traffic is captured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CaptureOptions {
    /// TCP ports of the pod that clients reach directly.
    pub exclude_inbound_ports: BTreeSet<u16>,
    /// TCP ports anywhere that the pod reaches directly.
    pub exclude_outbound_ports: BTreeSet<u16>,
    /// Networks that the pod reaches directly.
    pub exclude_outbound_cidrs: Vec<IpNet>,
    /// DNS questions are captured.
    pub dns_capture: bool,
}

/// An annotation that could not be understood, whole or in part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Which.
    pub annotation: &'static str,
    /// What is wrong with it.
    pub message: String,
}

impl Default for CaptureOptions {
    fn default() -> Self {
        Self {
            exclude_inbound_ports: BTreeSet::new(),
            exclude_outbound_ports: BTreeSet::new(),
            exclude_outbound_cidrs: Vec::new(),
            dns_capture: true,
        }
    }
}

impl CaptureOptions {
    /// Whether any traffic is kept out of the mesh.
    #[must_use]
    pub fn excludes(&self) -> bool {
        *self != Self::default()
    }
}

/// What the annotations of a pod ask for. One that is wrong excludes nothing.
#[must_use]
pub fn options(annotations: &Map) -> (CaptureOptions, Vec<Mistake>) {
    let mut mistakes = Vec::new();
    let exclude_inbound_ports = list(
        annotations,
        keys::EXCLUDE_INBOUND_PORTS,
        port,
        &mut mistakes,
    );
    let exclude_outbound_ports = list(
        annotations,
        keys::EXCLUDE_OUTBOUND_PORTS,
        port,
        &mut mistakes,
    );
    let cidrs = list(
        annotations,
        keys::EXCLUDE_OUTBOUND_CIDRS,
        cidr,
        &mut mistakes,
    );
    let annotation = keys::DNS_CAPTURE;
    let dns_capture = match annotations.get(annotation).map(String::as_str) {
        None | Some("true") => true,
        Some("false") => false,
        Some(other) => {
            let message = format!("{other:?} is neither true nor false");
            mistakes.push(Mistake {
                annotation,
                message,
            });
            true
        }
    };
    let options = CaptureOptions {
        exclude_inbound_ports: exclude_inbound_ports.into_iter().collect(),
        exclude_outbound_ports: exclude_outbound_ports.into_iter().collect(),
        exclude_outbound_cidrs: cidrs,
        dns_capture,
    };
    (options, mistakes)
}

/// The items of a list with commas; none if one of them is wrong.
fn list<T>(
    annotations: &Map,
    annotation: &'static str,
    item: impl Fn(&str) -> Result<T, String>,
    mistakes: &mut Vec<Mistake>,
) -> Vec<T> {
    let text = annotations.get(annotation).map_or("", String::as_str);
    let items = text
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty());
    match items.map(item).collect() {
        Ok(items) => items,
        Err(message) => {
            mistakes.push(Mistake {
                annotation,
                message,
            });
            Vec::new()
        }
    }
}

fn port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err(format!("{text:?} is no port: 1 to 65535")),
        Ok(port) if OWN_PORTS.contains(&port) => Err(format!(
            "{port} is the mesh's own port, which stays captured"
        )),
        Ok(port) => Ok(port),
    }
}

fn cidr(text: &str) -> Result<IpNet, String> {
    let net = text
        .parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let net = net.map_err(|_| format!("{text:?} is neither an address nor a network"))?;
    // The host's bits would make the rule read back differ from the rule written.
    Ok(net.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(annotation: &str, value: &str) -> (CaptureOptions, Vec<Mistake>) {
        options(&[(annotation.to_owned(), value.to_owned())].into())
    }

    #[test]
    fn what_is_asked_for_is_excluded() {
        assert!(!options(&Map::new()).0.excludes());
        let (found, mistakes) = with(keys::EXCLUDE_INBOUND_PORTS, " 80, 443,80,");
        assert_eq!(
            (found.exclude_inbound_ports, mistakes),
            ([80, 443].into(), vec![])
        );
        let (found, _) = with(keys::EXCLUDE_OUTBOUND_CIDRS, "10.1.2.3/8,fd00::1");
        let nets: Vec<String> = found
            .exclude_outbound_cidrs
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(nets, ["10.0.0.0/8", "fd00::1/128"]);
        assert!(!with(keys::DNS_CAPTURE, "false").0.dns_capture);
    }

    #[test]
    fn what_is_wrong_is_named_and_excludes_nothing() {
        for (annotation, value, says) in [
            (keys::EXCLUDE_INBOUND_PORTS, "80,x", "\"x\" is no port"),
            (keys::EXCLUDE_INBOUND_PORTS, "0", "\"0\" is no port"),
            (
                keys::EXCLUDE_INBOUND_PORTS,
                "80,15008",
                "15008 is the mesh's own",
            ),
            (
                keys::EXCLUDE_OUTBOUND_PORTS,
                "15001",
                "15001 is the mesh's own",
            ),
            (
                keys::EXCLUDE_OUTBOUND_PORTS,
                "70000",
                "\"70000\" is no port",
            ),
            (
                keys::EXCLUDE_OUTBOUND_CIDRS,
                "10.0.0.0/8,10/8",
                "\"10/8\" is neither",
            ),
            (keys::DNS_CAPTURE, "no", "\"no\" is neither"),
        ] {
            let (found, mistakes) = with(annotation, value);
            assert!(!found.excludes(), "{value}: {found:?}");
            assert_eq!(mistakes.len(), 1);
            assert_eq!(mistakes[0].annotation, annotation);
            assert!(mistakes[0].message.contains(says), "{mistakes:?}");
        }
    }

    #[test]
    fn annotations_of_others_change_nothing() {
        for forged in [
            "culvert.dev/captured",
            "culvert.dev/mark",
            "ambient.istio.io/redirection",
            "culvert.dev/netns",
        ] {
            assert_eq!(with(forged, "enabled"), (CaptureOptions::default(), vec![]));
        }
    }
}
