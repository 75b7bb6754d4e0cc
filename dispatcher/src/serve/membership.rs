//! Whether this shard takes part in the routing of its region, and what others have to know of it. May import `claiming`.
//!
//! | | no ordinal, or no control port | both |
//! | --- | --- | --- |
//! | accepts | every event | those of its slots, once it has a routing table |
//! | ready | when its log is open | when it has a table, too |

use std::sync::{Arc, OnceLock};

use signalbox_contract::{RoutingReport, RoutingTable};

use super::claiming::{Claiming, Router as _};

/// What a shard that takes part has to show for it.
#[derive(Default)]
pub(super) struct Membership {
    /// There once the log is open.
    claiming: OnceLock<Arc<Claiming>>,
}

/// Why a table was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// The log is not open yet: it may be given again in a moment.
    NotYet,
    /// It never will be, and this is why.
    Refused(String),
}

impl Membership {
    /// The log is open, and this sees to the shard's claims.
    pub(super) fn joined(&self, claiming: Arc<Claiming>) {
        // Once in the life of a process.
        let _ = self.claiming.set(claiming);
    }

    /// Whether there is a routing table, on disk.
    pub(super) fn has_table(&self) -> bool {
        self.claiming.get().is_some_and(|claiming| claiming.report().epoch > 0)
    }

    /// Whether the routing table gives no slots to this shard: it hands over what it has, and is to go.
    pub(super) fn is_leaving(&self) -> bool {
        let Some(claiming) = self.claiming.get() else { return false };
        claiming.table().is_some_and(|table| claiming.report().ordinal >= table.shards)
    }

    /// Whether there is nothing left to hand over.
    pub(super) fn is_empty(&self) -> bool {
        self.claiming.get().is_some_and(|claiming| claiming.report().empty)
    }

    /// The part of the report.
    pub(super) fn report(&self) -> Option<RoutingReport> {
        self.claiming.get().map(|claiming| claiming.report())
    }

    /// The operator gives a table.
    pub(super) fn push(&self, table: RoutingTable) -> Result<(), NotTaken> {
        let claiming = self.claiming.get().ok_or(NotTaken::NotYet)?;
        claiming.push(table).map_err(NotTaken::Refused)
    }
}
