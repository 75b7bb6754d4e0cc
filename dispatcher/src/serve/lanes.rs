//! What one sink may be sent next. Pure: time and waits are arguments.
//!
//! ```text
//!          push                    next                   done: gone, the lane's next is ready
//! log ----------> lane (per key) -------> in flight ----<
//!                   ready | waiting                       failed: stays at the head, lane waits
//! ```
//!
//! A lane is the events of one key in the order of the log; an event without a key is a lane of its own. Only the
//! head of a lane may be in flight, so its events arrive in order and a failing one holds back its own key only.
//!
//! The lanes of a sink hold at most [`WINDOW`] events. So a key that fails does not delay others, until it alone
//! has filled the window; then the sink waits for it. That is the price of bounded memory.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::log::{Entry, Position};

/// Most events of one sink in memory, in flight or waiting: about 2 MiB, as records stay in the log.
pub(super) const WINDOW: usize = 8192;

/// Failures in a row after which a sink counts as down: its first success then ends all waits, so that recovery
/// takes as long as the backlog and not as long as the longest backoff. Below it, single events fail, and their
/// waits are their own.
const DOWN_AFTER: u32 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum LaneId {
    Key(u64),
    Single(Position),
}

impl LaneId {
    fn of(entry: &Entry) -> Self {
        entry.key.map_or(Self::Single(entry.position), Self::Key)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Head {
    Ready,
    InFlight,
    WaitingUntil(Instant),
}

#[derive(Debug)]
struct Lane {
    events: VecDeque<Entry>,
    head: Head,
    /// Failed attempts of the event at the head.
    failures: u32,
}

/// The lanes of one sink.
#[derive(Debug)]
pub(super) struct Lanes {
    cap: usize,
    by_id: HashMap<LaneId, Lane>,
    ready: VecDeque<LaneId>,
    waiting: BTreeSet<(Instant, LaneId)>,
    in_flight: usize,
    events: usize,
    failures_in_a_row: u32,
    held_until: Option<Instant>,
}

impl Lanes {
    /// Lanes of which at most `cap` are in flight at once.
    pub(super) fn new(cap: usize) -> Self {
        Self {
            cap,
            by_id: HashMap::new(),
            ready: VecDeque::new(),
            waiting: BTreeSet::new(),
            in_flight: 0,
            events: 0,
            failures_in_a_row: 0,
            held_until: None,
        }
    }

    /// How many more events fit into the window.
    pub(super) fn room(&self) -> usize {
        WINDOW.saturating_sub(self.events)
    }

    /// Attempts under way.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Takes in the next event of the log. Its position is above all earlier ones.
    pub(super) fn push(&mut self, entry: Entry) {
        let id = LaneId::of(&entry);
        self.events += 1;
        let lane = self.by_id.entry(id).or_insert_with(|| {
            self.ready.push_back(id);
            Lane { events: VecDeque::with_capacity(1), head: Head::Ready, failures: 0 }
        });
        lane.events.push_back(entry);
    }

    /// The next event to send, which is in flight from then on. Nothing when the cap is reached, or all lanes are
    /// in flight or waiting.
    pub(super) fn next(&mut self, now: Instant) -> Option<Entry> {
        if self.held_until.is_some_and(|until| now < until) || self.in_flight >= self.cap {
            return None;
        }
        while let Some(&(until, id)) = self.waiting.first()
            && until <= now
        {
            self.waiting.pop_first();
            self.make_ready(id);
        }
        let id = self.ready.pop_front()?;
        let lane = self.by_id.get_mut(&id)?;
        lane.head = Head::InFlight;
        self.in_flight += 1;
        lane.events.front().copied()
    }

    /// When [`Lanes::next`] may have something that it has not now, unless an attempt ends before.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        if self.in_flight >= self.cap {
            return None;
        }
        let first = if self.ready.is_empty() { Some(self.waiting.first()?.0) } else { None };
        first.max(self.held_until)
    }

    /// The attempt to send `entry` succeeded.
    pub(super) fn done(&mut self, entry: &Entry) {
        let id = LaneId::of(entry);
        let Some(lane) = self.landed(id) else { return };
        lane.events.pop_front();
        lane.failures = 0;
        let empty = lane.events.is_empty();
        self.events -= 1;
        if empty {
            self.by_id.remove(&id);
        } else {
            self.make_ready(id);
        }
        if std::mem::take(&mut self.failures_in_a_row) >= DOWN_AFTER {
            while let Some((_, id)) = self.waiting.pop_first() {
                self.make_ready(id);
            }
        }
    }

    /// The attempt to send `entry` failed. It is tried again after `wait(failed attempts of this event)`.
    pub(super) fn failed(&mut self, entry: &Entry, now: Instant, wait: impl FnOnce(u32) -> Duration) {
        let id = LaneId::of(entry);
        let Some(lane) = self.landed(id) else { return };
        lane.failures = lane.failures.saturating_add(1);
        let until = now + wait(lane.failures);
        lane.head = Head::WaitingUntil(until);
        self.waiting.insert((until, id));
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
    }

    /// The sink asked to be left alone until then.
    pub(super) fn hold(&mut self, until: Instant) {
        self.held_until = self.held_until.max(Some(until));
    }

    fn landed(&mut self, id: LaneId) -> Option<&mut Lane> {
        let lane = self.by_id.get_mut(&id).filter(|lane| lane.head == Head::InFlight)?;
        self.in_flight -= 1;
        Some(lane)
    }

    fn make_ready(&mut self, id: LaneId) {
        if let Some(lane) = self.by_id.get_mut(&id) {
            lane.head = Head::Ready;
            self.ready.push_back(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Lanes, WINDOW};
    use crate::serve::log::Entry;
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::time::{Duration, Instant};

    fn entry(position: u64, key: Option<u64>) -> Entry {
        Entry { position, accepted_at_us: 0, key, bytes: 100 }
    }

    #[test]
    fn a_failing_key_does_not_delay_another() {
        let now = Instant::now();
        let mut lanes = Lanes::new(4);
        for (position, key) in [(0, Some(1)), (1, Some(1)), (2, Some(2))] {
            lanes.push(entry(position, key));
        }
        let first = lanes.next(now).unwrap();
        lanes.failed(&first, now, |_| Duration::from_mins(1));
        assert_eq!(lanes.next(now).unwrap().position, 2);
        assert_eq!(lanes.next(now), None);
        assert_eq!(lanes.wake_at(), Some(now + Duration::from_mins(1)));
        assert_eq!(lanes.next(now + Duration::from_mins(1)).unwrap().position, 0);
    }

    #[test]
    fn a_held_sink_is_sent_nothing_until_then() {
        let now = Instant::now();
        let later = now + Duration::from_secs(3);
        let mut lanes = Lanes::new(4);
        lanes.push(entry(0, None));
        lanes.hold(later);
        lanes.hold(now);
        assert_eq!((lanes.next(now), lanes.wake_at()), (None, Some(later)));
        assert_eq!(lanes.next(later).unwrap().position, 0);
    }

    #[test]
    fn the_first_success_of_a_sink_that_was_down_ends_all_waits() {
        let now = Instant::now();
        let mut lanes = Lanes::new(100);
        for position in 0..20 {
            lanes.push(entry(position, None));
        }
        let sent: Vec<Entry> = std::iter::from_fn(|| lanes.next(now)).collect();
        for entry in &sent[1..] {
            lanes.failed(entry, now, |_| Duration::from_hours(1));
        }
        assert_eq!(lanes.next(now), None);
        lanes.done(&sent[0]);
        assert_eq!(std::iter::from_fn(|| lanes.next(now)).count(), 19);
    }

    #[test]
    fn the_failures_of_an_event_are_counted_until_it_is_delivered() {
        let mut now = Instant::now();
        let mut lanes = Lanes::new(1);
        lanes.push(entry(0, Some(1)));
        lanes.push(entry(1, Some(1)));
        for expected in [1, 2, 3] {
            let event = lanes.next(now).unwrap();
            lanes.failed(&event, now, |failures| {
                assert_eq!(failures, expected);
                Duration::from_secs(1)
            });
            now += Duration::from_secs(1);
        }
        let event = lanes.next(now).unwrap();
        lanes.done(&event);
        let event = lanes.next(now).unwrap();
        lanes.failed(&event, now, |failures| {
            assert_eq!(failures, 1);
            Duration::ZERO
        });
    }

    proptest! {
        /// A sink that fails at random is fed from a log of random keys, by a clock that only steps when nothing
        /// else can happen.
        #[test]
        fn order_per_key_one_in_flight_per_key_never_above_the_cap_and_everything_is_offered(
            keys in proptest::collection::vec(proptest::option::weighted(0.8, 0..5_u64), 1..80),
            cap in 1..6_usize,
            choices in proptest::collection::vec((any::<prop::sample::Index>(), 0..4_u8), 400),
        ) {
            let mut now = Instant::now();
            let mut lanes = Lanes::new(cap);
            let mut log = (0..).zip(&keys).map(|(position, key)| entry(position, *key)).peekable();
            let mut flying: Vec<Entry> = Vec::new();
            let mut delivered: HashMap<Option<u64>, Vec<u64>> = HashMap::new();
            let mut choices = choices.into_iter();
            let mut steps = 0;
            while delivered.values().map(Vec::len).sum::<usize>() < keys.len() {
                steps += 1;
                prop_assert!(steps < 5_000, "something is never offered");
                for entry in log.by_ref().take(3) {
                    lanes.push(entry);
                }
                while let Some(entry) = lanes.next(now) {
                    prop_assert!(entry.key.is_none() || flying.iter().all(|other| other.key != entry.key));
                    prop_assert!(flying.iter().all(|other| other.position != entry.position));
                    flying.push(entry);
                }
                prop_assert!(flying.len() <= cap);
                prop_assert_eq!(lanes.in_flight(), flying.len());
                if flying.is_empty() {
                    if log.peek().is_none() {
                        let wake = lanes.wake_at();
                        prop_assert!(wake.is_some_and(|at| at > now), "idle without a reason: {wake:?}");
                        now = wake.unwrap();
                    }
                    continue;
                }
                // Once the choices run out, everything succeeds.
                let (which, what) = choices.next().map_or((0, 3), |(which, what)| (which.index(flying.len()), what));
                let entry = flying.remove(which);
                match what {
                    0 => lanes.failed(&entry, now, |n| Duration::from_millis(u64::from(n))),
                    1 => {
                        lanes.failed(&entry, now, |_| Duration::ZERO);
                        lanes.hold(now + Duration::from_millis(5));
                    }
                    _ => {
                        lanes.done(&entry);
                        delivered.entry(entry.key).or_default().push(entry.position);
                    }
                }
            }
            for (key, positions) in delivered {
                prop_assert!(key.is_none() || positions.is_sorted(), "{key:?}: {positions:?}");
            }
            prop_assert_eq!(lanes.room(), WINDOW);
        }
    }
}
