//! Which shards of a region own slots, which may hold events, and for whom nobody waits. Pure.
//!
//! ```text
//! no table --first--> table --+-- a shard came, and has told its log ---> it owns slots
//!                             +-- fewer shards are wanted -------------> those beyond hand over, and stay in the table
//!                             +-- one of those is empty ---------------> it leaves the table, and then may go
//!                             +-- silent for long, and waited for ------> it is lost; heard again: not any more
//!                             +-- a shard has another log --------------> its volume was lost
//! ```
//!
//! A table is changed only when it must be, and grows and shrinks only while all that must seal are there: each change has
//! every shard seal, and some of them hand over. Every change is made from the table that was remembered, so it counts from
//! there; nobody is given it before it is remembered too. What shards still hold is counted beside the table.
//!
//! **Invariants:** the epoch only grows, and no epoch is given to two tables. A shard that leaves the table said that it
//! is empty under it, without owning slots, or its volume is gone. A missing report changes nothing before [`LOST`].

mod first;
mod heard;
mod held;
mod words;

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::fleet::{Behind, RegionSnapshot, Routing, RoutingPlan, ShardSnapshot, Volume, names};
pub(super) use heard::is_old;
use heard::{Heard, heard};

/// For how long shards that start are waited for, to give slots to all of them by one table.
const TOGETHER: Duration = Duration::from_secs(3);
/// For how long a shard must have been silent before it is taken for lost: longer than a restart, and than a node takes
/// to come back. Another one must be waiting for it.
pub(super) const LOST: Duration = Duration::from_mins(1);
/// A shard whose report is older may be away.
const FRESH: Duration = Duration::from_secs(5);
/// By how much an epoch grows when there are tables that are not remembered: more than were made of which no shard that
/// is heard knows.
const LEAP: u64 = 64;

/// While a shard goes by an old table, it is given the new one again and again; and while one that is there has none, it
/// is only waited for others so long.
const RECHECK_WHILE_BEHIND: Duration = Duration::from_secs(1);
/// While slots wait, or a change does, somebody may turn out to be lost.
const RECHECK_WHILE_CLAIMING: Duration = Duration::from_secs(2);

/// What there is to know of a region.
#[derive(Clone, Copy)]
pub(super) struct Situation<'a> {
    /// The fleet's name.
    pub(super) fleet: &'a str,
    /// The region's.
    pub(super) region: &'a str,
    /// Shards that are to stay. `None`: the region left the spec, and its shards deliver what they hold.
    pub(super) target: Option<u32>,
    /// Whether somebody else decides how many there are: those beyond are going already.
    pub(super) external: bool,
    pub(super) seen: &'a RegionSnapshot,
    /// The table that was given out last.
    pub(super) remembered: Option<&'a Routing>,
    /// Since when shards of it have not been heard.
    pub(super) silences: Option<&'a BTreeMap<u32, Timestamp>>,
    /// Events that shards of it held when they were heard last.
    pub(super) held: Option<&'a BTreeMap<u32, u64>>,
    pub(super) now: Timestamp,
}

/// What is decided, and what to know of this look with the next one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Decided {
    /// `None` while the region has no table.
    pub(super) plan: Option<RoutingPlan>,
    /// Since when shards of the table have not been heard.
    pub(super) silences: BTreeMap<u32, Timestamp>,
    /// Events that shards of it held when they were heard last.
    pub(super) held: BTreeMap<u32, u64>,
    /// When to look again; `None` if there is nothing to wait for.
    pub(super) recheck_after: Option<Duration>,
}

/// Whether shards of a region that has a table go by it. They do not when all that report are from before routing.
pub(super) fn applies(seen: &RegionSnapshot) -> bool {
    !heard(seen).is_empty() || !seen.shards.values().any(is_old)
}

/// Decides.
pub(super) fn desired_routing(situation: &Situation<'_>) -> Decided {
    let look = Look { situation: *situation, heard: heard(situation.seen) };
    let Some(table) = look.table() else {
        let waits = !look.heard.is_empty() && situation.target.is_some();
        return Decided { recheck_after: waits.then_some(RECHECK_WHILE_BEHIND), ..Decided::default() };
    };
    let routing = Routing { held: look.held(&table), ..table };
    let held = look.held_last(&routing);
    let silent = routing.peers.keys().filter(|ordinal| !look.heard.contains_key(ordinal));
    let silences = silent.map(|&ordinal| (ordinal, look.silent_since(ordinal).unwrap_or(situation.now))).collect();
    let plan = look.plan(routing);
    let is_outside = |ordinal: &u32| Some(*ordinal) < situation.target && !plan.routing.peers.contains_key(ordinal);
    let recheck_after = match () {
        () if !plan.behind.is_empty() || look.heard.keys().any(is_outside) => Some(RECHECK_WHILE_BEHIND),
        () if plan.claiming > 0 || look.resizes(&plan.routing) => Some(RECHECK_WHILE_CLAIMING),
        () => None,
    };
    Decided { plan: Some(plan), silences, held, recheck_after }
}

/// One look at a region.
struct Look<'a> {
    situation: Situation<'a>,
    heard: BTreeMap<u32, Heard<'a>>,
}

impl Look<'_> {
    /// The table. What is remembered beside it is as it was.
    fn table(&self) -> Option<Routing> {
        let remembered = self.situation.remembered;
        // The highest of all that any table that we do not know may have.
        let highest = self.heard.values().map(|heard| heard.says.epoch.max(heard.says.highest_epoch)).max();
        let Some(highest) = highest else { return remembered.cloned() };
        let known = remembered.map_or(0, |routing| routing.epoch);
        let forgotten = highest > known;
        let mut next = remembered.cloned().or_else(|| self.first(forgotten))?;
        self.learn_logs(&mut next);
        self.resize(&mut next);
        self.admit(&mut next, forgotten);
        self.release(&mut next, Some(known).filter(|_| !forgotten));
        self.lose(&mut next);
        if forgotten || remembered != Some(&next) {
            next.epoch = if forgotten { highest.saturating_add(LEAP) } else { known + 1 };
        }
        Some(next)
    }

    fn shard(&self, ordinal: u32) -> Option<&ShardSnapshot> {
        self.situation.seen.shards.get(&ordinal)
    }

    fn log(&self, ordinal: u32) -> u64 {
        self.heard.get(&ordinal).map_or(0, |heard| heard.says.log)
    }

    fn is_bound(&self, ordinal: u32) -> bool {
        self.shard(ordinal).is_some_and(|shard| shard.volume == Volume::Bound)
    }

    /// Whether it has no pod, and is to have none.
    fn is_gone(&self, ordinal: u32) -> bool {
        let no_pod = self.shard(ordinal).is_none_or(|shard| shard.pod.is_none());
        no_pod && self.situation.seen.rollout.is_some_and(|rollout| ordinal >= rollout.replicas)
    }

    /// A shard with another log than the table names does not take the table.
    fn learn_logs(&self, next: &mut Routing) {
        for (ordinal, log) in &mut next.peers {
            let Some(heard) = self.heard.get(ordinal).filter(|heard| heard.says.log != *log) else { continue };
            next.volumes_lost += u32::from(*log != 0);
            *log = heard.says.log;
        }
    }

    /// Who owns slots. At least one shard does: where none is wanted for now, the slots stay where they are.
    fn resize(&self, next: &mut Routing) {
        let Some(target) = self.situation.target.filter(|target| *target > 0) else { return };
        let steady = self.is_steady();
        if target < next.shards && (self.situation.external || steady && !self.is_under_way()) {
            next.shards = target;
        }
        let there = |ordinal: &u32| self.heard.get(ordinal).is_some_and(|heard| !heard.terminating);
        let came = count((next.shards..target).take_while(there));
        let waited = self.heard.get(&next.shards).is_some_and(|first| first.uptime >= TOGETHER);
        if came > 0 && steady && (next.shards + came == target || waited) {
            next.shards += came;
        }
    }

    /// Whether it is not as large as it is to be.
    fn resizes(&self, routing: &Routing) -> bool {
        self.situation.target.is_some_and(|target| target > 0 && target != routing.shards)
    }

    /// Whether all whose seal a change needs are there. Without one, slots that move would be nobody's until it is back; so
    /// they stay where they are accepted. One that is silent for long is not waited for: as soon as somebody claims, it is
    /// lost.
    fn is_steady(&self) -> bool {
        let Some(remembered) = self.situation.remembered else { return true };
        let now = self.situation.now;
        remembered.peers.keys().filter(|ordinal| !remembered.lost.contains(ordinal)).all(|ordinal| {
            let there = |heard: &Heard<'_>| !heard.terminating && heard.at + FRESH >= now;
            let lost = || self.silent_since(*ordinal).is_some_and(|since| since + LOST <= now);
            self.heard.get(ordinal).is_some_and(there) || lost()
        })
    }

    /// Whether an earlier change of the table is not done with.
    fn is_under_way(&self) -> bool {
        let Some(remembered) = self.situation.remembered else { return false };
        let busy = |(ordinal, heard): (&u32, &Heard<'_>)| {
            let behind = heard.says.epoch < remembered.epoch && remembered.peers.contains_key(ordinal);
            heard.says.claiming > 0 || behind
        };
        self.heard.iter().any(busy)
    }

    /// Who may hold events: the owners, and others that do. Where tables were forgotten, that is whoever may go by one.
    fn admit(&self, next: &mut Routing, forgotten: bool) {
        for ordinal in 0..next.shards {
            next.peers.entry(ordinal).or_insert_with(|| self.log(ordinal));
        }
        for (&ordinal, shard) in self.situation.seen.shards.range(next.shards..) {
            let may_hold = match self.heard.get(&ordinal) {
                Some(heard) => heard.backlog_events > 0 || forgotten && heard.says.epoch > 0 && !heard.says.empty,
                None => forgotten && shard.pod.is_some() && shard.volume == Volume::Bound,
            };
            if may_hold {
                next.peers.entry(ordinal).or_insert_with(|| self.log(ordinal));
            }
        }
    }

    /// Who holds nothing any more: `known` is the epoch of the table under which that must have been said. `None`: there is
    /// a later one that is not known, so nobody has.
    fn release(&self, next: &mut Routing, known: Option<u64>) {
        let owned = self.situation.remembered.map_or(0, |routing| routing.shards).max(next.shards);
        let (shards, mut gone_with_events) = (next.shards, 0);
        next.peers.retain(|&ordinal, log| {
            let heard = self.heard.get(&ordinal);
            let empty = heard.is_some_and(|heard| heard.says.empty && Some(heard.says.epoch) == known);
            let volume_gone = ordinal >= shards && self.is_gone(ordinal) && !self.is_bound(ordinal);
            gone_with_events += u32::from(volume_gone && *log != 0);
            !(volume_gone || ordinal >= owned && empty)
        });
        next.volumes_lost += gone_with_events;
    }

    /// For whom nobody waits. What they hold is not forgotten: they stay in the table.
    fn lose(&self, next: &mut Routing) {
        let Routing { peers, lost, shards, .. } = next;
        lost.retain(|ordinal| peers.contains_key(ordinal) && !self.heard.contains_key(ordinal));
        for &ordinal in peers.keys().filter(|ordinal| !self.heard.contains_key(ordinal)) {
            let silent = self.silent_since(ordinal).is_some_and(|since| since + LOST <= self.situation.now);
            let awaited = self.heard.values().any(|heard| heard.says.claiming > 0);
            // Somebody else took it away: it hands nothing over any more.
            let left = ordinal >= *shards && self.is_gone(ordinal);
            if left || silent && awaited {
                lost.insert(ordinal);
            }
        }
    }

    /// A clock that was set back: silence in the future was none.
    fn silent_since(&self, ordinal: u32) -> Option<Timestamp> {
        let since = *self.situation.silences?.get(&ordinal)?;
        (since <= self.situation.now).then_some(since)
    }

    fn plan(&self, routing: Routing) -> RoutingPlan {
        // A shard with another log than the table names would refuse it.
        let behind = self.heard.iter().filter(|(ordinal, heard)| {
            heard.says.epoch < routing.epoch && routing.peers.get(ordinal) == Some(&heard.says.log)
        });
        let behind = behind.filter_map(|(&ordinal, _)| {
            let ip = self.shard(ordinal)?.pod.as_ref()?.ip.clone()?;
            Some(Behind { pod: names::pod(self.situation.fleet, self.situation.region, ordinal), ip })
        });
        let behind: Vec<_> = behind.collect();
        let sum = |slots: fn(&Heard<'_>) -> u32| self.heard.values().map(slots).fold(0, u32::saturating_add);
        let (claiming, at_risk) = (sum(|heard| heard.says.claiming), sum(|heard| heard.says.at_risk));
        RoutingPlan {
            waits: self.waits(&routing, &behind, claiming),
            risk: self.risk(&routing, at_risk),
            stranded_events: self.stranded(&routing).map(|(_, events)| events).fold(0, u64::saturating_add),
            stranded: self.strands(&routing),
            behind,
            claiming,
            at_risk,
            routing,
        }
    }
}

fn count(ordinals: impl Iterator<Item = u32>) -> u32 {
    u32::try_from(ordinals.count()).unwrap_or(u32::MAX)
}
