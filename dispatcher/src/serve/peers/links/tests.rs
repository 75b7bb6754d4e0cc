//! Links to shards on the loopback, with keys on both sides.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::extract::ConnectInfo;
use axum::http::StatusCode;
use bytes::Bytes;
use hyper_util::service::TowerToHyperService;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use signalbox_contract::{ControlConfig, Peer, RoutingTable};
use tempfile::TempDir;

use super::Links;
use crate::claims::{Batch, Message};
use crate::serve::claiming::{Handed, Outbox as _, Parcel, Router, Way};
use crate::serve::ingest::fixtures::{EPOCH, FakeOwners, FakeRouter, Fixture, config, event, table};
use crate::serve::ingest::{HandOver as _, Outcome};
use crate::serve::log::{Origin, SinkSet};
use crate::serve::peers::{Door, router};
use crate::server::{Peers, Server, Tls, bind};

const SHARD: &str = "shard.orders.shop.signalbox";

/// Longest wait for a condition.
const LONG: Duration = Duration::from_secs(30);

async fn eventually(what: &str, is: impl Fn() -> bool) {
    let until = Instant::now() + LONG;
    while !is() {
        assert!(Instant::now() < until, "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The files of a shard's keys.
struct Keys {
    dir: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Keys {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let keys = Self { dir: tempfile::tempdir().unwrap(), authority };
        keys.show(name);
        keys.trust(&keys.authority.pem());
        keys
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Puts a new certificate for this name there.
    fn show(&self, name: &str) {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        std::fs::write(self.path("tls.crt"), params.signed_by(&key, &self.authority).unwrap().pem()).unwrap();
        std::fs::write(self.path("tls.key"), key.serialize_pem()).unwrap();
    }

    fn trust(&self, authority: &str) {
        std::fs::write(self.path("ca.crt"), authority).unwrap();
    }

    fn config(&self) -> ControlConfig {
        let file = |name| self.path(name).display().to_string();
        ControlConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            cert_file: file("tls.crt"),
            key_file: file("tls.key"),
            ca_file: file("ca.crt"),
            operator: "operator.orders.shop.signalbox".to_owned(),
            shard: SHARD.to_owned(),
        }
    }
}

/// A shard that is there.
struct There {
    links: Links,
    server: Server,
    peer: Peer,
    router: Arc<FakeRouter>,
    fixture: Fixture,
}

impl There {
    /// Shard 1, which takes what has the key `a`.
    async fn start(keys: &Keys, listen: &str) -> Self {
        Self::start_as(1, keys, listen, Links::new(&config(), &keys.config(), 1).unwrap()).await
    }

    async fn start_as(ordinal: u32, keys: &Keys, listen: &str, links: Links) -> Self {
        let listen: SocketAddr = listen.parse().unwrap();
        let listener = loop {
            // The port may still be that of the one before.
            match bind(listen).await {
                Ok(listener) => break listener,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        let peer = Peer { ordinal, address: listener.local_addr().unwrap().to_string(), log: 0 };
        let ways = FakeRouter::new(&[("a", Way::Here), ("b", Way::Redirect)]);
        let mut limited = config();
        limited.backlog_limit_events = Some(2_000);
        let owners = FakeOwners::new(|_, _| panic!("it is not passed on again"));
        let fixture = Fixture::new(limited, ways.clone(), owners);
        let door = Arc::new(Door::default());
        let _ = door.set(links.inbound(ways.clone(), fixture.store.clone()));
        let peers = Peers { authorities: keys.path("ca.crt"), names: vec!["operator".to_owned(), SHARD.to_owned()] };
        let tls = Tls::load(&keys.path("tls.crt"), &keys.path("tls.key"), Some(peers)).unwrap();
        let routes = router(door);
        let server = Server::start_for(listener, Some(tls), move |who, from| {
            assert_eq!(who, Some(1));
            TowerToHyperService::new(routes.clone().layer(Extension(ConnectInfo(from))))
        });
        Self { links, server, peer, router: ways, fixture }
    }
}

fn links(keys: &Keys) -> Links {
    Links::new(&config(), &keys.config(), 0).unwrap()
}

fn records(id: usize, key: &str) -> Vec<Bytes> {
    vec![event(&id.to_string(), key).record().clone()]
}

fn sentence(outcome: Outcome) -> String {
    match outcome {
        Outcome::Unreachable(sentence) => sentence,
        other => panic!("{other:?}"),
    }
}

/// Passes an event on until the shard has it, as ingest does.
async fn insist(links: &Links, peer: &Peer, id: usize) {
    let until = Instant::now() + LONG;
    loop {
        match links.hand_over(peer, EPOCH, records(id, "a")).await {
            Outcome::Stored => return,
            other => assert!(Instant::now() < until, "{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn events_of_many_at_once_are_passed_on_together_and_each_is_told_what_became_of_its_own() {
    let keys = Keys::new(SHARD);
    let there = There::start(&keys, "127.0.0.1:0").await;
    let links = links(&keys);
    let all =
        (0..1_000).map(|id| links.hand_over(&there.peer, EPOCH, records(id, ["a", "b"][usize::from(id % 10 == 3)])));
    let outcomes = futures::future::join_all(all).await;
    for (id, outcome) in outcomes.into_iter().enumerate() {
        let expected = if id % 10 == 3 { Outcome::Redirect(Arc::new(table(EPOCH))) } else { Outcome::Stored };
        assert_eq!(outcome, expected, "{id}");
    }
    let expected: Vec<String> = (0..1_000).filter(|id| id % 10 != 3).map(|id| id.to_string()).collect();
    assert_eq!(there.fixture.stored().len(), expected.len());
    let asked = *there.router.asked.lock().unwrap();
    let all: Vec<Bytes> = (0..1_500).flat_map(|id| records(id, "a")).collect();
    match links.hand_over(&there.peer, EPOCH, all).await {
        Outcome::Refused { status, seconds, .. } => {
            assert_eq!((status, seconds.is_some()), (StatusCode::TOO_MANY_REQUESTS, true));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(*there.router.asked.lock().unwrap(), asked + 1);
}

#[tokio::test]
async fn messages_are_heard_with_the_events_that_belong_to_them() {
    let keys = Keys::new(SHARD);
    let there = There::start(&keys, "127.0.0.1:0").await;
    let links = links(&keys);
    let handed = Handed {
        origin: Origin { epoch: 1, log: 2, position: 3 },
        accepted_at_us: 4,
        key: Some(5),
        waiting: SinkSet::default().with(0),
        identity: 6,
        record: Bytes::from(vec![7; 1 << 20]),
    };
    let batch = Batch { incarnation: 1, number: 2 };
    let transfer = Parcel {
        message: Message::Transfer(3, batch, (0..1024).collect()),
        sinks: vec!["a".to_owned()],
        events: vec![handed],
    };
    let seal = Message::Seal(Arc::new(table(4)));
    let seal = Parcel { message: seal, sinks: Vec::new(), events: Vec::new() };
    links.send(&there.peer, transfer.clone());
    links.send(&there.peer, seal.clone());
    eventually("both messages", || there.router.heard.lock().unwrap().len() == 2).await;
    let mut heard = there.router.heard.lock().unwrap();
    // It is as old there as here, whatever time it is there: by the time that it takes to say so it is not.
    for (_, parcel) in heard.iter_mut() {
        parcel.events.iter_mut().for_each(|event| event.accepted_at_us = 4);
    }
    assert!(heard.contains(&(0, transfer)) && heard.contains(&(0, seal)));
}

#[tokio::test]
async fn a_shard_that_is_away_is_told_of_at_once_and_reached_when_it_is_back() {
    let keys = Keys::new(SHARD);
    let there = There::start(&keys, "127.0.0.1:0").await;
    let links = links(&keys);
    let peer = there.peer.clone();
    insist(&links, &peer, 0).await;
    there.server.stop().await;
    let refused = async || sentence(links.hand_over(&peer, EPOCH, records(1, "a")).await);
    let mut why = refused().await;
    let until = Instant::now() + LONG;
    while !why.contains("connection refused") {
        assert!(Instant::now() < until, "{why}");
        why = refused().await;
    }
    let back = There::start(&keys, &peer.address).await;
    insist(&links, &peer, 1).await;
    assert_eq!(back.fixture.stored(), ["1"]);
}

#[tokio::test]
async fn a_shard_that_ends_its_connections_now_and_then_loses_nothing_of_what_is_passed_on() {
    let keys = Keys::new(SHARD);
    let mut there = There::start(&keys, "127.0.0.1:0").await;
    let links = links(&keys);
    let peer = there.peer.clone();
    for round in 0..5 {
        let passing = futures::future::join_all((0..200).map(|id| insist(&links, &peer, round * 200 + id)));
        let restarts = async {
            eventually("some of them", || there.fixture.stored().len() > 10).await;
            there.server.stop().await;
            There::start(&keys, &peer.address).await
        };
        let (_, next) = tokio::join!(passing, restarts);
        there = next;
    }
}

#[tokio::test]
async fn a_shard_that_says_hello_is_reached_where_it_was_heard_from_whatever_its_name_resolves_to() {
    let keys = Keys::new(SHARD);
    let there = There::start(&keys, "127.0.0.1:0").await;
    let links = links(&keys);
    let port = there.peer.address.rsplit_once(':').unwrap().1;
    let stale = Peer { ordinal: 1, address: format!("nowhere.invalid:{port}"), log: 0 };
    let why = sentence(links.hand_over(&stale, EPOCH, records(0, "a")).await);
    assert!(why.contains("nowhere.invalid"), "{why}");
    // Shard 1 has a table in which this one is, and says hello to it.
    let here = There::start_as(0, &keys, "127.0.0.1:0", links.clone()).await;
    let mut table = table(EPOCH);
    table.peers = vec![here.peer.clone(), there.peer.clone()];
    there.router.adopt(table.clone());
    let router: Arc<dyn Router> = there.router.clone();
    there.links.follow(&router);
    insist(&links, &stale, 1).await;
    assert_eq!(there.fixture.stored(), ["1"]);
    // Another shard has that address now: then the name is the better guess.
    links.0.whereabouts.note(2, "127.0.0.1".parse().unwrap());
    let other = Peer { ordinal: 2, ..stale };
    let until = Instant::now() + LONG;
    while !sentence(links.hand_over(&other, EPOCH, records(2, "a")).await).contains("nowhere.invalid") {
        assert!(Instant::now() < until);
    }
    // A later table that it is in no more: nobody is told hello.
    there.links.greet(&RoutingTable { epoch: EPOCH + 2, peers: vec![there.peer.clone()], ..table });
    assert!(there.links.0.links.lock().unwrap().values().all(|link| link.queue().is_empty()));
}

#[tokio::test]
async fn another_shard_at_the_same_address_does_not_take_what_is_not_for_it() {
    let keys = Keys::new(SHARD);
    let there = There::start(&keys, "127.0.0.1:0").await;
    let peer = Peer { ordinal: 2, ..there.peer.clone() };
    let links = links(&keys);
    let why = sentence(links.hand_over(&peer, EPOCH, records(0, "a")).await);
    assert!(why.contains("421") && why.contains("this is shard 1"), "{why}");
    assert!(there.fixture.stored().is_empty());
}

#[tokio::test]
async fn keys_are_read_anew_and_both_sides_insist_on_the_name_and_the_authority() {
    let keys = Keys::new(SHARD);
    let there = There::start(&keys, "127.0.0.1:0").await;
    let mine = Keys::new(SHARD);
    let links = links(&mine);
    let fails = async || sentence(links.hand_over(&there.peer, EPOCH, records(0, "a")).await);
    fails().await;
    mine.trust(&keys.authority.pem());
    fails().await;
    for file in ["tls.crt", "tls.key"] {
        std::fs::copy(keys.path(file), mine.path(file)).unwrap();
    }
    insist(&links, &there.peer, 0).await;
    // A server of the same authority that is made out to another name.
    let other = Keys::new(SHARD);
    for file in ["tls.crt", "tls.key", "ca.crt"] {
        std::fs::copy(keys.path(file), other.path(file)).unwrap();
    }
    keys.show("operator");
    let operator = There::start(&keys, "127.0.0.1:0").await;
    let links = Links::new(&config(), &other.config(), 0).unwrap();
    let why = sentence(links.hand_over(&operator.peer, EPOCH, records(0, "a")).await);
    assert!(why.contains("handshake"), "{why}");
    assert!(operator.fixture.stored().is_empty());
}

#[tokio::test]
async fn a_link_that_nobody_uses_ends_and_another_is_made_when_it_is_needed() {
    let keys = Keys::new(SHARD);
    let there = There::start(&keys, "127.0.0.1:0").await;
    let links = Links::with_idle_time(&config(), &keys.config(), 0, Duration::from_millis(50)).unwrap();
    let nowhere = Peer { ordinal: 1, address: "127.0.0.1:1".to_owned(), log: 0 };
    for id in 0..3 {
        insist(&links, &there.peer, id).await;
        assert!(!sentence(links.hand_over(&nowhere, EPOCH, records(id, "a")).await).is_empty());
        eventually("no links", || links.0.links.lock().unwrap().is_empty()).await;
    }
    // The connections have gone with them: nobody is waited for.
    tokio::time::timeout(LONG, there.server.stop()).await.unwrap();
    assert_eq!(there.fixture.stored(), ["0", "1", "2"]);
}
