//! The driver: feeds the machine, one input after another, and carries out what it says.
//!
//! ```text
//! inbox, jobs that are done, the clock --input--> machine --effects--> jobs, gates, Outbox
//!                                            ^----- what this shard says to itself -----'
//! ```
//!
//! Nothing here waits for a disk or for another shard: that is for jobs. May import `claiming`'s own, `transfers`, `slots`, `metrics`,
//! and the crate's `claims` and `slots`.

mod effects;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use super::giving::{Giving, Load, Survey};
use super::handle::{Heard, Shared};
use super::jobs::{Done, Jobs};
use super::marks::Marks;
use super::opening::Opening;
use super::parcel::{Outbox, Parcel};
use super::storing;
use crate::claims::{Durable, Effect, Input, Message, Ordinal};
use crate::serve::metrics::Metrics;
use crate::serve::slots::KEYLESS;

/// An effect, and the events that came with the message that it follows from.
type Task = (Effect, Arc<Load>);

/// See the documentation of this file.
pub(super) struct Driver {
    me: Ordinal,
    shared: Arc<Shared>,
    outbox: Arc<dyn Outbox>,
    jobs: Jobs,
    running: JoinSet<Done>,
    marks: Arc<Marks>,
    /// What is to be written as soon as what was admitted before is in the log.
    waiting: Option<Durable>,
    opening: Opening,
    giving: BTreeMap<Ordinal, Giving>,
    /// Under the present epoch.
    survey: Option<Arc<Survey>>,
    /// Whether it was said that a sink is not known here.
    told: bool,
    metrics: Metrics,
    /// When the table was taken that gives new slots to this shard, until it accepts them.
    claiming_since: Option<Instant>,
}

impl Driver {
    pub(super) fn new(
        me: Ordinal,
        shared: Arc<Shared>,
        outbox: Arc<dyn Outbox>,
        jobs: Jobs,
        marks: Marks,
        metrics: Metrics,
    ) -> Self {
        Self {
            me,
            shared,
            outbox,
            jobs,
            running: JoinSet::new(),
            marks: Arc::new(marks),
            waiting: None,
            opening: Opening::default(),
            giving: BTreeMap::new(),
            survey: None,
            told: false,
            metrics,
            claiming_since: None,
        }
    }

    /// Begins with what the machine said when it was restarted, and goes on until nobody can be heard any more.
    pub(super) async fn run(mut self, effects: Vec<Effect>, mut inbox: mpsc::Receiver<Heard>, tick: Duration) {
        if self.owns_slots() {
            self.opening.want(KEYLESS);
        }
        self.perform(effects, &Arc::default());
        let mut ticks = tokio::time::interval(tick);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                heard = inbox.recv() => match heard {
                    Some(heard) => self.hear(heard),
                    None => return,
                },
                Some(done) = self.running.join_next() => match done {
                    Ok(done) => self.finished(done),
                    Err(error) => tracing::error!(%error, "a part of a claim was interrupted"),
                },
                () = self.shared.drained.notified() => {
                    let effects = self.shared.machine().claims.follow();
                    self.perform(effects, &Arc::default());
                }
                _ = ticks.tick() => self.feed(Input::Tick, &Arc::default()),
            }
        }
    }

    fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Table(table) => {
                self.shared.machine().heard_of(table.epoch);
                self.feed(Input::Table(table), &Arc::default());
            }
            Heard::Parcel(from, parcel) => {
                if let Message::Seal(table) | Message::Newer(table) = &parcel.message {
                    self.shared.machine().heard_of(table.epoch);
                }
                if !self.is_whole(&parcel) {
                    tracing::warn!(from, "a shard has sent other events than it said: they are not taken");
                    return;
                }
                let Parcel { message, sinks, events } = parcel;
                self.feed(Input::Message(from, message), &Arc::new(Load { sinks, events }));
            }
        }
    }

    fn is_whole(&self, parcel: &Parcel) -> bool {
        let Message::Transfer(epoch, _, slots) = &parcel.message else { return true };
        let mine = {
            let machine = self.shared.machine();
            // One of another epoch is not taken anyway.
            (machine.claims.epoch() == *epoch).then(|| machine.claims.slots_of(self.me))
        };
        mine.is_none_or(|mine| storing::is_whole(slots, &parcel.events, &mine))
    }

    fn finished(&mut self, done: Done) {
        let input = match done {
            Done::Written(marks) => {
                self.marks = Arc::new(marks);
                Input::Written
            }
            Done::Stopped(epoch) => Input::Stopped(epoch),
            Done::Ordered => {
                let slots = self.opening.ordered();
                self.jobs.transfers.open(&slots);
                self.order();
                return;
            }
            Done::Gathered(to, epoch, batch) => match self.gathered(to, epoch, batch) {
                Some(input) => input,
                None => return,
            },
            Done::Synced => Input::Synced,
            Done::Stored(from, epoch, batch, added, events) => {
                self.told = false;
                if from != self.me && !added.is_empty() {
                    self.metrics.inherited(events);
                }
                let added = added.iter().filter_map(|slot| u16::try_from(slot).ok().filter(|_| slot != KEYLESS));
                Input::Stored { from, epoch, batch, added: added.collect() }
            }
            Done::NotStored(from, epoch, batch) => Input::NotStored { from, epoch, batch },
            Done::Ended => return,
        };
        self.feed(input, &Arc::default());
    }

    fn feed(&mut self, input: Input, load: &Arc<Load>) {
        let effects = self.shared.machine().step(input);
        self.perform(effects, load);
    }

    fn perform(&mut self, effects: Vec<Effect>, load: &Arc<Load>) {
        let mut queue: VecDeque<Task> = effects.into_iter().map(|effect| (effect, load.clone())).collect();
        while let Some((effect, load)) = queue.pop_front() {
            let Some((input, load)) = self.act(effect, &load) else { continue };
            let effects = self.shared.machine().step(input);
            queue.extend(effects.into_iter().map(|effect| (effect, load.clone())));
        }
        self.write();
        self.order();
    }

    /// Writes what is to be written, unless an epoch begins and something is still on its way into the log.
    fn write(&mut self) {
        let machine = self.shared.machine();
        let begins = machine.is_paused();
        if begins && machine.claims.is_appending() {
            return;
        }
        drop(machine);
        if let Some(durable) = self.waiting.take() {
            self.running.spawn(self.jobs.clone().write(durable, (*self.marks).clone(), begins));
        }
    }
}
