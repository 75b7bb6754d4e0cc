//! What was seen of other regions, round after round. Pure: the time is an argument.

use std::collections::BTreeMap;
use std::time::Instant;

use signalbox_contract::RegionSeen;

/// What one round says of one region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) name: String,
    pub(super) asked: usize,
    pub(super) answered: usize,
}

/// Since when regions are silent.
#[derive(Debug, Default)]
pub(super) struct Looks {
    since: BTreeMap<String, Instant>,
    any: bool,
}

impl Looks {
    /// Whether the last round was about nobody.
    pub(super) fn is_empty(&self) -> bool {
        !self.any
    }

    /// Takes in a round that began then. A region of which nobody can be asked is not silent.
    pub(super) fn after(&mut self, round: Vec<Look>, began: Instant, now: Instant) -> Vec<RegionSeen> {
        self.any = !round.is_empty();
        self.since.retain(|name, _| round.iter().any(|look| look.name == *name));
        let count = |number| u32::try_from(number).unwrap_or(u32::MAX);
        let seen = round.into_iter().map(|Look { name, asked, answered }| {
            let since = if asked > 0 && answered == 0 {
                Some(*self.since.entry(name.clone()).or_insert(began))
            } else {
                self.since.remove(&name);
                None
            };
            let silent = since.map_or(0, |since| now.saturating_duration_since(since).as_millis());
            let silent_ms = u64::try_from(silent).unwrap_or(u64::MAX);
            RegionSeen { name, asked: count(asked), answered: count(answered), silent_ms }
        });
        seen.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Look, Looks};
    use std::time::{Duration, Instant};

    #[test]
    fn a_region_is_silent_since_the_first_question_that_nobody_answered() {
        let (start, mut looks) = (Instant::now(), Looks::default());
        let mut round = |second: u64, us: (usize, usize)| {
            let look = |name: &str, (asked, answered)| Look { name: name.to_owned(), asked, answered };
            let began = start + Duration::from_secs(second);
            let seen = looks.after(vec![look("us", us), look("ap", (1, 1))], began, began + Duration::from_secs(1));
            (seen[0].answered, seen[0].silent_ms, seen[1].silent_ms)
        };
        assert_eq!(round(0, (2, 1)), (1, 0, 0));
        assert_eq!(round(1, (2, 0)), (0, 1000, 0));
        assert_eq!(round(2, (2, 0)), (0, 2000, 0));
        assert_eq!(round(3, (2, 2)), (2, 0, 0));
        assert_eq!(round(4, (0, 0)), (0, 0, 0), "nobody was asked");
        assert_eq!(round(5, (2, 0)), (0, 1000, 0));
        assert!(!looks.is_empty());
        assert!(looks.after(Vec::new(), start, start).is_empty() && looks.is_empty());
    }
}
