//! A record in the making: takes attributes one by one, checks each, and has the event at the end. Pure.
//!
//! There is one draft for all events of a request, so a batch shares one allocation.

use bytes::{BufMut as _, BytesMut};

use super::attributes::{self, MAX_ATTRIBUTE_BYTES, MAX_ATTRIBUTES, REQUIRED};
use super::record::{self, Attributes, HEAD_BYTES};
use super::{Event, Refusal};

/// Collects the attributes of one event after the other.
pub(super) struct Draft {
    /// The record so far: head and attributes, in the format of the log.
    out: BytesMut,
    count: usize,
    /// Bytes of names and values.
    bytes: usize,
    /// Which of [`REQUIRED`] are there, by bit.
    required: u8,
}

impl Draft {
    /// A draft with room for so many bytes of records.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        let mut out = BytesMut::with_capacity(bytes);
        record::put_head(&mut out);
        Self { out, count: 0, bytes: 0, required: 0 }
    }

    /// Adds an attribute that keeps the rules. That it is there once is up to the caller.
    pub(super) fn attribute(&mut self, name: &str, value: &str) -> Result<(), Refusal> {
        attributes::check_one(name, value)?;
        self.count += 1;
        self.bytes += name.len() + value.len();
        if self.count > MAX_ATTRIBUTES {
            return Err(Refusal::Malformed(format!(
                "the event has more than {MAX_ATTRIBUTES} attributes: put the rest in its data"
            )));
        }
        if self.bytes > MAX_ATTRIBUTE_BYTES {
            return Err(Refusal::Malformed(format!(
                "the attributes take more than {MAX_ATTRIBUTE_BYTES} bytes: put the rest in the data"
            )));
        }
        if let Some(at) = REQUIRED.iter().position(|(required, _)| *required == name) {
            self.required |= 1 << at;
        }
        record::put_attribute(&mut self.out, name, value)
            .map_err(|_| Refusal::Malformed(format!("{name} is too long: put it in the data")))
    }

    /// The value of an attribute that was added.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        Attributes::of(self.out.get(HEAD_BYTES..).unwrap_or_default()).find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    /// The event with this data, if nothing is missing. The draft is empty afterwards.
    pub(super) fn finish(&mut self, data: &[u8]) -> Result<Event, Refusal> {
        if let Some((_, (name, hint))) = REQUIRED.iter().enumerate().find(|(at, _)| self.required & (1 << at) == 0) {
            return Err(Refusal::Malformed(format!("{name} is missing: send {hint}")));
        }
        record::set_count(&mut self.out, self.count);
        let data_at = self.out.len();
        self.out.put_slice(data);
        let record = self.out.split().freeze();
        record::put_head(&mut self.out);
        (self.count, self.bytes, self.required) = (0, 0, 0);
        Ok(Event::of_record(record, data_at))
    }
}
