//! The ways of events, by tables that the driver would have taken.

use std::time::Duration;

use super::*;
use crate::claims::Durable;
use crate::slots::{SLOTS, owner};
use signalbox_contract::Peer;

fn table(epoch: Epoch, shards: u32) -> RoutingTable {
    let peers =
        (0..2).map(|ordinal| Peer { ordinal, address: format!("shard-{ordinal}"), ..Peer::default() }).collect();
    RoutingTable {
        fleet: "orders".to_owned(),
        region: "eu".to_owned(),
        epoch,
        shards,
        peers,
        ..RoutingTable::default()
    }
}

/// Shard 0 of two, and what its driver would read.
fn shard() -> (Claiming, mpsc::Receiver<Heard>) {
    let all = Arc::new((0..SLOTS).collect());
    let (claims, _) = Claims::restart(0, 7, 1, all, Durable::default(), &[].into());
    Claiming::new(("orders".to_owned(), "eu".to_owned()), 0, 7, Arc::new(Shared::new(claims)))
}

fn step(claiming: &Claiming, input: Input) {
    claiming.shared.machine().step(input);
}

/// A shard that accepts everything, under epoch 1.
fn alone() -> Claiming {
    let (claiming, _) = shard();
    step(&claiming, Input::Table(Arc::new(table(1, 1))));
    step(&claiming, Input::Written);
    step(&claiming, Input::Message(1, Message::Sealed(1)));
    step(&claiming, Input::Written);
    claiming
}

/// A key of a slot that another shard owns when there are two, and one of a slot that stays.
fn keys() -> [Option<u64>; 2] {
    [1, 0].map(|of| (0..1024).find(|&hash| owner(slot_of(hash), 2) == of))
}

fn ways(claiming: &Claiming) -> Vec<Way> {
    let [moves, stays] = keys();
    claiming.route(&[moves, stays, None], None).ways
}

#[tokio::test]
async fn nothing_is_accepted_while_an_epoch_begins_and_what_is_others_is_passed_on_meanwhile() {
    let claiming = alone();
    assert_eq!(ways(&claiming), [Way::Here; 3]);
    let routes = claiming.route(&[keys()[0], None], None);
    step(&claiming, Input::Table(Arc::new(table(2, 2))));
    assert_eq!(ways(&claiming), [Way::Owner(1), Way::Hold, Way::Hold]);
    let again = claiming.route(&keys(), Some(1));
    assert_eq!((again.ways, again.epoch, again.admission.is_none()), (vec![Way::Redirect, Way::Hold], 2, true));
    assert!(claiming.shared.machine().claims.is_appending());
    drop(routes);
    assert!(!claiming.shared.machine().claims.is_appending());
    // The driver is woken, once.
    claiming.shared.drained.notified().await;
    step(&claiming, Input::Written);
    assert_eq!(ways(&claiming), [Way::Owner(1), Way::Here, Way::Here]);
}

#[tokio::test]
async fn who_was_told_to_wait_hears_of_every_change_since() {
    let claiming = alone();
    let routes = claiming.route(&keys(), None);
    let waiting = claiming.changed(routes.seen);
    let waits = tokio::time::timeout(Duration::from_millis(20), claiming.changed(routes.seen)).await;
    assert!(waits.is_err(), "nothing has changed");
    claiming.shared.changed();
    waiting.await;
    claiming.changed(routes.seen).await;
}

#[test]
fn a_table_of_another_fleet_is_refused_in_a_sentence_and_dropped_when_a_shard_says_it() {
    let (claiming, mut inbox) = shard();
    let foreign = RoutingTable { fleet: "bills".to_owned(), ..table(1, 1) };
    let sentence = claiming.push(foreign.clone()).unwrap_err();
    assert!(sentence.contains("bills/eu") && sentence.contains("orders/eu"), "{sentence}");
    let say = |from, message| claiming.heard(from, Parcel { message, sinks: Vec::new(), events: Vec::new() });
    say(1, Message::Seal(Arc::new(foreign.clone())));
    say(1, Message::Newer(Arc::new(foreign)));
    say(0, Message::Sealed(1));
    assert!(inbox.try_recv().is_err(), "and what it says to itself comes another way");
    say(1, Message::Sealed(1));
    claiming.push(table(1, 1)).unwrap();
    assert!(matches!(inbox.try_recv(), Ok(Heard::Parcel(1, _))) && matches!(inbox.try_recv(), Ok(Heard::Table(_))));
}

#[test]
fn who_says_too_much_is_not_heard_and_a_table_that_has_no_room_is_refused() {
    let (claiming, _inbox) = shard();
    for _ in 0..=INBOX {
        claiming.heard(1, Parcel { message: Message::Sealed(1), sinks: Vec::new(), events: Vec::new() });
    }
    assert!(claiming.push(table(1, 1)).unwrap_err().contains("push it again"));
}

#[test]
fn a_shard_says_what_is_on_its_disk_and_what_it_has_heard_of() {
    let (claiming, _) = shard();
    assert_eq!(claiming.report(), RoutingReport { log: 7, ..RoutingReport::default() });
    assert!(!claiming.has_table() && claiming.table().is_none());
    step(&claiming, Input::Table(Arc::new(table(3, 2))));
    let report = claiming.report();
    assert_eq!((report.epoch, report.highest_epoch), (0, 3));
    assert!(report.claiming > 300 && !claiming.has_table() && !report.empty);
    step(&claiming, Input::Written);
    assert!(claiming.has_table() && claiming.report().epoch == 3);
    assert_eq!(claiming.peer(1).unwrap().address, "shard-1");
    claiming.shared.machine().heard_of(9);
    assert_eq!(claiming.report().highest_epoch, 9);
    assert_eq!(claiming.standing(), Standing::Owner);
    let gone = RoutingTable { shards: 1, ..table(4, 1) };
    let all = Arc::new((0..SLOTS).collect());
    let (claims, _) = Claims::restart(1, 8, 1, all, Durable::default(), &[].into());
    let (other, _) = Claiming::new(("orders".to_owned(), "eu".to_owned()), 1, 8, Arc::new(Shared::new(claims)));
    step(&other, Input::Table(Arc::new(gone)));
    assert_eq!(other.standing(), Standing::Leaving);
}
