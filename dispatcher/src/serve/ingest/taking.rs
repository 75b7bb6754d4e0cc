//! Events that a shard of another region gives away: stored by the shard that owns their keys in this region, as they were,
//! with the time when they were accepted, by our clock, and without the sinks that have them. Half of each limit is left to
//! producers: what does not fit beside it waits where it is. May import `claiming`, `clock`, `transfers`, and what `store` may.
//!
//! ```text
//! all here --> own log      elsewhere --> back with our table      not yet, no room, a sink unknown here --> not now
//! ```

use std::time::Instant;

use super::passing::{Passed, Waits};
use super::repeats::Known;
use super::split::all_here;
use super::store::Store;
use crate::serve::claiming::{Handed, Way};
use crate::serve::clock;
use crate::serve::log::{NewRecord, SinkSet};
use crate::serve::metrics::Reject;
use crate::serve::transfers::{UnknownSink, skip};

/// What one shard gives to one of another region, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::serve) struct Given {
    /// The region that gives.
    pub(in crate::serve) from: String,
    /// The region that is to take.
    pub(in crate::serve) to: String,
    /// The log that it is from.
    pub(in crate::serve) log: u64,
    /// The names of the giver's sinks, which [`Handed::waiting`] counts.
    pub(in crate::serve) sinks: Vec<String>,
    /// The events. Of their origin the position counts: where they are in that log.
    pub(in crate::serve) events: Vec<Handed>,
}

impl Store {
    /// Stores what a shard of another region gives, all or nothing, and waits until then for the right to.
    pub(in crate::serve) async fn taken(&self, given: Given, until: Instant) -> Passed {
        let Some(routing) = &self.routing else { return Passed::Later("it takes part in no routing".to_owned()) };
        if routing.gives() {
            return Passed::Later("its own region gives events away".to_owned());
        }
        let mut known = self.repeats.of(given.log).await;
        let keys: Vec<_> = given.events.iter().map(|event| event.key).collect();
        let mut waits = Waits::new(self);
        let admission = loop {
            if !self.phase.borrow().accepts() {
                return Passed::Later("it is stopping".to_owned());
            }
            let routes = routing.router.route(&keys, None);
            if all_here(&routes.ways) {
                break routes.admission;
            }
            let is_elsewhere = routes.ways.iter().any(|way| matches!(way, Way::Owner(_)));
            if is_elsewhere && let Some(table) = routing.router.table() {
                return Passed::Redirect(table);
            }
            let seen = routes.seen;
            // What was admitted is not stored: nobody is to wait for it.
            drop(routes);
            if let Err(told) = waits.go_on(routing, seen, until).await {
                return told;
            }
        };
        let (records, repeated) = match self.as_new(&given, &known) {
            Ok(found) => found,
            Err(unknown) => return Passed::Later(unknown.to_string()),
        };
        let count = records.len();
        let stored = match self.reserved_beside_producers(records) {
            Ok(prepared) => prepared.taken(admission).await,
            Err(rejection) => Err(rejection),
        };
        match stored {
            Ok(()) => {
                known.stored(&given.events);
                self.metrics.taken_from_region(count, repeated);
                Passed::Stored
            }
            // It counts for no producer's: a region that has no room for others' events is not one that fails.
            Err(rejection) => self.refused_as(Reject::OtherRegion, rejection),
        }
    }

    /// As they are to be stored here, and how many are here already.
    fn as_new(&self, given: &Given, known: &Known) -> Result<(Vec<NewRecord>, usize), UnknownSink> {
        // Most events wait for the same sinks.
        let mut last: Option<(SinkSet, SinkSet)> = None;
        let mut records = Vec::with_capacity(given.events.len());
        let now_us = clock::now_us();
        for event in given.events.iter().filter(|event| !known.has(event)) {
            let Handed { accepted_at_us, key, waiting, identity, ref record, .. } = *event;
            let skip = match last {
                Some((like, skip)) if like == waiting => skip,
                _ => skip(self.sinks(), &given.sinks, waiting)?,
            };
            last = Some((waiting, skip));
            // By a clock that is ahead, all that the duplicate window knows would be long ago.
            let accepted_at_us = accepted_at_us.min(now_us);
            if waiting != SinkSet::default() {
                records.push(NewRecord { accepted_at_us, key, skip, identity, record: record.clone() });
            }
        }
        let repeated = given.events.len() - records.len();
        Ok((records, repeated))
    }
}

#[cfg(test)]
mod tests;
