//! Why a region is as it is: the one thing that somebody should look at next. Pure.
//!
//! What keeps shards from serving comes before what keeps the plan from being finished, and both before what is
//! merely good to know.

use std::time::Duration;

use jiff::Timestamp;
use signalbox_contract::BreakerPhase;

use super::shards::{Held, HeldBy, ShardsDecision};
use crate::fleet::{
    BreakerPlan, FleetIntent, Observation, PodTrouble, RegionReason, RegionSnapshot, RoutingPlan, ShardSnapshot,
    Standing, TroubleKind, names,
};

/// What is known of a region.
pub(super) struct Region<'a> {
    pub(super) intent: &'a FleetIntent,
    pub(super) name: &'a str,
    pub(super) weight: u32,
    /// Shards that are to stay.
    pub(super) wanted: u32,
    pub(super) seen: &'a RegionSnapshot,
    pub(super) shards: &'a ShardsDecision,
    pub(super) standing: Standing,
    /// Where its breaker is, if the spec has it.
    pub(super) breaker: Option<&'a BreakerPlan>,
    /// Who owns its slots, if shards take part in routing.
    pub(super) routing: Option<&'a RoutingPlan>,
    /// Every one of them serves and runs the latest spec.
    pub(super) complete: bool,
    pub(super) now: Timestamp,
}

/// A reason and its sentence.
pub(super) struct Explanation {
    pub(super) reason: RegionReason,
    pub(super) message: String,
}

/// Explains.
pub(super) fn explain(region: &Region<'_>) -> Explanation {
    let (reason, message) = match region.standing {
        Standing::Gone => {
            (RegionReason::Leaving, "nothing is held here any more; its objects are being deleted".to_owned())
        }
        Standing::Leaving => (RegionReason::Leaving, region.waiting_for("the region is not in the spec any more")),
        Standing::Stays => region.out_of_service(region.staying()),
    };
    Explanation { reason, message }
}

impl Region<'_> {
    /// A region whose breaker is not Serving says so first.
    fn out_of_service(&self, (reason, message): (RegionReason, String)) -> (RegionReason, String) {
        let Some(breaker) = self.breaker else { return (reason, message) };
        let reason = match breaker.memory.phase {
            BreakerPhase::Serving => return (reason, message),
            BreakerPhase::Tripped => RegionReason::Tripped,
            BreakerPhase::Probing => RegionReason::Probing,
        };
        let parts = [breaker.message.as_str(), message.as_str()].into_iter().filter(|part| !part.is_empty());
        (reason, parts.collect::<Vec<_>>().join("; "))
    }

    fn staying(&self) -> (RegionReason, String) {
        let wanted = self.wanted;
        if !self.complete {
            return self.unsettled(wanted);
        }
        if !self.shards.held.is_empty() {
            let why = format!("{wanted} of {} shards stay", self.shards.replicas);
            return (RegionReason::Draining, self.waiting_for(&why));
        }
        if let Some(waits) = self.routing.and_then(|routing| routing.waits.as_ref()) {
            return (RegionReason::Claiming, format!("{} ready; {waits}", plural_of(wanted)));
        }
        let silent: Vec<_> = self.silent().collect();
        if let Some(first) = silent.first() {
            let others = others_like_it(silent.len());
            let message = format!("{} ready; what it holds is not known of {first}{others}", plural_of(wanted));
            return (RegionReason::ReportsMissing, message);
        }
        if let Some(stranded) = self.stranded() {
            return (RegionReason::Stranded, format!("{} ready; {stranded}", plural_of(wanted)));
        }
        if self.weight == 0 {
            return (
                RegionReason::OutOfService,
                format!("{} ready; weight 0 keeps new events away", plural_of(wanted)),
            );
        }
        (RegionReason::Serving, format!("{} ready", plural_of(wanted)))
    }

    fn stranded(&self) -> Option<&str> {
        self.routing?.stranded.as_deref()
    }

    fn unsettled(&self, wanted: u32) -> (RegionReason, String) {
        let (reason, message) = self.lacking(wanted);
        (reason, [Some(message.as_str()), self.stranded()].into_iter().flatten().collect::<Vec<_>>().join("; "))
    }

    fn lacking(&self, wanted: u32) -> (RegionReason, String) {
        let ready = self.seen.serving_below(wanted);
        let count = format!("{ready} of {} ready", plural_of(wanted));
        if let Some((ordinal, trouble)) = self.trouble() {
            return (reason_of(trouble.kind), format!("{count}; {}", self.describe(ordinal, trouble)));
        }
        let set = names::region(&self.intent.name, self.name);
        let look = self.mounting().unwrap_or_else(|| format!("see StatefulSet {set}"));
        match self.seen.rollout {
            Some(rollout) if !rollout.complete && (rollout.replaces || ready == wanted) => {
                let updated = rollout.updated;
                (RegionReason::RollingOut, format!("{count}, {updated} of {wanted} run the new spec; {look}"))
            }
            _ => (RegionReason::Starting, format!("{count}; {look}")),
        }
    }

    /// A pod that waits for its volumes may wait for a Secret. Kubernetes says that in an event only.
    fn mounting(&self) -> Option<String> {
        let secrets: Vec<_> = self.intent.secrets().into_iter().collect();
        let mut shards = self.seen.shards.range(..self.shards.replicas);
        let waits = |shard: &ShardSnapshot| shard.pod.as_ref().is_some_and(|pod| pod.mounting && !pod.terminating);
        let (ordinal, _) = shards.find(|(_, shard)| !secrets.is_empty() && waits(shard))?;
        let pod = names::pod(&self.intent.name, self.name, *ordinal);
        Some(format!("Pod {pod} waits for its volumes; see Secret {}", secrets.join(" and Secret ")))
    }

    fn trouble(&self) -> Option<(u32, &PodTrouble)> {
        let mut troubles = self.seen.shards.iter().filter(|(ordinal, _)| **ordinal < self.shards.replicas);
        troubles.find_map(|(ordinal, shard)| Some((*ordinal, shard.pod.as_ref()?.trouble.as_ref()?)))
    }

    fn describe(&self, ordinal: u32, trouble: &PodTrouble) -> String {
        let pod = names::pod(&self.intent.name, self.name, ordinal);
        let said = trouble.message.trim_end_matches('.');
        match trouble.kind {
            TroubleKind::VolumeUnavailable => {
                let claim = names::claim(&self.intent.name, self.name, ordinal);
                let class = match &self.intent.queue.storage_class {
                    Some(class) => format!("StorageClass {class}"),
                    None => "the default StorageClass".to_owned(),
                };
                format!("{said}; see PersistentVolumeClaim {claim}, which asks for {class}")
            }
            TroubleKind::Unschedulable
            | TroubleKind::ImageUnavailable
            | TroubleKind::Crashing
            | TroubleKind::ContainerRejected => format!("{said}; see Pod {pod}"),
        }
    }

    fn waiting_for(&self, why: &str) -> String {
        let Some(Held { ordinal, by }) = self.shards.held.first() else { return why.to_owned() };
        let pod = names::pod(&self.intent.name, self.name, *ordinal);
        let waits = match by {
            HeldBy::Backlog(events) => {
                format!("{} to be delivered", plural(usize::try_from(*events).unwrap_or(usize::MAX), "event"))
            }
            HeldBy::HandingOver(None) => "its report, to hand over what it holds".to_owned(),
            HeldBy::HandingOver(Some(0)) => "the others to know that it has handed over everything".to_owned(),
            HeldBy::HandingOver(Some(events)) => {
                format!("{} to be handed over", plural(usize::try_from(*events).unwrap_or(usize::MAX), "event"))
            }
            HeldBy::NotQuietYet => "producers to move on".to_owned(),
            HeldBy::Unknown => "its report, because it may hold events".to_owned(),
        };
        let others = others_like_it(self.shards.held.len());
        format!("{why}; Pod {pod} waits for {waits}{others}")
    }

    fn silent(&self) -> impl Iterator<Item = String> {
        self.seen.shards.iter().filter_map(|(ordinal, shard)| {
            let Observation::Unreachable(not_read) = &shard.report else { return None };
            let silence = self.now.duration_since(not_read.since).unsigned_abs();
            let pod = names::pod(&self.intent.name, self.name, *ordinal);
            (is_silent(shard) && silence >= SILENCE_WORTH_TELLING).then(|| format!("Pod {pod}, {}", not_read.why))
        })
    }
}

/// For how long a shard may be silent before it is worth a word: longer than a restart or a lost packet.
pub(super) const SILENCE_WORTH_TELLING: Duration = Duration::from_secs(10);

/// Whether a shard that should say what it holds does not.
pub(super) fn is_silent(shard: &ShardSnapshot) -> bool {
    shard.is_serving() && matches!(shard.report, Observation::Unreachable(_))
}

fn reason_of(kind: TroubleKind) -> RegionReason {
    match kind {
        TroubleKind::Unschedulable => RegionReason::Unschedulable,
        TroubleKind::VolumeUnavailable => RegionReason::VolumeUnavailable,
        TroubleKind::ImageUnavailable => RegionReason::ImageUnavailable,
        TroubleKind::Crashing => RegionReason::Crashing,
        TroubleKind::ContainerRejected => RegionReason::ContainerRejected,
    }
}

/// What follows the first of `count`, of which the rest are in the same way.
fn others_like_it(count: usize) -> String {
    if count <= 1 { String::new() } else { format!(", and {} like it", count - 1) }
}

fn plural_of(shards: u32) -> String {
    plural(usize::try_from(shards).unwrap_or(usize::MAX), "shard")
}

fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}
