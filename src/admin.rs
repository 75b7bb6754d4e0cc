//! The operator's admin port: `/healthz`, `/readyz`, `/metrics`.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::metrics::Metrics;
use crate::observe::Scope;

/// Every fleet is looked at every five minutes at the latest. A leader that has looked at none for three times that
/// is stuck, whatever it thinks.
const STUCK_AFTER: Duration = Duration::from_mins(15);

/// How the operator is. Clones share their state.
#[derive(Clone)]
pub(crate) struct Health {
    metrics: Metrics,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// What this replica must have seen before it is ready; nothing, for one that waits for its turn.
    awaited: BTreeSet<String>,
    last_progress: Option<Instant>,
}

impl Health {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self { metrics, state: Arc::default() }
    }

    /// This replica leads, and is ready again once it has seen all scopes.
    pub(crate) fn leads(&self, scopes: &[Scope]) {
        self.state().awaited = scopes.iter().map(|scope| format!("{scope:?}")).collect();
    }

    /// A scope has been seen.
    pub(crate) fn synced(&self, scope: &Scope) {
        self.state().awaited.remove(&format!("{scope:?}"));
    }

    /// A fleet was reconciled.
    pub(crate) fn progressed(&self) {
        self.state().last_progress = Some(Instant::now());
    }

    fn is_live(&self, now: Instant) -> bool {
        // Without a fleet there is nothing to be stuck on.
        let idle_since = self.state().last_progress;
        idle_since.is_none_or(|since| !self.metrics.has_fleets() || now.duration_since(since) < STUCK_AFTER)
    }

    fn is_ready(&self) -> bool {
        self.state().awaited.is_empty()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves whole values behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves until the process ends.
pub(crate) async fn serve(listener: TcpListener, metrics: Metrics, health: Health) -> std::io::Result<()> {
    let (live, ready) = (health.clone(), health);
    let router = Router::new()
        .route(
            "/healthz",
            get(async move || verdict(live.is_live(Instant::now()), "no fleet was reconciled for 15 minutes")),
        )
        .route("/readyz", get(async move || verdict(ready.is_ready(), "waiting for the watches to show what there is")))
        .route("/metrics", get(async move || encoded(&metrics)));
    axum::serve(listener, router).await
}

fn verdict(good: bool, why_not: &'static str) -> Response {
    if good {
        "ok\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("{why_not}\n")).into_response()
    }
}

fn encoded(metrics: &Metrics) -> Response {
    match metrics.encode() {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_that_waits_for_its_turn_is_ready() {
        assert!(Health::new(Metrics::new()).is_ready());
    }

    #[test]
    fn a_leader_is_ready_once_it_has_seen_every_scope() {
        let health = Health::new(Metrics::new());
        let (shop, bank) = (Scope::Namespace("shop".to_owned()), Scope::Namespace("bank".to_owned()));
        health.leads(&[shop.clone(), bank.clone()]);
        health.synced(&shop);
        assert!(!health.is_ready());
        health.synced(&bank);
        assert!(health.is_ready());
    }
}
