//! The shards' reports: asked for every two seconds, all at once, and kept with what only shows over several.
//!
//! A report that does not come is an observation too: since when, and why. A report of another fleet's shard, as
//! when an address was given to another pod, is not taken.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::Uri;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use signalbox_contract::{ADMIN_PORT, BreakerPhase, REPORT_PATH, ShardReport};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use super::caches::{Caches, Poke, fleet_of};
use crate::clock;
use crate::fleet::{NotRead, Observation, Report, approximate_age, approximate_count, names};

/// How often every shard is asked.
const INTERVAL: Duration = Duration::from_secs(2);
/// For how long the last report stands when none comes: one that is lost, or a shard that restarts, is no news.
const GRACE: Duration = Duration::from_secs(10);
/// Longest wait for one report; shorter than the interval, so that rounds do not pile up.
const TIMEOUT: Duration = Duration::from_millis(1500);
/// Reports asked for at once.
const CONCURRENCY: usize = 64;
/// Largest report taken: 32 sinks make about 10 KB.
const MAX_BYTES: usize = 128 << 10;

/// What the shards said last.
#[derive(Clone, Default)]
pub(crate) struct Reports {
    by_pod: Arc<Mutex<BTreeMap<String, Kept>>>,
}

#[derive(Clone, Default)]
struct Kept {
    observation: Observation<Report>,
    quiet_since: Option<Timestamp>,
    silent_since: Option<Timestamp>,
}

/// Who is asked.
struct Asked {
    uid: String,
    ip: String,
    fleet: String,
    region: String,
    poke: Poke,
}

type HttpClient = Client<HttpConnector, Empty<Bytes>>;

impl Reports {
    /// What the shard in this pod said last.
    pub(super) fn of(&self, pod: &Pod) -> Observation<Report> {
        let uid = pod.uid().unwrap_or_default();
        self.lock().get(&uid).map_or(Observation::NotYet, |kept| kept.observation.clone())
    }

    /// Asks for ever, and pokes the fleets whose picture changes. Says so once every shard has been asked.
    pub(crate) async fn read(self, caches: Caches, pokes: UnboundedSender<Poke>, all_asked: oneshot::Sender<()>) {
        let mut all_asked = Some(all_asked);
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(TIMEOUT));
        let client: HttpClient = Client::builder(TokioExecutor::new()).build(connector);
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let asked: Vec<_> = caches.all_pods().iter().filter_map(|pod| asked(pod)).collect();
            self.lock().retain(|uid, _| asked.iter().any(|asked| asked.uid == *uid));
            let mut answers = stream::iter(asked)
                .map(|asked| async { (fetch(&client, &asked).await, asked) })
                .buffer_unordered(CONCURRENCY);
            while let Some((answer, asked)) = answers.next().await {
                if self.keep(asked.uid, answer, clock::now()) {
                    // A poke that nobody hears comes from a process that is ending.
                    let _ = pokes.send(asked.poke);
                }
            }
            if let Some(all_asked) = all_asked.take() {
                // Who waited for this has ended.
                let _ = all_asked.send(());
            }
        }
    }

    /// Keeps an answer; true if it changes what people are told.
    fn keep(&self, uid: String, answer: Result<ShardReport, String>, now: Timestamp) -> bool {
        let mut by_pod = self.lock();
        let kept = by_pod.entry(uid).or_default();
        let next = next(kept, answer, now);
        let changed = brief(&next.observation) != brief(&kept.observation);
        *kept = next;
        changed
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Kept>> {
        // A panic elsewhere leaves a map of whole entries behind.
        self.by_pod.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Only pods that run: one that is being started has no report, and that is known without asking.
fn asked(pod: &Pod) -> Option<Asked> {
    let status = pod.status.as_ref().filter(|status| status.phase.as_deref() == Some("Running"))?;
    Some(Asked {
        uid: pod.uid()?,
        ip: status.pod_ip.clone()?,
        fleet: pod.labels().get(names::FLEET_LABEL)?.clone(),
        region: pod.labels().get(names::REGION_LABEL)?.clone(),
        poke: fleet_of(pod),
    })
}

async fn fetch(client: &HttpClient, asked: &Asked) -> Result<ShardReport, String> {
    let bracketed = if asked.ip.contains(':') { format!("[{}]", asked.ip) } else { asked.ip.clone() };
    let uri: Uri =
        format!("http://{bracketed}:{ADMIN_PORT}{REPORT_PATH}").parse().map_err(|_| "its address is not one")?;
    let answer = tokio::time::timeout(TIMEOUT, async {
        let answer = client.get(uri).await.map_err(|_| format!("port {ADMIN_PORT} cannot be reached"))?;
        if !answer.status().is_success() {
            return Err(format!("port {ADMIN_PORT} answers {}", answer.status().as_u16()));
        }
        let body = Limited::new(answer.into_body(), MAX_BYTES).collect().await;
        body.map(http_body_util::Collected::to_bytes).map_err(|_| "its report breaks off".to_owned())
    });
    let body = answer.await.map_err(|_| format!("port {ADMIN_PORT} does not answer within {TIMEOUT:?}"))??;
    let report: ShardReport =
        serde_json::from_slice(&body).map_err(|error| format!("its report is not one: {error}"))?;
    if report.fleet != asked.fleet || report.region != asked.region {
        return Err(format!("its report is of fleet {}, region {}", report.fleet, report.region));
    }
    Ok(report)
}

/// What is known after one more answer. Pure.
fn next(before: &Kept, answer: Result<ShardReport, String>, now: Timestamp) -> Kept {
    match answer {
        Ok(shard) => {
            let unmoved = before.observation.value().is_some_and(|before| {
                before.shard.incarnation == shard.incarnation && before.shard.accepted_total == shard.accepted_total
            });
            // Quiet only counts between two reports of one life, both empty.
            let quiet_since = match before.quiet_since {
                _ if shard.backlog_events > 0 => None,
                Some(since) if unmoved => Some(since),
                _ => Some(now),
            };
            let quiet_for = quiet_since.map_or(Duration::ZERO, |since| now.duration_since(since).unsigned_abs());
            let observation =
                Observation::Reading { value: Report { shard, quiet_for, rates: None, trouble: None }, taken_at: now };
            Kept { observation, quiet_since, silent_since: None }
        }
        Err(why) => {
            let since = before.silent_since.unwrap_or(now);
            let observation = match &before.observation {
                Observation::Reading { taken_at, .. } if now.duration_since(*taken_at).unsigned_abs() < GRACE => {
                    before.observation.clone()
                }
                _ => Observation::Unreachable(NotRead { why, since }),
            };
            Kept { observation, quiet_since: None, silent_since: Some(since) }
        }
    }
}

/// What of an observation people are told: when this stays the same, there is nothing to tell.
fn brief(observation: &Observation<Report>) -> Vec<String> {
    match observation {
        Observation::NotYet => Vec::new(),
        Observation::Unreachable(not_read) => vec![not_read.why.clone()],
        Observation::Reading { value: Report { shard, .. }, .. } => {
            let age = shard.oldest_event_age_ms.map(Duration::from_millis).map(approximate_age);
            let sinks = shard.sinks.iter().map(|sink| {
                let tripped = sink.phase != BreakerPhase::Serving;
                let failing = sink.last_failure.as_ref().filter(|_| sink.consecutive_failures > 0 || tripped);
                let [backlog, letters] = [sink.backlog_events, sink.dead_letters].map(approximate_count);
                format!("{backlog} {letters} {tripped} {:?}", failing.map(|failure| &failure.message))
            });
            [approximate_count(shard.backlog_events), age.unwrap_or_default()].into_iter().chain(sinks).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    fn shard(backlog: u64, accepted: u64) -> ShardReport {
        let observation = fixtures::reading(backlog, Duration::ZERO);
        ShardReport { accepted_total: accepted, ..observation.value().unwrap().shard.clone() }
    }

    fn quiet_after(answers: &[Result<ShardReport, String>]) -> Duration {
        let mut kept = Kept::default();
        for (seconds, answer) in (0..).zip(answers) {
            kept = next(&kept, answer.clone(), fixtures::now() + Duration::from_secs(seconds));
        }
        kept.observation.value().map_or(Duration::ZERO, |report| report.quiet_for)
    }

    #[test]
    fn a_shard_is_quiet_for_as_long_as_it_is_empty_and_accepts_nothing() {
        assert_eq!(quiet_after(&[Ok(shard(0, 5)), Ok(shard(0, 5)), Ok(shard(0, 5))]), Duration::from_secs(2));
    }

    #[test]
    fn an_accepted_event_ends_the_quiet() {
        assert_eq!(quiet_after(&[Ok(shard(0, 5)), Ok(shard(0, 5)), Ok(shard(0, 6))]), Duration::ZERO);
    }

    #[test]
    fn a_backlog_ends_the_quiet() {
        assert_eq!(quiet_after(&[Ok(shard(0, 5)), Ok(shard(1, 6)), Ok(shard(0, 6))]), Duration::ZERO);
    }

    #[test]
    fn a_restart_ends_the_quiet() {
        let restarted = ShardReport { incarnation: "two".to_owned(), ..shard(0, 5) };
        assert_eq!(quiet_after(&[Ok(shard(0, 5)), Ok(shard(0, 5)), Ok(restarted)]), Duration::ZERO);
    }

    #[test]
    fn a_missing_report_ends_the_quiet_and_is_no_zero() {
        assert_eq!(quiet_after(&[Ok(shard(0, 5)), Err("no".to_owned()), Ok(shard(0, 5))]), Duration::ZERO);
        let kept = next(&Kept::default(), Err("no".to_owned()), fixtures::now());
        assert_eq!(kept.observation.value(), None);
    }

    #[test]
    fn one_lost_report_is_no_news() {
        let first = next(&Kept::default(), Ok(shard(7, 5)), fixtures::now());
        let lost = next(&first, Err("no".to_owned()), fixtures::now() + Duration::from_secs(2));
        assert_eq!(lost.observation, first.observation);
        let silent = next(&lost, Err("no".to_owned()), fixtures::now() + GRACE);
        let Observation::Unreachable(not_read) = silent.observation else { panic!("{:?}", silent.observation) };
        assert_eq!(not_read.since, fixtures::now() + Duration::from_secs(2));
    }

    #[test]
    fn silence_is_counted_from_its_first_second() {
        let first = next(&Kept::default(), Err("no".to_owned()), fixtures::now());
        let second = next(&first, Err("still not".to_owned()), fixtures::now() + Duration::from_secs(9));
        let Observation::Unreachable(not_read) = second.observation else { panic!("{:?}", second.observation) };
        assert_eq!((not_read.why.as_str(), not_read.since), ("still not", fixtures::now()));
    }

    #[test]
    fn moving_counters_alone_are_nothing_to_tell() {
        let brief_of = |accepted| brief(&next(&Kept::default(), Ok(shard(0, accepted)), fixtures::now()).observation);
        assert_eq!(brief_of(5), brief_of(5_000));
    }
}
