//! The API server, the leader or the name servers are away: traffic goes on as it was, and nobody writes who does not lead.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use signalbox_cluster::Fault;
use signalbox_e2e::{Load, LoadSpec, NAMESPACE, breaker, eventually, writes};

use super::{LIMIT, RATE, all_arrive, note, pair, quick, serve};
use crate::theatre::Act;

/// Nothing is known of anybody then, and so nothing is done.
pub(crate) async fn api_server(act: Act) -> Result<()> {
    let two = pair(act, 1, quick()).await?;
    let load = two.load(RATE, 40).await?;
    let fault = two.cluster.inject(Fault::ApiServerStopped).await?;
    tokio::time::sleep(Duration::from_secs(20)).await;
    fault.mend().await?;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(15) {
        let Ok(status) = two.fleet.status_where("there is a status", LIMIT, |_| Ok(())).await else { continue };
        for region in [&two.stays, &two.fails] {
            let found = breaker(&status, region)?;
            ensure!(found.phase == "Serving", "{region}: {} {} {}", found.phase, found.reason, found.message);
        }
        ensure!(
            status.decisions.iter().all(|decision| decision.what != "Breaker"),
            "something was decided meanwhile: {:?}",
            status.decisions
        );
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let sent = all_arrive(&two, &load, 0).await?;
    ensure!(sent.errors.is_empty() && sent.rejected.is_empty(), "producers noticed: {sent:?}");
    two.fleet.ready().await.map(drop)
}

/// Who is connected stays so, and regions are asked at addresses.
pub(crate) async fn name_servers(act: Act) -> Result<()> {
    let two = pair(act, 1, quick()).await?;
    // Producers that keep their connections for as long as shards let them: 30 to 60 s. Then they find nobody by name, and try on.
    let mut spec = LoadSpec::new("orders", RATE, RATE * 45).from_region(&two.stays);
    spec.reconnect_every = u64::from(u32::MAX);
    let load = Load::start_with(&two.scene, &spec).await?;
    eventually("every producer has a connection", LIMIT, async || {
        let arrived = two.sinks.receipts(&load.source, spec.count).await?.unique;
        Ok((arrived >= 4 * RATE).then_some(()))
    })
    .await?;
    let fault = two.cluster.inject(Fault::NameServersStopped).await?;
    let both = [&two.stays, &two.fails];
    let mut before = Vec::new();
    for region in both {
        before.push(two.sinks.tally(region).await?.received);
    }
    serve(&two, &both, Duration::from_secs(30)).await?;
    for (region, before) in both.into_iter().zip(before) {
        let received = two.sinks.tally(region).await?.received - before;
        note(&format!("{received} events arrived in {region} without a name server"));
        ensure!(received > RATE, "{received} events arrived in {region} within 30 s");
    }
    fault.mend().await?;
    let sent = all_arrive(&two, &load, 0).await?;
    let failed: u64 = sent.intervals.iter().filter(|part| part.second < 29.0).map(|part| part.failed).sum();
    ensure!(failed == 0 && sent.rejected.is_empty(), "producers that were connected noticed: {sent:?}");
    Ok(())
}

/// A leader that stood still for half a minute is not the leader any more, and must have noticed before it writes.
pub(crate) async fn stopped_leader(act: Act) -> Result<()> {
    let log = act.cluster.audit_log().context("this cluster keeps no audit log that can be read")?.to_owned();
    let two = pair(act, 1, quick()).await?;
    let leader = two.scene.stage.leader().await?;
    let stopped = Fault::Stopped { namespace: NAMESPACE, pod: &leader, container: "operator" };
    let fault = two.cluster.inject(stopped).await?;
    let began = fault.began();
    // What it had asked before is not meant.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let since = writes::Since::now(&log)?;
    eventually("another replica leads", LIMIT, async || Ok((two.scene.stage.leader().await? != leader).then_some(())))
        .await?;
    note(&format!("another replica led {:.1} s after the leader stopped", began.elapsed().as_secs_f64()));
    // What both would want to write at once.
    two.sinks.behave_in(&two.fails, r#"{"status": 500, "failRatio": 1}"#).await?;
    let load = two.load(RATE, 30).await?;
    tokio::time::sleep(Duration::from_secs(30).saturating_sub(began.elapsed())).await;
    fault.mend().await?;
    two.fleet.breaker(&two.fails, "Tripped", LIMIT).await?;
    two.sinks.behave_in(&two.fails, "{}").await?;
    two.fleet.breaker(&two.fails, "Serving", LIMIT).await?;
    all_arrive(&two, &load, 0).await?;

    let written: Vec<_> = since.requests()?.into_iter().filter(writes::Request::is_write).collect();
    let by = |pod: &str| written.iter().filter(|request| request.pod == pod && request.code < 300).collect::<Vec<_>>();
    let now = two.scene.stage.leader().await?;
    ensure!(!by(&now).is_empty(), "the audit log does not show who writes: {written:?}");
    // The one write that it may have had under way when it was stopped.
    let (leases, others): (Vec<_>, Vec<_>) =
        by(&leader).into_iter().partition(|request| request.object.contains("leases/"));
    ensure!(others.is_empty() && leases.len() <= 1, "who does not lead wrote: {leases:?} {others:?}");
    Ok(())
}
