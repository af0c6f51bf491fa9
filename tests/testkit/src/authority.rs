//! Certificates for tests: of the mesh's own root or a stranger's, with any names, any time, any usage.

use anyhow::{Context, Result};
use boring::{
    asn1::{Asn1Integer, Asn1Time},
    bn::{BigNum, MsbOption},
    ec::{EcGroup, EcKey},
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    x509::{
        X509, X509Builder, X509NameBuilder,
        extension::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName},
    },
};
use std::{
    fs,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

const HOUR: i64 = 3600;

/// A certificate with its key, and who signed it.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The leaf.
    pub certificate: X509,
    /// Its key.
    pub key: PKey<Private>,
}

/// What a leaf says of itself.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// URI names.
    pub uris: Vec<String>,
    /// DNS names.
    pub dns: Vec<String>,
    /// Seconds from now.
    pub not_before: i64,
    /// Seconds from now.
    pub not_after: i64,
    /// May be used by a client.
    pub client_auth: bool,
    /// May be used by a server.
    pub server_auth: bool,
}

impl Leaf {
    /// An honest leaf: one URI name, valid now, for both sides.
    pub fn of(uri: &str) -> Self {
        Self {
            uris: vec![uri.to_owned()],
            dns: Vec::new(),
            not_before: -HOUR,
            not_after: HOUR,
            client_auth: true,
            server_auth: true,
        }
    }
}

/// A root that signs whatever it is asked to.
#[derive(Clone, Debug)]
pub struct Authority(Credentials);

impl Authority {
    /// A root that nobody trusts.
    pub fn stranger() -> Result<Self> {
        let key = new_key()?;
        let mut name = X509NameBuilder::new()?;
        name.append_entry_by_nid(Nid::COMMONNAME, "stranger")?;
        let name = name.build();
        let mut builder = builder(-HOUR, HOUR)?;
        builder.set_subject_name(&name)?;
        builder.set_issuer_name(&name)?;
        builder.set_pubkey(&key)?;
        builder.append_extension(&*BasicConstraints::new().critical().ca().build()?)?;
        builder.append_extension(&*KeyUsage::new().critical().key_cert_sign().build()?)?;
        builder.sign(&key, MessageDigest::sha256())?;
        Ok(Self(Credentials {
            certificate: builder.build(),
            key,
        }))
    }

    /// The root of a controller, from its state directory.
    pub fn of_controller(state: &Path) -> Result<Self> {
        let read = |name: &str| {
            fs::read(state.join(name)).with_context(|| format!("{}/{name}", state.display()))
        };
        let key = PKey::private_key_from_pem(&read("root.key")?)?;
        let certificate = X509::from_pem(&read("root.pem")?)?;
        Ok(Self(Credentials { certificate, key }))
    }

    /// Signs a leaf with a new key.
    pub fn issue(&self, leaf: &Leaf) -> Result<Credentials> {
        let key = new_key()?;
        let mut builder = builder(leaf.not_before, leaf.not_after)?;
        builder.set_subject_name(&X509NameBuilder::new()?.build())?;
        builder.set_issuer_name(self.0.certificate.subject_name())?;
        builder.set_pubkey(&key)?;
        builder.append_extension(&*BasicConstraints::new().critical().build()?)?;
        builder.append_extension(&*KeyUsage::new().critical().digital_signature().build()?)?;
        let mut usage = ExtendedKeyUsage::new();
        if leaf.client_auth {
            usage.client_auth();
        }
        if leaf.server_auth {
            usage.server_auth();
        }
        if leaf.client_auth || leaf.server_auth {
            builder.append_extension(&*usage.build()?)?;
        }
        if !leaf.uris.is_empty() || !leaf.dns.is_empty() {
            let mut names = SubjectAlternativeName::new();
            names.critical();
            leaf.uris.iter().for_each(|uri| _ = names.uri(uri));
            leaf.dns.iter().for_each(|dns| _ = names.dns(dns));
            let names = names.build(&builder.x509v3_context(Some(&self.0.certificate), None))?;
            builder.append_extension(&names)?;
        }
        builder.sign(&self.0.key, MessageDigest::sha256())?;
        Ok(Credentials {
            certificate: builder.build(),
            key,
        })
    }
}

fn new_key() -> Result<PKey<Private>> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    Ok(PKey::from_ec_key(EcKey::generate(&group)?)?)
}

fn builder(not_before: i64, not_after: i64) -> Result<X509Builder> {
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    let mut serial = BigNum::new()?;
    serial.rand(120, MsbOption::ONE, false)?;
    let serial: Asn1Integer = serial.to_asn1_integer()?;
    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    builder.set_serial_number(&serial)?;
    builder.set_not_before(&*Asn1Time::from_unix(now + not_before)?)?;
    builder.set_not_after(&*Asn1Time::from_unix(now + not_after)?)?;
    Ok(builder)
}
