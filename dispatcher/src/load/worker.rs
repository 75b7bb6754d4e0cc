//! A row of requests, one after the other: sends the events that are its own.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedReceiver;

use super::connection::{Connection, Failure};
use super::outcome::Outcome;
use super::request::Spelling;
use super::schedule::Plan;
use crate::random;

/// The first wait before sending again. It doubles up to [`MAX_BACKOFF`].
const MIN_BACKOFF: Duration = Duration::from_millis(20);

/// The longest wait before sending again, unless the target asks for more.
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// The longest `Retry-After` that is honoured.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(30);

pub(super) struct Worker {
    pub(super) number: u64,
    pub(super) plan: Arc<Plan>,
    pub(super) spelling: Arc<Spelling>,
    pub(super) connection: Connection,
    pub(super) timeout: Duration,
    pub(super) retry_for: Option<Duration>,
    pub(super) retries: Option<u32>,
    pub(super) outcome: Arc<Mutex<Outcome>>,
}

impl Worker {
    /// Sends all events of this worker: those that `due` brings, or, without a schedule, one after the other.
    pub(super) async fn run(mut self, mut due: UnboundedReceiver<u64>) -> anyhow::Result<()> {
        let mut wanted = self.plan.first_batch(self.number);
        let mut next = self.plan.next_of(self.number, 0);
        let mut batch = Vec::new();
        let mut ended = false;
        while !ended {
            let free = Instant::now();
            batch.clear();
            for _ in 0..wanted {
                let Some(index) = self.take(&mut due, &mut next).await else {
                    ended = true;
                    break;
                };
                batch.push(index);
            }
            wanted = self.plan.batch;
            match batch.last() {
                Some(&last) if !self.plan.stopped() => {
                    self.send(&batch, self.plan.intended(last), free).await?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The next event, once it is due.
    async fn take(&self, due: &mut UnboundedReceiver<u64>, next: &mut Option<u64>) -> Option<u64> {
        if self.plan.profile.is_some() {
            return due.recv().await;
        }
        let index =
            next.filter(|_| !self.plan.stopped() && self.plan.until.is_none_or(|until| Instant::now() < until))?;
        *next = self.plan.next_of(self.number, index + 1);
        Some(index)
    }

    /// Sends one request until it is accepted, or its time is up, or it was sent again as often as it may be.
    async fn send(&mut self, batch: &[u64], intended: Instant, free: Instant) -> anyhow::Result<()> {
        let begin = Instant::now();
        let events = u64::try_from(batch.len())?;
        let lag = self.plan.profile.is_some().then(|| begin.saturating_duration_since(intended.max(free)));
        self.note(|outcome| outcome.sends(events, intended, lag));
        let intended_us = self.plan.clock_us(intended);
        let give_up = self.retry_for.map(|retry_for| begin + retry_for);
        // Without a word about retries there is none; a time alone does not limit their number.
        let mut left = self.retries.unwrap_or(if give_up.is_some() { u32::MAX } else { 0 });
        let mut backoff = MIN_BACKOFF;
        loop {
            let (sent, request) = (Instant::now(), self.spelling.request(batch, intended_us)?);
            let answer = tokio::time::timeout(self.timeout, self.connection.send(request)).await;
            let now = Instant::now();
            let busy = now - sent;
            let answer = answer.unwrap_or_else(|_| Err(Failure::Error(self.connection.step().timeout())));
            let wait = match answer {
                Ok(()) => {
                    self.note(|outcome| {
                        outcome.busy += busy;
                        outcome.accepts(events, intended, now);
                    });
                    return Ok(());
                }
                Err(Failure::Answered(status, after)) => {
                    self.note(|outcome| outcome.refused(status.as_u16(), now));
                    // A little later than asked, so that not everyone comes at once.
                    let asked = after.map(|after| after.min(MAX_RETRY_AFTER).mul_f64(1.0 + random::fraction() / 4.0));
                    asked.map_or(backoff, |asked| asked.max(backoff))
                }
                Err(Failure::Error(kind)) => {
                    self.note(|outcome| outcome.unanswered(kind, now));
                    backoff
                }
            };
            self.note(|outcome| outcome.busy += busy);
            self.connection.forget().await;
            if self.plan.stopped() || left == 0 || give_up.is_some_and(|give_up| now + wait >= give_up) {
                return Ok(());
            }
            left -= 1;
            tokio::time::sleep(wait).await;
            backoff = (backoff * 2).min(MAX_BACKOFF);
            self.note(|outcome| outcome.retries += 1);
        }
    }

    /// Adds to what has come of the run, and ends it if that is enough.
    fn note(&self, what: impl FnOnce(&mut Outcome)) {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        what(&mut outcome);
        if outcome.blown {
            self.plan.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }
}
