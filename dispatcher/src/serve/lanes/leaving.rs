//! Letting go: a shard that gives slots away sends nothing more of them.

use super::{Entry, Head, Lanes};

impl Lanes {
    /// Takes out the events for which this holds. One that is in flight stays until its attempt has ended, and is then
    /// gone, whatever came of it. All events of a lane have to go, or none.
    pub(in crate::serve) fn let_go(&mut self, goes: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let mut gone = Vec::new();
        let (lengths, events, leaving) = (&mut self.lengths, &mut self.events, &mut self.leaving);
        self.by_id.retain(|_, lane| {
            if !lane.events.front().is_some_and(&goes) {
                return true;
            }
            let kept = usize::from(lane.head == Head::InFlight);
            while lane.events.len() > kept {
                gone.extend(lane.events.pop_back());
                *events -= 1;
                lengths.shrunk(lane.events.len());
            }
            *leaving += usize::from(kept == 1 && !std::mem::replace(&mut lane.leaving, true));
            kept == 1
        });
        if !gone.is_empty() {
            let lanes = &self.by_id;
            self.ready.retain(|id| lanes.contains_key(id));
            self.retries.retain(|id| lanes.contains_key(id));
            self.waiting.retain(|(_, id)| lanes.contains_key(id));
        }
        gone
    }

    /// Attempts under way of events that were let go of.
    pub(in crate::serve) fn leaving(&self) -> usize {
        self.leaving
    }
}

#[cfg(test)]
mod tests {
    use super::Lanes;
    use crate::serve::lanes::{Outlook, Setback, WINDOW};
    use crate::serve::log::{Entry, SinkSet};
    use signalbox_contract::Ordering;
    use std::time::{Duration, Instant};

    fn entry(position: u64, key: u64) -> Entry {
        Entry { position, accepted_at_us: 0, key: Some(key), bytes: 100, skip: SinkSet::default() }
    }

    fn next(lanes: &mut Lanes, now: Instant) -> Option<u64> {
        lanes.next(now, 100, true).map(|next| next.entry.position)
    }

    #[test]
    fn what_is_let_go_of_is_sent_no_more_and_what_is_in_flight_leaves_when_it_has_ended() {
        for ordering in [Ordering::PerKey, Ordering::None] {
            for delivered in [true, false] {
                let now = Instant::now();
                let mut lanes = Lanes::new(ordering);
                for position in 0..9 {
                    lanes.push(entry(position, position % 3));
                }
                let sent: Vec<_> = (0..3).map(|_| lanes.next(now, 3, true).unwrap().entry).collect();
                lanes.failed(&sent[1], Setback::Refused);
                lanes.wait(&sent[1], now, |_| Duration::from_mins(1));
                let mut gone: Vec<_> = lanes.let_go(|entry| entry.key != Some(2)).iter().map(|e| e.position).collect();
                gone.sort_unstable();
                assert_eq!((gone, lanes.leaving()), (vec![1, 3, 4, 6, 7], 1));
                assert!(lanes.let_go(|entry| entry.key != Some(2)).is_empty(), "twice is once");
                assert_eq!((lanes.leaving(), lanes.room()), (1, WINDOW - 4));
                if delivered {
                    lanes.delivered(&sent[0]);
                } else {
                    lanes.failed(&sent[0], Setback::Failed);
                    lanes.wait(&sent[0], now, |_| Duration::ZERO);
                }
                assert_eq!(lanes.leaving(), 0);
                lanes.delivered(&sent[2]);
                for position in [5, 8] {
                    assert_eq!(next(&mut lanes, now), Some(position));
                    lanes.delivered(&entry(position, 2));
                }
                assert_eq!((next(&mut lanes, now + Duration::from_hours(1)), lanes.room()), (None, WINDOW));
                assert_eq!(lanes.outlook(), Outlook::default());
            }
        }
    }

    #[test]
    fn what_comes_back_waits_for_what_is_still_leaving() {
        let now = Instant::now();
        let mut lanes = Lanes::new(Ordering::PerKey);
        lanes.push(entry(0, 7));
        let sent = lanes.next(now, 9, true).unwrap().entry;
        lanes.let_go(|_| true);
        lanes.push(entry(9, 7));
        assert_eq!(next(&mut lanes, now), None);
        lanes.failed(&sent, Setback::Refused);
        lanes.wait(&sent, now, |_| Duration::from_mins(1));
        let again = lanes.next(now, 9, true).unwrap();
        assert_eq!((again.entry.position, again.attempt), (9, 1));
    }
}
