//! `/v1/dead-letters` on the admin port: list, show, delete, replay. Every refusal says what to write instead.

use std::sync::{Arc, OnceLock};

use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::Serialize;
use serde_json::json;
use signalbox_contract::{DEAD_LETTERS_PATH, ShardConfig};
use tokio::sync::watch;

use super::filter::{BadQuery, Filter, Params};
use super::letter::LetterKey;
use super::replay::{Replayer, StartError};
use super::totals::Totals;
use super::view::{LetterView, TotalsView, cursor, of_cursor};
use super::{DeadLetters, StoreError};
use crate::event::{self, STRUCTURED_JSON};
use crate::serve::claiming;
use crate::serve::log::ShardLog;
use crate::serve::metrics::Metrics;
use crate::serve::shutdown::Phase;
use crate::serve::writer::Writer;

/// Letters of a page, unless `limit` says otherwise.
const DEFAULT_LIMIT: u32 = 100;

/// Most letters of a page.
const MAX_LIMIT: u32 = 1000;

/// Events a second of a replay, unless `rate` says otherwise.
const DEFAULT_RATE: u32 = 100;

/// The highest rate of a replay.
const MAX_RATE: u32 = 10_000;

/// Letters that a dry run shows.
const SHOWN: u32 = 10;

/// Letters that are deleted in one go.
const DELETE_STEP: usize = 500;

/// What people can do with the letters of a shard.
pub(in crate::serve) struct Desk {
    letters: DeadLetters,
    replayer: Replayer,
    sinks: Vec<String>,
}

impl Desk {
    /// A desk for these letters. A replay that was under way goes on.
    pub(in crate::serve) fn open(
        letters: DeadLetters,
        config: Arc<ShardConfig>,
        log: Arc<dyn ShardLog>,
        writer: Writer,
        phase: watch::Receiver<Phase>,
        metrics: Metrics,
        router: Option<Arc<dyn claiming::Router>>,
    ) -> Result<Self, StoreError> {
        let sinks = config.sinks.iter().map(|sink| sink.name.clone()).collect();
        let replayer = Replayer::start(letters.clone(), config, log, writer, phase, metrics, router)?;
        Ok(Self { letters, replayer, sinks })
    }

    /// How many letters there are.
    pub(in crate::serve) fn totals(&self) -> Totals {
        self.letters.totals()
    }

    /// Bytes that they may take.
    pub(in crate::serve) fn limit_bytes(&self) -> u64 {
        self.letters.limit_bytes()
    }

    async fn page(&self, filter: Filter, after: Option<LetterKey>, limit: u32) -> Result<Page, StoreError> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let reading = self.letters.read(move |store| {
            let mut page = Page { letters: Vec::new(), next: None };
            let mut last = None;
            for letter in store.scan(&filter, after.as_ref()) {
                let (key, head) = letter?;
                if page.letters.len() == limit {
                    page.next = last.as_ref().map(cursor);
                    break;
                }
                page.letters.push(LetterView::new(&key, head));
                last = Some(key);
            }
            Ok(page)
        });
        Ok(reading.await?.unwrap_or(Page { letters: Vec::new(), next: None }))
    }

    async fn delete(&self, filter: Filter) -> Result<u64, StoreError> {
        let (mut deleted, mut after) = (0, None);
        loop {
            let (filter, from) = (filter.clone(), after.take());
            let reading = self.letters.read(move |store| {
                store.scan(&filter, from.as_ref()).take(DELETE_STEP).map(|letter| Ok(letter?.0)).collect()
            });
            let keys: Vec<LetterKey> = reading.await?.unwrap_or_default();
            let Some(last) = keys.last() else { return Ok(deleted) };
            after = Some(last.clone());
            deleted += self.letters.remove(keys, None).await?;
        }
    }
}

/// Part of a list.
#[derive(Serialize)]
struct Page {
    letters: Vec<LetterView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A refusal: its status and its sentence.
struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

impl From<BadQuery> for Refusal {
    fn from(error: BadQuery) -> Self {
        Self(StatusCode::BAD_REQUEST, error.to_string())
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

impl From<StartError> for Refusal {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Running(_) => Self(StatusCode::CONFLICT, error.to_string()),
            StartError::Store(error) => error.into(),
        }
    }
}

type Shared = State<Arc<OnceLock<Desk>>>;
type Pairs = Query<Vec<(String, String)>>;
type Answer = Result<Response, Refusal>;

/// The routes. The desk comes when the log is open.
pub(in crate::serve) fn router(desk: Arc<OnceLock<Desk>>) -> Router {
    let path = |rest: &str| format!("{DEAD_LETTERS_PATH}{rest}");
    Router::new()
        .route(DEAD_LETTERS_PATH, get(list).delete(delete_many))
        .route(&path("/replay"), post(replay))
        .route(&path("/replays"), get(replays))
        .route(&path("/replays/{id}"), delete(cancel))
        .route(&path("/{id}"), get(show).delete(delete_one))
        .with_state(desk)
}

fn open(desk: &OnceLock<Desk>) -> Result<&Desk, Refusal> {
    let recovering = || Refusal(StatusCode::SERVICE_UNAVAILABLE, "recovering the log: try again soon".to_owned());
    desk.get().ok_or_else(recovering)
}

async fn list(State(desk): Shared, Query(pairs): Pairs) -> Answer {
    let desk = open(&desk)?;
    let mut params = Params::new(pairs);
    let filter = params.filter()?;
    let limit = params.number("limit", 1..=MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT);
    let after = params.take("cursor")?.map(|text| {
        of_cursor(&text).ok_or_else(|| {
            BadQuery("cursor is not one that a list has given as next: leave it out to begin anew".to_owned())
        })
    });
    params.finish(", limit, cursor")?;
    let page = desk.page(filter, after.transpose()?, limit).await?;
    let totals = TotalsView::new(&desk.totals(), desk.limit_bytes(), &desk.sinks);
    let Page { letters, next } = page;
    let mut answer = json!({ "letters": letters, "totals": totals });
    if let Some(next) = next {
        answer["next"] = next.into();
    }
    Ok(Json(answer).into_response())
}

async fn show(State(desk): Shared, Path(id): Path<String>) -> Answer {
    let desk = open(&desk)?;
    let key = LetterKey::of_id(&id).ok_or_else(|| unknown(&id))?;
    let record = desk.letters.read(move |store| store.record(&key)).await?.flatten().ok_or_else(|| unknown(&id))?;
    let event = event::decode(record).ok().and_then(|event| event::to_structured(&event).ok()).ok_or_else(|| {
        Refusal(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("the event of {id} cannot be read: all that is known of it is in the list"),
        )
    })?;
    Ok(([(header::CONTENT_TYPE, STRUCTURED_JSON)], event).into_response())
}

async fn delete_one(State(desk): Shared, Path(id): Path<String>) -> Answer {
    let desk = open(&desk)?;
    let key = LetterKey::of_id(&id).ok_or_else(|| unknown(&id))?;
    match desk.letters.remove(vec![key], None).await? {
        0 => Err(unknown(&id)),
        deleted => Ok(Json(json!({ "deleted": deleted })).into_response()),
    }
}

fn unknown(id: &str) -> Refusal {
    let sentence = format!("there is no dead letter {id}: it was replayed or deleted, or never was; list them to see");
    Refusal(StatusCode::NOT_FOUND, sentence)
}

async fn delete_many(State(desk): Shared, Query(pairs): Pairs) -> Answer {
    let desk = open(&desk)?;
    let mut params = Params::new(pairs);
    let filter = params.filter()?;
    let all = params.flag("all")?;
    params.finish(", all")?;
    match (filter == Filter::default(), all) {
        (true, false) => Err(BadQuery(
            "nothing says which letters to delete: write a filter such as sink=orders, or all=true for every letter"
                .to_owned(),
        ))?,
        (false, true) => {
            Err(BadQuery("all=true means every letter: leave it out, or leave the filter out".to_owned()))?;
        }
        _ => {}
    }
    Ok(Json(json!({ "deleted": desk.delete(filter).await? })).into_response())
}

async fn replay(State(desk): Shared, Query(pairs): Pairs) -> Answer {
    let desk = open(&desk)?;
    let mut params = Params::new(pairs);
    let filter = params.filter()?;
    let rate = params.number("rate", 1..=MAX_RATE)?.unwrap_or(DEFAULT_RATE);
    let dry_run = params.flag("dryRun")?;
    params.finish(", rate, dryRun")?;
    if dry_run {
        let (matched, orphaned) = desk.replayer.count(filter.clone()).await?;
        let first = desk.page(filter, None, SHOWN).await?.letters;
        let answer = json!({ "dryRun": true, "matched": matched, "orphaned": orphaned, "first": first });
        return Ok(Json(answer).into_response());
    }
    let replay = desk.replayer.replay(filter, rate).await?;
    Ok((StatusCode::ACCEPTED, Json(replay)).into_response())
}

async fn replays(State(desk): Shared) -> Answer {
    let desk = open(&desk)?;
    Ok(Json(json!({ "replays": desk.replayer.all().await })).into_response())
}

async fn cancel(State(desk): Shared, Path(id): Path<String>) -> Answer {
    let desk = open(&desk)?;
    let replay = desk.replayer.cancel(&id).await?;
    let unknown = || Refusal(StatusCode::NOT_FOUND, format!("there is no replay {id}: list the replays to see them"));
    Ok(Json(replay.ok_or_else(unknown)?).into_response())
}

#[cfg(test)]
mod tests;
