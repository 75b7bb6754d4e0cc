//! Where a cluster's files are: one directory per name, and nothing of it elsewhere.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Holds the directories of clusters made by root. A node's sockets are in it, and their paths must be short.
const SYSTEM_ROOT: &str = "/var/lib/signalbox-e2e";

/// The files of the cluster of one name.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    root: PathBuf,
    name: String,
}

impl Place {
    /// `/var/lib/signalbox-e2e/<name>` for root; for others, who can only use kind, a directory of the cache.
    pub(crate) fn of(name: &str) -> Self {
        let root = if rustix::process::geteuid().is_root() { SYSTEM_ROOT.into() } else { cache_dir().join("clusters") };
        Self { root, name: name.to_owned() }
    }

    #[cfg(test)]
    pub(crate) fn under(root: &Path, name: &str) -> Self {
        Self { root: root.to_owned(), name: name.to_owned() }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Holds all clusters of this user.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Removed as a whole when the cluster is taken down.
    pub(crate) fn dir(&self) -> PathBuf {
        self.root.join(&self.name)
    }

    /// Beside the directory, not in it: it outlives a clean-up.
    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join(format!("{}.lock", self.name))
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.dir().join("kubeconfig")
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.dir().join("logs")
    }

    pub(crate) fn create(&self) -> Result<()> {
        std::fs::create_dir_all(self.dir()).with_context(|| format!("cannot create {}", self.dir().display()))
    }
}

/// `${SIGNALBOX_CACHE:-${XDG_CACHE_HOME:-~/.cache}/signalbox}`: what is worth keeping between runs.
pub(crate) fn cache_dir() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("SIGNALBOX_CACHE").unwrap_or_else(|| {
        let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
        base.unwrap_or_else(std::env::temp_dir).join("signalbox")
    })
}
