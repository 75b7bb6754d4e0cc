//! What goes to one shard of another region, or without a key to any of them: how far it is, and when to go on. Pure: the
//! time is an argument. May import `log`'s positions, `slots`, `bucket` and `places`.
//!
//! ```text
//! positions   [ given, and settled here | next: in order | counted ............ end )
//! ```
//!
//! One task is under way at a time, so the events of a slot arrive in order. Each shard has a course of its own, so that one
//! that stays away holds up its own slots and no others. Where slots are added, or something was
//! inherited late, it begins at the first position again: what was given is not there any more.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use signalbox_contract::RoutingTable;

use super::BATCH_BYTES;
use super::places::Places;
use super::region::Terms;
use crate::serve::log::{PairLog, Position, is_inherited};
use crate::serve::slots::SlotSet;

/// The first pause after a failure, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Events of one batch at most, where a region takes no more than so many in a second: what one course is to give is kept from
/// the others meanwhile.
const BATCH_EVENTS: usize = 16 * 1024;

/// How often what waits is counted while nothing is given.
const COUNT_GAP: Duration = Duration::from_millis(500);

/// Bytes of all batches of a region's courses that are under way at once.
const ALL_BYTES: usize = 8 * BATCH_BYTES;

/// How long a course that has found nothing waits before it looks again: others of its region may have plenty.
const LULL: Duration = Duration::from_millis(10);

/// After so many failures in a row people are told.
const TOLD_AFTER: u32 = 3;

/// Something to do, beside the loop.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) slots: SlotSet,
    pub(super) next: Position,
    pub(super) counted: Position,
    pub(super) most_bytes: usize,
    /// Events to give at most. 0: it is only counted.
    pub(super) most_events: usize,
    pub(super) places: Places,
    /// Addresses that did not answer: another is asked instead.
    pub(super) avoid: BTreeSet<String>,
    pub(super) turn: usize,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(super) struct Carried {
    /// Where to go on.
    pub(super) next: Position,
    /// Up to where events are counted, and how many more were found.
    pub(super) counted: Position,
    pub(super) found: u64,
    /// Events that the other region has, and that are settled here.
    pub(super) moved: usize,
    pub(super) ending: Ending,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Everything that was to be given was taken.
    Fine,
    /// The other region's shards have changed.
    Moved(Arc<RoutingTable>),
    /// It wants to be left alone for so long, and why.
    Wait(Duration, String),
    /// It takes no batch of this size, and why.
    TooLarge(String),
    /// These addresses did not take it; the last said why.
    Unreached(BTreeSet<String>, String),
    /// The log has failed, or the process is ending.
    Ended,
}

/// What is to be done next.
#[derive(Debug)]
pub(super) enum Next {
    Task(Box<Task>),
    /// Nothing before then.
    At(Instant),
    /// Nothing, until something changes.
    Nothing,
}

/// See the documentation of this file.
#[derive(Debug)]
pub(super) struct Course {
    slots: SlotSet,
    inherited_end: Option<Position>,
    next: Position,
    counted: Position,
    counted_at: Instant,
    remaining: u64,
    /// The slots of the task under way, and whether it gives.
    flying: Option<SlotSet>,
    /// Events that it may give, of what the region takes.
    reserved: usize,
    wait: Option<Instant>,
    lull: Option<Instant>,
    failures: u32,
    avoid: BTreeSet<String>,
    most_bytes: usize,
    /// People were told that it fails.
    told: bool,
}

impl Course {
    /// Nothing goes there yet.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            slots: SlotSet::default(),
            inherited_end: None,
            next: PairLog::FIRST,
            counted: PairLog::FIRST,
            counted_at: now,
            remaining: 0,
            flying: None,
            reserved: 0,
            wait: None,
            lull: None,
            failures: 0,
            avoid: BTreeSet::new(),
            most_bytes: BATCH_BYTES,
            told: false,
        }
    }

    /// The table of the fleet has changed: nothing that was learned before has to be so any more.
    pub(super) fn begin_anew(&mut self) {
        (self.wait, self.failures) = (None, 0);
        self.avoid.clear();
    }

    /// These slots are to be given there, as soon as what is under way has ended.
    pub(super) fn assign(&mut self, slots: &SlotSet, inherited_end: Option<Position>) {
        if self.flying.is_some() || (&self.slots, self.inherited_end) == (slots, inherited_end) {
            return;
        }
        (self.slots, self.inherited_end, self.lull) = (*slots, inherited_end, None);
        (self.next, self.counted, self.remaining) = (PairLog::FIRST, PairLog::FIRST, 0);
    }

    /// Slots of which something may be on its way.
    pub(super) fn flying(&self) -> SlotSet {
        self.flying.unwrap_or_default()
    }

    /// Whether nothing is under way, and nothing is to be.
    pub(super) fn is_idle(&self) -> bool {
        self.flying.is_none() && self.slots.is_empty()
    }

    /// Events that wait to be given, as far as they are counted.
    pub(super) fn remaining(&self) -> u64 {
        self.remaining
    }

    /// What to do now. `end`: that of the own log.
    pub(super) fn next(&mut self, now: Instant, end: Position, terms: &mut Terms) -> Next {
        let is_behind = |position| is_inherited(position) || position < end;
        if self.flying.is_some() || self.slots.is_empty() || !is_behind(self.next) {
            return Next::Nothing;
        }
        let most_events = terms.bucket.share(terms.courses, now);
        let held_back = (most_events == 0).then(|| terms.bucket.ready_at());
        let until = self.wait.into_iter().chain(self.lull).chain(held_back).filter(|&until| until > now).max();
        if let Some(until) = until {
            let count_at = self.counted_at + COUNT_GAP;
            if !is_behind(self.counted) {
                return Next::At(until);
            }
            if now < count_at && until > now {
                return Next::At(until.min(count_at));
            }
        }
        self.counted_at = now;
        self.flying = Some(if until.is_some() { SlotSet::default() } else { self.slots });
        let (slots, next, counted) = (self.slots, self.next, self.counted);
        let most_bytes = self.most_bytes.min(ALL_BYTES / terms.courses.max(1));
        let most_events = match most_events {
            _ if until.is_some() => 0,
            usize::MAX => usize::MAX,
            limited => limited.clamp(1, BATCH_EVENTS),
        };
        self.reserved = most_events;
        terms.bucket.take(most_events);
        let (places, avoid) = (terms.places.clone(), self.avoid.clone());
        let turn = usize::try_from(self.failures / 2).unwrap_or(0);
        Next::Task(Box::new(Task { slots, next, counted, most_bytes, most_events, places, avoid, turn }))
    }

    /// Whether there is nothing to do until the own log grows.
    pub(super) fn waits_for(&self, end: Position) -> bool {
        self.flying.is_none() && !self.slots.is_empty() && !is_inherited(self.next) && self.next >= end
    }

    /// Whether events wait that would go now, if the region took any.
    pub(super) fn is_held_back(&self, now: Instant) -> bool {
        self.remaining > 0 && self.flying.is_none() && self.wait.is_none_or(|until| until <= now)
    }

    /// A task has ended. Returns what people are to be told, if anything.
    pub(super) fn ended(&mut self, carried: Carried, now: Instant, terms: &mut Terms) -> Option<News> {
        let Carried { next, counted, found, moved, ending } = carried;
        let gave = self.flying.take().is_some_and(|slots| !slots.is_empty());
        (self.next, self.counted) = (next, counted);
        self.remaining = (self.remaining + found).saturating_sub(moved as u64);
        match std::mem::take(&mut self.reserved) {
            usize::MAX => terms.bucket.take(moved),
            reserved => terms.bucket.give_back(reserved.saturating_sub(moved)),
        }
        if !gave {
            return None;
        }
        self.wait = None;
        self.lull = (ending == Ending::Fine && found == 0 && moved == 0).then(|| now + LULL);
        let asked = std::mem::take(&mut self.avoid);
        match ending {
            Ending::Fine => {
                if !is_inherited(next) && next >= counted {
                    self.remaining = 0;
                }
                self.most_bytes = BATCH_BYTES;
                self.failures = 0;
                return std::mem::take(&mut self.told).then_some(News::Goes);
            }
            Ending::Moved(table) if terms.places.tell(table.clone()) => return None,
            Ending::Moved(_) => self.pause(now),
            Ending::Wait(span, why) => {
                self.wait = Some(now + span);
                self.failures = self.failures.saturating_add(1);
                return self.fails(why);
            }
            Ending::TooLarge(why) => {
                self.most_bytes = (self.most_bytes / 2).max(1);
                self.pause(now);
                return self.fails(why);
            }
            Ending::Unreached(addresses, why) => {
                // Every other time another is asked: the owner may be another by now.
                if asked.is_empty() {
                    self.avoid = addresses;
                }
                self.pause(now);
                return self.fails(why);
            }
            Ending::Ended => {}
        }
        None
    }

    fn pause(&mut self, now: Instant) {
        let (first, longest) = PAUSE;
        self.wait = Some(now + longest.min(first * 2_u32.saturating_pow(self.failures.min(10))));
        self.failures = self.failures.saturating_add(1);
    }

    fn fails(&mut self, why: String) -> Option<News> {
        let news = self.failures >= TOLD_AFTER && !std::mem::replace(&mut self.told, self.failures >= TOLD_AFTER);
        news.then_some(News::Fails(why))
    }
}

/// What people want to hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// The shard takes nothing, and why.
    Fails(String),
    /// It takes events again.
    Goes,
}

#[cfg(test)]
mod tests;
