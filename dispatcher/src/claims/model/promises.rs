//! What must never happen.

use std::collections::BTreeSet;

use super::super::{Answer, Ordinal, Slot};
use super::Event;
use super::node::Out;
use super::world::World;

impl World {
    /// Whether a shard would accept an event of `slot` now.
    pub(super) fn admits(&self, me: Ordinal, slot: Slot) -> bool {
        !self.down.contains(&me) && matches!(self.nodes[me as usize].claims.answer(slot, None), Answer::Admit(_))
    }

    pub(super) fn holds(&self, slot: Slot, event: Event) -> bool {
        self.nodes.iter().any(|node| node.disk.holds(slot, event))
    }

    /// Whether the order of `slot` is no promise any more: a shard was declared lost.
    fn is_risky(&self, slot: Slot) -> bool {
        self.nodes.iter().any(|node| node.risky.contains(&slot))
    }

    /// What must hold at every moment.
    pub(super) fn check(&self) -> Result<(), String> {
        for (&slot, &(next, _)) in &self.producers {
            self.check_acceptance(slot)?;
            let delivered = &self.delivered[&slot];
            let nowhere = |event: &Event| {
                !delivered.contains(event) && !self.gone.contains(&(slot, *event)) && !self.holds(slot, *event)
            };
            if let Some(event) = (0..next).find(nowhere) {
                return Err(format!("lost: event {event} of slot {slot} was acknowledged and is nowhere"));
            }
        }
        Ok(())
    }

    /// No two shards accept a slot at once, but for those that were declared lost and have not heard of it.
    pub(super) fn check_acceptance(&self, slot: Slot) -> Result<(), String> {
        let mut shards = 0..self.setup.shards;
        let knows = |me: &Ordinal| {
            let epoch = self.nodes[*me as usize].claims.epoch();
            !self.setup.tables.iter().any(|table| table.epoch > epoch && table.lost.contains(me))
        };
        let accepting: BTreeSet<Ordinal> = shards.by_ref().filter(|&me| self.admits(me, slot)).filter(knows).collect();
        if accepting.len() > 1 {
            return Err(format!("slot {slot} is accepted by two shards at once: {accepting:?}"));
        }
        Ok(())
    }

    /// An attempt of a shard succeeds.
    pub(super) fn settle(&mut self, me: Ordinal, slot: Slot, out: &mut Out) -> Result<(), String> {
        let Some(record) = self.node(me).settle(slot, out) else { return Ok(()) };
        let event = record.event;
        let gone = |event: &Event| self.gone.contains(&(slot, *event));
        let delivered = &self.delivered[&slot];
        let missing = (0..event).find(|earlier| !delivered.contains(earlier) && !gone(earlier));
        // After an event that comes again, all later ones come again: a sink that keeps the last value ends right.
        let later = delivered.range(event + 1..).find(|later| !self.holds(slot, **later) && !gone(later)).copied();
        if !self.is_risky(slot) {
            if let Some(missing) = missing {
                return Err(format!("reordered: shard {me} delivers event {event} of slot {slot} before {missing}"));
            }
            if let Some(later) = later {
                return Err(format!(
                    "repeated: shard {me} delivers event {event} of slot {slot} again after {later} for good"
                ));
            }
        }
        if self.delivered.entry(slot).or_default().insert(event) {
            self.counts.delivered += 1;
        }
        Ok(())
    }
}
