//! What another shard gives: checked, and put into the inherited log. May import `transfers`, `log`, `parcel`, `giving`, and
//! the crate's `claims` and `slots`.

use super::giving::{Load, carried};
use super::parcel::Parcel;
use crate::claims::{Epoch, Message, Slots};
use crate::serve::log::{Bequest, SinkSet};
use crate::serve::transfers::{Transfers, UnknownSink};
use crate::slots::slot_of;

/// Whether a parcel has with it what its message says: the events of a transfer are of the slots that it names, and each of
/// these has some. `mine`: the slots of this shard under `epoch`; transfers of other epochs are not taken anyway.
pub(super) fn is_whole(parcel: &Parcel, epoch: Epoch, mine: impl FnOnce() -> Slots) -> bool {
    match &parcel.message {
        Message::Transfer(under, _, slots) if *under == epoch => {
            let mine = mine();
            *slots == parcel.events.iter().filter_map(|event| carried(event.key, &mine)).collect::<Slots>()
        }
        _ => true,
    }
}

/// Those of the events that are of `slots`, as they are to be stored here, and all without a key: the slot that they travel
/// as says nothing of whether they came before.
pub(super) fn bequests(transfers: &Transfers, load: &Load, slots: &Slots) -> Result<Vec<Bequest>, UnknownSink> {
    let is_wanted = |key: Option<u64>| key.is_none_or(|hash| slots.contains(&slot_of(hash)));
    let wanted = load.events.iter().filter(|event| is_wanted(event.key));
    // Most events wait for the same sinks.
    let mut last: Option<(SinkSet, SinkSet)> = None;
    wanted
        .map(|event| {
            let skip = match last {
                Some((waiting, skip)) if waiting == event.waiting => skip,
                _ => transfers.skip(&load.sinks, event.waiting)?,
            };
            last = Some((event.waiting, skip));
            Ok(Bequest {
                origin: event.origin,
                accepted_at_us: event.accepted_at_us,
                key: event.key,
                skip,
                identity: event.identity,
                record: event.record.clone(),
            })
        })
        .collect()
}
