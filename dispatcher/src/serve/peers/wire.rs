//! How shards write to each other. Pure; whatever bytes come in, the answer is what they say or a sentence.
//!
//! ```text
//! body      version u8 = 1, length u32, head (JSON), records
//! message   head: from whom to whom, the message, the names of sinks; a record per event that is handed over
//! hello     the same without a message
//! events    head: from whom to whom, the epoch, events of each part; a record per event
//! given     head: the fleet, from which region to which, the log, the names of sinks; a record per event, as of a message
//! answer    JSON: the newer table if one is needed, and what became of each part
//! record    of a message, or given: origin, time, key, sinks, identity, then as of events: length u32, bytes    little endian
//! ```
//!
//! What a reader does not know in the head, it ignores; what it must understand gets another version.
//!
//! Clocks of shards may be hours apart, and an event must not grow old, or young, by changing hands. So the head says what
//! time it is where it was written, and the reader takes the times of records from there to its own clock.

mod head;
mod records;

use bytes::{BufMut as _, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use signalbox_contract::RoutingTable;

use crate::claims::Epoch;
use crate::serve::claiming::{Handed, Parcel};
use crate::serve::ingest::Given;

pub(super) use head::{Address, PartAnswer};

/// The version that is written and read.
const VERSION: u8 = 1;

/// Bytes before the head.
const PREFIX_BYTES: usize = 5;

/// Most bytes of a head: a table of a thousand shards has a tenth of it.
const MAX_HEAD_BYTES: usize = 1 << 20;

/// Most parts of one batch of events.
pub(super) const MAX_PARTS: usize = 4096;

/// What came in makes no sense here. A sentence for who sent it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unread(String);

fn unread(sentence: impl Into<String>) -> Unread {
    Unread(sentence.into())
}

/// Events that are passed on to their owner. Each part is stored whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    /// The epoch that the giver goes by.
    pub(super) epoch: Epoch,
    /// The encoded events of each part.
    pub(super) parts: Vec<Vec<Bytes>>,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answers {
    /// For those that go by an older one: see [`PartAnswer::Redirect`].
    pub(super) table: Option<RoutingTable>,
    /// In the order of the parts.
    pub(super) parts: Vec<PartAnswer>,
}

/// The body of a hello.
pub(super) fn of_hello(address: &Address) -> Bytes {
    begin(&head::Said { address: address.clone(), message: None, sinks: Vec::new(), now_us: None }).freeze()
}

/// The body of a message. `now_us` is this shard's time, in microseconds since 1970.
pub(super) fn of_parcel(address: &Address, parcel: &Parcel, now_us: i64) -> Bytes {
    let (address, message, sinks) = (address.clone(), Some((&parcel.message).into()), parcel.sinks.clone());
    let mut out = begin(&head::Said { address, message, sinks, now_us: Some(now_us) });
    parcel.events.iter().for_each(|event| records::put_handed(&mut out, event));
    out.freeze()
}

/// What [`of_parcel`] has written, or [`of_hello`], by the clock of this shard, on which it is `now_us`.
pub(super) fn parcel(body: Bytes, now_us: i64) -> Result<(Address, Option<Parcel>), Unread> {
    let (head, rest) = split::<head::Said>(body)?;
    let Some(message) = head.message else { return Ok((head.address, None)) };
    let message = message.read()?;
    let events = handed(rest, head.now_us, now_us)?;
    Ok((head.address, Some(Parcel { message, sinks: head.sinks, events })))
}

/// The body of a batch of events.
pub(super) fn of_batch(address: &Address, batch: &Batch) -> Bytes {
    let parts = batch.parts.iter().map(|part| u32::try_from(part.len()).unwrap_or(u32::MAX)).collect();
    let mut out = begin(&head::Passed { address: address.clone(), epoch: batch.epoch, parts });
    batch.parts.iter().flatten().for_each(|event| records::put_event(&mut out, event));
    out.freeze()
}

/// What [`of_batch`] has written.
pub(super) fn batch(body: Bytes) -> Result<(Address, Batch), Unread> {
    let (head, mut rest) = split::<head::Passed>(body)?;
    if head.parts.len() > MAX_PARTS {
        return Err(unread(format!("it has {} parts: send at most {MAX_PARTS}", head.parts.len())));
    }
    let mut parts = Vec::with_capacity(head.parts.len());
    for events in head.parts {
        let part: Option<Vec<Bytes>> = (0..events).map(|_| records::take_event(&mut rest)).collect();
        parts.push(part.ok_or_else(|| unread("an event in it is cut off"))?);
    }
    if rest.is_empty() {
        Ok((head.address, Batch { epoch: head.epoch, parts }))
    } else {
        Err(unread("there is more in it than its head says"))
    }
}

/// The body of what is given to another region. `now_us` is this shard's time.
pub(super) fn of_given(fleet: &str, given: &Given, now_us: i64) -> Bytes {
    let (fleet, from, to) = (fleet.to_owned(), given.from.clone(), given.to.clone());
    let (log, sinks) = (given.log, given.sinks.clone());
    let mut out = begin(&head::GivenAway { fleet, from, to, log, sinks, now_us: Some(now_us) });
    given.events.iter().for_each(|event| records::put_handed(&mut out, event));
    out.freeze()
}

/// What [`of_given`] has written, by the clock of this shard: for which fleet, and what.
pub(super) fn given(body: Bytes, now_us: i64) -> Result<(String, Given), Unread> {
    let (head, rest) = split::<head::GivenAway>(body)?;
    let events = handed(rest, head.now_us, now_us)?;
    let head::GivenAway { fleet, from, to, log, sinks, .. } = head;
    // Stored without that sink, it would be lost for it.
    if events.iter().any(|event| event.waiting.iter().any(|sink| sink >= sinks.len())) {
        return Err(unread("an event in it waits for a sink that it does not name"));
    }
    Ok((fleet, Given { from, to, log, sinks, events }))
}

/// Events with what they bring along, from a shard on whose clock it was `theirs`, if it says so, to one where it is `ours`.
fn handed(mut rest: Bytes, theirs: Option<i64>, ours: i64) -> Result<Vec<Handed>, Unread> {
    let apart = theirs.map_or(0, |theirs| ours.saturating_sub(theirs));
    let mut events = Vec::new();
    while !rest.is_empty() {
        let event = records::take_handed(&mut rest).ok_or_else(|| unread("an event in it is cut off"))?;
        events.push(Handed { accepted_at_us: event.accepted_at_us.saturating_add(apart), ..event });
    }
    Ok(events)
}

/// The body of the answer to a batch.
pub(super) fn of_answers(answers: &Answers) -> Bytes {
    json(&head::Answered { table: answers.table.clone(), parts: answers.parts.clone() }).into()
}

/// What [`of_answers`] has written.
pub(super) fn answers(body: &[u8]) -> Result<Answers, Unread> {
    let head::Answered { table, parts } =
        serde_json::from_slice(body).map_err(|e| unread(format!("the answer is no JSON of ours ({e})")))?;
    if table.is_none() && parts.contains(&PartAnswer::Redirect) {
        return Err(unread("the answer has no table to go by"));
    }
    Ok(Answers { table, parts })
}

fn json(value: &impl Serialize) -> Vec<u8> {
    // Every key is a string, so it cannot fail; nothing at all is read as no JSON.
    serde_json::to_vec(value).unwrap_or_default()
}

fn begin(head: &impl Serialize) -> BytesMut {
    let head = json(head);
    let mut out = BytesMut::with_capacity(PREFIX_BYTES + head.len());
    out.put_u8(VERSION);
    out.put_u32_le(u32::try_from(head.len()).unwrap_or(u32::MAX));
    out.put_slice(&head);
    out
}

fn split<H: DeserializeOwned>(mut body: Bytes) -> Result<(H, Bytes), Unread> {
    let Some(&[version, a, b, c, d]) = body.first_chunk::<PREFIX_BYTES>() else {
        return Err(unread("it is too short to be anything"));
    };
    if version != VERSION {
        return Err(unread(format!("it is of version {version}, and this shard reads version {VERSION} only")));
    }
    let length = usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    if length > MAX_HEAD_BYTES || length > body.len() - PREFIX_BYTES {
        return Err(unread(format!("its head would have {length} bytes")));
    }
    let rest = body.split_off(PREFIX_BYTES + length);
    let head = serde_json::from_slice(&body[PREFIX_BYTES..]);
    Ok((head.map_err(|e| unread(format!("its head is not understood ({e})")))?, rest))
}

#[cfg(test)]
mod tests;
