//! What is written is read as it was, and whatever else comes is refused.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use signalbox_contract::{Peer, RoutingTable};

use super::{
    Address, Answers, Batch, PartAnswer, answers, batch, given, of_answers, of_batch, of_given, of_hello, of_parcel,
    parcel,
};
use crate::claims::{self, Message, Slots};
use crate::serve::claiming::{Handed, Parcel};
use crate::serve::ingest::Given;
use crate::serve::log::{Origin, SinkSet};

/// A time, where it does not matter.
const NOW: i64 = 1_700_000_000_000_000;

fn address() -> impl Strategy<Value = Address> {
    (".{0,8}", ".{0,8}", any::<u32>(), any::<u32>()).prop_map(|(fleet, region, from, to)| Address {
        fleet,
        region,
        from,
        to,
    })
}

fn table() -> impl Strategy<Value = RoutingTable> {
    let peer = (any::<u32>(), ".{0,20}", any::<u64>());
    let peer = peer.prop_map(|(ordinal, address, log)| Peer { ordinal, address, log });
    (".{0,8}", any::<u64>(), any::<u32>(), vec(peer, 0..4), vec(any::<u32>(), 0..3)).prop_map(
        |(fleet, epoch, shards, peers, lost)| RoutingTable {
            fleet,
            region: "eu".to_owned(),
            epoch,
            shards,
            peers,
            lost,
        },
    )
}

fn slots() -> impl Strategy<Value = Slots> {
    prop_oneof![btree_set(0..1024_u16, 0..20), Just((0..1024).collect())]
}

fn message() -> impl Strategy<Value = Message> {
    let number = (any::<u64>(), any::<u64>());
    let batch = number.prop_map(|(incarnation, number)| claims::Batch { incarnation, number });
    let table = table().prop_map(Arc::new).boxed();
    prop_oneof![
        table.clone().prop_map(Message::Seal),
        any::<u64>().prop_map(Message::Sealed),
        (any::<u64>(), batch.clone(), slots()).prop_map(|(epoch, batch, slots)| Message::Transfer(epoch, batch, slots)),
        (any::<u64>(), batch).prop_map(|(epoch, batch)| Message::Stored(epoch, batch)),
        (any::<u64>(), slots()).prop_map(|(epoch, slots)| Message::Done(epoch, slots)),
        table.prop_map(Message::Newer),
    ]
}

fn record() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn handed() -> impl Strategy<Value = Handed> {
    let origin = (any::<u64>(), any::<u64>(), any::<u64>());
    let rest = (any::<i64>(), any::<Option<u64>>(), vec(0..64_usize, 0..5), any::<u128>(), record());
    (origin, rest).prop_map(|((epoch, log, position), (accepted_at_us, key, sinks, identity, record))| Handed {
        origin: Origin { epoch, log, position },
        accepted_at_us,
        key,
        waiting: sinks.into_iter().fold(SinkSet::default(), SinkSet::with),
        identity,
        record,
    })
}

fn answer() -> impl Strategy<Value = PartAnswer> {
    prop_oneof![
        Just(PartAnswer::Stored),
        Just(PartAnswer::Redirect),
        (any::<u16>(), ".{0,20}", any::<Option<u64>>()).prop_map(|(status, sentence, seconds)| PartAnswer::Refused {
            status,
            sentence,
            seconds
        }),
        ".{0,20}".prop_map(PartAnswer::Later),
    ]
}

proptest! {
    #[test]
    fn a_message_comes_out_as_it_went_in_and_no_part_of_it_does(
        address in address(),
        message in message(),
        sinks in vec(".{0,8}", 0..3),
        events in vec(handed(), 0..5),
        cut in any::<prop::sample::Index>(),
    ) {
        let said = Parcel { message, sinks, events };
        let body = of_parcel(&address, &said, NOW);
        prop_assert_eq!(parcel(body.clone(), NOW).unwrap(), (address.clone(), Some(said.clone())));
        let short = parcel(body.slice(..cut.index(body.len())), NOW);
        prop_assert!(short.map_or(true, |(_, less)| less.unwrap().events.len() < said.events.len()));
        prop_assert_eq!(parcel(of_hello(&address), NOW).unwrap(), (address, None));
    }

    #[test]
    fn events_come_out_as_they_went_in_and_neither_less_nor_more_of_them(
        address in address(),
        epoch in any::<u64>(),
        parts in vec(vec(record(), 0..4), 0..5),
        cut in any::<prop::sample::Index>(),
    ) {
        let passed = Batch { epoch, parts };
        let body = of_batch(&address, &passed);
        prop_assert_eq!(batch(body.clone()).unwrap(), (address, passed));
        prop_assert!(batch(body.slice(..cut.index(body.len()))).is_err());
        prop_assert!(batch([&body[..], b"x"].concat().into()).is_err());
    }

    #[test]
    fn what_is_given_to_another_region_comes_out_as_it_went_in_and_no_part_of_it_does(
        names in vec(".{0,8}", 4..7),
        log in any::<u64>(),
        events in vec(handed(), 0..5),
        cut in any::<prop::sample::Index>(),
    ) {
        let [fleet, from, to] = [0, 1, 2].map(|at| names[at].clone());
        let mut said = Given { from, to, log, sinks: names[3..].to_vec(), events };
        for event in &mut said.events {
            let named = event.waiting.iter().map(|sink| sink % said.sinks.len());
            event.waiting = named.fold(SinkSet::default(), SinkSet::with);
        }
        let body = of_given(&fleet, &said, NOW);
        prop_assert_eq!(given(body.clone(), NOW).unwrap(), (fleet, said.clone()));
        let short = given(body.slice(..cut.index(body.len())), NOW);
        prop_assert!(short.map_or(true, |(_, less)| less.events.len() < said.events.len()));
    }

    #[test]
    fn what_waits_for_a_sink_that_the_giver_does_not_name_is_refused(event in handed(), named in 0..4_usize) {
        let (fleet, from, to) = ("orders".to_owned(), "us".to_owned(), "eu".to_owned());
        let sinks: Vec<_> = (0..named).map(|at| at.to_string()).collect();
        let is_known = event.waiting.iter().all(|sink| sink < named);
        let body = of_given(&fleet, &Given { from, to, log: 1, sinks, events: vec![event] }, NOW);
        prop_assert_eq!(given(body, NOW).is_ok(), is_known);
    }

    #[test]
    fn an_event_is_as_old_where_it_is_read_as_where_it_was_written_however_far_the_clocks_are_apart(
        address in address(),
        message in message(),
        event in handed(),
        age in 0..NOW,
        theirs in 0..NOW,
    ) {
        let event = Handed { accepted_at_us: theirs - age, ..event };
        let said = Parcel { message, sinks: Vec::new(), events: vec![event.clone()] };
        let (_, read) = parcel(of_parcel(&address, &said, theirs), NOW).unwrap();
        prop_assert_eq!(NOW - read.unwrap().events[0].accepted_at_us, age);
        let [from, to] = ["a", "b"].map(str::to_owned);
        let event = Handed { waiting: SinkSet::default(), ..event };
        let said = Given { from, to, log: 1, sinks: Vec::new(), events: vec![event] };
        let (_, read) = given(of_given("f", &said, theirs), NOW).unwrap();
        prop_assert_eq!(NOW - read.events[0].accepted_at_us, age);
    }

    #[test]
    fn answers_come_out_as_they_went_in(table in table(), parts in vec(answer(), 0..6)) {
        let said = Answers { table: Some(table), parts };
        prop_assert_eq!(answers(&of_answers(&said)).unwrap(), said);
    }

    #[test]
    fn whatever_bytes_come_in_the_answer_is_a_sentence(
        bytes in vec(any::<u8>(), 0..200),
        at in any::<prop::sample::Index>(),
        message in message(),
        events in vec(handed(), 0..3),
    ) {
        let mut behind = vec![1, 2, 0, 0, 0, b'{', b'}'];
        behind.extend_from_slice(&bytes);
        let address = Address { fleet: String::new(), region: String::new(), from: 0, to: 1 };
        let mut changed = of_parcel(&address, &Parcel { message, sinks: Vec::new(), events }, NOW).to_vec();
        let at = at.index(changed.len());
        changed.splice(at..at, bytes.iter().copied());
        for body in [bytes, behind, changed] {
            let body = Bytes::from(body);
            let _ = (parcel(body.clone(), NOW), batch(body.clone()), given(body.clone(), NOW), answers(&body));
        }
    }
}

#[test]
fn another_version_is_refused_and_says_so() {
    let address = Address { fleet: "orders".to_owned(), region: "eu".to_owned(), from: 0, to: 1 };
    let said = Parcel { message: Message::Sealed(3), sinks: Vec::new(), events: Vec::new() };
    let mut body = of_parcel(&address, &said, NOW).to_vec();
    body[0] = 2;
    let sentence = parcel(body.clone().into(), NOW).unwrap_err().to_string();
    assert!(sentence.contains("version 2") && sentence.contains("version 1"), "{sentence}");
    assert_eq!(batch(body.into()).unwrap_err().to_string(), sentence);
}

#[test]
fn what_a_later_version_adds_to_a_head_is_ignored_and_what_sizes_promise_is_not_believed() {
    let head = br#"{"fleet":"f","region":"r","from":1,"to":0,"epoch":4,"parts":[1],"later":true}"#;
    let mut body = vec![1, u8::try_from(head.len()).unwrap(), 0, 0, 0];
    body.extend_from_slice(head);
    body.extend_from_slice(&[3, 0, 0, 0, b'a', b'b', b'c']);
    let (_, read) = batch(body.clone().into()).unwrap();
    assert_eq!(read, Batch { epoch: 4, parts: vec![vec![Bytes::from_static(b"abc")]] });
    let many = String::from_utf8(body[5..5 + head.len()].to_vec()).unwrap().replace("[1]", "[4294967295]");
    let mut body = vec![1, u8::try_from(many.len()).unwrap(), 0, 0, 0];
    body.extend_from_slice(many.as_bytes());
    assert!(batch(body.into()).unwrap_err().to_string().contains("cut off"));
    assert!(batch(Bytes::from_static(&[1, 255, 255, 255, 255])).unwrap_err().to_string().contains("head"));
}

#[test]
fn from_a_shard_that_does_not_say_what_time_it_is_times_are_taken_as_they_are() {
    let head = br#"{"fleet":"f","from":"a","to":"b","log":1,"sinks":["s"]}"#;
    let (origin, waiting) = (Origin { epoch: 0, log: 1, position: 2 }, SinkSet::default().with(0));
    let event =
        Handed { origin, accepted_at_us: 42, key: None, waiting, identity: 3, record: Bytes::from_static(b"e") };
    let mut body = BytesMut::from(&[1, u8::try_from(head.len()).unwrap(), 0, 0, 0][..]);
    body.extend_from_slice(head);
    super::records::put_handed(&mut body, &event);
    assert_eq!(given(body.freeze(), NOW).unwrap().1.events, [event]);
}

#[test]
fn a_redirect_without_a_table_is_no_answer() {
    let said = Answers { table: None, parts: vec![PartAnswer::Redirect] };
    assert!(answers(&of_answers(&said)).is_err());
    assert!(answers(br#"{"parts":["stored",{"later":"stopping"}]}"#).is_ok());
}
