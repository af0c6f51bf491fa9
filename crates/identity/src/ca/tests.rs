//! What the authority signs and refuses.

use super::*;
use boring::x509::X509Req;
use std::os::unix::fs::PermissionsExt as _;

fn id(text: &str) -> SpiffeId {
    text.parse().unwrap()
}

fn new_root(dir: &Path) -> Root {
    Root::load_or_create(dir, TrustDomain::new("cluster.local").unwrap()).unwrap()
}

const A: &str = "spiffe://cluster.local/ns/shop/sa/a";

#[test]
fn a_root_is_made_once() {
    let dir = tempfile::tempdir().unwrap();
    let hash = new_root(dir.path()).root_hash().unwrap();
    assert_eq!(new_root(dir.path()).root_hash().unwrap(), hash);
    let mode = std::fs::metadata(dir.path().join(KEY_FILE))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn an_intermediate_signs_for_its_root() {
    let domain = || TrustDomain::new("cluster.local").unwrap();
    let top = Root::from_pems(&Root::generate(&domain()).unwrap(), domain()).unwrap();
    let key = csr::new_key().unwrap();
    let intermediate = issue::intermediate(&top, &key).unwrap();
    let pem = |certificate: &X509| x509::pem(certificate).unwrap();
    let key = String::from_utf8(key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    for (chain, roots) in [
        (pem(&intermediate), Some(pem(&top.certificate))),
        (pem(&intermediate) + &pem(&top.certificate), None),
        (
            pem(&intermediate) + &pem(&top.certificate),
            Some(pem(&top.certificate)),
        ),
    ] {
        let key = key.clone();
        let below = Root::from_pems(&Pems { key, chain, roots }, domain()).unwrap();
        let request = csr::new_request(&id(A)).unwrap();
        let signed = below.sign_csr(&request.pem, &id(A), Duration::from_secs(60));
        let signed = signed.unwrap();
        assert_eq!(signed[1..], [pem(&intermediate), pem(&top.certificate)]);
        assert_eq!(below.roots_pem().unwrap(), [pem(&top.certificate)]);
        assert_eq!(below.root_hash().unwrap(), top.root_hash().unwrap());
    }
    // Without its root it is trusted by nobody, and a leaf is no authority.
    let alone = Pems {
        key,
        chain: pem(&intermediate),
        roots: None,
    };
    let error = Root::from_pems(&alone, domain()).unwrap_err();
    assert!(matches!(error, PemError::Untrusted(_)), "{error}");
    let names = ServerNames {
        dns: vec![],
        ips: vec![],
    };
    let leaf = top.sign_server(&names, Duration::from_secs(60)).unwrap();
    let pems = Pems {
        key: String::from_utf8(leaf.key.private_key_to_pem_pkcs8().unwrap()).unwrap(),
        chain: pem(&leaf.chain[0]),
        roots: Some(pem(&top.certificate)),
    };
    assert!(Root::from_pems(&pems, domain()).is_err());
}

#[test]
fn key_and_certificate_must_belong_together() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    new_root(one.path());
    new_root(two.path());
    std::fs::copy(one.path().join(KEY_FILE), two.path().join(KEY_FILE)).unwrap();
    let error = Root::load_or_create(two.path(), TrustDomain::new("td").unwrap()).unwrap_err();
    assert!(matches!(error, RootError::Certificate { .. }), "{error}");
}

#[test]
fn the_names_are_the_callers_not_the_requests() {
    let dir = tempfile::tempdir().unwrap();
    let root = new_root(dir.path());
    let request = csr::new_request(&id("spiffe://cluster.local/ns/kube-system/sa/admin")).unwrap();
    let chain = root
        .sign_csr(&request.pem, &id(A), Duration::from_secs(10))
        .unwrap();
    let certificates = x509::from_pems(chain.iter().map(String::as_str)).unwrap();
    assert_eq!(certificates.len(), 2);
    let leaf = &certificates[0];
    assert_eq!(x509::spiffe_id(leaf).unwrap(), id(A));
    assert!(leaf.public_key().unwrap().public_eq(&request.key));
    assert!(leaf.verify(&certificates[1].public_key().unwrap()).unwrap());
    assert_eq!(leaf.subject_name().entries().count(), 0);
    let remaining = x509::system_time(leaf.not_after())
        .unwrap()
        .duration_since(SystemTime::now())
        .unwrap();
    assert!(
        remaining <= Duration::from_secs(10) && remaining > Duration::from_secs(5),
        "{remaining:?}"
    );
}

#[test]
fn serial_numbers_differ() {
    let dir = tempfile::tempdir().unwrap();
    let root = new_root(dir.path());
    let request = csr::new_request(&id(A)).unwrap();
    let serial = || {
        let chain = root
            .sign_csr(&request.pem, &id(A), Duration::from_secs(10))
            .unwrap();
        x509::serial(&X509::from_pem(chain[0].as_bytes()).unwrap()).unwrap()
    };
    let (one, two) = (serial(), serial());
    assert_ne!(one, two);
    assert!(one.len() > 20, "{one}");
}

#[test]
fn a_request_must_prove_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let root = new_root(dir.path());
    let request = csr::new_request(&id(A)).unwrap();
    let mut der = X509Req::from_pem(request.pem.as_bytes())
        .unwrap()
        .to_der()
        .unwrap();
    let last = der.len() - 1;
    der[last] ^= 1;
    let forged = String::from_utf8(X509Req::from_der(&der).unwrap().to_pem().unwrap()).unwrap();
    for pem in [forged.as_str(), "", "no request"] {
        let error = root
            .sign_csr(pem, &id(A), Duration::from_secs(10))
            .unwrap_err();
        assert!(matches!(error, RootError::Request(_)), "{error}");
    }
}

#[test]
fn the_controllers_certificate_has_its_names() {
    let dir = tempfile::tempdir().unwrap();
    let root = new_root(dir.path());
    let names = ServerNames {
        dns: vec!["localhost".into()],
        ips: vec!["10.10.0.1".parse().unwrap()],
    };
    let server = root.sign_server(&names, Duration::from_secs(60)).unwrap();
    let leaf = &server.chain[0];
    assert_eq!(
        x509::spiffe_id(leaf).unwrap(),
        id("spiffe://cluster.local/ns/culvert-system/sa/culvert-controller")
    );
    assert!(leaf.check_host("localhost").unwrap());
    assert!(leaf.check_ip_asc("10.10.0.1").unwrap());
    let debug = format!("{root:?} {server:?}");
    assert!(!debug.to_lowercase().contains("key"), "{debug}");
}
