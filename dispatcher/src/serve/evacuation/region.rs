//! What goes to one other region: a course to each of its shards, and one for what has no key. Pure: the time is an
//! argument. May import `log`'s positions, `slots`, `bucket`, `course` and `places`.
//!
//! ```text
//! slots of the region --Places--> by owner --> Course of shard 0     one that stays away holds up
//!                                         '--> Course of shard 1     its own slots, and no others
//!                                    no key --> Course of any
//! ```

use std::collections::BTreeMap;
use std::time::Instant;

use super::bucket::Bucket;
use super::course::{Carried, Course, Ending, News, Next, Task};
use super::places::Places;
use crate::serve::log::Position;
use crate::serve::slots::SlotSet;

/// The address of a shard. Nothing: any of them.
pub(super) type Shard = Option<String>;

/// What all courses to a region go by.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) places: Places,
    pub(super) bucket: Bucket,
    /// Courses that share them.
    pub(super) courses: usize,
}

/// See the documentation of this file.
#[derive(Debug)]
pub(super) struct Region {
    terms: Terms,
    /// All slots, by their owners there.
    shares: BTreeMap<Shard, SlotSet>,
    courses: BTreeMap<Shard, Course>,
    /// Which course is asked first: the one after the last that was given something to do, as they share what the region takes.
    turn: usize,
}

impl Region {
    /// Nothing goes there yet.
    pub(super) fn new(now: Instant) -> Self {
        let terms = Terms { places: Places::default(), bucket: Bucket::new(now), courses: 0 };
        Self { terms, shares: BTreeMap::new(), courses: BTreeMap::new(), turn: 0 }
    }

    /// The table of the fleet has changed: where the region's shards are, and how many events a second this shard may give.
    pub(super) fn guide(&mut self, places: Places, rate: Option<f64>, now: Instant) {
        self.shares = places.shares(&SlotSet::all());
        self.terms.places = places;
        self.terms.bucket.limit(rate, now);
        self.courses.values_mut().for_each(Course::begin_anew);
    }

    /// These slots are to be given there, those that fly as soon as they have landed. Of `elsewhere` something is on its way
    /// to another region.
    pub(super) fn assign(
        &mut self,
        slots: &SlotSet,
        elsewhere: &SlotSet,
        inherited_end: Option<Position>,
        now: Instant,
    ) {
        let of = |share: &SlotSet| slots.common(share);
        for shard in self.shares.iter().filter(|(_, share)| !of(share).is_empty()).map(|(shard, _)| shard) {
            if !self.courses.contains_key(shard) {
                self.courses.insert(shard.clone(), Course::new(now));
            }
        }
        let flying = self.flying().union(elsewhere);
        for (shard, course) in &mut self.courses {
            let mine = self.shares.get(shard).map(of).unwrap_or_default();
            course.assign(&mine.without(&flying.without(&course.flying())), inherited_end);
        }
        self.courses
            .retain(|shard, course| !course.is_idle() || self.shares.get(shard).is_some_and(|s| !of(s).is_empty()));
        self.terms.courses = self.courses.len();
    }

    /// Slots of which something may be on its way.
    pub(super) fn flying(&self) -> SlotSet {
        self.courses.values().fold(SlotSet::default(), |all, course| all.union(&course.flying()))
    }

    /// Whether nothing is under way, and nothing is to be.
    pub(super) fn is_idle(&self) -> bool {
        self.courses.values().all(Course::is_idle)
    }

    /// Events that wait to be given, as far as they are counted.
    pub(super) fn remaining(&self) -> u64 {
        self.courses.values().map(Course::remaining).sum()
    }

    /// What to do now, and when to ask again. `end`: that of the own log.
    pub(super) fn next(&mut self, now: Instant, end: Position) -> (Vec<(Shard, Task)>, Option<Instant>) {
        let (mut tasks, mut wake) = (Vec::new(), None);
        let count = self.courses.len();
        let first = self.turn.checked_rem(count).unwrap_or(0);
        let (before, after) = (0..first, first..count);
        for at in after.chain(before) {
            let Some((shard, course)) = self.courses.iter_mut().nth(at) else { continue };
            match course.next(now, end, &mut self.terms) {
                Next::Task(task) => {
                    if task.most_events > 0 {
                        self.turn = at + 1;
                    }
                    tasks.push((shard.clone(), *task));
                }
                Next::At(at) => wake = Some(wake.map_or(at, |before: Instant| before.min(at))),
                Next::Nothing => {}
            }
        }
        (tasks, wake)
    }

    /// Whether there is nothing to do for some of it until the own log grows.
    pub(super) fn waits_for(&self, end: Position) -> bool {
        self.courses.values().any(|course| course.waits_for(end))
    }

    /// Whether events wait only because the region takes no more in a second.
    pub(super) fn held_back(&mut self, now: Instant) -> bool {
        self.courses.values().any(|course| course.is_held_back(now)) && self.terms.bucket.available(now) == 0
    }

    /// A task of this course has ended. Returns what people are to be told, if anything.
    pub(super) fn ended(&mut self, shard: &Shard, carried: Carried, now: Instant) -> Option<News> {
        let may_be_newer = matches!(carried.ending, Ending::Moved(_));
        let news = self.courses.get_mut(shard).and_then(|course| course.ended(carried, now, &mut self.terms));
        if may_be_newer {
            self.shares = self.terms.places.shares(&SlotSet::all());
        }
        news
    }
}

#[cfg(test)]
mod tests;
