//! People's orders, each with its end: a region that is drained, one that is held, and a drill.

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use signalbox_e2e::{Pair, breaker};

use super::{LIMIT, RATE, all_arrive, pair, quick};
use crate::theatre::Act;

pub(crate) async fn story(act: Act) -> Result<()> {
    let two = pair(act, 1, quick()).await?;
    let load = two.load(RATE, 75).await?;

    two.fleet.order(&format!("drain-{}", two.fails), Some(&until(120)?)).await?;
    is(&two, "Tripped", "Drained").await?;
    // Taken back, and it comes back by itself.
    two.fleet.order(&format!("drain-{}", two.fails), None).await?;
    two.fleet.breaker(&two.fails, "Serving", LIMIT).await?;

    two.fleet.order(&format!("hold-{}", two.fails), Some(&format!("Probing 25 {}", until(5)?))).await?;
    let held = two.fleet.status_where("it is held at 25 %", LIMIT, |status| {
        let found = breaker(status, &two.fails)?;
        ensure!(found.phase == "Probing" && found.percent == Some(25), "{found:?}");
        Ok(())
    });
    held.await?;
    // This one ends by its own time.
    two.fleet.breaker(&two.fails, "Serving", LIMIT).await?;
    all_arrive(&two, &load, 0).await.map(drop)
}

pub(crate) async fn drill(act: Act) -> Result<()> {
    let two = pair(act, 1, quick()).await?;
    let load = two.load(RATE, 60).await?;
    two.fleet.order(&format!("drill-{}", two.fails), Some(&until(20)?)).await?;
    is(&two, "Tripped", "Drill").await?;
    let ended = two.fleet.status_where("the drill has an outcome", LIMIT, |status| {
        let drill = status.drill.as_ref().context("there is no drill in the status")?;
        ensure!(drill.region == two.fails && drill.outcome != "Running" && drill.ended_at.is_some(), "{drill:?}");
        Ok(())
    });
    let drill = ended.await?.drill.context("there is no drill in the status")?;
    ensure!(drill.outcome == "Survived" && drill.refused == 0, "{drill:?}");
    two.fleet.says("SurvivesRegionLoss", "True", "Survived", &[&two.fails]).await?;
    two.fleet.breaker(&two.fails, "Serving", LIMIT).await?;
    let sent = all_arrive(&two, &load, 0).await?;
    ensure!(sent.is_undisturbed(), "producers noticed: {sent:?}");
    Ok(())
}

async fn is(two: &Pair, phase: &str, cause: &str) -> Result<()> {
    two.fleet
        .status_where(&format!("{} is {phase}, {cause}", two.fails), LIMIT, |status| {
            let found = breaker(status, &two.fails)?;
            ensure!(found.phase == phase && found.cause.as_deref() == Some(cause), "{found:?}");
            Ok(())
        })
        .await
        .map(drop)
}

/// An order's end, so many seconds from now.
fn until(seconds: i64) -> Result<String> {
    let now = Timestamp::from_second(Timestamp::now().as_second())?;
    Ok(format!("until {}", now.checked_add(jiff::Span::new().seconds(seconds))?))
}
