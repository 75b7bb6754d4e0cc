//! The keys of a fleet: mints them, and mints new ones in time. Pure, given the time and random keys.
//!
//! ```text
//! authority --signs--> shard's certificate, operator's certificate
//! 0 d ........................... 243 d: the next one is made, and trusted ... 244 d: it signs
//!     certificates: 30 d, anew after 20 d             the old one is trusted until the last it signed has expired
//! ```
//!
//! What is new is trusted for an hour before anything signed by it is shown: by then every shard has read it. What is old
//! is trusted for as long as anybody may still show it. Both sides may be late, and clocks hours apart.
//!
//! **Architecture Invariant:** a keyring of which nothing is due comes back as it was, so nothing is written.

mod mint;

use std::time::Duration;

use jiff::Timestamp;
use rcgen::KeyPair;

use crate::fleet::{Authority, KeyPairPem, Keyring, names};
use mint::{Life, Owner};

/// How long an authority lives.
const AUTHORITY_LIFE: Duration = Duration::from_hours(365 * 24);
/// How long what it signs lives.
const LIFE: Duration = Duration::from_hours(30 * 24);
/// For how long an authority is trusted before it signs.
const SETTLE: Duration = Duration::from_hours(1);
/// By how much a clock may be behind the one by which a certificate was made: until it has come to that, it would not be
/// believed. Whoever has the key of an authority could as well write any other time.
const BEHIND: Duration = Duration::from_hours(24);

/// Why keys could not be made.
#[derive(Debug, thiserror::Error)]
#[error("keys could not be made: {0}")]
pub(crate) struct NotMinted(#[from] rcgen::Error);

/// The keys that a fleet is to have now, given those that it has.
pub(crate) fn keys(
    fleet: &str,
    namespace: &str,
    held: Option<&Keyring>,
    now: Timestamp,
    draw: &mut dyn FnMut() -> Result<KeyPair, rcgen::Error>,
) -> Result<Keyring, NotMinted> {
    let owner = Owner { fleet, namespace };
    let mut authorities = held.map(|held| held.authorities.clone()).unwrap_or_default();
    if authorities.first().is_none_or(|newest| is_due(&newest.pair, now)) {
        let pair = mint::authority(owner, &draw()?, Life::from(now, AUTHORITY_LIFE))?;
        authorities.insert(0, Authority { pair, vouches_until: now });
    }
    let mut renew = |pair: Option<&KeyPairPem>, identity: String| match pair {
        Some(pair) if !is_due(pair, now) => Ok(pair.clone()),
        _ => sign(&mut authorities, owner, &identity, now, draw),
    };
    let shard = renew(held.map(|held| &held.shard), names::shard_identity(fleet, namespace))?;
    let operator = renew(held.map(|held| &held.operator), names::operator_identity(fleet, namespace))?;
    let mut newest = true;
    authorities.retain(|authority| std::mem::take(&mut newest) || now < authority.vouches_until + SETTLE);
    let generation = held.map_or(0, |held| held.generation);
    let kept = Keyring { generation, authorities, shard, operator };
    Ok(if held == Some(&kept) { kept } else { Keyring { generation: generation + 1, ..kept } })
}

/// Whether two thirds of its life are over.
fn is_due(pair: &KeyPairPem, now: Timestamp) -> bool {
    let life = pair.until.duration_since(pair.made);
    now >= pair.made + life * 2 / 3
}

/// Signs with the newest authority that every shard knows by now, or if there is none, with the newest.
fn sign(
    authorities: &mut [Authority],
    owner: Owner<'_>,
    identity: &str,
    now: Timestamp,
    draw: &mut dyn FnMut() -> Result<KeyPair, rcgen::Error>,
) -> Result<KeyPairPem, NotMinted> {
    let settled = authorities.iter().position(|it| it.pair.made + SETTLE <= now && now + LIFE <= it.pair.until);
    let Some(authority) = authorities.get_mut(settled.unwrap_or(0)) else {
        return Err(NotMinted(rcgen::Error::CouldNotParseCertificate));
    };
    let pair = mint::signed(&authority.pair, owner, identity, &draw()?, Life::from(now, LIFE))?;
    authority.vouches_until = authority.vouches_until.max(pair.until);
    Ok(pair)
}

#[cfg(test)]
mod tests;
