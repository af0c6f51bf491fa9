//! What this node asks the controller for: at first, and with `--on-demand` always, only what its pods need.
//!
//! Invariant: nothing is concluded about an address or a name before the controller has said what there is of it, or all
//! that there is.

use std::net::IpAddr;

use culvert_xds::Demand;
use culvert_xds::state::Settings;

/// What is asked for.
#[derive(Debug, Default)]
pub(crate) struct Asking(Demand);

impl Asking {
    /// Nothing: all is known.
    #[cfg(test)]
    pub(crate) fn nothing() -> Self {
        Self(Demand::whole())
    }

    /// What the client of the controller is to ask for.
    pub(crate) fn demand(&self) -> Demand {
        self.0.clone()
    }

    /// Whether anything is asked for: not all of the mesh is known.
    pub(crate) fn is_on(&self) -> bool {
        !self.0.is_whole()
    }

    /// Whether it is known what has this address. If not, it is asked for.
    pub(crate) fn knows_address(&self, network: &str, ip: IpAddr) -> bool {
        !self.is_on() || self.0.want(&format!("{network}/{}", ip.to_canonical()))
    }

    /// Whether it is known what has this name (lower case, no final dot), if it may be one of the mesh's. If not, the
    /// service is asked for.
    pub(crate) fn knows_hostname(&self, settings: &Settings, name: &str) -> bool {
        let known = |service: String| self.0.want(&service);
        !self.is_on() || service(settings, name).is_none_or(known)
    }
}

/// `NAMESPACE/HOSTNAME` of the service that a name is that of, or that of a pod of.
fn service(settings: &Settings, name: &str) -> Option<String> {
    let short = name.strip_suffix(&*settings.cluster_domain)?;
    let short = short.strip_suffix('.')?.strip_suffix(".svc")?;
    let mut labels = short.rsplit('.');
    let (namespace, service) = (labels.next()?, labels.next()?);
    let pod = labels.next();
    if namespace.is_empty() || service.is_empty() || pod == Some("") || labels.next().is_some() {
        return None;
    }
    let domain = &settings.cluster_domain;
    Some(format!("{namespace}/{service}.{namespace}.svc.{domain}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_services_and_of_their_pods() {
        let settings = Settings::default();
        let web = Some("demo/web.demo.svc.cluster.local".to_owned());
        assert_eq!(service(&settings, "web.demo.svc.cluster.local"), web);
        assert_eq!(service(&settings, "web-0.web.demo.svc.cluster.local"), web);
        for name in [
            "a.b.c.demo.svc.cluster.local",
            "demo.svc.cluster.local",
            ".demo.svc.cluster.local",
            ".web.demo.svc.cluster.local",
            "svc.cluster.local",
            "cluster.local",
            "web.demo.svc.cluster.localhost",
            "example.com",
            "",
        ] {
            assert_eq!(service(&settings, name), None, "{name}");
        }
    }

    #[test]
    fn what_is_not_known_is_asked_for() {
        let asking = Asking::default();
        assert!(asking.is_on() && !asking.knows_address("", IpAddr::from([10, 0, 0, 1])));
        assert!(asking.knows_hostname(&Settings::default(), "example.com"));
        assert_eq!(asking.demand().len(), 1);
    }
}
