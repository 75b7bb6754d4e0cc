//! Which way events go, and what a producer is told, whatever the owners do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;

use super::super::fixtures::{EPOCH, FakeOwners, FakeRouter, Fixture, config, event, table};
use super::{Came, Outcome, PATIENCE, Passed, Rejection};
use crate::claims::Message;
use crate::event::Event;
use crate::serve::claiming::Way;

/// A test that waits for longer than this would wait for ever.
const LONG: Duration = Duration::from_secs(30);

fn away() -> Outcome {
    Outcome::Unreachable("connection refused".to_owned())
}

async fn produced(
    fixture: &Fixture,
    events: &[Event],
    since: Instant,
) -> Result<(), (StatusCode, String, Option<u64>)> {
    tokio::time::timeout(LONG, fixture.store.produced(events, (), Came { at: since, http1: false }))
        .await
        .unwrap()
        .map_err(Rejection::told)
}

#[tokio::test]
async fn what_is_here_is_stored_with_one_question_and_admitted_until_it_is_on_disk() {
    let router = FakeRouter::new(&[("a", Way::Here), ("b", Way::Here)]);
    let owners = FakeOwners::new(|_, _| panic!("nobody else is asked"));
    let fixture = Fixture::new(config(), router.clone(), owners);
    produced(&fixture, &[event("1", "a"), event("2", "b")], Instant::now()).await.unwrap();
    assert_eq!(fixture.stored(), ["1", "2"]);
    assert_eq!((*router.asked.lock().unwrap(), *router.admitted.borrow()), (1, 0));
    assert_eq!(fixture.metrics.accepted_total(), 2);
}

#[tokio::test]
async fn an_admission_lasts_until_the_events_are_on_disk_even_if_the_producer_goes_away() {
    let router = FakeRouter::new(&[("a", Way::Here)]);
    let fixture = Fixture::new(config(), router.clone(), FakeOwners::new(|_, _| away()));
    let came = Came { at: Instant::now(), http1: true };
    // Polled once and dropped, as when a connection breaks.
    let stored = futures::FutureExt::now_or_never(fixture.store.produced(&[event("1", "a")], (), came));
    let mut admitted = router.admitted.subscribe();
    tokio::time::timeout(LONG, admitted.wait_for(|admitted| *admitted == 0)).await.unwrap().unwrap();
    assert_eq!(fixture.stored(), ["1"], "{:?}", stored.map(|stored| stored.is_ok()));
}

#[tokio::test]
async fn an_event_is_held_while_its_owner_is_away_and_passed_on_when_it_is_back() {
    let router = FakeRouter::new(&[("a", Way::Owner(2))]);
    let owners = FakeOwners::new(|_, before| if before < 3 { away() } else { Outcome::Stored });
    let fixture = Fixture::new(config(), router, owners.clone());
    produced(&fixture, &[event("1", "a")], Instant::now()).await.unwrap();
    assert_eq!(owners.asked.lock().unwrap().len(), 4);
    assert!(fixture.stored().is_empty());
    let metrics = fixture.metrics.text(None, 0).unwrap();
    for line in ["handed_over_total 1", "accepted_total 0", "held 0"] {
        assert!(metrics.contains(&format!("signalbox_dispatcher_{line}\n")), "{metrics}");
    }
}

#[tokio::test]
async fn after_the_patience_the_answer_names_the_owner_that_stayed_away() {
    let since = Instant::now().checked_sub(PATIENCE.checked_sub(Duration::from_millis(200)).unwrap()).unwrap();
    let router = FakeRouter::new(&[("a", Way::Owner(2))]);
    let fixture = Fixture::new(config(), router.clone(), FakeOwners::new(|_, _| away()));
    let (status, sentence, seconds) = produced(&fixture, &[event("1", "a")], since).await.unwrap_err();
    assert_eq!((status, seconds), (StatusCode::SERVICE_UNAVAILABLE, Some(1)));
    assert!(sentence.contains("shard 2 owns") && sentence.contains("connection refused"), "{sentence}");
    // Nobody accepts it yet: the owner is known all the same.
    router.change(&[]);
    let (status, sentence, _) = produced(&fixture, &[event("1", "a")], since).await.unwrap_err();
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(sentence.contains("has not taken it over") && sentence.contains("shard"), "{sentence}");
}

#[tokio::test]
async fn a_redirect_teaches_the_table_and_the_event_goes_to_the_new_owner() {
    let router = FakeRouter::new(&[("a", Way::Owner(1))]);
    let newer = Arc::new(table(EPOCH + 1));
    let redirect = Outcome::Redirect(newer.clone());
    let owners = FakeOwners::new(move |owner, _| if owner == 1 { redirect.clone() } else { Outcome::Stored });
    let fixture = Fixture::new(config(), router.clone(), owners.clone());
    let learns = async {
        while router.heard.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        router.change(&[("a", Way::Owner(2))]);
    };
    let events = [event("1", "a")];
    let (stored, ()) = tokio::join!(produced(&fixture, &events, Instant::now()), learns);
    stored.unwrap();
    assert_eq!(owners.asked.lock().unwrap().last().unwrap().0, 2);
    let heard = router.heard.lock().unwrap();
    assert!(heard.iter().all(|(from, parcel)| *from == 1 && parcel.message == Message::Newer(newer.clone())));
}

#[tokio::test]
async fn of_a_request_for_three_owners_what_is_stored_is_not_sent_again() {
    let router = FakeRouter::new(&[("a", Way::Here), ("b", Way::Owner(1)), ("c", Way::Owner(2))]);
    let owners = FakeOwners::new(|owner, before| if owner == 2 && before < 2 { away() } else { Outcome::Stored });
    let fixture = Fixture::new(config(), router.clone(), owners.clone());
    let events = [("1", "c"), ("2", "a"), ("3", "b"), ("4", "c"), ("5", "b"), ("6", "a")];
    let events = events.map(|(id, key)| event(id, key));
    produced(&fixture, &events, Instant::now()).await.unwrap();
    assert_eq!(fixture.stored(), ["2", "6"]);
    let asked = owners.asked.lock().unwrap();
    let of = |owner| asked.iter().filter(|(to, _)| *to == owner).map(|(_, ids)| ids.join(" ")).collect::<Vec<_>>();
    assert_eq!((of(1), of(2)), (vec!["3 5".to_owned()], vec!["1 4".to_owned(); 3]));
    assert_eq!(*router.admitted.borrow(), 0);
}

#[tokio::test]
async fn what_the_owner_refuses_is_refused_with_its_words() {
    let router = FakeRouter::new(&[("a", Way::Owner(1))]);
    let owners = FakeOwners::new(|_, _| Outcome::Refused {
        status: StatusCode::TOO_MANY_REQUESTS,
        sentence: "the backlog is full".to_owned(),
        seconds: Some(7),
    });
    let fixture = Fixture::new(config(), router, owners);
    let refused = produced(&fixture, &[event("1", "a")], Instant::now()).await.unwrap_err();
    assert_eq!(refused, (StatusCode::TOO_MANY_REQUESTS, "the backlog is full".to_owned(), Some(7)));
}

#[tokio::test]
async fn a_request_without_room_here_is_refused_before_anything_of_it_is_sent_elsewhere() {
    let router = FakeRouter::new(&[("a", Way::Here), ("b", Way::Owner(1))]);
    let owners = FakeOwners::new(|_, _| panic!("nobody else is asked"));
    let mut config = config();
    config.backlog_limit_bytes = 10;
    let fixture = Fixture::new(config, router.clone(), owners);
    let refused = produced(&fixture, &[event("1", "a"), event("2", "b")], Instant::now()).await.unwrap_err();
    assert_eq!(refused.0, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(*router.admitted.borrow(), 0);
}

#[tokio::test]
async fn a_shard_that_stops_lets_nobody_wait() {
    let router = FakeRouter::new(&[("a", Way::Owner(1)), ("b", Way::Here)]);
    let fixture = Fixture::new(config(), router.clone(), FakeOwners::new(|_, _| away()));
    let stops = async {
        while *router.asked.lock().unwrap() == 0 {
            tokio::task::yield_now().await;
        }
        fixture.phase.send_replace(crate::serve::shutdown::Phase::Draining);
    };
    let events = [event("1", "a")];
    let (stored, ()) = tokio::join!(produced(&fixture, &events, Instant::now()), stops);
    assert!(stored.unwrap_err().1.contains("stopping"));
    let passed = fixture.store.passed(&[event("2", "b")], EPOCH, Instant::now() + LONG).await;
    assert_eq!(passed, Passed::Later("it is stopping".to_owned()));
    assert!(fixture.stored().is_empty());
}

#[tokio::test]
async fn what_is_passed_on_is_stored_whole_when_all_of_it_may_be_and_not_before() {
    let router = FakeRouter::new(&[("a", Way::Here)]);
    let fixture = Fixture::new(config(), router.clone(), FakeOwners::new(|_, _| panic!("it is not passed on again")));
    let events = [event("1", "a"), event("2", "b")];
    let soon = Instant::now() + Duration::from_millis(100);
    let passed = fixture.store.passed(&events, EPOCH, soon).await;
    assert_eq!(passed, Passed::Later("it is still taking over the key".to_owned()));
    assert!(fixture.stored().is_empty());
    assert_eq!(*router.admitted.borrow(), 0, "nobody waits for what is not stored");
    let opens = async {
        while *router.asked.lock().unwrap() < 4 {
            tokio::task::yield_now().await;
        }
        router.change(&[("a", Way::Here), ("b", Way::Here)]);
    };
    let (passed, ()) = tokio::join!(fixture.store.passed(&events, EPOCH, Instant::now() + LONG), opens);
    assert_eq!(passed, Passed::Stored);
    assert_eq!(fixture.stored(), ["1", "2"]);
}

#[tokio::test]
async fn what_is_passed_on_to_a_shard_that_does_not_own_it_any_more_comes_back_with_its_table() {
    let router = FakeRouter::new(&[("a", Way::Here), ("b", Way::Redirect)]);
    let fixture = Fixture::new(config(), router, FakeOwners::new(|_, _| away()));
    let passed = fixture.store.passed(&[event("1", "a"), event("2", "b")], EPOCH, Instant::now() + LONG).await;
    assert_eq!(passed, Passed::Redirect(Arc::new(table(EPOCH))));
    assert!(fixture.stored().is_empty());
}

#[tokio::test]
async fn a_shard_whose_disk_is_full_says_so_to_the_producer_and_one_whose_log_has_failed_says_later() {
    let router = FakeRouter::new(&[("a", Way::Here)]);
    let fixture = Fixture::new(config(), router, FakeOwners::new(|_, _| away()));
    let passed = async || fixture.store.passed(&[event("1", "a")], EPOCH, Instant::now() + LONG).await;
    fixture.disk.fill(true);
    assert!(matches!(passed().await, Passed::Refused(StatusCode::SERVICE_UNAVAILABLE, _, Some(1))));
    fixture.disk.fill(false);
    fixture.disk.fail();
    assert!(matches!(passed().await, Passed::Later(_)));
}
