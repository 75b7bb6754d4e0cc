//! What was given up on and is kept. May import the counts of `dead_letters`.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{Metrics, int};
use crate::serve::dead_letters::{Reason, Totals};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LetterLabel {
    sink: String,
    reason: Reason,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SinkLabel {
    sink: String,
}

pub(super) struct DeadLetterMetrics {
    letters: Family<LetterLabel, Gauge>,
    bytes: Gauge,
    limit: Gauge,
    replayed: Family<SinkLabel, Counter>,
}

impl DeadLetterMetrics {
    pub(super) fn register(registry: &mut Registry, sinks: &[String]) -> Self {
        let letters = Family::<LetterLabel, Gauge>::default();
        registry.register("dead_letters", "Events that were given up on and are kept", letters.clone());
        let bytes = Gauge::default();
        registry.register("dead_letter_bytes", "What dead letters take of their limit", bytes.clone());
        let limit = Gauge::default();
        registry.register("dead_letter_limit_bytes", "What dead letters may take", limit.clone());
        let replayed = Family::<SinkLabel, Counter>::default();
        registry.register("dead_letters_replayed", "Dead letters that are in the log again", replayed.clone());
        for sink in sinks {
            let _ = replayed.get_or_create(&SinkLabel { sink: sink.clone() });
            for reason in Reason::ALL {
                let _ = letters.get_or_create(&LetterLabel { sink: sink.clone(), reason });
            }
        }
        Self { letters, bytes, limit, replayed }
    }
}

impl Metrics {
    /// Takes over what the store of dead letters says of itself.
    pub(in crate::serve) fn dead_letters(&self, totals: &Totals, limit_bytes: u64) {
        let metrics = &self.0.dead_letters;
        for (sink, reason, count) in totals.iter() {
            let label = LetterLabel { sink: sink.to_owned(), reason };
            metrics.letters.get_or_create(&label).set(int(count.letters));
        }
        metrics.bytes.set(int(totals.bytes()));
        metrics.limit.set(int(limit_bytes));
    }

    /// A letter of this sink is in the log again.
    pub(in crate::serve) fn replayed(&self, sink: &str) {
        self.0.dead_letters.replayed.get_or_create(&SinkLabel { sink: sink.to_owned() }).inc();
    }
}
