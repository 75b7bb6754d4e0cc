//! Years of keys, looked at by both sides, late and with wrong clocks.

use std::sync::Arc;

use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::ServerCertVerifier as _;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::WebPkiClientVerifier;

use super::*;
use crate::fixtures;

fn next(held: Option<&Keyring>, now: Timestamp) -> Keyring {
    keys("orders", "shop", held, now, &mut || KeyPair::generate()).unwrap()
}

fn hours(hours: u64) -> Duration {
    Duration::from_hours(hours)
}

fn at(now: Timestamp) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.as_second()).unwrap()))
}

fn roots(trusting: &Keyring) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(trusting.trusted().as_bytes()) {
        roots.add(authority.unwrap()).unwrap();
    }
    Arc::new(roots)
}

/// Whether the operator with these keys takes a shard with those for a shard of this name.
fn operator_trusts(trusting: &Keyring, shown: &Keyring, name: &str, now: Timestamp) -> Result<(), String> {
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(roots(trusting), provider).build().unwrap();
    let cert = CertificateDer::from_pem_slice(shown.shard.cert.as_bytes()).unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    verifier.verify_server_cert(&cert, &[], &name, &[], at(now)).map(drop).map_err(|e| e.to_string())
}

/// Whether a shard with these keys takes an operator with those for one of its fleet.
fn shard_trusts(trusting: &Keyring, shown: &Keyring, now: Timestamp) -> Result<(), String> {
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(trusting), provider).build().unwrap();
    let cert = CertificateDer::from_pem_slice(shown.operator.cert.as_bytes()).unwrap();
    verifier.verify_client_cert(&cert, &[], at(now)).map(drop).map_err(|e| e.to_string())
}

const SHARD: &str = "shard.orders.shop.signalbox";

#[test]
fn new_keys_are_of_use_at_once_and_what_is_not_due_stays_as_it_is() {
    let now = fixtures::now();
    let first = next(None, now);
    assert_eq!((first.generation, first.authorities.len()), (1, 1));
    operator_trusts(&first, &first, SHARD, now).unwrap();
    shard_trusts(&first, &first, now).unwrap();
    assert!(next(Some(&first), now) == first);
    assert!(next(Some(&first), now + hours(19 * 24)) == first);
    assert!(next(Some(&first), now - hours(1)) == first, "a clock that was set back mints nothing");
    assert!(next(Some(&first), now + hours(20 * 24)) != first);
}

#[test]
fn another_fleets_keys_and_another_name_are_not_trusted() {
    let now = fixtures::now();
    let ours = next(None, now);
    let theirs = keys("mail", "shop", None, now, &mut || KeyPair::generate()).unwrap();
    operator_trusts(&ours, &theirs, SHARD, now).unwrap_err();
    operator_trusts(&ours, &theirs, "shard.mail.shop.signalbox", now).unwrap_err();
    shard_trusts(&ours, &theirs, now).unwrap_err();
    operator_trusts(&ours, &ours, "shard.mail.shop.signalbox", now).unwrap_err();
    operator_trusts(&ours, &ours, "operator.orders.shop.signalbox", now).unwrap_err();
}

#[test]
fn what_has_expired_is_not_trusted_and_is_made_anew() {
    let now = fixtures::now();
    let first = next(None, now);
    let later = now + hours(31 * 24);
    operator_trusts(&first, &first, SHARD, later).unwrap_err();
    shard_trusts(&first, &first, later).unwrap_err();
    for away in [31, 244, 366, 3000] {
        let later = now + hours(away * 24);
        let again = next(Some(&first), later);
        operator_trusts(&again, &again, SHARD, later).unwrap();
        shard_trusts(&again, &again, later).unwrap();
    }
}

#[test]
fn over_years_both_sides_trust_each_other_though_one_is_an_hour_late_and_clocks_differ() {
    let (start, mut history) = (fixtures::now(), Vec::<Keyring>::new());
    let mut renewals = 0;
    let mut most = 0;
    for hour in 0..3 * 365 * 24 {
        let now = start + hours(hour);
        let ring = next(history.last(), now);
        let changed = history.last() != Some(&ring);
        if changed {
            renewals += 1;
            most = most.max(ring.authorities.len());
        }
        // At each change, and some time after it: by then what was late is not any more.
        let late = history.last().cloned().unwrap_or_else(|| ring.clone());
        if changed || hour % 97 == 0 {
            for skew in [-150, 0, 150] {
                let clock = now + jiff::SignedDuration::from_mins(skew);
                for (one, other) in [(&ring, &late), (&late, &ring), (&ring, &ring)] {
                    operator_trusts(one, other, SHARD, clock).unwrap_or_else(|e| panic!("hour {hour}, {skew}: {e}"));
                    shard_trusts(one, other, clock).unwrap_or_else(|e| panic!("hour {hour}, {skew}: {e}"));
                }
            }
        }
        history = vec![ring];
    }
    assert!((58..=64).contains(&renewals), "{renewals} renewals in three years");
    assert_eq!(most, 2, "authorities at once");
}

#[test]
fn a_new_authority_is_trusted_for_an_hour_before_it_signs() {
    let now = fixtures::now();
    let mut ring = next(None, now);
    let mut hour = 0;
    while ring.authorities.len() == 1 {
        hour += 1;
        ring = next(Some(&ring), now + hours(hour));
    }
    assert_eq!(hour, 365 * 24 * 2 / 3);
    let added = now + hours(hour);
    assert_eq!(ring.authorities[0].vouches_until, added, "it has signed something");
    operator_trusts(&next(None, now), &ring, SHARD, added).unwrap_err();
}

#[test]
fn keys_are_not_shown_where_things_are_printed() {
    let ring = next(None, fixtures::now());
    let shown = format!("{ring:?} {:?} {:?}", ring.authorities, ring.shard);
    assert!(!shown.contains("PRIVATE") && !shown.contains("BEGIN"), "{shown}");
}

#[test]
fn what_is_kept_is_read_again_as_it_was() {
    let ring = next(None, fixtures::now());
    let text = serde_json::to_string(&ring).unwrap();
    assert!(serde_json::from_str::<Keyring>(&text).unwrap() == ring);
}
