//! How certificates of this authority look.
//!
//! Invariants: serial numbers are random; a leaf has an empty subject, exactly one URI among its names, is no authority,
//! and ends no later than its root.

use super::{BACKDATE, Root, RootError};
use crate::{SpiffeId, TrustDomain, x509};
use boring::asn1::Asn1Integer;
use boring::bn::BigNum;
use boring::error::ErrorStack;
use boring::hash::MessageDigest;
use boring::nid::Nid;
use boring::pkey::{PKey, PKeyRef, Private, Public};
use boring::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName,
    SubjectKeyIdentifier,
};
use boring::x509::{X509, X509Builder, X509NameBuilder};
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

const X509_V3: i32 = 2;

/// What a leaf says.
pub(super) struct Leaf<'a> {
    pub(super) public_key: &'a PKeyRef<Public>,
    pub(super) spiffe: &'a SpiffeId,
    pub(super) dns: &'a [String],
    pub(super) ips: &'a [IpAddr],
    pub(super) ttl: Duration,
}

/// 127 random bits, so that the number is positive.
fn serial() -> Result<Asn1Integer, ErrorStack> {
    let mut bytes = [0; 16];
    boring::rand::rand_bytes(&mut bytes)?;
    bytes[0] &= 0x7f;
    BigNum::from_slice(&bytes)?.to_asn1_integer()
}

fn builder(not_before: SystemTime, not_after: SystemTime) -> Result<X509Builder, ErrorStack> {
    let mut builder = X509::builder()?;
    builder.set_version(X509_V3)?;
    builder.set_serial_number(&*serial()?)?;
    builder.set_not_before(&*x509::asn1_time(not_before)?)?;
    builder.set_not_after(&*x509::asn1_time(not_after)?)?;
    Ok(builder)
}

/// A self-signed root.
pub(super) fn root(
    key: &PKey<Private>,
    trust_domain: &TrustDomain,
    ttl: Duration,
) -> Result<X509, ErrorStack> {
    let now = SystemTime::now();
    let mut builder = builder(now - BACKDATE, now + ttl)?;
    let mut name = X509NameBuilder::new()?;
    name.append_entry_by_nid(
        Nid::ORGANIZATIONNAME,
        &trust_domain.as_str().chars().take(64).collect::<String>(),
    )?;
    name.append_entry_by_nid(Nid::COMMONNAME, "Culvert root")?;
    let name = name.build();
    builder.set_subject_name(&name)?;
    builder.set_issuer_name(&name)?;
    builder.set_pubkey(key)?;
    builder.append_extension(&*BasicConstraints::new().critical().ca().build()?)?;
    builder.append_extension(
        &*KeyUsage::new()
            .critical()
            .key_cert_sign()
            .crl_sign()
            .build()?,
    )?;
    let key_identifier = SubjectKeyIdentifier::new().build(&builder.x509v3_context(None, None))?;
    builder.append_extension(&key_identifier)?;
    builder.sign(key, MessageDigest::sha256())?;
    Ok(builder.build())
}

/// An authority below `root`, for tests.
#[cfg(test)]
pub(super) fn intermediate(root: &Root, key: &PKey<Private>) -> Result<X509, ErrorStack> {
    let now = SystemTime::now();
    let mut builder = builder(now - BACKDATE, now + Duration::from_secs(3600))?;
    let mut name = X509NameBuilder::new()?;
    name.append_entry_by_nid(Nid::COMMONNAME, "Culvert intermediate")?;
    builder.set_subject_name(&name.build())?;
    builder.set_issuer_name(root.certificate.subject_name())?;
    builder.set_pubkey(key)?;
    builder.append_extension(&*BasicConstraints::new().critical().ca().build()?)?;
    builder.append_extension(&*KeyUsage::new().critical().key_cert_sign().build()?)?;
    let key_identifier = SubjectKeyIdentifier::new().build(&builder.x509v3_context(None, None))?;
    builder.append_extension(&key_identifier)?;
    builder.sign(&root.key, MessageDigest::sha256())?;
    Ok(builder.build())
}

/// A leaf of `root`.
pub(super) fn leaf(root: &Root, leaf: &Leaf<'_>) -> Result<X509, RootError> {
    let now = SystemTime::now();
    if root.not_after <= now {
        return Err(RootError::Expired);
    }
    let mut builder = builder(now - BACKDATE, (now + leaf.ttl).min(root.not_after))?;
    builder.set_subject_name(&X509NameBuilder::new()?.build())?;
    builder.set_issuer_name(root.certificate.subject_name())?;
    builder.set_pubkey(leaf.public_key)?;
    builder.append_extension(&*BasicConstraints::new().critical().build()?)?;
    builder.append_extension(&*KeyUsage::new().critical().digital_signature().build()?)?;
    builder.append_extension(
        &*ExtendedKeyUsage::new()
            .server_auth()
            .client_auth()
            .build()?,
    )?;
    let authority = {
        let context = builder.x509v3_context(Some(&root.certificate), None);
        AuthorityKeyIdentifier::new().keyid(true).build(&context)?
    };
    builder.append_extension(&authority)?;
    let names = {
        let mut names = SubjectAlternativeName::new();
        // RFC 5280 section 4.1.2.6: critical, since the subject is empty.
        names.critical().uri(leaf.spiffe.as_str());
        for name in leaf.dns {
            names.dns(name);
        }
        for ip in leaf.ips {
            names.ip(&ip.to_string());
        }
        names.build(&builder.x509v3_context(Some(&root.certificate), None))?
    };
    builder.append_extension(&names)?;
    builder.sign(&root.key, MessageDigest::sha256())?;
    Ok(builder.build())
}
