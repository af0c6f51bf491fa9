//! Which policy holds where, and when it is another one.

use culvert_proto::waypoint as pb;
use pb::backend_tls_policy::Trust;

use super::*;
use crate::config::certificate::testing::ecdsa;
use crate::config::gateway::Gateway;

#[derive(Default)]
struct World {
    resources: Resources,
    known: BTreeMap<Arc<str>, Arc<Origination>>,
}

fn trusting() -> Trust {
    Trust::CertificateAuthorities(ecdsa(&["ca"]).chain)
}

impl World {
    fn policy(&mut self, name: &str, port: u32, trust: Trust) {
        let service = pb::ServiceRef {
            service: "d/web".into(),
            port,
        };
        let kind = Some(pb::backend_tls_target::Kind::Service(service));
        let raw = pb::BackendTlsPolicy {
            namespace: "d".into(),
            name: name.into(),
            targets: vec![pb::BackendTlsTarget { kind }],
            hostname: "web.example".into(),
            trust: Some(trust),
            ..Default::default()
        };
        let (policy, _) = BackendTlsPolicy::decode(&raw).unwrap();
        self.resources
            .backend_tls
            .insert(name.into(), Arc::new(policy));
    }

    fn gateway(&mut self, client_certificate: &str, unresolved: &str) {
        let raw = pb::Gateway {
            client_certificate: client_certificate.into(),
            client_certificate_unresolved: unresolved.into(),
            ..Default::default()
        };
        let gateway = Arc::new(Gateway::decode(&raw).unwrap());
        self.resources.gateways.insert("g".into(), gateway);
    }

    fn certificate(&mut self, name: &str) {
        let certificate = Certificate::decode(&ecdsa(&["gateway"])).unwrap();
        let certificates = &mut self.resources.certificates;
        certificates.insert(name.into(), Arc::new(certificate));
    }

    fn at(&mut self, port: u16) -> Option<Arc<Origination>> {
        let all = BackendTls::new(&self.resources, &mut self.known);
        let service = "d/web".into();
        all.of(&ServiceRef { service, port }).cloned()
    }
}

#[test]
fn a_port_goes_before_the_whole_service() {
    let mut world = World::default();
    assert!(world.at(443).is_none());
    world.policy("a-whole", 0, trusting());
    world.policy("b-port", 443, trusting());
    assert_eq!(&**world.at(443).unwrap().policy(), "d/b-port");
    assert_eq!(&**world.at(80).unwrap().policy(), "d/a-whole");
    world.resources.backend_tls.remove("a-whole");
    assert!(world.at(80).is_none());
}

#[test]
fn contexts_serve_on_until_policy_or_certificate_is_another() {
    let mut world = World::default();
    world.policy("p", 0, trusting());
    let first = world.at(80).unwrap();
    assert!(Arc::ptr_eq(&first, &world.at(80).unwrap()));
    world.policy("q", 8080, trusting());
    assert!(Arc::ptr_eq(&first, &world.at(80).unwrap()));
    world.policy("p", 0, trusting());
    let second = world.at(80).unwrap();
    assert!(!Arc::ptr_eq(&first, &second));
    world.certificate("c");
    assert!(Arc::ptr_eq(&second, &world.at(80).unwrap()), "not shown");
    world.gateway("c", "");
    let third = world.at(80).unwrap();
    assert!(!Arc::ptr_eq(&second, &third));
    assert!(Arc::ptr_eq(&third, &world.at(80).unwrap()));
    world.certificate("c");
    assert!(!Arc::ptr_eq(&third, &world.at(80).unwrap()));
}

#[test]
fn what_is_missing_keeps_backends_from_being_reached() {
    let mut world = World::default();
    let refused = |world: &mut World| world.at(80).unwrap().client().unwrap_err();
    world.policy("p", 0, Trust::Unresolved("no ConfigMap".into()));
    assert_eq!(refused(&mut world), DenyReason::BackendUnresolved);
    world.policy("p", 0, trusting());
    assert!(world.at(80).unwrap().client().is_ok());
    world.gateway("c", "");
    assert_eq!(refused(&mut world), DenyReason::CertificateUnavailable);
    world.certificate("c");
    assert!(world.at(80).unwrap().client().is_ok());
    world.gateway("", "there is no Secret");
    assert_eq!(refused(&mut world), DenyReason::CertificateUnavailable);
    world.gateway("", "");
    assert!(world.at(80).unwrap().client().is_ok());
}
