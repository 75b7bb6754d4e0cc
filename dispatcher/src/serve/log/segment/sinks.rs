//! Which number each sink has in the log. Pure.
//!
//! Events say for whom they are not in a word of 64 bits, so numbers are small and are used again. That is safe: a
//! sink starts at the end of the log, and looks at nothing that was written for an earlier owner of its number.
//! Numbers go round, so that one is not used again soon.

use super::super::ledger::{Ledger, Progress};
use super::super::{Position, SinkId, SinkSet};

/// Numbers there are.
pub(super) const NUMBERS: usize = 64;

/// The sinks of the log by number, and where those of the configuration are among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sinks {
    pub(super) names: Vec<Option<String>>,
    /// The number that was given last.
    pub(super) last: usize,
    /// By their index in the configuration.
    known: Vec<usize>,
}

impl Sinks {
    /// The sinks that were stored.
    pub(super) fn stored(names: Vec<Option<String>>, last: usize) -> Self {
        Self { names, last, known: Vec::new() }
    }

    /// Squares them with the configuration. Those that are new start at `start`. True if some are gone: then the
    /// ledger has to count anew.
    pub(super) fn square(&mut self, configured: &[String], start: Position, ledger: &mut Ledger) -> bool {
        let mut gone = false;
        for (number, name) in self.names.iter_mut().enumerate() {
            if let Some(name) = name.take_if(|name| !configured.contains(name)) {
                tracing::warn!(
                    sink = name,
                    "this sink is no longer configured: what only it was waiting for is dropped"
                );
                ledger.put(number, Progress::nobody());
                gone = true;
            }
        }
        self.known.clear();
        for name in configured {
            let number = self.names.iter().position(|stored| stored.as_ref() == Some(name)).unwrap_or_else(|| {
                let number = self.free();
                if self.names.len() <= number {
                    self.names.resize(number + 1, None);
                }
                self.names[number] = Some(name.clone());
                self.last = number;
                ledger.put(number, Progress::at(start));
                number
            });
            self.known.push(number);
        }
        gone
    }

    /// A number that nobody has. There are twice as many as sinks in a configuration.
    fn free(&self) -> usize {
        let next = (1..=NUMBERS).map(|step| (self.last + step) % NUMBERS);
        next.into_iter().find(|&number| self.names.get(number).is_none_or(Option::is_none)).unwrap_or(self.last)
    }

    /// The number of a sink of the configuration.
    pub(super) fn number(&self, sink: SinkId) -> Option<usize> {
        self.known.get(sink).copied()
    }

    /// A set of sinks of the configuration as numbers.
    pub(super) fn numbers(&self, set: SinkSet) -> SinkSet {
        set.iter().filter_map(|sink| self.number(sink)).fold(SinkSet::default(), SinkSet::with)
    }

    /// Per sink of the configuration, what `by_number` has for it.
    pub(super) fn pick(&self, by_number: &[u64]) -> Vec<u64> {
        self.known.iter().map(|&number| by_number.get(number).copied().unwrap_or(0)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{NUMBERS, Sinks};
    use crate::serve::log::SinkSet;
    use crate::serve::log::ledger::Ledger;

    #[test]
    fn a_number_is_not_used_again_while_others_are_free() {
        let mut ledger = Ledger::new(&[], 0);
        let mut sinks = Sinks::default();
        sinks.square(&["keeps".to_owned()], 0, &mut ledger);
        let kept = sinks.number(0);
        let mut before = None;
        for round in 0..2 * NUMBERS {
            let gone = sinks.square(&[format!("sink {round}"), "keeps".to_owned()], 0, &mut ledger);
            assert_eq!(gone, round > 0);
            assert_eq!(sinks.number(1), kept);
            assert_ne!(sinks.number(0), kept);
            assert_ne!(sinks.number(0), before);
            before = sinks.number(0);
        }
        let both = SinkSet::default().with(0).with(1);
        assert_eq!(sinks.numbers(both).iter().count(), 2);
    }
}
