//! Certificates of every shape, for tests: an authority that signs what no authority should.

use crate::bundle::TrustBundle;
use crate::{Identity, csr, x509};
use boring::asn1::Asn1Integer;
use boring::bn::BigNum;
use boring::hash::MessageDigest;
use boring::nid::Nid;
use boring::pkey::{PKey, Private};
use boring::x509::extension::{
    BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName,
};
use boring::x509::{X509, X509NameBuilder};
use std::time::{Duration, SystemTime};

/// What a leaf says. Times are seconds from now.
#[derive(Clone)]
pub(crate) struct Spec<'a> {
    pub(crate) uris: Vec<&'a str>,
    pub(crate) dns: Vec<&'a str>,
    pub(crate) usages: &'a [&'a str],
    pub(crate) not_before: i64,
    pub(crate) not_after: i64,
    pub(crate) name: &'a str,
}

impl<'a> Spec<'a> {
    /// A sound certificate. The DNS name keeps the extension there when the URIs are taken away.
    pub(crate) fn new(uri: &'a str) -> Self {
        let usages = &["serverAuth", "clientAuth"];
        Self {
            uris: vec![uri],
            dns: vec!["a.example"],
            usages,
            not_before: -60,
            not_after: 3600,
            name: uri,
        }
    }
}

pub(crate) struct Ca {
    key: PKey<Private>,
    certificate: X509,
}

fn from_now(seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 {
        SystemTime::now() - distance
    } else {
        SystemTime::now() + distance
    }
}

fn serial() -> Asn1Integer {
    BigNum::from_u32(rand::random::<u32>() >> 1)
        .unwrap()
        .to_asn1_integer()
        .unwrap()
}

impl Ca {
    pub(crate) fn new() -> Self {
        let key = csr::new_key().unwrap();
        let mut name = X509NameBuilder::new().unwrap();
        name.append_entry_by_nid(Nid::COMMONNAME, &format!("root {}", rand::random::<u64>()))
            .unwrap();
        let name = name.build();
        let mut builder = X509::builder().unwrap();
        builder.set_version(2).unwrap();
        builder.set_serial_number(&serial()).unwrap();
        builder
            .set_not_before(&x509::asn1_time(from_now(-3600)).unwrap())
            .unwrap();
        builder
            .set_not_after(&x509::asn1_time(from_now(86_400)).unwrap())
            .unwrap();
        builder.set_subject_name(&name).unwrap();
        builder.set_issuer_name(&name).unwrap();
        builder.set_pubkey(&key).unwrap();
        builder
            .append_extension(&BasicConstraints::new().critical().ca().build().unwrap())
            .unwrap();
        builder
            .append_extension(&KeyUsage::new().critical().key_cert_sign().build().unwrap())
            .unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        Self {
            key,
            certificate: builder.build(),
        }
    }

    pub(crate) fn pem(&self) -> String {
        x509::pem(&self.certificate).unwrap()
    }

    pub(crate) fn bundle(&self) -> TrustBundle {
        TrustBundle::from_certificates(vec![self.certificate.clone()]).unwrap()
    }

    pub(crate) fn issue(&self, spec: &Spec<'_>) -> (PKey<Private>, Vec<X509>) {
        let key = csr::new_key().unwrap();
        let leaf = leaf(spec, &key, &self.key, Some(&self.certificate));
        (key, vec![leaf, self.certificate.clone()])
    }

    pub(crate) fn identity(&self, spec: &Spec<'_>) -> Identity {
        self.identity_trusting(spec, &self.bundle())
    }

    pub(crate) fn identity_trusting(&self, spec: &Spec<'_>, trust: &TrustBundle) -> Identity {
        let (key, chain) = self.issue(spec);
        Identity::new(&spec.name.parse().unwrap(), &key, &chain, trust).unwrap()
    }

    pub(crate) fn self_signed(&self, spec: &Spec<'_>) -> Identity {
        let key = csr::new_key().unwrap();
        let chain = vec![leaf(spec, &key, &key, None)];
        Identity::new(&spec.name.parse().unwrap(), &key, &chain, &self.bundle()).unwrap()
    }
}

fn leaf(
    spec: &Spec<'_>,
    key: &PKey<Private>,
    signer: &PKey<Private>,
    issuer: Option<&X509>,
) -> X509 {
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_nid(Nid::COMMONNAME, "leaf").unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_serial_number(&serial()).unwrap();
    builder
        .set_not_before(&x509::asn1_time(from_now(spec.not_before)).unwrap())
        .unwrap();
    builder
        .set_not_after(&x509::asn1_time(from_now(spec.not_after)).unwrap())
        .unwrap();
    builder.set_subject_name(&name).unwrap();
    builder
        .set_issuer_name(issuer.map_or(&*name, |issuer| issuer.subject_name()))
        .unwrap();
    builder.set_pubkey(key).unwrap();
    let mut usage = ExtendedKeyUsage::new();
    for name in spec.usages {
        usage.other(name);
    }
    builder.append_extension(&usage.build().unwrap()).unwrap();
    if !(spec.uris.is_empty() && spec.dns.is_empty()) {
        let mut names = SubjectAlternativeName::new();
        for uri in &spec.uris {
            names.uri(uri);
        }
        for dns in &spec.dns {
            names.dns(dns);
        }
        let names = names.build(&builder.x509v3_context(None, None)).unwrap();
        builder.append_extension(&names).unwrap();
    }
    builder.sign(signer, MessageDigest::sha256()).unwrap();
    builder.build()
}
