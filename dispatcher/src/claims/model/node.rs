//! A shard: the machine, its disk, and what a real shard does on the machine's word.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::super::{Answer, Claims, Durable, Effect, Epoch, Input, Key, Message, Ordinal, Slot, Slots, Source};
use super::disk::{Disk, Landed, Op};
use super::{Event, Flaw, Record};

/// A message on its way, with the records that travel beside it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Packet {
    pub(super) to: Ordinal,
    pub(super) from: Ordinal,
    pub(super) message: Message,
    pub(super) records: Arc<Vec<Record>>,
}

/// What the world has to know of a step.
#[derive(Default)]
pub(super) struct Out {
    pub(super) sent: Vec<Packet>,
    /// Events that are on disk now: their producer is told.
    pub(super) acknowledged: Vec<(Slot, Event)>,
    pub(super) conflicts: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Node {
    pub(super) claims: Claims,
    pub(super) disk: Disk,
    me: Ordinal,
    flaw: Flaw,
    all: Arc<Slots>,
    batch_size: usize,
    incarnation: u64,
    /// What the machine said: which slots to deliver, and from where.
    pub(super) gates: BTreeMap<Slot, Source>,
    /// Attempts in flight, one a slot: its events have one key.
    pub(super) attempts: BTreeMap<Slot, Record>,
    stopping: Option<Epoch>,
    /// What is on its way to whom.
    batches: BTreeMap<Ordinal, Arc<Vec<Record>>>,
    /// The epoch under which it said that it is empty.
    pub(super) empty: Epoch,
}

impl Node {
    pub(super) fn new(me: Ordinal, log: u64, all: Arc<Slots>, batch_size: usize, flaw: Flaw, durable: Durable) -> Self {
        let disk = Disk::new(log, durable.clone());
        let (claims, _) = Claims::restart(me, log, 0, Arc::clone(&all), durable, &Slots::new());
        let mut node = Self {
            claims,
            disk,
            me,
            flaw,
            all,
            batch_size,
            incarnation: 0,
            gates: BTreeMap::new(),
            attempts: BTreeMap::new(),
            stopping: None,
            batches: BTreeMap::new(),
            empty: 0,
        };
        node.restart(&mut Out::default());
        node
    }

    /// The power is cut and comes back.
    pub(super) fn cut(&mut self, remembered: bool) {
        self.disk.cut(remembered);
        self.gates.clear();
        self.attempts.clear();
        self.stopping = None;
        self.batches.clear();
    }

    pub(super) fn restart(&mut self, out: &mut Out) {
        let inherited = self.disk.inherited().map(|record| record.slot).collect();
        let (all, durable) = (Arc::clone(&self.all), self.disk.durable.clone());
        let (claims, effects) = Claims::restart(self.me, self.disk.log, self.incarnation, all, durable, &inherited);
        self.claims = claims;
        self.incarnation += 1;
        self.perform(effects, &Arc::default(), out);
    }

    /// Feeds the machine, and does what it says.
    pub(super) fn feed(&mut self, input: Input, records: &Arc<Vec<Record>>, out: &mut Out) {
        let table = self.claims.epoch();
        let effects = self.claims.step(input);
        self.perform(effects, records, out);
        if self.flaw == Flaw::AcceptsUnsealed && table != self.claims.epoch() {
            for from in self.claims.peers() {
                self.feed(Input::Message(from, Message::Sealed(self.claims.epoch())), records, out);
            }
        }
    }

    fn perform(&mut self, effects: Vec<Effect>, records: &Arc<Vec<Record>>, out: &mut Out) {
        let mut queue: VecDeque<(Effect, Arc<Vec<Record>>)> =
            effects.into_iter().map(|effect| (effect, Arc::clone(records))).collect();
        while let Some((effect, records)) = queue.pop_front() {
            for (input, beside) in self.act(effect, &records, out) {
                let effects = self.claims.step(input);
                queue.extend(effects.into_iter().map(|effect| (effect, Arc::clone(&beside))));
            }
        }
    }

    /// Does one thing, and says what the machine has to be told at once, with the records beside it.
    fn act(&mut self, effect: Effect, beside: &Arc<Vec<Record>>, out: &mut Out) -> Vec<(Input, Arc<Vec<Record>>)> {
        let none = Arc::default();
        match effect {
            Effect::Write(durable) => {
                self.disk.pending.push(Op::State(durable));
                if self.flaw == Flaw::TakesWritesForDone {
                    return vec![(Input::Written, none)];
                }
            }
            Effect::Send(to, message) | Effect::Resend(to, message) => return self.send(to, message, out),
            Effect::Stop(epoch, keep) => {
                self.gates.retain(|slot, _| keep.contains(slot));
                self.stopping = Some(epoch);
                return self.stopped();
            }
            Effect::Deliver(slot, source) => {
                self.gates.insert(slot, source);
                if source == Source::Inherited && !self.disk.inherited().any(|record| record.slot == slot) {
                    return vec![(Input::Settled(slot), none)];
                }
            }
            Effect::Give(to, epoch) => {
                let (records, emptied) = self.gather(to);
                let slots = records.iter().map(|record| record.slot).collect();
                self.batches.insert(to, Arc::new(records));
                return vec![(Input::Gathered { to, epoch, slots, emptied }, none)];
            }
            Effect::Drop(to) => {
                for record in self.batches.remove(&to).iter().flat_map(|batch| batch.iter()) {
                    self.disk.settled.own.extend(self.disk.own.get(&record.key).map(|record| record.key));
                    if to != self.me && self.disk.inherited.contains_key(&record.key) {
                        self.disk.settled.inherited.insert(record.key);
                    }
                }
            }
            Effect::Sync => {
                self.disk.pending.push(Op::Sync(self.disk.settled.clone()));
                if self.flaw == Flaw::DoneBeforeSync {
                    return vec![(Input::Synced, none)];
                }
            }
            Effect::Store { from, epoch, batch, slots } => {
                self.disk.pending.push(Op::Store { from, epoch, batch, slots, records: Arc::clone(beside) });
            }
            Effect::Empty(epoch) => {
                let left = self.disk.own.len() + self.disk.inherited.len();
                assert!(left == 0 || self.flaw != Flaw::None, "said to be empty with {left} records on disk");
                self.empty = epoch;
            }
            Effect::Conflict(_) => out.conflicts += 1,
            Effect::Answer(..) | Effect::Reconsider | Effect::OtherLog(_) => {}
        }
        Vec::new()
    }

    fn send(&mut self, to: Ordinal, message: Message, out: &mut Out) -> Vec<(Input, Arc<Vec<Record>>)> {
        let batch = match &message {
            Message::Transfer(..) => self.batches.get(&to).cloned().unwrap_or_default(),
            _ => Arc::default(),
        };
        let mut inputs = Vec::new();
        if let (Flaw::DropsBeforeStored, Message::Transfer(epoch, number, _)) = (self.flaw, &message) {
            inputs.push((Input::Message(to, Message::Stored(*epoch, *number)), Arc::default()));
        }
        if to == self.me {
            inputs.push((Input::Message(to, message), batch));
        } else {
            out.sent.push(Packet { to, from: self.me, message, records: batch });
        }
        inputs
    }

    /// The first records for `to`, and its slots that have none.
    fn gather(&self, to: Ordinal) -> (Vec<Record>, Slots) {
        let slots = self.claims.slots_of(to);
        let mut found: BTreeMap<Key, Record> = BTreeMap::new();
        for record in self.disk.own().filter(|record| slots.contains(&record.slot)) {
            if to != self.me || record.key.epoch < self.claims.before(record.slot) {
                found.insert(record.key, *record);
            }
        }
        if to != self.me {
            let inherited = self.disk.inherited().filter(|record| slots.contains(&record.slot));
            found.extend(inherited.map(|record| (record.key, *record)));
        }
        let held: Slots = found.values().map(|record| record.slot).collect();
        let batch = found.into_values().take(self.batch_size).collect();
        (batch, slots.difference(&held).copied().collect())
    }

    /// Tells the machine that no attempt is in flight for a slot that is not delivered, when that is so.
    fn stopped(&mut self) -> Vec<(Input, Arc<Vec<Record>>)> {
        let quiet = self.attempts.keys().all(|slot| self.gates.contains_key(slot));
        match self.stopping.filter(|_| quiet || self.flaw == Flaw::IgnoresAttempts) {
            Some(epoch) => {
                self.stopping = None;
                vec![(Input::Stopped(epoch), Arc::default())]
            }
            None => Vec::new(),
        }
    }

    /// A producer asks.
    pub(super) fn ask(&mut self, slot: Slot, event: Event, out: &mut Out) {
        let Answer::Admit(epoch) = self.claims.answer(slot, None) else { return };
        self.feed(Input::Accept { request: 0, slot, routed: None }, &Arc::default(), out);
        self.disk.pending.push(Op::Append(slot, event, epoch));
    }

    /// One pending operation is done.
    pub(super) fn land(&mut self, at: usize, out: &mut Out) {
        let input = match self.disk.land(at, self.flaw == Flaw::StoresTwice) {
            Landed::State if self.flaw == Flaw::TakesWritesForDone => return,
            Landed::Sync if self.flaw == Flaw::DoneBeforeSync => return,
            Landed::State => Input::Written,
            Landed::Sync => Input::Synced,
            Landed::Append(slot, event, epoch) => {
                out.acknowledged.push((slot, event));
                Input::Appended(epoch)
            }
            Landed::Store { from, epoch, batch, added } => Input::Stored { from, epoch, batch, added },
        };
        self.feed(input, &Arc::default(), out);
    }

    /// What would be attempted next of a slot.
    pub(super) fn next(&self, slot: Slot) -> Option<Record> {
        if self.attempts.contains_key(&slot) {
            return None;
        }
        let source = *self.gates.get(&slot)?;
        let own = || self.disk.own().find(|record| record.slot == slot).copied();
        let inherited = || self.disk.inherited().find(|record| record.slot == slot).copied();
        match source {
            _ if self.flaw == Flaw::OwnBeforeInherited => own().or_else(inherited),
            Source::Inherited => inherited(),
            Source::Own => own(),
        }
    }

    /// An attempt has succeeded: the event is settled.
    pub(super) fn settle(&mut self, slot: Slot, out: &mut Out) -> Option<Record> {
        let record = self.attempts.remove(&slot)?;
        // By the log that it was read from: what was moved inside the shard is in both for a moment.
        let own = self.disk.own.contains_key(&record.key);
        if own {
            self.disk.settled.own.insert(record.key);
        }
        if self.disk.inherited.contains_key(&record.key) {
            self.disk.settled.inherited.insert(record.key);
        }
        let mut inputs = self.stopped();
        if self.gates.get(&slot) == Some(&Source::Inherited) && !self.disk.inherited().any(|held| held.slot == slot) {
            inputs.push((Input::Settled(slot), Arc::default()));
        }
        for (input, beside) in inputs {
            self.feed(input, &beside, out);
        }
        Some(record)
    }
}
