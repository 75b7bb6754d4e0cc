//! What shards still hold that hand it over, or are not there to say so any more. Pure.
//!
//! ```text
//! heard, and leaving --------------> what it says now
//! heard, and an owner -------------> nothing: its backlog is in its report
//! lost, or without a pod ----------> what it said last: to this process, or before, as the status says
//! not heard yet, or not for long --> what the status says
//! ```
//!
//! It is no part of the table, and nothing is decided by it: it tells people where their events are.

use std::collections::BTreeMap;

use super::Look;
use crate::fleet::{Routing, approximate_count, names, round_to_two_digits};

impl Look<'_> {
    /// What peers hold that are leaving, lost, or without a pod, to two digits.
    pub(super) fn held(&self, table: &Routing) -> BTreeMap<u32, u64> {
        let held = table.peers.keys().filter_map(|&ordinal| {
            let before = table.held.get(&ordinal).copied();
            let events = match self.heard.get(&ordinal) {
                Some(heard) => (ordinal >= table.shards).then_some(heard.backlog_events),
                None if ordinal >= table.shards || self.is_away(table, ordinal) => self.heard_last(ordinal).or(before),
                None => before,
            };
            Some((ordinal, round_to_two_digits(events?)))
        });
        held.filter(|(_, events)| *events > 0).collect()
    }

    /// What each peer held when this process heard it last.
    pub(super) fn held_last(&self, table: &Routing) -> BTreeMap<u32, u64> {
        let said = |ordinal| self.heard.get(&ordinal).map(|heard| heard.backlog_events);
        let last = |&ordinal: &u32| Some((ordinal, said(ordinal).or_else(|| self.heard_last(ordinal))?));
        table.peers.keys().filter_map(last).collect()
    }

    /// Shards that are lost, or have no pod, and what they hold.
    pub(super) fn stranded(&self, routing: &Routing) -> impl Iterator<Item = (u32, u64)> {
        let held = routing.held.iter().map(|(ordinal, events)| (*ordinal, *events));
        held.filter(|(ordinal, _)| self.is_away(routing, *ordinal))
    }

    /// Where events are that come late, or only with somebody's hand. `None`: none are known of. One without a pod that is
    /// to have one is expected back in a moment.
    pub(super) fn strands(&self, routing: &Routing) -> Option<String> {
        let is_told = |ordinal: u32| self.is_gone(ordinal) || routing.lost.contains(&ordinal);
        let told: Vec<_> = self.stranded(routing).filter(|(ordinal, _)| is_told(*ordinal)).collect();
        // Who has been taken away comes back only if somebody wills it.
        let first = told.iter().find(|(ordinal, _)| self.is_gone(*ordinal)).or_else(|| told.first());
        let &(ordinal, events) = first?;
        let (pod, events, others) = (self.pod(ordinal), about(events), others_like_it(told.len()));
        if !self.is_gone(ordinal) {
            return Some(format!("{events} of Pod {pod} come late, when it is back{others}"));
        }
        let claim = names::claim(self.situation.fleet, self.situation.region, ordinal);
        let back = self.scale_back(routing);
        Some(format!(
            "Pod {pod} is gone, and its PersistentVolumeClaim {claim} still holds {events}{others}: {back} to have them \
             delivered"
        ))
    }

    /// What brings back all that were taken away.
    pub(super) fn scale_back(&self, routing: &Routing) -> String {
        match routing.peers.keys().rfind(|ordinal| self.is_gone(**ordinal)) {
            None | Some(0) => "scale back up to 1 shard".to_owned(),
            Some(last) => format!("scale back up to {} shards", last + 1),
        }
    }

    /// Whether it cannot say any more what it holds.
    fn is_away(&self, routing: &Routing, ordinal: u32) -> bool {
        let has_pod = self.shard(ordinal).is_some_and(|shard| shard.pod.is_some());
        !has_pod || routing.lost.contains(&ordinal)
    }

    fn heard_last(&self, ordinal: u32) -> Option<u64> {
        self.situation.held?.get(&ordinal).copied()
    }
}

/// What follows the first of `count`, of which the rest are in the same way.
pub(super) fn others_like_it(count: usize) -> String {
    if count <= 1 { String::new() } else { format!(", and {} like it", count - 1) }
}

/// Events, as they are told of a shard that was heard a while ago.
pub(super) fn about(events: u64) -> String {
    let noun = if events == 1 { "event" } else { "events" };
    format!("about {} {noun}", approximate_count(events))
}
