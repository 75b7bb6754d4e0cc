//! Streams from servers on 127.0.0.1 that say what a test wants.

use kube::runtime::reflector::ObjectRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedReceiver;

use signalbox_contract::{ADMIN_PORT, CONTROL_PORT};

use super::*;
use crate::fixtures;

/// Longest wait for a condition before a test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// A shard that can be made to say anything.
struct Speaker {
    port: u16,
    /// Connections that were answered, one after the other.
    answered: mpsc::UnboundedReceiver<TcpStream>,
}

impl Speaker {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (connections, answered) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    assert!(stream.read_buf(&mut head).await.unwrap() > 0);
                }
                assert!(head.starts_with(b"GET /v1/report?watch=true HTTP/1.1\r\n"));
                if connections.send(stream).is_err() {
                    return;
                }
            }
        });
        Self { port, answered }
    }

    /// The next connection, with a head that promises a stream.
    async fn streaming(&mut self) -> Voice {
        let mut stream = tokio::time::timeout(PATIENCE, self.answered.recv()).await.unwrap().unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
        Voice { stream }
    }
}

/// One connection of a speaker.
struct Voice {
    stream: TcpStream,
}

impl Voice {
    async fn say(&mut self, text: &str) {
        let chunk = format!("{:x}\r\n{text}\r\n", text.len());
        self.stream.write_all(chunk.as_bytes()).await.unwrap();
    }

    async fn report(&mut self, sequence: u64, backlog_events: u64) {
        self.say(&line(sequence, backlog_events)).await;
    }

    async fn hung_up(mut self) {
        let closed = async { while self.stream.read(&mut [0; 64]).await.is_ok_and(|read| read > 0) {} };
        tokio::time::timeout(PATIENCE, closed).await.expect("the connection is still open");
    }
}

fn line(sequence: u64, backlog_events: u64) -> String {
    let shard = fixtures::reading(backlog_events, Duration::ZERO).value().unwrap().shard.clone();
    let shard = ShardReport { sequence, uptime_ms: sequence * 10, ..shard };
    format!("{}\n", serde_json::to_string(&shard).unwrap())
}

fn shard(port: u16) -> Shard {
    Shard {
        uid: format!("uid-{port}"),
        ip: "127.0.0.1".to_owned(),
        port,
        events: 1,
        keyed: false,
        namespace: "shop".to_owned(),
        fleet: "orders".to_owned(),
        region: "eu-west".to_owned(),
        ordinal: Some(0),
        poke: Some(ObjectRef::new("orders").within("shop")),
    }
}

/// Reports that listen to these shards, until dropped.
struct Listening {
    reports: Reports,
    metrics: Metrics,
    shards: Arc<Mutex<Vec<Shard>>>,
    pokes: UnboundedReceiver<Poke>,
    all_asked: Option<oneshot::Receiver<()>>,
    _task: JoinSet<()>,
}

impl Listening {
    fn to(shards: impl IntoIterator<Item = Shard>) -> Self {
        Self::with_keys(shards, Arc::new(|_, _| None))
    }

    fn with_keys(shards: impl IntoIterator<Item = Shard>, keys: Keys) -> Self {
        let (reports, metrics) = (Reports::default(), Metrics::new());
        let shards = Arc::new(Mutex::new(shards.into_iter().collect::<Vec<_>>()));
        let (poke, pokes) = mpsc::unbounded_channel();
        let (asked, all_asked) = oneshot::channel();
        let mut task = JoinSet::new();
        let running = shards.clone();
        task.spawn(reports.clone().listen(move || running.lock().unwrap().clone(), keys, poke, metrics.clone(), asked));
        Self { reports, metrics, shards, pokes, all_asked: Some(all_asked), _task: task }
    }

    fn seen(&self, port: u16) -> Observation<Report> {
        self.reports.lock().get(&format!("uid-{port}")).map(|kept| kept.observation.clone()).unwrap_or_default()
    }

    async fn until(&self, port: u16, what: &str, is: impl Fn(&Observation<Report>) -> bool) {
        let waiting = async {
            while !is(&self.seen(port)) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(waited.is_ok(), "waited in vain for {what}: {:?}", self.seen(port));
    }

    async fn backlog(&self, port: u16, events: u64) {
        let is = |seen: &Observation<Report>| seen.value().is_some_and(|report| report.shard.backlog_events == events);
        self.until(port, &format!("a backlog of {events}"), is).await;
    }

    async fn silent(&self, port: u16, why: &str) {
        let is = |seen: &Observation<Report>| matches!(seen, Observation::Unreachable(it) if it.why.contains(why));
        self.until(port, why, is).await;
    }

    fn refused(&self, why: &str) -> bool {
        self.metrics.encode().unwrap().contains(&format!("reports_refused_total{{why=\"{why}\"}} 1\n"))
    }
}

#[tokio::test]
async fn a_spike_pokes_the_fleet_while_the_stream_goes_on() {
    let mut speaker = Speaker::start().await;
    let mut listening = Listening::to([shard(speaker.port)]);
    let mut voice = speaker.streaming().await;
    voice.report(1, 0).await;
    listening.backlog(speaker.port, 0).await;
    assert_eq!(listening.pokes.recv().await.unwrap(), shard(speaker.port).poke);
    let mut slowest = Duration::ZERO;
    for spike in 1..=8_u32 {
        let said = Instant::now();
        voice.report(u64::from(spike) + 1, 1000 * 4_u64.pow(spike)).await;
        listening.pokes.recv().await.unwrap();
        slowest = slowest.max(said.elapsed());
        listening.backlog(speaker.port, 1000 * 4_u64.pow(spike)).await;
    }
    // Two tries are apart by at most what the pacer, the gap between lines and a busy machine take.
    assert!(slowest < Duration::from_millis(500), "poked after {slowest:?}");
}

#[tokio::test]
async fn a_shard_that_says_nothing_more_is_missed_and_connected_to_again_and_never_twice_at_once() {
    let mut speaker = Speaker::start().await;
    let listening = Listening::to([shard(speaker.port)]);
    let mut voice = speaker.streaming().await;
    voice.report(1, 7).await;
    listening.backlog(speaker.port, 7).await;
    assert!(speaker.answered.try_recv().is_err(), "a second connection beside the first");
    let silent_from = Instant::now();
    voice.hung_up().await;
    assert!(silent_from.elapsed() > Duration::from_secs(1), "hung up after {:?}", silent_from.elapsed());
    listening.backlog(speaker.port, 7).await;
    let mut again = speaker.streaming().await;
    again.report(2, 8).await;
    listening.backlog(speaker.port, 8).await;
}

#[tokio::test]
async fn half_a_line_is_none_and_holds_nobody_up() {
    let mut speaker = Speaker::start().await;
    let listening = Listening::to([shard(speaker.port)]);
    let mut voice = speaker.streaming().await;
    let line = line(1, 7);
    let (half, rest) = line.split_at(100);
    voice.say(half).await;
    voice.say(rest).await;
    listening.backlog(speaker.port, 7).await;
    voice.say(half).await;
    voice.hung_up().await;
}

#[tokio::test]
async fn a_shard_that_gives_one_report_at_a_time_is_asked_again_and_again() {
    let mut speaker = Speaker::start().await;
    let listening = Listening::to([shard(speaker.port)]);
    for backlog in [3, 4] {
        let mut stream = tokio::time::timeout(PATIENCE, speaker.answered.recv()).await.unwrap().unwrap();
        let mut shard = fixtures::reading(backlog, Duration::ZERO).value().unwrap().shard.clone();
        shard.sequence = 0;
        let body = serde_json::to_string(&shard).unwrap();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
        listening.backlog(speaker.port, backlog).await;
        let report = listening.seen(speaker.port).value().unwrap().clone();
        assert_eq!((report.trouble, report.rates), (None, None));
    }
}

#[tokio::test]
async fn what_is_no_report_is_named_and_the_next_one_is_taken() {
    let mut speaker = Speaker::start().await;
    let listening = Listening::to([shard(speaker.port)]);
    let mut voice = speaker.streaming().await;
    voice.report(1, 7).await;
    listening.backlog(speaker.port, 7).await;
    voice.say(&line(2, 7).replace("\"backlogEvents\":7", "\"backlogEvents\":NaN")).await;
    voice.report(3, 8).await;
    listening.backlog(speaker.port, 8).await;
    voice.say(&line(4, 8).replace("\"backlogEvents\":8", "\"backlogEvents\":-1")).await;
    voice.report(3, 9).await;
    voice.report(5, 10).await;
    listening.backlog(speaker.port, 10).await;
    assert!(listening.refused("old"));
    assert!(listening.metrics.encode().unwrap().contains("reports_refused_total{why=\"malformed\"} 2\n"));
    assert!(speaker.answered.try_recv().is_err(), "it was hung up for that");
}

#[tokio::test]
async fn a_line_without_end_is_cut_off() {
    let mut speaker = Speaker::start().await;
    let listening = Listening::to([shard(speaker.port)]);
    let mut voice = speaker.streaming().await;
    for _ in 0..129 {
        voice.say(&"x".repeat(1024)).await;
    }
    listening.silent(speaker.port, "longer than 128 KiB").await;
    voice.hung_up().await;
}

#[tokio::test]
async fn another_fleets_shard_is_not_listened_to() {
    let mut speaker = Speaker::start().await;
    let listening = Listening::to([Shard { fleet: "mail".to_owned(), ..shard(speaker.port) }]);
    let mut voice = speaker.streaming().await;
    voice.report(1, 7).await;
    listening.silent(speaker.port, "its report is of fleet orders, region eu-west").await;
    voice.hung_up().await;
    assert!(listening.refused("foreign"));
}

#[tokio::test]
async fn a_shard_that_says_it_is_another_of_its_region_is_not_listened_to() {
    let mut speaker = Speaker::start().await;
    let listening = Listening::to([shard(speaker.port)]);
    let mut voice = speaker.streaming().await;
    let another = fixtures::routed(3, 1, 0).value().unwrap().shard.clone();
    voice.say(&format!("{}\n", serde_json::to_string(&another).unwrap())).await;
    listening.silent(speaker.port, "its report is of shard 3").await;
    assert!(listening.refused("foreign"));
}

#[tokio::test]
async fn the_stream_ends_with_the_pod_and_nothing_is_kept_of_it() {
    let mut speaker = Speaker::start().await;
    let listening = Listening::to([shard(speaker.port)]);
    let mut voice = speaker.streaming().await;
    voice.report(1, 7).await;
    listening.backlog(speaker.port, 7).await;
    listening.shards.lock().unwrap().clear();
    voice.hung_up().await;
    listening.until(speaker.port, "nothing", |seen| *seen == Observation::NotYet).await;
}

#[tokio::test]
async fn all_are_asked_once_each_was_heard_or_found_silent() {
    let mut speaker = Speaker::start().await;
    let refusing = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let mut listening = Listening::to([shard(speaker.port), shard(refusing)]);
    listening.silent(refusing, "cannot be reached").await;
    let mut voice = speaker.streaming().await;
    let mut all_asked = listening.all_asked.take().unwrap();
    assert!(all_asked.try_recv().is_err(), "before all were heard");
    voice.report(1, 7).await;
    tokio::time::timeout(PATIENCE, all_asked).await.unwrap().unwrap();
    assert!(listening.seen(speaker.port).value().is_some());
}

#[tokio::test]
async fn without_shards_all_are_asked_at_once() {
    let mut listening = Listening::to([]);
    tokio::time::timeout(PATIENCE, listening.all_asked.take().unwrap()).await.unwrap().unwrap();
}

/// The keys of a fleet of this name, made so long ago.
fn ring(fleet: &str, ago: Duration) -> Keyring {
    crate::keys::keys(fleet, "shop", None, clock::now() - ago, &mut || rcgen::KeyPair::generate()).unwrap()
}

/// A port with keys in front of a speaker. It passes on what an operator of the fleet says, and nobody else.
async fn guarded(speaker: &Speaker, keyring: &Keyring) -> u16 {
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::crypto::ring;
    use tokio_rustls::rustls::pki_types::pem::PemObject as _;
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use tokio_rustls::rustls::server::WebPkiClientVerifier;
    use tokio_rustls::rustls::{RootCertStore, ServerConfig};

    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(keyring.trusted().as_bytes()) {
        roots.add(authority.unwrap()).unwrap();
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(keyring.shard.cert.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(keyring.shard.key.as_bytes()).unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, behind) = (listener.local_addr().unwrap().port(), speaker.port);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            tokio::spawn(async move {
                let mut plain = TcpStream::connect(("127.0.0.1", behind)).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut plain).await;
            });
        }
    });
    port
}

fn keyed(port: u16) -> Shard {
    Shard { keyed: true, ..shard(port) }
}

#[tokio::test]
async fn a_shard_with_keys_is_listened_to_and_so_it_is_when_they_change() {
    let mut speaker = Speaker::start().await;
    let ours = ring("orders", Duration::ZERO);
    let port = guarded(&speaker, &ours).await;
    let held = Arc::new(Mutex::new(None));
    let shown = held.clone();
    let listening = Listening::with_keys([keyed(port)], Arc::new(move |_, _| shown.lock().unwrap().clone()));
    listening.silent(port, "the fleet's keys have not been seen").await;
    *held.lock().unwrap() = Some(ours);
    let mut voice = speaker.streaming().await;
    voice.report(1, 7).await;
    listening.backlog(port, 7).await;
}

#[tokio::test]
async fn who_shows_keys_of_another_fleet_or_another_authority_or_another_time_is_no_shard() {
    let mut speaker = Speaker::start().await;
    let ours = ring("orders", Duration::ZERO);
    let old = ring("orders", Duration::from_hours(31 * 24));
    let expired = Keyring { authorities: [ours.authorities.clone(), old.authorities.clone()].concat(), ..old };
    let others = [ring("mail", Duration::ZERO), ring("orders", Duration::ZERO), expired.clone()];
    let trusting = Keyring { authorities: expired.authorities.clone(), ..ours };
    for other in others {
        let port = guarded(&speaker, &other).await;
        let trusting = trusting.clone();
        let listening = Listening::with_keys([keyed(port)], Arc::new(move |_, _| Some(trusting.clone())));
        listening.silent(port, "is not to be trusted").await;
    }
    assert!(speaker.answered.try_recv().is_err(), "something was said to it");
}

#[test]
fn a_pod_says_itself_whether_it_has_keys() {
    let pod = |ports: serde_json::Value| {
        serde_json::from_value::<Pod>(serde_json::json!({
            "metadata": {
                "name": "orders-eu-west-0", "namespace": "shop", "uid": "u",
                "labels": {"signalbox.dev/fleet": "orders", "signalbox.dev/region": "eu-west"},
            },
            "spec": {"containers": [{"name": "dispatcher", "ports": ports}]},
            "status": {"phase": "Running", "podIP": "10.0.0.1"},
        }))
        .unwrap()
    };
    let with = Shard::of(&pod(serde_json::json!([{"name": "control", "containerPort": 9443}]))).unwrap();
    assert_eq!((with.keyed, with.port), (true, CONTROL_PORT));
    let without = Shard::of(&pod(serde_json::json!([{"name": "admin", "containerPort": 9090}]))).unwrap();
    assert_eq!((without.keyed, without.port), (false, ADMIN_PORT));
}

/// An events port that answers as long as this is set.
async fn events_port(answers: Arc<std::sync::atomic::AtomicBool>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            if answers.load(std::sync::atomic::Ordering::SeqCst) {
                let _ = stream.read(&mut [0; 256]).await;
                let _ = stream.write_all(b"HTTP/1.1 405 Method Not Allowed\r\n\r\n").await;
            } else {
                // As one whose packets are lost.
                held.push(stream);
            }
        }
    });
    port
}

impl Listening {
    fn port(&self, port: u16) -> DataPort {
        self.reports.lock().get(&format!("uid-{port}")).map(|kept| kept.data_port).unwrap_or_default()
    }

    async fn until_port(&self, port: u16, what: &str, is: impl Fn(DataPort) -> bool) {
        let waiting = async {
            while !is(self.port(port)) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(waited.is_ok(), "waited in vain for {what}: {:?}", self.port(port));
    }
}

#[tokio::test]
async fn a_shard_that_falls_silent_is_said_to_be_and_its_events_port_is_asked_before_anybody_waits_for_it() {
    let answers = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut speaker = Speaker::start().await;
    let events = events_port(answers.clone()).await;
    let mut listening = Listening::to([Shard { events, ..shard(speaker.port) }]);
    let mut voice = speaker.streaming().await;
    voice.report(1, 0).await;
    listening.backlog(speaker.port, 0).await;
    let heard = Instant::now();
    listening.pokes.recv().await.unwrap();
    listening.until_port(speaker.port, "a silent port", |port| matches!(port, DataPort::Silent(_))).await;
    assert!(heard.elapsed() >= Duration::from_secs(1), "asked after {:?}", heard.elapsed());
    let is_missing = |seen: &Observation<Report>| seen.value().is_some_and(|report| report.trouble.is_some());
    listening.until(speaker.port, "a missing report", is_missing).await;
    let poked = tokio::time::timeout(PATIENCE, listening.pokes.recv()).await;
    assert!(poked.is_ok(), "nobody was told");
    // Two reports are missing after two seconds; the rest is what a busy machine may take.
    assert!(heard.elapsed() < Duration::from_secs(4), "said after {:?}", heard.elapsed());
    answers.store(true, std::sync::atomic::Ordering::SeqCst);
    listening.until_port(speaker.port, "a port that answers", |port| matches!(port, DataPort::Answers(_))).await;
    let mut again = speaker.streaming().await;
    again.report(2, 0).await;
    listening.until_port(speaker.port, "a port that is not asked", |port| port == DataPort::NotAsked).await;
    listening.backlog(speaker.port, 0).await;
}

#[tokio::test]
async fn the_events_port_of_a_shard_that_reports_is_left_alone() {
    let mut speaker = Speaker::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let events = listener.local_addr().unwrap().port();
    let listening = Listening::to([Shard { events, ..shard(speaker.port) }]);
    let mut voice = speaker.streaming().await;
    for sequence in 1..=4 {
        voice.report(sequence, sequence).await;
        listening.backlog(speaker.port, sequence).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let asked = tokio::time::timeout(Duration::from_millis(1), listener.accept()).await;
    assert!(asked.is_err(), "a port was asked that nobody had to ask");
}
