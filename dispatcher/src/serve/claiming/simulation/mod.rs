//! Several shards in one process, on real logs in directories, over a network that loses, repeats, delays and overtakes.
//!
//! ```text
//! producers --route--> node --hand over--> node           one producer a key, one event after another
//!                       | ^------ parcels, as the network likes ------^
//!                       '--> sink: what was delivered, in order
//! ```
//!
//! Every run is drawn from a seed, which is printed. Time is real, so two runs of one seed are not the same.

mod network;
mod node;
mod producer;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use signalbox_contract::{Peer, RoutingTable};

use network::Network;
use node::Node;

/// What a run is made of.
#[derive(Clone, Debug)]
struct Setup {
    seed: u64,
    /// How many shards own slots, under epoch 1 and so on.
    counts: Vec<u32>,
    keys: u64,
    events: u64,
    /// How many times a shard is restarted.
    restarts: u32,
    /// Whether messages are lost, repeated, and late.
    faults: bool,
    /// Whether a table is made when the one before has been carried out.
    patient: bool,
}

/// An event: its key, and how many its producer sent before.
type Event = (u64, u64);

/// What the sink got, by key, in order.
#[derive(Default)]
struct Sink(Mutex<BTreeMap<u64, Vec<u64>>>);

impl Sink {
    fn deliver(&self, (key, number): Event) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default().push(number);
    }

    fn delivered(&self) -> BTreeMap<u64, Vec<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Numbers that a seed begins.
struct Dice(Mutex<u64>);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }

    /// From 0 to below `end`.
    fn below(&self, end: u64) -> u64 {
        crate::random::next_of(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner)) % end
    }
}

struct World {
    setup: Setup,
    dice: Dice,
    sink: Arc<Sink>,
    network: Arc<Network>,
    nodes: Vec<Arc<Node>>,
}

impl World {
    async fn new(setup: Setup) -> Arc<Self> {
        println!("{setup:?}");
        let shards = setup.counts.iter().copied().max().unwrap();
        let network = Arc::new(Network::new(setup.seed, setup.faults));
        let sink = Arc::new(Sink::default());
        let mut nodes = Vec::new();
        for ordinal in 0..shards {
            let node = Arc::new(Node::new(ordinal, network.clone(), sink.clone(), setup.seed));
            node.start().await;
            nodes.push(node);
        }
        Arc::new(Self { dice: Dice::new(setup.seed ^ 7), setup, sink, network, nodes })
    }

    fn table(&self, epoch: u64) -> RoutingTable {
        let shards = self.setup.counts[usize::try_from(epoch).unwrap() - 1];
        let peers =
            (0..).zip(&self.nodes).map(|(ordinal, node)| Peer { ordinal, log: node.log_id(), ..Peer::default() });
        RoutingTable { epoch, shards, peers: peers.collect(), ..node::fleet() }
    }

    /// Pushes a table to some shard or other; the rest learn of it from that one.
    fn push(&self, epoch: u64, to: impl Fn(usize) -> bool) {
        let table = self.table(epoch);
        for (_, node) in self.nodes.iter().enumerate().filter(|(at, _)| to(*at)) {
            node.with(|up| up.claiming.push(table.clone()).unwrap());
        }
    }

    /// Waits until every shard has carried out this table. Whoever was down when it was pushed gets it again.
    async fn carried_out(&self, epoch: u64) {
        let shards = self.setup.counts[usize::try_from(epoch).unwrap() - 1];
        let is_done = |(ordinal, node): (u32, &Arc<Node>)| {
            node.with(|up| {
                let report = up.claiming.report();
                if report.epoch < epoch && self.dice.below(10) == 0 {
                    up.claiming.push(self.table(epoch)).unwrap();
                }
                report.epoch == epoch && report.claiming == 0 && (ordinal < shards || report.empty)
            })
            .unwrap_or(false)
        };
        self.until("a table is carried out", || (0..).zip(&self.nodes).all(is_done)).await;
    }

    async fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !holds() {
            if Instant::now() > deadline {
                for node in &self.nodes {
                    println!("{:?}", node.with(|up| (up.claiming.report(), up.stats())));
                }
                panic!("never: {what}, with {:?}", self.setup);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
