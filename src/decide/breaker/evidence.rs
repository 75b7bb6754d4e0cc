//! What speaks for and against each region: what its own shards and pods say, and then what the other regions' do. Pure.
//!
//! ```text
//! region's reports, pods --of--> Evidence --+
//! other regions' ... -----of--> Evidence ---+--judge--> Signs, and what to say
//! ```
//!
//! Nothing inferred stands without another region that does better: that is what makes it the region's fault.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use signalbox_contract::BreakerPhase;

use super::count::{self, attempts, ingest, is_refusing, is_share, lasts, looks};
use super::machine::Signs;
use super::reach::{self, Doubt, Reach};
use super::sinks::{self, Held, SinkView};
use crate::fleet::{
    BreakerHistory, BreakerIntent, BreakerMemory, FleetIntent, FleetMemory, FleetSnapshot, RegionSnapshot,
    ShardSnapshot, Suspicion, TripCause,
};

/// Windows for which a region whose pods are being replaced may be without a ready shard, as long as none is in trouble.
const REPLACING_WINDOWS: u32 = 6;
/// Silence that is shorter is not worth a word.
const UNHEARD: Duration = Duration::from_secs(3);
/// Percent of a step's attempts that may fail, beyond those that fail elsewhere.
const CLEAN_PERCENT: u64 = 5;
/// Attempts that a step needs at least.
const LEAST_ATTEMPTS: u64 = 10;

/// What one region's shards and pods say.
#[derive(Clone, Debug)]
pub(super) struct Evidence {
    pub(super) reachable: bool,
    reach: Reach,
    /// For how long that could not be told.
    unheard: Option<Duration>,
    is_ready: bool,
    /// None is ready: since when, and whether for long enough.
    unready: Option<bool>,
    /// By name.
    sinks: BTreeMap<String, SinkView>,
    /// A large share is refused: whether for long enough.
    refuses: Option<bool>,
    /// Requests refused just now, a second.
    refuses_now: f64,
    /// Events come in, and none is refused.
    accepts_all: bool,
}

impl Evidence {
    /// Whether something speaks against it that needs no other region to be held against, and has lasted.
    pub(super) fn ails(&self) -> bool {
        self.reach == Reach::Unreachable || self.unready == Some(true) || self.refuses == Some(true)
    }
}

/// What that comes to, beside the other regions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Judgement {
    pub(super) signs: Signs,
    /// Why it is, or would be, tripped; with numbers.
    pub(super) why: Option<String>,
    /// Something speaks against it, and not for long enough, or not surely enough.
    pub(super) suspected: Option<Suspected>,
    /// When to look again to see more of it.
    pub(super) recheck_after: Option<Duration>,
}

/// What speaks against a region, and does not suffice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Suspected {
    /// A sink begins to fail.
    Sink(String),
    /// A sink fails, and no other region sends to it.
    SinkAlone(String),
    /// A sink fails, from everywhere.
    SinkEverywhere(String),
    /// It begins to refuse events.
    Refusing,
    /// None of its shards is ready.
    NoShardReady,
    /// It cannot be told whether it is there.
    Unknown(Doubt),
}

/// Looks at one region, and keeps in mind what only shows over several looks.
pub(super) fn of(
    intent: &FleetIntent,
    region: &str,
    snapshot: &FleetSnapshot,
    memory: &FleetMemory,
    history: &mut BreakerHistory,
    now: Timestamp,
) -> Evidence {
    let (breaker, unseen) = (&intent.breaker, RegionSnapshot::default());
    let seen = snapshot.regions.get(region).unwrap_or(&unseen);
    count::look(history, seen, breaker.window, now);
    let (there, is_ready) = (reach::reach(region, snapshot, now), reach::is_ready(seen));
    let unheard = lasts(history, Suspicion::Unheard, matches!(there, Reach::Unknown(_)), now);
    // Who has a routing table was there once, whichever operator saw it.
    history.was_ready |= is_ready || memory.routing.contains_key(region);
    let patience = if is_being_replaced(seen) { breaker.window * REPLACING_WINDOWS } else { breaker.window };
    let unready = lasts(history, Suspicion::NoShardReady, history.was_ready && !is_ready, now);
    let views = intent.sinks.iter().map(|sink| {
        let view = sinks::view(&sink.name, seen, history, breaker, now);
        (sink.name.clone(), view)
    });
    let views = views.collect();
    let (accepted, refused) = ingest(history, breaker.window, None, now);
    let refusing = is_refusing(accepted, refused, breaker);
    let refusing = lasts(history, Suspicion::Refusing, refusing, now);
    Evidence {
        reachable: reach::is_reachable(seen, now),
        reach: there,
        unheard,
        is_ready,
        unready: unready.map(|time| time >= patience),
        sinks: views,
        refuses: refusing.map(|time| time >= breaker.window),
        refuses_now: seen.shards.values().map(|shard| refuses_now(shard, now)).fold(0.0, f64::max),
        accepts_all: accepted > 0 && refused == 0,
    }
}

fn refuses_now(shard: &ShardSnapshot, now: Timestamp) -> f64 {
    let rates = count::heard(shard, now).and_then(|report| report.rates.as_ref());
    rates.map_or(0.0, |rates| rates.refused)
}

fn is_being_replaced(seen: &RegionSnapshot) -> bool {
    let troubled = || seen.shards.values().any(|shard| shard.pod.as_ref().is_some_and(|pod| pod.trouble.is_some()));
    seen.rollout.is_some_and(|rollout| rollout.replaces) && !troubled()
}

/// A region, and those that it is held against.
pub(super) struct Case<'a> {
    pub(super) intent: &'a BreakerIntent,
    pub(super) memory: &'a BreakerMemory,
    pub(super) history: &'a BreakerHistory,
    pub(super) evidence: &'a Evidence,
    /// The other regions that are not Tripped, or come back with this look, by name.
    pub(super) others: Vec<(&'a str, &'a Evidence)>,
    pub(super) now: Timestamp,
}

/// Whether a sink that fails here is well elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Elsewhere<'a> {
    Well(Vec<&'a str>),
    Fails,
    NotKnown,
}

impl<'a> Case<'a> {
    /// What it comes to.
    pub(super) fn judge(&self) -> Judgement {
        let mut judgement = Judgement::default();
        judgement.signs.reachable = self.evidence.reachable;
        self.is_it_there(&mut judgement);
        match self.memory.phase {
            BreakerPhase::Serving => {
                self.do_sinks_fail(&mut judgement);
                self.does_it_refuse(&mut judgement);
            }
            BreakerPhase::Probing => self.probe(&mut judgement),
            // It is out already: nothing of this has to be looked at again soon.
            BreakerPhase::Tripped => {}
        }
        judgement
    }

    fn is_it_there(&self, judgement: &mut Judgement) {
        match self.evidence.reach {
            Reach::Heard => {}
            Reach::Unreachable => {
                judgement.trip(TripCause::Unreachable, || {
                    "its shards report nothing, and their events ports answer neither the operator nor other regions"
                        .to_owned()
                });
            }
            Reach::Unknown(doubt) => {
                judgement.soon(Duration::from_secs(1));
                if self.evidence.unheard.is_some_and(|time| time >= UNHEARD) {
                    judgement.suspected = Some(Suspected::Unknown(doubt));
                }
            }
        }
        let Some(for_long) = self.evidence.unready else { return };
        if self.others.iter().any(|(_, other)| other.is_ready) {
            judgement.soon(Duration::from_secs(1));
            if for_long {
                judgement.trip(TripCause::NoShardReady, || "none of its shards is ready".to_owned());
            } else {
                judgement.suspected.get_or_insert(Suspected::NoShardReady);
            }
        }
    }

    fn do_sinks_fail(&self, judgement: &mut Judgement) {
        for (sink, view) in self.evidence.sinks.iter().filter(|(_, view)| view.stirs) {
            let half_way = Duration::from_millis(view.row_ms) * 2 >= sinks::row_time(self.intent.window);
            // Of what has lasted long enough only others can make more, and that is seen within a second.
            let any_moment = half_way && view.held.is_none();
            judgement.soon(if any_moment { Duration::from_millis(250) } else { Duration::from_secs(1) });
            match (view.held, self.elsewhere(sink)) {
                (Some(held), Elsewhere::Well(others)) => {
                    judgement.trip(TripCause::SinkFailing, || fails_here(sink, view, held, &others));
                }
                (Some(_), Elsewhere::Fails) => {
                    judgement.suspected.get_or_insert(Suspected::SinkEverywhere(sink.clone()));
                }
                (Some(_), Elsewhere::NotKnown) => {
                    judgement.suspected.get_or_insert(Suspected::SinkAlone(sink.clone()));
                }
                (None, Elsewhere::Well(_)) if half_way => {
                    judgement.suspected.get_or_insert(Suspected::Sink(sink.clone()));
                }
                (None, _) => {}
            }
        }
    }

    fn elsewhere(&self, sink: &str) -> Elsewhere<'a> {
        let views = || self.others.iter().filter_map(|(name, other)| Some((*name, other.sinks.get(sink)?)));
        let well: Vec<_> = views().filter(|(_, view)| view.delivers).map(|(name, _)| name).collect();
        match (well.is_empty(), views().any(|(_, view)| view.fails)) {
            (false, _) => Elsewhere::Well(well),
            (true, true) => Elsewhere::Fails,
            (true, false) => Elsewhere::NotKnown,
        }
    }

    fn does_it_refuse(&self, judgement: &mut Judgement) {
        if self.evidence.refuses_now > 0.0 {
            judgement.soon(Duration::from_secs(1));
        }
        let Some(for_long) = self.evidence.refuses else { return };
        judgement.soon(Duration::from_secs(1));
        let well = self.others.iter().filter(|(_, other)| other.accepts_all).map(|(name, _)| *name);
        let well: Vec<_> = well.collect();
        if well.is_empty() {
            return;
        }
        if for_long {
            judgement.trip(TripCause::Refusing, || {
                format!("it refuses {}% of its requests and more, and {} none", self.intent.failure_ratio, list(&well))
            });
        } else {
            judgement.suspected.get_or_insert(Suspected::Refusing);
        }
    }

    /// How the step goes: what happened before it began is not held against it.
    fn probe(&self, judgement: &mut Judgement) {
        let (window, began, now) = (self.intent.window, self.memory.since, self.now);
        // It began some time in that second.
        let from = began.checked_add(Duration::from_secs(1)).unwrap_or(began);
        judgement.soon(Duration::from_secs(1));
        let need = (self.intent.minimum_attempts / 5).max(LEAST_ATTEMPTS);
        let held = super::since(began, now);
        let (mut tried, mut failed, mut clean) = (0u64, 0u64, true);
        for (sink, view) in &self.evidence.sinks {
            let of_step = attempts(looks(self.history, window * count::WINDOWS, Some(from), now), sink);
            if of_step.total() == 0 {
                continue;
            }
            if self.elsewhere(sink) == Elsewhere::Fails {
                // It says nothing of this region, neither for it nor against it.
                judgement.suspected.get_or_insert(Suspected::SinkEverywhere(sink.clone()));
                continue;
            }
            (tried, failed) = (tried.saturating_add(of_step.total()), failed.saturating_add(of_step.failed));
            let most = CLEAN_PERCENT + self.usually_fails(sink, need);
            clean &= of_step.failed.saturating_mul(100) <= of_step.total().saturating_mul(most);
            let lately = attempts(looks(self.history, sinks::relapse_time(window), Some(from), now), sink);
            let row = Duration::from_millis(view.row_ms).min(held);
            if row >= sinks::relapse_time(window) && lately.failed > 0 {
                judgement.trip(TripCause::SinkFailing, || format!("sink {sink} fails from here again, all of it"));
            } else if lately.total() >= need && is_share(lately.failed, lately.total(), self.intent.failure_ratio) {
                judgement.relapse(TripCause::SinkFailing, || format!("sink {sink} fails from here again"));
            }
        }
        let (accepted, refused) = ingest(self.history, window, Some(from), now);
        if is_refusing(accepted, refused, self.intent) && self.others.iter().any(|(_, other)| other.accepts_all) {
            judgement.relapse(TripCause::Refusing, || "it refuses events again".to_owned());
        }
        let enough = tried >= need || (failed == 0 && held >= window * count::WINDOWS);
        let heard = self.evidence.reach == Reach::Heard && self.evidence.reachable;
        judgement.signs.clean = clean && enough && heard;
    }

    /// Percent of the attempts at a sink that fail where it is as bad as anywhere else. Of few attempts it is not known.
    fn usually_fails(&self, sink: &str, least: u64) -> u64 {
        let tried = self.others.iter().filter_map(|(_, other)| Some(other.sinks.get(sink)?.tried));
        let enough = tried.filter(|tried| tried.total() >= least);
        enough.map(|tried| u64::from(sinks::percent(tried))).max().unwrap_or(0)
    }
}

impl Judgement {
    /// The first cause stands: the surest are looked for first.
    fn trip(&mut self, cause: TripCause, why: impl FnOnce() -> String) {
        if self.signs.trip.is_none() {
            (self.signs.trip, self.why) = (Some(cause), Some(why()));
        }
    }

    fn relapse(&mut self, cause: TripCause, why: impl FnOnce() -> String) {
        if self.signs.trip.is_none() && self.signs.relapse.is_none() {
            (self.signs.relapse, self.why) = (Some(cause), Some(why()));
        }
    }

    fn soon(&mut self, after: Duration) {
        self.recheck_after = Some(self.recheck_after.map_or(after, |before| before.min(after)));
    }
}

fn fails_here(sink: &str, view: &SinkView, held: Held, others: &[&str]) -> String {
    let (failing, knows) = (view.failing, view.knows);
    let what = match held {
        Held::Row => format!("a row of failures of {} s on {failing} of {knows} shards", view.row_ms / 1000),
        Held::Share(percent) => format!("{percent}% of the attempts"),
        Held::Parked => "its breaker has not been Serving there for two windows".to_owned(),
    };
    format!("sink {sink} fails from here ({what}), and not from {}", list(others))
}

fn list(names: &[&str]) -> String {
    names.join(", ")
}
