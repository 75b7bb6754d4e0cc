//! The life of the process in four phases, and how it ends.
//!
//! ```text
//! Recovering --log open--> Serving --SIGTERM--> Draining --backlog empty or DRAIN_TIME--> Finishing --> exit 0
//!                                                new events: 503       no new attempts; those in flight end,
//!                                                deliveries go on      or are abandoned after FINISH_TIME
//! ```
//!
//! An abandoned attempt may have arrived; its event is delivered again by the next process: at least once. A
//! second signal ends the drain at once. The process may be PID 1 of its container, for which a signal without a
//! handler does nothing, so the handlers are in place before anything else starts. May import nothing.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// How long deliveries go on after the signal.
pub(super) const DRAIN_TIME: Duration = Duration::from_secs(2);

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
    /// Delivering, no longer accepting. Not ready.
    Draining,
    /// Ending.
    Finishing,
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
