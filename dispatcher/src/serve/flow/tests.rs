//! Whole sinks, simulated: a clock, a schedule of events, and answers.

use std::collections::{BTreeMap, BinaryHeap};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use signalbox_contract::{BreakerPhase, Ordering, RetryConfig, SinkConfig};

use super::{Flow, Sent};
use crate::serve::answer::Verdict;
use crate::serve::log::{Entry, SinkSet};

fn config(max_concurrency: u32) -> SinkConfig {
    SinkConfig {
        name: "sink".to_owned(),
        uri: "http://sink/".to_owned(),
        timeout_ms: 1000,
        max_concurrency,
        retry: RetryConfig { initial_backoff_ms: 200, max_backoff_ms: 30_000, max_attempts: None },
        ordering: Ordering::PerKey,
        filter: BTreeMap::new(),
        signing_secret_file: None,
    }
}

fn entry(position: u64, key: Option<u64>) -> Entry {
    Entry { position, accepted_at_us: 0, key, bytes: 100, skip: SinkSet::default() }
}

/// What came of a simulation.
#[derive(Debug, Default)]
struct Tally {
    pushed: u64,
    attempts: u64,
    taken: u64,
    /// Most under way at once.
    most: usize,
    /// When the last event was taken.
    last_taken: Duration,
}

/// Runs a sink for `span`, in steps of a millisecond. `rate` events come in each second, on 1000 keys, while `offered`
/// lasts. `answer` says what comes of an attempt that begins at a time, and after how long.
fn run(
    flow: &mut Flow,
    start: Instant,
    span: Duration,
    rate: u64,
    offered: Duration,
    mut answer: impl FnMut(Duration, &Sent) -> (Verdict, Duration),
) -> Tally {
    let mut tally = Tally::default();
    let mut seed = 1_u64;
    let mut flying: BinaryHeap<std::cmp::Reverse<(Duration, u64)>> = BinaryHeap::new();
    let mut sent = BTreeMap::new();
    for ms in 0..u64::try_from(span.as_millis()).unwrap() {
        let at = Duration::from_millis(ms);
        let now = start + at;
        while at < offered && tally.pushed < ms * rate / 1000 && flow.room() > 0 {
            flow.push(entry(tally.pushed, Some(tally.pushed % 1000)));
            tally.pushed += 1;
        }
        while flying.peek().is_some_and(|ended| ended.0.0 <= at) {
            let (_, attempt) = flying.pop().unwrap().0;
            let (one, verdict): (Sent, Verdict) = sent.remove(&attempt).unwrap();
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let ended = flow.ended(&one, verdict, now, seed >> 33);
            if verdict == Verdict::Taken {
                tally.taken += 1;
                tally.last_taken = at;
            } else {
                flow.wait(&one, &ended, now, seed >> 33);
            }
        }
        while let Some(one) = flow.next(now) {
            let (verdict, took) = answer(at, &one);
            tally.attempts += 1;
            flying.push(std::cmp::Reverse((at + took, tally.attempts)));
            sent.insert(tally.attempts, (one, verdict));
        }
        tally.most = tally.most.max(sent.len());
    }
    tally
}

#[test]
fn a_storm_of_500s_is_met_by_no_more_than_a_fifth_more_than_was_offered() {
    let start = Instant::now();
    let minutes = Duration::from_mins(5);
    for rate in [5, 100, 1000] {
        let mut flow = Flow::new(&config(64), start);
        let tally = run(&mut flow, start, minutes, rate, minutes, |_, _| (Verdict::Failed, Duration::from_millis(2)));
        let offered = rate * 300;
        assert!(tally.attempts * 10 <= offered * 12, "{rate}/s: {} attempts of {offered} offered", tally.attempts);
        assert!(tally.attempts >= 10, "{rate}/s: it is probed, {} times", tally.attempts);
    }
}

#[test]
fn a_sink_that_is_half_well_is_held_up_by_nothing_and_sent_little_more_than_it_needs() {
    let start = Instant::now();
    let mut flow = Flow::new(&config(64), start);
    let mut n = 0;
    let (span, offered) = (Duration::from_mins(2), Duration::from_mins(1));
    let tally = run(&mut flow, start, span, 500, offered, |_, _| {
        n += 1;
        (if n % 3 == 0 { Verdict::Failed } else { Verdict::Taken }, Duration::from_millis(3))
    });
    assert_eq!((tally.taken, flow.standing().phase), (tally.pushed, BreakerPhase::Serving), "{tally:?}");
    assert!(tally.last_taken < offered + Duration::from_secs(40), "{tally:?}");
}

#[test]
fn a_sink_that_was_down_for_minutes_gets_everything_soon_after_it_is_back() {
    let start = Instant::now();
    let back = Duration::from_mins(4);
    for down in [Verdict::Failed, Verdict::TimedOut] {
        let mut flow = Flow::new(&config(64), start);
        let tally = run(&mut flow, start, Duration::from_mins(5), 100, Duration::from_mins(1), |at, _| {
            let took = if down == Verdict::TimedOut { 1000 } else { 2 };
            if at < back { (down, Duration::from_millis(took)) } else { (Verdict::Taken, Duration::from_millis(2)) }
        });
        assert_eq!(tally.taken, tally.pushed, "{tally:?}");
        assert!(tally.last_taken < back + Duration::from_secs(35), "{tally:?}");
        assert_eq!(flow.standing().phase, BreakerPhase::Serving);
    }
}

#[test]
fn an_event_that_always_fails_is_found_out_among_others_and_stands_in_nobodys_way() {
    let start = Instant::now();
    let mut flow = Flow::new(&config(16), start);
    flow.push(entry(1_000_000, Some(1_000_000)));
    let mut poison = 0;
    let minute = Duration::from_mins(1);
    let tally = run(&mut flow, start, minute, 100, minute, |_, sent| {
        let bad = sent.entry.position == 1_000_000;
        poison += u32::from(bad);
        (if bad { Verdict::Failed } else { Verdict::Taken }, Duration::from_millis(2))
    });
    assert!(tally.taken + 5 >= tally.pushed && poison >= 5, "{tally:?}, {poison}");
    assert_eq!(flow.standing().phase, BreakerPhase::Serving);
    let now = start + Duration::from_hours(1);
    let one = flow.next(now).unwrap();
    assert_eq!(one.entry.position, 1_000_000);
    assert!(flow.ended(&one, Verdict::Failed, now, 0).counted >= 5);
}

#[test]
fn an_outage_uses_up_nobodys_attempts() {
    let start = Instant::now();
    let mut flow = Flow::new(&config(16), start);
    for position in 0..100 {
        flow.push(entry(position, None));
    }
    let mut now = start;
    for _ in 0..2_000 {
        now += Duration::from_millis(100);
        while let Some(one) = flow.next(now) {
            let ended = flow.ended(&one, Verdict::Failed, now, 7);
            assert_eq!(ended.counted, 0);
            flow.wait(&one, &ended, now, 7);
        }
    }
}

#[test]
fn a_sink_that_throttles_is_left_alone_as_it_asks_and_is_not_failing() {
    let start = Instant::now();
    let mut flow = Flow::new(&config(64), start);
    let ten = Duration::from_secs(10);
    let tally = run(&mut flow, start, Duration::from_mins(5), 100, Duration::from_mins(1), |_, _| {
        (Verdict::Throttled(ten), Duration::from_millis(2))
    });
    assert_eq!(flow.standing().phase, BreakerPhase::Serving);
    assert_eq!(flow.standing().limit, 1);
    // Thirty times it is asked, and ever fewer at once.
    assert!((30..=50).contains(&tally.attempts), "{tally:?}");
}

#[test]
fn a_probe_that_says_nothing_is_not_made_again_at_once() {
    let start = Instant::now();
    let mut flow = Flow::new(&config(64), start);
    let minute = Duration::from_mins(1);
    // Down for a second, and then it throttles without saying for how long.
    let tally = run(&mut flow, start, minute, 100, minute, |at, _| {
        let verdict = if at < Duration::from_secs(1) { Verdict::Failed } else { Verdict::Throttled(Duration::ZERO) };
        (verdict, Duration::from_millis(2))
    });
    assert_eq!(flow.standing().phase, BreakerPhase::Probing);
    // Without a pause it would be tens of thousands.
    assert!(tally.attempts < 600, "{tally:?}");
}

#[test]
fn a_healthy_sink_is_soon_sent_as_much_as_it_may_be() {
    let start = Instant::now();
    let mut flow = Flow::new(&config(64), start);
    let second = Duration::from_secs(1);
    let tally = run(&mut flow, start, second, 100_000, second, |_, _| (Verdict::Taken, Duration::from_millis(10)));
    assert_eq!(tally.most, 64);
    assert!(tally.taken > 5_800, "{tally:?}");
}

#[test]
fn only_the_limit_of_attempts_limits() {
    let start = Instant::now();
    let second = Duration::from_secs(1);
    let mut flow = Flow::new(&config(2), start);
    assert_eq!(flow.limited_from(start), None, "nothing to send");
    for position in 0..3 {
        flow.push(entry(position, Some(position % 2)));
    }
    let (first, other) = (flow.next(start).unwrap(), flow.next(start).unwrap());
    assert!(flow.next(start).is_none());
    assert_eq!(flow.limited_from(start), None, "the third waits behind the first of its key");
    flow.push(entry(3, Some(3)));
    assert_eq!(flow.limited_from(start), Some(start), "this one waits for the limit");
    let now = start + second;
    let ended = flow.ended(&other, Verdict::Throttled(2 * second), now, 0);
    flow.wait(&other, &ended, now, 0);
    assert_eq!(flow.standing().limit, 1);
    assert_eq!(flow.limited_from(now), Some(now + 2 * second), "until then it is the sink that asked to wait");
    flow.ended(&first, Verdict::Taken, now, 0);
    assert_eq!(flow.limited_from(now), None, "less than the limit is under way");
}

#[test]
fn what_waits_for_its_own_time_is_limited_from_then_on() {
    let start = Instant::now();
    let mut flow = Flow::new(&config(1), start);
    flow.push(entry(0, Some(0)));
    let one = flow.next(start).unwrap();
    let ended = flow.ended(&one, Verdict::Refused, start, 0);
    flow.wait(&one, &ended, start, 0);
    let until = flow.wake_at().unwrap();
    flow.push(entry(1, Some(1)));
    flow.next(start).unwrap();
    assert_eq!(flow.limited_from(start), Some(until));
}

#[test]
fn a_sink_that_fails_is_not_limited_by_us() {
    let start = Instant::now();
    let mut flow = Flow::new(&config(1), start);
    for position in 0..100 {
        flow.push(entry(position, None));
    }
    let mut now = start;
    while flow.standing().phase == BreakerPhase::Serving {
        now += Duration::from_millis(500);
        let Some(one) = flow.next(now) else { continue };
        assert_eq!(flow.limited_from(now), Some(now));
        let ended = flow.ended(&one, Verdict::Failed, now, 7);
        flow.wait(&one, &ended, now, 7);
    }
    assert_eq!(flow.limited_from(now), None, "tripped");
    now += Duration::from_mins(1);
    flow.next(now).unwrap();
    assert_eq!((flow.standing().phase, flow.limited_from(now)), (BreakerPhase::Probing, None));
}

#[test]
fn the_outlook_counts_the_window_what_is_blocked_in_it_and_its_longest_lane() {
    let start = Instant::now();
    let mut flow = Flow::new(&config(8), start);
    for position in 0..6 {
        flow.push(entry(position, Some(position.min(3))));
    }
    let of = |flow: &Flow| (flow.outlook().events, flow.outlook().blocked, flow.outlook().largest);
    assert_eq!(of(&flow), (6, 2, 3));
    let sent: Vec<_> = std::iter::from_fn(|| flow.next(start)).collect();
    assert_eq!(sent.len(), 4);
    for one in &sent {
        flow.ended(one, Verdict::Taken, start, 0);
    }
    assert_eq!(of(&flow), (2, 1, 2), "of the longest lane one was taken");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// However a sink behaves: never more at once than it may be sent, and once it is well everything arrives.
    #[test]
    fn whatever_a_sink_does_everything_arrives_once_it_is_well(
        max in 1..40_u32,
        script in proptest::collection::vec((0..6_u8, 1..1500_u64), 1..300),
    ) {
        let start = Instant::now();
        let mut flow = Flow::new(&config(max), start);
        let mut script = script.into_iter();
        let span = Duration::from_mins(3);
        let minute = Duration::from_mins(1);
        let mut script = |at| if at < minute { script.next() } else { None };
        let tally = run(&mut flow, start, span, 50, Duration::from_secs(5), |at, _| match script(at) {
            Some((0, ms)) => (Verdict::TimedOut, Duration::from_millis(ms)),
            Some((1, ms)) => (Verdict::Throttled(Duration::from_millis(ms)), Duration::from_millis(1)),
            Some((2, ms)) => (Verdict::Refused, Duration::from_millis(ms)),
            Some((3 | 4, ms)) => (Verdict::Failed, Duration::from_millis(ms)),
            Some((_, ms)) => (Verdict::Taken, Duration::from_millis(ms)),
            None => (Verdict::Taken, Duration::from_millis(1)),
        });
        prop_assert!(tally.most <= usize::try_from(max).unwrap());
        prop_assert_eq!(tally.taken, tally.pushed, "{:?} {:?}", tally, flow.standing());
    }
}
