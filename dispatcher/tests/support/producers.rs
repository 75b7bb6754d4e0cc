//! Producers of one key each, and one without, which send the next event when the last was accepted, each to another
//! shard.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Daemon, eventually};

/// What a producer does between two events.
const PAUSE: Duration = Duration::from_millis(20);

/// Those that are sending.
pub(crate) struct Producers {
    tasks: Vec<JoinHandle<Producer>>,
    shared: Arc<Shared>,
}

struct Shared {
    targets: Mutex<Vec<String>>,
    accepted: AtomicU64,
    stop: watch::Sender<bool>,
}

/// What came of them.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Events accepted of each producer.
    pub(crate) accepted: Vec<u64>,
    /// What was answered but 202.
    pub(crate) refused: Vec<String>,
    /// Requests without an answer, by whom they were sent to.
    pub(crate) broken: BTreeMap<String, u64>,
}

struct Producer {
    source: String,
    key: Option<String>,
    /// Counts requests: where the next one goes.
    turn: usize,
    connections: HashMap<String, SendRequest<Full<Bytes>>>,
    accepted: u64,
    refused: Vec<String>,
    broken: BTreeMap<String, u64>,
}

impl Producers {
    /// Starts so many with a key and one without, which send to these shards.
    pub(crate) fn start(keys: usize, targets: &[&str]) -> Self {
        let shared =
            Arc::new(Shared { targets: Mutex::default(), accepted: AtomicU64::new(0), stop: watch::channel(false).0 });
        let producers = Self { shared, tasks: Vec::new() };
        producers.send_to(targets);
        let tasks = (0..=keys).map(|number| Producer::new(number, (number < keys).then(|| format!("key-{number}"))));
        let tasks = tasks.map(|producer| tokio::spawn(producer.run(producers.shared.clone()))).collect();
        Self { tasks, ..producers }
    }

    /// From now on they send to these.
    pub(crate) fn send_to(&self, targets: &[&str]) {
        *self.shared.targets.lock().unwrap() = targets.iter().map(|&target| target.to_owned()).collect();
    }

    /// Waits until so many more were accepted.
    pub(crate) async fn more(&self, events: u64) {
        let accepted = || self.shared.accepted.load(Ordering::Relaxed);
        let before = accepted();
        eventually("more events to be accepted", || async { (accepted() >= before + events).then_some(()) }).await;
    }

    /// Ends them, each after its last event was accepted.
    pub(crate) async fn stop(self) -> Told {
        self.shared.stop.send_replace(true);
        let mut told = Told::default();
        for task in self.tasks {
            let producer = task.await.unwrap();
            told.accepted.push(producer.accepted);
            told.refused.extend(producer.refused);
            for (target, count) in producer.broken {
                *told.broken.entry(target).or_default() += count;
            }
        }
        println!("accepted {} events, without an answer: {:?}", told.accepted.iter().sum::<u64>(), told.broken);
        told
    }
}

impl Told {
    /// Waits until all that was accepted has arrived, and checks that it did so in order.
    pub(crate) async fn arrived(&self, sink: &Daemon) {
        for (producer, &accepted) in self.accepted.iter().enumerate() {
            assert!(accepted > 0, "nothing of producer {producer} was accepted");
            let path = format!("/received?source=/producer/{producer}");
            let mut received = json!(null);
            for _ in 0..500 {
                received = sink.get(&path).await.json();
                if received == json!([[0, accepted - 1]]) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert_eq!(received, json!([[0, accepted - 1]]), "of producer {producer}: {}", sink.summary().await);
        }
        let summary = sink.summary().await;
        assert_eq!(summary["out_of_order"], json!(0), "{summary}");
        println!("arrived {}, twice {}", summary["unique"], summary["duplicates"]);
    }
}

impl Producer {
    fn new(number: usize, key: Option<String>) -> Self {
        Self {
            source: format!("/producer/{number}"),
            key,
            turn: number,
            connections: HashMap::new(),
            accepted: 0,
            refused: Vec::new(),
            broken: BTreeMap::new(),
        }
    }

    async fn run(mut self, shared: Arc<Shared>) -> Self {
        while !*shared.stop.borrow() {
            // Until it is accepted: the next must not overtake it.
            loop {
                self.turn += 1;
                let target = {
                    let targets = shared.targets.lock().unwrap();
                    targets[self.turn % targets.len()].clone()
                };
                match self.send(&target).await {
                    Ok((StatusCode::ACCEPTED, _)) => break,
                    Ok((status, answer)) => self.refused.push(format!("{target}: {status} {answer}")),
                    Err(_) => {
                        self.connections.remove(&target);
                        *self.broken.entry(target).or_default() += 1;
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
            self.accepted += 1;
            shared.accepted.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(PAUSE).await;
        }
        self
    }

    async fn send(&mut self, target: &str) -> Result<(StatusCode, String), Box<dyn std::error::Error + Send + Sync>> {
        if self.connections.get(target).is_none_or(SendRequest::is_closed) {
            let stream = TcpStream::connect(target).await?;
            let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            self.connections.insert(target.to_owned(), sender);
        }
        let sender = self.connections.get_mut(target).unwrap();
        sender.ready().await?;
        let number = self.accepted.to_string();
        let mut request = Request::post("/")
            .header("host", target)
            .header("ce-specversion", "1.0")
            .header("ce-type", "test")
            .header("ce-source", &self.source)
            .header("ce-id", &number);
        if let Some(key) = &self.key {
            // Without a key there is no order.
            request = request.header("ce-partitionkey", key).header("ce-sequence", &number);
        }
        let response = sender.send_request(request.body(Full::from("data"))?).await?;
        let status = response.status();
        let answer = response.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8_lossy(&answer).into_owned()))
    }
}
