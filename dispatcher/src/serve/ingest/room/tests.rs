//! That no limit is passed, and that what is settled makes room.

use super::*;
use crate::serve::log::memory::{Disk, MemoryLog};
use crate::serve::log::{NewRecord, OVERHEAD_BYTES, SinkSet};
use bytes::Bytes;
use signalbox_contract::AddressPolicy;

fn config(bytes: u64, events: Option<u64>, age_ms: Option<u64>) -> Arc<ShardConfig> {
    Arc::new(ShardConfig {
        fleet: "f".to_owned(),
        region: "r".to_owned(),
        sinks: Vec::new(),
        backlog_limit_bytes: bytes,
        backlog_limit_events: events,
        backlog_limit_age_ms: age_ms,
        max_event_bytes: 1,
        duplicate_window_ms: 0,
        dead_letter_limit_bytes: 0,
        tls: None,
        control: None,
        addresses: AddressPolicy::default(),
    })
}

fn room(config: Arc<ShardConfig>) -> (Room, Arc<MemoryLog>) {
    let log = Arc::new(MemoryLog::open(&Disk::default(), &["a".to_owned()]));
    let stats = log.stats().unwrap();
    (Room::new(config, log.clone(), stats), log)
}

fn record(accepted_at_us: i64) -> NewRecord {
    NewRecord { accepted_at_us, key: None, skip: SinkSet::default(), identity: 0, record: Bytes::from_static(b"x") }
}

/// Settles everything at the only sink.
fn settle(log: &MemoryLog) {
    let entries = log.unsettled(0, 0, usize::MAX).unwrap().entries;
    log.settle(&entries.into_iter().map(|entry| (0, entry)).collect::<Vec<_>>()).unwrap();
}

fn full(result: Result<Reservation<'_>, NoRoom>) -> (String, u64) {
    match result {
        Err(NoRoom::Full(sentence, seconds)) => (sentence, seconds),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("there is room"),
    }
}

/// Waits until a sample that says full may be taken again.
fn until<T>(what: impl Fn() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(result) = what() {
            return result;
        }
        assert!(Instant::now() < end, "waited in vain");
        std::thread::yield_now();
    }
}

#[test]
fn requests_under_way_count_against_the_limits_and_give_back_what_they_did_not_use() {
    let (room, _log) = room(config(1000, Some(10), None));
    let first = room.reserve(400, 4).ok().unwrap();
    let second = room.reserve(400, 4).ok().unwrap();
    let (sentence, seconds) = full(room.reserve(400, 1));
    assert!(sentence.contains("1000 bytes") && (1..=30).contains(&seconds), "{sentence}, {seconds}");
    assert!(full(room.reserve(100, 4)).0.contains("10 events"));
    drop(first);
    let _third = until(|| room.reserve(400, 4).ok());
    drop(second);
    until(|| room.look().ok());
}

#[test]
fn the_limit_of_events_is_never_passed_however_old_the_sample_is() {
    let (room, log) = room(config(1_000_000, Some(100), None));
    let mut stored = 0;
    while let Ok(reservation) = room.reserve(1 + OVERHEAD_BYTES, 1) {
        log.append(&[record(0)]).unwrap();
        reservation.stored();
        stored += 1;
        assert!(stored <= 100, "the limit was passed");
    }
    assert_eq!((stored, log.stats().unwrap().events), (100, 100));
    settle(&log);
    until(|| room.look().ok());
    assert!(room.reserve(1 + OVERHEAD_BYTES, 100).is_ok());
}

#[test]
fn an_oldest_event_that_is_too_old_closes_the_door_until_it_is_settled() {
    let (room, log) = room(config(1_000_000, None, Some(60_000)));
    log.append(&[record(clock::now_us() - 59_000_000)]).unwrap();
    assert!(room.look().is_ok());
    log.append(&[record(0)]).unwrap();
    settle(&log);
    log.append(&[record(clock::now_us() - 61_000_000)]).unwrap();
    let why = until(|| room.look().err());
    assert!(matches!(&why, NoRoom::Full(sentence, _) if sentence.contains("60000 ms")), "{why:?}");
    settle(&log);
    until(|| room.look().ok());
}

#[test]
fn what_could_never_be_held_is_not_asked_to_wait() {
    let (room, _log) = room(config(1000, Some(10), None));
    assert!(matches!(room.reserve(1001, 1), Err(NoRoom::TooLarge(_))));
    assert!(matches!(room.reserve(10, 11), Err(NoRoom::TooLarge(_))));
}

#[test]
fn many_at_once_do_not_pass_the_limits_together() {
    let (room, log) = room(config(1_000_000, Some(500), None));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..400 {
                    if let Ok(reservation) = room.reserve(1 + OVERHEAD_BYTES, 1) {
                        log.append(&[record(0)]).unwrap();
                        reservation.stored();
                    }
                }
            });
        }
    });
    let events = log.stats().unwrap().events;
    assert!((400..=500).contains(&events), "{events}");
}

#[test]
fn the_wait_follows_the_rate_at_which_the_backlog_drains() {
    let gibibyte = 1 << 30;
    assert_eq!(wait_seconds(gibibyte, 0.0), 30);
    assert_eq!(wait_seconds(gibibyte, 10_000_000.0), 5);
    assert_eq!(wait_seconds(gibibyte, 1e12), 1);
    assert!(drain(0.0, 10 * 1024 * 1024, Duration::from_secs(1)) > 10_000_000.0);
    assert!(drain(1e6, 0, Duration::from_secs(1)) < 6e5);
}

#[test]
fn the_report_and_the_door_agree_on_what_full_means() {
    let stats = |events, bytes, oldest| LogStats { events, bytes, oldest_accepted_at_us: oldest, ..blank() };
    let config = config(1000, Some(10), Some(5));
    assert_eq!(reached(&config, &stats(9, 999, Some(0)), 5_000), None);
    assert_eq!(reached(&config, &stats(9, 1000, None), 0), Some(Limit::Bytes));
    assert_eq!(reached(&config, &stats(10, 1, None), 0), Some(Limit::Events));
    assert_eq!(reached(&config, &stats(1, 1, Some(0)), 5_001), Some(Limit::Age));
}

#[test]
fn a_clock_that_jumps_closes_the_door_at_most_until_it_is_right_again() {
    let config = config(1000, None, Some(5));
    let with = |oldest| LogStats { events: 1, bytes: 1, oldest_accepted_at_us: Some(oldest), ..blank() };
    assert_eq!(reached(&config, &with(1_000_000), 0), None, "set back: nothing is of the future");
    assert_eq!(reached(&config, &with(0), i64::MAX), Some(Limit::Age), "far ahead: everything is old,");
    assert_eq!(reached(&config, &with(0), 5_000), None, "until it is right again,");
    assert_eq!(reached(&config, &blank(), i64::MAX), None, "or everything is delivered");
    for (then, now) in [(i64::MIN, i64::MAX), (i64::MAX, i64::MIN), (i64::MIN, i64::MIN), (i64::MAX, i64::MAX)] {
        assert_eq!(reached(&config, &with(then), now), (now > then).then_some(Limit::Age));
    }
}

fn blank() -> LogStats {
    MemoryLog::open(&Disk::default(), &["a".to_owned()]).stats().unwrap()
}
