//! Fleets in which nothing happens cost the API server nothing.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use signalbox_e2e::{Fleet, FleetSpec, Sinks, writes};

use crate::theatre::Act;

const FLEETS: usize = 20;
/// For how long nothing may happen. `SIGNALBOX_E2E_IDLE_SECONDS` shortens it for a quick try.
const IDLE: Duration = Duration::from_mins(5);

pub(crate) async fn story(act: Act) -> Result<()> {
    let Act { scene, cluster, regions, .. } = act;
    let log = cluster.audit_log().context("this cluster keeps no audit log that can be read")?;
    let sinks = Sinks::start(&scene, "fulfilment", &regions).await?;
    let mut fleets = Vec::new();
    for number in 0..FLEETS {
        // Alternating, so that both regions have some: what matters here is their number.
        let region = regions[number % regions.len()].clone();
        let spec = FleetSpec::new(&format!("idle-{number}"), &[region], 1, &sinks);
        fleets.push(Fleet::apply(&scene, &spec).await?);
    }
    for fleet in &fleets {
        fleet.known().await?;
    }

    let since = writes::Since::now(log)?;
    let seconds = std::env::var("SIGNALBOX_E2E_IDLE_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    // The one story that is about time passing.
    tokio::time::sleep(seconds.map_or(IDLE, Duration::from_secs)).await;

    let requests = since.requests()?;
    ensure!(
        requests.iter().any(|request| request.object.contains("leases/")),
        "the audit log shows no request for the Lease, so it would not show others: {requests:?}"
    );
    let unwanted: Vec<_> = requests
        .iter()
        .filter(|request| request.verb == "list" || (request.is_write() && !request.object.contains("leases/")))
        .collect();
    ensure!(unwanted.is_empty(), "{unwanted:#?}");
    Ok(())
}
