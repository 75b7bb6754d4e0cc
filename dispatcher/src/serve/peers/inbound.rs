//! What other shards say to this one. May import nothing yet.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;

use super::{EVENTS_PATH, MESSAGES_PATH};

/// Where other shards come in. Closed until what they speak to is there, and for ever in a shard without a number.
pub(in crate::serve) type Door = OnceLock<()>;

/// The routes for shards.
pub(in crate::serve) fn router(door: Arc<Door>) -> Router {
    Router::new().route(MESSAGES_PATH, post(closed)).route(EVENTS_PATH, post(closed)).with_state(door)
}

async fn closed(State(_door): State<Arc<Door>>) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "this shard takes part in no routing yet\n").into_response()
}
