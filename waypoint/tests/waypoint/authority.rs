//! A certificate authority, and what it signs for servers and clients.

use boring::asn1::Asn1Time;
use boring::bn::{BigNum, MsbOption};
use boring::ec::{EcGroup, EcKey};
use boring::hash::MessageDigest;
use boring::nid::Nid;
use boring::pkey::{PKey, Private};
use boring::x509::extension::{
    BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName,
};
use boring::x509::{X509, X509NameBuilder};
use culvert_proto::waypoint as pb;

const DAY: i64 = 86_400;

/// An authority with a root of its own.
pub(crate) struct Authority {
    certificate: X509,
    key: PKey<Private>,
}

/// What is to be signed.
#[derive(Clone)]
pub(crate) struct Wanted<'a> {
    /// Names of hosts.
    pub(crate) hosts: &'a [&'a str],
    /// URIs.
    pub(crate) uris: &'a [&'a str],
    /// Valid in days from now.
    pub(crate) days: (i64, i64),
    /// For servers, otherwise for clients.
    pub(crate) server: bool,
}

impl Default for Wanted<'_> {
    fn default() -> Self {
        Self {
            hosts: &[],
            uris: &[],
            days: (-1, 1),
            server: true,
        }
    }
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = key();
        let certificate = sign("authority", &key, None, (-10, 10), |builder| {
            let constraints = BasicConstraints::new().critical().ca().build().unwrap();
            builder.append_extension(&constraints).unwrap();
            let usage = KeyUsage::new().critical().key_cert_sign().build().unwrap();
            builder.append_extension(&usage).unwrap();
        });
        Self { certificate, key }
    }

    /// Its own certificate in PEM.
    pub(crate) fn pem(&self) -> String {
        String::from_utf8(self.certificate.to_pem().unwrap()).unwrap()
    }

    /// A certificate for a server of these hosts.
    pub(crate) fn server(&self, hosts: &[&str]) -> pb::Certificate {
        self.signed(&Wanted {
            hosts,
            ..Wanted::default()
        })
    }

    pub(crate) fn signed(&self, wanted: &Wanted<'_>) -> pb::Certificate {
        let own = key();
        let above = Some((&self.certificate, &self.key));
        // The common name is one that clients ask for, and must not count.
        let leaf = sign("common.example", &own, above, wanted.days, |builder| {
            let mut usage = ExtendedKeyUsage::new();
            if wanted.server {
                usage.server_auth();
            } else {
                usage.client_auth();
            }
            builder.append_extension(&usage.build().unwrap()).unwrap();
            let mut names = SubjectAlternativeName::new();
            for host in wanted.hosts {
                names.dns(host);
            }
            for uri in wanted.uris {
                names.uri(uri);
            }
            let names = names.build(&builder.x509v3_context(None, None)).unwrap();
            builder.append_extension(&names).unwrap();
        });
        let pem = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        pb::Certificate {
            chain: pem(leaf.to_pem().unwrap()),
            key: pem(own.private_key_to_pem_pkcs8().unwrap()),
        }
    }
}

fn key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

fn sign(
    name: &str,
    key: &PKey<Private>,
    above: Option<(&X509, &PKey<Private>)>,
    (from, to): (i64, i64),
    extend: impl FnOnce(&mut boring::x509::X509Builder),
) -> X509 {
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_text("CN", name).unwrap();
    let subject = subject.build();
    let mut serial = BigNum::new().unwrap();
    serial.rand(64, MsbOption::ONE, false).unwrap();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let serial = serial.to_asn1_integer().unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder.set_subject_name(&subject).unwrap();
    let issuer = above.map_or(&*subject, |(above, _)| above.subject_name());
    builder.set_issuer_name(issuer).unwrap();
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::SystemTime::UNIX_EPOCH);
    let now = i64::try_from(now.unwrap().as_secs()).unwrap();
    let time = |days| Asn1Time::from_unix(now + days * DAY).unwrap();
    builder.set_not_before(&time(from)).unwrap();
    builder.set_not_after(&time(to)).unwrap();
    builder.set_pubkey(key).unwrap();
    extend(&mut builder);
    let by = above.map_or(key, |(_, key)| key);
    builder.sign(by, MessageDigest::sha256()).unwrap();
    builder.build()
}
