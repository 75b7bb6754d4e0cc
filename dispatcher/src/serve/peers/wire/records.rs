//! Events behind a head, one after the other. Pure.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use crate::serve::claiming::Handed;
use crate::serve::log::{Origin, SinkSet};

/// Bytes of what stands before an event that is handed over.
const HANDED_BYTES: usize = 8 * 6 + 1 + 16;

/// Writes an event that is passed on.
pub(super) fn put_event(out: &mut BytesMut, record: &Bytes) {
    out.reserve(4 + record.len());
    out.put_u32_le(u32::try_from(record.len()).unwrap_or(u32::MAX));
    out.put_slice(record);
}

/// The next event, which shares the bytes that it came in.
pub(super) fn take_event(rest: &mut Bytes) -> Option<Bytes> {
    let length = usize::try_from(u32::from_le_bytes(*rest.first_chunk()?)).ok()?;
    if length > rest.len() - 4 {
        return None;
    }
    rest.advance(4);
    Some(rest.split_to(length))
}

/// Writes an event that is handed over, with what it brings along.
pub(super) fn put_handed(out: &mut BytesMut, event: &Handed) {
    out.reserve(HANDED_BYTES);
    for number in [event.origin.epoch, event.origin.log, event.origin.position] {
        out.put_u64_le(number);
    }
    out.put_i64_le(event.accepted_at_us);
    out.put_u8(u8::from(event.key.is_some()));
    out.put_u64_le(event.key.unwrap_or_default());
    out.put_u64_le(event.waiting.iter().fold(0, |bits, sink| bits | 1 << sink));
    out.put_u128_le(event.identity);
    put_event(out, &event.record);
}

/// The next of them.
pub(super) fn take_handed(rest: &mut Bytes) -> Option<Handed> {
    if rest.len() < HANDED_BYTES {
        return None;
    }
    let origin = Origin { epoch: rest.get_u64_le(), log: rest.get_u64_le(), position: rest.get_u64_le() };
    let accepted_at_us = rest.get_i64_le();
    let (has_key, key) = (rest.get_u8(), rest.get_u64_le());
    let (waiting, identity) = (rest.get_u64_le(), rest.get_u128_le());
    let waiting = (0..64).filter(|sink| waiting >> sink & 1 == 1).fold(SinkSet::default(), SinkSet::with);
    let key = (has_key != 0).then_some(key);
    Some(Handed { origin, accepted_at_us, key, waiting, identity, record: take_event(rest)? })
}
