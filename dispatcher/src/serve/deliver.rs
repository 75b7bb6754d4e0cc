//! The task of one sink: keeps its lanes filled from the log, sends what they offer, and tells the log and the
//! report what came of it.
//!
//! There is one task per sink, and they share nothing but the log's readers and the writer's queue. So a sink that
//! is dead or slow holds up its own window and nobody else's. Nothing is ever given up on: until there are dead
//! letters, an event that a sink keeps refusing is tried again for ever, with the longest backoff in between.
//!
//! An attempt that has timed out is closed, yet the sink may still be working on it when the event is sent again.
//! A sink that must not take an event twice, or an older one after a newer, has to look at its id.
//!
//! May import `lanes`, `backoff`, `client`, `log`, `writer`, `report`, `metrics`, and the crate's `event`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::{FuturesUnordered, StreamExt as _};
use http::Uri;
use signalbox_contract::SinkConfig;
use tokio::sync::watch;

use super::backoff::{self, MAX_RETRY_AFTER};
use super::client::{Answer, Client};
use super::clock;
use super::lanes::Lanes;
use super::log::{Entry, Position, ShardLog, SinkId};
use super::metrics::{AttemptOutcome, Metrics};
use super::report::Health;
use super::shutdown::Phase;
use super::writer::{Ended, Writer};
use crate::{event, random};

/// Index entries read at once. Also the room that the window must have before it is filled again, when the log
/// is long: reading one at a time would cost a look-up each.
const READ_BATCH: usize = 512;

/// How long to wait before reading the log again when it could not be read.
const UNREADABLE_WAIT: Duration = Duration::from_secs(1);

/// Everything that one sink's task works with.
pub(super) struct Delivery {
    pub(super) id: SinkId,
    pub(super) config: SinkConfig,
    pub(super) uri: Uri,
    pub(super) log: Arc<dyn ShardLog>,
    pub(super) writer: Writer,
    pub(super) metrics: Metrics,
    pub(super) health: Arc<Health>,
    pub(super) phase: watch::Receiver<Phase>,
}

/// What came of sending one event.
enum Attempt {
    Answered(Answer),
    Unreadable(String),
}

impl Delivery {
    /// Delivers until the phase is [`Phase::Finishing`] and what was in flight has ended, or the writer has.
    pub(super) async fn run(mut self) {
        let timeout = Duration::from_millis(self.config.timeout_ms);
        let connections = usize::try_from(self.config.max_concurrency).unwrap_or(usize::MAX);
        let client = Client::new(timeout, connections);
        let mut lanes = Lanes::new(connections);
        let mut attempts = FuturesUnordered::new();
        let mut end = self.writer.end();
        let mut next: Position = 0;
        loop {
            let finishing = *self.phase.borrow_and_update() == Phase::Finishing;
            if finishing && attempts.is_empty() {
                return;
            }
            let now = Instant::now();
            let mut unreadable = None;
            if !finishing {
                let known_end = *end.borrow_and_update();
                if let Err(e) = self.fill(&mut lanes, &mut next, known_end) {
                    self.failed(&e.to_string());
                    unreadable = Some(now + UNREADABLE_WAIT);
                }
                while let Some(entry) = lanes.next(now) {
                    attempts.push(self.attempt(&client, entry));
                }
            }
            self.metrics.in_flight(self.id, lanes.in_flight());
            let wake = [lanes.wake_at(), unreadable].into_iter().flatten().min();
            tokio::select! {
                Some((entry, attempt)) = attempts.next(), if !attempts.is_empty() => {
                    if self.ended(&mut lanes, entry, attempt).await.is_err() {
                        return;
                    }
                }
                changed = end.changed() => if changed.is_err() { return },
                changed = self.phase.changed() => if changed.is_err() { return },
                () = sleep_until(wake), if wake.is_some() && !finishing => {}
            }
        }
    }

    fn fill(&self, lanes: &mut Lanes, next: &mut Position, end: Position) -> Result<(), super::log::LogError> {
        while *next < end && (lanes.room() >= READ_BATCH) {
            let found = self.log.unsettled(self.id, *next, READ_BATCH)?;
            *next = found.next;
            for entry in found.entries {
                lanes.push(entry);
            }
        }
        Ok(())
    }

    fn attempt(&self, client: &Client, entry: Entry) -> impl Future<Output = (Entry, Attempt)> + Send + use<> {
        let client = client.clone();
        let request = self.request(entry.position);
        async move {
            match request {
                Ok(request) => (entry, Attempt::Answered(client.attempt(request).await)),
                Err(why) => (entry, Attempt::Unreadable(why)),
            }
        }
    }

    fn request(&self, position: Position) -> Result<http::Request<http_body_util::Full<bytes::Bytes>>, String> {
        let record = self.log.read(position).map_err(|e| e.to_string())?;
        let record = record.ok_or_else(|| format!("the log has lost the event at position {position}"))?;
        let event = event::decode(record).map_err(|e| e.to_string())?;
        event::to_request(&event, &self.uri).map_err(|e| e.to_string())
    }

    async fn ended(&self, lanes: &mut Lanes, entry: Entry, attempt: Attempt) -> Result<(), Ended> {
        let (failure, asked_wait) = match &attempt {
            Attempt::Unreadable(why) => (Some(why.clone()), None),
            Attempt::Answered(answer @ Answer::Throttled(_, wait)) => (answer.failure(), *wait),
            Attempt::Answered(answer) => (answer.failure(), None),
        };
        self.metrics.attempt(self.id, outcome(&attempt));
        let Some(failure) = failure else {
            lanes.done(&entry);
            self.writer.settle(self.id, entry).await?;
            self.metrics.delivered(self.id, clock::since(entry.accepted_at_us, clock::now_us()));
            if let Some(failures) = self.health.succeeded() {
                tracing::info!(sink = self.config.name, failures, "the sink takes events again");
            }
            return Ok(());
        };
        self.failed(&failure);
        let now = Instant::now();
        let asked_wait = asked_wait.unwrap_or_default().min(MAX_RETRY_AFTER);
        lanes.failed(&entry, now, |failures| {
            backoff::wait(&self.config.retry, failures, random::next()).max(asked_wait)
        });
        if !asked_wait.is_zero() {
            lanes.hold(now + asked_wait);
        }
        Ok(())
    }

    fn failed(&self, message: &str) {
        if self.health.failed(message) {
            tracing::warn!(sink = self.config.name, uri = self.config.uri, reason = message, "the sink fails");
        }
    }
}

fn outcome(attempt: &Attempt) -> AttemptOutcome {
    match attempt {
        Attempt::Unreadable(_) => AttemptOutcome::Unreadable,
        Attempt::Answered(answer) => match answer {
            Answer::Delivered => AttemptOutcome::Delivered,
            Answer::Throttled(..) => AttemptOutcome::Throttled,
            Answer::Refused(_) => AttemptOutcome::Refused,
            Answer::TimedOut(_) => AttemptOutcome::TimedOut,
            Answer::Unreachable(_) => AttemptOutcome::Unreachable,
        },
    }
}

async fn sleep_until(at: Option<Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at.into()).await;
    }
}
