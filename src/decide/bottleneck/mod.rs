//! What limits each region, and until when that goes well. Pure.
//!
//! ```text
//! reports --reading--> one look --classify--> a limit, or not known
//!                                     |  looks of the last half minute agree (steady)
//!                                     v
//! history of the backlog --forecast--> bottleneck: limit, sentence, when it saturates
//! ```
//!
//! One look says what the newest reports say; only what several looks agree on is told, so that noise tells nothing.
//! What is not known is not told: a region whose shards are silent is limited by nothing that we know of, and that is
//! not the same as by nothing.
//!
//! **Invariant:** the history is bounded: [`steady::MOST_LOOKS`] looks, [`forecast::MOST_POINTS`] points, and one entry
//! a sink of the spec.

mod classify;
mod forecast;
mod quickest;
mod reading;
mod steady;
mod trend;
mod words;

#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::Timestamp;

use crate::fleet::{
    Bottleneck, FleetHistory, FleetIntent, FleetSnapshot, Known, Limit, RegionHistory, RegionIntent, RegionSnapshot,
};
use reading::Reading;

/// How soon to look again while it is not clear what limits a region, or something does.
const RECHECK_SOON: Duration = Duration::from_secs(5);
/// And while it takes events, and nothing limits it.
const RECHECK: Duration = Duration::from_secs(20);

/// What limits a fleet.
pub(super) struct Monitored {
    /// One of each region of the spec, in its order.
    pub(super) bottlenecks: Vec<Bottleneck>,
    /// For the next look.
    pub(super) history: FleetHistory,
    /// When to look again; `None` if there is nothing to wait for.
    pub(super) recheck_after: Option<Duration>,
}

impl Monitored {
    /// What limits a region, if that is known.
    pub(super) fn limit(&self, region: &str) -> Option<&Limit> {
        self.bottlenecks.iter().find(|bottleneck| bottleneck.region == region)?.limit.is()
    }
}

/// Looks at a fleet.
pub(super) fn monitor(intent: &FleetIntent, snapshot: &FleetSnapshot, now: Timestamp) -> Monitored {
    let mut monitored = Monitored { bottlenecks: Vec::new(), history: FleetHistory::default(), recheck_after: None };
    let unseen = RegionSnapshot::default();
    for region in &intent.regions {
        let seen = snapshot.regions.get(&region.name).unwrap_or(&unseen);
        let before = snapshot.history.regions.get(&region.name).cloned().unwrap_or_default();
        let (bottleneck, history, recheck) = look(intent, region, seen, before, now);
        monitored.bottlenecks.push(bottleneck);
        monitored.history.regions.insert(region.name.clone(), history);
        monitored.recheck_after = [monitored.recheck_after, recheck].into_iter().flatten().min();
    }
    monitored
}

fn look(
    intent: &FleetIntent,
    region: &RegionIntent,
    seen: &RegionSnapshot,
    mut history: RegionHistory,
    now: Timestamp,
) -> (Bottleneck, RegionHistory, Option<Duration>) {
    // A clock that was set back: what was seen in the future was not seen.
    if history.since.is_some_and(|since| since > now) {
        history = RegionHistory::default();
    }
    history.since.get_or_insert(now);
    let reading = Reading::of(intent, seen, now);
    quickest::learn(&mut history.quickest, &reading, now);
    let found = classify::limit(&reading, &history.quickest);
    let changed = steady::look(&mut history, found.clone(), now);
    if let Known::Is(limit) = &history.told {
        // The numbers of a sentence move all the time. They are brought up to date now and then.
        let stale = history.worded_at.is_none_or(|at| words::is_stale(at, now));
        if changed || (stale && found.as_ref() == Some(limit)) {
            history.message = words::sentence(limit, intent, region, &reading, &history.quickest);
            history.worded_at = Some(now);
        }
    } else {
        (history.message, history.worded_at) = (String::new(), None);
    }
    let forecast = forecast::look(&mut history, intent, &reading, now);
    let calm = history.told == Known::Is(Limit::Nothing) && found == Some(Limit::Nothing);
    let recheck = match (calm, reading.is_idle()) {
        (false, _) if history.told != Known::Unknown => Some(RECHECK_SOON),
        (true, true) => None,
        (_, _) => Some(RECHECK),
    };
    let bottleneck = Bottleneck {
        region: region.name.clone(),
        limit: history.told.clone(),
        message: history.message.clone(),
        forecast,
    };
    (bottleneck, history, recheck)
}

/// How long ago something was; zero if it is yet to come.
fn since(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(at)).unwrap_or_default()
}
