//! Where the breaker of each region is. Pure and total.
//!
//! ```text
//! reports, pods --evidence--> signs of each region --machine--> what it would become
//!                              (beside the others')                  |  rules: how many may go; who is held
//!                                                                    v
//!                                       what it becomes, why (words), and when to look again
//! ```
//!
//! What was seen for certain (nobody reaches it, no shard is ready) trips at once or after the window. What was inferred (a
//! sink fails from there, it refuses events) trips only where another region does better, and at most half of the regions.
//! What cannot be told changes nothing.
//!
//! **Invariant:** of the regions with weight, one at least is not Tripped.

mod count;
mod evidence;
mod machine;
mod reach;
mod rules;
mod sinks;
mod words;

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use signalbox_contract::BreakerPhase;

use crate::fleet::{
    BreakerHistory, BreakerMemory, BreakerPlan, FleetIntent, FleetMemory, FleetSnapshot, HeldPhase, RegionIntent,
    TripCause, whole_second,
};
use evidence::{Case, Evidence, Judgement};
use rules::{Outcome, Wish};

/// The breakers of a fleet, and what to know of this look with the next one.
pub(super) struct Breakers {
    /// Of each region of the spec, by name.
    pub(super) plans: BTreeMap<String, BreakerPlan>,
    /// By region.
    pub(super) history: BTreeMap<String, BreakerHistory>,
    /// No region with a weight is well: each is Tripped for what was seen of it, or would have to be, if it were not the last.
    pub(super) none_is_well: bool,
}

/// Decides about all regions of the spec together: how many may be taken out depends on how many are left.
pub(super) fn desired_phases(
    intent: &FleetIntent,
    snapshot: &FleetSnapshot,
    memory: &FleetMemory,
    now: Timestamp,
) -> Breakers {
    let mut history = BTreeMap::new();
    let mut looked_at: Vec<(&str, BreakerMemory, Evidence)> = Vec::new();
    for region in &intent.regions {
        let before = remembered(intent, &region.name, memory, now);
        let mut kept = snapshot.history.breakers.get(&region.name).cloned().unwrap_or_default();
        let evidence = evidence::of(intent, &region.name, snapshot, memory, &mut kept, now);
        history.insert(region.name.clone(), kept);
        looked_at.push((&region.name, before, evidence));
    }
    let none = BreakerHistory::default();
    let out: Vec<_> = (intent.regions.iter().zip(&looked_at))
        .map(|(region, (_, before, evidence))| stays_out(intent, region, before, evidence.reachable, now))
        .collect();
    let judgements: Vec<Judgement> = looked_at
        .iter()
        .map(|(name, before, evidence)| {
            let others = looked_at.iter().zip(&out).filter(|((other, ..), out)| other != name && !**out);
            let case = Case {
                intent: &intent.breaker,
                memory: before,
                history: history.get(*name).unwrap_or(&none),
                evidence,
                others: others.map(|((other, _, evidence), _)| (*other, evidence)).collect(),
                now,
            };
            case.judge()
        })
        .collect();
    let wishes: Vec<_> = (intent.regions.iter().zip(&looked_at).zip(&judgements))
        .map(|((region, (name, before, evidence)), judgement)| Wish {
            weight: region.weight,
            before: *before,
            next: machine::next(before, judgement.signs, &intent.breaker, draw(intent, name, before), now),
            hold: intent.manual.hold(name, now),
            reachable: evidence.reachable,
        })
        .collect();
    let outcomes = rules::settle(&wishes, &intent.breaker, now);
    let plans = (looked_at.iter().zip(&judgements)).zip(wishes.iter().zip(&outcomes)).map(
        |(((name, before, _), judgement), (wish, outcome))| {
            ((*name).to_owned(), plan(intent, name, before, judgement, wish, outcome, now))
        },
    );
    let none_is_well = is_none_well(&wishes, &outcomes, looked_at.iter().map(|(_, _, evidence)| evidence));
    Breakers { plans: plans.collect(), history, none_is_well }
}

/// Whether a region is out, and stays so with this look: nobody is held against it. One that comes back with this look counts
/// at once, or the next look at the very same would decide otherwise.
fn stays_out(
    intent: &FleetIntent,
    region: &RegionIntent,
    before: &BreakerMemory,
    reachable: bool,
    now: Timestamp,
) -> bool {
    before.phase == BreakerPhase::Tripped
        && match intent.manual.hold(&region.name, now) {
            Some(hold) => hold.phase == HeldPhase::Tripped,
            None => region.weight > 0 && !machine::comes_back(before, reachable, now),
        }
}

/// Of one that somebody holds it is not known how it would do.
fn is_none_well<'a>(wishes: &[Wish<'_>], outcomes: &[Outcome], seen: impl Iterator<Item = &'a Evidence>) -> bool {
    let by_sight = |cause: Option<TripCause>| cause.is_some_and(|cause| !cause.is_manual());
    let mut tripped = 0;
    let none = wishes.iter().zip(outcomes).zip(seen).filter(|((wish, _), _)| wish.weight > 0).all(
        |((_, outcome), evidence)| match outcome.memory.phase {
            BreakerPhase::Tripped => {
                tripped += 1;
                by_sight(outcome.memory.cause)
            }
            BreakerPhase::Serving | BreakerPhase::Probing => {
                !outcome.held && (evidence.ails() || by_sight(outcome.spared))
            }
        },
    );
    none && tripped > 0
}

fn remembered(intent: &FleetIntent, region: &str, memory: &FleetMemory, now: Timestamp) -> BreakerMemory {
    let Some(remembered) = memory.breakers.get(region) else { return BreakerMemory::serving(whole_second(now)) };
    let mut sane = machine::sane(remembered, &intent.breaker, now);
    // Whoever held it there does so no more: its time is over, and it says so until it is back.
    if sane.cause.is_some_and(TripCause::is_manual) && intent.manual.hold(region, now).is_none() {
        let over = sane.until.map(|until| until.min(whole_second(now)));
        sane.until = over.filter(|_| sane.phase == BreakerPhase::Tripped);
    }
    sane
}

fn plan(
    intent: &FleetIntent,
    region: &str,
    before: &BreakerMemory,
    judgement: &Judgement,
    wish: &Wish<'_>,
    outcome: &Outcome,
    now: Timestamp,
) -> BreakerPlan {
    let Outcome { memory, held, spared } = *outcome;
    let moved = (before.phase, before.step) != (memory.phase, memory.step);
    let from = moved.then_some(*before);
    let hold = wish.hold.filter(|_| held);
    let told = words::Told {
        region,
        intent: &intent.breaker,
        memory: &memory,
        from: from.as_ref(),
        judgement,
        hold,
        spared,
        now,
    };
    let (reason, message) = told.say();
    let until = memory.until.or(wish.hold.map(|hold| hold.until));
    let over = until.filter(|until| *until > now).map(|until| since(now, until));
    let step = (memory.phase == BreakerPhase::Probing).then_some(Duration::from_secs(1));
    let recheck_after = [over, step, judgement.recheck_after].into_iter().flatten().min();
    BreakerPlan { memory, from, reachable: wish.reachable, reason, message, recheck_after }
}

/// A number that differs from region to region, and from trip to trip, and is the same whoever decides.
fn draw(intent: &FleetIntent, region: &str, before: &BreakerMemory) -> impl Fn(u32) -> u64 {
    let since = before.since.as_second().to_le_bytes();
    let known = [intent.uid.as_bytes(), &[0], region.as_bytes(), &[0], &since].concat();
    move |trips| {
        known
            .iter()
            .chain(&trips.to_le_bytes())
            .fold(FNV_BASIS, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME))
    }
}

/// Of FNV-1a, 64 bits: a hash that stays what it is.
const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
/// Its multiplier.
const FNV_PRIME: u64 = 0x0100_0000_01b3;

/// How long ago something was; zero if it is yet to come.
fn since(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(at)).unwrap_or_default()
}
