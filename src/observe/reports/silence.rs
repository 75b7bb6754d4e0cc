//! What is done while a shard's reports are missing: its events port is asked, and its fleet is looked at when it counts.
//!
//! ```text
//! last report   1.2 s: ask, and every 500 ms   2 s: two are missing      10 s: the last one stands no more
//!      |--------------|--------------------------|-------------- ... -------|------------->
//!                      silent or not -> poke      said -> poke
//! ```
//!
//! It runs beside the connection and does not touch it. A connection that hangs is given up later than two reports are
//! missing, and a region that is cut off is to be known at once.

use std::time::Duration;

use super::kept::{Kept, QUIET};
use super::{Means, Shard, port};

/// Events ports that are asked at once.
pub(super) const CONCURRENCY: usize = 256;
/// Between two looks at a shard that is silent.
const TICK: Duration = Duration::from_millis(100);
/// Between two questions to a port, from the beginning of one to that of the next.
const GAP: Duration = Duration::from_millis(500);
/// After such a silence, it is asked less often.
const LONG: Duration = Duration::from_secs(30);
/// So often.
const LONG_GAP: Duration = Duration::from_secs(2);

impl Means {
    /// Watches over the silence of one shard, for ever.
    pub(super) async fn watch(&self, shard: &Shard) {
        tokio::join!(self.pass_time(shard), self.ask_port(shard));
    }

    /// Lets time pass: that reports are missing is said when it is so.
    async fn pass_time(&self, shard: &Shard) {
        loop {
            let now = self.reports.now();
            self.look(shard, |kept| kept.pass(now));
            tokio::time::sleep(self.until_quiet(shard).max(TICK)).await;
        }
    }

    /// Asks its events port, for as long as it is silent.
    async fn ask_port(&self, shard: &Shard) {
        let mut answered = None;
        loop {
            let wait = self.until_quiet(shard);
            if wait > Duration::ZERO {
                answered = None;
                tokio::time::sleep(wait.max(TICK)).await;
                continue;
            }
            let asked = self.reports.now();
            let answer = {
                // Never closed.
                let _place = self.asks.acquire().await;
                port::ask(&shard.ip, shard.events).await
            };
            let now = self.reports.now();
            if let Some(silent) = self.look(shard, |kept| {
                kept.asked(answer.is_ok(), asked, now);
                kept.silent_for(now.at)
            }) {
                if answered != Some(answer.is_ok()) {
                    let (region, pod, port) = (&shard.region, &shard.ip, shard.events);
                    let why = answer.as_ref().err().map_or("it answers", String::as_str);
                    tracing::debug!(
                        fleet = shard.fleet,
                        region,
                        pod,
                        port,
                        why,
                        "reports are missing, events port asked"
                    );
                }
                answered = Some(answer.is_ok());
                let gap = if silent < LONG { GAP } else { LONG_GAP };
                tokio::time::sleep(gap.saturating_sub(now.at.saturating_sub(asked.at))).await;
            }
        }
    }

    /// How long it takes until a shard is silent that says nothing from now on. Zero: it is.
    fn until_quiet(&self, shard: &Shard) -> Duration {
        let at = self.reports.now().at;
        let silent = self.reports.lock().get(&shard.uid).map(|kept| kept.silent_for(at));
        // One that has not been heard yet, nor missed, is being connected to.
        QUIET.saturating_sub(silent.unwrap_or_default())
    }

    /// Looks at what is kept of a shard, if anything is, and pokes its fleet if what has changed matters.
    fn look<T>(&self, shard: &Shard, change: impl FnOnce(&mut Kept) -> T) -> Option<T> {
        let at = self.reports.now().at;
        let (result, matters) = {
            let mut by_pod = self.reports.lock();
            let kept = by_pod.get_mut(&shard.uid)?;
            (change(kept), kept.matters(at))
        };
        if matters {
            // A poke that nobody hears comes from a process that is ending.
            let _ = self.pokes.send(shard.poke.clone());
        }
        Some(result)
    }
}
