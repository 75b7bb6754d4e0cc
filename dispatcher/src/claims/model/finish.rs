//! How a world comes to its end when faults have stopped.

use std::sync::Arc;

use super::super::{Input, Ordinal, Source};
use super::node::Out;
use super::world::{Action, World};
use crate::slots::owner;

impl World {
    /// Whether all is where it should be at the end.
    pub(super) fn is_complete(&self) -> bool {
        let Some(last) = self.setup.tables.last() else { return false };
        let accepted = self.producers.iter().all(|(slot, &(next, asked))| {
            let claims = &self.nodes[owner(*slot, last.shards) as usize].claims;
            next == self.setup.events && asked.is_none() && claims.source(*slot) == Some(Source::Own)
        });
        accepted
            && self.nodes.iter().all(|node| node.disk.own().chain(node.disk.inherited()).next().is_none())
            && (0..)
                .zip(&self.nodes)
                .all(|(me, node)| node.claims.epoch() == last.epoch && node.claims.is_empty() == (me >= last.shards))
    }

    /// Faults stop, everything arrives, time passes: all has to come to its end.
    pub(super) fn finish(&mut self) -> Result<(), String> {
        self.left = (0, 0, 0);
        // An event takes a round to be accepted, one to be delivered, and three for every move.
        let rounds = 100 + 4 * usize::from(self.setup.events) * self.setup.slots.len();
        for round in 1..rounds {
            if self.is_complete() {
                return self.check();
            }
            self.round()?;
            self.check()?;
            if round % 3 == 0 {
                let mut out = Out::default();
                for me in 0..self.setup.shards {
                    self.node(me).feed(Input::Tick, &Arc::default(), &mut out);
                }
                self.take(out);
            }
        }
        let shards = self.nodes.iter().map(|node| {
            let (epoch, empty) = (node.claims.epoch(), node.claims.is_empty());
            let (own, inherited) = (node.disk.own().count(), node.disk.inherited().count());
            format!("epoch {epoch}, empty {empty}, {own} own, {inherited} inherited, gates {:?}", node.gates)
        });
        Err(format!("stuck: producers {:?}, shards {:#?}", self.producers, shards.collect::<Vec<_>>()))
    }

    /// Everything that can happen happens, once.
    fn round(&mut self) -> Result<(), String> {
        let last = self.setup.tables.len() - 1;
        for me in 0..self.setup.shards {
            if self.nodes[me as usize].claims.epoch() < self.setup.tables[last].epoch {
                self.happen(Action::Push(me, last))?;
            }
            self.happen(Action::Flush(me))?;
        }
        while !self.net.is_empty() {
            self.happen(Action::Arrive(0, false))?;
        }
        for slot in self.setup.slots.clone() {
            let (next, asked) = self.producers[&slot];
            let mut shards = 0..self.setup.shards;
            let admits = |me: &Ordinal| self.admits(*me, slot);
            if let Some(me) = shards.find(admits).filter(|_| next < self.setup.events && asked.is_none()) {
                self.happen(Action::Ask(slot, me))?;
            }
            for me in 0..self.setup.shards {
                if self.nodes[me as usize].next(slot).is_some() {
                    self.happen(Action::Begin(me, slot))?;
                }
                if self.nodes[me as usize].attempts.contains_key(&slot) {
                    self.happen(Action::Settle(me, slot))?;
                }
            }
        }
        Ok(())
    }
}
