//! The segmented log on a disk that misbehaves.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::SegmentLog;
use super::files::Directory;
use super::format::Use;
use super::memory::{Cut, Memory};
use super::sizes::Sizes;
use crate::serve::log::drawn::{Random, for_seeds};
use crate::serve::log::{Entry, LogError, NewRecord, Position, ShardLog, SinkSet};

fn names() -> Vec<String> {
    vec!["a".to_owned(), "b".to_owned()]
}

fn open(disk: &Memory) -> SegmentLog {
    SegmentLog::open_tiny(disk, &names()).unwrap()
}

fn sizes(smallest: u32, largest: u32) -> Sizes {
    Sizes { smallest, largest }
}

fn open_with(disk: &Memory, sizes: Sizes) -> SegmentLog {
    SegmentLog::open_in(std::sync::Arc::new(disk.clone()), &names(), sizes, false).unwrap()
}

fn record(random: &mut Random) -> NewRecord {
    let length = usize::try_from(random.below(600)).unwrap();
    let skip = match random.below(6) {
        0 => SinkSet::default().with(0),
        1 => SinkSet::default().with(1),
        _ => SinkSet::default(),
    };
    NewRecord {
        // The clock goes forth and back, now and then as far as it can.
        accepted_at_us: match random.below(1_000_000) {
            0..100_000 => i64::MIN,
            900_000.. => i64::MAX,
            time => i64::try_from(time).unwrap(),
        },
        key: (random.below(3) > 0).then(|| random.next()),
        skip,
        identity: u128::from(random.next()),
        record: Bytes::from((0..length).map(|_| random.next().to_le_bytes()[0]).collect::<Vec<_>>()),
    }
}

fn records(random: &mut Random, most: u64) -> Vec<NewRecord> {
    (0..=random.below(most)).map(|_| record(random)).collect()
}

fn unsettled(log: &dyn ShardLog, sink: usize) -> BTreeMap<Position, Entry> {
    let mut all = BTreeMap::new();
    let mut from = 0;
    loop {
        let part = log.unsettled(sink, from, 5).unwrap();
        if part.entries.is_empty() {
            return all;
        }
        assert!(part.next > from);
        from = part.next;
        all.extend(part.entries.iter().map(|entry| (entry.position, *entry)));
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Settled {
    No,
    /// Since the last sync.
    Lately,
    Yes,
}

/// What has been promised.
#[derive(Default)]
struct Promises(BTreeMap<Position, (NewRecord, [Settled; 2])>);

impl Promises {
    fn stored(&mut self, first: Position, group: Vec<NewRecord>) {
        for (position, new) in (first..).zip(group) {
            let settled = [0, 1].map(|sink| if new.skip.contains(sink) { Settled::Yes } else { Settled::No });
            self.0.insert(position, (new, settled));
        }
    }

    fn synced(&mut self) {
        for (_, settled) in self.0.values_mut() {
            *settled = settled.map(|settled| if settled == Settled::Lately { Settled::Yes } else { settled });
        }
    }

    /// Checks the log after a restart. What may be forgotten is learnt from it.
    fn check(&mut self, log: &SegmentLog, power: bool) {
        for sink in 0..2 {
            let found = unsettled(log, sink);
            for (position, entry) in &found {
                let (new, _) = &self.0[position];
                assert_eq!((entry.accepted_at_us, entry.key), (new.accepted_at_us, new.key));
                assert_eq!(log.read(*position).unwrap().as_ref(), Some(&new.record), "record {position}");
            }
            for (position, (_, settled)) in &mut self.0 {
                let settled = &mut settled[sink];
                let is_found = found.contains_key(position);
                match *settled {
                    Settled::No => assert!(is_found, "{position} is lost for {sink}"),
                    Settled::Yes => assert!(!is_found, "{position} came back for {sink}"),
                    Settled::Lately => {
                        assert!(power || !is_found, "{position} was forgotten for {sink}, without a power cut");
                        *settled = if is_found { Settled::No } else { Settled::Yes };
                    }
                }
            }
        }
        let waiting = |sink: usize| self.0.values().filter(|(_, settled)| settled[sink] != Settled::Yes).count() as u64;
        let stats = log.stats().unwrap();
        assert_eq!(stats.sinks, [waiting(0), waiting(1)]);
        let left = self.0.values().filter(|(_, settled)| *settled != [Settled::Yes; 2]);
        assert_eq!((stats.events, stats.lost), (left.clone().count() as u64, 0));
        let oldest = left.clone().next().map(|(new, _)| new.accepted_at_us);
        assert_eq!(stats.oldest_accepted_at_us, oldest, "of the first in the row, whatever the clock says");
    }
}

/// One random life of a log, with power cuts and a disk that fails.
fn live(seed: u64) {
    let mut random = Random(seed);
    let mut disk = Memory::default();
    // In half of the lives segments grow.
    let largest = if seed.is_multiple_of(2) { 4096 } else { 16 * 1024 };
    let open = |disk: &Memory| open_with(disk, sizes(4096, largest));
    let mut log = open(&disk);
    let mut promises = Promises::default();
    for _ in 0..40 {
        let mut torn = None;
        let mut failed = false;
        match random.below(20) {
            0..8 => {
                let group = records(&mut random, 6);
                let first = log.end();
                if let Ok(position) = log.append(&group) {
                    assert_eq!(position, first);
                    promises.synced();
                    promises.stored(first, group);
                } else {
                    failed = true;
                    torn = Some(group);
                }
            }
            8..15 => {
                let sink = usize::try_from(random.below(2)).unwrap();
                let found: Vec<Entry> = unsettled(&log, sink).into_values().collect();
                let chosen: Vec<_> = found.into_iter().filter(|_| random.below(3) > 0).map(|e| (sink, e)).collect();
                for (_, entry) in &chosen {
                    promises.0.get_mut(&entry.position).unwrap().1[sink] = Settled::Lately;
                }
                failed = log.settle(&chosen).is_err();
            }
            15 => match log.sync() {
                Ok(()) => promises.synced(),
                Err(_) => failed = true,
            },
            16 => disk.fail_in(Some(u32::try_from(random.below(12)).unwrap()), random.below(2) == 0),
            _ => failed = random.below(2) == 0,
        }
        if failed {
            let cut = random.pick(&[Cut::Nothing, Cut::Writes, Cut::Sectors, Cut::Sectors, Cut::All]);
            // After a write that failed, what the process sees is not what is on the disk.
            let power = cut != Cut::All || torn.is_some() || log.sync().is_err();
            let end = promises.0.keys().next_back().map_or(0, |last| last + 1);
            drop(log);
            disk = disk.cut(cut, || random.next());
            log = open(&disk);
            if let Some(group) = torn.filter(|_| log.end() > end) {
                assert_eq!(log.end(), end + group.len() as u64, "a group is stored whole or not at all");
                promises.stored(end, group);
            }
            assert_eq!(log.end(), promises.0.keys().next_back().map_or(0, |last| last + 1), "the end of the log");
            promises.check(&log, power);
        }
    }
}

#[test]
fn whatever_a_power_cut_leaves_nothing_acknowledged_is_lost_or_out_of_order() {
    for_seeds(1_000, live);
}

/// A log with so many events, of which nothing is settled.
fn filled(disk: &Memory, groups: u64) -> (SegmentLog, BTreeMap<Position, NewRecord>) {
    filled_by(disk, &mut Random(groups), groups)
}

fn filled_by(disk: &Memory, random: &mut Random, groups: u64) -> (SegmentLog, BTreeMap<Position, NewRecord>) {
    let log = open(disk);
    let mut stored = BTreeMap::new();
    for _ in 0..groups {
        let mut group = records(random, 4);
        for new in &mut group {
            new.skip = SinkSet::default();
        }
        let first = log.append(&group).unwrap();
        stored.extend((first..).zip(group));
    }
    (log, stored)
}

fn find(content: &[u8], what: &[u8]) -> Option<usize> {
    content.windows(what.len()).position(|window| window == what)
}

/// Inverts a byte of this event's record, wherever it is.
fn damage(disk: &Memory, record: &[u8]) {
    for name in disk.names() {
        if let Some(at) = find(&disk.content(&name), record) {
            disk.damage(&name, |content| content[at] ^= 1);
        }
    }
}

fn drain(log: &SegmentLog) {
    for sink in 0..2 {
        for entry in unsettled(log, sink).into_values() {
            log.settle(&[(sink, entry)]).unwrap();
        }
    }
    let stats = log.stats().unwrap();
    assert_eq!((stats.events, stats.bytes, stats.sinks), (0, 0, vec![0, 0]));
}

#[test]
fn a_damaged_event_is_counted_and_the_rest_is_kept_whether_found_at_start_or_when_read() {
    for restart in [true, false] {
        for victim in 0..40 {
            let disk = Memory::default();
            let (mut log, stored) = filled(&disk, 20);
            let Some((position, new)) = stored.iter().find(|(at, new)| **at >= victim && new.record.len() > 16) else {
                continue;
            };
            // The last group was followed by nothing: damage there cannot be told from what a power cut leaves.
            log.append(&[record(&mut Random(1))]).unwrap();
            let last = log.end() - 1;
            let victim_bytes = new.record.clone();
            damage(&disk, &victim_bytes);
            if restart {
                drop(log);
                log = open(&disk);
            }
            for (other, new) in stored.iter().filter(|(other, _)| *other != position) {
                assert_eq!(log.read(*other).unwrap().as_ref(), Some(&new.record), "{other} beside {position}");
            }
            assert!(log.end() == last + 1 || restart);
            assert_eq!(log.read(*position).unwrap(), None);
            assert!(log.stats().unwrap().lost >= 1, "victim {position}, restart {restart}");
            drain(&log);
        }
    }
}

/// One log, with damage in a few places.
fn damaged(seed: u64) {
    let mut random = Random(seed);
    let disk = Memory::default();
    let (log, stored) = filled_by(&disk, &mut random, 12);
    let settled: Vec<_> = unsettled(&log, 0).into_iter().take(7).collect();
    for (_, entry) in &settled {
        log.settle(&[(0, *entry)]).unwrap();
    }
    let with_restart = random.below(3) > 0;
    let mut log = Some(log).filter(|_| !with_restart);
    let (most, longest) = random.pick(&[(3, 200), (12, 20)]);
    for _ in 0..=random.below(most) {
        let names = disk.names();
        let name = &names[usize::try_from(random.below(names.len() as u64)).unwrap()];
        disk.damage(name, |content| {
            let at = usize::try_from(random.below(content.len() as u64)).unwrap();
            let length = usize::try_from(random.below(longest)).unwrap().min(content.len() - at);
            for byte in &mut content[at..=at + length.saturating_sub(1)] {
                *byte = random.next().to_le_bytes()[0];
            }
        });
    }
    let log = log.take().unwrap_or_else(|| open(&disk));
    // Once more, as the second look may have found that there are fewer.
    let [_, all, left] = [0, 1, 0].map(|sink| unsettled(&log, sink));
    assert_eq!(log.stats().unwrap().sinks, [left.len() as u64, all.len() as u64]);
    for position in all.keys().filter(|&position| !settled.iter().any(|(before, _)| before == position)) {
        assert!(left.contains_key(position), "{position} is there, but is kept from one sink");
    }
    for position in all.into_keys() {
        if let Some(record) = log.read(position).unwrap() {
            assert_eq!(record, stored[&position].record);
        }
    }
    drain(&log);
    let end = log.end();
    assert_eq!(log.append(&[record(&mut random)]).unwrap(), end);
}

#[test]
fn any_damage_anywhere_ends_no_process_makes_up_no_event_and_keeps_none_from_one_sink() {
    for_seeds(2_000, damaged);
}

/// An event for both sinks whose bytes are found nowhere else.
fn distinct(random: &mut Random, length: usize) -> NewRecord {
    let record = Bytes::from((0..length).map(|_| random.next().to_le_bytes()[0]).collect::<Vec<_>>());
    NewRecord { skip: SinkSet::default(), record, ..self::record(random) }
}

/// Inverts a byte of what the index in the file says of this event.
fn damage_index(disk: &Memory, new: &NewRecord) {
    let identity = new.identity.to_le_bytes();
    for name in disk.names() {
        let content = disk.content(&name);
        let places: Vec<_> = (0..content.len()).filter(|&at| content[at..].starts_with(&identity)).collect();
        if let [_, in_index] = places[..] {
            return disk.damage(&name, |content| content[in_index] ^= 1);
        }
    }
    panic!("it is in no sealed segment");
}

#[test]
fn an_index_that_is_made_again_while_it_is_looked_at_keeps_nothing_from_a_sink() {
    let disk = Memory::default();
    let log = open(&disk);
    let mut random = Random(19);
    let stored: Vec<_> = (0..30).map(|_| distinct(&mut random, 100)).collect();
    for new in &stored {
        log.append(std::slice::from_ref(new)).unwrap();
    }
    // The third is found by the old index. In the new one it is the second.
    damage(&disk, &stored[0].record);
    damage_index(&disk, &stored[5]);
    let found = log.unsettled(0, 2, 5).unwrap();
    assert_eq!(found.entries.iter().map(|entry| entry.position).collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
    drain(&log);
}

#[test]
fn an_index_that_is_made_again_while_leftovers_are_copied_keeps_nothing_from_a_sink() {
    let disk = Memory::default();
    let log = open_with(&disk, sizes(256 * 1024, 256 * 1024));
    let mut random = Random(23);
    let mut stored: Vec<NewRecord> = Vec::new();
    let mut stuck = Vec::new();
    while stored.len() < 9_000 {
        let mut group: Vec<_> = (0..100).map(|_| distinct(&mut random, 16)).collect();
        for (position, new) in (stored.len() as u64..).zip(&mut group) {
            // Sink b is stuck. One event that it gets is the first of the second batch that is looked at.
            if position % 800 == 512 {
                stuck.push(position);
            } else {
                new.skip = SinkSet::default().with(1);
            }
        }
        let files = disk.names().len();
        log.append(&group).unwrap();
        if files == 1 && disk.names().len() == 2 {
            damage(&disk, &stored[0].record);
            damage_index(&disk, &stored[700]);
        }
        stored.extend(group);
        let settled: Vec<_> = unsettled(&log, 0).into_values().map(|entry| (0, entry)).collect();
        log.settle(&settled).unwrap();
    }
    assert!(log.core.state().segments.iter().any(|live| live.segment.header.purpose == Use::Leftovers));
    assert_eq!(unsettled(&log, 1).into_keys().collect::<Vec<_>>(), stuck);
    drain(&log);
}

#[test]
fn a_damaged_event_at_the_end_of_a_segment_is_counted_and_its_position_is_not_given_again() {
    for head in [true, false] {
        let disk = Memory::default();
        let log = open(&disk);
        let mut random = Random(29);
        let mut stored = Vec::new();
        while disk.names().len() < 3 {
            let new = distinct(&mut random, 100);
            stored.push(new.record.clone());
            log.append(&[new]).unwrap();
        }
        drop(log);
        // The last segment has the last event. Before that, the index of the segment knows of the victim, or the
        // head of the last segment says that there was one.
        let [.., before, last] = &disk.names()[..] else { panic!("too few") };
        damage(&disk, &stored.pop().unwrap());
        damage(&disk, &stored.pop().unwrap());
        if head {
            disk.damage(last, |content| content[0] ^= 1);
        } else {
            disk.damage(last, |content| content[512..1024].fill(1));
            disk.damage(before, |content| content[4096 - 32] ^= 1);
        }
        let log = open(&disk);
        let victim = stored.len() as u64;
        assert_eq!((log.stats().unwrap().lost, log.end()), (1, victim + 1), "head {head}");
        assert_eq!(log.append(&[distinct(&mut random, 100)]).unwrap(), victim + 1);
        for sink in 0..2 {
            let found = unsettled(&log, sink);
            assert!(found.into_keys().eq((0..victim).chain([victim + 1])), "head {head}, sink {sink}");
        }
        drain(&log);
    }
}

#[test]
fn a_sink_that_is_stuck_on_a_few_events_does_not_hold_on_to_every_segment() {
    let disk = Memory::default();
    let mut log = open(&disk);
    let mut random = Random(0);
    let mut stuck = Vec::new();
    for round in 0..2_000 {
        let mut new = record(&mut random);
        // Sink b is stuck, and gets one event of 40.
        new.skip = if round % 40 == 0 { SinkSet::default() } else { SinkSet::default().with(1) };
        let position = log.append(&[new.clone()]).unwrap();
        if round % 40 == 0 {
            stuck.push((position, new.record));
        }
        for entry in unsettled(&log, 0).into_values() {
            log.settle(&[(0, entry)]).unwrap();
        }
        if round % 500 == 499 {
            log.sync().unwrap();
            drop(log);
            log = open(&disk.cut(Cut::Nothing, || 0));
            assert_eq!(log.stats().unwrap().sinks, [0, stuck.len() as u64]);
            drop(log);
            log = open(&disk);
        }
    }
    let needed = stuck.iter().map(|(_, record)| record.len() + 136).sum::<usize>();
    assert!(disk.bytes() < 4 * needed + 8 * 4096, "{} bytes on disk for {needed}", disk.bytes());
    assert_eq!(unsettled(&log, 1).into_keys().collect::<Vec<_>>(), stuck.iter().map(|(p, _)| *p).collect::<Vec<_>>());
    for (position, record) in &stuck {
        assert_eq!(log.read(*position).unwrap().as_ref(), Some(record));
    }
    drain(&log);
}

/// Sizes of all segments, the smallest first.
fn lengths(disk: &Memory) -> Vec<usize> {
    let mut lengths: Vec<_> = disk.names().iter().map(|name| disk.content(name).len()).collect();
    lengths.sort_unstable();
    lengths
}

#[test]
fn segments_begin_small_and_double_as_they_fill_and_a_restart_goes_on_with_that() {
    let disk = Memory::default();
    let sizes = sizes(4096, 32 * 1024);
    let mut log = open_with(&disk, sizes);
    assert_eq!(lengths(&disk), [4096], "an idle log is one small file");
    for _ in 0..3 {
        drop(log);
        log = open_with(&disk, sizes);
        assert_eq!(lengths(&disk), [4096], "restarts do not make it more");
    }
    let mut random = Random(11);
    let mut stored = Vec::new();
    for round in 0..400 {
        let mut new = record(&mut random);
        new.skip = SinkSet::default();
        assert_eq!(log.append(&[new.clone()]).unwrap(), round);
        stored.push(new.record);
        if round % 50 == 49 {
            drop(log);
            log = open_with(&disk, sizes);
        }
    }
    let found = lengths(&disk);
    let kib: Vec<_> = found.iter().map(|length| length / 1024).collect();
    assert_eq!(kib[..4], [4, 8, 16, 32]);
    assert!(kib[4..].iter().all(|&length| length == 32) && kib.len() > 5, "{kib:?}");
    for (position, record) in (0..).zip(&stored) {
        assert_eq!(log.read(position).unwrap().as_ref(), Some(record));
    }
    drain(&log);
    for _ in 0..400 {
        log.append(&[record(&mut random)]).unwrap();
        drain(&log);
    }
    let kib: Vec<_> = lengths(&disk).iter().map(|length| length / 1024).collect();
    assert!(kib.len() <= 5 && kib.iter().all(|&length| length == 32), "the small ones are gone: {kib:?}");
}

#[test]
fn a_shard_takes_four_mebibytes_until_it_has_accepted_one() {
    let directory = tempfile::tempdir().unwrap();
    let log = SegmentLog::open(directory.path(), &names()).unwrap();
    let taken = || {
        let files = std::fs::read_dir(directory.path().join("log")).unwrap();
        files.map(|file| file.unwrap().metadata().unwrap().len()).sum::<u64>() / 1024
    };
    assert_eq!(taken(), 4 * 1024);
    let mut random = Random(17);
    let mut large = record(&mut random);
    large.record = Bytes::from(vec![1; 900 * 1024]);
    log.append(&[large.clone()]).unwrap();
    drop(log);
    assert_eq!(taken(), 4 * 1024);
    let log = SegmentLog::open(directory.path(), &names()).unwrap();
    log.append(&[large.clone()]).unwrap();
    log.append(&[large]).unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_mins(1);
    while taken() < (4 + 8) * 1024 {
        assert!(std::time::Instant::now() < deadline, "no file is made to go on with");
        log.append(&[record(&mut random)]).unwrap();
        std::thread::yield_now();
    }
    let end = log.end();
    drop(log);
    assert_eq!(taken(), (4 + 8) * 1024);
    assert_eq!(SegmentLog::open(directory.path(), &names()).unwrap().end(), end);
    assert_eq!(taken(), (4 + 8) * 1024, "what was ready is ready again");
}

#[test]
fn a_disk_too_full_to_grow_goes_on_with_small_segments() {
    let disk = Memory::default();
    let sizes = sizes(4096, 64 * 1024);
    let log = open_with(&disk, sizes);
    // Room for 8 KiB, and for others what the log leaves to them.
    disk.room(Some(8 * 1024 + 16 * 1024));
    let mut random = Random(13);
    for round in 0..300 {
        let new = record(&mut random);
        let result = log.append(&[new]);
        assert!(result.is_ok(), "round {round}: {result:?}");
        drain(&log);
    }
    let used: usize = lengths(&disk).iter().sum();
    assert!(used <= 12 * 1024, "{used} bytes");
    disk.room(None);
    for _ in 0..300 {
        log.append(&[record(&mut random)]).unwrap();
        drain(&log);
    }
}

#[test]
fn a_file_whose_filling_was_interrupted_is_no_segment() {
    let disk = Memory::default();
    let sizes = sizes(4096, 16 * 1024);
    drop(open_with(&disk, sizes));
    for (name, length) in [("00000007.segment", 4096), ("00000008.segment", 8192), ("00000009.segment", 5000)] {
        let file = Directory::create(&disk, name).unwrap();
        file.write_at(&vec![0; length], 0).unwrap();
    }
    let log = open_with(&disk, sizes);
    assert_eq!(lengths(&disk), [4096, 8192], "what is as large as the next one has to be is used");
    assert_eq!(log.end(), 0);
}

#[test]
fn a_full_disk_refuses_events_until_deliveries_have_made_room() {
    let disk = Memory::default();
    let log = open(&disk);
    disk.room(Some(10 * 4096));
    let mut random = Random(7);
    let mut stored = 0_u64;
    let refused = loop {
        let group = [record(&mut random)];
        match log.append(&group) {
            Ok(_) => stored += 1,
            Err(LogError::Full) => break group,
            Err(other) => panic!("{other}"),
        }
        assert!(stored < 10_000, "it is never full");
    };
    assert_eq!(log.end(), stored);
    assert!(matches!(log.append(&refused), Err(LogError::Full)));
    drain(&log);
    for _ in 0..50 {
        log.append(&[record(&mut random)]).unwrap();
        drain(&log);
    }
    drop(log);
    assert_eq!(open(&disk).stats().unwrap().events, 0);
}

#[test]
fn a_group_costs_one_sync_and_settlements_none() {
    let disk = Memory::default();
    let log = open_with(&disk, sizes(1024 * 1024, 1024 * 1024));
    let before = disk.syncs();
    let mut random = Random(3);
    for _ in 0..10 {
        log.append(&[record(&mut random)]).unwrap();
        drain(&log);
    }
    assert_eq!(disk.syncs() - before, 10);
}

#[test]
fn the_identities_of_the_backlog_are_found_again_and_the_last_ones_of_what_was_trimmed() {
    for seed in 0..60 {
        let disk = Memory::default();
        let open = || open_with(&disk, sizes(16 * 1024, 16 * 1024));
        let mut log = open();
        let mut random = Random(seed);
        let mut stored = Vec::new();
        for _ in 0..100 {
            let new = record(&mut random);
            stored.push((new.accepted_at_us, new.identity));
            log.append(&[new]).unwrap();
            if stored.len() == 50 {
                assert_eq!(log.identities(i64::MAX).unwrap(), stored, "seed {seed}: all, as all is waited for");
            }
        }
        drain(&log);
        drop(log);
        log = open();
        let found = log.identities(i64::MAX).unwrap();
        // A file has room for about 30.
        assert!(found.len() > 50, "seed {seed}: only {} of 100 are still known", found.len());
        assert!(stored.ends_with(&found), "seed {seed}: some of the last ones are missing");
    }
}

#[test]
fn whatever_the_clock_did_the_identities_are_those_of_events_and_the_last_ones_are_among_them() {
    for seed in 0..100 {
        let mut random = Random(seed);
        let disk = Memory::default();
        let mut log = open(&disk);
        let mut stored = Vec::new();
        for _ in 0..30 {
            let group = records(&mut random, 4);
            stored.extend(group.iter().map(|new| (new.accepted_at_us, new.identity)));
            log.append(&group).unwrap();
            if random.below(10) == 0 {
                drop(log);
                log = open(&disk);
            }
            for span in [0, 1, 1_000, i64::MAX] {
                let found = log.identities(span).unwrap();
                assert!(found.len() >= group.len(), "seed {seed}");
                assert!(stored.ends_with(&found), "seed {seed}: they are not the last ones in their order");
            }
        }
    }
}

#[test]
fn segments_of_another_version_are_refused() {
    let disk = Memory::default();
    drop(open(&disk));
    let name = disk.names().remove(0);
    disk.damage(&name, |content| {
        content[8] = 2;
        let crc = {
            let mut hasher = crc32fast::Hasher::new();
            hasher.update(&content[..32]);
            hasher.finalize()
        };
        content[32..36].copy_from_slice(&crc.to_le_bytes());
    });
    assert!(matches!(SegmentLog::open_tiny(&disk, &names()), Err(LogError::Foreign(_))));
}
