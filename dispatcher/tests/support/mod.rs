//! What the integration tests share: real processes on 127.0.0.1, and waiting for conditions.
//!
//! Every process is asked for port 0 and writes the address that it got to a file (`--addresses`).
#![allow(dead_code, reason = "each test binary uses its own part of this")]

pub(crate) mod clock;
pub(crate) mod keys;
pub(crate) mod producers;
pub(crate) mod region;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clock::Clock;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;

const BIN: &str = env!("CARGO_BIN_EXE_dispatcher");

/// Longest wait for a condition before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Polls until `condition` gives something. Fails with what it was waiting for.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut condition: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A running `dispatcher` command. Killed when dropped; its log is shown when the test fails.
pub(crate) struct Daemon {
    child: Child,
    home: PathBuf,
    log: PathBuf,
    /// Where it takes events.
    pub(crate) listen: String,
    /// Its admin port, if it has one.
    pub(crate) admin: Option<String>,
    /// Its control port, if it has one.
    pub(crate) control: Option<String>,
}

impl Daemon {
    /// Starts it and waits until it has bound its addresses.
    pub(crate) async fn start(home: &Path, args: &[&str]) -> Self {
        Self::start_as(Command::new(BIN), home, args).await
    }

    /// The same, with another time of day.
    pub(crate) async fn start_at(clock: Clock, home: &Path, args: &[&str]) -> Self {
        Self::start_as(clock.of(Command::new(BIN)), home, args).await
    }

    /// The same, with no more than so many open files.
    pub(crate) async fn start_with_files(files: u32, home: &Path, args: &[&str]) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -n {files} && exec \"$0\" \"$@\""), BIN]);
        Self::start_as(shell, home, args).await
    }

    async fn start_as(mut program: Command, home: &Path, args: &[&str]) -> Self {
        let run = std::fs::read_dir(home).unwrap().count();
        let addresses = home.join(format!("addresses-{run}"));
        let log = home.join(format!("log-{run}"));
        let child = program
            .args(args)
            .arg("--addresses")
            .arg(&addresses)
            .stderr(std::fs::File::create(&log).unwrap())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut daemon = Self { child, home: home.to_owned(), log, listen: String::new(), admin: None, control: None };
        let bound = eventually("the addresses file", || {
            let exited = daemon.child.try_wait().unwrap();
            assert!(exited.is_none(), "exited at once: {exited:?}");
            let read = std::fs::read(&addresses).ok();
            async move { read }
        });
        let bound: Value = serde_json::from_slice(&bound.await).unwrap();
        bound["listen"].as_str().unwrap().clone_into(&mut daemon.listen);
        daemon.admin = bound["admin"].as_str().map(str::to_owned);
        daemon.control = bound["control"].as_str().map(str::to_owned);
        daemon
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Memory that the process has now.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        1024 * line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    }

    /// Starts it, and kills it so long after, bound or not.
    pub(crate) async fn killed_while_starting(home: &Path, args: &[&str], after: Duration) {
        let log = std::fs::File::create(home.join("log-killed-while-starting")).unwrap();
        let mut child = Command::new(BIN).args(args).stderr(log).stdin(Stdio::null()).spawn().unwrap();
        tokio::time::sleep(after).await;
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Waits for the end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let child = &mut self.child;
        eventually("the process to end", || {
            let status = child.try_wait().unwrap();
            async move { status }
        })
        .await
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// `GET` on the admin port, or on the only one.
    pub(crate) async fn get(&self, path: &str) -> Response {
        request(self.admin.as_ref().unwrap_or(&self.listen), "GET", path, &[], "").await
    }

    /// The report, once the shard gives one.
    pub(crate) async fn report(&self) -> Value {
        eventually("a report", || async {
            let response = try_request(self.admin.as_ref().unwrap(), "GET", "/v1/report", &[], "").await.ok()?;
            (response.status == 200).then(|| response.json())
        })
        .await
    }

    /// Waits until the shard is ready.
    pub(crate) async fn ready(&self) {
        eventually("readiness", || async {
            let ready = try_request(self.admin.as_ref().unwrap(), "GET", "/readyz", &[], "").await.ok()?;
            (ready.status == 200).then_some(())
        })
        .await;
    }

    /// What a sink has counted.
    pub(crate) async fn summary(&self) -> Value {
        self.get("/summary").await.json()
    }

    /// Tells a sink how to behave.
    pub(crate) async fn behave(&self, behaviour: &Value) {
        let response = request(&self.listen, "PUT", "/behaviour", &[], &behaviour.to_string()).await;
        assert_eq!(response.status, 200, "{}", response.text());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            for entry in std::fs::read_dir(&self.home).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().starts_with("log-") {
                    eprintln!(
                        "--- {}\n{}",
                        entry.path().display(),
                        std::fs::read_to_string(entry.path()).unwrap_or_default()
                    );
                }
            }
        }
    }
}

/// A sink that counts.
pub(crate) async fn sink(home: &Path) -> Daemon {
    Daemon::start(home, &["sink", "--listen", "127.0.0.1:0"]).await
}

/// A shard and where it keeps its things, so that it can be started again.
pub(crate) struct Shard {
    pub(crate) daemon: Daemon,
    pub(crate) home: TempDir,
    listen: String,
}

impl Shard {
    /// A shard with this configuration, ready.
    pub(crate) async fn start(config: &Value) -> Self {
        Self::start_in(config, tempfile::tempdir().unwrap()).await
    }

    async fn start_in(config: &Value, home: TempDir) -> Self {
        std::fs::write(home.path().join("config.json"), config.to_string()).unwrap();
        let daemon = Self::process(home.path(), "127.0.0.1:0").await;
        daemon.ready().await;
        let listen = daemon.listen.clone();
        Self { daemon, home, listen }
    }

    /// The same with its data elsewhere, in a directory that its own may point to.
    pub(crate) async fn start_on(config: &Value, data: &Path) -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(data).unwrap();
        std::os::unix::fs::symlink(data, home.path().join("data")).unwrap();
        Self::start_in(config, home).await
    }

    /// Starts it again on the same data and the same address, after it has ended.
    pub(crate) async fn restart(&mut self) {
        self.daemon = Self::process(self.home.path(), &self.listen).await;
        self.daemon.ready().await;
    }

    /// Starts it again like [`Self::restart`], and kills it so long after, whether it has recovered or not.
    pub(crate) async fn killed_while_starting(&self, after: Duration) {
        let args = Self::args(self.home.path(), &self.listen);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        Daemon::killed_while_starting(self.home.path(), &args, after).await;
    }

    async fn process(home: &Path, listen: &str) -> Daemon {
        let args = Self::args(home, listen);
        Daemon::start(home, &args.iter().map(String::as_str).collect::<Vec<_>>()).await
    }

    fn args(home: &Path, listen: &str) -> Vec<String> {
        let path = |name: &str| home.join(name).display().to_string();
        let (config, data) = (path("config.json"), path("data"));
        ["serve", "--config", &config, "--data-dir", &data, "--listen", listen, "--admin-listen", "127.0.0.1:0"]
            .map(str::to_owned)
            .to_vec()
    }

    /// Where events go.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.listen)
    }

    /// Sends an event with this id and key, in binary mode.
    pub(crate) async fn send(&self, id: u64, key: &str) -> Response {
        request(&self.listen, "POST", "/", &event_headers(&id.to_string(), key), "data").await
    }

    /// Waits until nothing is left to deliver.
    pub(crate) async fn drained(&self) {
        eventually("an empty backlog", || async { (self.daemon.report().await["backlogEvents"] == 0).then_some(()) })
            .await;
    }
}

/// Headers of a small valid event.
pub(crate) fn event_headers<'a>(id: &'a str, key: &'a str) -> Vec<(&'static str, &'a str)> {
    vec![
        ("ce-id", id),
        ("ce-source", "/test"),
        ("ce-specversion", "1.0"),
        ("ce-type", "test"),
        ("ce-partitionkey", key),
    ]
}

/// A configuration with these sinks, and room for everything.
pub(crate) fn config(sinks: &[(&str, &str)]) -> Value {
    let sinks: Vec<Value> = sinks
        .iter()
        .map(|(name, uri)| {
            json!({
                "name": name, "uri": uri, "timeoutMs": 2000, "maxConcurrency": 16,
                "retry": {"initialBackoffMs": 10, "maxBackoffMs": 500},
            })
        })
        .collect();
    json!({
        "fleet": "test", "region": "here", "sinks": sinks,
        "backlogLimitBytes": 100_000_000, "maxEventBytes": 100_000,
        "addresses": {"allowed": ["127.0.0.0/8"]},
    })
}

/// An address that refuses connections.
pub(crate) fn refusing() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// An address where nobody takes connections, and no more can wait to be taken: the next one is not answered at all.
pub(crate) fn full() -> (String, impl Sized) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let waits = std::net::TcpStream::connect(address).unwrap();
    (address.to_string(), (listener, waits))
}

/// A running `dispatcher load --json`.
pub(crate) struct Load(Child);

impl Load {
    /// Starts it.
    pub(crate) fn start(target: &str, args: &[&str]) -> Self {
        let child = Command::new(BIN)
            .args(["load", "--json", "--target", target])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }

    /// Whether it is still sending.
    pub(crate) fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// Its result, and whether it was content.
    pub(crate) async fn result(self) -> (Value, bool) {
        let output = tokio::task::spawn_blocking(|| self.0.wait_with_output().unwrap()).await.unwrap();
        (serde_json::from_slice(&output.stdout).unwrap(), output.status.success())
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Response {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e} in {:?}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The sentence of a refusal.
    pub(crate) fn error(&self) -> String {
        self.json()["error"].as_str().unwrap().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// One request on a connection of its own.
pub(crate) async fn request(address: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
    try_request(address, method, path, headers, body).await.unwrap()
}

/// One request on a connection of its own, which may fail.
pub(crate) async fn try_request(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<Response, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header("host", address);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = sender.send_request(request.body(Full::new(Bytes::from(body.to_owned())))?).await?;
    let (head, body) = response.into_parts();
    Ok(Response { status: head.status, headers: head.headers, body: body.collect().await?.to_bytes() })
}

/// A new number at each run, unless `SEED` says which. Printed, so that a failure can be repeated.
pub(crate) fn seed() -> u64 {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("SEED={seed}");
    seed
}

/// The next of a row of numbers that begins with a seed.
pub(crate) fn draw(state: &mut u64, below: u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % below
}
