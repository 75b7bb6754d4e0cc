//! The life of the process in five phases, and how it ends.
//!
//! ```text
//! Recovering --log open--> Serving --SIGTERM--> Leaving --LEAVE_TIME--> Draining --> Finishing --> exit 0
//!                                                not ready, but          new events: 503
//!                                                still accepting         until the backlog is empty, or DRAIN_TIME
//! ```
//!
//! Leaving is for those who are still sent here: a Service takes a moment to follow. A shard that takes part in routing
//! leaves a little longer, so that a table that takes its slots away finds it: where pods are taken away first, the table
//! comes after the signal. If it does, the shard leaves until all that it held is with others, or [`HAND_OVER_TIME`] is over.
//! And it leaves no sooner than producers do, within [`LINGER_TIME`]. Finishing makes no new attempts; those in flight end,
//! or are abandoned after [`FINISH_TIME`].
//!
//! An abandoned attempt may have arrived; its event is delivered again by the next process: at least once. A
//! second signal ends the drain at once. The process may be PID 1 of its container, for which a signal without a
//! handler does nothing, so the handlers are in place before anything else starts. May import nothing.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// How long events are still accepted after the signal: longer than an endpoint that is listed no more is in use.
pub(super) const LEAVE_TIME: Duration = Duration::from_secs(1);

/// The same, if a table may come that gives its slots to others.
pub(super) const TABLE_TIME: Duration = Duration::from_millis(1500);

/// A shard of a region goes on until no producer has sent anything for so long: who still sends has not heard yet that it
/// is listed no more.
pub(super) const QUIET_TIME: Duration = Duration::from_millis(500);

/// But no longer than this.
pub(super) const LINGER_TIME: Duration = Duration::from_secs(8);

/// How long a shard that owns no slots any more may take to hand over what it holds. With all that follows it is within
/// the 60 seconds that a pod has.
pub(super) const HAND_OVER_TIME: Duration = Duration::from_secs(45);

/// How long a shard that holds nothing any more is still there, to say so to those who have not heard.
pub(super) const FAREWELL_TIME: Duration = Duration::from_millis(1500);

/// How long deliveries then go on.
pub(super) const DRAIN_TIME: Duration = Duration::from_millis(1500);

/// How long attempts in flight, and requests whose event is being stored, may then still take.
pub(super) const FINISH_TIME: Duration = Duration::from_secs(1);

/// How long making the last settlements durable may take.
pub(super) const CLOSE_TIME: Duration = Duration::from_secs(1);

/// Where the process is in its life. Only moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Reading the log. Not ready.
    Recovering,
    /// Accepting and delivering. Ready.
    Serving,
    /// Accepting and delivering for those who do not know yet. Not ready.
    Leaving,
    /// Delivering, no longer accepting. Not ready.
    Draining,
    /// Ending.
    Finishing,
}

impl Phase {
    /// Whether events are accepted.
    pub(super) fn accepts(self) -> bool {
        matches!(self, Self::Serving | Self::Leaving)
    }
}

/// SIGTERM and SIGINT.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Installs the handlers.
    pub(super) fn install() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The next of them, by name.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Phase;

    #[test]
    fn a_shard_that_leaves_still_accepts_and_one_that_drains_does_not() {
        let accepting = [Phase::Recovering, Phase::Serving, Phase::Leaving, Phase::Draining, Phase::Finishing];
        assert_eq!(accepting.map(Phase::accepts), [false, true, true, false, false]);
    }
}
