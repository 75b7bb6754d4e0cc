//! Drawn schedules, for more of everything: shards that stay down, links that are cut, operations that land in any
//! order, shards that are declared lost and come back, volumes that are lost, old tables that arrive late.

use std::collections::BTreeSet;
use std::sync::Arc;

use signalbox_contract::{Peer, RoutingTable};

use super::super::{Durable, Input, Ordinal};
use super::disk::Op;
use super::node::{Node, Out};
use super::world::{Action, Counts, Setup, World};
use super::{Event, Flaw};

/// What a schedule is drawn from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weather {
    pub(super) slots: u16,
    pub(super) shards: u32,
    pub(super) tables: u64,
    pub(super) events: Event,
    pub(super) steps: u32,
    /// Whether shards that are down may be declared lost.
    pub(super) losses: bool,
    /// Whether volumes may be lost.
    pub(super) wipes: bool,
    pub(super) flaw: Flaw,
}

/// Numbers from a seed (`SplitMix64`).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % below.max(1) as u64).unwrap()
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.roll(count) == 0
    }
}

struct Schedule {
    dice: Dice,
    weather: Weather,
    world: World,
    /// Links that let nothing through, either way.
    cut: BTreeSet<(Ordinal, Ordinal)>,
    /// The id of each shard's log.
    logs: Vec<u64>,
}

/// Runs one schedule to its end, and says what happened in it.
pub(super) fn run(seed: u64, weather: Weather) -> Result<Counts, String> {
    let mut dice = Dice(seed);
    let logs: Vec<u64> = (0..weather.shards).map(|ordinal| u64::from(ordinal) + 1).collect();
    let first = Arc::new(RoutingTable {
        epoch: 1,
        shards: u32::try_from(1 + dice.roll(weather.shards as usize)).unwrap(),
        peers: peers(&logs),
        ..RoutingTable::default()
    });
    let setup = Setup {
        tables: vec![first],
        slots: (0..weather.slots).collect(),
        shards: weather.shards,
        events: weather.events,
        batch: 1 + dice.roll(4),
        crashes: u8::MAX,
        losses: u8::MAX,
        repeats: u8::MAX,
        attempts: true,
        flaw: weather.flaw,
    };
    let mut world = World::new(setup);
    world.left = (0, 0, 0);
    world.digested = false;
    let mut schedule = Schedule { dice, weather, world, cut: BTreeSet::new(), logs };
    for step in 0..weather.steps {
        schedule.step().map_err(|broken| format!("step {step}: {broken}"))?;
        if step % 32 == 0 {
            schedule.world.check().map_err(|broken| format!("step {step}: {broken}"))?;
        }
    }
    schedule.end()
}

fn peers(logs: &[u64]) -> Vec<Peer> {
    (0..).zip(logs).map(|(ordinal, &log)| Peer { ordinal, log, ..Peer::default() }).collect()
}

impl Schedule {
    fn shard(&mut self) -> Ordinal {
        u32::try_from(self.dice.roll(self.weather.shards as usize)).unwrap()
    }

    fn step(&mut self) -> Result<(), String> {
        let me = self.shard();
        let up = !self.world.down.contains(&me);
        match self.dice.roll(100) {
            0..35 => self.arrive()?,
            35..55 if up => self.land(me),
            55..70 if up => {
                let slot = u16::try_from(self.dice.roll(usize::from(self.weather.slots))).unwrap();
                self.ask(slot, me)?;
            }
            70..90 if up => self.deliver(me)?,
            90..92 if up => {
                // The newest one mostly; an old one when another operator has not noticed that it is none any more.
                let tables = self.world.setup.tables.len();
                let at = if self.dice.one_in(4) { self.dice.roll(tables) } else { tables - 1 };
                self.world.happen(Action::Push(me, at))?;
            }
            92..96 if up => self.feed(me, Input::Tick),
            96 if self.dice.one_in(3) => self.publish(),
            97 => {
                let link = (me, self.shard());
                if !self.cut.remove(&link) {
                    self.cut.insert(link);
                }
            }
            98 if self.dice.one_in(2) => self.crash(me),
            99 if !up => self.start(me),
            _ => {}
        }
        Ok(())
    }

    fn feed(&mut self, me: Ordinal, input: Input) {
        let mut out = Out::default();
        self.world.node(me).feed(input, &Arc::default(), &mut out);
        self.world.take(out);
    }

    fn arrive(&mut self) -> Result<(), String> {
        if self.world.net.is_empty() {
            return Ok(());
        }
        let at = self.dice.roll(self.world.net.len());
        let Some(packet) = self.world.net.iter().nth(at) else { return Ok(()) };
        let (from, to) = (packet.from, packet.to);
        let reaches =
            !self.world.down.contains(&to) && !self.cut.contains(&(from, to)) && !self.cut.contains(&(to, from));
        self.world.left = (0, 1, 1);
        match self.dice.roll(10) {
            0 => self.world.happen(Action::Lose(at)),
            1 if reaches => self.world.happen(Action::Arrive(at, true)),
            _ if reaches => self.world.happen(Action::Arrive(at, false)),
            _ => Ok(()),
        }
    }

    /// One of the pending operations lands: any, but for those of one log, which keep their order.
    fn land(&mut self, me: Ordinal) {
        let pending = &self.world.nodes[me as usize].disk.pending;
        let first_of_its_kind = |at: &usize| {
            let same = |op: &Op| std::mem::discriminant(op) == std::mem::discriminant(&pending[*at]);
            !pending[..*at].iter().any(same)
        };
        let may: Vec<usize> = (0..pending.len()).filter(first_of_its_kind).collect();
        if !may.is_empty() {
            let at = may[self.dice.roll(may.len())];
            let mut out = Out::default();
            self.world.node(me).land(at, &mut out);
            self.world.take(out);
        }
    }

    fn ask(&mut self, slot: u16, me: Ordinal) -> Result<(), String> {
        let (next, asked) = self.world.producers[&slot];
        if next < self.weather.events && asked.is_none() && self.world.admits(me, slot) {
            self.world.check_acceptance(slot)?;
            self.world.happen(Action::Ask(slot, me))?;
        }
        Ok(())
    }

    fn deliver(&mut self, me: Ordinal) -> Result<(), String> {
        for _ in 0..8 {
            let slot = u16::try_from(self.dice.roll(usize::from(self.weather.slots))).unwrap();
            if self.world.nodes[me as usize].attempts.contains_key(&slot) {
                self.world.happen(Action::Settle(me, slot))?;
            } else if self.world.nodes[me as usize].next(slot).is_some() {
                self.world.happen(Action::Begin(me, slot))?;
            }
        }
        Ok(())
    }

    /// The operator makes a table. It may take a shard that is down for lost.
    fn publish(&mut self) {
        let epoch = self.world.setup.tables.len() as u64 + 1;
        if epoch > self.weather.tables {
            return;
        }
        let shards = 1 + self.shard();
        let mut lost = Vec::new();
        if self.weather.losses && self.dice.one_in(2) {
            lost.extend(self.world.down.iter().copied());
        }
        self.world.counts.lost_shards += lost.len() as u64;
        let peers = peers(&self.logs);
        self.publish_table(RoutingTable { epoch, shards, peers, lost, ..RoutingTable::default() });
    }

    /// The power of a shard is cut; some of what was pending is on disk. Its volume may be gone.
    fn crash(&mut self, me: Ordinal) {
        if !self.world.down.insert(me) {
            return;
        }
        self.world.counts.crashes += 1;
        let appends = self.dice.roll(3);
        let node = self.world.node(me);
        let mut at = 0;
        let (mut appended, mut stored) = (0, 0);
        while at < node.disk.pending.len() {
            let lands = match &node.disk.pending[at] {
                Op::Append(..) => {
                    appended += 1;
                    appended <= appends
                }
                Op::Store { .. } => {
                    stored += 1;
                    stored <= appends
                }
                _ => appends > 0,
            };
            if lands {
                node.disk.land(at, false);
            } else {
                at += 1;
            }
        }
        node.cut(appends > 1);
        self.world.forget_requests(me);
        if self.weather.wipes && self.dice.one_in(4) {
            self.wipe(me);
        }
    }

    fn wipe(&mut self, me: Ordinal) {
        let log = self.world.counts.wipes * 100 + 100 + u64::from(me);
        self.logs[me as usize] = log;
        let setup = Arc::clone(&self.world.setup);
        let all = Arc::new(setup.slots.clone());
        self.world.counts.wipes += 1;
        let before = Arc::clone(&self.world.nodes[me as usize]);
        let node = self.world.node(me);
        *node = Node::new(me, log, all, setup.batch, setup.flaw, Durable::default());
        node.risky.clone_from(&before.risky);
        // Its connections died with it.
        self.world.net.retain(|packet| packet.from != me && packet.to != me);
        for record in before.disk.own.values().chain(before.disk.inherited.values()) {
            if !self.world.holds(record.slot, record.event) && self.world.gone.insert((record.slot, record.event)) {
                let acknowledged = record.event < self.world.producers[&record.slot].0;
                let delivered = self.world.delivered[&record.slot].contains(&record.event);
                self.world.counts.gone += u64::from(acknowledged && !delivered);
            }
        }
    }

    fn start(&mut self, me: Ordinal) {
        self.world.down.remove(&me);
        let mut out = Out::default();
        self.world.node(me).restart(&mut out);
        self.world.take(out);
    }

    /// All is mended, and one more table names who is there.
    fn end(mut self) -> Result<Counts, String> {
        self.cut.clear();
        for me in self.world.down.clone() {
            self.start(me);
        }
        let epoch = self.world.setup.tables.len() as u64 + 1;
        let shards = 1 + self.shard();
        let peers = peers(&self.logs);
        self.publish_table(RoutingTable { epoch, shards, peers, ..RoutingTable::default() });
        self.world.finish()?;
        let risky: BTreeSet<u16> = self.world.nodes.iter().flat_map(|node| node.risky.iter().copied()).collect();
        Ok(Counts { risky: risky.len() as u64, ..self.world.counts })
    }

    fn publish_table(&mut self, table: RoutingTable) {
        Arc::make_mut(&mut self.world.setup).tables.push(Arc::new(table));
    }
}
