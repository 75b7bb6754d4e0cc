//! The event as a record of the log, which is also how it is held in memory. Pure.
//!
//! ```text
//! version: u8 = 1
//! count:   u16, then per attribute: name length u8, name, value length u32, value
//! data:    the rest
//! ```
//!
//! Numbers are big-endian. The store below has checksums, so there are none here. A reader refuses versions it
//! does not know, so that a newer writer's record is never delivered wrong.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::Event;

const VERSION: u8 = 1;

/// Bytes before the first attribute.
pub(super) const HEAD_BYTES: usize = 3;

/// A record that this version cannot read. The log is damaged, or was written by a newer version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log holds a record that this version cannot read")]
pub struct BadRecord;

/// Begins a record. [`set_count`] completes it.
pub(super) fn put_head(out: &mut BytesMut) {
    out.put_u8(VERSION);
    out.put_u16(0);
}

/// Adds an attribute.
pub(super) fn put_attribute(out: &mut BytesMut, name: &str, value: &str) -> Result<(), BadRecord> {
    let name_length = u8::try_from(name.len()).map_err(|_| BadRecord)?;
    let value_length = u32::try_from(value.len()).map_err(|_| BadRecord)?;
    out.reserve(5 + name.len() + value.len());
    out.put_u8(name_length);
    out.put_slice(name.as_bytes());
    out.put_u32(value_length);
    out.put_slice(value.as_bytes());
    Ok(())
}

/// Says how many attributes a record has. There are at most [`super::attributes::MAX_ATTRIBUTES`].
pub(super) fn set_count(record: &mut BytesMut, count: usize) {
    if let Some(place) = record.get_mut(1..HEAD_BYTES) {
        place.copy_from_slice(&u16::try_from(count).unwrap_or(u16::MAX).to_be_bytes());
    }
}

/// Reads the record of an event, and checks it whole.
pub fn decode(record: Bytes) -> Result<Event, BadRecord> {
    let (head, mut rest) = record.split_first_chunk::<HEAD_BYTES>().ok_or(BadRecord)?;
    let [version, count @ ..] = *head;
    if version != VERSION {
        return Err(BadRecord);
    }
    for _ in 0..u16::from_be_bytes(count) {
        let (name, value, after) = split_attribute(rest).ok_or(BadRecord)?;
        std::str::from_utf8(name).map_err(|_| BadRecord)?;
        std::str::from_utf8(value).map_err(|_| BadRecord)?;
        rest = after;
    }
    let data_at = record.len() - rest.len();
    Ok(Event::of_record(record, data_at))
}

/// Name and value of the first attribute, and what follows it.
fn split_attribute(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (&length, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(length))?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (value, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    Some((name, value, rest))
}

/// The attributes of a record, in order, as name and value.
#[derive(Clone, Debug)]
pub struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// The attributes in this part of a record, which was written here or checked by [`decode`].
    pub(super) fn of(part: &'a [u8]) -> Self {
        Self(part)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, value, rest) = split_attribute(self.0)?;
        self.0 = rest;
        Some((std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?))
    }
}
