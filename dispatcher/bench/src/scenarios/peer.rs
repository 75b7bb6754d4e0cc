//! nats-server with a file stream, fed through its own client, beside the dispatcher: the same payload, the same
//! connections, one message in flight on each.

use anyhow::Result;

use super::ingest::ingest;
use crate::figure::Figure;
use crate::lab::{Lab, Loaded, each};
use crate::nats::{self, Programs, Sync};

const SCENARIO: &str = "peer";

/// What the peer did.
struct Published {
    loaded: Loaded,
    cpu_us: f64,
}

pub(crate) async fn run(lab: &Lab) -> Result<Vec<Figure>> {
    let programs = tokio::task::spawn_blocking(nats::build).await??;
    let ours = ingest(lab, lab.seconds, &[]).await?;
    let always = publish(lab, &programs, Sync::Always).await?;
    let default = publish(lab, &programs, Sync::Default).await?;
    let figure = |what, unit, of: &dyn Fn(&Loaded, f64) -> f64| {
        Figure::new(SCENARIO, what, of(&ours.loaded, ours.cpu_us), unit)
            .beside("nats-server, fsync always", of(&always.loaded, always.cpu_us))
            .beside("nats-server, fsync every 2 min", of(&default.loaded, default.cpu_us))
    };
    Ok(vec![
        figure("events", "/s", &|loaded, _| loaded.achieved_rate),
        figure("server, CPU per event", "us", &|_, cpu_us| cpu_us),
        figure("generator, CPU per event", "us", &|loaded, _| each(loaded.cpu, loaded.accepted)),
        figure("acknowledged at full speed, p50", "ms", &|loaded, _| loaded.latency_ms.p50),
        figure("acknowledged at full speed, p99", "ms", &|loaded, _| loaded.latency_ms.p99),
    ])
}

async fn publish(lab: &Lab, programs: &Programs, sync: Sync) -> Result<Published> {
    let server = programs.server(&lab.dir, sync).await?;
    programs.publish(lab, &server, 1, 0.0).await?;
    let cpu = server.process.cpu()?;
    let loaded = programs.publish(lab, &server, lab.seconds, 0.0).await?;
    let cpu_us = each(server.process.cpu_since(cpu)?, loaded.accepted);
    Ok(Published { loaded, cpu_us })
}
