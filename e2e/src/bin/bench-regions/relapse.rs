//! A region that comes back, and fails again on the way.
//!
//! ```text
//! fails -> Tripped -> well -> 10 % -> 25 % -> ... step k -> [what arrives where] -> fails -> [what fails] -> Tripped -> well
//! ```

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use signalbox_e2e::Pair;

use crate::page::{Injection, Relapse};
use crate::parts::{FAILS, LIMIT, seen_within, trips_within};

/// The parts of its share with which the region comes back, in percent. Each relapse is at the next of them.
pub(crate) const RAMP: [u32; STEPS as usize] = [10, 25, 50, 100];
const STEPS: u32 = 4;
/// The shortest time that a step takes: the window that the spec asks for.
const STEP_SECONDS: u64 = 5;
/// From when the status says a step until it is counted what arrives: the shards have heard of the step by then.
const HEARD: Duration = Duration::from_millis(500);
/// For how long that is counted. The step is not over before.
const COUNTED: Duration = Duration::from_secs(3);

/// One relapse, at the step whose turn it is.
pub(crate) async fn inject(pair: &Pair, rate: u64, number: u32) -> Result<Injection> {
    let steps = (number.max(1) - 1) % STEPS;
    let percent = RAMP[steps as usize];
    // Two times until Tripped, and each step before this one.
    let load = pair.load(rate, 30 + u64::from(steps) * (STEP_SECONDS + 2)).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    pair.sinks.behave_in(&pair.fails, FAILS).await?;
    let first = trips_within(pair, Instant::now(), LIMIT).await;
    pair.sinks.behave_in(&pair.fails, "{}").await?;
    first?.context("a sink that fails trips nothing")?;

    until_step(pair, percent).await?;
    tokio::time::sleep(HEARD).await;
    let before = arrived(pair).await?;
    tokio::time::sleep(COUNTED).await;
    let after = arrived(pair).await?;
    let begin = Instant::now();
    pair.sinks.behave_in(&pair.fails, FAILS).await?;
    let again = trips_within(pair, begin, LIMIT).await;
    let failed = pair.sinks.tally(&pair.fails).await?.failed_on_purpose - after.failed;
    pair.sinks.behave_in(&pair.fails, "{}").await?;

    let sent = pair.all_arrive(&load, LIMIT).await?;
    let share = f64::from(percent) / (100.0 + f64::from(percent));
    let (had, elsewhere) = (after.there - before.there, after.elsewhere - before.elsewhere);
    let traffic = share * f64::from(u32::try_from(rate * STEP_SECONDS)?);
    let mut injection = Injection::of(again?, &sent);
    injection.relapse = Some(Relapse { percent, share: share * 100.0, had, of: had + elsewhere, failed, traffic });
    Ok(injection)
}

/// Waits until the region has this part of its share.
async fn until_step(pair: &Pair, percent: u32) -> Result<()> {
    let seen = seen_within(pair, Instant::now(), LIMIT, |found| {
        found.phase == "Probing" && found.percent.and_then(|found| u32::try_from(found).ok()) == Some(percent)
    });
    seen.await?.map(drop).with_context(|| format!("it never had {percent} %"))
}

/// What the sinks have counted.
struct Arrived {
    there: u64,
    failed: u64,
    elsewhere: u64,
}

async fn arrived(pair: &Pair) -> Result<Arrived> {
    let (there, elsewhere) = tokio::try_join!(pair.sinks.tally(&pair.fails), pair.sinks.tally(&pair.stays))?;
    Ok(Arrived { there: there.received, failed: there.failed_on_purpose, elsewhere: elsewhere.received })
}
