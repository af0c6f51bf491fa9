//! What this node asks the controller for, if it takes only what its pods need (`--on-demand`).
//!
//! Invariant: without the flag everything is known and nothing is asked for; with it, nothing is concluded about an
//! address or a name before the controller has said what there is of it.

use std::net::IpAddr;

use culvert_xds::Demand;
use culvert_xds::state::Settings;

/// What is asked for; nothing if all of the mesh is known.
#[derive(Debug, Default)]
pub(crate) struct Asking(Option<Demand>);

impl Asking {
    /// As the flag says.
    pub(crate) fn new(on_demand: bool) -> Self {
        Self(on_demand.then(Demand::new))
    }

    /// What the client of the controller is to ask for.
    pub(crate) fn demand(&self) -> Option<Demand> {
        self.0.clone()
    }

    /// Whether anything is asked for at all.
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Whether it is known what has this address. If not, it is asked for.
    pub(crate) fn knows_address(&self, network: &str, ip: IpAddr) -> bool {
        let want = |demand: &Demand| demand.want(&format!("{network}/{}", ip.to_canonical()));
        self.0.as_ref().is_none_or(want)
    }

    /// Whether it is known what has this name (lower case, no final dot), if it may be one of the mesh's. If not, the
    /// service is asked for.
    pub(crate) fn knows_hostname(&self, settings: &Settings, name: &str) -> bool {
        let Some(demand) = &self.0 else { return true };
        match service(settings, name) {
            Some(service) => demand.want(&service),
            None => true,
        }
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
    fn all_is_known_unless_the_flag_is_set() {
        let ip = IpAddr::from([10, 0, 0, 1]);
        assert!(Asking::new(false).knows_address("", ip));
        let asking = Asking::new(true);
        assert!(!asking.knows_address("", ip));
        assert!(asking.knows_hostname(&Settings::default(), "example.com"));
        assert_eq!(asking.demand().map(|demand| demand.len()), Some(1));
    }
}
