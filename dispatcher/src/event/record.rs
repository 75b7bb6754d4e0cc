//! The event as a record of the log. Pure.
//!
//! ```text
//! version: u8 = 1
//! count:   u16, then per attribute: name length u8, name, value length u32, value
//! data:    the rest
//! ```
//!
//! Numbers are big-endian. The store below has checksums, so there are none here. A reader refuses versions it
//! does not know, so that a newer writer's record is never delivered wrong.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::Event;

const VERSION: u8 = 1;

/// A record that this version cannot read. The log is damaged, or was written by a newer version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log holds a record that this version cannot read")]
pub struct BadRecord;

/// Writes `event` down. Attribute names and counts fit because [`super::parse`] limits them.
pub fn encode(event: &Event) -> Result<Bytes, BadRecord> {
    let attributes: usize = event.attributes.iter().map(|(name, value)| 5 + name.len() + value.len()).sum();
    let mut out = BytesMut::with_capacity(3 + attributes + event.data.len());
    out.put_u8(VERSION);
    out.put_u16(u16::try_from(event.attributes.len()).map_err(|_| BadRecord)?);
    for (name, value) in &event.attributes {
        out.put_u8(u8::try_from(name.len()).map_err(|_| BadRecord)?);
        out.put_slice(name.as_bytes());
        out.put_u32(u32::try_from(value.len()).map_err(|_| BadRecord)?);
        out.put_slice(value.as_bytes());
    }
    out.put_slice(&event.data);
    Ok(out.freeze())
}

/// Reads what [`encode`] wrote.
pub fn decode(mut record: Bytes) -> Result<Event, BadRecord> {
    if record.try_get_u8().map_err(|_| BadRecord)? != VERSION {
        return Err(BadRecord);
    }
    let count = record.try_get_u16().map_err(|_| BadRecord)?;
    let mut attributes = Vec::with_capacity(usize::from(count).min(64));
    for _ in 0..count {
        let length = record.try_get_u8().map_err(|_| BadRecord)?;
        let name = text(&mut record, usize::from(length))?;
        let length = record.try_get_u32().map_err(|_| BadRecord)?;
        let value = text(&mut record, usize::try_from(length).map_err(|_| BadRecord)?)?;
        attributes.push((name, value));
    }
    Ok(Event { attributes, data: record })
}

fn text(record: &mut Bytes, length: usize) -> Result<String, BadRecord> {
    if record.len() < length {
        return Err(BadRecord);
    }
    String::from_utf8(record.split_to(length).into()).map_err(|_| BadRecord)
}
