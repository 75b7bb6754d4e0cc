//! All shards, the network between them, the producers and the sink: what can happen, and what must never.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use signalbox_contract::{Peer, RoutingTable};

use super::super::{Answer, Durable, Input, Message, Ordinal, Slot, Slots, Tenure};
use super::node::{Node, Out, Packet};
use super::{Event, Flaw};

/// What a world is made of.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    /// In the order of epochs, from 1. Under the first, all is open.
    pub(super) tables: Vec<Arc<RoutingTable>>,
    pub(super) slots: Slots,
    pub(super) shards: u32,
    /// Events that the producer of each slot sends.
    pub(super) events: Event,
    /// Records a batch.
    pub(super) batch: usize,
    /// Faults that may happen: crashes, lost messages, repeated messages.
    pub(super) crashes: u8,
    pub(super) losses: u8,
    pub(super) repeats: u8,
    /// Whether an attempt takes time.
    pub(super) attempts: bool,
    pub(super) flaw: Flaw,
}

/// A table for `counts[epoch - 1]` shards, with `peers` shards that may hold events.
pub(super) fn table(epoch: u64, shards: u32, peers: u32, lost: Vec<Ordinal>) -> Arc<RoutingTable> {
    let peers = (0..peers).map(|ordinal| Peer { ordinal, ..Peer::default() }).collect();
    Arc::new(RoutingTable { epoch, shards, peers, lost, ..RoutingTable::default() })
}

/// One thing that can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Action {
    /// A shard is given a table, by its place in the setup.
    Push(Ordinal, usize),
    /// A message arrives: the one at this place. Then it is gone, or comes again.
    Arrive(usize, bool),
    /// A message is lost.
    Lose(usize),
    /// Everything pending is on a shard's disk.
    Flush(Ordinal),
    /// A producer asks a shard.
    Ask(Slot, Ordinal),
    /// An attempt begins; it succeeds.
    Begin(Ordinal, Slot),
    Settle(Ordinal, Slot),
    /// The power is cut and comes back. Whether what was pending is on disk, and what was settled is remembered.
    Crash(Ordinal, bool, bool),
}

#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) setup: Arc<Setup>,
    pub(super) nodes: Vec<Arc<Node>>,
    /// The digest of each shard, made when it has changed.
    digests: Vec<u128>,
    pub(super) net: BTreeSet<Packet>,
    /// Per slot: the event that is to be acknowledged next, and who was asked.
    pub(super) producers: BTreeMap<Slot, (Event, Option<Ordinal>)>,
    pub(super) delivered: BTreeMap<Slot, BTreeSet<Event>>,
    /// Crashes, losses, repeats that may still happen.
    pub(super) left: (u8, u8, u8),
}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digests.hash(state);
        self.net.hash(state);
        (&self.producers, &self.delivered, self.left).hash(state);
    }
}

impl World {
    pub(super) fn new(setup: Setup) -> Self {
        let setup = Arc::new(setup);
        let first = &setup.tables[0];
        let all = Arc::new(setup.slots.clone());
        let nodes = (0..setup.shards).map(|ordinal| {
            let mine = setup.slots.iter().filter(|&&slot| crate::slots::owner(slot, first.shards) == ordinal);
            let done: BTreeSet<Ordinal> = (0..setup.shards).collect();
            let tenure = Tenure { since: 1, deliver: true, done, at_risk: BTreeSet::new() };
            let tenures = mine.map(|&slot| (slot, tenure.clone())).collect();
            let durable = Durable { table: Some(Arc::clone(first)), tenures };
            Arc::new(Node::new(ordinal, u64::from(ordinal), Arc::clone(&all), setup.batch, setup.flaw, durable))
        });
        let mut world = Self {
            nodes: nodes.collect(),
            digests: vec![0; setup.shards as usize],
            net: BTreeSet::new(),
            producers: setup.slots.iter().map(|&slot| (slot, (0, None))).collect(),
            delivered: setup.slots.iter().map(|&slot| (slot, BTreeSet::new())).collect(),
            left: (setup.crashes, setup.losses, setup.repeats),
            setup,
        };
        // The beginning is a region at rest.
        let steps = |action: &Action| matches!(action, Action::Flush(_) | Action::Arrive(_, false));
        while let Some(action) = world.actions().into_iter().find(steps) {
            world.apply(action).unwrap();
        }
        for me in 0..world.setup.shards {
            world.changed(me);
        }
        world
    }

    fn changed(&mut self, me: Ordinal) {
        let mut digest = super::digest::Digest::default();
        self.nodes[me as usize].hash(&mut digest);
        self.digests[me as usize] = digest.value();
    }

    /// Everything that can happen next.
    pub(super) fn actions(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        for (me, node) in (0..).zip(&self.nodes) {
            for (at, table) in self.setup.tables.iter().enumerate() {
                if table.epoch > node.claims.epoch() {
                    actions.push(Action::Push(me, at));
                }
            }
            let pending = !node.disk.pending.is_empty();
            if pending {
                actions.push(Action::Flush(me));
            }
            for (&slot, &(next, asked)) in &self.producers {
                let admits = matches!(node.claims.answer(slot, None), Answer::Admit(_));
                if admits && next < self.setup.events && asked.is_none() {
                    actions.push(Action::Ask(slot, me));
                }
            }
            actions.extend(
                self.setup.slots.iter().filter(|slot| node.next(**slot).is_some()).map(|&slot| Action::Begin(me, slot)),
            );
            actions.extend(node.attempts.keys().map(|&slot| Action::Settle(me, slot)));
            if self.left.0 > 0 {
                let settled = node.disk.settled != super::disk::Settled::default();
                for kept in [false, true].into_iter().filter(|kept| !kept || pending) {
                    for remembered in [false, true].into_iter().filter(|remembered| !remembered || settled) {
                        actions.push(Action::Crash(me, kept, remembered));
                    }
                }
            }
        }
        for at in 0..self.net.len() {
            actions.push(Action::Arrive(at, false));
            if self.left.1 > 0 {
                actions.push(Action::Lose(at));
            }
            if self.left.2 > 0 {
                actions.push(Action::Arrive(at, true));
            }
        }
        actions
    }

    /// Lets it happen. The error says which promise was broken.
    pub(super) fn apply(&mut self, action: Action) -> Result<(), String> {
        let mut out = Out::default();
        let nothing = Arc::default();
        let touched = match action {
            Action::Push(me, _)
            | Action::Flush(me)
            | Action::Ask(_, me)
            | Action::Begin(me, _)
            | Action::Settle(me, _)
            | Action::Crash(me, ..) => Some(me),
            Action::Arrive(at, _) => self.net.iter().nth(at).map(|packet| packet.to),
            Action::Lose(_) => None,
        };
        match action {
            Action::Push(me, at) => {
                let table = Arc::clone(&self.setup.tables[at]);
                self.node(me).feed(Input::Table(table), &nothing, &mut out);
            }
            Action::Arrive(at, again) => {
                let packet = self.net.iter().nth(at).cloned().unwrap();
                if again {
                    self.left.2 -= 1;
                } else {
                    self.net.remove(&packet);
                }
                self.node(packet.to).feed(Input::Message(packet.from, packet.message), &packet.records, &mut out);
            }
            Action::Lose(at) => {
                let packet = self.net.iter().nth(at).cloned().unwrap();
                self.net.remove(&packet);
                self.left.1 -= 1;
            }
            Action::Flush(me) => {
                for _ in 0..self.nodes[me as usize].disk.pending.len() {
                    self.node(me).land(0, &mut out);
                }
            }
            Action::Ask(slot, me) => {
                let producer = self.producers.get_mut(&slot).unwrap();
                producer.1 = Some(me);
                let event = producer.0;
                self.node(me).ask(slot, event, &mut out);
            }
            Action::Begin(me, slot) => {
                let record = self.nodes[me as usize].next(slot).unwrap();
                self.node(me).attempts.insert(slot, record);
                if !self.setup.attempts {
                    self.settle(me, slot, &mut out)?;
                }
            }
            Action::Settle(me, slot) => self.settle(me, slot, &mut out)?,
            Action::Crash(me, kept, remembered) => {
                self.left.0 -= 1;
                let node = self.node(me);
                while kept && !node.disk.pending.is_empty() {
                    node.disk.land(0, false);
                }
                node.cut(remembered);
                node.restart(&mut out);
                self.forget_requests(me);
            }
        }
        self.take(out);
        self.purge();
        if let Some(me) = touched {
            self.changed(me);
        }
        self.check()
    }

    /// Takes away messages that no shard will ever do anything about, so that worlds that differ in them only are one.
    fn purge(&mut self) {
        let last = self.setup.tables.last().map_or(0, |table| table.epoch);
        let durable = |ordinal: Ordinal| self.nodes[ordinal as usize].disk.durable.epoch();
        self.net.retain(|packet| match &packet.message {
            Message::Sealed(epoch) | Message::Done(epoch, _) | Message::Stored(epoch, _) => {
                *epoch >= durable(packet.to)
            }
            Message::Newer(table) => table.epoch > durable(packet.to),
            // The answer to an old one is a table; of no use to a shard that has the last.
            Message::Seal(table) => table.epoch >= durable(packet.to) || durable(packet.from) < last,
            Message::Transfer(epoch, ..) => *epoch >= durable(packet.to) || durable(packet.from) < last,
        });
    }

    pub(super) fn node(&mut self, me: Ordinal) -> &mut Node {
        Arc::make_mut(&mut self.nodes[me as usize])
    }

    /// Producers that asked a shard that went down hear nothing, and will ask again.
    pub(super) fn forget_requests(&mut self, me: Ordinal) {
        for (_, asked) in self.producers.values_mut() {
            *asked = asked.filter(|&asked| asked != me);
        }
    }

    pub(super) fn take(&mut self, out: Out) {
        self.net.extend(out.sent);
        for (slot, event) in out.acknowledged {
            let producer = self.producers.get_mut(&slot).unwrap();
            if producer.0 == event && producer.1.is_some() {
                *producer = (event + 1, None);
            }
        }
    }

    pub(super) fn settle(&mut self, me: Ordinal, slot: Slot, out: &mut Out) -> Result<(), String> {
        let Some(record) = self.node(me).settle(slot, out) else { return Ok(()) };
        let event = record.event;
        let delivered = &self.delivered[&slot];
        if let Some(missing) = (0..event).find(|earlier| !delivered.contains(earlier)) {
            return Err(format!("reordered: shard {me} delivers event {event} of slot {slot} before {missing}"));
        }
        // After an event that comes again, all later ones come again: a sink that keeps the last value ends right.
        let later = delivered.range(event + 1..).find(|&&later| !self.holds(slot, later));
        if let Some(later) = later {
            return Err(format!(
                "repeated: shard {me} delivers event {event} of slot {slot} again after {later} for good"
            ));
        }
        self.delivered.get_mut(&slot).unwrap().insert(event);
        Ok(())
    }

    pub(super) fn holds(&self, slot: Slot, event: Event) -> bool {
        self.nodes.iter().any(|node| node.disk.holds(slot, event))
    }

    /// What must hold at every moment.
    pub(super) fn check(&self) -> Result<(), String> {
        for (&slot, &(next, _)) in &self.producers {
            let admits = |node: &&Arc<Node>| matches!(node.claims.answer(slot, None), Answer::Admit(_));
            if self.nodes.iter().filter(admits).count() > 1 {
                return Err(format!("slot {slot} is accepted by two shards at once"));
            }
            let delivered = &self.delivered[&slot];
            if let Some(event) = (0..next).find(|event| !delivered.contains(event) && !self.holds(slot, *event)) {
                return Err(format!("lost: event {event} of slot {slot} was acknowledged and is nowhere"));
            }
        }
        Ok(())
    }
}
