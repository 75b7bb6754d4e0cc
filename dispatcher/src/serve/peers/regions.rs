//! The way to shards of other regions: a connection to each address, which all requests to it share, and which is kept while
//! it is used. May import `evacuation`'s door, and `ingest`'s outcome.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::StatusCode;

use super::REGIONS_PATH;
use super::connect::{Connector, Sender};
use super::sender::{ANSWER_TIME, Broken, post};
use super::wire::{self, Answers, PartAnswer};
use crate::serve::evacuation::Takers;
use crate::serve::ingest::{Given, Outcome};

/// Those connections. Cheap to clone.
#[derive(Clone)]
pub(in crate::serve) struct Regions {
    fleet: String,
    connector: Arc<Connector>,
    open: Arc<Mutex<HashMap<String, Sender>>>,
}

impl Regions {
    pub(super) fn new(fleet: String, connector: Arc<Connector>) -> Self {
        Self { fleet, connector, open: Arc::default() }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<String, Sender>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection, and whether it was there.
    async fn connected(&self, address: &str) -> Result<(Sender, bool), String> {
        let known = self.open().get(address).filter(|sender| !sender.is_closed()).cloned();
        if let Some(sender) = known {
            return Ok((sender, true));
        }
        let sender = self.connector.connect(address, None).await?;
        self.open().insert(address.to_owned(), sender.clone());
        Ok((sender, false))
    }

    async fn asked(&self, address: &str, given: &Given) -> Result<(StatusCode, bytes::Bytes), String> {
        let body = wire::of_given(&self.fleet, given);
        loop {
            let (sender, was_there) = self.connected(address).await?;
            let answered = tokio::time::timeout(ANSWER_TIME, post(sender, REGIONS_PATH, body.clone())).await;
            let broken = match answered {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(Broken::Unsent)) => None,
                Ok(Err(Broken::Sent(why))) => Some(why),
                Err(_) => Some(format!("no answer within {ANSWER_TIME:?}")),
            };
            self.open().remove(address);
            match broken {
                // It had its time, and nothing left on it.
                None if was_there => {}
                None => return Err("the connection was closed".to_owned()),
                Some(why) => return Err(why),
            }
        }
    }

    async fn given(&self, address: &str, given: &Given) -> Outcome {
        let (status, answer) = match self.asked(address, given).await {
            Ok(answered) => answered,
            Err(why) => return Outcome::Unreachable(why),
        };
        if status != StatusCode::OK {
            let said = String::from_utf8_lossy(&answer);
            return Outcome::Unreachable(format!("answered {}: {}", status.as_u16(), said.trim_end()));
        }
        match wire::answers(&answer) {
            Err(e) => Outcome::Unreachable(e.to_string()),
            Ok(Answers { table, mut parts }) => match (parts.pop(), table, parts.is_empty()) {
                (Some(PartAnswer::Stored), _, true) => Outcome::Stored,
                (Some(PartAnswer::Redirect), Some(table), true) => Outcome::Redirect(Arc::new(table)),
                (Some(PartAnswer::Refused { status, sentence, seconds }), _, true) => {
                    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
                    Outcome::Refused { status, sentence, seconds }
                }
                (Some(PartAnswer::Later(why)), _, true) => Outcome::Unreachable(why),
                _ => Outcome::Unreachable("answered something else".to_owned()),
            },
        }
    }
}

impl Takers for Regions {
    fn give(&self, address: &str, given: Given) -> BoxFuture<'static, Outcome> {
        let (regions, address) = (self.clone(), address.to_owned());
        async move { regions.given(&address, &given).await }.boxed()
    }

    fn rest(&self) {
        self.open().clear();
    }
}
