//! The shards' reports: one stream from each, and what was said last, with what only shows over several.
//!
//! ```text
//! pods --> one task each: stream.rs --line--> checks.rs --taken--> kept.rs, rates.rs
//!                         silence.rs --none comes--> port.rs ------>   |
//!                                            fleets <-- pacer.rs <-- attention.rs: does it matter?
//! ```
//!
//! A report that does not come is an observation too: since when, and why. So is one that cannot be: it is counted,
//! named, and never acted on. A report of another fleet's shard, as when an address was given to another pod, is not
//! taken.
//!
//! **Architecture Invariant:** one connection to a shard at most, and no queue on the way: memory is bounded by the number
//! of pods.

mod attention;
mod backoff;
mod checks;
mod kept;
mod pacer;
mod port;
mod rates;
mod shard;
mod silence;
mod stream;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use signalbox_contract::ShardReport;
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::task::{AbortHandle, JoinSet};

use super::caches::{Caches, Poke};
use crate::clock;
use crate::fleet::{DataPort, Keyring, Observation, Report, names};
use crate::metrics::Metrics;
use crate::tls::Identity;
use backoff::Backoff;
use checks::Refusal;
use kept::{Kept, Moment};
use shard::{NotOne, Shard};
use stream::Lines;

/// How often the pods are looked through for those that came and went.
const LOOK: Duration = Duration::from_millis(250);
/// Longest wait for a connection and its first line.
const TIMEOUT: Duration = Duration::from_millis(1500);
/// Longest wait for each further line: a shard that lives gives one every second, so two are missing by then.
const SILENCE: Duration = Duration::from_secs(2);
/// Least time between two lines taken from one shard. What comes faster waits where it is, and is old when it is read.
const LINE_GAP: Duration = Duration::from_millis(20);
/// How long to wait before asking a shard again that ends its answer after one report, as those before 0.2 do.
const INTERVAL: Duration = Duration::from_secs(2);
/// Longest life of a connection: the next one is made with the keys of its day.
const MAX_AGE: Duration = Duration::from_hours(2);
/// Connections being made at once.
const CONCURRENCY: usize = 64;
/// Longest wait at the start, until every shard was heard or found silent.
const FIRST_ROUND: Duration = Duration::from_secs(10);

/// What the shards said last.
#[derive(Clone)]
pub(crate) struct Reports {
    by_pod: Arc<Mutex<BTreeMap<String, Kept>>>,
    /// Since when moments are counted.
    epoch: Instant,
    /// A shard was heard, or found silent.
    heard: Arc<Notify>,
}

impl Default for Reports {
    fn default() -> Self {
        Self { by_pod: Arc::default(), epoch: Instant::now(), heard: Arc::default() }
    }
}

/// What the tasks of shards have in common.
#[derive(Clone)]
struct Means {
    reports: Reports,
    pokes: UnboundedSender<Poke>,
    metrics: Metrics,
    places: Arc<Semaphore>,
    /// For events ports that are asked at once.
    asks: Arc<Semaphore>,
    keys: Keys,
}

/// The keys of a fleet, by namespace and name.
type Keys = Arc<dyn Fn(&str, &str) -> Option<Keyring> + Send + Sync>;

impl Reports {
    /// What the shard in this pod said last, and whether its events port answers.
    pub(super) fn of(&self, pod: &Pod) -> (Observation<Report>, DataPort) {
        let uid = pod.uid().unwrap_or_default();
        self.lock().get(&uid).map_or_else(Default::default, |kept| (kept.observation.clone(), kept.data_port))
    }

    /// Listens for ever, and pokes the fleets whose picture changes. Says so once every shard has been heard or found
    /// silent.
    pub(crate) async fn read(
        self,
        caches: Caches,
        pokes: UnboundedSender<Poke>,
        metrics: Metrics,
        all_asked: oneshot::Sender<()>,
    ) {
        let keyrings = caches.clone();
        let keys = Arc::new(move |namespace: &str, fleet: &str| keyrings.keyring(namespace, fleet));
        let shards = || caches.all_pods().iter().filter_map(|pod| Shard::of(pod)).collect();
        self.listen(shards, keys, pokes, metrics, all_asked).await;
    }

    async fn listen(
        self,
        shards: impl Fn() -> Vec<Shard>,
        keys: Keys,
        pokes: UnboundedSender<Poke>,
        metrics: Metrics,
        all_asked: oneshot::Sender<()>,
    ) {
        let (paced, asked) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(pacer::run(asked, pokes));
        let means = Means {
            reports: self.clone(),
            pokes: paced,
            metrics,
            places: Arc::new(Semaphore::new(CONCURRENCY)),
            asks: Arc::new(Semaphore::new(silence::CONCURRENCY)),
            keys,
        };
        let mut first_round = Some((all_asked, shards(), self.epoch.elapsed() + FIRST_ROUND));
        let mut listening: BTreeMap<String, (Shard, AbortHandle)> = BTreeMap::new();
        loop {
            let now: BTreeMap<String, Shard> = shards().into_iter().map(|shard| (shard.uid.clone(), shard)).collect();
            listening.retain(|uid, (shard, task)| {
                let stays = now.get(uid) == Some(shard);
                if !stays {
                    task.abort();
                }
                stays
            });
            self.lock().retain(|uid, _| now.contains_key(uid));
            for (uid, shard) in now {
                listening.entry(uid).or_insert_with(|| {
                    let task = tasks.spawn(means.clone().attend(shard.clone()));
                    (shard, task)
                });
            }
            // Those that were told to end have, or will: nothing is kept of them.
            while tasks.try_join_next().is_some() {}
            first_round = first_round.and_then(|(all_asked, first, until)| {
                let heard = {
                    let by_pod = self.lock();
                    first.iter().all(|shard| by_pod.contains_key(&shard.uid) || !listening.contains_key(&shard.uid))
                };
                if heard || self.epoch.elapsed() >= until {
                    // Who waited for this may have ended.
                    let _ = all_asked.send(());
                    return None;
                }
                Some((all_asked, first, until))
            });
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = self.heard.notified(), if first_round.is_some() => {}
            }
        }
    }

    fn now(&self) -> Moment {
        Moment { wall: clock::now(), at: self.epoch.elapsed() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Kept>> {
        // A panic elsewhere leaves a map of whole entries behind.
        self.by_pod.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Means {
    /// Listens to one shard, and to its silence, until the task is ended.
    async fn attend(self, shard: Shard) {
        tokio::join!(self.follow(&shard), self.watch(&shard));
    }

    async fn follow(&self, shard: &Shard) {
        let mut backoff = Backoff::default();
        loop {
            let ended = self.listen_once(shard, &mut backoff).await;
            let wait = match ended {
                Ok(wait) => wait,
                Err(why) => {
                    let _ = self.keep(shard, Err(why));
                    None
                }
            };
            tokio::time::sleep(wait.unwrap_or_else(|| backoff.next())).await;
        }
    }

    /// One connection, from its start to its end. An error says why reports are missing from now on; otherwise, how long
    /// to wait for the next, if that is known.
    async fn listen_once(&self, shard: &Shard, backoff: &mut Backoff) -> Result<Option<Duration>, String> {
        let identity = if shard.keyed { Some(self.identity(shard)?) } else { None };
        let opening = async {
            let mut lines = Lines::open(&shard.ip, shard.port, identity.as_ref()).await?;
            let first = lines.next().await?;
            Ok::<_, String>((lines, first))
        };
        let (mut lines, mut line) = {
            // A place is for those who are connecting. It is never closed.
            let _place = self.places.acquire().await;
            let opened = tokio::time::timeout(TIMEOUT, opening).await;
            opened.map_err(|_| format!("port {} does not answer within {TIMEOUT:?}", shard.port))??
        };
        if let Some(kept) = self.reports.lock().get_mut(&shard.uid) {
            kept.connected(self.reports.epoch.elapsed());
        }
        let mut taken = None;
        let until = tokio::time::Instant::now() + MAX_AGE.mul_f64(1.0 - backoff::fraction() / 2.0);
        while let Some(text) = line {
            match shard.report(&text) {
                Ok(report) => {
                    let sequence = report.sequence;
                    match self.keep(shard, Ok(report)) {
                        Ok(()) => {
                            backoff.reset();
                            taken = Some(sequence);
                        }
                        Err(Refusal { hang_up: true, .. }) => return Ok(None),
                        Err(_) => {}
                    }
                }
                Err(NotOne::Broken(why)) => {
                    self.metrics.report_refused("malformed");
                    let _ = self.keep(shard, Err(why));
                }
                Err(NotOne::Elsewhere(why)) => {
                    self.metrics.report_refused("foreign");
                    return Err(why);
                }
            }
            tokio::time::sleep(LINE_GAP).await;
            if tokio::time::Instant::now() >= until {
                return Ok(Some(Duration::ZERO));
            }
            let next = tokio::time::timeout(SILENCE, lines.next()).await;
            line = next.map_err(|_| format!("port {} has said nothing for {SILENCE:?}", shard.port))??;
        }
        match taken {
            None => Err("its report breaks off".to_owned()),
            // It gives one report at a time.
            Some(0) => Ok(Some(INTERVAL)),
            Some(_) => Ok(None),
        }
    }

    fn identity(&self, shard: &Shard) -> Result<Identity, String> {
        let keyring = (self.keys)(&shard.namespace, &shard.fleet).ok_or("the fleet's keys have not been seen")?;
        Identity::new(&keyring, names::shard_identity(&shard.fleet, &shard.namespace))
    }

    /// Keeps an answer, and pokes the fleet if it matters. Says why a report was not taken.
    fn keep(&self, shard: &Shard, answer: Result<ShardReport, String>) -> Result<(), Refusal> {
        let now = self.reports.now();
        let (result, matters) = {
            let mut by_pod = self.reports.lock();
            let kept = by_pod.entry(shard.uid.clone()).or_default();
            let result = kept.take(answer, now);
            (result, kept.matters(now.at))
        };
        if let Err(refusal) = &result {
            self.metrics.report_refused(refusal.kind);
            tracing::debug!(
                fleet = shard.fleet,
                region = shard.region,
                pod = shard.ip,
                why = refusal.why,
                "report not taken"
            );
        }
        self.reports.heard.notify_one();
        if matters {
            // A poke that nobody hears comes from a process that is ending.
            let _ = self.pokes.send(shard.poke.clone());
        }
        result
    }
}

#[cfg(test)]
mod tests;
