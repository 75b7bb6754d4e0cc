//! The table after a restart. May import `file`.

use std::io;
use std::path::Path;

use signalbox_contract::TrafficTable;

use crate::serve::file::{StateError, StateFile};

const FILE: StateFile = StateFile {
    name: "traffic",
    without: "this shard delivers all of its slots by itself, until the operator gives it the table again",
};

/// What the file in this data directory says. Nothing: there is none.
pub(super) fn load(dir: &Path) -> Result<Option<TrafficTable>, StateError> {
    FILE.load(dir)
}

/// Puts this in the place of what is there. When it returns, that is so for good.
pub(super) fn store(dir: &Path, table: &TrafficTable) -> io::Result<()> {
    FILE.store(dir, table)
}
