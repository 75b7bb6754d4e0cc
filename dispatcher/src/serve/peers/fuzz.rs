//! What shards write to each other, as it is read from strangers, for the fuzz target `peers` alone. Pure. May import
//! `wire`.

use bytes::Bytes;

use super::wire;

/// What a body is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A message of the protocol, with events that are handed over.
    Message,
    /// Events that are passed on to their owner.
    Events,
    /// Events that are given to another region.
    Given,
    /// The answer to one of the last two.
    Answer,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Message, Self::Events, Self::Given, Self::Answer];
}

/// What time it is where a body is read, in microseconds since 1970.
const NOW_US: i64 = 1_800_000_000_000_000;

/// What was read of a body, as it would be written. Nothing: it was refused.
#[must_use]
pub fn rewritten(kind: Kind, body: Bytes) -> Option<Bytes> {
    match kind {
        Kind::Message => wire::parcel(body, NOW_US).ok().map(|(address, parcel)| match parcel {
            Some(parcel) => wire::of_parcel(&address, &parcel, NOW_US),
            None => wire::of_hello(&address),
        }),
        Kind::Events => wire::batch(body).ok().map(|(address, batch)| wire::of_batch(&address, &batch)),
        Kind::Given => wire::given(body, NOW_US).ok().map(|(fleet, given)| wire::of_given(&fleet, &given, NOW_US)),
        Kind::Answer => wire::answers(&body).ok().map(|answers| wire::of_answers(&answers)),
    }
}
