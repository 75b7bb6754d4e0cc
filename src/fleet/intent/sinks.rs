//! One destination as its user wants it, parsed.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{SpecError, count, duration};
use crate::api::{Ordering, Sink};

/// One destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkIntent {
    /// Distinct within the fleet.
    pub name: String,
    /// With `{region}` still in it.
    pub uri: String,
    /// Of one attempt.
    pub timeout: Duration,
    /// Attempts in flight, per shard.
    pub max_concurrency: u32,
    /// Whether events of one key wait for each other.
    pub ordering: Ordering,
    /// Prefixes by attribute; none for every event.
    pub filter: BTreeMap<String, String>,
    /// Failed attempts until an event is a dead letter; `None` for never.
    pub max_attempts: Option<u32>,
    /// The first wait after a failed attempt.
    pub initial_backoff: Duration,
    /// The longest wait; not shorter than the first.
    pub max_backoff: Duration,
    /// What deliveries are signed with.
    pub signing: Option<Signing>,
}

/// Where signing secrets are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signing {
    /// The Secret.
    pub secret: String,
    /// The key in it.
    pub key: String,
}

pub(super) fn parse(sink: &Sink) -> Result<SinkIntent, SpecError> {
    let path = |field: &str| format!("sinks[{}].{field}", sink.name);
    let initial_backoff = duration(&path("retry.initialBackoff"), &sink.retry.initial_backoff)?;
    Ok(SinkIntent {
        name: sink.name.clone(),
        uri: sink.uri.clone(),
        timeout: duration(&path("timeout"), &sink.timeout)?,
        max_concurrency: count(&path("maxConcurrency"), sink.max_concurrency)?,
        ordering: sink.ordering,
        filter: sink.filter.clone(),
        max_attempts: sink.retry.max_attempts.map(|most| count(&path("retry.maxAttempts"), most)).transpose()?,
        initial_backoff,
        max_backoff: duration(&path("retry.maxBackoff"), &sink.retry.max_backoff)?.max(initial_backoff),
        signing: sink
            .signing
            .as_ref()
            .map(|signing| Signing { secret: signing.secret_name.clone(), key: signing.key.clone() }),
    })
}
