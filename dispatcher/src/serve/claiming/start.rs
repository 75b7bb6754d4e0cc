//! How claims begin: from what was written last, without waiting for anybody. May import `claiming`'s own, `transfers`,
//! `gates`, `log`, `writer`, `slots`, `metrics`, and the crate's `claims` and `slots`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::driver::Driver;
use super::durable::{self, State};
pub(in crate::serve) use super::giving::BATCH_BYTES;
use super::handle::{Claiming, Shared};
use super::jobs::Jobs;
use super::parcel::Outbox;
use crate::claims::{Claims, Ordinal};
use crate::serve::file::StateError;
use crate::serve::gates::Gate;
use crate::serve::log::{LogError, PairLog, ShardLog as _};
use crate::serve::metrics::Metrics;
use crate::serve::slots::{KEYLESS, SlotSet};
use crate::serve::transfers::Transfers;
use crate::serve::writer::Writer;
use crate::slots::SLOTS;

/// How often what may have been lost is said again, and what had no room is tried again.
pub(in crate::serve) const TICK: Duration = Duration::from_secs(1);

/// What claims work with.
pub(in crate::serve) struct Start {
    pub(in crate::serve) fleet: String,
    pub(in crate::serve) region: String,
    pub(in crate::serve) ordinal: Ordinal,
    pub(in crate::serve) data_dir: PathBuf,
    pub(in crate::serve) log: Arc<PairLog>,
    pub(in crate::serve) writer: Writer,
    /// The names of the sinks.
    pub(in crate::serve) sinks: Vec<String>,
    pub(in crate::serve) outbox: Arc<dyn Outbox>,
    pub(in crate::serve) metrics: Metrics,
    /// [`TICK`], and [`BATCH_BYTES`]: less in tests.
    pub(in crate::serve) tick: Duration,
    pub(in crate::serve) batch_bytes: usize,
}

/// Claims that have begun.
pub(in crate::serve) struct Started {
    pub(in crate::serve) claiming: Arc<Claiming>,
    /// What the sinks' tasks go by.
    pub(in crate::serve) gates: Vec<Gate>,
    pub(in crate::serve) transfers: Arc<Transfers>,
    /// The driver. It ends when nobody has the claims any more.
    pub(in crate::serve) driver: JoinHandle<()>,
}

/// Why they cannot begin.
#[derive(Debug, thiserror::Error)]
pub(in crate::serve) enum StartError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Log(#[from] LogError),
}

impl Start {
    /// Begins. Reads from disk, and is to be called within a runtime.
    pub(in crate::serve) fn start(self) -> Result<Started, StartError> {
        let Self { fleet, region, ordinal, data_dir, log, writer, sinks, outbox, metrics, tick, batch_bytes } = self;
        let id = log.id()?;
        let State { durable, marks, .. } = match durable::load(&data_dir)? {
            Some(state) if state.log == id => state,
            // The log was lost, and with it what these claims were about.
            Some(mut state) => {
                tracing::warn!("the log is not the one that the routing state is of: its slots are claimed anew");
                state.marks.truncate(log.end());
                State { marks: state.marks, ..State::default() }
            }
            None => State::default(),
        };
        // Everything is closed, until what was inherited of it is in order.
        let (transfers, gates) = Transfers::new(log.clone(), writer.clone(), sinks, &SlotSet::all());
        let inherited = transfers.inherited()?;
        let inherited = inherited.iter().filter(|&slot| slot != KEYLESS).filter_map(|slot| u16::try_from(slot).ok());
        let all = Arc::new((0..SLOTS).collect());
        let (claims, effects) = Claims::restart(ordinal, id, crate::random::next(), all, durable, &inherited.collect());
        let shared = Arc::new(Shared::new(claims));
        let transfers = Arc::new(transfers);
        let jobs = Jobs { transfers: transfers.clone(), log, writer, dir: data_dir, id, pause: tick, batch_bytes };
        let (claiming, inbox) = Claiming::new((fleet, region), ordinal, id, shared.clone());
        let driver = Driver::new(ordinal, shared, outbox, jobs, marks, metrics);
        let driver = tokio::spawn(driver.run(effects, inbox, tick));
        Ok(Started { claiming: Arc::new(claiming), gates, transfers, driver })
    }
}
