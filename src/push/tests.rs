//! What a shard that is given a table sees, and what comes of its answer.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::put as on_put;
use signalbox_contract::{ROUTING_PATH, RoutingTable, TrafficTable};

use super::*;
use crate::decide::decide;
use crate::fixtures;
use crate::fleet::Routing;

/// A shard that answers like this, and the tables that it was given.
async fn shard(status: StatusCode, says: &'static str) -> (u16, Arc<Mutex<Vec<RoutingTable>>>) {
    let given = Arc::new(Mutex::new(Vec::new()));
    let kept = given.clone();
    let answer = move |axum::Json(table): axum::Json<RoutingTable>| async move {
        kept.lock().unwrap().push(table);
        (status, says)
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, Router::new().route(ROUTING_PATH, on_put(answer))).await });
    (port, given)
}

fn table() -> RoutingTable {
    let routing = Routing { epoch: 7, shards: 1, peers: [(0, 0xab)].into(), ..Routing::default() };
    routing.table("orders", "eu-west", "shop")
}

async fn given_to(port: u16) -> Result<(), NotTaken> {
    put("127.0.0.1", port, None, ROUTING_PATH, serde_json::to_vec(&table()).unwrap()).await
}

#[tokio::test]
async fn a_shard_is_given_the_whole_table() {
    let (port, given) = shard(StatusCode::NO_CONTENT, "").await;
    assert_eq!(given_to(port).await, Ok(()));
    assert_eq!(*given.lock().unwrap(), [table()]);
}

#[tokio::test]
async fn what_a_shard_says_against_a_table_is_kept() {
    let (port, _) = shard(StatusCode::CONFLICT, "it is for fleet mail").await;
    assert_eq!(given_to(port).await, Err(NotTaken::Refused("it is for fleet mail".to_owned())));
    let (port, _) = shard(StatusCode::SERVICE_UNAVAILABLE, "").await;
    assert_eq!(given_to(port).await, Err(NotTaken::Refused("answers 503".to_owned())));
}

#[tokio::test]
async fn a_shard_that_is_not_there_is_no_error() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    assert!(matches!(given_to(port).await, Err(NotTaken::Unreachable(_))));
}

#[tokio::test]
async fn a_shard_of_an_image_from_before_a_table_is_told_from_one_that_refuses_it() {
    let (port, given) = shard(StatusCode::NO_CONTENT, "").await;
    let answer = put("127.0.0.1", port, None, TRAFFIC_PATH, json(&TrafficTable::default())).await;
    assert_eq!(answer, Err(NotTaken::Unknown));
    assert!(given.lock().unwrap().is_empty());
}

#[test]
fn shards_that_are_behind_are_given_the_traffic_table_beside_the_routing_table() {
    let behind = Behind { pod: "orders-us-east-0".to_owned(), ip: "10.0.0.1".to_owned() };
    let table = TrafficTable { fleet: "orders".to_owned(), version: 9, regions: Vec::new() };
    let intent = fixtures::intent();
    let mut plan = decide(&intent, &fixtures::settled(), &crate::fleet::FleetMemory::default(), fixtures::now());
    assert!(pushes(&intent, &plan).is_empty());
    plan.traffic.behind = vec![behind];
    plan.traffic.table = Some(table.clone());
    let pushes = pushes(&intent, &plan);
    assert_eq!(pushes.len(), 1);
    assert_eq!((pushes[0].table.path(), pushes[0].version), (TRAFFIC_PATH, 9));
    assert_eq!(serde_json::from_slice::<TrafficTable>(&pushes[0].body).unwrap(), table);
}
