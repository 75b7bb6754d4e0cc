//! The contract of dead letters as tests.

use bytes::Bytes;

use super::filter::{Filter, Params};
use super::letter::{LetterHead, LetterKey};
use super::store::Store;
use super::{BuryError, DeadLetters, NewDeadLetter, Reason};
use crate::event::{self, Event};

const ROOM: u64 = 1_000_000;

/// A letter of an event with this position as its id.
pub(in crate::serve) fn letter(sink: &str, position: u64) -> NewDeadLetter {
    let id = position.to_string();
    let attributes = [("id", id.as_str()), ("source", "/shop"), ("specversion", "1.0"), ("type", "order.created")];
    let attributes = attributes.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    NewDeadLetter {
        sink: sink.to_owned(),
        position,
        key: None,
        accepted_at_us: 1_000_000,
        reason: Reason::AttemptsExhausted,
        attempts: 8,
        last_answer: "answered 400".to_owned(),
        record: event::encode(&Event { attributes, data: Bytes::from(format!("data {position}")) }).unwrap(),
    }
}

fn filter(pairs: &[(&str, &str)]) -> Filter {
    let pairs = pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    Params::new(pairs).filter().unwrap()
}

fn scan(store: &Store, pairs: &[(&str, &str)], after: Option<&LetterKey>) -> Vec<(LetterKey, LetterHead)> {
    store.scan(&filter(pairs), after).map(Result::unwrap).collect()
}

fn all(letters: &DeadLetters) -> Vec<String> {
    let store = letters.shelf.store();
    store.map_or_else(Vec::new, |store| scan(store, &[], None).iter().map(|(key, _)| key.id()).collect())
}

#[tokio::test]
async fn a_letter_that_was_buried_is_there_after_a_crash_with_all_that_is_known_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let letters = DeadLetters::open(dir.path(), ROOM).unwrap();
    letters.bury(letter("a", 7)).await.unwrap();
    // What a kill leaves: the files as they are now. The store is still open, and not told to close.
    let crashed = tempfile::tempdir().unwrap();
    copy(dir.path(), crashed.path());
    let again = DeadLetters::open(crashed.path(), ROOM).unwrap();
    assert_eq!(again.totals(), letters.totals());
    let store = again.shelf.store().unwrap();
    let key = LetterKey { sink: "a".to_owned(), position: 7 };
    let (_, head) = scan(store, &[("id", "a.7")], None).pop().unwrap();
    let event = head.event.unwrap();
    assert_eq!((event.id.as_str(), event.kind.as_str(), head.attempts), ("7", "order.created", 8));
    assert_eq!(head.last_answer, "answered 400");
    assert_eq!(store.record(&key).unwrap().unwrap(), letter("a", 7).record);
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn burying_twice_is_burying_once_at_once_or_later() {
    let dir = tempfile::tempdir().unwrap();
    let letters = DeadLetters::open(dir.path(), ROOM).unwrap();
    let same = (0..20).map(|_| letters.bury(letter("a", 7)));
    futures::future::try_join_all(same).await.unwrap();
    letters.bury(letter("b", 7)).await.unwrap();
    let before = letters.totals();
    drop(letters);
    let letters = reopened(dir.path()).await;
    letters.bury(letter("a", 7)).await.unwrap();
    assert_eq!(letters.totals(), before);
    assert_eq!(all(&letters), ["a.7", "b.7"]);
}

/// Opens it again once the thread of the one before has let go.
async fn reopened(dir: &std::path::Path) -> DeadLetters {
    for _ in 0..500 {
        if let Ok(letters) = DeadLetters::open(dir, ROOM) {
            return letters;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the store was not let go");
}

#[tokio::test]
async fn letters_take_no_more_than_their_limit_and_there_is_room_again_when_one_goes() {
    let dir = tempfile::tempdir().unwrap();
    let one = {
        let measure = tempfile::tempdir().unwrap();
        let letters = DeadLetters::open(measure.path(), ROOM).unwrap();
        letters.bury(letter("a", 1)).await.unwrap();
        letters.totals().bytes()
    };
    let letters = DeadLetters::open(dir.path(), 3 * one).unwrap();
    let results = futures::future::join_all((1..=5).map(|n| letters.bury(letter("a", n)))).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 3);
    assert_eq!(results[4], Err(BuryError::Full(3 * one)));
    letters.bury(letter("a", 1)).await.unwrap();
    assert_eq!(letters.totals().bytes(), 3 * one);
    let key = LetterKey { sink: "a".to_owned(), position: 1 };
    let gone = letters.remove(vec![key.clone(), key.clone(), LetterKey { position: 99, ..key }], None).await;
    assert_eq!(gone, Ok(1));
    letters.bury(letter("a", 5)).await.unwrap();
    assert_eq!(all(&letters), ["a.2", "a.3", "a.5"]);
}

#[tokio::test]
async fn a_shard_that_keeps_no_letters_or_has_none_makes_no_store() {
    let dir = tempfile::tempdir().unwrap();
    let letters = DeadLetters::open(dir.path(), 0).unwrap();
    assert_eq!(letters.bury(letter("a", 1)).await, Err(BuryError::Full(0)));
    assert_eq!(letters.remove(vec![LetterKey { sink: "a".to_owned(), position: 1 }], None).await, Ok(0));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_store_that_was_being_made_when_the_process_died_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    // As a crash leaves it that comes before the store's own marker: it could not be opened.
    std::fs::create_dir(dir.path().join("dead-letters.new")).unwrap();
    std::fs::write(dir.path().join("dead-letters.new/0.jnl"), "").unwrap();
    let letters = DeadLetters::open(dir.path(), ROOM).unwrap();
    letters.bury(letter("a", 1)).await.unwrap();
    assert_eq!(all(&letters), ["a.1"]);
}

#[tokio::test]
async fn a_log_that_was_made_anew_loses_no_event_to_the_letters_of_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let letters = DeadLetters::open(dir.path(), ROOM).unwrap();
    letters.bury(letter("a", 1)).await.unwrap();
    let other = NewDeadLetter { accepted_at_us: 2_000_000, ..letter("a", 1) };
    let refused = letters.bury(other.clone()).await.unwrap_err().to_string();
    assert!(refused.contains("replay or delete that one"), "{refused}");
    letters.remove(vec![LetterKey { sink: "a".to_owned(), position: 1 }], None).await.unwrap();
    letters.bury(other).await.unwrap();
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_kept_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let letters = DeadLetters::open(dir.path(), ROOM).unwrap();
    let record = Bytes::from_static(b"\xffnot an event");
    letters.bury(NewDeadLetter { reason: Reason::Unreadable, record, ..letter("a", 1) }).await.unwrap();
    let page = scan(letters.shelf.store().unwrap(), &[], None);
    assert_eq!((page[0].1.event.as_ref(), page[0].1.record_bytes), (None, 13));
}

#[tokio::test]
async fn pages_follow_each_other_within_a_sink_and_across() {
    let dir = tempfile::tempdir().unwrap();
    let letters = DeadLetters::open(dir.path(), ROOM).unwrap();
    for (sink, position) in [("b", 1), ("a", 300), ("a", 2), ("a.b", 1), ("b", 256)] {
        letters.bury(letter(sink, position)).await.unwrap();
    }
    let store = letters.shelf.store().unwrap();
    let mut seen = Vec::new();
    let mut after: Option<LetterKey> = None;
    while let Some((key, _)) = scan(store, &[], after.as_ref()).first() {
        seen.push(key.id());
        after = Some(key.clone());
    }
    assert_eq!(seen, ["a.2", "a.300", "a.b.1", "b.1", "b.256"]);
    let ids = |pairs: &[(&str, &str)], after: Option<&LetterKey>| -> Vec<String> {
        scan(store, pairs, after).iter().map(|(key, _)| key.id()).collect()
    };
    assert_eq!(ids(&[("sink", "a")], None), ["a.2", "a.300"]);
    assert_eq!(ids(&[("sink", "b")], after.as_ref()), [""; 0]);
    assert_eq!(ids(&[("sink", "a.b")], Some(&LetterKey { sink: "a".to_owned(), position: 300 })), ["a.b.1"]);
    assert_eq!(ids(&[("id", "b.1")], None), ["b.1"]);
    assert_eq!(ids(&[("id", "b.1"), ("sink", "a")], None), [""; 0]);
}
