//! Spans that nobody will see. May import nothing of this crate.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use super::Metrics;

pub(super) struct TraceMetrics {
    dropped: Counter,
}

impl TraceMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let dropped = Counter::default();
        let help = "Spans that were not written, because they came too fast or the file failed";
        registry.register("spans_dropped", help, dropped.clone());
        Self { dropped }
    }
}

impl Metrics {
    /// So many spans were not written.
    pub(in crate::serve) fn spans_dropped(&self, spans: u64) {
        self.0.traces.dropped.inc_by(spans);
    }
}
