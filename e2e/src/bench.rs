//! What measurements on a cluster have in common: it comes up, it is measured on, it goes again, and the figures are told.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use serde::Serialize;
use signalbox_cluster::{Cluster, ClusterError, Options};

/// Progress.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// How the process of `command` ends.
pub fn ended(command: &str, result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(&format!("{command}: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Measures on a cluster, and takes it down afterwards, also when somebody interrupts: unless it was up before, or is to be
/// kept.
pub async fn on_a_cluster<T>(keep: bool, measure: impl AsyncFnOnce(&Arc<Cluster>) -> Result<T>) -> Result<T> {
    let cluster = match Cluster::up(&Options::from_env()).await {
        Ok(cluster) => Arc::new(cluster),
        Err(ClusterError::Unavailable(why)) => anyhow::bail!("{why}"),
        Err(ClusterError::Failed(error)) => return Err(error.context("the cluster did not come up")),
    };
    let measured = tokio::select! {
        measured = measure(&cluster) => measured,
        stop = tokio::signal::ctrl_c() => stop.map_err(Into::into).and(Err(anyhow::anyhow!("interrupted"))),
    };
    if !keep && !cluster.was_reused() {
        let cluster = Arc::into_inner(cluster).context("somebody still holds the cluster")?;
        cluster.down().await.context("taking the cluster down")?;
    }
    measured
}

/// Writes all figures to the file, if there is to be one, and prints the page.
pub fn publish(measured: &impl Serialize, json: Option<&Path>, page: &str) -> Result<()> {
    if let Some(path) = json {
        let json = serde_json::to_string_pretty(measured)?;
        std::fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    std::io::stdout().write_all(page.as_bytes())?;
    Ok(())
}
