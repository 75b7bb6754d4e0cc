//! The last act: a region leaves the network and comes back, while events come.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use signalbox_cluster::{Cluster, Fault};
use signalbox_e2e::{Fleet, Load, LoadResult, LoadSpec, Scene, Sinks, breaker, eventually};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::steps::{FLEET, Steps};

/// Events a second meanwhile, and for how long.
const RATE: u64 = 200;
const SECONDS: u64 = 40;
/// The longest wait for anything.
const LIMIT: Duration = Duration::from_mins(2);

/// What became of it.
pub(crate) struct Loss {
    pub(crate) region: String,
    /// What happened, and when, from the moment that the region was cut off.
    pub(crate) events: Vec<(Duration, String)>,
    pub(crate) load: LoadResult,
    /// Events that were accepted and arrived nowhere.
    pub(crate) lost: u64,
    /// What `kubectl get ed --watch` said.
    pub(crate) watched: Vec<String>,
}

/// Times that fit a demo: a region that is well again is back in 20 s.
pub(crate) fn breaker_spec() -> Value {
    json!({"window": "5s", "baseTripTime": "5s", "maxTripTime": "30s", "rampPercents": [10, 50, 100]})
}

pub(crate) async fn play(
    steps: &mut Steps,
    cluster: &Cluster,
    scene: &Scene,
    fleet: &Fleet,
    sinks: &Sinks,
) -> Result<Loss> {
    let stays = scene.stage.leader_region(cluster).await?;
    let region = cluster.regions().into_iter().find(|region| *region != stays).context("there is one region only")?;
    let watch = Watch::start(cluster, &scene.namespace)?;
    let load = Load::start_with(scene, &LoadSpec::new(FLEET, RATE, RATE * SECONDS).from_region(&stays)).await?;
    load.sends().await?;

    let fault = cluster.inject(Fault::CutOff { region: &region }).await?;
    let begin = fault.began();
    let mut events = vec![(Duration::ZERO, format!("{region} is off the network"))];
    let told = reaches(fleet, &region, "Tripped", begin, &mut events).await?;
    steps.done("loss", format!("{region} is cut off: {told}"));
    // Long enough to see that the rest goes on.
    tokio::time::sleep(Duration::from_secs(3)).await;
    fault.mend().await?;
    events.push((begin.elapsed(), format!("{region} is on the network again")));
    reaches(fleet, &region, "Probing", begin, &mut events).await?;
    reaches(fleet, &region, "Serving", begin, &mut events).await?;
    steps.done("return", format!("{region} is back, step by step"));

    let sent = load.finish().await?;
    let refused = sent.sent - sent.accepted;
    let arrives = eventually("every event arrives", LIMIT, async || {
        let lost = sinks.receipts(&load.source, sent.sent).await?.lost;
        ensure!(lost <= refused, "{lost} have not arrived");
        Ok(Some(()))
    });
    let lost = match arrives.await {
        Ok(()) => 0,
        Err(_) => sinks.receipts(&load.source, sent.sent).await?.lost.saturating_sub(refused),
    };
    steps.done("meanwhile", format!("{} of {} events accepted, {lost} lost", sent.accepted, sent.sent));
    Ok(Loss { region, events, load: sent, lost, watched: watch.end().await? })
}

/// Waits until the region's breaker is there, and notes when, and what the status says of it.
async fn reaches(
    fleet: &Fleet,
    region: &str,
    phase: &str,
    begin: Instant,
    events: &mut Vec<(Duration, String)>,
) -> Result<String> {
    let what = format!("{region} is {phase}");
    let status = fleet.status_where(&what, LIMIT, |status| {
        let found = breaker(status, region)?;
        ensure!(found.phase == phase, "{}: {}", found.phase, found.message);
        Ok(())
    });
    let status = status.await?;
    let said = breaker(&status, region)?.message.clone();
    let line = if said.is_empty() { phase.to_owned() } else { format!("{phase}: {said}") };
    events.push((begin.elapsed(), line.clone()));
    Ok(line)
}

/// `kubectl get ed --watch`, as somebody would have it open beside.
struct Watch {
    child: Child,
}

impl Watch {
    fn start(cluster: &Cluster, namespace: &str) -> Result<Self> {
        let mut command = Command::new(cluster.kubectl_path());
        command.args(["get", "ed", "--watch", "--namespace", namespace]).envs(cluster.environment());
        let child = command.kill_on_drop(true).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        Ok(Self { child })
    }

    /// Ends it; what it has said so far, but for lines that differ in their backlog and age only.
    async fn end(mut self) -> Result<Vec<String>> {
        let stdout = self.child.stdout.take().context("kubectl has no output")?;
        self.child.start_kill()?;
        let mut lines = BufReader::new(stdout).lines();
        let mut said: Vec<String> = Vec::new();
        while let Some(line) = lines.next_line().await? {
            if said.last().is_none_or(|last| what_it_says(last) != what_it_says(&line)) {
                said.push(line);
            }
        }
        Ok(said)
    }
}

/// The columns of a line without the backlog, which is the fifth, and the age, which is the last.
fn what_it_says(line: &str) -> Vec<&str> {
    const BACKLOG: usize = 4;
    let mut columns: Vec<&str> = line.split_whitespace().collect();
    columns.pop();
    if columns.len() > BACKLOG {
        columns.remove(BACKLOG);
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::what_it_says;

    #[test]
    fn lines_that_differ_in_their_backlog_and_age_only_are_the_same() {
        let line = what_it_says("orders   True   2/2   4/4   3   0 tripped   12s");
        assert_eq!(line, what_it_says("orders   True   2/2   4/4   12   0 tripped   1m4s"));
        assert_ne!(line, what_it_says("orders   True   2/2   4/4   3   1 tripped   12s"));
    }
}
