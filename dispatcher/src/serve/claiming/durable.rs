//! What a shard has to know of its claims after a restart, as one file in the data directory.
//!
//! ```text
//! {"log":...,"table":{...},"tenures":[...],"marks":[[epoch,position],...]}
//! ```
//!
//! May import `marks`, `file`, `log`, and the crate's `claims`.

use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use signalbox_contract::RoutingTable;

use super::marks::Marks;
use crate::claims::{Durable, Epoch, Ordinal, Slot, Tenure};
use crate::serve::file::{StateError, StateFile};

const FILE: StateFile = StateFile {
    name: "routing",
    without: "this shard claims its slots anew; of what it still holds, the order to what other shards accepted is then not \
              known any more",
};

/// What is in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// The log that it belongs to: [`crate::serve::log::PairLog::id`].
    pub(super) log: u64,
    /// What the machine wants to know again.
    pub(super) durable: Durable,
    /// Which epochs the positions of the own log are of.
    pub(super) marks: Marks,
}

#[derive(Deserialize, Serialize)]
struct Content {
    log: u64,
    table: Option<RoutingTable>,
    tenures: Vec<Group>,
    marks: Marks,
}

/// Slots whose tenures are the same: most are.
#[derive(Deserialize, Serialize)]
struct Group {
    slots: Vec<Slot>,
    since: Epoch,
    deliver: bool,
    done: Vec<Ordinal>,
    at_risk: Vec<Ordinal>,
}

/// What the file in this data directory says. Nothing: there is none.
pub(super) fn load(dir: &Path) -> Result<Option<State>, StateError> {
    Ok(FILE.load::<Content>(dir)?.map(State::from))
}

/// Puts this in the place of what is there. When it returns, that is so for good.
pub(super) fn store(dir: &Path, state: &State) -> io::Result<()> {
    FILE.store(dir, &Content::from(state))
}

impl From<&State> for Content {
    fn from(State { log, durable, marks }: &State) -> Self {
        let mut groups: Vec<(&Tenure, Vec<Slot>)> = Vec::new();
        for (&slot, tenure) in &durable.tenures {
            match groups.iter_mut().find(|(known, _)| *known == tenure) {
                Some((_, slots)) => slots.push(slot),
                None => groups.push((tenure, vec![slot])),
            }
        }
        let group = |(tenure, slots): (&Tenure, _)| Group {
            slots,
            since: tenure.since,
            deliver: tenure.deliver,
            done: tenure.done.iter().copied().collect(),
            at_risk: tenure.at_risk.iter().copied().collect(),
        };
        let tenures = groups.into_iter().map(group).collect();
        Self { log: *log, table: durable.table.as_deref().cloned(), tenures, marks: marks.clone() }
    }
}

impl From<Content> for State {
    fn from(Content { log, table, tenures, marks }: Content) -> Self {
        let mut durable = Durable { table: table.map(Arc::new), ..Durable::default() };
        for Group { slots, since, deliver, done, at_risk } in tenures {
            let (done, at_risk) = (done.into_iter().collect(), at_risk.into_iter().collect());
            let tenure = Tenure { since, deliver, done, at_risk };
            durable.tenures.extend(slots.into_iter().map(|slot| (slot, tenure.clone())));
        }
        Self { log, durable, marks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(epoch: Epoch) -> State {
        let table = RoutingTable { fleet: "orders".to_owned(), epoch, shards: 2, ..RoutingTable::default() };
        let held = Tenure { since: epoch, deliver: true, done: [0, 1].into(), at_risk: [2].into() };
        let tenures = [(3, held.clone()), (5, Tenure::default()), (1023, held)].into();
        let mut marks = Marks::default();
        marks.push(1, 0);
        marks.push(epoch, 1 << 40);
        State { log: u64::MAX, durable: Durable { table: Some(Arc::new(table)), tenures }, marks }
    }

    #[test]
    fn what_was_written_last_is_read() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path()).unwrap(), None);
        for state in [State::default(), state(7), state(8)] {
            store(dir.path(), &state).unwrap();
            assert_eq!(load(dir.path()).unwrap(), Some(state));
        }
    }

    #[test]
    fn a_file_is_read_that_a_version_before_has_written_and_a_damaged_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let content = r#"{"log":5,"table":null,"tenures":[],"marks":[[1,0]]}"#;
        let crc32 = crc32fast::hash(content.as_bytes());
        let file = format!(r#"{{"version":1,"crc32":{crc32},"state":{content}}}"#);
        std::fs::write(dir.path().join(FILE.name), &file).unwrap();
        let read = load(dir.path()).unwrap().unwrap();
        assert_eq!((read.log, read.marks.label(0)), (5, 1));
        std::fs::write(dir.path().join(FILE.name), file.replace("\"log\":5", "\"log\":6")).unwrap();
        assert!(load(dir.path()).unwrap_err().to_string().contains("claims its slots anew"));
    }

    #[test]
    fn a_thousand_slots_take_little_room() {
        let mut state = state(7);
        let tenure = Tenure { since: 7, deliver: true, done: (0..16).collect(), at_risk: [].into() };
        state.durable.tenures = (0..1024).map(|slot| (slot, tenure.clone())).collect();
        let dir = tempfile::tempdir().unwrap();
        store(dir.path(), &state).unwrap();
        assert!(std::fs::metadata(dir.path().join(FILE.name)).unwrap().len() < 8192);
    }
}
