//! What is done to the sink and to the network while somebody sends.

use std::time::{Duration, Instant};

use anyhow::Result;
use signalbox_cluster::{Cluster, Fault};
use signalbox_e2e::Sinks;

/// Once in so long the sink has a bad moment of each kind.
const PERIOD: Duration = Duration::from_secs(15);
/// How long the sink is slow in each, and how slow.
const SLOW: (Duration, &str) = (Duration::from_secs(3), r#"{"delayMs": 500}"#);

/// What goes wrong.
#[derive(Clone, Debug)]
pub(crate) enum Trouble {
    /// The sink is slow for three seconds in fifteen, and fails for a moment in fifteen seconds.
    Moments {
        /// How long it fails.
        fail: Duration,
    },
    /// A region is off the network, from a third to two thirds of the time.
    LostRegion {
        /// Which.
        region: String,
    },
    /// The sink takes longer and longer for each event.
    Slower,
}

impl Trouble {
    pub(crate) fn what(&self) -> &'static str {
        match self {
            Self::Moments { .. } => "a sink with bad moments",
            Self::LostRegion { .. } => "a region is lost and comes back",
            Self::Slower => "a sink that becomes slower",
        }
    }

    /// Goes on for so long, and ends with everything as it was.
    pub(crate) async fn play(&self, cluster: &Cluster, sinks: &Sinks, begin: Instant, total: Duration) -> Result<()> {
        let end = begin + total;
        match self {
            Self::Moments { fail } => {
                let mut next = begin + Duration::from_secs(3);
                while next + PERIOD <= end {
                    until(next).await;
                    sinks.behave(SLOW.1).await?;
                    until(next + SLOW.0).await;
                    sinks.behave("{}").await?;
                    until(next + Duration::from_secs(8)).await;
                    if !fail.is_zero() {
                        sinks.behave(r#"{"status": 500, "failRatio": 1}"#).await?;
                        tokio::time::sleep(*fail).await;
                        sinks.behave("{}").await?;
                    }
                    next += PERIOD;
                }
            }
            Self::LostRegion { region } => {
                until(begin + total / 3).await;
                let fault = cluster.inject(Fault::CutOff { region }).await?;
                until(begin + total * 2 / 3).await;
                fault.mend().await?;
            }
            Self::Slower => {
                let steps = [50, 100, 200, 300, 400, 500, 600, 800];
                for (step, delay) in (0..).zip(steps) {
                    until(begin + total * step / 8).await;
                    sinks.behave(&format!(r#"{{"delayMs": {delay}}}"#)).await?;
                }
                until(end).await;
                sinks.behave("{}").await?;
            }
        }
        until(end).await;
        Ok(())
    }
}

async fn until(time: Instant) {
    tokio::time::sleep_until(time.into()).await;
}
