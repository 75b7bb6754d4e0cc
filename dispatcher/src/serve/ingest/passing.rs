//! Events that may be another shard's: passed on to their owner, held while it is away, or taken from a shard that passes
//! them on.
//!
//! ```text
//! producer's      here --> own log      owner --> passed on      nowhere yet, or not reached --> wait, ask again
//! passed on       here, all of them --> own log      elsewhere --> back with our table      not yet --> wait, ask again
//! ```
//!
//! What was stored is not sent again. Who waits longer than [`PATIENCE`] is told for whom. May import `claiming`, the
//! crate's `slots`, and what `store` may.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use http::StatusCode;
use signalbox_contract::RoutingTable;
use tokio::sync::watch;

use super::answer::{Rejection, reject};
use super::held::Request;
use super::owner::Outcome;
use super::split::{Split, all_here, pick, split};
use super::store::{RETRY_AFTER_SOON, Routing, Store, stopping};
use crate::claims::{Epoch, Message, Ordinal};
use crate::event::Event;
use crate::serve::claiming::{Parcel, Routes, Way};
use crate::serve::log::key_hash;
use crate::serve::metrics::Reject;
use crate::serve::shutdown::Phase;
use crate::slots;

/// How long a request may wait for the owners of its events, since it came.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The first pause before it is tried again without a reason, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(25), Duration::from_millis(400));

/// A producer's request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Came {
    /// When it came.
    pub(super) at: Instant,
    /// On which protocol.
    pub(super) http1: bool,
}

/// What became of events that another shard has passed on.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::serve) enum Passed {
    /// They are on disk.
    Stored,
    /// They belong elsewhere, by this table.
    Redirect(Arc<RoutingTable>),
    /// For whoever sent them: status, sentence, and seconds for `Retry-After`.
    Refused(StatusCode, String, Option<u64>),
    /// Not now. Why, as the end of a sentence.
    Later(String),
}

impl Store {
    /// Stores the events of a producer, here or elsewhere, until the request is [`PATIENCE`] old. `received` is what is
    /// kept for receiving: it is given back when they are held.
    pub(super) async fn produced<P>(&self, events: &[Event], received: P, came: Came) -> Result<(), Rejection> {
        let Some(routing) = &self.routing else { return self.prepare(events)?.store(None).await };
        let routes = routing.router.route(&keys(events), None);
        if all_here(&routes.ways) {
            return self.prepare(events)?.store(routes.admission).await;
        }
        let bytes = events.iter().map(|event| event.record().len()).sum();
        let _held = routing.held.take(Request { bytes, http1: came.http1 }).ok_or_else(|| {
            let sentence = "too many events wait for the shards that own their keys: wait as Retry-After says";
            reject(Reject::HeldTooMany, StatusCode::SERVICE_UNAVAILABLE, sentence).after(RETRY_AFTER_SOON)
        })?;
        drop(received);
        let until = came.at + PATIENCE;
        let mut left = events.to_vec();
        let mut waits = Waits::new(self);
        let mut routes = routes;
        let mut unreached = None;
        loop {
            let seen = routes.seen;
            let round = self.round(routing, &left, routes, until).await?;
            left = round.left;
            // What the time was too short for says less than what came before.
            if unreached.is_none() || Instant::now() < until {
                unreached = round.unreached;
            }
            if left.is_empty() {
                return Ok(());
            }
            if !waits.wait(routing, seen, until).await? {
                return Err(too_long(routing, &left, unreached));
            }
            routes = routing.router.route(&keys(&left), None);
        }
    }

    /// Sends all of them where they go now.
    async fn round(
        &self,
        routing: &Routing,
        events: &[Event],
        routes: Routes,
        until: Instant,
    ) -> Result<Round, Rejection> {
        let Routes { ways, epoch, admission, .. } = routes;
        let Split { here, owners, held } = split(&ways);
        // Before anything is sent, so that a request for which there is no room here is not half accepted.
        let own = self.prepare(&pick(events, &here))?;
        let passing = owners.into_iter().map(async |(owner, places)| {
            let outcome = self.pass(routing, owner, epoch, &pick(events, &places), until).await;
            (owner, places, outcome)
        });
        let (own, passed) = tokio::join!(own.store(admission), join_all(passing));
        own?;
        let mut left = held;
        let mut unreached = None;
        let mut refused = None;
        for (owner, places, outcome) in passed {
            match outcome {
                Outcome::Stored => self.metrics.handed_over(places.len()),
                Outcome::Redirect(table) => {
                    let message = Message::Newer(table);
                    routing.router.heard(owner, Parcel { message, sinks: Vec::new(), events: Vec::new() });
                    left.extend(places);
                }
                Outcome::Refused { status, sentence, seconds } => {
                    let rejection = reject(Reject::ByOwner, status, sentence);
                    refused = Some(seconds.into_iter().fold(rejection, Rejection::after));
                }
                Outcome::Unreachable(why) => {
                    unreached = Some((owner, why));
                    left.extend(places);
                }
            }
        }
        // In the order in which they came: it is that of their keys.
        left.sort_unstable();
        refused.map_or(Ok(Round { left: pick(events, &left), unreached }), Err)
    }

    async fn pass(&self, routing: &Routing, owner: Ordinal, epoch: Epoch, events: &[Event], until: Instant) -> Outcome {
        let Some(peer) = routing.router.peer(owner) else {
            return Outcome::Unreachable("the routing table does not say where it is".to_owned());
        };
        let records = events.iter().map(|event| event.record().clone()).collect();
        let passing = routing.links.hand_over(&peer, epoch, records);
        let late = || Outcome::Unreachable("it has not answered yet".to_owned());
        tokio::time::timeout_at(until.into(), passing).await.unwrap_or_else(|_| late())
    }

    /// Stores events that a shard passes on which goes by the table of this epoch, all or none of them, and waits until
    /// then for the right to.
    pub(in crate::serve) async fn passed(&self, events: &[Event], epoch: Epoch, until: Instant) -> Passed {
        let Some(routing) = &self.routing else { return Passed::Later("it takes part in no routing".to_owned()) };
        let keys = keys(events);
        let mut waits = Waits::new(self);
        loop {
            if !self.phase.borrow().accepts() {
                // What was stored now might not be answered any more, and come again.
                return Passed::Later("it is stopping".to_owned());
            }
            let routes = routing.router.route(&keys, Some(epoch));
            let Split { owners, held, .. } = split(&routes.ways);
            if held.is_empty() && owners.is_empty() {
                let stored = match self.prepare(events) {
                    Ok(own) => own.store(routes.admission).await,
                    Err(rejection) => Err(rejection),
                };
                return stored.map_or_else(|rejection| self.refused(rejection), |()| Passed::Stored);
            }
            let is_elsewhere = routes.ways.contains(&Way::Redirect);
            if is_elsewhere && let Some(table) = routing.router.table() {
                return Passed::Redirect(table);
            }
            let seen = routes.seen;
            // What was admitted is not stored: nobody is to wait for it.
            drop(routes);
            if let Err(told) = waits.go_on(routing, seen, until).await {
                return told;
            }
        }
    }

    fn refused(&self, rejection: Rejection) -> Passed {
        self.refused_as(rejection.reason, rejection)
    }

    /// What a shard is told that has sent something. It is counted under this reason.
    pub(super) fn refused_as(&self, reason: Reject, rejection: Rejection) -> Passed {
        self.metrics.rejected(reason);
        if rejection.reason == Reject::LogFailed {
            return Passed::Later("its log takes nothing".to_owned());
        }
        let (status, sentence, seconds) = rejection.told();
        Passed::Refused(status, sentence, seconds)
    }
}

/// What a round has come to.
struct Round {
    /// Events that are not stored yet.
    left: Vec<Event>,
    /// The last owner that was not reached, and why.
    unreached: Option<(Ordinal, String)>,
}

/// A request that waits.
pub(super) struct Waits<'a> {
    store: &'a Store,
    phase: watch::Receiver<Phase>,
    pause: Duration,
    counted: bool,
}

impl<'a> Waits<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self { store, phase: store.phase.clone(), pause: PAUSE.0, counted: false }
    }

    /// Resolves when it may have become another answer; not, when the time is over. An error: the shard is stopping.
    async fn wait(&mut self, routing: &Routing, seen: u64, until: Instant) -> Result<bool, Rejection> {
        if !std::mem::replace(&mut self.counted, true) {
            self.store.metrics.held(1);
        }
        if Instant::now() >= until {
            return Ok(false);
        }
        let pause = tokio::time::sleep(self.pause.min(until.saturating_duration_since(Instant::now())));
        self.pause = PAUSE.1.min(self.pause * 2);
        tokio::select! {
            () = routing.router.changed(seen) => Ok(true),
            () = pause => Ok(true),
            _ = self.phase.wait_for(|phase| !phase.accepts()) => Err(stopping()),
        }
    }

    /// The same for what a shard has sent. An error: what that is told instead.
    pub(super) async fn go_on(&mut self, routing: &Routing, seen: u64, until: Instant) -> Result<(), Passed> {
        match self.wait(routing, seen, until).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Passed::Later("it is still taking over the key".to_owned())),
            Err(_) => Err(Passed::Later("it is stopping".to_owned())),
        }
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        if self.counted {
            self.store.metrics.held(-1);
        }
    }
}

/// The hashes of the keys, which say the way.
fn keys(events: &[Event]) -> Vec<Option<u64>> {
    events.iter().map(|event| event.key().map(key_hash)).collect()
}

/// Says for whom a request has waited in vain.
fn too_long(routing: &Routing, left: &[Event], unreached: Option<(Ordinal, String)>) -> Rejection {
    let table = routing.router.table().filter(|table| table.shards > 0);
    let seconds = PATIENCE.as_secs();
    let why = match (unreached, table) {
        (Some((owner, why)), _) => {
            format!("shard {owner} owns the key, and was not reached within {seconds} s ({why})")
        }
        (None, Some(table)) => {
            let key = left.iter().find_map(Event::key).map(key_hash);
            let owner = key.map_or(0, |key| slots::owner(slots::slot_of(key), table.shards));
            format!("shard {owner} is to own the key, and has not taken it over within {seconds} s")
        }
        (None, None) => format!("this shard has had no routing table for {seconds} s"),
    };
    reject(Reject::HeldTooLong, StatusCode::SERVICE_UNAVAILABLE, format!("{why}: send the event again"))
        .after(RETRY_AFTER_SOON)
}

#[cfg(test)]
mod tests;
