//! The table that all shards of a fleet go by, and its version. Pure.
//!
//! The version is one more than the one that was remembered whenever the table says something else, and far more where
//! shards know of tables that are not remembered. A fleet that ever had a table keeps having one: shards that are left
//! with an old one would go by it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use jiff::Timestamp;
use signalbox_contract::{BreakerPhase, CONTROL_PORT, EVENTS_PORT, RegionShard, RegionTraffic, TrafficTable};

use super::{RECHECK_WHILE_SHIFTING, Region, Takes, Traffic, part};
use crate::fleet::{
    Behind, FleetIntent, FleetSnapshot, RegionSnapshot, RegionTrafficPlan, TrafficHistory, TrafficMemory, TrafficPlan,
    digest, names,
};

/// By how much the version grows where shards know of tables that are not remembered.
const LEAP: u64 = 64;
/// The largest version: what programs that hold numbers as floating point still tell from the next.
const LARGEST: u64 = 1 << 53;
/// A shard that says nothing of traffic has no table yet, or is of an image from before it: it is given one so often.
const AGAIN: Duration = Duration::from_secs(5);
/// One that has another is given the latest one so often, until it says that it has it.
const SOON: Duration = Duration::from_secs(1);

/// One region of the spec, as it is listed.
#[derive(Clone, Copy, Debug)]
pub(in crate::decide) struct Listed {
    /// Shards that own slots. `None`: its shards take part in no routing.
    pub(in crate::decide) owners: Option<u32>,
    /// Its share of new connections, in thousandths.
    pub(in crate::decide) permille: u32,
    /// Shards that may be listed.
    pub(in crate::decide) places: u32,
}

/// A region, what was decided of it, and how it is listed.
struct Entry<'a> {
    region: &'a Region<'a>,
    takes: Takes,
    keeps: u32,
    listed: &'a Listed,
}

/// What was decided, what to know of it next time, and when to look again.
pub(in crate::decide) struct Told {
    pub(in crate::decide) plan: TrafficPlan,
    pub(in crate::decide) history: TrafficHistory,
    pub(in crate::decide) recheck_after: Option<Duration>,
}

/// Decides what shards are to know. `listed` is in the order of the regions.
pub(in crate::decide) fn desired_table(
    intent: &FleetIntent,
    snapshot: &FleetSnapshot,
    memory: &TrafficMemory,
    regions: &[Region<'_>],
    traffic: Traffic,
    listed: &[Listed],
    now: Timestamp,
) -> Told {
    let keeps = keeps(regions, &traffic, listed);
    let Traffic { regions: plans, sheds, takes, shift, mut history, .. } = traffic;
    let entries = regions.iter().zip(takes).zip(keeps).zip(listed);
    let entries = entries.map(|(((region, takes), keeps), listed)| Entry { region, takes, keeps, listed });
    let entries: Vec<_> = entries.filter_map(|entry| entry.traffic(intent, snapshot, sheds)).collect();
    let waits = shift.as_ref().is_some_and(|shift| !shift.done);
    let plans = regions.iter().zip(plans).zip(listed);
    let plans = plans
        .map(|((region, plan), listed)| (region.name.to_owned(), RegionTrafficPlan { places: listed.places, ..plan }));
    let mut plan = TrafficPlan { regions: plans.collect(), digest: memory.digest, shift, ..TrafficPlan::default() };
    let highest = highest(snapshot);
    let mut recheck_after = waits.then_some(RECHECK_WHILE_SHIFTING);
    if memory.version > 0 || highest > 0 || regions.len() > 1 && !entries.is_empty() {
        let mut table = TrafficTable { fleet: intent.name.clone(), version: 0, regions: entries };
        // What tells one table from another, whatever their versions.
        plan.digest = digest(&table);
        table.version = match () {
            () if highest > memory.version => highest.saturating_add(LEAP),
            () if plan.digest == memory.digest && memory.version > 0 => memory.version,
            () => memory.version.saturating_add(1),
        };
        let again = behind(intent, snapshot, table.version, &mut plan, &mut history, now);
        recheck_after = [recheck_after, again].into_iter().flatten().min();
        plan.table = Some(table);
    }
    Told { plan, history, recheck_after }
}

impl Entry<'_> {
    /// `None`: the region has no shards that could go by it.
    fn traffic(&self, intent: &FleetIntent, snapshot: &FleetSnapshot, sheds: bool) -> Option<RegionTraffic> {
        let name = self.region.name;
        let seen = snapshot.regions.get(name)?;
        Some(RegionTraffic {
            name: name.to_owned(),
            phase: self.region.phase,
            keeps_permille: self.keeps,
            takes_weight: self.takes.weight,
            takes_per_second: self.takes.per_second,
            sheds,
            shards: shards(intent, name, seen, self.listed.owners?),
        })
    }
}

/// Who is to be given the table: whoever says that it goes by another, and now and then whoever does not say.
fn behind(
    intent: &FleetIntent,
    snapshot: &FleetSnapshot,
    version: u64,
    plan: &mut TrafficPlan,
    history: &mut TrafficHistory,
    now: Timestamp,
) -> Option<Duration> {
    let (mut given, mut again) = (BTreeMap::new(), None);
    let mut wait = |time: Duration| again = Some(again.map_or(time, |again: Duration| again.min(time)));
    for (region, seen) in &snapshot.regions {
        for (ordinal, shard) in &seen.shards {
            let Some((pod, report)) = shard.pod.as_ref().zip(shard.report.value()) else { continue };
            let Some(ip) = pod.ip.clone() else { continue };
            match (&report.shard.traffic, &report.shard.routing) {
                (Some(traffic), _) if traffic.version < version => wait(SOON),
                (Some(_), _) | (None, None) => continue,
                (None, Some(_)) => {
                    wait(AGAIN);
                    let last = history.given.get(&pod.uid).filter(|last| **last <= now);
                    if let Some(last) = last.filter(|last| now.duration_since(**last).unsigned_abs() < AGAIN) {
                        given.insert(pod.uid.clone(), *last);
                        continue;
                    }
                    given.insert(pod.uid.clone(), now);
                }
            }
            plan.behind.push(Behind { pod: names::pod(&intent.name, region, *ordinal), ip });
        }
    }
    history.given = given;
    again
}

/// The latest table that any shard goes by.
fn highest(snapshot: &FleetSnapshot) -> u64 {
    versions(snapshot).filter(|version| *version <= LARGEST).max().unwrap_or(0)
}

fn versions(snapshot: &FleetSnapshot) -> impl Iterator<Item = u64> {
    let shards = snapshot.regions.values().flat_map(|region| region.shards.values());
    shards.filter_map(|shard| Some(shard.report.value()?.shard.traffic.as_ref()?.version))
}

/// Of the slots of each region's shards, how many thousandths they deliver by themselves.
pub(super) fn keeps(regions: &[Region<'_>], traffic: &Traffic, listed: &[Listed]) -> Vec<u32> {
    let some_take = traffic.takes.iter().any(|takes| takes.weight > 0);
    let keeps = |(at, region): (usize, &Region<'_>)| match region.phase {
        BreakerPhase::Serving => 1_000,
        // There is nobody to hand over to.
        _ if !some_take => 1_000,
        BreakerPhase::Tripped => 0,
        BreakerPhase::Probing => {
            let plan = &traffic.regions[at];
            match (plan.goal_permille.min(plan.share_permille), listed[at].permille) {
                // Nothing new comes: of what it holds, it tries as much as its step says.
                (_, 0) => region.percent.clamp(1, 100) * 10,
                (share, comes) => (share * 1_000 / comes).min(1_000),
            }
        }
    };
    regions.iter().enumerate().map(keeps).collect()
}

/// The share of new events that each region delivers, in thousandths: what comes, less what is handed over.
pub(in crate::decide) fn delivered(regions: &[Region<'_>], traffic: &Traffic, listed: &[Listed]) -> Vec<u32> {
    let keeps = keeps(regions, traffic, listed);
    let kept: Vec<u32> = listed.iter().zip(&keeps).map(|(listed, keeps)| listed.permille * keeps / 1_000).collect();
    let weights: u64 = traffic.takes.iter().map(|takes| u64::from(takes.weight)).sum();
    let come: u32 = listed.iter().map(|listed| listed.permille).sum();
    let away = u64::from(come.saturating_sub(kept.iter().sum()));
    let taken = traffic.takes.iter().map(|takes| part(away, takes.weight.into(), weights));
    kept.iter().zip(taken).map(|(kept, taken)| kept + u32::try_from(taken).unwrap_or(0)).collect()
}

fn shards(intent: &FleetIntent, region: &str, seen: &RegionSnapshot, owners: u32) -> Vec<RegionShard> {
    let (fleet, namespace, service) = (&intent.name, &intent.namespace, names::shards(&intent.name, region));
    let shard = |ordinal| {
        let pod = seen.shards.get(&ordinal).and_then(|shard| shard.pod.as_ref());
        let ip = pod.and_then(|pod| pod.ip.as_ref()?.parse::<IpAddr>().ok());
        RegionShard {
            address: format!("{}.{service}.{namespace}.svc:{CONTROL_PORT}", names::pod(fleet, region, ordinal)),
            events: ip.map(|ip| SocketAddr::new(ip, EVENTS_PORT)),
        }
    };
    (0..owners).map(shard).collect()
}
