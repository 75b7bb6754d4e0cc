//! Keys and values of the four keyspaces. Pure.
//!
//! ```text
//! events  position              -> record
//! index   position              -> accepted_at_us i64, has key u8, key u64, record length u32
//! marks   sink number, position -> (empty)     settled at this sink, above its cursor, not everywhere
//! sinks   name                  -> sink number u32, cursor u64
//!         (a zero byte)         -> 0, an end of the log that no event and no cursor tells of
//! ```
//!
//! All numbers are big-endian, so that the order of keys is the order of positions. The index is apart from the
//! records so that starting and filling a window read 21 bytes per event and not its payload.

use bytes::{Buf, BufMut};

use super::super::{Entry, LogError, NewRecord, OVERHEAD_BYTES, Position, SinkSet};

const INDEX_BYTES: usize = 21;

/// The value of `index`.
pub(super) fn index_value(new: &NewRecord) -> Result<[u8; INDEX_BYTES], LogError> {
    let length =
        u32::try_from(new.record.len()).map_err(|_| LogError::Store("a record is larger than 4 GiB".to_owned()))?;
    let mut value = [0; INDEX_BYTES];
    let mut rest = &mut value[..];
    rest.put_i64(new.accepted_at_us);
    rest.put_u8(u8::from(new.key.is_some()));
    rest.put_u64(new.key.unwrap_or(0));
    rest.put_u32(length);
    Ok(value)
}

/// Reads a key and a value of `index`.
pub(super) fn entry(key: &[u8], mut value: &[u8]) -> Result<Entry, LogError> {
    let position = position(key)?;
    if value.len() != INDEX_BYTES {
        return Err(LogError::Foreign("an index entry of another length"));
    }
    let accepted_at_us = value.get_i64();
    let has_key = value.get_u8() != 0;
    let key = value.get_u64();
    let bytes = u64::from(value.get_u32()) + OVERHEAD_BYTES;
    Ok(Entry { position, accepted_at_us, key: has_key.then_some(key), bytes, skip: SinkSet::default() })
}

/// Reads a key of `events` or `index`.
pub(super) fn position(key: &[u8]) -> Result<Position, LogError> {
    key.try_into().map(Position::from_be_bytes).map_err(|_| LogError::Foreign("a key that is not a position"))
}

/// A key of `marks`.
pub(super) fn mark_key(number: u32, position: Position) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&number.to_be_bytes());
    key[4..].copy_from_slice(&position.to_be_bytes());
    key
}

/// Reads a key of `marks`.
pub(super) fn marked(key: &[u8]) -> Result<Position, LogError> {
    position(key.get(4..).unwrap_or_default())
}

/// The value of `sinks`.
pub(super) fn sink_value(number: u32, cursor: Position) -> [u8; 12] {
    mark_key(number, cursor)
}

/// Reads a value of `sinks`.
pub(super) fn sink(mut value: &[u8]) -> Result<(u32, Position), LogError> {
    let damaged = |_| LogError::Foreign("a damaged sink");
    Ok((value.try_get_u32().map_err(damaged)?, value.try_get_u64().map_err(damaged)?))
}
