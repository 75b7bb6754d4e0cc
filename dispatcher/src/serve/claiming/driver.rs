//! The driver: feeds the machine, one input after another, and carries out what it says.
//!
//! ```text
//! inbox, jobs that are done, the clock --input--> machine --effects--> jobs, gates, Outbox
//!                                            ^----- what this shard says to itself -----'
//! ```
//!
//! Nothing here waits for a disk or for another shard: that is for jobs. May import `claiming`'s own, `transfers`, `slots`, `metrics`,
//! and the crate's `claims` and `slots`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use super::giving::{Batch as Gathered, Giving, Load, Survey, Wanted};
use super::handle::{Heard, Shared};
use super::jobs::{Done, Jobs};
use super::marks::Marks;
use super::opening::Opening;
use super::parcel::{Outbox, Parcel};
use super::storing;
use crate::claims::{Batch, Durable, Effect, Epoch, Input, Message, Ordinal, Slot, Slots};
use crate::serve::log::Position;
use crate::serve::metrics::Metrics;
use crate::serve::slots::{KEYLESS, SlotSet};

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

    /// Does one thing. Returns what the machine has to be told at once, and the events that go with it.
    fn act(&mut self, effect: Effect, load: &Arc<Load>) -> Option<(Input, Arc<Load>)> {
        match effect {
            Effect::Write(durable) => self.waiting = Some(durable),
            Effect::Send(to, message) | Effect::Resend(to, message) => return self.send(to, message),
            Effect::Stop(epoch, keep) => self.stop(epoch, &keep),
            Effect::Deliver(slot, _) => self.opening.want(usize::from(slot)),
            Effect::Give(to, epoch) => self.give(to, epoch),
            Effect::Drop(to) => {
                if let Some(giving) = self.giving.get_mut(&to) {
                    giving.load = Arc::default();
                    giving.given = std::mem::take(&mut giving.entries);
                    if to != self.me {
                        self.metrics.given(giving.given.len());
                    }
                }
            }
            Effect::Sync => {
                self.running.spawn(self.jobs.clone().sync());
            }
            Effect::Store { from, epoch, batch, slots } => return self.store((from, epoch, batch), &slots, load),
            Effect::Reconsider => {
                self.shared.changed();
                self.time_claim();
            }
            Effect::Empty(epoch) => tracing::info!(epoch, "everything is with other shards: this one may go"),
            Effect::Conflict(epoch) => {
                // So that whoever makes tables sees that a later one is asked for.
                self.shared.machine().heard_of(epoch + 1);
                tracing::warn!(epoch, "there are two routing tables of one epoch: waiting for a later one");
            }
            Effect::OtherLog(epoch) => {
                tracing::warn!(
                    epoch,
                    "the routing table names another log than this shard has: waiting for a later one"
                );
            }
            Effect::Answer(..) => {}
        }
        None
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

    fn send(&mut self, to: Ordinal, message: Message) -> Option<(Input, Arc<Load>)> {
        let transfer = matches!(message, Message::Transfer(..));
        let load = self.giving.get(&to).filter(|_| transfer).map(|giving| giving.load.clone()).unwrap_or_default();
        if to == self.me {
            return Some((Input::Message(to, message), load));
        }
        let table = self.shared.machine().claims.table().cloned();
        if let Some(peer) = table.iter().flat_map(|table| &table.peers).find(|peer| peer.ordinal == to) {
            let (sinks, events) = (load.sinks.clone(), load.events.clone());
            self.outbox.send(peer, Parcel { message, sinks, events });
        }
        None
    }

    fn stop(&mut self, epoch: Epoch, keep: &Slots) {
        let mut keep: SlotSet = keep.iter().map(|&slot| usize::from(slot)).collect();
        if self.owns_slots() {
            keep.insert(KEYLESS);
            self.opening.want(KEYLESS);
        }
        self.opening.keep_only(&keep);
        // What is found under an older table is not given any more.
        self.giving.clear();
        self.survey = None;
        let closing = self.jobs.transfers.close(&SlotSet::all().without(&keep));
        self.running.spawn(async move {
            match closing.await {
                Ok(()) => Done::Stopped(epoch),
                Err(_) => Done::Ended,
            }
        });
    }

    fn order(&mut self) {
        if let Some(slots) = self.opening.next() {
            self.running.spawn(self.jobs.clone().order(slots));
        }
    }

    fn give(&mut self, to: Ordinal, epoch: Epoch) {
        if self.giving.get(&to).is_none_or(|giving| giving.epoch != epoch) {
            let wanted = self.wanted(to, epoch);
            self.giving.insert(to, Giving::new(epoch, wanted));
        }
        let survey = match &self.survey {
            Some(survey) => survey.clone(),
            None => self.survey.insert(Arc::new(Survey::new(self.wanted(self.me, epoch)))).clone(),
        };
        let Some(giving) = self.giving.get_mut(&to) else { return };
        let (given, what) = (std::mem::take(&mut giving.given), (survey, giving.wanted.clone()));
        self.running.spawn(self.jobs.clone().give((to, epoch), given, what, giving.next));
    }

    /// Answers may be others: measures how long it took until all slots of a table are accepted.
    fn time_claim(&mut self) {
        let closed = self.shared.machine().claims.closed();
        match self.claiming_since {
            None if closed > 0 => self.claiming_since = Some(Instant::now()),
            Some(since) if closed == 0 => {
                self.metrics.claimed(since.elapsed());
                self.claiming_since = None;
            }
            _ => {}
        }
    }

    /// What this shard has to look for, to give it to another, or to itself.
    fn wanted(&self, to: Ordinal, epoch: Epoch) -> Wanted {
        let keyless = to == 0 && !self.owns_slots();
        let machine = self.shared.machine();
        let slots = machine.claims.slots_of(to);
        let (before, own_until) = if to == self.me {
            let before = slots.iter().map(|&slot| (slot, machine.claims.before(slot))).collect();
            (Some(before), self.marks.end_of_older(epoch).unwrap_or(Position::MAX))
        } else {
            (None, Position::MAX)
        };
        Wanted { slots, keyless, before, marks: self.marks.clone(), own_until }
    }

    fn gathered(&mut self, to: Ordinal, epoch: Epoch, batch: Gathered) -> Option<Input> {
        // Under another epoch it is gathered anew.
        let giving = self.giving.get_mut(&to).filter(|giving| giving.epoch == epoch)?;
        let Gathered { load, entries, slots, emptied, next } = batch;
        giving.next = next;
        giving.load = load;
        giving.entries = entries;
        Some(Input::Gathered { to, epoch, slots, emptied })
    }

    fn store(&mut self, of: (Ordinal, Epoch, Batch), slots: &Slots, load: &Arc<Load>) -> Option<(Input, Arc<Load>)> {
        let since: BTreeMap<Slot, Epoch> = {
            let machine = self.shared.machine();
            let all = machine.claims.slots_of(self.me).into_iter();
            all.map(|slot| (slot, machine.claims.before(slot))).collect()
        };
        match storing::bequests(&self.jobs.transfers, load, slots, &since) {
            Ok(bequests) => {
                self.running.spawn(self.jobs.clone().store(of, bequests));
                None
            }
            Err(unknown) => {
                if !std::mem::replace(&mut self.told, true) {
                    tracing::warn!(from = of.0, "{unknown}: waiting until both have the same configuration");
                }
                let (from, epoch, batch) = of;
                Some((Input::NotStored { from, epoch, batch }, Arc::default()))
            }
        }
    }

    fn owns_slots(&self) -> bool {
        self.shared.machine().claims.table().is_some_and(|table| self.me < table.shards)
    }
}
