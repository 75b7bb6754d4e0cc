//! The replays of a shard as they are noted: at most one is under way, the latest others are kept to be looked at.
//! Pure.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::filter::Filter;

/// Replays that are kept, the one under way included.
const KEPT: usize = 10;

/// Where a replay is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum State {
    /// Under way, or about to go on after a restart.
    Running,
    /// It has gone through all letters that it was for.
    Done,
    /// Somebody cancelled it. What was replayed stays replayed.
    Cancelled,
}

/// One replay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Replay {
    pub(super) id: String,
    pub(super) state: State,
    pub(super) filter: Filter,
    /// Events a second, at most.
    pub(super) rate: u32,
    pub(super) started_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ended_at: Option<Timestamp>,
    /// Letters with a lower serial only: those that were dead when it was started.
    pub(super) bound: u64,
    /// Letters that it was for when it was started, orphaned ones not included.
    pub(super) matched: u64,
    /// Letters that are in the log again.
    pub(super) replayed: u64,
    /// Letters whose event cannot be read, or whose key is another shard's by now. They are left.
    pub(super) failed: u64,
    /// Letters whose sink is not configured. They are left.
    pub(super) orphaned: u64,
    /// What it is waiting for, or why it cannot go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) waiting_for: Option<String>,
}

/// All replays that are kept, the latest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Replays {
    last_number: u64,
    replays: Vec<Replay>,
}

impl Replays {
    /// The one that is under way.
    pub(super) fn running(&self) -> Option<&Replay> {
        self.replays.first().filter(|replay| replay.state == State::Running)
    }

    /// The same, to be changed.
    pub(super) fn running_mut(&mut self) -> Option<&mut Replay> {
        self.replays.first_mut().filter(|replay| replay.state == State::Running)
    }

    /// Adds one, with an id that no other has had.
    pub(super) fn add(&mut self, mut replay: Replay) -> Replay {
        self.last_number += 1;
        replay.id = format!("replay-{}", self.last_number);
        self.replays.insert(0, replay.clone());
        self.replays.truncate(KEPT);
        replay
    }

    /// The one with this id.
    pub(super) fn get(&self, id: &str) -> Option<&Replay> {
        self.replays.iter().find(|replay| replay.id == id)
    }

    /// All of them.
    pub(super) fn all(&self) -> &[Replay] {
        &self.replays
    }

    /// Ends the one that is under way, if it is this.
    pub(super) fn end(&mut self, id: &str, state: State, now: Timestamp) {
        if let Some(replay) = self.running_mut().filter(|replay| replay.id == id) {
            replay.state = state;
            replay.ended_at = Some(now);
            replay.waiting_for = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{KEPT, Replay, Replays, State};
    use crate::serve::dead_letters::filter::Filter;
    use jiff::Timestamp;

    fn replay() -> Replay {
        Replay {
            id: String::new(),
            state: State::Running,
            filter: Filter::default(),
            rate: 100,
            started_at: Timestamp::UNIX_EPOCH,
            ended_at: None,
            bound: 5,
            matched: 5,
            replayed: 0,
            failed: 0,
            orphaned: 0,
            waiting_for: None,
        }
    }

    #[test]
    fn the_latest_are_kept_and_no_id_is_given_twice() {
        let mut replays = Replays::default();
        for n in 1..=KEPT + 3 {
            assert_eq!(replays.add(replay()).id, format!("replay-{n}"));
            replays.end(&format!("replay-{n}"), State::Done, Timestamp::UNIX_EPOCH);
        }
        assert_eq!((replays.all().len(), replays.get("replay-1"), replays.running()), (KEPT, None, None));
        let text = serde_json::to_vec(&replays).unwrap();
        assert_eq!(serde_json::from_slice::<Replays>(&text).unwrap(), replays);
    }

    #[test]
    fn what_has_ended_is_not_ended_again() {
        let mut replays = Replays::default();
        replays.add(replay());
        replays.end("replay-1", State::Cancelled, Timestamp::UNIX_EPOCH);
        replays.end("replay-1", State::Done, Timestamp::UNIX_EPOCH);
        assert_eq!(replays.get("replay-1").unwrap().state, State::Cancelled);
    }
}
