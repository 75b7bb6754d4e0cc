//! Whether other regions are there, as this shard sees it: their events ports are asked, once a second.
//!
//! ```text
//! traffic table --addresses--> connect, OPTIONS /, a second for any answer --> Looks --> Traffic --> report
//! ```
//!
//! It is how a region that is cut off is told from reports that are late: the operator asks shards of other regions what
//! they see. Addresses are those of the table, so no name server is needed. May import `traffic`, and `shutdown`'s phase.

mod ask;
mod looks;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::future::join_all;
use signalbox_contract::TrafficTable;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::shutdown::Phase;
use super::traffic::Traffic;
use ask::answers;
use looks::{Look, Looks};

/// How often, and how long an answer may take.
const ROUND: Duration = Duration::from_secs(1);

/// Most shards of one region that are asked in a round, side by side: the next round goes on with the next.
const MOST: usize = 8;

/// Asks until the process is ending. Costs nothing while the table has no other regions.
pub(super) async fn run(traffic: Arc<Traffic>, mut phase: watch::Receiver<Phase>) {
    let mut rounds = tokio::time::interval(ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut looks, mut turn) = (Looks::default(), 0);
    let mut tables = traffic.tables();
    let ending = async move {
        let _ = phase.wait_for(|phase| *phase == Phase::Finishing).await;
    };
    let asking = async {
        loop {
            rounds.tick().await;
            let others = others(&tables.borrow_and_update(), traffic.region(), turn);
            turn = turn.wrapping_add(MOST);
            if others.is_empty() && looks.is_empty() {
                // Until there is another table, there is nobody to ask.
                if tables.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let began = Instant::now();
            let found = join_all(others.into_iter().map(async |(name, addresses)| {
                let asked = addresses.len();
                let answers = futures::stream::iter(addresses).map(|address| answers(address, ROUND));
                let answered = answers.buffer_unordered(MOST).filter(|answered| std::future::ready(*answered)).count();
                Look { name, asked, answered: answered.await }
            }))
            .await;
            traffic.seen(looks.after(found, began, Instant::now()));
        }
    };
    tokio::select! {
        () = ending => {}
        () = asking => {}
    }
}

/// Whom to ask of each region but `own`, in this turn.
fn others(table: &TrafficTable, own: &str, turn: usize) -> Vec<(String, Vec<SocketAddr>)> {
    let others = table.regions.iter().filter(|region| region.name != own);
    others
        .map(|region| {
            let all: Vec<_> = region.shards.iter().filter_map(|shard| shard.events).collect();
            let first = turn.checked_rem(all.len()).unwrap_or(0);
            (region.name.clone(), all.iter().cycle().skip(first).take(all.len().min(MOST)).copied().collect())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use signalbox_contract::{RegionShard, RegionTraffic};
    use std::collections::BTreeSet;

    fn region(name: &str, ports: std::ops::Range<u16>) -> RegionTraffic {
        let shard = |port| RegionShard { events: Some(([127, 0, 0, 1], port).into()), ..RegionShard::default() };
        RegionTraffic { name: name.to_owned(), shards: ports.map(shard).collect(), ..RegionTraffic::default() }
    }

    #[test]
    fn of_a_large_region_all_are_asked_in_turn_and_of_the_own_none() {
        let mut regions = vec![region("eu", 0..3), region("us", 0..3), region("ap", 0..19)];
        regions[1].shards[1].events = None;
        let table = TrafficTable { regions, ..TrafficTable::default() };
        let mut asked: [BTreeSet<u16>; 2] = Default::default();
        for turn in [0, MOST, 2 * MOST] {
            let others = others(&table, "eu", turn);
            assert_eq!(
                others.iter().map(|(name, all)| (&**name, all.len())).collect::<Vec<_>>(),
                [("us", 2), ("ap", MOST)]
            );
            for (asked, (_, all)) in asked.iter_mut().zip(others) {
                asked.extend(all.iter().map(SocketAddr::port));
            }
        }
        assert_eq!((asked[0].len(), asked[1].len()), (2, 19));
    }
}
