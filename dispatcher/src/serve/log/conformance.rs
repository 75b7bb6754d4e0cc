//! The contract of `ShardLog` as tests that every implementation passes. A new log adds a line to `suite!`.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::memory::{Disk, MemoryLog};
use super::{Entry, FjallLog, LogError, NewRecord, OVERHEAD_BYTES, SegmentLog, ShardLog, SinkSet};

/// Something that logs are kept on and that outlives them.
trait Medium: Default {
    fn open(&self, sinks: &[&str]) -> Arc<dyn ShardLog>;
}

#[derive(Default)]
struct Memory(Disk);

impl Medium for Memory {
    fn open(&self, sinks: &[&str]) -> Arc<dyn ShardLog> {
        Arc::new(MemoryLog::open(&self.0, &names(sinks)))
    }
}

struct Directory(tempfile::TempDir);

impl Default for Directory {
    fn default() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

impl Medium for Directory {
    fn open(&self, sinks: &[&str]) -> Arc<dyn ShardLog> {
        Arc::new(FjallLog::open(self.0.path(), &names(sinks)).unwrap())
    }
}

struct Segments(tempfile::TempDir);

impl Default for Segments {
    fn default() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

impl Medium for Segments {
    fn open(&self, sinks: &[&str]) -> Arc<dyn ShardLog> {
        Arc::new(SegmentLog::open(self.0.path(), &names(sinks)).unwrap())
    }
}

/// The same with segments so small that nearly every append goes on in another.
#[derive(Default)]
struct TinySegments(super::segment::memory::Memory);

impl Medium for TinySegments {
    fn open(&self, sinks: &[&str]) -> Arc<dyn ShardLog> {
        Arc::new(SegmentLog::open_tiny(&self.0, &names(sinks)).unwrap())
    }
}

/// The own part of a pair that has inherited something, in segments that are as small.
#[derive(Default)]
struct TinyPair(super::pair::tests::Disks);

impl Medium for TinyPair {
    fn open(&self, sinks: &[&str]) -> Arc<dyn ShardLog> {
        let pair = self.0.open(&names(sinks));
        // All of it is settled: counts are those of the own log.
        if pair.inherited_end().is_none() {
            super::pair::tests::Disks::inherit_and_settle(&pair, sinks.len());
        }
        Arc::new(pair)
    }
}

/// A pair that never inherited.
struct Pair(tempfile::TempDir);

impl Default for Pair {
    fn default() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

impl Medium for Pair {
    fn open(&self, sinks: &[&str]) -> Arc<dyn ShardLog> {
        Arc::new(super::PairLog::open(self.0.path(), &names(sinks)).unwrap())
    }
}

fn names(sinks: &[&str]) -> Vec<String> {
    sinks.iter().map(|&name| name.to_owned()).collect()
}

fn record(n: u64) -> NewRecord {
    NewRecord {
        accepted_at_us: 1_000 + i64::try_from(n).unwrap(),
        key: (!n.is_multiple_of(3)).then_some(n % 3),
        skip: SinkSet::default(),
        identity: u128::from(n),
        record: Bytes::from(format!("record {n}")),
    }
}

fn records(range: std::ops::Range<u64>) -> Vec<NewRecord> {
    range.map(record).collect()
}

fn all_unsettled(log: &dyn ShardLog, sink: usize, step: usize) -> Vec<Entry> {
    let mut all = Vec::new();
    let mut from = 0;
    loop {
        let part = log.unsettled(sink, from, step).unwrap();
        assert!(part.entries.len() <= step);
        from = part.next;
        if part.entries.is_empty() {
            assert_eq!(from, log.end());
            return all;
        }
        all.extend(part.entries);
    }
}

fn positions(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.position).collect()
}

fn what_is_appended_can_be_read_in_order<M: Medium>() {
    let medium = M::default();
    let log = medium.open(&["a"]);
    assert_eq!(log.append(&records(0..3)).unwrap(), 0);
    assert_eq!(log.append(&records(3..5)).unwrap(), 3);
    let entries = all_unsettled(&*log, 0, 2);
    assert_eq!(positions(&entries), [0, 1, 2, 3, 4]);
    for (n, entry) in (0..).zip(&entries) {
        let expected = record(n);
        assert_eq!((entry.accepted_at_us, entry.key), (expected.accepted_at_us, expected.key));
        assert_eq!(entry.bytes, expected.record.len() as u64 + OVERHEAD_BYTES);
        assert_eq!(log.read(entry.position).unwrap().unwrap(), expected.record);
    }
    assert_eq!(log.end(), 5);
}

fn an_event_is_offered_to_each_sink_until_that_sink_settles_it<M: Medium>() {
    let medium = M::default();
    let log = medium.open(&["a", "b"]);
    log.append(&records(0..4)).unwrap();
    let entries = all_unsettled(&*log, 0, 10);
    log.settle(&[(0, entries[1]), (0, entries[2]), (1, entries[2])]).unwrap();
    assert_eq!(positions(&all_unsettled(&*log, 0, 10)), [0, 3]);
    assert_eq!(positions(&all_unsettled(&*log, 1, 10)), [0, 1, 3]);
    assert_eq!(log.read(2).unwrap(), None, "settled everywhere, so trimmed");
    assert!(log.read(1).unwrap().is_some());
    let stats = log.stats().unwrap();
    assert_eq!((stats.events, stats.sinks.as_slice()), (3, [2, 3].as_slice()));
    assert_eq!(stats.bytes, 3 * (8 + OVERHEAD_BYTES));
    assert_eq!(log.backlog_bytes(), stats.bytes);
    assert_eq!(stats.oldest_accepted_at_us, Some(1_000));
}

fn an_event_is_not_offered_to_a_sink_that_it_is_not_for<M: Medium>() {
    let medium = M::default();
    let log = medium.open(&["a", "b"]);
    let mut group = records(0..4);
    group[0].skip = SinkSet::default().with(0);
    group[2].skip = SinkSet::default().with(0);
    log.append(&group).unwrap();
    let check = |log: &dyn ShardLog| {
        assert_eq!(positions(&all_unsettled(log, 0, 10)), [1, 3]);
        assert_eq!(positions(&all_unsettled(log, 1, 10)), [0, 1, 2, 3]);
        assert_eq!(log.stats().unwrap().events, 4);
    };
    check(&*log);
    drop(log);
    let log = medium.open(&["a", "b"]);
    check(&*log);
    for entry in all_unsettled(&*log, 1, 10) {
        log.settle(&[(1, entry)]).unwrap();
    }
    assert_eq!(log.stats().unwrap().events, 2, "what one skipped and the other settled is trimmed");
}

fn settling_twice_is_settling_once<M: Medium>() {
    let medium = M::default();
    let log = medium.open(&["a"]);
    log.append(&records(0..2)).unwrap();
    let entries = all_unsettled(&*log, 0, 10);
    log.settle(&[(0, entries[0]), (0, entries[0])]).unwrap();
    log.settle(&[(0, entries[0])]).unwrap();
    assert_eq!(log.stats().unwrap().events, 1);
}

fn a_restart_finds_what_was_left_and_counts_it<M: Medium>() {
    let medium = M::default();
    let log = medium.open(&["a", "b"]);
    log.append(&records(0..10)).unwrap();
    let entries = all_unsettled(&*log, 0, 100);
    // a: a gap above its cursor. b: nothing but one in the middle. Settled by both: 5.
    log.settle(&[(0, entries[0]), (0, entries[1]), (0, entries[4]), (0, entries[5]), (1, entries[5])]).unwrap();
    let before = log.stats().unwrap();
    drop(log);
    let log = medium.open(&["a", "b"]);
    assert_eq!(log.stats().unwrap(), before);
    assert_eq!(positions(&all_unsettled(&*log, 0, 3)), [2, 3, 6, 7, 8, 9]);
    assert_eq!(positions(&all_unsettled(&*log, 1, 3)), [0, 1, 2, 3, 4, 6, 7, 8, 9]);
    assert_eq!(log.append(&records(10..11)).unwrap(), 10);
}

fn a_position_is_never_used_twice_even_when_the_log_was_emptied<M: Medium>() {
    let medium = M::default();
    for round in 0..3 {
        let log = medium.open(&["a"]);
        assert_eq!(log.append(&records(0..2)).unwrap(), round * 2);
        for entry in all_unsettled(&*log, 0, 10) {
            log.settle(&[(0, entry)]).unwrap();
        }
        log.sync().unwrap();
        let stats = log.stats().unwrap();
        assert_eq!((stats.events, stats.bytes, stats.oldest_accepted_at_us), (0, 0, None));
    }
}

fn a_position_is_never_used_twice_even_when_the_newest_event_was_settled_before_an_older_one<M: Medium>() {
    let medium = M::default();
    let log = medium.open(&["a", "b"]);
    log.append(&records(0..4)).unwrap();
    let entries = all_unsettled(&*log, 0, 10);
    log.settle(&[(0, entries[3]), (1, entries[3])]).unwrap();
    drop(log);
    let log = medium.open(&["a", "b"]);
    assert_eq!(log.end(), 4);
    assert_eq!(log.append(&records(4..5)).unwrap(), 4);
    assert_eq!(positions(&all_unsettled(&*log, 1, 10)), [0, 1, 2, 4]);
}

fn a_new_sink_starts_at_the_end_and_a_removed_one_lets_go<M: Medium>() {
    let medium = M::default();
    let log = medium.open(&["a", "b"]);
    log.append(&records(0..3)).unwrap();
    let entries = all_unsettled(&*log, 0, 10);
    log.settle(&[(0, entries[0]), (1, entries[1])]).unwrap();
    drop(log);
    let log = medium.open(&["c", "b"]);
    assert_eq!(positions(&all_unsettled(&*log, 0, 10)), Vec::<u64>::new());
    assert_eq!(positions(&all_unsettled(&*log, 1, 10)), [0, 2]);
    assert_eq!(log.stats().unwrap().events, 2, "what only the removed sink was waiting for is gone");
    log.append(&records(3..4)).unwrap();
    assert_eq!(positions(&all_unsettled(&*log, 0, 10)), [3]);
}

fn a_long_settled_stretch_is_skipped<M: Medium>() {
    let medium = M::default();
    let log = medium.open(&["a", "b"]);
    log.append(&records(0..5_000)).unwrap();
    let entries = all_unsettled(&*log, 0, 1_000);
    let settled: Vec<_> = entries[1..4_999].iter().map(|&entry| (0, entry)).collect();
    log.settle(&settled).unwrap();
    assert_eq!(positions(&all_unsettled(&*log, 0, 10)), [0, 4_999]);
    assert_eq!(all_unsettled(&*log, 1, 512).len(), 5_000);
}

/// Random appends, settlements and restarts against the plainest model there is.
fn any_history_agrees_with_a_plain_model<M: Medium>(history: &[(u8, u8, u8)]) {
    let medium = M::default();
    let mut log = medium.open(&["a", "b"]);
    let mut settled: Vec<[bool; 2]> = Vec::new();
    for &(what, sink, which) in history {
        match what {
            0..4 => {
                let first = settled.len() as u64;
                let count = u64::from(which % 5) + 1;
                assert_eq!(log.append(&records(first..first + count)).unwrap(), first);
                settled.extend((0..count).map(|_| [false; 2]));
            }
            4..9 => {
                let sink = usize::from(sink % 2);
                let open = all_unsettled(&*log, sink, 7);
                if !open.is_empty() {
                    let entry = open[usize::from(which) % open.len()];
                    log.settle(&[(sink, entry)]).unwrap();
                    settled[usize::try_from(entry.position).unwrap()][sink] = true;
                }
            }
            _ => {
                drop(log);
                log = medium.open(&["a", "b"]);
            }
        }
        for sink in 0..2 {
            let expected: Vec<u64> = (0..).zip(&settled).filter(|(_, s)| !s[sink]).map(|(p, _)| p).collect();
            assert_eq!(positions(&all_unsettled(&*log, sink, 7)), expected);
        }
        assert_eq!(log.stats().unwrap().events, settled.iter().filter(|s| !(s[0] && s[1])).count() as u64);
        assert_eq!(log.end(), settled.len() as u64);
    }
}

macro_rules! suite {
    ($module:ident, $medium:ty, $cases:expr) => {
        mod $module {
            use super::*;

            macro_rules! check {
                ($name:ident) => {
                    #[test]
                    fn $name() {
                        super::$name::<$medium>();
                    }
                };
            }

            check!(what_is_appended_can_be_read_in_order);
            check!(an_event_is_offered_to_each_sink_until_that_sink_settles_it);
            check!(an_event_is_not_offered_to_a_sink_that_it_is_not_for);
            check!(settling_twice_is_settling_once);
            check!(a_restart_finds_what_was_left_and_counts_it);
            check!(a_position_is_never_used_twice_even_when_the_log_was_emptied);
            check!(a_position_is_never_used_twice_even_when_the_newest_event_was_settled_before_an_older_one);
            check!(a_new_sink_starts_at_the_end_and_a_removed_one_lets_go);
            check!(a_long_settled_stretch_is_skipped);

            proptest! {
                #![proptest_config(ProptestConfig { cases: $cases, ..ProptestConfig::default() })]
                #[test]
                fn any_history_agrees_with_a_plain_model(
                    history in proptest::collection::vec((0..11_u8, any::<u8>(), any::<u8>()), 1..30)
                ) {
                    super::any_history_agrees_with_a_plain_model::<$medium>(&history);
                }
            }
        }
    };
}

suite!(memory, Memory, 64);
suite!(segment, Segments, 2);
suite!(tiny_segments, TinySegments, 128);
suite!(pair, Pair, 2);
suite!(tiny_pair, TinyPair, 128);
suite!(fjall, Directory, 8);

fn is_refused_with_a_sentence_that_names<L>(dir: &std::path::Path, second: Result<L, LogError>) {
    match second {
        Err(e @ LogError::Locked(_)) => assert!(e.to_string().contains(&dir.display().to_string())),
        Err(other) => panic!("unexpected error: {other}"),
        Ok(_) => panic!("opened twice"),
    }
}

#[test]
fn a_second_log_on_the_same_directory_is_refused_with_a_sentence_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let _first = SegmentLog::open(dir.path(), &names(&["a"])).unwrap();
    is_refused_with_a_sentence_that_names(dir.path(), SegmentLog::open(dir.path(), &names(&["a"])));
    let dir = tempfile::tempdir().unwrap();
    let _first = FjallLog::open(dir.path(), &names(&["a"])).unwrap();
    is_refused_with_a_sentence_that_names(dir.path(), FjallLog::open(dir.path(), &names(&["a"])));
}

#[test]
fn the_directory_of_an_earlier_store_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(FjallLog::open(dir.path(), &names(&["a"])).unwrap());
    assert!(matches!(SegmentLog::open(dir.path(), &names(&["a"])), Err(LogError::Foreign(_))));
}
