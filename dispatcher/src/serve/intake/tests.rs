//! Whole shards, simulated: logs on disks that lose power, two sinks, and slots that come and go.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;
use signalbox_contract::{Ordering, RetryConfig, SinkConfig};

use super::Intake;
use crate::serve::answer::Verdict;
use crate::serve::flow::{Flow, Sent};
use crate::serve::gates::Gates;
use crate::serve::lanes::WINDOW;
use crate::serve::log::pair::tests::{Cut, Disks};
use crate::serve::log::pair::{Bequest, Origin, PairLog};
use crate::serve::log::{NewRecord, Position, ShardLog, SinkSet};
use crate::serve::slots::{SlotSet, slot_of};

const SINKS: usize = 2;
const SLOTS: usize = 3;

fn config() -> SinkConfig {
    SinkConfig {
        name: "sink".to_owned(),
        uri: "http://sink/".to_owned(),
        timeout_ms: 1000,
        max_concurrency: 16,
        retry: RetryConfig { initial_backoff_ms: 10, max_backoff_ms: 50, max_attempts: None },
        ordering: Ordering::PerKey,
        filter: BTreeMap::new(),
        signing_secret_file: None,
    }
}

fn names() -> Vec<String> {
    vec!["a".to_owned(), "b".to_owned()]
}

fn slots(all: &[usize]) -> SlotSet {
    all.iter().copied().collect()
}

/// One sink's task, without the network.
struct Sink {
    id: usize,
    flow: Flow,
    intake: Intake,
    flying: Vec<Sent>,
    /// The version up to which it has let go.
    let_go: u64,
}

impl Sink {
    fn new(id: usize, now: Instant) -> Self {
        Self::with(Intake::new(id), now)
    }

    /// One whose window is soon full.
    fn small(id: usize, now: Instant) -> Self {
        Self::with(Intake::with(id, 12, 3), now)
    }

    fn with(intake: Intake, now: Instant) -> Self {
        let (id, flow) = (intake.sink, Flow::new(&config(), now));
        Self { id, flow, intake, flying: Vec::new(), let_go: 0 }
    }

    fn pump(&mut self, log: &PairLog, gates: &Gates, now: Instant) {
        self.let_go = self.let_go.max(self.intake.look_at(gates, &mut self.flow));
        self.intake.fill(&mut self.flow, log, log.end()).unwrap();
        self.flying.extend(std::iter::from_fn(|| self.flow.next(now)));
    }

    fn land(&mut self, sent: Sent, verdict: Verdict, now: Instant) {
        let ended = self.flow.ended(&sent, verdict, now, 7);
        if verdict != Verdict::Taken {
            self.flow.wait(&sent, &ended, now, 7);
        }
    }
}

/// Where a slot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    Open,
    /// Closed at this version.
    Closing(u64),
    /// What the own log had from before is handed over.
    Claimed,
}

/// An event of the model: its number, and the sinks that it is for.
type Numbered = (u64, [bool; SINKS]);

struct World {
    disks: Disks,
    log: PairLog,
    gates: Gates,
    sinks: Vec<Sink>,
    now: Instant,
    numbers: u64,
    stands: [Stand; SLOTS],
    /// By slot: how often it was claimed.
    tenures: [u64; SLOTS],
    /// By position of the own log: under which tenure it was accepted.
    accepted: Vec<u64>,
    /// What others handed over in the present claim, by slot.
    handed: Vec<BTreeMap<Origin, (u64, Bequest, Numbered)>>,
    /// By slot: accepted while it was claimed.
    held: Vec<Vec<(u64, Numbered)>>,
    /// By sink and key: the order in which events are to arrive, and how far they have.
    expected: Vec<BTreeMap<u64, (Vec<u64>, usize)>>,
    /// The power failed: a key may begin again, further back, once.
    replays: Vec<BTreeMap<u64, bool>>,
}

fn skip(wanted: [bool; SINKS]) -> SinkSet {
    (0..SINKS).filter(|&sink| !wanted[sink]).fold(SinkSet::default(), SinkSet::with)
}

impl World {
    fn new() -> Self {
        let disks = Disks::default();
        let now = Instant::now();
        Self {
            log: disks.open(&names()),
            disks,
            gates: Gates::default(),
            sinks: (0..SINKS).map(|id| Sink::small(id, now)).collect(),
            now,
            numbers: 0,
            stands: [Stand::Open; SLOTS],
            tenures: [0; SLOTS],
            accepted: Vec::new(),
            handed: vec![BTreeMap::new(); SLOTS],
            held: vec![Vec::new(); SLOTS],
            expected: vec![BTreeMap::new(); SINKS],
            replays: vec![BTreeMap::new(); SINKS],
        }
    }

    /// Two keys for each slot.
    fn key(choice: u8) -> u64 {
        let choice = u64::from(choice);
        choice % SLOTS as u64 + 1024 * (choice / 8 % 2)
    }

    fn number(&mut self, choice: u8) -> Numbered {
        self.numbers += 1;
        let wanted = match choice % 5 {
            0 => [true, false],
            1 => [false, true],
            _ => [true, true],
        };
        (self.numbers, wanted)
    }

    fn expect(&mut self, key: u64, (number, wanted): Numbered) {
        for sink in (0..SINKS).filter(|&sink| wanted[sink]) {
            self.expected[sink].entry(key).or_default().0.push(number);
        }
    }

    fn append(&mut self, a: u8, b: u8) {
        let key = Self::key(a);
        let slot = slot_of(Some(key));
        let event = self.number(b);
        let record = Bytes::from(event.0.to_string());
        let new = NewRecord { accepted_at_us: 0, key: Some(key), skip: skip(event.1), identity: 0, record };
        self.log.append(&[new]).unwrap();
        self.accepted.push(2 * self.tenures[slot]);
        if self.stands[slot] == Stand::Open { self.expect(key, event) } else { self.held[slot].push((key, event)) }
    }

    /// A shard hands over one event of a slot that is claimed, or one again.
    fn inherit(&mut self, a: u8, b: u8) {
        let key = Self::key(a);
        let slot = slot_of(Some(key));
        if self.stands[slot] == Stand::Open {
            return;
        }
        if b.is_multiple_of(4)
            && let Some((_, bequest, _)) =
                self.handed[slot].values().nth(usize::from(b) % self.handed[slot].len().max(1))
        {
            assert!(self.log.inherit(std::slice::from_ref(bequest)).unwrap().is_empty(), "it is there");
            return;
        }
        let event = self.number(b);
        let log = 100 + u64::from(b % 3);
        // Side by side, and by ways of different length.
        let position = u64::from(b) << 32 | self.numbers;
        let origin = Origin { epoch: 2 * self.tenures[slot] - 1, log, position };
        let (skip, record) = (skip(event.1), Bytes::from(event.0.to_string()));
        let bequest = Bequest { origin, accepted_at_us: 0, key: Some(key), skip, identity: 0, record };
        assert_eq!(self.log.inherit(std::slice::from_ref(&bequest)).unwrap(), slots(&[slot]));
        self.handed[slot].insert(origin, (key, bequest, event));
    }

    fn close(&mut self, slot: usize) {
        if self.stands[slot] == Stand::Open {
            self.gates.close(&slots(&[slot]));
            self.stands[slot] = Stand::Closing(self.gates.version);
            self.tenures[slot] += 1;
        }
    }

    /// Hands over to itself what is in the own log from before. Perhaps only as far as the first step.
    fn give(&mut self, slot: usize, whole: bool) {
        let Stand::Closing(version) = self.stands[slot] else { return };
        if self.sinks.iter().any(|sink| sink.let_go < version) {
            return;
        }
        let mut from = Some(0);
        while let Some(at) = from {
            let (accepted, now) = (&self.accepted, 2 * self.tenures[slot]);
            let epoch = |_, at: Position| Some(accepted[usize::try_from(at).unwrap()]).filter(|&epoch| epoch < now);
            let part = self.log.gifts(&slots(&[slot]), at, u64::MAX, 4, epoch).unwrap();
            let bequests: Vec<Bequest> = part
                .gifts
                .iter()
                .map(|gift| Bequest {
                    origin: gift.origin,
                    accepted_at_us: 0,
                    key: gift.entry.key,
                    skip: skip([0, 1].map(|sink| gift.waiting.contains(sink))),
                    identity: 0,
                    record: gift.record.clone(),
                })
                .collect();
            self.log.inherit(&bequests).unwrap();
            if !whole {
                return;
            }
            self.log.moved(&part.gifts.iter().map(|gift| gift.entry).collect::<Vec<_>>()).unwrap();
            from = part.next;
        }
        self.stands[slot] = Stand::Claimed;
    }

    fn open(&mut self, slot: usize) {
        if self.stands[slot] != Stand::Claimed {
            return;
        }
        self.log.order(&slots(&[slot])).unwrap();
        self.gates.open(&slots(&[slot]), self.log.inherited_end());
        self.stands[slot] = Stand::Open;
        for (_, (key, _, event)) in std::mem::take(&mut self.handed[slot]) {
            self.expect(key, event);
        }
        for (key, event) in std::mem::take(&mut self.held[slot]) {
            self.expect(key, event);
        }
    }

    fn pump(&mut self) {
        for sink in &mut self.sinks {
            sink.pump(&self.log, &self.gates, self.now);
            for sent in &sink.flying {
                let slot = slot_of(sent.entry.key);
                let is_closed = matches!(self.stands[slot], Stand::Closing(version) if sink.let_go >= version)
                    || self.stands[slot] == Stand::Claimed;
                assert!(!is_closed, "{sent:?} is attempted, and its slot is closed");
            }
        }
    }

    fn land(&mut self, sink: usize, which: u8, taken: bool) {
        let sink = &mut self.sinks[sink];
        if sink.flying.is_empty() {
            return;
        }
        let sent = sink.flying.swap_remove(usize::from(which) % sink.flying.len());
        if taken {
            let record = self.log.read(sent.entry.position).unwrap().expect("it is there");
            let number: u64 = std::str::from_utf8(&record).unwrap().parse().unwrap();
            let key = sent.entry.key.unwrap();
            let (expected, next) = self.expected[sink.id].get_mut(&key).expect("somebody expects it");
            if expected.get(*next) != Some(&number) {
                let at = expected[..*next].iter().position(|&known| known == number);
                let may_replay = self.replays[sink.id].insert(key, false) == Some(true);
                let at = at.filter(|_| may_replay);
                *next = at.unwrap_or_else(|| panic!("{number} of {key} at {}: {expected:?}, {next}", sink.id));
            }
            self.replays[sink.id].insert(key, false);
            *next += 1;
            self.log.settle(&[(sink.id, sent.entry)]).unwrap();
        }
        sink.land(sent, if taken { Verdict::Taken } else { Verdict::Refused }, self.now);
    }

    fn restart(&mut self, cut: Cut, draw: &mut impl FnMut() -> u64) {
        self.disks = self.disks.cut(cut, draw);
        self.log = self.disks.open(&names());
        let closed: SlotSet = (0..SLOTS).filter(|&slot| self.stands[slot] != Stand::Open).collect();
        self.gates = Gates::new(&closed, self.log.inherited_end());
        for stand in &mut self.stands {
            if let Stand::Closing(version) = stand {
                *version = self.gates.version;
            }
        }
        self.sinks = (0..SINKS).map(|id| Sink::small(id, self.now)).collect();
        if cut != Cut::All {
            for (sink, expected) in self.expected.iter().enumerate() {
                self.replays[sink].extend(expected.keys().map(|&key| (key, true)));
            }
        }
    }

    fn finish(&mut self) {
        for round in 0..1000 {
            for slot in 0..SLOTS {
                self.give(slot, true);
                self.open(slot);
            }
            self.pump();
            for sink in 0..SINKS {
                while !self.sinks[sink].flying.is_empty() {
                    self.land(sink, 0, true);
                }
            }
            self.now += Duration::from_millis(20);
            if self.stands == [Stand::Open; SLOTS] && self.log.stats().unwrap().events == 0 {
                break;
            }
            assert!(round < 999, "something is never delivered: {:?}", self.expected);
        }
        for (key, (expected, next)) in self.expected.iter().flatten() {
            assert_eq!(expected.len(), *next, "{key}");
        }
    }
}

fn run(history: &[(u8, u8, u8)], power: bool) {
    let mut world = World::new();
    let mut seed = 1_u64;
    let mut draw = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        seed >> 33
    };
    for &(what, a, b) in history {
        let slot = usize::from(a) % SLOTS;
        match what {
            0..8 => (0..a % 6).for_each(|n| world.append(a.wrapping_add(3 * n), b.wrapping_add(n))),
            8..14 => (0..=a % 6).for_each(|n| world.inherit(a.wrapping_add(8 * n), b.wrapping_add(n))),
            14..17 => world.close(slot),
            17..21 => world.give(slot, b % 4 > 0),
            21..25 => world.open(slot),
            25..31 => world.pump(),
            31..44 => world.land(usize::from(a) % SINKS, b, a % 8 > 2),
            44..47 => world.now += Duration::from_millis(u64::from(b)),
            47 => drop(world.log.sync()),
            _ if power => {
                world.restart([Cut::Nothing, Cut::Writes, Cut::Sectors][usize::from(b) % 3], &mut draw);
            }
            _ => world.restart(Cut::All, &mut draw),
        }
    }
    world.finish();
}

fn histories() -> impl Strategy<Value = Vec<(u8, u8, u8)>> {
    proptest::collection::vec((0..49_u8, any::<u8>(), any::<u8>()), 1..400)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_is_claimed_and_whenever_the_process_ends_every_key_arrives_in_order_and_once(history in histories()) {
        run(&history, false);
    }

    #[test]
    fn after_a_power_cut_a_key_begins_again_further_back_and_goes_on_in_order(history in histories()) {
        run(&history, true);
    }
}

/// Many events, of which so many are inherited and the first of these fails.
fn many(own: u64, inherited: u64) -> (PairLog, Gates, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let log = PairLog::open(dir.path(), &names()).unwrap();
    let record = Bytes::from_static(b"event");
    let skip = SinkSet::default();
    for part in 0..inherited.div_ceil(1000) {
        let bequests: Vec<_> = (part * 1000..inherited.min((part + 1) * 1000))
            .map(|position| {
                let origin = Origin { epoch: 1, log: 1, position };
                Bequest {
                    origin,
                    accepted_at_us: 0,
                    key: Some(position % 7),
                    skip,
                    identity: 0,
                    record: record.clone(),
                }
            })
            .collect();
        log.inherit(&bequests).unwrap();
    }
    let new = |n: u64| NewRecord { accepted_at_us: 0, key: Some(n % 7), skip, identity: 0, record: record.clone() };
    for part in 0..own.div_ceil(1000) {
        log.append(&(part * 1000..own.min((part + 1) * 1000)).map(new).collect::<Vec<_>>()).unwrap();
    }
    let gates = Gates::new(&SlotSet::default(), log.inherited_end());
    (log, gates, dir)
}

#[test]
fn older_events_go_first_however_many_they_are() {
    let (log, gates, _dir) = many(20_000, 20_000);
    let now = Instant::now();
    let mut sink = Sink::new(0, now);
    let mut delivered: Vec<Vec<Position>> = vec![Vec::new(); 7];
    while delivered.iter().map(Vec::len).sum::<usize>() < 40_000 {
        sink.pump(&log, &gates, now);
        let own = sink.flying.iter().any(|sent| sent.entry.position < super::INHERITED);
        let left = 20_000 - delivered.iter().flatten().filter(|&&at| at >= super::INHERITED).count();
        assert!(!own || left <= WINDOW, "{left} older events are left");
        assert!(!sink.flying.is_empty(), "it is stuck");
        for sent in std::mem::take(&mut sink.flying) {
            delivered[usize::try_from(sent.entry.key.unwrap()).unwrap()].push(sent.entry.position);
            log.settle(&[(0, sent.entry)]).unwrap();
            sink.land(sent, Verdict::Taken, now);
        }
    }
    for positions in delivered {
        // Inherited positions are the larger ones, and come first.
        let own = positions.iter().position(|&position| position < super::INHERITED).unwrap();
        assert!(positions[..own].is_sorted() && positions[own..].is_sorted());
        assert!(positions[own..].iter().all(|&position| position < super::INHERITED));
    }
}

#[test]
fn an_inherited_key_that_fails_holds_back_itself_and_no_other() {
    let (log, gates, _dir) = many(700, 7);
    let now = Instant::now();
    let mut sink = Sink::new(0, now);
    let mut taken = 0;
    for _ in 0..1000 {
        sink.pump(&log, &gates, now);
        for sent in std::mem::take(&mut sink.flying) {
            let fails = sent.entry.key == Some(3);
            assert!(!fails || sent.entry.position >= super::INHERITED, "the same key has to wait");
            taken += usize::from(!fails);
            sink.land(sent, if fails { Verdict::Refused } else { Verdict::Taken }, now);
        }
    }
    assert_eq!(taken, 6 * 101);
}
