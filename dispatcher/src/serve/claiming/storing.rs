//! What another shard gives: checked, and put into the inherited log. May import `transfers`, `log`, `parcel`, `giving`, and
//! the crate's `claims` and `slots`.

use std::collections::BTreeMap;

use super::giving::{Load, carried};
use super::parcel::Handed;
use crate::claims::{Epoch, Slot, Slots};
use crate::serve::log::{Bequest, SinkSet};
use crate::serve::transfers::{Transfers, UnknownSink};
use crate::slots::slot_of;

/// Whether a transfer has with it what it says: its events are of the slots that it names, and each of these has some.
/// `mine`: the slots of this shard.
pub(super) fn is_whole(slots: &Slots, events: &[Handed], mine: &Slots) -> bool {
    *slots == events.iter().filter_map(|event| carried(event.key, mine)).collect::<Slots>()
}

/// Those of the events that are of `slots`, as they are to be stored here. The others are repeats, but for two kinds:
///
/// - What has no key: the slot that it travels as says nothing of whether it came before.
/// - What was accepted under the epoch that this shard's tenure of its slot began with (`since`), or a later one. No shard
///   that goes by tables has such events; one that was run without them for a while has.
pub(super) fn bequests(
    transfers: &Transfers,
    load: &Load,
    slots: &Slots,
    since: &BTreeMap<Slot, Epoch>,
) -> Result<Vec<Bequest>, UnknownSink> {
    let wanted = load.events.iter().filter(|event| {
        event.key.map(slot_of).is_none_or(|slot| {
            slots.contains(&slot) || since.get(&slot).is_some_and(|&since| event.origin.epoch >= since)
        })
    });
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::serve::log::{Origin, PairLog};
    use crate::serve::metrics::Metrics;
    use crate::serve::slots::SlotSet;
    use crate::serve::writer::Writer;

    fn handed(key: Option<u64>, epoch: Epoch, waiting: &[usize]) -> Handed {
        let waiting = waiting.iter().fold(SinkSet::default(), |set, &sink| set.with(sink));
        let origin = Origin { epoch, log: 5, position: 1 };
        Handed { origin, accepted_at_us: 1, key, waiting, identity: 1, record: Bytes::from_static(b"event") }
    }

    fn names(all: &[&str]) -> Vec<String> {
        all.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn a_transfer_without_its_events_or_with_others_is_no_transfer() {
        let (slots, mine) = ([3, 8].into(), [3, 8, 9].into());
        let (three, eight, keyless) = (handed(Some(3), 1, &[0]), handed(Some(8), 1, &[0]), handed(None, 1, &[0]));
        assert!(is_whole(&slots, &[three.clone(), eight.clone(), three.clone()], &mine));
        assert!(is_whole(&slots, &[keyless, eight.clone()], &mine), "it travels as slot 3");
        assert!(!is_whole(&slots, &[], &mine) && !is_whole(&slots, std::slice::from_ref(&three), &mine));
        assert!(!is_whole(&slots, &[three, eight, handed(Some(9), 1, &[0])], &mine));
    }

    #[tokio::test]
    async fn repeats_are_left_out_and_what_cannot_be_one_is_stored() {
        let dir = tempfile::tempdir().unwrap();
        let sinks = names(&["b", "a"]);
        let log = Arc::new(PairLog::open(dir.path(), &sinks).unwrap());
        let (writer, _) = Writer::start(log.clone(), Metrics::new(&sinks), Duration::ZERO).unwrap();
        let (transfers, _) = Transfers::new(log, writer, sinks, &SlotSet::all());
        let repeat = handed(Some(8), 1, &[0]);
        let events = vec![handed(Some(3), 1, &[1]), repeat, handed(Some(8), 2, &[0]), handed(None, 1, &[0, 1])];
        let load = Load { sinks: names(&["a", "b"]), events };
        let since = [(3, 2), (8, 2)].into();
        let stored = bequests(&transfers, &load, &[3].into(), &since).unwrap();
        let what: Vec<_> = stored.iter().map(|bequest| (bequest.key, bequest.origin.epoch, bequest.skip)).collect();
        let skip = SinkSet::default();
        assert_eq!(what, [(Some(3), 1, skip.with(1)), (Some(8), 2, skip.with(0)), (None, 1, skip)]);

        let unknown = Load { sinks: names(&["a", "c"]), ..load };
        assert!(bequests(&transfers, &unknown, &[3].into(), &since).unwrap_err().to_string().contains("no sink c"));
        assert_eq!(bequests(&transfers, &unknown, &[].into(), &[].into()).map(|stored| stored.len()).ok(), None);
    }
}
