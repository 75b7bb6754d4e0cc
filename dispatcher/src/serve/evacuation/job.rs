//! One task of a course: counted, gathered, given, and settled here. May import `transfers`, `log`, `writer`, `ingest`'s
//! outcome, `claiming`'s events and `course`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use http::StatusCode;

use super::Takers;
use super::course::{Carried, Ending, Task};
use crate::serve::claiming::Handed;
use crate::serve::ingest::{Given, Outcome};
use crate::serve::log::{Entry, LogError, Origin, Position, is_inherited};
use crate::serve::transfers::Transfers;
use crate::serve::writer::NotStored;

/// Events that are counted at once, at most: the first are given before the last of a long backlog are counted.
const COUNTED: usize = 100_000;

/// How long to wait before something is tried again that had no room.
const PAUSE: Duration = Duration::from_secs(1);

/// What is wanted where no wait was told.
const UNTOLD_WAIT: u64 = 1;

/// What tasks work with. Cheap to clone.
#[derive(Clone)]
pub(super) struct Jobs {
    pub(super) transfers: Arc<Transfers>,
    pub(super) takers: Arc<dyn Takers>,
    /// The id of the own log.
    pub(super) log: u64,
    pub(super) region: String,
}

/// What was found.
struct Found {
    next: Position,
    counted: Position,
    more: u64,
    events: Vec<(Handed, Entry)>,
}

impl Jobs {
    /// Carries out a task of a course to this region.
    pub(super) async fn run(self, region: &str, task: Task) -> Carried {
        let (transfers, log, copy) = (self.transfers.clone(), self.log, task.clone());
        let found = tokio::task::spawn_blocking(move || gather(&transfers, log, &copy)).await;
        let found = found.map_err(|e| e.to_string()).and_then(|found| found.map_err(|e| e.to_string()));
        let Found { next, counted, more, events } = match found {
            Ok(found) => found,
            Err(why) => {
                tracing::error!(why, region, "what belongs to another region cannot be read");
                let (next, counted) = (task.next, task.counted);
                let ending = Ending::Wait(PAUSE, "it cannot be read".to_owned());
                return Carried { next, counted, found: 0, moved: 0, ending };
            }
        };
        let (moved, ending) = self.give(region, &task, events).await;
        let next = if ending == Ending::Fine { next } else { task.next };
        Carried { next, counted, found: more, moved, ending }
    }

    /// Gives all of them, each to the shard that owns it, and settles those that were taken.
    async fn give(&self, region: &str, task: &Task, events: Vec<(Handed, Entry)>) -> (usize, Ending) {
        let mut parts: BTreeMap<String, Vec<(Handed, Entry)>> = BTreeMap::new();
        // All of one batch that have no key go together: so whoever has one of them knows that those before it are
        // somewhere.
        let any = events.iter().find(|event| event.0.key.is_none()).map_or(0, |event| event.1.position);
        for event in events {
            let Some(owner) = task.places.of(event.0.key, any) else {
                let why = format!("the traffic table lists no shard of region {region}");
                return (0, Ending::Unreached(BTreeSet::new(), why));
            };
            match parts.get_mut(owner) {
                Some(part) => part.push(event),
                None => drop(parts.insert(owner.to_owned(), vec![event])),
            }
        }
        let given = parts.into_iter().map(async |(owner, part)| {
            let (events, entries): (Vec<_>, Vec<_>) = part.into_iter().unzip();
            let another = task.avoid.contains(&owner).then(|| task.places.another(&owner, task.turn)).flatten();
            let (from, to, sinks) = (self.region.clone(), region.to_owned(), self.transfers.sinks().to_vec());
            let given = Given { from, to, log: self.log, sinks, events };
            let outcome = self.takers.give(another.unwrap_or(&owner), given).await;
            let moved = if outcome == Outcome::Stored { self.settle(entries).await } else { Ok(0) };
            (owner, outcome, moved)
        });
        let (mut all, mut ending) = (0, Ending::Fine);
        for (owner, outcome, moved) in join_all(given).await {
            match moved {
                Ok(moved) => all += moved,
                Err(NotStored::Ended(_) | NotStored::Full) => return (all, Ending::Ended),
            }
            ending = worse(ending, owner, outcome);
        }
        (all, ending)
    }

    async fn settle(&self, entries: Vec<Entry>) -> Result<usize, NotStored> {
        loop {
            match self.transfers.moved(entries.clone()).await {
                Ok(()) => return Ok(entries.len()),
                Err(NotStored::Full) => tokio::time::sleep(PAUSE).await,
                Err(ended) => return Err(ended),
            }
        }
    }
}

/// What two parts have come to together: what has to be waited for longest says when to go on.
fn worse(before: Ending, owner: String, outcome: Outcome) -> Ending {
    match (before, outcome) {
        (before, Outcome::Stored) => before,
        // Nothing but the newest word is needed to do better at once.
        (Ending::Moved(known), Outcome::Redirect(table)) => {
            Ending::Moved(if known.epoch < table.epoch { table } else { known })
        }
        (_, Outcome::Redirect(table)) | (Ending::Moved(table), _) => Ending::Moved(table),
        (_, Outcome::Refused { status: StatusCode::PAYLOAD_TOO_LARGE, sentence, .. }) => Ending::TooLarge(sentence),
        (before, Outcome::Refused { sentence, seconds, .. }) => {
            let span = Duration::from_secs(seconds.unwrap_or(UNTOLD_WAIT));
            match before {
                Ending::Wait(longer, why) if longer >= span => Ending::Wait(longer, why),
                Ending::TooLarge(why) => Ending::TooLarge(why),
                _ => Ending::Wait(span, sentence),
            }
        }
        (Ending::Unreached(mut addresses, _), Outcome::Unreachable(why)) => {
            addresses.insert(owner);
            Ending::Unreached(addresses, why)
        }
        (Ending::Fine, Outcome::Unreachable(why)) => Ending::Unreached([owner].into(), why),
        (before, Outcome::Unreachable(_)) => before,
    }
}

/// Counts, and then reads what is counted. Reads from disk.
fn gather(transfers: &Transfers, log: u64, task: &Task) -> Result<Found, LogError> {
    let (more, counted) = transfers.count(&task.slots, task.counted, COUNTED)?;
    if task.most_events == 0 {
        return Ok(Found { next: task.next, counted, more, events: Vec::new() });
    }
    let mut gifts = transfers.gifts(&task.slots, task.next, counted, task.most_bytes, |_, _| Some(0))?;
    if let Some(first) = gifts.gifts.get(task.most_events) {
        gifts.next = Some(first.entry.position);
        gifts.gifts.truncate(task.most_events);
    }
    let own = if is_inherited(task.next) { 0 } else { task.next };
    let next = gifts.next.unwrap_or(counted.max(own));
    let events = gifts.gifts.into_iter().map(|gift| {
        // Where it is here: that tells it from all that this log gives. Where it was accepted says nothing there.
        let origin = Origin { epoch: 0, log, position: gift.entry.position };
        let (accepted_at_us, key) = (gift.entry.accepted_at_us, gift.entry.key);
        let (waiting, identity, record) = (gift.waiting, gift.identity, gift.record);
        (Handed { origin, accepted_at_us, key, waiting, identity, record }, gift.entry)
    });
    Ok(Found { next, counted, more, events: events.collect() })
}
