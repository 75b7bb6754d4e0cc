//! One certificate at a time. Pure, given the time and a random key.

use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::BEHIND;
use crate::fleet::KeyPairPem;

/// When a certificate is valid.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    made: Timestamp,
    until: Timestamp,
}

impl Life {
    pub(super) fn from(now: Timestamp, span: Duration) -> Self {
        Self { made: now, until: now + span }
    }

    fn apply(self, params: &mut CertificateParams) {
        let at = |time: Timestamp| {
            rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(time.as_second()).unwrap_or(0))
        };
        params.not_before = at(self.made - BEHIND);
        params.not_after = at(self.until);
    }
}

/// Whom the keys are for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner<'a> {
    pub(super) fleet: &'a str,
    pub(super) namespace: &'a str,
}

/// One that vouches for itself, and signs nothing that signs.
pub(super) fn authority(owner: Owner<'_>, key: &KeyPair, life: Life) -> Result<KeyPairPem, rcgen::Error> {
    let cert = of_authority(owner, life).self_signed(key)?.pem();
    Ok(KeyPairPem { cert, key: key.serialize_pem(), made: life.made, until: life.until })
}

/// One that says who somebody is, to either side.
pub(super) fn signed(
    authority: &KeyPairPem,
    owner: Owner<'_>,
    identity: &str,
    key: &KeyPair,
    life: Life,
) -> Result<KeyPairPem, rcgen::Error> {
    let of_authority = of_authority(owner, Life { made: authority.made, until: authority.until });
    let issuer = Issuer::new(of_authority, KeyPair::from_pem(&authority.key)?);
    let life = Life { until: life.until.min(authority.until), ..life };
    let mut params = CertificateParams::new([identity.to_owned()])?;
    params.distinguished_name = named("signalbox");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    life.apply(&mut params);
    let cert = params.signed_by(key, &issuer)?.pem();
    Ok(KeyPairPem { cert, key: key.serialize_pem(), made: life.made, until: life.until })
}

/// What an authority's certificate says: all that has to be known of it to sign in its name.
fn of_authority(owner: Owner<'_>, life: Life) -> CertificateParams {
    let mut params = CertificateParams::default();
    // Names differ from one authority to the next, so that none is taken for another.
    let Owner { fleet, namespace } = owner;
    params.distinguished_name = named(&format!("{namespace}/{fleet} {}", life.made.as_second()));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    life.apply(&mut params);
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}
