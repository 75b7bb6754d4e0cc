//! The keys of a fleet: who vouches for whom, and until when. Plain data, in the form in which it is kept.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// All keys of one fleet. Whoever has this can speak as any of its shards, and as the operator to them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Keyring {
    /// Grows with each change, so that of two the newer one is known.
    pub generation: u64,
    /// The newest first. Each is trusted.
    pub authorities: Vec<Authority>,
    /// What shards show.
    pub shard: KeyPairPem,
    /// What the operator shows to shards.
    pub operator: KeyPairPem,
}

/// One that vouches for the others.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Authority {
    /// Its own certificate and key.
    pub pair: KeyPairPem,
    /// When the last certificate that it signed expires.
    pub vouches_until: Timestamp,
}

/// A certificate and its private key, in PEM, and when it is valid.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyPairPem {
    /// The certificate.
    pub cert: String,
    /// Its private key, as PKCS #8.
    pub key: String,
    /// When it was made. It is valid from a little earlier, for clocks that are slow.
    pub made: Timestamp,
    /// When it expires.
    pub until: Timestamp,
}

impl Keyring {
    /// The certificates of all that are trusted.
    pub fn trusted(&self) -> String {
        self.authorities.iter().map(|authority| authority.pair.cert.as_str()).collect()
    }
}

/// Keys have no place in a log, not even in a test's.
macro_rules! secret {
    ($($name:ident),*) => {$(
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )*};
}
secret!(Keyring, Authority, KeyPairPem);
