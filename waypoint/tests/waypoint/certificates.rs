//! Certificates of servers, each its own root, and of clients, for tests.

use boring::asn1::Asn1Time;
use boring::bn::{BigNum, MsbOption};
use boring::ec::{EcGroup, EcKey};
use boring::hash::MessageDigest;
use boring::nid::Nid;
use boring::pkey::{PKey, Private};
use boring::rsa::Rsa;
use boring::x509::extension::{BasicConstraints, ExtendedKeyUsage, SubjectAlternativeName};
use boring::x509::{X509, X509Builder, X509Name, X509NameBuilder, X509NameRef, X509Ref};
use culvert_proto::waypoint as pb;

/// A certificate for these names, with a key on P-256, valid for two days.
pub(crate) fn ecdsa(names: &[&str]) -> pb::Certificate {
    signed(names, &curve_key())
}

/// The same with an RSA key.
pub(crate) fn rsa(names: &[&str]) -> pb::Certificate {
    signed(
        names,
        &PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap(),
    )
}

fn signed(names: &[&str], key: &PKey<Private>) -> pb::Certificate {
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_text("CN", "test").unwrap();
    let subject = subject.build();
    let mut builder = begin(&subject, &subject, key);
    let mut alternatives = SubjectAlternativeName::new();
    for name in names {
        alternatives.dns(name);
    }
    let alternatives = alternatives
        .build(&builder.x509v3_context(None, None))
        .unwrap();
    builder.append_extension(&alternatives).unwrap();
    builder.sign(key, MessageDigest::sha256()).unwrap();
    pair(&builder.build(), key)
}

/// Somebody who signs certificates of clients.
pub(crate) struct Authority {
    name: X509Name,
    key: PKey<Private>,
    /// Its own certificate.
    pub(crate) certificate: String,
}

impl Authority {
    /// A new one.
    pub(crate) fn new() -> Self {
        let key = curve_key();
        let mut serial = BigNum::new().unwrap();
        serial.rand(64, MsbOption::ONE, false).unwrap();
        let mut name = X509NameBuilder::new().unwrap();
        let text = format!("authority {}", serial.to_dec_str().unwrap());
        name.append_entry_by_text("CN", &text).unwrap();
        let name = name.build();
        let mut builder = begin(&name, &name, &key);
        let basic = BasicConstraints::new().critical().ca().build().unwrap();
        builder.append_extension(&basic).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        let certificate = String::from_utf8(builder.build().to_pem().unwrap()).unwrap();
        Self {
            name,
            key,
            certificate,
        }
    }

    /// A client's, with these names of hosts and resources.
    pub(crate) fn client(&self, hosts: &[&str], uris: &[&str]) -> pb::Certificate {
        let mut usage = ExtendedKeyUsage::new();
        self.sign(hosts, uris, usage.client_auth())
    }

    /// A server's, which proves nothing of a client.
    pub(crate) fn server(&self, hosts: &[&str]) -> pb::Certificate {
        let mut usage = ExtendedKeyUsage::new();
        self.sign(hosts, &[], usage.server_auth())
    }

    fn sign(&self, hosts: &[&str], uris: &[&str], usage: &ExtendedKeyUsage) -> pb::Certificate {
        let key = curve_key();
        let mut subject = X509NameBuilder::new().unwrap();
        subject.append_entry_by_text("CN", "client").unwrap();
        let mut builder = begin(&subject.build(), &self.name, &key);
        builder.append_extension(&usage.build().unwrap()).unwrap();
        let mut alternatives = SubjectAlternativeName::new();
        for host in hosts {
            alternatives.dns(host);
        }
        for uri in uris {
            alternatives.uri(uri);
        }
        let alternatives = alternatives.build(&builder.x509v3_context(None, None));
        builder.append_extension(&alternatives.unwrap()).unwrap();
        builder.sign(&self.key, MessageDigest::sha256()).unwrap();
        pair(&builder.build(), &key)
    }
}

fn curve_key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

/// A certificate that is valid for two days and lacks its extensions and signature.
fn begin(subject: &X509NameRef, issuer: &X509NameRef, key: &PKey<Private>) -> X509Builder {
    let mut serial = BigNum::new().unwrap();
    serial.rand(64, MsbOption::ONE, false).unwrap();
    let serial = serial.to_asn1_integer().unwrap();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder.set_subject_name(subject).unwrap();
    builder.set_issuer_name(issuer).unwrap();
    let (from, until) = (Asn1Time::days_from_now(0), Asn1Time::days_from_now(2));
    builder.set_not_before(&from.unwrap()).unwrap();
    builder.set_not_after(&until.unwrap()).unwrap();
    builder.set_pubkey(key).unwrap();
    builder
}

fn pair(certificate: &X509Ref, key: &PKey<Private>) -> pb::Certificate {
    let pem = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    pb::Certificate {
        chain: pem(certificate.to_pem().unwrap()),
        key: pem(key.private_key_to_pem_pkcs8().unwrap()),
    }
}
