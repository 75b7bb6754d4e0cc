//! The disk by itself, and a server that does nothing.

use std::time::Duration;

use anyhow::Result;

use crate::figure::Figure;
use crate::lab::{Lab, each};
use crate::raw;

const SCENARIO: &str = "raw";

pub(crate) async fn run(lab: &Lab) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for kib in [1, 4, 16, 64] {
        let times = raw::sync_times(&lab.dir, kib * 1024, Duration::from_secs(lab.seconds.div_ceil(4))).await?;
        let name = |quantile| format!("pwrite and fdatasync of {kib} KiB, {quantile}");
        figures.push(Figure::new(SCENARIO, name("p50"), times.p50_ms, "ms"));
        figures.push(Figure::new(SCENARIO, name("p99"), times.p99_ms, "ms"));
    }
    let bare = bare(lab, lab.seconds).await?;
    figures.push(Figure::new(SCENARIO, "bare server, requests", bare.rate, "/s"));
    figures.push(Figure::new(SCENARIO, "bare server, CPU per request", bare.cpu_us, "us"));
    figures.push(Figure::new(SCENARIO, "generator, CPU per request", bare.generator_us, "us"));
    Ok(figures)
}

/// What a server that stores nothing does with the same requests.
pub(super) struct Bare {
    pub(super) rate: f64,
    pub(super) cpu_us: f64,
    pub(super) generator_us: f64,
}

pub(super) async fn bare(lab: &Lab, seconds: u64) -> Result<Bare> {
    let (process, address) = raw::bare_server(&lab.dir, false).await?;
    lab.full_speed(&address, 1, &[]).await?;
    let before = process.cpu()?;
    let loaded = lab.full_speed(&address, seconds, &[]).await?;
    Ok(Bare {
        rate: loaded.achieved_rate,
        cpu_us: each(process.cpu_since(before)?, loaded.accepted),
        generator_us: each(loaded.cpu, loaded.accepted),
    })
}
