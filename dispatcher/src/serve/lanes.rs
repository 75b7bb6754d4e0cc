//! What one sink may be sent next. Pure: time and waits are arguments.
//!
//! ```text
//!          push                    next                   done: gone, the lane's next is ready
//! log ----------> lane (per key) -------> in flight ----<
//!                   ready | waiting                       failed: stays at the head, lane waits
//! ```
//!
//! A lane is the events of one key in the order of the log; an event without a key is a lane of its own, and so is
//! every event of a sink that asks for no order. Only the head of a lane may be in flight, so its events arrive in
//! order and a failing one holds back its own key only.
//!
//! The lanes of a sink hold at most [`WINDOW`] events. So a key that fails does not delay others, until it alone
//! has filled the window; then the sink waits for it. That is the price of bounded memory.

mod leaving;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use signalbox_contract::Ordering;

use super::lengths::Lengths;
use super::log::{Entry, Position};

/// Most events of one sink in memory, in flight or waiting: about 2 MiB, as records stay in the log.
pub(super) const WINDOW: usize = 8192;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum LaneId {
    Key(u64),
    Single(Position),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Head {
    Ready,
    InFlight,
    WaitingUntil(Instant),
}

/// What a failed attempt means for its event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setback {
    /// The sink refused this event: it counts, and the event waits its own time.
    Refused,
    /// The sink failed, though it serves: it counts if the sink has taken another event since this one was tried
    /// before, for then it is not the sink that is unwell. The wait ends when the sink is back.
    Failed,
    /// The sink is unwell, or asks to wait: it does not count. The wait ends when the sink is back.
    Sink,
    /// It is we who cannot go on with this event: it does not count, and the event waits its own time.
    Ours,
}

#[derive(Debug)]
struct Lane {
    events: VecDeque<Entry>,
    head: Head,
    /// Of the event at the head: failed attempts, by which it waits.
    failures: u32,
    /// Those that count towards `maxAttempts`.
    counted: u32,
    /// The last of them.
    setback: Setback,
    /// Of [`Lanes::taken`], when it was tried last.
    taken: u64,
    /// The event at the head is in flight, and let go of.
    leaving: bool,
}

impl Lane {
    fn new() -> Self {
        let events = VecDeque::with_capacity(1);
        let head = Head::Ready;
        Self { events, head, failures: 0, counted: 0, setback: Setback::Ours, taken: 0, leaving: false }
    }

    /// Whether the next attempt draws on the retry budget.
    fn on_budget(&self) -> bool {
        self.failures > 0 && matches!(self.setback, Setback::Failed | Setback::Sink)
    }
}

/// An event to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Next {
    pub(super) entry: Entry,
    /// Which attempt of this process it is, from 1 on.
    pub(super) attempt: u32,
    /// Whether this attempt draws on the retry budget.
    pub(super) on_budget: bool,
}

/// What the lanes of a sink hold, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Outlook {
    pub(super) events: usize,
    /// Those that wait behind another of their lane.
    pub(super) blocked: usize,
    /// Those of the lane that has most.
    pub(super) largest: usize,
}

/// The lanes of one sink.
#[derive(Debug)]
pub(super) struct Lanes {
    ordering: Ordering,
    by_id: HashMap<LaneId, Lane>,
    ready: VecDeque<LaneId>,
    /// Ready, but for the retry budget.
    retries: VecDeque<LaneId>,
    waiting: BTreeSet<(Instant, LaneId)>,
    in_flight: usize,
    events: usize,
    lengths: Lengths,
    leaving: usize,
    /// How many events the sink has taken.
    taken: u64,
    held_until: Option<Instant>,
}

impl Lanes {
    /// Lanes with nothing in them.
    pub(super) fn new(ordering: Ordering) -> Self {
        Self {
            ordering,
            by_id: HashMap::new(),
            ready: VecDeque::new(),
            retries: VecDeque::new(),
            waiting: BTreeSet::new(),
            in_flight: 0,
            events: 0,
            lengths: Lengths::default(),
            leaving: 0,
            taken: 0,
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

    /// Retries that are due.
    pub(super) fn retries_due(&self) -> usize {
        self.retries.len()
    }

    /// Takes in the next event of the log. Its position is above all earlier ones.
    pub(super) fn push(&mut self, entry: Entry) {
        let id = self.id(&entry);
        self.events += 1;
        let lane = self.by_id.entry(id).or_insert_with(|| {
            self.ready.push_back(id);
            Lane::new()
        });
        lane.events.push_back(entry);
        self.lengths.grown(lane.events.len());
    }

    /// The next event to send while fewer than `allowed` are in flight: it is, from then on. Nothing when all lanes
    /// are in flight or waiting. Retries that are due come first, if they `may` be made.
    pub(super) fn next(&mut self, now: Instant, allowed: usize, may_retry: bool) -> Option<Next> {
        if self.closed(now, allowed) {
            return None;
        }
        while let Some(&(until, id)) = self.waiting.first()
            && until <= now
        {
            self.waiting.pop_first();
            self.make_ready(id);
        }
        let retry = if may_retry { self.retries.pop_front() } else { None };
        let id = retry.or_else(|| self.ready.pop_front())?;
        self.take_off(id)
    }

    /// The event that finds out whether the sink is back, whatever it waits for, while fewer than `allowed` are in
    /// flight: one that has not been sent yet if there is one, so that it is not always the same.
    pub(super) fn probe(&mut self, now: Instant, allowed: usize) -> Option<Next> {
        if self.closed(now, allowed) {
            return None;
        }
        let id = self.ready.pop_front().or_else(|| self.retries.pop_front());
        let id = id.or_else(|| self.waiting.pop_first().map(|(_, id)| id))?;
        self.take_off(id)
    }

    /// When [`Lanes::next`] may have something that it has not now, unless an attempt ends before. `token_at` is when
    /// a retry may be made.
    pub(super) fn wake_at(&self, allowed: usize, token_at: Instant) -> Option<Instant> {
        if self.in_flight >= allowed {
            return None;
        }
        if !self.ready.is_empty() {
            return self.held_until;
        }
        Some(self.due(token_at)?).max(self.held_until)
    }

    /// From when on an event could be sent, however many are in flight. Nothing if there is none to send.
    pub(super) fn sendable_at(&self, now: Instant, token_at: Instant) -> Option<Instant> {
        let first = if self.ready.is_empty() { self.due(token_at)? } else { now };
        Some(first.max(now)).max(self.held_until)
    }

    /// When the first of those that are not ready yet will be.
    fn due(&self, token_at: Instant) -> Option<Instant> {
        let retry = (!self.retries.is_empty()).then_some(token_at);
        [retry, self.waiting.first().map(|&(until, _)| until)].into_iter().flatten().min()
    }

    /// What the window holds.
    pub(super) fn outlook(&self) -> Outlook {
        let lanes = self.by_id.len();
        Outlook { events: self.events, blocked: self.events - lanes, largest: self.lengths.largest() }
    }

    /// When [`Lanes::probe`] may have something that it has not now, unless an attempt ends before. `most` may be in
    /// flight, from `from` on: nothing if that is so already.
    pub(super) fn probe_at(&self, most: usize, from: Option<Instant>) -> Option<Instant> {
        let any = !(self.ready.is_empty() && self.retries.is_empty() && self.waiting.is_empty());
        if !any || self.in_flight >= most {
            return None;
        }
        from.max(self.held_until)
    }

    /// The sink has taken `entry`.
    pub(super) fn delivered(&mut self, entry: &Entry) {
        self.taken += 1;
        self.done(entry);
    }

    /// `entry` needs to be sent no more.
    pub(super) fn done(&mut self, entry: &Entry) {
        let id = self.id(entry);
        let Some(lane) = self.landed(id) else { return };
        lane.events.pop_front();
        (lane.failures, lane.counted) = (0, 0);
        let leaving = std::mem::take(&mut lane.leaving);
        let left = lane.events.len();
        let empty = left == 0;
        self.events -= 1;
        self.leaving -= usize::from(leaving);
        self.lengths.shrunk(left);
        if empty {
            self.by_id.remove(&id);
        } else {
            self.make_ready(id);
        }
    }

    /// The attempt to send `entry` failed: how many now count towards its `maxAttempts`. It stays in flight until
    /// [`Lanes::wait`] or [`Lanes::done`].
    pub(super) fn failed(&mut self, entry: &Entry, setback: Setback) -> u32 {
        let (id, taken) = (self.id(entry), self.taken);
        let Some(lane) = self.by_id.get_mut(&id) else { return 0 };
        lane.failures = lane.failures.saturating_add(1);
        let counts = match setback {
            Setback::Refused => true,
            Setback::Failed => taken > lane.taken,
            Setback::Sink | Setback::Ours => false,
        };
        lane.counted = lane.counted.saturating_add(u32::from(counts));
        (lane.setback, lane.taken) = (setback, taken);
        lane.counted
    }

    /// `entry`, which failed, is tried again after `wait(failed attempts)`, unless it was let go of. Returns when that is.
    pub(super) fn wait(&mut self, entry: &Entry, now: Instant, wait: impl FnOnce(u32) -> Duration) -> Instant {
        let id = self.id(entry);
        if self.by_id.get(&id).is_some_and(|lane| lane.leaving) {
            self.done(entry);
            return now;
        }
        let Some(lane) = self.landed(id) else { return now };
        let until = now + wait(lane.failures);
        lane.head = Head::WaitingUntil(until);
        self.waiting.insert((until, id));
        until
    }

    /// The sink is back: what waits because of it waits no more.
    pub(super) fn release(&mut self) {
        for (until, id) in std::mem::take(&mut self.waiting) {
            if self.by_id.get(&id).is_some_and(Lane::on_budget) {
                self.make_ready(id);
            } else {
                self.waiting.insert((until, id));
            }
        }
    }

    /// The sink asked to be left alone until then.
    pub(super) fn hold(&mut self, until: Instant) {
        self.held_until = self.held_until.max(Some(until));
    }

    fn id(&self, entry: &Entry) -> LaneId {
        match (self.ordering, entry.key) {
            (Ordering::PerKey, Some(key)) => LaneId::Key(key),
            _ => LaneId::Single(entry.position),
        }
    }

    fn closed(&self, now: Instant, allowed: usize) -> bool {
        self.held_until.is_some_and(|until| now < until) || self.in_flight >= allowed
    }

    fn take_off(&mut self, id: LaneId) -> Option<Next> {
        let lane = self.by_id.get_mut(&id)?;
        lane.head = Head::InFlight;
        if lane.failures == 0 {
            lane.taken = self.taken;
        }
        self.in_flight += 1;
        let attempt = lane.failures.saturating_add(1);
        Some(Next { entry: *lane.events.front()?, attempt, on_budget: lane.on_budget() })
    }

    fn landed(&mut self, id: LaneId) -> Option<&mut Lane> {
        let lane = self.by_id.get_mut(&id).filter(|lane| lane.head == Head::InFlight)?;
        self.in_flight -= 1;
        Some(lane)
    }

    fn make_ready(&mut self, id: LaneId) {
        if let Some(lane) = self.by_id.get_mut(&id) {
            lane.head = Head::Ready;
            if lane.on_budget() {
                self.retries.push_back(id);
            } else {
                self.ready.push_back(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Lanes, Next, Setback, WINDOW};
    use crate::serve::log::{Entry, SinkSet};
    use proptest::prelude::*;
    use signalbox_contract::Ordering;
    use std::collections::HashMap;
    use std::time::{Duration, Instant};

    fn entry(position: u64, key: Option<u64>) -> Entry {
        Entry { position, accepted_at_us: 0, key, bytes: 100, skip: SinkSet::default() }
    }

    fn fail(lanes: &mut Lanes, entry: &Entry, now: Instant, wait: Duration) -> u32 {
        let counted = lanes.failed(entry, Setback::Failed);
        lanes.wait(entry, now, |_| wait);
        counted
    }

    fn next(lanes: &mut Lanes, now: Instant) -> Option<Entry> {
        lanes.next(now, 100, true).map(|next| next.entry)
    }

    #[test]
    fn a_failing_key_does_not_delay_another() {
        let now = Instant::now();
        let mut lanes = Lanes::new(Ordering::PerKey);
        for (position, key) in [(0, Some(1)), (1, Some(1)), (2, Some(2))] {
            lanes.push(entry(position, key));
        }
        let first = next(&mut lanes, now).unwrap();
        fail(&mut lanes, &first, now, Duration::from_mins(1));
        assert_eq!(next(&mut lanes, now).unwrap().position, 2);
        assert_eq!(next(&mut lanes, now), None);
        assert_eq!(lanes.wake_at(4, now), Some(now + Duration::from_mins(1)));
        assert_eq!(next(&mut lanes, now + Duration::from_mins(1)).unwrap().position, 0);
    }

    #[test]
    fn without_order_a_failing_event_does_not_delay_the_next_of_its_key() {
        let now = Instant::now();
        let mut lanes = Lanes::new(Ordering::None);
        for position in 0..3 {
            lanes.push(entry(position, Some(1)));
        }
        let sent: Vec<u64> = std::iter::from_fn(|| next(&mut lanes, now)).map(|entry| entry.position).collect();
        assert_eq!(sent, [0, 1, 2]);
    }

    #[test]
    fn a_held_sink_is_sent_nothing_until_then() {
        let now = Instant::now();
        let later = now + Duration::from_secs(3);
        let mut lanes = Lanes::new(Ordering::PerKey);
        lanes.push(entry(0, None));
        lanes.hold(later);
        lanes.hold(now);
        assert_eq!((lanes.next(now, 4, true), lanes.probe(now, 1), lanes.wake_at(4, now)), (None, None, Some(later)));
        assert_eq!(next(&mut lanes, later).unwrap().position, 0);
    }

    #[test]
    fn when_the_sink_is_back_what_waits_for_it_waits_no_more_and_what_it_refused_does() {
        let now = Instant::now();
        let mut lanes = Lanes::new(Ordering::PerKey);
        for position in 0..3 {
            lanes.push(entry(position, None));
        }
        for setback in [Setback::Failed, Setback::Sink, Setback::Refused] {
            let entry = next(&mut lanes, now).unwrap();
            lanes.failed(&entry, setback);
            lanes.wait(&entry, now, |_| Duration::from_hours(1));
        }
        assert_eq!(next(&mut lanes, now), None);
        lanes.release();
        let sent: Vec<u64> = std::iter::from_fn(|| next(&mut lanes, now)).map(|entry| entry.position).collect();
        assert_eq!(sent, [0, 1]);
    }

    #[test]
    fn a_retry_without_budget_waits_and_lets_first_attempts_go_before() {
        let now = Instant::now();
        let token_at = now + Duration::from_millis(700);
        let mut lanes = Lanes::new(Ordering::PerKey);
        lanes.push(entry(0, None));
        let first = next(&mut lanes, now).unwrap();
        fail(&mut lanes, &first, now, Duration::ZERO);
        lanes.push(entry(1, None));
        let other = lanes.next(now, 4, false).unwrap();
        assert_eq!((other.entry.position, other.attempt, other.on_budget), (1, 1, false));
        assert_eq!((lanes.next(now, 4, false), lanes.retries_due()), (None, 1));
        assert_eq!(lanes.wake_at(4, token_at), Some(token_at));
        let retry = lanes.next(now, 4, true).unwrap();
        assert_eq!((retry.entry.position, retry.attempt, retry.on_budget), (0, 2, true));
    }

    #[test]
    fn a_probe_is_one_that_was_not_sent_yet_and_else_the_one_that_has_waited_most() {
        let now = Instant::now();
        let mut lanes = Lanes::new(Ordering::PerKey);
        for position in 0..3 {
            lanes.push(entry(position, None));
        }
        for minutes in [2, 1] {
            let entry = next(&mut lanes, now).unwrap();
            fail(&mut lanes, &entry, now, Duration::from_mins(minutes));
        }
        let probe = lanes.probe(now, 1).unwrap().entry;
        assert_eq!((probe.position, lanes.probe(now, 1)), (2, None));
        fail(&mut lanes, &probe, now, Duration::from_mins(3));
        assert_eq!(lanes.probe(now, 1).unwrap().entry.position, 1);
    }

    #[test]
    fn what_counts_towards_the_last_attempt_is_what_is_the_events_own_fault() {
        let now = Instant::now();
        let mut lanes = Lanes::new(Ordering::PerKey);
        lanes.push(entry(0, Some(1)));
        let attempt = |lanes: &mut Lanes, setback| {
            let event = next(lanes, now).unwrap();
            let counted = lanes.failed(&event, setback);
            lanes.wait(&event, now, |_| Duration::ZERO);
            counted
        };
        assert_eq!(attempt(&mut lanes, Setback::Refused), 1);
        assert_eq!(attempt(&mut lanes, Setback::Failed), 1, "the sink has taken nothing meanwhile: it may be down");
        assert_eq!(attempt(&mut lanes, Setback::Sink), 1);
        assert_eq!(attempt(&mut lanes, Setback::Ours), 1);
        lanes.push(entry(1, Some(2)));
        let failing = next(&mut lanes, now).unwrap();
        let other = next(&mut lanes, now).unwrap();
        let (failing, other) = if failing.position == 0 { (failing, other) } else { (other, failing) };
        lanes.delivered(&other);
        assert_eq!(lanes.failed(&failing, Setback::Failed), 2, "it has taken another");
        lanes.wait(&failing, now, |failures| {
            assert_eq!(failures, 5);
            Duration::ZERO
        });
        let event = next(&mut lanes, now).unwrap();
        lanes.delivered(&event);
        lanes.push(entry(2, Some(1)));
        assert_eq!(attempt(&mut lanes, Setback::Refused), 1, "the next event begins at nothing");
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
            let mut lanes = Lanes::new(Ordering::PerKey);
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
                while let Some(Next { entry, .. }) = lanes.next(now, cap, true) {
                    prop_assert!(entry.key.is_none() || flying.iter().all(|other| other.key != entry.key));
                    prop_assert!(flying.iter().all(|other| other.position != entry.position));
                    flying.push(entry);
                }
                prop_assert!(flying.len() <= cap);
                prop_assert_eq!(lanes.in_flight(), flying.len());
                if flying.is_empty() {
                    if log.peek().is_none() {
                        let wake = lanes.wake_at(cap, now);
                        prop_assert!(wake.is_some_and(|at| at > now), "idle without a reason: {wake:?}");
                        now = wake.unwrap();
                    }
                    continue;
                }
                // Once the choices run out, everything succeeds.
                let (which, what) = choices.next().map_or((0, 3), |(which, what)| (which.index(flying.len()), what));
                let entry = flying.remove(which);
                match what {
                    0 => {
                        lanes.failed(&entry, Setback::Failed);
                        lanes.wait(&entry, now, |n| Duration::from_millis(u64::from(n)));
                    }
                    1 => {
                        lanes.failed(&entry, Setback::Sink);
                        lanes.wait(&entry, now, |_| Duration::ZERO);
                        lanes.hold(now + Duration::from_millis(5));
                    }
                    _ => {
                        lanes.delivered(&entry);
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
