//! Why a breaker is where it is, in a sentence. Pure.
//!
//! What is told follows from what is remembered and from what is there, and has no number that moves: a status is written
//! only when what it says changes. The numbers of a trip are told once, when it happens.

use jiff::Timestamp;
use signalbox_contract::BreakerPhase;

use super::evidence::{Judgement, Suspected};
use super::reach::Doubt;
use crate::fleet::{BreakerIntent, BreakerMemory, BreakerReason, HeldPhase, HoldPurpose, RegionHold, TripCause};

/// What a sentence is made from.
pub(super) struct Told<'a> {
    pub(super) region: &'a str,
    pub(super) intent: &'a BreakerIntent,
    pub(super) memory: &'a BreakerMemory,
    /// Where it was, if that has changed.
    pub(super) from: Option<&'a BreakerMemory>,
    pub(super) judgement: &'a Judgement,
    /// It is held so.
    pub(super) hold: Option<&'a RegionHold>,
    /// It would be Tripped, and too few would be left.
    pub(super) spared: Option<TripCause>,
    pub(super) now: Timestamp,
}

impl Told<'_> {
    /// The reason, and its sentence.
    pub(super) fn say(&self) -> (BreakerReason, String) {
        if let Some(hold) = self.hold {
            return (BreakerReason::Held, self.held(hold));
        }
        if let Some(cause) = self.spared {
            return (BreakerReason::TooFewLeft, self.spared_though(cause));
        }
        match self.memory.phase {
            BreakerPhase::Serving => self.serving(),
            BreakerPhase::Tripped => {
                let cause = self.memory.cause.unwrap_or(TripCause::Unreachable);
                (BreakerReason::Tripped(cause), self.tripped(cause))
            }
            BreakerPhase::Probing => (BreakerReason::Ramping, self.ramping()),
        }
    }

    fn serving(&self) -> (BreakerReason, String) {
        match &self.judgement.suspected {
            None => (BreakerReason::Healthy, "nothing speaks against it".to_owned()),
            Some(Suspected::Unknown(doubt)) => (BreakerReason::Unknown, unknown(*doubt)),
            Some(Suspected::SinkEverywhere(sink)) => {
                (BreakerReason::SinkFailsEverywhere, format!("{}: no region is at fault", everywhere(sink)))
            }
            Some(Suspected::SinkAlone(sink)) => {
                let text =
                    format!("sink {sink} fails from here, and no other region sends to it: it may fail everywhere");
                (BreakerReason::Suspected, text)
            }
            Some(Suspected::Sink(sink)) => {
                (BreakerReason::Suspected, format!("sink {sink} begins to fail from here, and not from elsewhere"))
            }
            Some(Suspected::Refusing) => {
                (BreakerReason::Suspected, "it begins to refuse events, and others do not".to_owned())
            }
            Some(Suspected::NoShardReady) => {
                (BreakerReason::Suspected, "none of its shards is ready, for a short time".to_owned())
            }
        }
    }

    fn tripped(&self, cause: TripCause) -> String {
        let why = match (self.from, &self.judgement.why) {
            // A region that was there already says nothing of how it came there.
            (Some(_), Some(why)) => why.clone(),
            _ => because(cause).to_owned(),
        };
        match self.memory.until.filter(|until| *until > self.now) {
            Some(until) => format!("tripped until {until}: {why}"),
            None => format!("tripped: {why}; it comes back when one of its shards is ready and reports"),
        }
    }

    fn ramping(&self) -> String {
        let share = |step: usize| self.intent.ramp.get(step).copied();
        let step = usize::try_from(self.memory.step).unwrap_or(usize::MAX);
        let window = self.intent.window.as_secs();
        let gets = share(step).unwrap_or(100);
        let next = match share(step.saturating_add(1)) {
            Some(next) => format!("{next}% follow"),
            None => "it is Serving".to_owned(),
        };
        let waits = match &self.judgement.suspected {
            Some(Suspected::SinkEverywhere(sink)) => format!("; {}, which is not held against it", everywhere(sink)),
            _ => String::new(),
        };
        let fell = self.from.is_some_and(|from| from.phase == BreakerPhase::Probing && from.step > self.memory.step);
        let why = match &self.judgement.why {
            Some(why) if fell => format!("; one step down: {why}"),
            _ => String::new(),
        };
        format!("comes back with {gets}% of its weight; {next} when that has gone well for {window} s{waits}{why}")
    }

    fn held(&self, hold: &RegionHold) -> String {
        let (phase, until) = (phase_word(hold.phase), hold.until);
        let (verb, word) = match hold.purpose {
            HoldPurpose::Hold => ("held", "hold"),
            HoldPurpose::Drain => ("drained", "drain"),
            HoldPurpose::Drill => ("tried out without", "drill"),
        };
        format!("{verb}: {phase} until {until}, as annotation signalbox.dev/{word}-{} says", self.region)
    }

    fn spared_though(&self, cause: TripCause) -> String {
        let why = because(cause);
        format!("it would be Tripped ({why}), and stays {:?}: too few regions would be left", self.memory.phase)
    }
}

/// What a cause means, without numbers.
fn because(cause: TripCause) -> &'static str {
    match cause {
        TripCause::Unreachable => "nobody reaches its shards",
        TripCause::NoShardReady => "none of its shards was ready",
        TripCause::SinkFailing => "a sink fails from here, and not from elsewhere",
        TripCause::Refusing => "it refuses events, and others do not",
        TripCause::Held => "it was held there",
        TripCause::Drained => "it was drained",
        TripCause::Drill => "it was tried out how the fleet does without it",
    }
}

fn everywhere(sink: &str) -> String {
    format!("sink {sink} fails from every region that sends to it")
}

fn unknown(doubt: Doubt) -> String {
    let but = match doubt {
        Doubt::PortsAnswer => "but an events port of it answers",
        Doubt::OthersAreAnswered => "but they answer other regions",
        Doubt::NoWitness => "and no other region says that it cannot reach them either",
    };
    format!("its shards report nothing, {but}: it cannot be told how it is, and nothing changes")
}

fn phase_word(phase: HeldPhase) -> String {
    match phase {
        HeldPhase::Serving => "Serving".to_owned(),
        HeldPhase::Tripped => "Tripped".to_owned(),
        HeldPhase::Probing(percent) => format!("Probing with {percent}% of its weight"),
    }
}
