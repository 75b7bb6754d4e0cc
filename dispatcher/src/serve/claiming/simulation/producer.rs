//! Who sends events: one after another, each until it is acknowledged, to any shard.

use std::sync::Arc;
use std::time::Duration;

use super::super::{Router, Way};
use super::node::{Node, hash};
use super::{Event, World};
use crate::claims::Epoch;

/// Sends all events of a key.
pub(super) async fn run(world: Arc<World>, key: u64) {
    for number in 0..world.setup.events {
        while !offer(&world, (key, number)).await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(world.dice.below(12))).await;
    }
}

/// Offers an event to some shard.
async fn offer(world: &World, event: Event) -> bool {
    let at = usize::try_from(world.dice.below(world.nodes.len() as u64)).unwrap();
    match ask(&world.nodes[at], event, None).await {
        Asked::Stored => true,
        Asked::Owner(owner, epoch) => {
            matches!(ask(&world.nodes[owner as usize], event, Some(epoch)).await, Asked::Stored)
        }
        Asked::No => false,
    }
}

enum Asked {
    Stored,
    Owner(u32, Epoch),
    No,
}

async fn ask(node: &Node, event: Event, routed: Option<Epoch>) -> Asked {
    let Some((claiming, writer)) = node.with(|up| (up.claiming.clone(), up.writer.clone())) else { return Asked::No };
    let mut found = claiming.route(&[hash(event.0)], routed);
    if found.ways == [Way::Hold] && routed.is_none() {
        let _ = tokio::time::timeout(Duration::from_millis(20), claiming.changed(found.seen)).await;
        found = claiming.route(&[hash(event.0)], routed);
    }
    drop(claiming);
    match found.ways[..] {
        [Way::Here] => match Node::append(&writer, event).await {
            Ok(()) => Asked::Stored,
            Err(_) => Asked::No,
        },
        [Way::Owner(owner)] => Asked::Owner(owner, found.epoch),
        _ => Asked::No,
    }
}
