//! Slots that this shard's region does not keep, by the traffic table: what is here of them, and what comes, goes to other
//! regions, in order, and is settled here when it is on a disk there.
//!
//! ```text
//! traffic table --> Away --close, open--> gates --> sinks
//!                     | may be given
//!                     v
//!        Region: a Course to each shard --Task--> count, gather --Takers--> its disk --> settled here
//! ```
//!
//! The claims come first: a slot is given only while they have it open, and when they close it they wait until nothing of it
//! is on its way. So a slot that changes hands within the region is handed over by one of both, and its new owner goes on
//! with it. What is accepted goes to the own log first, so handing over costs one more sync, and loses nothing.
//!
//! `away` has which slots are closed, `region` and `course` how far each shard of a region is, `bucket` how fast, `places` to
//! whom; all of them pure.
//! May import `traffic`, `transfers`, `gates`, `log`, `slots`, `writer`, `metrics`, `claiming`'s events, `ingest`'s
//! outcome, `shutdown`'s phase, and the crate's `slots`.

mod away;
mod bucket;
mod course;
mod job;
mod places;
mod region;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use signalbox_contract::TrafficTable;
use tokio::sync::watch;

use super::claiming::BATCH_BYTES;
use super::gates::{Gate, Gates};
use super::ingest::{Given, Outcome};
use super::log::{LogError, Position};
use super::metrics::Metrics;
use super::shutdown::Phase;
use super::slots::{KEYLESS, SlotSet};
use super::traffic::{Destinations, Traffic, destinations};
use super::transfers::Transfers;
use super::writer::NotStored;
use away::Away;
use course::{Carried, News};
use job::Jobs;
use places::Places;
use region::{Region, Shard};

/// The way to shards of other regions.
pub(super) trait Takers: Send + Sync + 'static {
    /// Gives events to the shard at this address, to be stored whole or not at all. Resolves within seconds.
    fn give(&self, address: &str, given: Given) -> BoxFuture<'static, Outcome>;

    /// Nothing is to be given for now.
    fn rest(&self);
}

/// What the evacuation works with.
pub(super) struct Evacuation {
    traffic: Arc<Traffic>,
    transfers: Arc<Transfers>,
    metrics: Metrics,
    gate: Gate,
    end: watch::Receiver<Position>,
    phase: watch::Receiver<Phase>,
    jobs: Jobs,
    away: Away,
    /// Of the table that is gone by.
    version: u64,
    plan: Destinations,
    regions: BTreeMap<String, Region>,
    /// Since when something is held back.
    held_since: Option<Instant>,
}

impl Evacuation {
    /// With what the table on disk gives away closed: to be called before sinks deliver anything.
    pub(super) fn new(
        traffic: Arc<Traffic>,
        transfers: Arc<Transfers>,
        takers: Arc<dyn Takers>,
        metrics: Metrics,
        (end, phase): (watch::Receiver<Position>, watch::Receiver<Phase>),
    ) -> Result<Self, LogError> {
        let closed = all(&destinations(&traffic.table(), traffic.region()));
        if !closed.is_empty() {
            // Nothing is under way, so nothing is waited for.
            drop(transfers.close_away(&closed));
        }
        let (log, region) = (transfers.log_id()?, traffic.region().to_owned());
        let jobs = Jobs { transfers: transfers.clone(), takers, log, region };
        let (gate, away) = (transfers.evacuation(), Away::new(&closed));
        let (plan, regions) = (Destinations::new(), BTreeMap::new());
        Ok(Self {
            traffic,
            transfers,
            metrics,
            gate,
            end,
            phase,
            jobs,
            away,
            version: 0,
            plan,
            regions,
            held_since: None,
        })
    }

    /// Gives until the phase is [`Phase::Finishing`] and what was on its way has arrived, or the log has ended.
    pub(super) async fn run(mut self) {
        let mut tables = self.traffic.tables();
        let mut closing: Option<BoxFuture<'static, Result<(), NotStored>>> = None;
        let mut under_way = FuturesUnordered::new();
        loop {
            let gates = self.gate.gates.borrow_and_update().clone();
            let finishing = *self.phase.borrow_and_update() == Phase::Finishing;
            if finishing && under_way.is_empty() {
                return;
            }
            let now = Instant::now();
            self.follow(&tables.borrow_and_update().clone(), now);
            self.assign(&gates, now);
            let flying = self.regions.values().fold(SlotSet::default(), |all, region| all.union(&region.flying()));
            if flying.common(&gates.unclaimed).is_empty() {
                self.gate.done.send_replace(gates.version);
            }
            let open = self.away.open_next(&flying);
            if !open.is_empty() {
                self.transfers.open_away(&open);
            }
            if let Some(close) = self.away.close_next() {
                closing = Some(self.transfers.close_away(&close).boxed());
            }
            let end = *self.end.borrow_and_update();
            let mut wake = None;
            for (name, region) in self.regions.iter_mut().filter(|_| !finishing) {
                let (tasks, at) = region.next(now, end);
                wake = wake.into_iter().chain(at).min();
                for (shard, task) in tasks {
                    let (jobs, name) = (self.jobs.clone(), name.clone());
                    under_way.push(async move {
                        let carried = jobs.run(&name, task).await;
                        (name, shard, carried)
                    });
                }
            }
            self.tell(&gates, now);
            let closed = async {
                match &mut closing {
                    Some(closing) => closing.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some((region, shard, carried)) = under_way.next(), if !under_way.is_empty() => {
                    self.ended(&region, &shard, carried);
                }
                closed = closed => {
                    closing = None;
                    if closed.is_err() {
                        return;
                    }
                    self.away.closed();
                }
                changed = self.gate.gates.changed() => if changed.is_err() { return },
                changed = tables.changed() => if changed.is_err() { return },
                changed = self.phase.changed() => if changed.is_err() { return },
                changed = self.end.changed(), if self.is_waiting(end) => if changed.is_err() { return },
                () = sleep_until(wake), if wake.is_some() => {}
            }
        }
    }

    /// Goes by another table, if it is one.
    fn follow(&mut self, table: &TrafficTable, now: Instant) {
        if table.version == self.version {
            return;
        }
        self.version = table.version;
        self.plan = destinations(table, self.traffic.region());
        self.away.want(&all(&self.plan));
        for region in self.plan.keys() {
            if let Some(known) = table.regions.iter().find(|known| known.name == *region) {
                let region = self.regions.entry(region.clone()).or_insert_with(|| Region::new(now));
                region.guide(Places::new(known), rate(known.takes_per_second, givers(table)), now);
            }
        }
        if self.plan.is_empty() {
            self.jobs.takers.rest();
        } else {
            let regions: Vec<_> = self.plan.keys().map(String::as_str).collect();
            tracing::info!(slots = all(&self.plan).iter().count(), to = regions.join(", "), "gives slots away");
        }
    }

    /// Says to each region what may be given to it now.
    fn assign(&mut self, gates: &Gates, now: Instant) {
        let givable = self.away.givable().without(&gates.unclaimed);
        let flying: Vec<_> = self.regions.iter().map(|(name, region)| (name.clone(), region.flying())).collect();
        for (name, region) in &mut self.regions {
            let mine = self.plan.get(name).copied().unwrap_or_default();
            let elsewhere = flying.iter().filter(|(other, _)| other != name);
            let elsewhere = elsewhere.fold(SlotSet::default(), |all, (_, flying)| all.union(flying));
            region.assign(&mine.common(&givable), &elsewhere, gates.inherited_end, now);
        }
        let plan = &self.plan;
        self.regions.retain(|name, region| plan.contains_key(name) || !region.is_idle());
    }

    fn ended(&mut self, name: &str, shard: &Shard, carried: Carried) {
        self.metrics.handed_to_region(carried.moved);
        let news = self.regions.get_mut(name).and_then(|region| region.ended(shard, carried, Instant::now()));
        let shard = shard.as_deref().unwrap_or("any");
        match news {
            Some(News::Fails(reason)) => {
                tracing::warn!(region = name, shard, reason, "a shard of another region does not take events over");
            }
            Some(News::Goes) => tracing::info!(region = name, shard, "the shard takes events over again"),
            None => {}
        }
    }

    /// Whether something waits for the own log to grow.
    fn is_waiting(&self, end: Position) -> bool {
        self.regions.values().any(|region| region.waits_for(end))
    }

    fn tell(&mut self, gates: &Gates, now: Instant) {
        let slots = all(&self.plan).without(&gates.unclaimed);
        let slots = slots.iter().filter(|&slot| slot != KEYLESS).count();
        let events = self.regions.values().map(Region::remaining).sum();
        self.traffic.away(u32::try_from(slots).unwrap_or(u32::MAX), events);
        let held = self.regions.values_mut().any(|region| region.held_back(now));
        if let Some(since) = self.held_since.take() {
            self.metrics.held_back(now.saturating_duration_since(since));
        }
        self.held_since = held.then_some(now);
    }
}

/// All slots that go somewhere.
fn all(plan: &Destinations) -> SlotSet {
    plan.values().fold(SlotSet::default(), SlotSet::union)
}

/// How many shards give something away.
fn givers(table: &TrafficTable) -> usize {
    let givers = table.regions.iter().filter(|region| region.keeps_permille < 1000);
    givers.map(|region| region.shards.len()).sum()
}

/// The part of what a region takes in a second that one of so many shards may give. They all have the same.
#[allow(clippy::cast_precision_loss, reason = "numbers of events a second and of shards")]
fn rate(takes_per_second: u64, givers: usize) -> Option<f64> {
    (takes_per_second > 0).then(|| takes_per_second as f64 / givers.max(1) as f64)
}

async fn sleep_until(at: Option<Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at.into()).await;
    }
}
