//! What a shard does with what another region gives, whatever it gives.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use signalbox_contract::{ShardConfig, SinkConfig};

use super::super::fixtures::{EPOCH, FakeOwners, FakeRouter, Fixture, config, event, table};
use super::super::passing::Came;
use super::super::{Outcome, Passed, Routing};
use super::Given;
use crate::serve::claiming::{Handed, Way};
use crate::serve::clock;
use crate::serve::log::{INHERITED, Origin, ShardLog as _, SinkSet, key_hash};
use crate::serve::metrics::Reject;
use crate::serve::shutdown::Phase;
use crate::serve::traffic;

/// The giver's sinks, in its order.
const SINKS: [&str; 2] = ["b", "a"];

/// An event of key "a" at this position of the giver's log, which waits for these of its sinks.
fn handed(position: u64, waiting: &[usize]) -> Handed {
    let id = (position % INHERITED).to_string();
    let origin = Origin { epoch: 0, log: 9, position };
    let waiting = waiting.iter().fold(SinkSet::default(), |all, &sink| all.with(sink));
    let (key, record) = (Some(key_hash("a")), event(&id, "a").record().clone());
    Handed { origin, accepted_at_us: 5, key, waiting, identity: 1, record }
}

fn given(events: Vec<Handed>) -> Given {
    let sinks = SINKS.map(str::to_owned).to_vec();
    Given { from: "us".to_owned(), to: "eu".to_owned(), log: 9, sinks, events }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_millis(50)
}

/// A shard with sinks "a" and "b" to which this way leads.
fn fixture(way: Way) -> (Fixture, Arc<FakeRouter>) {
    fixture_of(config(), way)
}

/// The same, which is configured like this otherwise.
fn fixture_of(mut config: ShardConfig, way: Way) -> (Fixture, Arc<FakeRouter>) {
    let router = FakeRouter::new(&[("a", way)]);
    config.sinks.push(SinkConfig { name: "b".to_owned(), ..config.sinks[0].clone() });
    let owners = FakeOwners::new(|_, _| Outcome::Unreachable("nobody is asked".to_owned()));
    (Fixture::new(config, router.clone(), owners), router)
}

#[tokio::test]
async fn an_event_keeps_its_time_and_goes_only_to_sinks_that_do_not_have_it() {
    let (fixture, router) = fixture(Way::Here);
    let events = vec![handed(1, &[0, 1]), handed(2, &[0]), handed(3, &[1])];
    assert_eq!(fixture.store.taken(given(events), soon()).await, Passed::Stored);
    let of = |sink| {
        let entries = fixture.log.unsettled(sink, 0, 10).unwrap().entries;
        entries.iter().map(|entry| (entry.position, entry.accepted_at_us)).collect::<Vec<_>>()
    };
    assert_eq!((of(0), of(1)), (vec![(0, 5), (2, 5)], vec![(0, 5), (1, 5)]));
    assert_eq!((*router.admitted.borrow(), fixture.metrics.between_regions()), (0, (0, 3)));
    assert_eq!(fixture.metrics.accepted_total(), 3);
}

#[tokio::test]
async fn what_comes_again_is_not_stored_again_though_it_comes_with_what_is_new() {
    let (fixture, _) = fixture(Way::Here);
    let batch = |positions: &[u64]| given(positions.iter().map(|&position| handed(position, &[0, 1])).collect());
    for positions in [&[INHERITED + 4, 1, 2][..], &[1, 2, 3], &[3], &[INHERITED + 4, INHERITED + 5, 3]] {
        assert_eq!(fixture.store.taken(batch(positions), soon()).await, Passed::Stored);
    }
    assert_eq!(fixture.stored(), ["4", "1", "2", "3", "5"]);
    let other = Given { log: 10, ..batch(&[1]) };
    assert_eq!(fixture.store.taken(other, soon()).await, Passed::Stored);
    assert_eq!(fixture.log.end(), 6, "the same place in another log is another event");
}

#[tokio::test]
async fn what_a_sink_unknown_here_waits_for_stays_where_it_is_and_all_that_came_with_it() {
    let (fixture, router) = fixture(Way::Here);
    let unknown =
        Given { sinks: vec!["b".to_owned(), "c".to_owned()], ..given(vec![handed(1, &[0]), handed(2, &[1])]) };
    let passed = fixture.store.taken(unknown.clone(), soon()).await;
    assert!(matches!(&passed, Passed::Later(why) if why.contains("no sink c")), "{passed:?}");
    assert_eq!((fixture.log.end(), *router.admitted.borrow()), (0, 0));
    let known = Given { events: vec![handed(1, &[0])], ..unknown };
    assert_eq!(fixture.store.taken(known, soon()).await, Passed::Stored, "it was not taken for stored");
    assert_eq!(fixture.stored(), Vec::<String>::new(), "it is not for sink a");
    assert_eq!(fixture.log.end(), 1);
}

#[tokio::test]
async fn who_does_not_own_the_key_says_who_does_and_who_does_not_know_yet_says_later() {
    let one = || given(vec![handed(1, &[0])]);
    let (fixture, router) = fixture(Way::Owner(2));
    assert_eq!(fixture.store.taken(one(), soon()).await, Passed::Redirect(Arc::new(table(EPOCH))));
    router.change(&[("a", Way::Hold)]);
    assert!(matches!(fixture.store.taken(one(), soon()).await, Passed::Later(why) if why.contains("taking over")));
    let (taken, ()) = tokio::join!(fixture.store.taken(one(), Instant::now() + Duration::from_secs(30)), async {
        tokio::task::yield_now().await;
        router.change(&[("a", Way::Here)]);
    });
    assert_eq!(taken, Passed::Stored);
    fixture.phase.send_replace(Phase::Draining);
    assert!(matches!(fixture.store.taken(one(), soon()).await, Passed::Later(why) if why.contains("stopping")));
}

#[tokio::test]
async fn without_room_the_giver_is_told_when_to_come_back_and_its_events_are_new_then() {
    let (fixture, _) = fixture(Way::Here);
    let large = Handed { record: Bytes::from(vec![0; 700_000]), ..handed(1, &[0]) };
    assert_eq!(fixture.store.taken(given(vec![large.clone()]), soon()).await, Passed::Stored);
    let next = Handed { origin: Origin { position: 2, ..large.origin }, ..large.clone() };
    let refused = fixture.store.taken(given(vec![next.clone()]), soon()).await;
    assert!(matches!(&refused, Passed::Refused(status, _, Some(_)) if status.as_u16() == 429), "{refused:?}");
    let too_large = fixture
        .store
        .taken(
            given(vec![next.clone(), Handed { origin: Origin { position: 3, ..next.origin }, ..next.clone() }]),
            soon(),
        )
        .await;
    assert!(matches!(&too_large, Passed::Refused(status, ..) if status.as_u16() == 413), "{too_large:?}");
    for entry in fixture.log.unsettled(1, 0, 1).unwrap().entries {
        fixture.log.settle(&[(0, entry), (1, entry)]).unwrap();
    }
    assert_eq!(fixture.store.taken(given(vec![next]), soon()).await, Passed::Stored);
    assert_eq!(fixture.log.end(), 2);
}

#[tokio::test]
async fn a_region_that_gives_events_away_takes_none() {
    let dir = tempfile::tempdir().unwrap();
    let (plain, router) = fixture(Way::Here);
    let traffic = traffic::Traffic::load(("orders", "eu"), dir.path().to_owned(), plain.metrics.clone()).unwrap();
    let traffic = Arc::new(traffic);
    let owners = FakeOwners::new(|_, _| Outcome::Stored);
    let routing = Routing::new(router, owners).with_traffic(traffic.clone());
    let fixture = plain.routed(routing);
    traffic.push(traffic::table(1, 900, 1)).await.unwrap();
    let refused = fixture.store.taken(given(vec![handed(1, &[0])]), soon()).await;
    assert!(matches!(refused, Passed::Later(why) if why.contains("gives events away")));
    traffic.push(traffic::table(2, 1000, 1)).await.unwrap();
    assert_eq!(fixture.store.taken(given(vec![handed(1, &[0])]), soon()).await, Passed::Stored);
}

/// What a producer sends of key "a".
async fn produced(fixture: &Fixture, id: &str) -> Result<(), u16> {
    let came = Came { at: Instant::now(), http1: true };
    fixture.store.produced(&[event(id, "a")], (), came).await.map_err(|rejection| rejection.status.as_u16())
}

#[tokio::test]
async fn what_comes_from_elsewhere_leaves_half_of_each_limit_to_producers() {
    let bytes = ShardConfig { backlog_limit_bytes: 4096, ..config() };
    let events = ShardConfig { backlog_limit_events: Some(8), ..config() };
    for limited in [bytes, events] {
        let (fixture, _) = fixture_of(limited, Way::Here);
        let mut taken = 0;
        let refused = loop {
            match fixture.store.taken(given(vec![handed(taken, &[0])]), soon()).await {
                Passed::Stored => taken += 1,
                refused => break refused,
            }
            assert!(taken < 64, "no end");
        };
        let Passed::Refused(status, sentence, Some(_)) = refused else { panic!("{refused:?}") };
        assert!(status.as_u16() == 429 && sentence.contains("half"), "{status} {sentence}");
        let counted = [Reject::BacklogFull, Reject::OtherRegion].map(|reason| fixture.metrics.rejected_total(reason));
        assert_eq!(counted, [0, 1], "no producer was refused, and nobody is to think so");
        assert!(taken > 0, "nothing was taken");
        // What was refused counts until the next look at the log.
        let patience = Instant::now() + Duration::from_secs(10);
        for id in 0..taken {
            while produced(&fixture, &(id % 10).to_string()).await.is_err() {
                assert!(Instant::now() < patience, "{taken} were taken, and there is room for {id} of producers");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
}

#[tokio::test]
async fn a_batch_of_more_than_half_a_limit_is_to_come_in_parts_and_one_event_alone_may_be_as_large() {
    let (fixture, _) = fixture_of(ShardConfig { backlog_limit_events: Some(4), ..config() }, Way::Here);
    let three = given((0..3).map(|position| handed(position, &[0])).collect());
    let refused = fixture.store.taken(three, soon()).await;
    assert!(matches!(&refused, Passed::Refused(status, ..) if status.as_u16() == 413), "{refused:?}");
    let (fixture, _) = fixture_of(ShardConfig { backlog_limit_events: Some(1), ..config() }, Way::Here);
    assert_eq!(fixture.store.taken(given(vec![handed(0, &[0])]), soon()).await, Passed::Stored);
}

#[tokio::test]
async fn a_giver_whose_clock_is_ahead_makes_no_producer_forgotten_that_tries_again() {
    let (fixture, _) = fixture_of(ShardConfig { duplicate_window_ms: 60_000, ..config() }, Way::Here);
    produced(&fixture, "own").await.unwrap();
    let ahead = Handed { accepted_at_us: clock::now_us() + 3_600_000_000, ..handed(1, &[0, 1]) };
    assert_eq!(fixture.store.taken(given(vec![ahead]), soon()).await, Passed::Stored);
    produced(&fixture, "own").await.unwrap();
    assert_eq!(fixture.stored(), ["own", "1"]);
    let entries = fixture.log.unsettled(0, 0, 10).unwrap().entries;
    assert!(entries.iter().all(|entry| entry.accepted_at_us <= clock::now_us()), "accepted in the future: {entries:?}");
}

#[tokio::test]
async fn what_finds_a_full_disk_stays_where_it_is_and_is_new_when_it_comes_again() {
    let (fixture, router) = fixture(Way::Here);
    fixture.disk.fill(true);
    let refused = fixture.store.taken(given(vec![handed(1, &[0])]), soon()).await;
    assert!(matches!(&refused, Passed::Refused(status, _, Some(1)) if status.as_u16() == 503), "{refused:?}");
    assert_eq!((fixture.log.end(), *router.admitted.borrow(), fixture.metrics.between_regions()), (0, 0, (0, 0)));
    fixture.disk.fill(false);
    assert_eq!(fixture.store.taken(given(vec![handed(1, &[0])]), soon()).await, Passed::Stored);
    assert_eq!((fixture.log.end(), fixture.metrics.between_regions()), (1, (0, 1)));
}

#[tokio::test]
async fn old_events_are_taken_though_the_oldest_here_is_too_old_for_producers() {
    let (fixture, _) = fixture_of(ShardConfig { backlog_limit_age_ms: Some(60_000), ..config() }, Way::Here);
    assert_eq!(fixture.store.taken(given(vec![handed(1, &[0])]), soon()).await, Passed::Stored);
    let patience = Instant::now() + Duration::from_secs(10);
    while produced(&fixture, "own").await.is_ok() {
        assert!(Instant::now() < patience, "no producer is refused");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(fixture.store.taken(given(vec![handed(2, &[0])]), soon()).await, Passed::Stored, "waiting helps nobody");
}
