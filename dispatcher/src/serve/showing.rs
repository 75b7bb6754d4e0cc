//! What one sink's task shows of its flow, to metrics and report: only what has changed, because it is asked after
//! every attempt. May import `flow`, `lanes`' outlook, `log`'s ids and `metrics`.

use std::time::Instant;

use super::flow::{Flow, Standing};
use super::lanes::Outlook;
use super::log::SinkId;
use super::metrics::Metrics;

/// What was shown last.
pub(super) struct Showing {
    metrics: Metrics,
    sink: SinkId,
    standing: Option<Standing>,
    outlook: Outlook,
    limited_from: Option<Instant>,
}

impl Showing {
    /// Nothing was shown yet.
    pub(super) fn new(metrics: Metrics, sink: SinkId) -> Self {
        Self { metrics, sink, standing: None, outlook: Outlook::default(), limited_from: None }
    }

    /// Shows where the flow is, after it was asked for all that it had to send.
    pub(super) fn show(&mut self, flow: &Flow, now: Instant) {
        let standing = flow.standing();
        if self.standing != Some(standing) {
            self.metrics.standing(self.sink, &standing);
            self.standing = Some(standing);
        }
        let outlook = flow.outlook();
        if self.outlook != outlook {
            self.metrics.outlook(self.sink, outlook);
            self.outlook = outlook;
        }
        let limited_from = flow.limited_from(now);
        let is = |from: Option<Instant>| from.is_some_and(|from| from <= now);
        // What goes on being so is the usual case.
        let same = limited_from == self.limited_from || is(limited_from) && is(self.limited_from);
        if !same {
            self.metrics.limited(self.sink, limited_from, now);
        }
        self.limited_from = limited_from;
    }
}
