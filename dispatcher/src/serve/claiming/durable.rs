//! What a shard has to know of its claims after a restart, as one file in the data directory.
//!
//! ```text
//! routing.new --fsync--> rename --> routing --fsync of the directory--> durable
//! {"version":1,"crc32":...,"state":{"log":...,"table":{...},"tenures":[...],"marks":[[epoch,position],...]}}
//! ```
//!
//! It is written whole and replaces what was there. May import `marks`, `log`, and the crate's `claims`.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use signalbox_contract::RoutingTable;

use super::marks::Marks;
use crate::claims::{Durable, Epoch, Ordinal, Slot, Tenure};

const NAME: &str = "routing";
const NEW_NAME: &str = "routing.new";
const VERSION: u32 = 1;

/// The file cannot be read, or what it says makes no sense.
#[derive(Debug, thiserror::Error)]
pub(in crate::serve) enum StateError {
    /// It cannot be read.
    #[error("{path} cannot be read ({source}): give this process the right to, or another --data-dir")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what was written.
    #[error(
        "{path} is damaged ({why}): move it away, and this shard claims its slots anew; of what it still holds, the order \
         to what other shards accepted is then not known any more"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Another version wrote it.
    #[error(
        "{path} is of version {version}, which this version cannot read: run the version that wrote it, or a later"
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it says.
        version: u32,
    },
}

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
struct Envelope {
    version: u32,
    crc32: u32,
    state: Box<RawValue>,
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
    let path = dir.join(NAME);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StateError::Unreadable { path, source }),
    };
    let damaged = |why: String| StateError::Damaged { path: path.clone(), why };
    let envelope: Envelope = serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
    if envelope.version != VERSION {
        return Err(StateError::Foreign { path, version: envelope.version });
    }
    let state = envelope.state.get();
    if crc32fast::hash(state.as_bytes()) != envelope.crc32 {
        return Err(damaged("its checksum is another".to_owned()));
    }
    let content: Content = serde_json::from_str(state).map_err(|e| damaged(e.to_string()))?;
    Ok(Some(content.into()))
}

/// Puts this in the place of what is there. When it returns, that is so for good.
pub(super) fn store(dir: &Path, state: &State) -> io::Result<()> {
    prepare(dir, state)?;
    std::fs::rename(dir.join(NEW_NAME), dir.join(NAME))?;
    File::open(dir)?.sync_all()
}

/// Writes it beside its place.
fn prepare(dir: &Path, state: &State) -> io::Result<()> {
    let state = RawValue::from_string(serde_json::to_string(&Content::from(state))?)?;
    let envelope = Envelope { version: VERSION, crc32: crc32fast::hash(state.get().as_bytes()), state };
    let mut file = File::create(dir.join(NEW_NAME))?;
    file.write_all(&serde_json::to_vec(&envelope)?)?;
    file.sync_all()
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
    fn a_crash_before_it_is_in_its_place_leaves_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path(), &state(7)).unwrap();
        assert_eq!(load(dir.path()).unwrap(), None);
        store(dir.path(), &state(7)).unwrap();
        prepare(dir.path(), &state(8)).unwrap();
        std::fs::write(dir.path().join(NEW_NAME), b"{\"ver").unwrap();
        assert_eq!(load(dir.path()).unwrap(), Some(state(7)));
        store(dir.path(), &state(9)).unwrap();
        assert_eq!(load(dir.path()).unwrap(), Some(state(9)));
    }

    #[test]
    fn damage_anywhere_is_found_and_the_sentence_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        store(dir.path(), &state(7)).unwrap();
        let path = dir.path().join(NAME);
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, &damaged).unwrap();
            assert!(load(dir.path()).is_err(), "byte {at}: {}", String::from_utf8_lossy(&damaged));
            std::fs::write(&path, &whole[..at]).unwrap();
            let sentence = load(dir.path()).unwrap_err().to_string();
            assert!(sentence.contains("is damaged") && sentence.contains("move it away"), "{sentence}");
        }
    }

    #[test]
    fn a_file_of_a_later_version_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(NAME), r#"{"version":2,"crc32":0,"state":{}}"#).unwrap();
        assert!(load(dir.path()).unwrap_err().to_string().contains("of version 2"));
    }

    #[test]
    fn a_thousand_slots_take_little_room() {
        let mut state = state(7);
        let tenure = Tenure { since: 7, deliver: true, done: (0..16).collect(), at_risk: [].into() };
        state.durable.tenures = (0..1024).map(|slot| (slot, tenure.clone())).collect();
        let dir = tempfile::tempdir().unwrap();
        store(dir.path(), &state).unwrap();
        assert!(std::fs::metadata(dir.path().join(NAME)).unwrap().len() < 8192);
    }
}
