//! What is told of a shift, in a sentence that changes only when shares or sizes do. Pure.

use signalbox_contract::BreakerPhase;

use super::goal::Goals;
use super::shift::room_per_second;
use super::{Region, Situation, part};
use crate::fleet::{Known, Shift, WhenAllUnhealthy};

/// `None`: every region is Serving.
pub(super) fn shift(situation: &Situation<'_>, goals: &Goals, shares: &[u32], total: Known<u64>) -> Option<Shift> {
    if !goals.episode {
        return None;
    }
    if goals.none_is_well {
        let message = match situation.when_all_unhealthy {
            WhenAllUnhealthy::HoldWeights => {
                "no region is well: new events are accepted by the weights of the spec, and wait"
            }
            WhenAllUnhealthy::Shed => "no region is well: new events are refused until one is",
        };
        return Some(Shift { done: true, message: message.to_owned() });
    }
    let regions = situation.regions;
    let away: Vec<usize> = (0..regions.len())
        .filter(|at| regions[*at].phase != BreakerPhase::Serving && regions[*at].weight > 0)
        .collect();
    let sum = |left: &[u32]| -> u32 { away.iter().map(|at| goals.spec[*at].saturating_sub(left[*at])).sum() };
    let (to_move, moved) = (percent(sum(&goals.by_phase)), percent(sum(shares)));
    let from = listed(away.iter().map(|at| regions[*at].name.to_owned()));
    let done = shares == goals.by_phase;
    let mut message = match () {
        () if done => format!("{to_move} % shifted away from {from}"),
        () if moved > to_move => format!("{moved} % shifted away from {from}, of which {to_move} % are to stay so"),
        () => format!("shifting {moved} of {to_move} % away from {from}"),
    };
    let short: Vec<_> = (0..regions.len()).filter(|at| shares[*at] < goals.by_phase[*at]).collect();
    if !short.is_empty() {
        let waits = short.iter().map(|at| waits_for(&regions[*at], goals.by_phase[*at], total));
        message = format!("{message}, waiting for {}", listed(waits));
    }
    let serves = |at: &usize| regions[*at].phase == BreakerPhase::Serving && goals.by_phase[*at] > 0;
    let told = |at: &usize, is: &dyn Fn(&Region<'_>, u32) -> bool| {
        is(&regions[*at], shares[*at]).then(|| regions[*at].name.to_owned())
    };
    let full =
        (0..regions.len()).filter(serves).filter_map(|at| told(&at, &|region, share| is_full(region, share, total)));
    let full: Vec<_> = full.collect();
    if !full.is_empty() {
        message = format!("{message}; more than 85 % of what they can settle goes to {}", listed(full.into_iter()));
    }
    let unknown = (0..regions.len()).filter(serves).filter_map(|at| told(&at, &|region, _| region.per_shard.is_none()));
    let unknown: Vec<_> = unknown.collect();
    if !unknown.is_empty() {
        message = format!(
            "{message}; nothing limits what goes to {}, because what shards can settle there is not known",
            listed(unknown.into_iter())
        );
    }
    Some(Shift { done, message })
}

fn waits_for(region: &Region<'_>, goal: u32, total: Known<u64>) -> String {
    let name = region.name;
    match (total, region.per_shard) {
        _ if region.ready == 0 => format!("a shard in {name}"),
        (Known::Is(total), Some(per_shard)) => {
            let asked = part(total, goal.into(), 1_000);
            let enough = (region.ready..=region.most).find(|shards| room_per_second(*shards, per_shard) >= asked);
            match enough.map(|shards| shards - region.ready) {
                Some(0) => format!("room in {name}"),
                Some(shards) => format!("{} in {name}", plural(shards)),
                None => format!("room in {name}, which may have {} at most", plural(region.most)),
            }
        }
        _ => format!("reports from {name}"),
    }
}

/// Whether it gets more than what may be led there.
fn is_full(region: &Region<'_>, share: u32, total: Known<u64>) -> bool {
    let (Known::Is(total), Some(per_shard)) = (total, region.per_shard) else { return false };
    part(total, share.into(), 1_000) > room_per_second(region.ready, per_shard)
}

fn plural(shards: u32) -> String {
    if shards == 1 { "1 shard".to_owned() } else { format!("{shards} shards") }
}

fn percent(permille: u32) -> u32 {
    (permille + 5) / 10
}

/// Things one after another: "a", "a and b", "a, b and c".
fn listed(things: impl Iterator<Item = String>) -> String {
    let mut things: Vec<_> = things.collect();
    match things.pop() {
        None => String::new(),
        Some(last) if things.is_empty() => last,
        Some(last) => format!("{} and {last}", things.join(", ")),
    }
}
