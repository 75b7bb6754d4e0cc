//! Memory when idle and with a big backlog, and how soon a killed shard is ready with it.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::figure::Figure;
use crate::lab::{Lab, Shard};

const SCENARIO: &str = "backlog";

/// Events of one request while the backlog is filled.
const BATCH: u64 = 100;

pub(crate) async fn run(lab: &Lab) -> Result<Vec<Figure>> {
    let (mut shard, _sink) = lab.ingesting().await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let idle = shard.process.resident()?;
    let (accepted, peak) = fill(lab, &shard).await?;
    let (resident, anonymous) = (shard.process.resident()?, shard.process.anonymous()?);
    let ready = shard.crash_and_restart().await?;
    let report = shard.report().await?;
    let found = report["backlogEvents"].as_u64();
    ensure!(found >= Some(accepted), "{accepted} were accepted, and the restart found fewer: {report}");
    let recovered = shard.process.resident()?;
    let events = format!("{} events of {} bytes", lab.events, lab.event_size);
    Ok(vec![
        Figure::new(SCENARIO, "memory when idle", idle, "MiB").at_most(40.0),
        Figure::new(SCENARIO, format!("memory with {events}"), resident, "MiB")
            .at_most(250.0)
            .beside("without pages of files", anonymous)
            .beside("the most while they came", peak),
        Figure::new(SCENARIO, "memory after a restart with them", recovered, "MiB").at_most(250.0),
        Figure::new(SCENARIO, "kill -9 to ready with them", ready.as_secs_f64(), "s").at_most(2.0),
    ])
}

/// Fills the backlog; gives the events in it, and the most memory that was seen meanwhile.
async fn fill(lab: &Lab, shard: &Shard) -> Result<(u64, f64)> {
    let (count, size, batch) = (lab.events.to_string(), lab.event_size.to_string(), BATCH.to_string());
    let flags = ["--rate", "0", "--count", &count, "--size", &size, "--keys", "10000", "--batch", &batch];
    let load = lab.load(&shard.listen, &flags);
    let (loaded, peak) = watch(shard, load).await?;
    loaded.whole(lab)?;
    Ok((loaded.accepted, peak))
}

/// Does something, and gives the most memory that the shard had meanwhile.
pub(super) async fn watch<T>(shard: &Shard, what: impl Future<Output = Result<T>>) -> Result<(T, f64)> {
    let mut what = std::pin::pin!(what);
    let mut peak: f64 = 0.0;
    loop {
        tokio::select! {
            done = &mut what => return Ok((done?, peak)),
            () = tokio::time::sleep(Duration::from_millis(50)) => peak = peak.max(shard.process.resident()?),
        }
    }
}
