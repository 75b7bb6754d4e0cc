//! How a world comes to its end when faults have stopped.

use std::sync::Arc;

use super::super::{Answer, Input, Ordinal, Source};
use super::node::Out;
use super::world::{Action, World};
use crate::slots::owner;

/// Rounds in which everything has to have come to its end. Each event takes one or two.
const ROUNDS: usize = 400;

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
        for round in 1..ROUNDS {
            if self.is_complete() {
                return self.check();
            }
            self.round()?;
            if round % 3 == 0 {
                let mut out = Out::default();
                for me in 0..self.setup.shards {
                    self.node(me).feed(Input::Tick, &Arc::default(), &mut out);
                }
                self.take(out);
            }
        }
        let claims: Vec<_> = self.nodes.iter().map(|node| &node.claims).collect();
        Err(format!("stuck: producers {:?}, shards {claims:#?}", self.producers))
    }

    /// Everything that can happen happens, once.
    fn round(&mut self) -> Result<(), String> {
        let last = self.setup.tables.len() - 1;
        for me in 0..self.setup.shards {
            if self.nodes[me as usize].claims.epoch() < self.setup.tables[last].epoch {
                self.apply(Action::Push(me, last))?;
            }
            self.apply(Action::Flush(me))?;
        }
        while !self.net.is_empty() {
            self.apply(Action::Arrive(0, false))?;
        }
        for slot in self.setup.slots.clone() {
            let (next, asked) = self.producers[&slot];
            let mut shards = 0..self.setup.shards;
            let admits = |me: &Ordinal| matches!(self.nodes[*me as usize].claims.answer(slot, None), Answer::Admit(_));
            if let Some(me) = shards.find(admits).filter(|_| next < self.setup.events && asked.is_none()) {
                self.apply(Action::Ask(slot, me))?;
            }
            for me in 0..self.setup.shards {
                if self.nodes[me as usize].next(slot).is_some() {
                    self.apply(Action::Begin(me, slot))?;
                }
                if self.nodes[me as usize].attempts.contains_key(&slot) {
                    self.apply(Action::Settle(me, slot))?;
                }
            }
        }
        Ok(())
    }
}
