//! Shards, sinks and loads for the scenarios: the same program each time, each a process of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde::Serialize;
use serde_json::{Value, json};
use signalbox_contract::{ROUTING_PATH, RoutingTable, TRAFFIC_PATH, TrafficTable};
use tempfile::TempDir;

use crate::http::{self, Metrics};
use crate::process::Process;

/// Longest wait for a shard to do what it is waited for.
const PATIENCE: Duration = Duration::from_mins(10);

/// Where and how to measure.
#[derive(Clone, Debug)]
pub(crate) struct Lab {
    pub(crate) dispatcher: PathBuf,
    pub(crate) dir: PathBuf,
    pub(crate) seconds: u64,
    pub(crate) events: u64,
    pub(crate) event_size: u64,
    pub(crate) connections: u64,
}

/// Builds the dispatcher as it is shipped, where this program itself was built, and says where it is.
pub(crate) fn build_dispatcher() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let args = ["build", "--release", "--quiet", "--package", "signalbox-dispatcher", "--bin", "dispatcher"];
    let status = Command::new(cargo).args(args).current_dir(env!("CARGO_MANIFEST_DIR")).status();
    ensure!(
        status.is_ok_and(|status| status.success()),
        "the dispatcher could not be built: build it by hand, and name it with --dispatcher"
    );
    let here = std::env::current_exe()?;
    let target = here.parent().and_then(Path::parent).context("this program is not in a target directory")?;
    Ok(target.join("release/dispatcher"))
}

/// A sink of a shard's configuration, with the defaults of `serve --sink`.
pub(crate) fn sink_config(name: &str, uri: &str) -> Value {
    json!({
        "name": name, "uri": uri, "timeoutMs": 5000, "maxConcurrency": 64,
        "retry": {"initialBackoffMs": 200, "maxBackoffMs": 30_000},
    })
}

/// A shard's configuration, with room for whatever a scenario sends.
pub(crate) fn shard_config(sinks: &[Value]) -> Value {
    json!({
        "fleet": "bench", "region": "here", "sinks": sinks,
        "backlogLimitBytes": 60_000_000_000_u64, "maxEventBytes": 1_048_576,
        "addresses": {"allowed": ["127.0.0.0/8"]},
    })
}

/// A receiver.
pub(crate) struct Sink {
    pub(crate) process: Process,
    pub(crate) address: String,
}

impl Sink {
    pub(crate) fn uri(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Makes it count from nothing.
    pub(crate) async fn forget(&self) -> Result<()> {
        let (status, _) = http::request(&self.address, "POST", "/reset", "").await?;
        ensure!(status == 200, "the sink does not forget: it answered {status}");
        Ok(())
    }

    /// Tells it how to behave from now on.
    pub(crate) async fn behave(&self, behaviour: &Value) -> Result<()> {
        let (status, _) = http::request(&self.address, "PUT", "/behaviour", &behaviour.to_string()).await?;
        ensure!(status == 200, "the sink does not do as it is told: it answered {status}");
        Ok(())
    }

    pub(crate) async fn summary(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&http::request(&self.address, "GET", "/summary", "").await?.1)?)
    }
}

/// A shard, and what it needs to be started again.
pub(crate) struct Shard {
    pub(crate) process: Process,
    pub(crate) listen: String,
    admin: String,
    /// Where other shards reach it, if it is one of a region.
    pub(crate) control: Option<String>,
    home: TempDir,
    dispatcher: PathBuf,
    starts: usize,
}

impl Shard {
    fn spawn(home: &Path, dispatcher: &Path, start: usize, flags: &[&str]) -> Result<(Process, PathBuf)> {
        let addresses = home.join(format!("addresses-{start}"));
        let mut command = Command::new(dispatcher);
        command.args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--config"]);
        command.arg(home.join("config.json")).arg("--data-dir").arg(home.join("data"));
        command.arg("--addresses").arg(&addresses).args(flags);
        Ok((Process::start(&mut command, &home.join("log"))?, addresses))
    }

    /// Kills it, starts it again on the same data, and says how long it took from the start to being ready.
    pub(crate) async fn crash_and_restart(&mut self) -> Result<Duration> {
        self.process.kill()?;
        self.starts += 1;
        let started = Instant::now();
        let (process, addresses) = Self::spawn(self.home.path(), &self.dispatcher, self.starts, &[])?;
        self.process = process;
        self.bound(&addresses).await?;
        self.ready().await?;
        Ok(started.elapsed())
    }

    /// Waits until it has its addresses.
    async fn bound(&mut self, addresses: &Path) -> Result<()> {
        let bound = self.process.written(addresses).await?;
        let address = |name| bound[name].as_str().map(str::to_owned).context("the addresses file is not complete");
        (self.listen, self.admin) = (address("listen")?, address("admin")?);
        self.control = bound["control"].as_str().map(str::to_owned);
        Ok(())
    }

    /// Waits until it accepts events.
    pub(crate) async fn ready(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !matches!(http::request(&self.admin, "GET", "/readyz", "").await, Ok((200, _))) {
            ensure!(Instant::now() < deadline, "the shard does not become ready");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    pub(crate) async fn report(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&http::request(&self.admin, "GET", "/v1/report", "").await?.1)?)
    }

    /// Gives it a routing table, as soon as it takes one.
    pub(crate) async fn route(&self, table: &RoutingTable) -> Result<()> {
        self.put(ROUTING_PATH, table).await
    }

    /// Gives it a traffic table, as soon as it takes one.
    pub(crate) async fn share(&self, table: &TrafficTable) -> Result<()> {
        self.put(TRAFFIC_PATH, table).await
    }

    async fn put(&self, path: &str, table: &impl Serialize) -> Result<()> {
        let (deadline, table) = (Instant::now() + PATIENCE, serde_json::to_string(table)?);
        loop {
            let (status, answer) = http::request(&self.admin, "PUT", path, &table).await?;
            if status == 204 {
                return Ok(());
            }
            let why = String::from_utf8_lossy(&answer).into_owned();
            ensure!(status == 503 && Instant::now() < deadline, "it does not take its table: {status} {why}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn metrics(&self) -> Result<Metrics> {
        let (_, body) = http::request(&self.admin, "GET", "/metrics", "").await?;
        Ok(Metrics(String::from_utf8_lossy(&body).into_owned()))
    }

    /// Waits until the named sinks have nothing left to get.
    pub(crate) async fn drained(&self, sinks: &[String]) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let report = self.report().await?;
            let all = report["sinks"].as_array().context("a report without sinks")?;
            let waiting =
                |sink: &Value| sinks.iter().any(|name| sink["name"] == name.as_str()) && sink["backlogEvents"] != 0;
            if !all.iter().any(waiting) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "the backlog is not delivered: {report}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Bytes of disk that its log takes.
    pub(crate) fn disk_bytes(&self) -> Result<u64> {
        fn of(dir: &Path) -> Result<u64> {
            use std::os::unix::fs::MetadataExt as _;
            let mut sum = 0;
            for entry in std::fs::read_dir(dir)? {
                let entry = entry?;
                let about = entry.metadata()?;
                sum += if about.is_dir() { of(&entry.path())? } else { about.blocks() * 512 };
            }
            Ok(sum)
        }
        of(&self.home.path().join("data"))
    }
}

/// What `dispatcher load --json` says.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Loaded {
    pub(crate) sent: u64,
    pub(crate) accepted: u64,
    pub(crate) elapsed_seconds: f64,
    pub(crate) achieved_rate: f64,
    pub(crate) latency_ms: Latency,
    #[serde(default)]
    pub(crate) rejected: std::collections::BTreeMap<String, u64>,
    /// Processor time of the generator.
    #[serde(skip)]
    pub(crate) cpu: Duration,
}

impl Loaded {
    /// Whether everything was accepted, but for a request of each connection: a server that hangs up on a connection
    /// that has become old may do so just when the next request is on its way.
    pub(crate) fn whole(&self, lab: &Lab) -> Result<()> {
        ensure!(self.accepted + lab.connections >= self.sent, "not everything was accepted: {self:?}");
        Ok(())
    }
}

/// Quantiles in milliseconds.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Lab {
    /// A folder of its own.
    pub(crate) fn home(&self) -> Result<TempDir> {
        tempfile::Builder::new()
            .prefix("bench-")
            .tempdir_in(&self.dir)
            .with_context(|| format!("cannot write to {}: choose another --dir", self.dir.display()))
    }

    /// A shard that is ready.
    pub(crate) async fn shard(&self, config: &Value) -> Result<Shard> {
        let shard = self.started(config, &[]).await?;
        shard.ready().await?;
        Ok(shard)
    }

    /// A shard that has its addresses.
    pub(crate) async fn started(&self, config: &Value, flags: &[&str]) -> Result<Shard> {
        let home = self.home()?;
        std::fs::write(home.path().join("config.json"), config.to_string())?;
        let (process, addresses) = Shard::spawn(home.path(), &self.dispatcher, 0, flags)?;
        let (listen, admin, dispatcher) = (String::new(), String::new(), self.dispatcher.clone());
        let mut shard = Shard { process, listen, admin, control: None, home, dispatcher, starts: 0 };
        shard.bound(&addresses).await?;
        Ok(shard)
    }

    /// A sink with these flags.
    pub(crate) async fn sink(&self, flags: &[&str]) -> Result<Sink> {
        let home = self.home()?;
        let addresses = home.path().join("addresses");
        let mut command = Command::new(&self.dispatcher);
        command.args(["sink", "--listen", "127.0.0.1:0", "--addresses"]).arg(&addresses).args(flags);
        let mut process = Process::start(&mut command, &home.path().join("log"))?;
        let bound = process.written(&addresses).await?;
        let address = bound["listen"].as_str().context("the addresses file is not complete")?.to_owned();
        Ok(Sink { process, address })
    }

    /// A sink that asks to be left alone for ten minutes. Its shard stores everything and sends next to nothing: what
    /// is measured then is ingest, with all of its storing, and nothing of delivery.
    pub(crate) async fn quiet_sink(&self) -> Result<Sink> {
        self.sink(&["--fail-ratio", "1", "--status", "503", "--retry-after-seconds", "600"]).await
    }

    /// A shard with a [quiet sink](Self::quiet_sink).
    pub(crate) async fn ingesting(&self) -> Result<(Shard, Sink)> {
        let sink = self.quiet_sink().await?;
        let shard = self.shard(&shard_config(&[sink_config("quiet", &sink.uri())])).await?;
        Ok((shard, sink))
    }

    /// Sends events to `address` and waits for the result.
    pub(crate) async fn load(&self, address: &str, flags: &[&str]) -> Result<Loaded> {
        let mut command = Command::new(&self.dispatcher);
        command.args(["load", "--json", "--target", &format!("http://{address}/")]).args(flags);
        let home = self.home()?;
        let log = home.path().join("log");
        let process = Process::start(command.stdout(Stdio::piped()), &log)?;
        let (text, cpu) = process.finished().await?;
        let loaded: Loaded = serde_json::from_str(&text)
            .with_context(|| format!("no result of load: {}", std::fs::read_to_string(&log).unwrap_or_default()))?;
        Ok(Loaded { cpu, ..loaded })
    }

    /// As fast as it is answered, 1 KiB events of 10,000 keys, for so long.
    pub(crate) async fn full_speed(&self, address: &str, seconds: u64, flags: &[&str]) -> Result<Loaded> {
        let (seconds, connections) = (format!("{seconds}s"), self.connections.to_string());
        let all = ["--rate", "0", "--duration", &seconds, "--keys", "10000", "--connections", &connections];
        self.load(address, &[&all[..], flags].concat()).await
    }
}

/// Microseconds of processor time for each of so many.
#[expect(clippy::cast_precision_loss, reason = "counts of events stay far below 2^52")]
pub(crate) fn each(cpu: Duration, count: u64) -> f64 {
    cpu.as_secs_f64() * 1e6 / count.max(1) as f64
}
