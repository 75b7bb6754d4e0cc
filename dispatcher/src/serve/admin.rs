//! The admin port: probes, metrics, report, dead letters. May import `report`, `metrics`, `log`, `writer` and
//! `dead_letters`.

use std::sync::{Arc, OnceLock};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use signalbox_contract::{HEALTHZ_PATH, METRICS_PATH, READYZ_PATH, REPORT_PATH};
use tokio::sync::watch;

use super::clock;
use super::dead_letters::{self, Desk};
use super::log::ShardLog;
use super::metrics::Metrics;
use super::report::Reporter;
use super::shutdown::Phase;
use super::writer::Writer;

/// What the admin port can see. The log and its writer come when they are there.
pub(super) struct Admin {
    pub(super) metrics: Metrics,
    pub(super) reporter: Reporter,
    pub(super) phase: watch::Receiver<Phase>,
    pub(super) store: OnceLock<(Arc<dyn ShardLog>, Writer)>,
    pub(super) desk: Arc<OnceLock<Desk>>,
}

/// The routes of the admin port.
pub(super) fn router(admin: Arc<Admin>) -> Router {
    let desk = admin.desk.clone();
    Router::new()
        .route(HEALTHZ_PATH, get(healthz))
        .route(READYZ_PATH, get(readyz))
        .route(METRICS_PATH, get(metrics))
        .route(REPORT_PATH, get(report))
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

async fn report(State(admin): State<Arc<Admin>>) -> Response {
    let Some((log, _)) = admin.store.get() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "recovering the log\n").into_response();
    };
    match log.stats() {
        Ok(stats) => {
            let dead = admin.desk.get().map(Desk::totals).unwrap_or_default();
            Json(admin.reporter.report(&stats, &dead, *admin.phase.borrow())).into_response()
        }
        Err(e) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{e}\n")).into_response(),
    }
}
