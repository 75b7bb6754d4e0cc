//! The admin port: probes, metrics, report, dead letters. May import `report`, `watch`, `claiming`, `traffic`, `metrics`, `log`, `writer` and
//! `dead_letters`.

use std::sync::{Arc, OnceLock};

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use serde::Deserialize;
use signalbox_contract::{
    HEALTHZ_PATH, METRICS_PATH, READYZ_PATH, REPORT_PATH, ROUTING_PATH, RoutingTable, ShardReport, TRAFFIC_PATH,
    TrafficTable,
};
use tokio::sync::watch::Receiver;

use super::claiming::Claiming;
use super::clock;
use super::dead_letters::{self, Desk};
use super::log::{LogError, ShardLog};
use super::metrics::Metrics;
use super::report::Reporter;
use super::shutdown::Phase;
use super::traffic::{NotTaken, Traffic};
use super::watch::{self, Watchers};
use super::writer::Writer;

/// What the admin port can see. The log and its writer come when they are there.
pub(super) struct Admin {
    pub(super) metrics: Metrics,
    pub(super) reporter: Reporter,
    pub(super) phase: Receiver<Phase>,
    pub(super) store: OnceLock<(Arc<dyn ShardLog>, Writer)>,
    pub(super) desk: Arc<OnceLock<Desk>>,
    pub(super) watchers: Watchers,
    /// Whether the shard takes part in routing; its claims come when they are there.
    pub(super) routed: bool,
    pub(super) claiming: OnceLock<Arc<Claiming>>,
    /// The same for what it knows of other regions.
    pub(super) traffic: OnceLock<Arc<Traffic>>,
}

impl Admin {
    /// The report at this moment. `None` before the log is open.
    pub(super) fn report_now(&self) -> Result<Option<ShardReport>, LogError> {
        let Some((log, _)) = self.store.get() else { return Ok(None) };
        let stats = log.stats()?;
        let dead = self.desk.get().map(Desk::totals).unwrap_or_default();
        let report = self.reporter.report(&stats, &dead, *self.phase.borrow());
        let accepting = report.accepting && self.has_table();
        let routing = self.claiming.get().map(|claiming| claiming.report());
        if self.routed && routing.is_none() {
            // Without it, it would be the report of a shard that takes part in no routing.
            return Ok(None);
        }
        let traffic = self.traffic.get().map(|traffic| traffic.report());
        Ok(Some(ShardReport { routing, traffic, accepting, ..report }))
    }

    fn has_table(&self) -> bool {
        !self.routed || self.claiming.get().is_some_and(|claiming| claiming.has_table())
    }
}

/// The routes of the admin port of a shard without keys: all of them.
pub(super) fn router(admin: Arc<Admin>) -> Router {
    let inner = inner(admin.clone());
    outer(admin).merge(inner)
}

/// What every caller may see: whether the shard is well, and its metrics.
pub(super) fn outer(admin: Arc<Admin>) -> Router {
    Router::new()
        .route(HEALTHZ_PATH, get(healthz))
        .route(READYZ_PATH, get(readyz))
        .route(METRICS_PATH, get(metrics))
        .with_state(admin)
}

/// What tells of events, or changes what becomes of them.
pub(super) fn inner(admin: Arc<Admin>) -> Router {
    let desk = admin.desk.clone();
    Router::new()
        .route(REPORT_PATH, get(report))
        .route(ROUTING_PATH, put(routing))
        .route(TRAFFIC_PATH, put(traffic))
        .with_state(admin)
        .merge(dead_letters::router(desk))
}

async fn healthz(State(admin): State<Arc<Admin>>) -> Response {
    match admin.store.get() {
        Some((_, writer)) if writer.is_failed() => {
            (StatusCode::INTERNAL_SERVER_ERROR, "the log has failed\n").into_response()
        }
        _ => "ok\n".into_response(),
    }
}

async fn readyz(State(admin): State<Arc<Admin>>) -> Response {
    let failed = admin.store.get().is_some_and(|(_, writer)| writer.is_failed());
    let sentence = match *admin.phase.borrow() {
        _ if failed => "the log has failed\n",
        Phase::Serving if !admin.has_table() => "waiting for the routing table\n",
        Phase::Serving => return "ok\n".into_response(),
        Phase::Recovering => "recovering the log\n",
        Phase::Leaving | Phase::Draining | Phase::Finishing => "stopping\n",
    };
    (StatusCode::SERVICE_UNAVAILABLE, sentence).into_response()
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    let stats = match admin.store.get().map(|(log, _)| log.stats()).transpose() {
        Ok(stats) => stats,
        Err(e) => return (StatusCode::INTERNAL_SERVER_ERROR, format!("{e}\n")).into_response(),
    };
    if let Some(claiming) = admin.claiming.get() {
        admin.metrics.routing(&claiming.report());
    }
    if let Some(traffic) = admin.traffic.get() {
        admin.metrics.traffic(&traffic.report());
    }
    if let Some(desk) = admin.desk.get() {
        admin.metrics.dead_letters(&desk.totals(), desk.limit_bytes());
    }
    match admin.metrics.text(stats.as_ref(), clock::now_us()) {
        Ok(text) => {
            let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, content_type)], text).into_response()
        }
        Err(e) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{e}\n")).into_response(),
    }
}

#[derive(Deserialize)]
struct HowToReport {
    /// One line for each change, until somebody hangs up.
    #[serde(default)]
    watch: bool,
}

async fn report(State(admin): State<Arc<Admin>>, Query(how): Query<HowToReport>) -> Response {
    let report = if how.watch {
        watch::answer(&admin)
    } else {
        admin.report_now().map(|report| report.map(|report| Json(report).into_response()))
    };
    match report {
        Ok(Some(answer)) => answer,
        Ok(None) => (StatusCode::SERVICE_UNAVAILABLE, "recovering the log\n").into_response(),
        Err(e) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{e}\n")).into_response(),
    }
}

async fn routing(State(admin): State<Arc<Admin>>, Json(table): Json<RoutingTable>) -> Response {
    if !admin.routed {
        return (StatusCode::CONFLICT, "this shard takes part in no routing\n").into_response();
    }
    match admin.claiming.get().map(|claiming| claiming.push(table)) {
        None => (StatusCode::SERVICE_UNAVAILABLE, "recovering the log\n").into_response(),
        Some(Ok(())) => StatusCode::NO_CONTENT.into_response(),
        Some(Err(sentence)) => (StatusCode::CONFLICT, format!("{sentence}\n")).into_response(),
    }
}

async fn traffic(State(admin): State<Arc<Admin>>, Json(table): Json<TrafficTable>) -> Response {
    if !admin.routed {
        let sentence = "this shard takes part in no routing, so it takes no traffic table\n";
        return (StatusCode::CONFLICT, sentence).into_response();
    }
    let Some(traffic) = admin.traffic.get() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "recovering the log\n").into_response();
    };
    let (status, sentence) = match traffic.push(table).await {
        Ok(()) => return StatusCode::NO_CONTENT.into_response(),
        Err(NotTaken::Refused(sentence)) => (StatusCode::CONFLICT, sentence),
        Err(NotTaken::Later(sentence)) => (StatusCode::SERVICE_UNAVAILABLE, sentence),
    };
    (status, format!("{sentence}\n")).into_response()
}
