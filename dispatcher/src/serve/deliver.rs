//! The task of one sink: keeps its flow filled from the log, sends what that offers, and tells the log and the
//! report what came of it.
//!
//! There is one task per sink, and they share nothing but the log's readers and the writer's queue. So a sink that
//! is dead or slow holds up its own window and nobody else's.
//!
//! An event is given up only where that was asked for (`maxAttempts`), and settled only once it is a dead letter on
//! disk. While there is no room for it, it is tried again. An event whose record is gone cannot be sent any more, so
//! what is known of it becomes a dead letter; where none are kept, it is counted as lost.
//!
//! An attempt that has timed out is closed, yet the sink may still be working on it when the event is sent again.
//! A sink that must not take an event twice, or an older one after a newer, has to look at its id.
//!
//! May import `flow`, `intake`, `gates`, `breaker`'s changes, `answer`, `client`, `dead_letters`, `log`, `writer`,
//! `report`, `showing`, `metrics`, `signature`, `traces`, and the crate's `event`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt as _};
use http::{Request, Uri};
use http_body_util::Full;
use signalbox_contract::SinkConfig;
use tokio::sync::watch;

use super::answer::{Answer, Verdict};
use super::breaker::Change;
use super::client::Client;
use super::clock;
use super::dead_letters::{BuryError, DeadLetters, NewDeadLetter, Reason};
use super::flow::{Flow, Sent};
use super::gates::Gate;
use super::intake::Intake;
use super::log::{LogError, ShardLog, SinkId};
use super::metrics::Metrics;
use super::report::Health;
use super::showing::Showing;
use super::shutdown::Phase;
use super::signature::{self, Signer};
use super::traces::{Attempting, Traces};
use super::writer::{Ended, Writer};
use crate::{event, random};

/// How long to wait before reading the log again when it could not be read.
const UNREADABLE_WAIT: Duration = Duration::from_secs(1);

/// Everything that one sink's task works with.
pub(super) struct Delivery {
    pub(super) id: SinkId,
    pub(super) config: SinkConfig,
    pub(super) uri: Uri,
    pub(super) client: Arc<Client>,
    pub(super) signer: Option<Signer>,
    pub(super) log: Arc<dyn ShardLog>,
    pub(super) writer: Writer,
    pub(super) dead_letters: DeadLetters,
    pub(super) metrics: Metrics,
    pub(super) traces: Traces,
    pub(super) health: Arc<Health>,
    pub(super) phase: watch::Receiver<Phase>,
    pub(super) gate: Gate,
}

/// What came of sending one event.
enum Attempt {
    Answered(Answer),
    Unsendable(Unsendable),
}

/// Why an event could not even be sent.
enum Unsendable {
    /// The log could not be read: the next time may be better.
    Unread(LogError),
    /// The log no longer has the record.
    Lost,
    /// The record is there, and makes no sense.
    Senseless(String),
}

impl Delivery {
    /// Delivers until the phase is [`Phase::Finishing`] and what was in flight has ended, or the writer has.
    pub(super) async fn run(mut self) {
        let mut flow = Flow::new(&self.config, Instant::now());
        let mut attempts = FuturesUnordered::new();
        let mut burials = FuturesUnordered::new();
        let mut end = self.writer.end();
        let mut intake = Intake::new(self.id);
        let mut let_go = 0;
        let mut showing = Showing::new(self.metrics.clone(), self.id);
        loop {
            let version = intake.look_at(&self.gate.gates.borrow_and_update(), &mut flow);
            if version > let_go {
                let_go = version;
                self.gate.done.send_replace(version);
            }
            let finishing = *self.phase.borrow_and_update() == Phase::Finishing;
            if finishing && attempts.is_empty() && burials.is_empty() {
                return;
            }
            let now = Instant::now();
            let mut unreadable = None;
            if !finishing {
                let known_end = *end.borrow_and_update();
                if let Err(e) = intake.fill(&mut flow, &*self.log, known_end) {
                    self.failed(&e.to_string());
                    unreadable = Some(now + UNREADABLE_WAIT);
                }
                while let Some(sent) = flow.next(now) {
                    self.health.began(sent.at, flow.patience());
                    attempts.push(self.attempt(sent));
                }
            }
            showing.show(&flow, now);
            let wake = [flow.wake_at(), unreadable].into_iter().flatten().min();
            tokio::select! {
                Some((sent, attempt)) = attempts.next(), if !attempts.is_empty() => {
                    match self.ended(&mut flow, sent, attempt) {
                        Ok(None) => {}
                        Ok(Some(letter)) => burials.push(self.bury(sent, letter)),
                        Err(Ended) => return,
                    }
                }
                Some((sent, buried)) = burials.next(), if !burials.is_empty() => {
                    if self.buried(&mut flow, sent, buried).is_err() {
                        return;
                    }
                }
                changed = end.changed() => if changed.is_err() { return },
                changed = self.phase.changed() => if changed.is_err() { return },
                changed = self.gate.gates.changed() => if changed.is_err() { return },
                () = sleep_until(wake), if wake.is_some() && !finishing => {}
            }
        }
    }

    fn attempt(&self, sent: Sent) -> impl Future<Output = (Sent, Attempt)> + Send + use<> {
        let client = self.client.clone();
        let request = self.request(&sent);
        async move {
            let (request, span) = match request {
                Ok(request) => request,
                Err(why) => return (sent, Attempt::Unsendable(why)),
            };
            let answer = client.attempt(request).await;
            if let Some(span) = span {
                span.ended(&answer);
            }
            (sent, Attempt::Answered(answer))
        }
    }

    fn request(&self, sent: &Sent) -> Result<(Request<Full<Bytes>>, Option<Attempting>), Unsendable> {
        let record = self.log.read(sent.entry.position).map_err(Unsendable::Unread)?.ok_or(Unsendable::Lost)?;
        let event = event::decode(record).map_err(|e| Unsendable::Senseless(e.to_string()))?;
        let request = event::to_request(&event, &self.uri);
        let mut request = request.map_err(|e| Unsendable::Senseless(e.to_string()))?;
        if let Some(signer) = &self.signer {
            let attribute = |name| event.get(name).unwrap_or_default();
            let id = signature::message_id(attribute("source"), attribute("id"));
            signer.sign(request.headers_mut(), &id, clock::now_us() / 1_000_000, &event.data(), Instant::now());
        }
        Ok((request, self.traces.attempting(&event, &self.config.name, sent.attempt)))
    }

    /// Notes what came of an attempt. If its event is to be given up: the letter that it becomes.
    fn ended(&self, flow: &mut Flow, sent: Sent, attempt: Attempt) -> Result<Option<NewDeadLetter>, Ended> {
        let now = Instant::now();
        let answer = match attempt {
            Attempt::Answered(answer) => answer,
            Attempt::Unsendable(why) => return self.unsendable(flow, sent, &why, now),
        };
        self.metrics.attempt(self.id, answer.outcome(), sent.took(now));
        let verdict = answer.verdict();
        if matches!(verdict, Verdict::Throttled(_)) {
            self.metrics.throttled(self.id);
        }
        self.health.ended(sent.at, Some(verdict), now);
        let ended = flow.ended(&sent, verdict, now, random::next());
        let Some(failure) = answer.failure() else {
            self.writer.settle(self.id, sent.entry)?;
            self.metrics.delivered(self.id, clock::since(sent.entry.accepted_at_us, clock::now_us()));
            if let Some(failures) = self.health.succeeded() {
                tracing::info!(sink = self.config.name, failures, "the sink takes events again");
            }
            return Ok(None);
        };
        self.failed(&failure);
        match ended.change {
            Some(Change::Tripped) => {
                tracing::warn!(sink = self.config.name, reason = failure, "the sink is left alone, and probed");
            }
            Some(Change::Gone) => {
                tracing::warn!(
                    sink = self.config.name,
                    "the sink answered 410: its events are kept, and not sent until this process is started anew"
                );
            }
            Some(Change::Answers | Change::Serving) | None => {}
        }
        let exhausted = self.config.retry.max_attempts.is_some_and(|max| ended.counted >= max);
        if exhausted && self.dead_letters.limit_bytes() > 0 {
            return Ok(Some(self.letter(sent, Reason::AttemptsExhausted, ended.counted, failure)));
        }
        flow.wait(&sent, &ended, now, random::next());
        Ok(None)
    }

    fn unsendable(
        &self,
        flow: &mut Flow,
        sent: Sent,
        why: &Unsendable,
        now: Instant,
    ) -> Result<Option<NewDeadLetter>, Ended> {
        self.metrics.unreadable(self.id);
        let position = sent.entry.position;
        let message = match why {
            Unsendable::Unread(e) => e.to_string(),
            Unsendable::Lost => format!("the log has lost the event at position {position}"),
            Unsendable::Senseless(e) => format!("the event at position {position} cannot be sent: {e}"),
        };
        self.failed(&message);
        self.health.ended(sent.at, None, now);
        let ended = flow.unreadable(&sent, now);
        if matches!(why, Unsendable::Unread(_)) {
            flow.wait(&sent, &ended, now, random::next());
            return Ok(None);
        }
        if matches!(why, Unsendable::Lost) && self.dead_letters.limit_bytes() == 0 {
            tracing::error!(sink = self.config.name, position, "the log has lost an event: it cannot be delivered");
            flow.done(&sent);
            self.metrics.lost(self.id);
            self.writer.settle(self.id, sent.entry)?;
            return Ok(None);
        }
        Ok(Some(self.letter(sent, Reason::Unreadable, 0, message)))
    }

    fn letter(&self, sent: Sent, reason: Reason, attempts: u32, last_answer: String) -> NewDeadLetter {
        NewDeadLetter {
            sink: self.config.name.clone(),
            position: sent.entry.position,
            key: sent.entry.key,
            accepted_at_us: sent.entry.accepted_at_us,
            reason,
            attempts,
            last_answer,
            // What cannot be read is empty there.
            record: self.log.read(sent.entry.position).ok().flatten().unwrap_or_default(),
        }
    }

    fn bury(
        &self,
        sent: Sent,
        letter: NewDeadLetter,
    ) -> impl Future<Output = (Sent, Result<(), BuryError>)> + Send + use<> {
        let dead_letters = self.dead_letters.clone();
        async move { (sent, dead_letters.bury(letter).await) }
    }

    fn buried(&self, flow: &mut Flow, sent: Sent, buried: Result<(), BuryError>) -> Result<(), Ended> {
        match buried {
            Ok(()) => {
                flow.done(&sent);
                self.metrics.dead_lettered(self.id);
                self.writer.settle(self.id, sent.entry)
            }
            Err(e) => {
                self.health.note(&e.to_string());
                self.metrics.not_dead_lettered(self.id);
                flow.wait_longest(&sent, Instant::now());
                Ok(())
            }
        }
    }

    fn failed(&self, message: &str) {
        if self.health.failed(message) {
            tracing::warn!(sink = self.config.name, uri = self.config.uri, reason = message, "the sink fails");
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at.into()).await;
    }
}
