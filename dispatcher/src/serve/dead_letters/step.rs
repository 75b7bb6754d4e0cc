//! One step of a replay: which letters go back together. May import the router of `claiming`, and `log`'s overhead.

use bytes::Bytes;

use super::letter::{LetterHead, LetterKey};
use crate::serve::claiming::{Admission, Router, Way};
use crate::serve::log::OVERHEAD_BYTES;

/// Letters that go back together.
pub(super) struct Step {
    /// Where the next step begins.
    pub(super) after: LetterKey,
    pub(super) letters: Vec<(LetterKey, LetterHead, Bytes)>,
    /// Letters of the same stretch that do not go back.
    pub(super) failed: u64,
}

impl Step {
    /// What it will take in the log.
    pub(super) fn bytes(&self) -> u64 {
        self.letters.iter().map(|(_, _, record)| record.len() as u64 + OVERHEAD_BYTES).sum()
    }

    /// Leaves out letters of keys that are another shard's now: what this shard would accept of them would be delivered
    /// by nobody. They are kept. An error says what to wait for.
    pub(super) fn admit(&mut self, claims: &dyn Router) -> Result<Option<Admission>, String> {
        let keys: Vec<Option<u64>> = self.letters.iter().map(|(_, head, _)| head.key).collect();
        let routes = claims.route(&keys, None);
        if routes.ways.contains(&Way::Hold) {
            return Err("the slots of this shard to be claimed".to_owned());
        }
        let (before, mut ways) = (self.letters.len(), routes.ways.iter());
        self.letters.retain(|_| ways.next() == Some(&Way::Here));
        self.failed += (before - self.letters.len()) as u64;
        Ok(routes.admission)
    }
}
