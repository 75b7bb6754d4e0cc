//! A real implementation of the Gateway API, for those who want one: Traefik, and the definitions that it was built with.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::archive;
use crate::cluster::Cluster;
use crate::progress::Progress;
use crate::tools::{Tool, Tools};

/// `localhost` says that it comes from nowhere: it is loaded, never pulled.
const IMAGE: &str = "localhost/signalbox-e2e/traefik:1";
/// The module with the definitions, and where in it those are that are stable.
const DEFINITIONS: (&str, &str) = ("sigs.k8s.io/gateway-api", "config/crd/standard");

impl Cluster {
    /// Builds Traefik if need be, makes its image known to every node, and has the cluster know the Gateway API. The
    /// name of the image.
    pub async fn gateway_api(&self) -> Result<&'static str> {
        let tools = Tools::new();
        tools.ensure(&[Tool::TRAEFIK], &Progress::new(false)).await?;
        let program = tools.program(&Tool::TRAEFIK)?;
        let archive = tokio::task::spawn_blocking(move || archive::of_program(IMAGE, &program)).await??;
        self.load_image(&archive).await?;
        let definitions = definitions(&tools).await?;
        let files: Vec<String> = definitions.iter().map(|path| format!("--filename={}", path.display())).collect();
        let apply = ["apply", "--server-side", "--force-conflicts"];
        let args: Vec<&str> = apply.iter().copied().chain(files.iter().map(String::as_str)).collect();
        self.kubectl(&args).await?;
        let wait = ["wait", "--for=condition=Established", "--timeout=60s"];
        let args: Vec<&str> = wait.iter().copied().chain(files.iter().map(String::as_str)).collect();
        self.kubectl(&args).await?;
        Ok(IMAGE)
    }
}

async fn definitions(tools: &Tools) -> Result<Vec<PathBuf>> {
    let (module, folder) = DEFINITIONS;
    let folder = tools.sources(&Tool::TRAEFIK, module).await?.join(folder);
    let entries = std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    anyhow::ensure!(!files.is_empty(), "there are no definitions in {}", folder.display());
    Ok(files)
}
