//! Replaying: letters go back into the log, for their own sink alone, and are removed when they are on disk there.
//!
//! A replay is noted before its first letter moves, and its progress is noted in the batch that removes letters. So
//! a restart goes on where it was; what was appended and not yet removed is appended again: at least once.
//!
//! It is for the letters that were dead when it was started, told by their serial and not by the clock. So what dies
//! again is not replayed for ever.
//!
//! Events of one key come back in the order in which they were accepted, behind what was accepted since. Producers
//! go first: a replay waits while the backlog is above half of a limit.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use signalbox_contract::ShardConfig;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use super::filter::Filter;
use super::headroom::{all_but, configured, full};
use super::letter::LetterKey;
use super::replays::{Replay, Replays, State};
use super::step::Step;
use super::store::Store;
use super::{DeadLetters, StoreError};
use crate::event;
use crate::serve::claiming::Router;
use crate::serve::clock;
use crate::serve::log::{NewRecord, ShardLog};
use crate::serve::metrics::Metrics;
use crate::serve::shutdown::Phase;
use crate::serve::writer::{NotStored, Writer};

/// Steps in a second, unless they get too large. Each is one append and one removal.
const STEPS: u32 = 10;

/// Most letters in one step.
const MAX_STEP: u32 = 100;

/// Most record bytes in one step, unless a single record has more.
const MAX_STEP_BYTES: u64 = 1024 * 1024;

/// How long to wait before looking again whether there is room, or whether the store can be read.
const WAIT: Duration = Duration::from_millis(200);

/// Why a replay was not started.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    /// One at a time.
    #[error("{0} is under way, and there is one replay at a time: wait until it is done, or cancel it")]
    Running(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a replay works with.
#[derive(Clone)]
pub(super) struct Replayer {
    letters: DeadLetters,
    config: Arc<ShardConfig>,
    log: Arc<dyn ShardLog>,
    writer: Writer,
    phase: watch::Receiver<Phase>,
    metrics: Metrics,
    /// Knows whose the keys are. Nothing: they are all this shard's.
    router: Option<Arc<dyn Router>>,
    /// Held while it is being noted on disk, so that notes are stored in the order in which they were made.
    replays: Arc<Mutex<Replays>>,
}

/// What came of a step.
enum Moved {
    Yes,
    /// Nothing was stored: the reason. It is worth trying again.
    Later(String),
    /// The replay is not wanted any more, or the log has ended.
    Never,
}

impl Replayer {
    /// Reads what is noted, and goes on with what was under way. Reads the store, which may block.
    pub(super) fn start(
        letters: DeadLetters,
        config: Arc<ShardConfig>,
        log: Arc<dyn ShardLog>,
        writer: Writer,
        phase: watch::Receiver<Phase>,
        metrics: Metrics,
        router: Option<Arc<dyn Router>>,
    ) -> Result<Self, StoreError> {
        let noted = letters.shelf.store().map(Store::replays).transpose()?.flatten();
        let mut replays: Replays = match noted {
            None => Replays::default(),
            Some(json) => serde_json::from_slice(&json)
                .map_err(|_| StoreError("it holds notes of replays that this version cannot read".to_owned()))?,
        };
        let running = replays.running_mut().map(|replay| {
            // Those are still there, and will be counted again.
            replay.failed = 0;
            replay.clone()
        });
        let replays = Arc::new(Mutex::new(replays));
        let replayer = Self { letters, config, log, writer, phase, metrics, router, replays };
        if let Some(replay) = running {
            tracing::info!(replay = replay.id, replayed = replay.replayed, matched = replay.matched, "replay goes on");
            tokio::spawn(replayer.clone().run(replay));
        }
        Ok(replayer)
    }

    /// Starts to replay what is dead now and meant by `filter`.
    pub(super) async fn replay(&self, filter: Filter, rate: u32) -> Result<Replay, StartError> {
        let mut replays = self.replays.lock().await;
        if let Some(running) = replays.running() {
            return Err(StartError::Running(running.id.clone()));
        }
        let bound = self.letters.read(Store::next_serial).await?.unwrap_or(0);
        let (matched, orphaned) = self.count(filter.clone()).await?;
        let mut next = replays.clone();
        let replay = next.add(Replay {
            id: String::new(),
            state: State::Running,
            filter,
            rate,
            started_at: Timestamp::now(),
            ended_at: None,
            bound,
            matched,
            replayed: 0,
            failed: 0,
            orphaned,
            waiting_for: None,
        });
        self.note(&next, Vec::new()).await?;
        *replays = next;
        tracing::info!(replay = replay.id, matched, orphaned, rate, "replay started");
        tokio::spawn(self.clone().run(replay.clone()));
        Ok(replay)
    }

    /// How many letters `filter` means: of configured sinks, and of others.
    pub(super) async fn count(&self, filter: Filter) -> Result<(u64, u64), StoreError> {
        let config = self.config.clone();
        let counting = self.letters.read(move |store| {
            let (mut matched, mut orphaned) = (0, 0);
            for letter in store.scan(&filter, None) {
                let (key, _) = letter?;
                *(if configured(&config, &key.sink) { &mut matched } else { &mut orphaned }) += 1;
            }
            Ok((matched, orphaned))
        });
        Ok(counting.await?.unwrap_or_default())
    }

    /// All replays that are known, the latest first.
    pub(super) async fn all(&self) -> Vec<Replay> {
        self.replays.lock().await.all().to_vec()
    }

    /// Cancels the replay with this id, unless it has ended. Nothing, if there is none.
    pub(super) async fn cancel(&self, id: &str) -> Result<Option<Replay>, StoreError> {
        let mut replays = self.replays.lock().await;
        let mut next = replays.clone();
        next.end(id, State::Cancelled, Timestamp::now());
        if next != *replays {
            self.note(&next, Vec::new()).await?;
            *replays = next;
            tracing::info!(replay = id, "replay cancelled");
        }
        Ok(replays.get(id).cloned())
    }

    async fn note(&self, replays: &Replays, remove: Vec<LetterKey>) -> Result<u64, StoreError> {
        let json = serde_json::to_vec(replays).map_err(|e| StoreError(e.to_string()))?;
        self.letters.remove(remove, Some(json.into())).await
    }

    /// Goes through the letters until it is done, cancelled, or the shard stops.
    async fn run(mut self, replay: Replay) {
        let mut after = None;
        let mut next_step = Instant::now();
        loop {
            let step = match self.next_step(&replay, after.clone()).await {
                Ok(step) => step,
                Err(e) => return self.stuck(&replay, e.to_string()).await,
            };
            let Some(step) = step else { break };
            let through = step.after.clone();
            tokio::time::sleep_until(next_step).await;
            if !self.room(&replay, &step).await {
                return;
            }
            let letters = u32::try_from(step.letters.len()).unwrap_or(u32::MAX);
            next_step = Instant::now() + Duration::from_secs(1) * letters / replay.rate.max(1);
            match self.step(&replay, step).await {
                Ok(Moved::Yes) => after = Some(through),
                Ok(Moved::Later(why)) => {
                    self.wait_for(&replay, Some(why)).await;
                    tokio::time::sleep(WAIT).await;
                }
                Ok(Moved::Never) => return,
                Err(e) => return self.stuck(&replay, e).await,
            }
        }
        let mut replays = self.replays.lock().await;
        replays.end(&replay.id, State::Done, Timestamp::now());
        if let Err(e) = self.note(&replays, Vec::new()).await {
            tracing::error!(replay = replay.id, "{e}");
        }
        if let Some(Replay { replayed, failed, .. }) = replays.get(&replay.id) {
            tracing::info!(replay = replay.id, replayed, failed, "replay done");
        }
    }

    /// The letters that go back next. None when all have.
    async fn next_step(&self, replay: &Replay, after: Option<LetterKey>) -> Result<Option<Step>, StoreError> {
        let (filter, bound, config) = (replay.filter.clone(), replay.bound, self.config.clone());
        let most = usize::try_from((replay.rate / STEPS).clamp(1, MAX_STEP)).unwrap_or(1);
        let reading = self.letters.read(move |store| {
            let mut step = None;
            let mut bytes = 0;
            for letter in store.scan(&filter, after.as_ref()) {
                let (key, head) = letter?;
                if head.serial >= bound || !configured(&config, &key.sink) {
                    continue;
                }
                bytes += head.record_bytes;
                let step = step.get_or_insert_with(|| Step { after: key.clone(), letters: Vec::new(), failed: 0 });
                if step.letters.len() >= most || (bytes > MAX_STEP_BYTES && !step.letters.is_empty()) {
                    break;
                }
                step.after = key.clone();
                match store.record(&key)? {
                    Some(record) if event::decode(record.clone()).is_ok() => step.letters.push((key, head, record)),
                    _ => step.failed += 1,
                }
            }
            Ok(step)
        });
        Ok(reading.await?.flatten())
    }

    /// Waits until there is room in the backlog for this step. False when the shard is stopping, or the replay is not wanted.
    async fn room(&mut self, replay: &Replay, step: &Step) -> bool {
        let mut told = false;
        loop {
            let phase = *self.phase.borrow_and_update();
            let why = match phase {
                Phase::Recovering => Some("the shard to be serving".to_owned()),
                Phase::Serving => match self.log.stats() {
                    Ok(stats) => full(&self.config, &stats, step.letters.len() as u64, step.bytes(), clock::now_us()),
                    Err(e) => Some(e.to_string()),
                },
                Phase::Leaving | Phase::Draining | Phase::Finishing => return false,
            };
            if self.replays.lock().await.running().is_none_or(|running| running.id != replay.id) {
                return false;
            }
            if why.is_none() && !told {
                return true;
            }
            told = why.is_some();
            self.wait_for(replay, why).await;
            if !told {
                return true;
            }
            tokio::select! {
                () = tokio::time::sleep(WAIT) => {}
                changed = self.phase.changed() => if changed.is_err() { return false },
            }
        }
    }

    async fn stuck(&self, replay: &Replay, why: String) {
        tracing::error!(replay = replay.id, "{why}: the replay goes on after the next start");
        self.wait_for(replay, Some(why)).await;
    }

    async fn wait_for(&self, replay: &Replay, why: Option<String>) {
        if let Some(running) = self.replays.lock().await.running_mut().filter(|running| running.id == replay.id) {
            running.waiting_for = why;
        }
    }

    /// Appends letters to the log, then removes them.
    async fn step(&self, replay: &Replay, mut step: Step) -> Result<Moved, String> {
        let admission = match self.router.as_deref().map_or(Ok(None), |claims| step.admit(claims)) {
            Ok(admission) => admission,
            Err(why) => return Ok(Moved::Later(why)),
        };
        let mut records = Vec::with_capacity(step.letters.len());
        let mut keys = Vec::with_capacity(step.letters.len());
        for (key, head, record) in step.letters {
            records.push(NewRecord {
                accepted_at_us: clock::now_us(),
                key: head.key,
                skip: all_but(&self.config, &key.sink),
                // Not looked for among the duplicates: it is meant to come again.
                identity: 0,
                record,
            });
            keys.push(key);
        }
        let replayed = keys.len() as u64;
        // The lock is held for two syncs: who asks for the replays waits as long, and a cancellation comes between
        // steps.
        let mut replays = self.replays.lock().await;
        let mut next = replays.clone();
        let Some(running) = next.running_mut().filter(|running| running.id == replay.id) else {
            return Ok(Moved::Never);
        };
        running.replayed += replayed;
        running.failed += step.failed;
        running.waiting_for = None;
        if !records.is_empty() {
            match self.writer.append_keeping(records, admission).await {
                Ok(()) => {}
                Err(e @ NotStored::Full) => return Ok(Moved::Later(format!("room on the disk ({e})"))),
                // The log has failed or is closed: the process is ending.
                Err(NotStored::Ended(_)) => return Ok(Moved::Never),
            }
        }
        for key in &keys {
            self.metrics.replayed(&key.sink);
        }
        self.note(&next, keys).await.map_err(|e| e.to_string())?;
        *replays = next;
        Ok(Moved::Yes)
    }
}
