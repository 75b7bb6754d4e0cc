//! A checkpoint: the ledger, the sinks and the list of segments at one moment, as the body of a frame. Pure.
//!
//! Each segment begins with one, and each start of the process adds one. What happened since is in the frames after
//! it. So recovery reads one checkpoint and at most what one segment holds.

use bytes::{Buf as _, BufMut as _, TryGetError};

use super::super::Position;
use super::super::ledger::{Ledger, Progress};
use super::format::LIMIT;
use super::sinks::{NUMBERS, Sinks};

/// A segment as a checkpoint lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) generation: u32,
    /// Its events are from here,
    pub(super) first: Position,
    /// to here, this one not included.
    pub(super) end: Position,
    /// Events in it that some sink has not settled.
    pub(super) live: u64,
    /// Bytes that they take.
    pub(super) live_bytes: u64,
}

/// What a checkpoint holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Checkpoint {
    pub(super) ledger: Ledger,
    pub(super) sinks: Sinks,
    /// In order of position; the last is the one that is written to.
    pub(super) segments: Vec<Listed>,
}

/// The body of a checkpoint.
pub(super) fn encode(ledger: &Ledger, sinks: &Sinks, segments: impl ExactSizeIterator<Item = Listed>) -> Vec<u8> {
    let mut out = Vec::new();
    for number in [ledger.end(), ledger.events(), ledger.bytes(), sinks.last as u64, segments.len() as u64] {
        out.put_u64_le(number);
    }
    for Listed { generation, first, end, live, live_bytes } in segments {
        out.put_u32_le(generation);
        for number in [first, end, live, live_bytes] {
            out.put_u64_le(number);
        }
    }
    for (number, (name, progress)) in (0_u8..).zip(sinks.names.iter().zip(ledger.sinks())) {
        let Some(name) = name else { continue };
        out.put_u8(number);
        out.put_u32_le(u32::try_from(name.len()).unwrap_or(u32::MAX));
        out.put_slice(name.as_bytes());
        for number in [progress.cursor, progress.unsettled, progress.above.len() as u64] {
            out.put_u64_le(number);
        }
        let mut before = progress.cursor;
        for (&start, &end) in &progress.above {
            put_number(&mut out, start - before);
            put_number(&mut out, end - start);
            before = end;
        }
    }
    out
}

/// Nothing if it is not such a body.
pub(super) fn decode(mut body: &[u8]) -> Option<Checkpoint> {
    read(&mut body).ok().flatten()
}

fn read(body: &mut &[u8]) -> Result<Option<Checkpoint>, TryGetError> {
    let [end, events, bytes, last, count] = numbers(body)?;
    let mut segments = Vec::new();
    for _ in 0..count {
        let generation = body.try_get_u32_le()?;
        let [first, end, live, live_bytes] = numbers(body)?;
        if first < segments.last().map_or(0, |before: &Listed| before.end) || end < first || live_bytes > LIMIT {
            return Ok(None);
        }
        segments.push(Listed { generation, first, end, live, live_bytes });
    }
    if [end, events, bytes].iter().any(|&number| number > LIMIT) || segments.last().is_some_and(|last| last.end > end) {
        return Ok(None);
    }
    let mut names = Vec::new();
    let mut progress = Vec::new();
    while body.has_remaining() {
        let number = usize::from(body.try_get_u8()?);
        let length = body.try_get_u32_le()? as usize;
        let Some((name, rest)) = body.split_at_checked(length).filter(|_| (names.len()..NUMBERS).contains(&number))
        else {
            return Ok(None);
        };
        let Ok(name) = String::from_utf8(name.to_vec()) else { return Ok(None) };
        *body = rest;
        let [cursor, unsettled, ranges] = numbers(body)?;
        if cursor > LIMIT || unsettled > LIMIT {
            return Ok(None);
        }
        let mut sink = Progress { unsettled, ..Progress::at(cursor) };
        let mut before = cursor;
        for _ in 0..ranges {
            let Some(start) = before.checked_add(get_number(body)?) else { return Ok(None) };
            let Some(end) = start.checked_add(get_number(body)?) else { return Ok(None) };
            if start == before || end == start || end > LIMIT {
                return Ok(None);
            }
            sink.above.insert(start, end);
            before = end;
        }
        names.resize(number, None);
        names.push(Some(name));
        progress.resize_with(number, Progress::nobody);
        progress.push(sink);
    }
    let ledger = Ledger::restored(progress, end, events, bytes);
    let sinks = Sinks::stored(names, usize::try_from(last).unwrap_or(0) % NUMBERS);
    Ok(Some(Checkpoint { ledger, sinks, segments }))
}

fn numbers<const N: usize>(body: &mut &[u8]) -> Result<[u64; N], TryGetError> {
    let mut numbers = [0; N];
    for number in &mut numbers {
        *number = body.try_get_u64_le()?;
    }
    Ok(numbers)
}

/// Puts a number that is mostly small: seven bits a byte, the lowest first.
pub(super) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(low_byte(number) | 0x80);
        number >>= 7;
    }
    out.push(low_byte(number));
}

fn low_byte(number: u64) -> u8 {
    u8::try_from(number & 0x7f).unwrap_or(0)
}

/// Takes a number that [`put_number`] has put.
pub(super) fn get_number(from: &mut &[u8]) -> Result<u64, TryGetError> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = from.try_get_u8()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::{Checkpoint, Listed, decode, encode, get_number, put_number};
    use crate::serve::log::SinkSet;
    use crate::serve::log::ledger::Ledger;
    use crate::serve::log::segment::sinks::Sinks;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_written_is_read_again_and_anything_else_does_no_harm(
            settled in proptest::collection::vec(0..50_u64, 0..40),
            removed in any::<bool>(),
            cut in any::<prop::sample::Index>(),
            numbers in proptest::collection::vec(any::<u64>(), 0..5),
        ) {
            let mut ledger = Ledger::new(&[], 0);
            let mut sinks = Sinks::default();
            sinks.square(&["a".to_owned(), "b".to_owned()], 0, &mut ledger);
            for _ in 0..50 {
                ledger.append(7, SinkSet::default());
            }
            for position in settled {
                ledger.settle(1, position, 7, SinkSet::default());
            }
            if removed {
                sinks.square(&["b".to_owned()], 50, &mut ledger);
            }
            let segments = vec![Listed { generation: 3, first: 0, end: 50, live: 4, live_bytes: 28 }];
            let body = encode(&ledger, &sinks, segments.clone().into_iter());
            let read = decode(&body).unwrap();
            let sinks = Sinks::stored(read.sinks.names.clone(), sinks.last);
            prop_assert_eq!(read, Checkpoint { ledger, sinks, segments });
            decode(&body[..cut.index(body.len())]);

            let mut out = Vec::new();
            for &number in &numbers {
                put_number(&mut out, number);
            }
            let mut from = &out[..];
            for number in numbers {
                prop_assert_eq!(get_number(&mut from).unwrap(), number);
            }
            prop_assert!(get_number(&mut from).is_err());
        }
    }
}
