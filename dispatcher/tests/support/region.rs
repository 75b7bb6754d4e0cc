//! A region: shards of their own processes with keys, a sink that verifies, and an operator that pushes tables.

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::clock::Clock;
use super::keys::{self, Authority, OPERATOR, Pair, SHARD};
use super::{Daemon, config, eventually, sink};

/// The shards of a region, by their numbers.
pub(crate) struct Region {
    pub(crate) sink: Daemon,
    pub(crate) shards: Vec<Member>,
    pub(crate) name: String,
    /// What shards that are new have.
    pub(crate) clock: Clock,
    /// What their configuration has beside what all have.
    pub(crate) more: Value,
    /// Its shards listen on addresses of this network: 127.0.N.0/24.
    net: u8,
    authority: Arc<Authority>,
    operator: Pair,
    epoch: u64,
    table: Value,
    _home: TempDir,
}

/// One of them, and where it keeps its things.
pub(crate) struct Member {
    pub(crate) daemon: Daemon,
    pub(crate) ordinal: usize,
    clock: Clock,
    home: TempDir,
}

impl Region {
    /// A region without shards.
    pub(crate) async fn new() -> Self {
        Self::named("here", 1, &Arc::new(keys::authority())).await
    }

    /// The same, of a fleet with several.
    pub(crate) async fn named(name: &str, net: u8, authority: &Arc<Authority>) -> Self {
        let home = tempfile::tempdir().unwrap();
        let operator = keys::pair(authority, OPERATOR, |_| {});
        let (sink, name, authority) = (sink(home.path()).await, name.to_owned(), authority.clone());
        let (clock, more, table) = (Clock::default(), json!({}), json!(null));
        Self { sink, shards: Vec::new(), name, clock, more, net, authority, operator, epoch: 0, table, _home: home }
    }

    /// One more shard, which has no table yet.
    pub(crate) async fn grow(&mut self) {
        let (home, ordinal) = (tempfile::tempdir().unwrap(), self.shards.len());
        // An address of its own, which nobody connects from: its ports are free when it starts again.
        let listen = format!("127.0.{}.{}:0", self.net, ordinal + 1);
        let mut config = config(&[("a", &format!("http://{}/", self.sink.listen))]);
        config["region"] = json!(self.name);
        // On a busy machine an answer may take a while, and what is sent again then is counted as having come twice.
        config["sinks"][0]["timeoutMs"] = json!(30_000);
        config.as_object_mut().unwrap().extend(self.more.as_object().unwrap().clone());
        config["control"] = keys::control(&self.authority, home.path(), &listen);
        std::fs::write(home.path().join("config.json"), config.to_string()).unwrap();
        let daemon = Member::process(self.clock, &home, ordinal, &listen).await;
        // From now on where it is.
        config["control"]["listen"] = json!(daemon.control);
        std::fs::write(home.path().join("config.json"), config.to_string()).unwrap();
        self.shards.push(Member { daemon, ordinal, clock: self.clock, home });
    }

    /// Gives the next table to all shards: so many own slots, and so many are in it. Says how it is numbered.
    pub(crate) async fn push(&mut self, owners: usize, peers: usize) -> u64 {
        self.epoch += 1;
        let peer = |shard: &Member| json!({"ordinal": shard.ordinal, "address": shard.daemon.control});
        self.table = json!({
            "fleet": "test", "region": self.name, "epoch": self.epoch, "shards": owners,
            "peers": self.shards.iter().take(peers).map(peer).collect::<Vec<_>>(),
        });
        self.push_again().await;
        self.epoch
    }

    /// Gives the latest table to all shards that are in it, as an operator does that sees one without it.
    pub(crate) async fn push_again(&self) {
        let peers = self.table["peers"].as_array().unwrap().len();
        for shard in self.shards.iter().take(peers) {
            eventually("a shard that takes the table", || async {
                let answer = self.put(shard, "/v1/routing", &self.table).await;
                answer.is_ok_and(|(status, _)| status == 204).then_some(())
            })
            .await;
        }
    }

    /// What a shard answers to the operator that gives it something.
    pub(crate) async fn put(&self, shard: &Member, path: &str, table: &Value) -> Result<(u16, String), String> {
        let address = shard.daemon.control.as_ref().unwrap();
        let told = |e: &dyn std::fmt::Display| e.to_string();
        let stream =
            keys::connect(&self.authority, Some(&self.operator), SHARD, address).await.map_err(|e| told(&e))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| told(&e))?;
        tokio::spawn(connection);
        let request = Request::put(path).header("host", "shard").header("content-type", "application/json");
        let request = request.body(Full::new(Bytes::from(table.to_string()))).unwrap();
        let response = sender.send_request(request).await.map_err(|e| told(&e))?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.map_err(|e| told(&e))?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    /// Waits until these shards have the newest table, and deliver all slots that it gives to them.
    pub(crate) async fn settled(&self, shards: usize) {
        for shard in self.shards.iter().take(shards) {
            shard.until("its slots", |routing| routing["epoch"] == self.epoch && routing["claiming"] == 0).await;
            shard.daemon.ready().await;
        }
    }

    /// Waits until nothing is left to deliver.
    pub(crate) async fn drained(&self) {
        for shard in &self.shards {
            eventually("an empty backlog", || async {
                (shard.daemon.report().await["backlogEvents"] == 0).then_some(())
            })
            .await;
        }
    }
}

impl Member {
    /// Waits until what it says of its routing is so.
    pub(crate) async fn until(&self, what: &str, is: impl Fn(&Value) -> bool) {
        eventually(&format!("shard {} to have {what}", self.ordinal), || async {
            is(&self.daemon.report().await["routing"]).then_some(())
        })
        .await;
    }

    /// Starts it again where it was, after it has ended.
    pub(crate) async fn restart(&mut self) {
        let listen = self.daemon.listen.clone();
        self.daemon = Self::process(self.clock, &self.home, self.ordinal, &listen).await;
    }

    /// The number that one of its metrics has.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let metrics = self.daemon.get("/metrics").await.text();
        let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("signalbox_dispatcher_{name} ")));
        line.unwrap_or_else(|| panic!("{name} is not in\n{metrics}")).parse().unwrap()
    }

    async fn process(clock: Clock, home: &TempDir, ordinal: usize, listen: &str) -> Daemon {
        let path = |name: &str| home.path().join(name).display().to_string();
        let (config, data, ordinal) = (path("config.json"), path("data"), ordinal.to_string());
        let args = ["serve", "--config", &config, "--data-dir", &data, "--ordinal", &ordinal, "--listen", listen];
        Daemon::start_at(clock, home.path(), &[&args[..], &["--admin-listen", "127.0.0.1:0"]].concat()).await
    }
}
