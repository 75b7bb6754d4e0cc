//! What an inherited event brings along: where it was accepted. It stands before the event in its record. Pure.
//!
//! ```text
//! record   version u8 = 1, epoch u64, log u64, position u64, identity u128, event          all little endian
//! ```

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::super::Position;

const VERSION: u8 = 1;

/// Bytes before the event.
pub(super) const BYTES: usize = 41;

/// What tells an accepted event from every other, and where it stands among those of its slot: it never changes, through
/// however many shards the event goes. In order of acceptance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::serve) struct Origin {
    /// The epoch that it was accepted under.
    pub epoch: u64,
    /// The log that it was accepted into: [`super::PairLog::id`].
    pub log: u64,
    /// Its position there.
    pub position: Position,
}

/// An event with what it brings along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrapped {
    pub(super) origin: Origin,
    /// What tells it from every other event for the duplicate window.
    pub(super) identity: u128,
    /// The encoded event.
    pub(super) event: Bytes,
}

/// The record of an inherited event.
pub(super) fn wrap(Wrapped { origin, identity, event }: &Wrapped) -> Bytes {
    let mut record = BytesMut::with_capacity(BYTES + event.len());
    record.put_u8(VERSION);
    for number in [origin.epoch, origin.log, origin.position] {
        record.put_u64_le(number);
    }
    record.put_u128_le(*identity);
    record.put_slice(event);
    record.freeze()
}

/// What [`wrap`] has put together. Nothing if it is no such record.
pub(super) fn unwrap(record: &Bytes) -> Option<Wrapped> {
    let mut head = record.get(..BYTES)?;
    let version = head.get_u8();
    let (epoch, log, position) = (head.get_u64_le(), head.get_u64_le(), head.get_u64_le());
    let (origin, identity) = (Origin { epoch, log, position }, head.get_u128_le());
    (version == VERSION).then(|| Wrapped { origin, identity, event: record.slice(BYTES..) })
}

#[cfg(test)]
mod tests {
    use super::{BYTES, Origin, Wrapped, unwrap, wrap};
    use bytes::Bytes;

    #[test]
    fn an_event_comes_out_as_it_went_in_and_anything_else_is_refused() {
        let origin = Origin { epoch: 3, log: u64::MAX, position: 1 << 40 };
        for event in [Bytes::from_static(b"event"), Bytes::new()] {
            let wrapped = Wrapped { origin, identity: u128::MAX - 5, event };
            let record = wrap(&wrapped);
            assert_eq!(unwrap(&record), Some(wrapped));
            assert_eq!(unwrap(&record.slice(..BYTES - 1)), None);
            let mut other = record.to_vec();
            other[0] = 2;
            assert_eq!(unwrap(&Bytes::from(other)), None);
        }
    }

    #[test]
    fn origins_are_in_the_order_of_acceptance() {
        let origin = |epoch, log, position| Origin { epoch, log, position };
        assert!(origin(1, 9, 9) < origin(2, 1, 1) && origin(2, 1, 1) < origin(2, 1, 2));
    }
}
