//! When something goes, and what follows from how it went.

use signalbox_contract::{Peer, RegionShard, RegionTraffic};

use super::*;
use crate::serve::evacuation::bucket::Bucket;

/// A course that is the only one to its region.
struct Alone {
    course: Course,
    terms: Terms,
}

impl Alone {
    fn next(&mut self, now: Instant, end: Position) -> Next {
        self.course.next(now, end, &mut self.terms)
    }

    fn ended(&mut self, carried: Carried, now: Instant) -> Option<News> {
        self.course.ended(carried, now, &mut self.terms)
    }
}

impl std::ops::Deref for Alone {
    type Target = Course;

    fn deref(&self) -> &Course {
        &self.course
    }
}

impl std::ops::DerefMut for Alone {
    fn deref_mut(&mut self) -> &mut Course {
        &mut self.course
    }
}

fn slots(all: &[usize]) -> SlotSet {
    all.iter().copied().collect()
}

fn places() -> Places {
    let shard = |n| RegionShard { address: format!("shard-{n}"), events: None };
    Places::new(&RegionTraffic { shards: (0..2).map(shard).collect(), ..RegionTraffic::default() })
}

/// A course with slots 1 and 2, and when it began.
fn course(rate: Option<f64>) -> (Alone, Instant) {
    let now = Instant::now();
    let mut terms = Terms { places: places(), bucket: Bucket::new(now), courses: 1 };
    terms.bucket.limit(rate, now);
    let mut course = Course::new(now);
    course.assign(&slots(&[1, 2]), None);
    (Alone { course, terms }, now)
}

fn task(next: Next) -> Task {
    match next {
        Next::Task(task) => *task,
        other => panic!("{other:?}"),
    }
}

fn after(next: Next, now: Instant) -> Duration {
    match next {
        Next::At(at) => at - now,
        other => panic!("{other:?}"),
    }
}

/// Counted up to 9, of which `moved` are there, and it goes on at `next`.
fn carried(next: Position, moved: usize, ending: Ending) -> Carried {
    Carried { next, counted: 9, found: 0, moved, ending }
}

#[test]
fn one_task_is_under_way_at_a_time_until_everything_was_given_and_then_when_something_comes() {
    let (mut course, now) = course(None);
    let first = task(course.next(now, 9));
    assert_eq!(
        (first.next, first.counted, first.most_events, first.slots),
        (PairLog::FIRST, PairLog::FIRST, usize::MAX, slots(&[1, 2]))
    );
    assert_eq!((course.flying(), course.waits_for(9)), (slots(&[1, 2]), false));
    assert!(matches!(course.next(now, 9), Next::Nothing));
    assert_eq!(course.ended(Carried { found: 6, ..carried(4, 2, Ending::Fine) }, now), None);
    assert_eq!((course.remaining(), course.flying()), (4, slots(&[])));
    assert_eq!(task(course.next(now, 9)).next, 4);
    course.ended(carried(9, 4, Ending::Fine), now);
    assert!(matches!(course.next(now, 9), Next::Nothing) && course.waits_for(9) && course.remaining() == 0);
    assert!(!course.waits_for(10));
    assert_eq!(task(course.next(now, 10)).counted, 9);
}

#[test]
fn who_has_found_nothing_does_not_look_again_at_once() {
    let (mut course, now) = course(None);
    task(course.next(now, 9));
    course.ended(carried(9, 0, Ending::Fine), now);
    assert_eq!(after(course.next(now, 12), now), LULL);
    task(course.next(now + LULL, 12));
}

#[test]
fn other_slots_and_what_comes_late_make_it_begin_again_when_what_is_under_way_has_ended() {
    let (mut course, now) = course(None);
    task(course.next(now, 9));
    course.assign(&slots(&[1]), None);
    assert_eq!(course.flying(), slots(&[1, 2]), "slot 2 may be on its way");
    course.ended(carried(9, 0, Ending::Fine), now);
    for (slots, inherited) in [(slots(&[1]), None), (slots(&[1]), Some(7)), (slots(&[1, 3]), Some(7))] {
        course.assign(&slots, inherited);
        let task = task(course.next(now, 9));
        assert_eq!((task.next, task.slots), (PairLog::FIRST, slots));
        course.ended(carried(9, 0, Ending::Fine), now);
    }
    course.assign(&slots(&[1, 3]), Some(7));
    assert!(matches!(course.next(now, 9), Next::Nothing), "nothing is new");
    course.assign(&slots(&[]), Some(7));
    assert!(course.is_idle());
}

#[test]
fn who_is_not_reached_is_tried_again_later_and_every_other_time_at_another_shard() {
    let (mut course, mut now) = course(None);
    let unreached = || Ending::Unreached(["shard-1".to_owned()].into(), "refused".to_owned());
    let mut told = Vec::new();
    let mut waited = Vec::new();
    for turn in 0..8 {
        let task = task(course.next(now, 9));
        assert_eq!(task.avoid.contains("shard-1"), turn % 2 == 1, "{turn}");
        told.extend(course.ended(carried(PairLog::FIRST, 0, unreached()), now));
        let wait = after(course.next(now, 9), now);
        waited.push(wait.as_millis());
        now += wait;
    }
    assert_eq!(waited, [50, 100, 200, 400, 800, 1000, 1000, 1000]);
    assert_eq!(told, [News::Fails("refused".to_owned())]);
    task(course.next(now, 9));
    assert_eq!(course.ended(carried(9, 1, Ending::Fine), now), Some(News::Goes));
}

#[test]
fn a_newer_table_is_gone_by_at_once_and_one_that_is_known_after_a_pause() {
    let (mut course, now) = course(None);
    let peer = |ordinal| Peer { ordinal, address: format!("other-{ordinal}"), log: 0 };
    let table = |epoch| Arc::new(RoutingTable { epoch, shards: 1, peers: vec![peer(0)], ..RoutingTable::default() });
    task(course.next(now, 9));
    course.ended(carried(PairLog::FIRST, 0, Ending::Moved(table(3))), now);
    assert_eq!(task(course.next(now, 9)).places.of(Some(1), 0), Some("other-0"));
    course.ended(carried(PairLog::FIRST, 0, Ending::Moved(table(3))), now);
    assert_eq!(after(course.next(now, 9), now), PAUSE.0);
}

#[test]
fn it_waits_as_it_is_told_and_counts_what_comes_meanwhile() {
    let (mut course, now) = course(None);
    task(course.next(now, 9));
    course.ended(carried(PairLog::FIRST, 0, Ending::Wait(Duration::from_secs(30), "full".to_owned())), now);
    assert_eq!(after(course.next(now, 9), now), Duration::from_secs(30));
    assert_eq!(after(course.next(now, 12), now), COUNT_GAP, "more has come");
    let later = now + COUNT_GAP;
    let count = task(course.next(later, 12));
    assert_eq!((count.most_events, course.flying()), (0, slots(&[])));
    course.ended(Carried { counted: 12, found: 3, ..carried(PairLog::FIRST, 0, Ending::Fine) }, later);
    assert_eq!((course.remaining(), after(course.next(later, 12), now)), (3, Duration::from_secs(30)));
    course.begin_anew();
    task(course.next(later, 12));
}

#[test]
fn what_is_too_large_is_halved_until_it_is_taken() {
    let (mut course, mut now) = course(None);
    for bytes in [BATCH_BYTES, BATCH_BYTES / 2, BATCH_BYTES / 4] {
        now += PAUSE.1;
        assert_eq!(task(course.next(now, 9)).most_bytes, bytes);
        course.ended(carried(PairLog::FIRST, 0, Ending::TooLarge("large".to_owned())), now);
    }
    now += PAUSE.1;
    task(course.next(now, 9));
    course.ended(carried(3, 1, Ending::Fine), now);
    assert_eq!(task(course.next(now, 9)).most_bytes, BATCH_BYTES);
}

#[test]
fn it_goes_no_faster_than_told() {
    let (mut course, now) = course(Some(100.0));
    assert_eq!(after(course.next(now, 9), now), COUNT_GAP.min(Duration::from_millis(125)));
    let ready = now + Duration::from_millis(130);
    assert_eq!(task(course.next(ready, 9)).most_events, 13);
    course.ended(Carried { found: 99, ..carried(4, 13, Ending::Fine) }, ready);
    assert!(course.is_held_back(ready) && after(course.next(ready, 9), ready) >= Duration::from_millis(120));
}
