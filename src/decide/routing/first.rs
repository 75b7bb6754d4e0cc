//! The first table of a region. Pure.
//!
//! Its shards wait for it before they are ready. So it is made as soon as all that are to have slots are there, and not
//! much later if some are not: those come in with the next one.

use std::time::Duration;

use super::heard::is_old;
use super::{Look, count};
use crate::fleet::Routing;

/// For how long shards are waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// For how long the very first shard is, without which there is no other owner: then the others get their slots, and
/// only its own are not served.
const LAST_PATIENCE: Duration = Duration::from_secs(30);

impl Look<'_> {
    /// The first table, without its epoch. Where tables were forgotten, shards with a volume are taken for owners, heard
    /// or not: they may be accepting by one.
    pub(super) fn first(&self, forgotten: bool) -> Option<Routing> {
        let target = self.situation.target?;
        let waited = self.heard.values().map(|heard| heard.uptime).max()?;
        if waited < PATIENCE && !(0..target).all(|ordinal| self.heard.contains_key(&ordinal)) {
            return None;
        }
        let is_there = |ordinal: &u32| {
            let old = self.shard(*ordinal).is_some_and(is_old);
            self.heard.contains_key(ordinal) || old || forgotten && self.is_bound(*ordinal)
        };
        let mut shards = count((0..target).take_while(is_there));
        if shards == 0 && waited >= LAST_PATIENCE {
            let last = self.heard.keys().rfind(|ordinal| **ordinal < target);
            shards = last.map_or(0, |last| last + 1);
        }
        // Nobody can hear those from before routing say that they have sealed: a rollout that waits for the first shard
        // to be ready would wait for ever.
        let unheard = |ordinal: &u32| !self.heard.contains_key(ordinal) && !forgotten;
        (shards > 0).then(|| Routing { shards, lost: (0..shards).filter(unheard).collect(), ..Routing::default() })
    }
}
