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
use crate::serve::clock;
use crate::serve::evacuation::Takers;
use crate::serve::ingest::{Given, Outcome};

/// Seconds that another shard may ask for, at most: what it says is not known to make sense.
const LONGEST_WAIT: u64 = 60;

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
        let body = wire::of_given(&self.fleet, given, clock::now_us());
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
        outcome(status, &answer)
    }
}

/// What an answer says.
fn outcome(status: StatusCode, answer: &[u8]) -> Outcome {
    if status != StatusCode::OK {
        let said = String::from_utf8_lossy(answer);
        return Outcome::Unreachable(format!("answered {}: {}", status.as_u16(), said.trim_end()));
    }
    let Answers { table, mut parts } = match wire::answers(answer) {
        Ok(answers) => answers,
        Err(e) => return Outcome::Unreachable(e.to_string()),
    };
    match (parts.pop(), table, parts.is_empty()) {
        (Some(PartAnswer::Stored), _, true) => Outcome::Stored,
        (Some(PartAnswer::Redirect), Some(table), true) => Outcome::Redirect(Arc::new(table)),
        (Some(PartAnswer::Refused { status, sentence, seconds }), _, true) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            Outcome::Refused { status, sentence, seconds: seconds.map(|seconds| seconds.min(LONGEST_WAIT)) }
        }
        (Some(PartAnswer::Later(why)), _, true) => Outcome::Unreachable(why),
        _ => Outcome::Unreachable("answered something else".to_owned()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use signalbox_contract::RoutingTable;

    #[test]
    fn whatever_a_taker_answers_it_is_waited_for_a_minute_at_most_and_nothing_is_taken_for_stored_that_is_not() {
        let said = |table: Option<u64>, parts: &[PartAnswer]| {
            let table = table.map(|epoch| RoutingTable { epoch, ..RoutingTable::default() });
            outcome(StatusCode::OK, &wire::of_answers(&Answers { table, parts: parts.to_vec() }))
        };
        let refused = |seconds| PartAnswer::Refused { status: 429, sentence: "full".to_owned(), seconds };
        assert_eq!(said(None, &[PartAnswer::Stored]), Outcome::Stored);
        assert!(matches!(said(Some(7), &[PartAnswer::Redirect]), Outcome::Redirect(table) if table.epoch == 7));
        for (asked, waited) in [(None, None), (Some(17), Some(17)), (Some(u64::MAX), Some(60))] {
            let Outcome::Refused { status, seconds, .. } = said(None, &[refused(asked)]) else { panic!("{asked:?}") };
            assert_eq!((status, seconds), (StatusCode::TOO_MANY_REQUESTS, waited));
        }
        for nothing in [
            said(None, &[]),
            said(None, &[PartAnswer::Stored, PartAnswer::Stored]),
            said(None, &[refused(None), PartAnswer::Stored]),
            said(None, &[PartAnswer::Redirect]),
            said(None, &[PartAnswer::Later("stopping".to_owned())]),
            outcome(StatusCode::OK, b"{"),
            outcome(StatusCode::NO_CONTENT, b""),
            outcome(StatusCode::SERVICE_UNAVAILABLE, &wire::of_answers(&Answers { table: None, parts: vec![] })),
        ] {
            assert!(matches!(nothing, Outcome::Unreachable(_)), "{nothing:?}");
        }
    }
}
