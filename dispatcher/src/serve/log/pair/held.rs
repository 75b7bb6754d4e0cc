//! What a log still holds, whoever it waits for: the readings of all sinks, put together.

use std::collections::BTreeMap;

use super::super::{Entry, LogError, Position, ShardLog, SinkSet};

/// An event that some sink has still to settle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::serve) struct Held {
    pub entry: Entry,
    /// The sinks that it still has to go to.
    pub waiting: SinkSet,
}

/// Events at or after `from`, in order, of which each sink's reading gives up to `limit`; and where to go on. There are
/// no more when that is the end of the log.
pub(super) fn held(
    log: &dyn ShardLog,
    sinks: usize,
    from: Position,
    limit: usize,
) -> Result<(Vec<Held>, Position), LogError> {
    let mut all: BTreeMap<Position, Held> = BTreeMap::new();
    // A sink whose reading goes less far may want what comes behind.
    let mut next = log.end();
    for sink in 0..sinks {
        let part = log.unsettled(sink, from, limit)?;
        next = next.min(part.next);
        for entry in part.entries {
            let held = all.entry(entry.position).or_insert(Held { entry, waiting: SinkSet::default() });
            held.waiting = held.waiting.with(sink);
        }
    }
    all.split_off(&next);
    Ok((all.into_values().collect(), next))
}
