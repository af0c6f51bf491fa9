//! Certificates of servers, each its own root, for tests.

use boring::asn1::Asn1Time;
use boring::bn::{BigNum, MsbOption};
use boring::ec::{EcGroup, EcKey};
use boring::hash::MessageDigest;
use boring::nid::Nid;
use boring::pkey::{PKey, Private};
use boring::rsa::Rsa;
use boring::x509::extension::SubjectAlternativeName;
use boring::x509::{X509, X509NameBuilder};
use culvert_proto::waypoint as pb;

/// A certificate for these names, with a key on P-256, valid for two days.
pub(crate) fn ecdsa(names: &[&str]) -> pb::Certificate {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = EcKey::generate(&group).unwrap();
    signed(names, &PKey::from_ec_key(key).unwrap())
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
    let mut serial = BigNum::new().unwrap();
    serial.rand(64, MsbOption::ONE, false).unwrap();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder
        .set_serial_number(&serial.to_asn1_integer().unwrap())
        .unwrap();
    builder.set_subject_name(&subject).unwrap();
    builder.set_issuer_name(&subject).unwrap();
    builder
        .set_not_before(&Asn1Time::days_from_now(0).unwrap())
        .unwrap();
    builder
        .set_not_after(&Asn1Time::days_from_now(2).unwrap())
        .unwrap();
    builder.set_pubkey(key).unwrap();
    let mut alternatives = SubjectAlternativeName::new();
    for name in names {
        alternatives.dns(name);
    }
    let alternatives = alternatives
        .build(&builder.x509v3_context(None, None))
        .unwrap();
    builder.append_extension(&alternatives).unwrap();
    builder.sign(key, MessageDigest::sha256()).unwrap();
    let pem = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    pb::Certificate {
        chain: pem(builder.build().to_pem().unwrap()),
        key: pem(key.private_key_to_pem_pkcs8().unwrap()),
    }
}
