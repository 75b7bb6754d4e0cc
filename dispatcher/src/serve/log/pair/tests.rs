//! Both logs on disks that misbehave.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Bequest, INHERITED, Origin, PairLog, is_inherited};
use crate::serve::log::drawn::{Random, for_seeds};
use crate::serve::log::segment::SegmentLog;
pub(in crate::serve) use crate::serve::log::segment::memory::Cut;
use crate::serve::log::segment::memory::Memory;
use crate::serve::log::{Entry, LogError, NewRecord, Position, ShardLog, SinkSet};
use crate::serve::slots::{SlotSet, slot_of};

/// A disk for each log. They lose power together.
#[derive(Clone, Default)]
pub(in crate::serve) struct Disks {
    own: Memory,
    inherited: Memory,
}

impl Disks {
    pub(in crate::serve) fn open(&self, names: &[String]) -> PairLog {
        let own = Arc::new(SegmentLog::open_tiny(&self.own, names).unwrap());
        let (disk, all) = (self.inherited.clone(), names.to_vec());
        let open = Box::new(move || Ok(Arc::new(SegmentLog::open_tiny(&disk, &all)?) as Arc<dyn ShardLog>));
        let is_there = !self.inherited.names().is_empty();
        PairLog::of(own, is_there, open, names.len(), Arc::new(self.own.clone())).unwrap()
    }

    /// Something that was inherited, and is settled by all of so many sinks.
    pub(in crate::serve) fn inherit_and_settle(pair: &PairLog, sinks: usize) {
        pair.inherit(&[bequest(1, 0, Some(1))]).unwrap();
        for sink in 0..sinks {
            for (_, entry) in unsettled(pair, sink, INHERITED) {
                pair.settle(&[(sink, entry)]).unwrap();
            }
        }
    }

    pub(in crate::serve) fn cut(&self, cut: Cut, mut draw: impl FnMut() -> u64) -> Self {
        Self { own: self.own.cut(cut, &mut draw), inherited: self.inherited.cut(cut, draw) }
    }
}

fn names() -> Vec<String> {
    vec!["a".to_owned(), "b".to_owned()]
}

fn bequest(log: u64, position: Position, key: Option<u64>) -> Bequest {
    Bequest {
        origin: Origin { epoch: log, log, position },
        accepted_at_us: 7,
        key,
        skip: SinkSet::default(),
        identity: u128::from(log) << 64 | u128::from(position),
        record: Bytes::from(format!("{log}/{position}")),
    }
}

fn own(n: u64, key: Option<u64>) -> NewRecord {
    NewRecord {
        accepted_at_us: 9,
        key,
        skip: SinkSet::default(),
        identity: u128::from(n),
        record: Bytes::from(format!("own/{n}")),
    }
}

fn unsettled(log: &dyn ShardLog, sink: usize, mut from: Position) -> BTreeMap<Position, Entry> {
    let mut all = BTreeMap::new();
    loop {
        let part = log.unsettled(sink, from, 5).unwrap();
        if part.entries.is_empty() {
            return all;
        }
        from = part.next;
        all.extend(part.entries.iter().map(|entry| (entry.position, *entry)));
    }
}

/// What a sink would be sent of the inherited log, in order.
fn inherited(log: &PairLog, sink: usize) -> Vec<String> {
    unsettled(log, sink, INHERITED).keys().map(|&position| text(log, position)).collect()
}

fn text(log: &PairLog, position: Position) -> String {
    String::from_utf8(log.read(position).unwrap().unwrap().to_vec()).unwrap()
}

fn slot(slot: usize) -> SlotSet {
    [slot].into_iter().collect()
}

#[test]
fn a_log_that_never_inherited_makes_no_other_file() {
    let dir = tempfile::tempdir().unwrap();
    let log = PairLog::open(dir.path(), &names()).unwrap();
    log.append(&[own(0, Some(1))]).unwrap();
    log.settle(&unsettled(&log, 0, 0).values().map(|&entry| (0, entry)).collect::<Vec<_>>()).unwrap();
    log.sync().unwrap();
    log.order(&SlotSet::all()).unwrap();
    assert!(log.inherited_slots().unwrap().is_empty() && log.inherited_end().is_none());
    drop(log);
    let entries = |path: &std::path::Path| -> Vec<_> {
        let mut names: Vec<_> = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(entries(dir.path()), ["log"]);
    assert_eq!(entries(&dir.path().join("log")), ["00000000.segment", "lock"]);
    let log = PairLog::open(dir.path(), &names()).unwrap();
    let id = log.id().unwrap();
    log.inherit(&[bequest(1, 0, Some(1))]).unwrap();
    drop(log);
    assert_eq!(entries(dir.path()), ["inherited", "log"]);
    let log = PairLog::open(dir.path(), &names()).unwrap();
    assert_eq!((log.id().unwrap(), inherited(&log, 1)), (id, vec!["1/0".to_owned()]));
}

#[test]
fn both_logs_are_counted_and_read_as_one() {
    let disks = Disks::default();
    let log = disks.open(&names());
    log.append(&[own(0, Some(1)), own(1, None)]).unwrap();
    let added = log.inherit(&[bequest(5, 3, Some(1)), bequest(5, 4, None)]).unwrap();
    assert_eq!(added, [1, slot_of(None)].into_iter().collect());
    let check = |log: &PairLog| {
        let stats = log.stats().unwrap();
        assert_eq!((stats.events, stats.end, stats.oldest_accepted_at_us), (4, 4, Some(7)));
        assert_eq!((stats.bytes, stats.sinks.as_slice()), (log.backlog_bytes(), [4, 4].as_slice()));
        let mut identities = log.identities(100).unwrap();
        identities.sort_unstable();
        let expected = [(7, 5 << 64 | 3), (7, 5 << 64 | 4), (9, 0), (9, 1)];
        assert_eq!(identities, expected);
        assert_eq!(log.inherited_end(), Some(INHERITED | 2));
        assert_eq!(log.end(), 2);
    };
    check(&log);
    drop(log);
    let log = disks.open(&names());
    check(&log);
    let entry = unsettled(&log, 1, INHERITED)[&INHERITED];
    log.settle(&[(1, entry), (1, entry)]).unwrap();
    assert_eq!((inherited(&log, 0), inherited(&log, 1)), (vec!["5/3".into(), "5/4".into()], vec!["5/4".into()]));
    log.settle(&[(0, entry)]).unwrap();
    assert_eq!((log.stats().unwrap().events, log.read(INHERITED).unwrap()), (3, None));
}

#[test]
fn what_is_there_is_not_inherited_again_and_what_is_of_another_slot_is_whatever_came_before() {
    let disks = Disks::default();
    let log = disks.open(&names());
    log.inherit(&[bequest(1, 10, Some(1))]).unwrap();
    assert!(log.inherit(&[bequest(1, 10, Some(1))]).unwrap().is_empty());
    drop(log);
    let log = disks.open(&names());
    // Of the same giver, below what it has given: of a slot that was claimed later.
    let added = log.inherit(&[bequest(1, 10, Some(1)), bequest(1, 7, Some(2)), bequest(1, 7, Some(2))]).unwrap();
    assert_eq!(added, slot(2));
    // Of the same slot too, if it took another way.
    assert_eq!(log.inherit(&[bequest(1, 8, Some(1))]).unwrap(), slot(1));
    log.order(&SlotSet::all()).unwrap();
    assert_eq!(inherited(&log, 0), ["1/7", "1/8", "1/10"]);
}

#[test]
fn what_no_sink_waits_for_is_not_stored() {
    let disks = Disks::default();
    let log = disks.open(&names());
    let all = SinkSet::default().with(0).with(1);
    assert!(log.inherit(&[Bequest { skip: all, ..bequest(1, 0, Some(1)) }]).unwrap().is_empty());
    let one = SinkSet::default().with(1);
    log.inherit(&[Bequest { skip: one, ..bequest(1, 1, Some(1)) }]).unwrap();
    assert_eq!((inherited(&log, 0).len(), inherited(&log, 1).len(), log.stats().unwrap().events), (1, 0, 1));
}

#[test]
fn a_full_disk_refuses_what_is_inherited_and_takes_it_when_there_is_room() {
    let disks = Disks::default();
    let log = disks.open(&names());
    disks.inherited.room(Some(0));
    assert!(matches!(log.inherit(&[bequest(1, 0, Some(1))]), Err(LogError::Full)));
    disks.inherited.room(Some(6000));
    log.inherit(&[bequest(1, 0, Some(1))]).unwrap();
    let large = Bequest { record: Bytes::from(vec![b'x'; 5000]), ..bequest(1, 1, Some(1)) };
    assert!(matches!(log.inherit(std::slice::from_ref(&large)), Err(LogError::Full)));
    disks.inherited.room(None);
    let deadline = Instant::now() + Duration::from_secs(10);
    let added = loop {
        // A disk that was full is not asked again at once.
        match log.inherit(std::slice::from_ref(&large)) {
            Err(LogError::Full) => assert!(Instant::now() < deadline),
            other => break other.unwrap(),
        }
    };
    assert_eq!(added, slot(1), "what was refused is not known");
}

/// Givers that hand over side by side, repeat themselves, and a claimer that loses power: in the end everything is there,
/// in order, once.
fn claim(seed: u64) {
    let mut random = Random(seed);
    let mut disks = Disks::default();
    let mut log = disks.open(&names());
    // What each giver has of three slots, in its order, and how far it knows that it is stored.
    let mut givers: Vec<(Vec<Bequest>, usize)> = (1..=3)
        .map(|giver| {
            let all = (0..random.below(12)).map(|position| bequest(giver, position, Some(random.below(3)))).collect();
            (all, 0)
        })
        .collect();
    for round in 0.. {
        assert!(round < 5_000);
        if givers.iter().all(|(all, stored)| *stored == all.len()) && log.order(&SlotSet::all()).is_ok() {
            break;
        }
        let (all, stored) = &mut givers[usize::try_from(random.below(3)).unwrap()];
        // From what is not confirmed on, or a repeat from before it.
        let from = usize::try_from(random.below(*stored as u64 + 1)).unwrap();
        let to = (from + usize::try_from(random.below(5)).unwrap()).min(all.len());
        match random.below(12) {
            0..8 if from < to && log.inherit(&all[from..to]).is_ok() => *stored = (*stored).max(to),
            8 => disks.inherited.fail_in(Some(u32::try_from(random.below(9)).unwrap()), random.below(2) == 0),
            9 => drop(log.order(&SlotSet::all())),
            _ => {}
        }
        if log.sync().is_err() || random.below(6) == 0 {
            let cut = [Cut::Nothing, Cut::Writes, Cut::Sectors, Cut::All][usize::try_from(random.below(4)).unwrap()];
            drop(log);
            disks = disks.cut(cut, || random.next());
            log = disks.open(&names());
        }
    }
    for sink in 0..2 {
        let found = inherited(&log, sink);
        for key in 0..3 {
            let of_slot = |text: &String| {
                let (giver, position) = text.split_once('/').unwrap();
                let (giver, position): (usize, usize) = (giver.parse().unwrap(), position.parse().unwrap());
                givers[giver - 1].0[position].key == Some(key)
            };
            let found: Vec<String> = found.iter().filter(|text| of_slot(text)).cloned().collect();
            let all = givers.iter().flat_map(|(all, _)| all).filter(|bequest| bequest.key == Some(key));
            let expected: Vec<String> = all.map(|b| format!("{}/{}", b.origin.log, b.origin.position)).collect();
            assert_eq!(found, expected, "slot {key}, sink {sink}");
        }
    }
}

#[test]
fn whatever_a_power_cut_leaves_everything_handed_over_is_there_once_and_in_order() {
    for_seeds(200, claim);
}

/// Settles in order of slots, loses power, and looks for what came back.
fn settle(seed: u64) {
    let mut random = Random(seed);
    let mut disks = Disks::default();
    let mut log = disks.open(&names());
    for position in 0..20 {
        log.inherit(&[bequest(1, position, Some(random.below(4)))]).unwrap();
    }
    let records: Vec<_> = (0..20).map(|n| own(n, Some(random.below(4)))).collect();
    log.append(&records).unwrap();
    for _ in 0..30 {
        let mut settlements = Vec::new();
        for sink in 0..2 {
            for slot in 0..4 {
                let of_slot = |from| {
                    let all = unsettled(&log, sink, from).into_values();
                    all.filter(|entry| slot_of(entry.key) == slot).collect::<Vec<_>>()
                };
                let (first, then) = (of_slot(INHERITED), of_slot(0));
                let all = first.into_iter().chain(then.into_iter().filter(|entry| !is_inherited(entry.position)));
                let count = usize::try_from(random.below(3)).unwrap();
                settlements.extend(all.take(count).map(|entry| (sink, entry)));
            }
        }
        log.settle(&settlements).unwrap();
        match random.below(6) {
            0 => log.sync().unwrap(),
            1 => drop(log.append(&[own(99, Some(random.below(4)))]).unwrap()),
            2 => drop(log.inherit(&[bequest(2, random.next(), None)]).unwrap()),
            3 | 4 => {
                let before: Vec<_> = (0..2).map(|sink| unsettled(&log, sink, 0)).collect();
                drop(log);
                let cut = [Cut::Nothing, Cut::Writes, Cut::Sectors][usize::try_from(random.below(3)).unwrap()];
                disks = disks.cut(cut, || random.next());
                log = disks.open(&names());
                for (sink, before) in before.iter().enumerate() {
                    let back: BTreeSet<usize> =
                        unsettled(&log, sink, INHERITED).values().map(|entry| slot_of(entry.key)).collect();
                    let after = unsettled(&log, sink, 0);
                    let end = log.end();
                    let stayed: BTreeSet<usize> = (0..end)
                        .filter(|position| !after.contains_key(position) && !before.contains_key(position))
                        .filter_map(|position| records.get(usize::try_from(position).unwrap()))
                        .map(|new| slot_of(new.key))
                        .collect();
                    let both: Vec<_> = back.intersection(&stayed).collect();
                    assert!(
                        both.is_empty(),
                        "{both:?}: to sink {sink} an older event is offered again, a younger is not"
                    );
                }
            }
            _ => {}
        }
    }
}

#[test]
fn after_a_power_cut_no_older_event_comes_back_alone() {
    for_seeds(100, settle);
}

#[test]
fn what_is_held_is_given_in_order_in_bounded_batches_and_settled_when_it_has_moved() {
    let disks = Disks::default();
    let log = disks.open(&names());
    let id = log.id().unwrap();
    log.append(&(0..40).map(|n| own(n, Some(n % 4))).collect::<Vec<_>>()).unwrap();
    log.inherit(&(0..8).map(|n| bequest(1, n, Some(n % 4))).collect::<Vec<_>>()).unwrap();
    // Of an inherited event one sink is done, of an own one both.
    let entries = unsettled(&log, 0, INHERITED);
    log.settle(&[(0, entries[&(INHERITED | 1)])]).unwrap();
    let entries = unsettled(&log, 0, 0);
    log.settle(&[(0, entries[&2]), (1, entries[&2]), (1, entries[&5])]).unwrap();
    let slots: SlotSet = [1, 2].into_iter().collect();
    let mut all = Vec::new();
    let mut from = Some(PairLog::FIRST);
    while let Some(at) = from {
        let part = log.gifts(&slots, at, Position::MAX, 20, |_, position| Some(7 + position / 20)).unwrap();
        assert!(part.gifts.iter().map(|gift| gift.record.len()).sum::<usize>() <= 20);
        assert!(!part.gifts.is_empty() || part.next.is_none());
        all.extend(part.gifts);
        from = part.next;
    }
    let origins: Vec<_> = all.iter().map(|gift| gift.origin).collect();
    let theirs = [1, 2, 5, 6].map(|position| Origin { epoch: 1, log: 1, position });
    let ours = (0..40).filter(|n| [1, 2].contains(&(n % 4)) && *n != 2);
    let ours = ours.map(|position| Origin { epoch: 7 + position / 20, log: id, position });
    assert_eq!(origins, theirs.into_iter().chain(ours).collect::<Vec<_>>());
    let both = SinkSet::default().with(0).with(1);
    assert_eq!((all[0].waiting, all[1].waiting), (SinkSet::default().with(1), both));
    let five = all.iter().find(|gift| gift.entry.position == 5).unwrap();
    assert_eq!((five.waiting, five.record.as_ref()), (SinkSet::default().with(0), b"own/5".as_slice()));
    // What was accepted under the present tenure stays.
    let leftovers =
        log.gifts(&slots, 0, Position::MAX, 1 << 20, |slot, at| (slot == 1 && at < 6).then_some(7)).unwrap();
    assert_eq!(leftovers.gifts.iter().map(|gift| gift.entry.position).collect::<Vec<_>>(), [1, 5]);

    let entries: Vec<_> = all.iter().map(|gift| gift.entry).collect();
    log.moved(&entries).unwrap();
    log.moved(&entries).unwrap();
    drop(log);
    let disks = disks.cut(Cut::Nothing, || 1);
    let log = disks.open(&names());
    assert!(log.gifts(&slots, PairLog::FIRST, Position::MAX, 1 << 20, |_, _| Some(1)).unwrap().gifts.is_empty());
    assert_eq!(log.stats().unwrap().events, 20 + 4);
    assert_eq!(log.inherited_slots().unwrap(), [0, 3].into_iter().collect());
}

#[test]
fn what_is_put_in_order_or_goes_elsewhere_is_settled_by_nobody() {
    let disks = Disks::default();
    let log = disks.open(&names());
    let settled = |log: &PairLog| {
        let stats = log.stats().unwrap();
        stats.end - stats.events - stats.departed
    };
    log.inherit(&[bequest(2, 0, Some(1)), bequest(1, 0, Some(1)), bequest(1, 1, Some(2))]).unwrap();
    log.append(&[own(0, Some(3)), own(1, Some(1))]).unwrap();
    log.order(&slot(1)).unwrap();
    assert_eq!((settled(&log), inherited(&log, 0).len()), (0, 3));
    let all: Vec<_> = [INHERITED, 0].into_iter().flat_map(|from| unsettled(&log, 0, from).into_values()).collect();
    log.moved(&all[..2]).unwrap();
    assert_eq!((settled(&log), log.stats().unwrap().events), (0, 3));
    for sink in 0..2 {
        log.settle(&[(sink, all[2])]).unwrap();
    }
    assert_eq!(settled(&log), 1);
}
