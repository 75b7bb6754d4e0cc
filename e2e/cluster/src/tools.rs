//! The programs a cluster consists of, built once from the pinned Go modules in `e2e/kubernetes`.
//!
//! What is built is kept outside the repository, in a directory named after everything that went into it
//! (module files, sources, flags): a changed pin is another directory, and nothing is ever out of date.

mod build;
mod key;

pub(crate) use key::hex;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::command;
use crate::place::cache_dir;
use crate::progress::Progress;

/// A program, or several in one file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tool {
    /// The directory in `e2e/kubernetes`, and the name of the file.
    module: &'static str,
    /// The name of the file that is built.
    name: &'static str,
    /// The package with the `main` function.
    package: &'static str,
    /// Linker flags that set the version, where a program shows or needs it.
    link: &'static str,
    /// Further names of the file: it does what its name says.
    names: &'static [&'static str],
    /// Minutes the first build takes on two processors, as people want to know before they wait.
    minutes: u32,
}

/// Kubernetes asks its own version of these variables; unset, clients refuse it.
const KUBERNETES_VERSION: &str = "-X k8s.io/component-base/version.gitVersion=v1.37.2 \
    -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37 \
    -X k8s.io/client-go/pkg/version.gitVersion=v1.37.2 \
    -X k8s.io/client-go/pkg/version.gitMajor=1 -X k8s.io/client-go/pkg/version.gitMinor=37";

impl Tool {
    /// All of Kubernetes, each command by its name.
    pub(crate) const KUBE: Tool = Tool {
        module: "kube",
        name: "kube",
        package: ".",
        link: KUBERNETES_VERSION,
        names: &["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"],
        minutes: 8,
    };
    /// `kubectl` alone, for clusters whose other parts come from elsewhere.
    pub(crate) const KUBECTL: Tool =
        Tool { name: "kubectl", package: "k8s.io/kubernetes/cmd/kubectl", names: &[], minutes: 2, ..Self::KUBE };
    pub(crate) const ETCD: Tool = Tool::named("etcd", "go.etcd.io/etcd/server/v3", 1);
    pub(crate) const COREDNS: Tool = Tool::named("coredns", ".", 2);
    pub(crate) const HELM: Tool = Tool::named("helm", "helm.sh/helm/v4/cmd/helm", 2);
    pub(crate) const KIND: Tool = Tool::named("kind", "sigs.k8s.io/kind", 1);
    /// An implementation of the Gateway API, for those who want one.
    pub(crate) const TRAEFIK: Tool = Tool::named("traefik", "github.com/traefik/traefik/v3/cmd/traefik", 8);
    /// Holds a pod's namespaces.
    pub(crate) const PAUSE: Tool = Tool::named("pause", ".", 1);
    /// Makes the volumes of claims.
    pub(crate) const VOLUMES: Tool = Tool::named("volumes", ".", 1);

    const fn named(name: &'static str, package: &'static str, minutes: u32) -> Self {
        Self { module: name, name, package, link: "", names: &[], minutes }
    }
}

/// Where the Go modules are.
pub(crate) fn modules() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../kubernetes")
}

/// Programs that are there, built if need be.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    cache: PathBuf,
}

impl Tools {
    pub(crate) fn new() -> Self {
        Self { cache: cache_dir().join("tools") }
    }

    /// Why nothing can be built here, in a sentence, unless it can or need not be.
    pub(crate) fn missing(&self, tools: &[Tool]) -> Option<String> {
        let built = |tool: &Tool| self.dir(tool).is_ok_and(|dir| dir.is_dir());
        if tools.iter().all(built) || command::find("go").is_some() {
            return None;
        }
        Some("install Go 1.26 or newer from https://go.dev/dl and put it on the PATH".to_owned())
    }

    /// Builds those of `tools` that are not in the cache.
    pub(crate) async fn ensure(&self, tools: &[Tool], progress: &Progress) -> Result<()> {
        let mut unbuilt = Vec::new();
        for tool in tools {
            if !self.dir(tool)?.is_dir() {
                unbuilt.push(*tool);
            }
        }
        let minutes: u32 = unbuilt.iter().map(|tool| tool.minutes).sum();
        if minutes > 5 {
            progress.note(&format!(
                "The programs of the cluster are built from source once, into {}; the first build takes 10 to 15 minutes.",
                self.cache.display()
            ));
        }
        for (done, tool) in unbuilt.iter().enumerate() {
            progress.step(&format!("building {} ({} of {})", tool.name, done + 1, unbuilt.len()));
            let dir = self.dir(tool)?;
            progress
                .during(build::build(tool, &self.cache, &dir))
                .await
                .with_context(|| format!("cannot build {}", tool.name))?;
        }
        Ok(())
    }

    /// The path of a program of `tool`, which [`Self::ensure`] has built.
    pub(crate) fn path(&self, tool: &Tool, program: &str) -> Result<PathBuf> {
        Ok(self.dir(tool)?.join(program))
    }

    /// The only program of `tool`.
    pub(crate) fn program(&self, tool: &Tool) -> Result<PathBuf> {
        self.path(tool, tool.name)
    }

    /// The folder of a Go module that `tool` is made of, with its sources, in the version that is pinned.
    pub(crate) async fn sources(&self, tool: &Tool, module: &str) -> Result<PathBuf> {
        #[derive(serde::Deserialize)]
        struct Downloaded {
            #[serde(rename = "Dir")]
            dir: PathBuf,
        }
        let go = command::find("go").context("there is no `go` on the PATH")?;
        let mut download = command::command(go);
        download.args(["mod", "download", "-json", module]).current_dir(modules().join(tool.module));
        let downloaded: Downloaded = serde_json::from_str(&command::output(&mut download, None).await?)?;
        Ok(downloaded.dir)
    }

    fn dir(&self, tool: &Tool) -> Result<PathBuf> {
        let key = key::of(&modules().join(tool.module), &build::flags(tool))?;
        Ok(self.cache.join(format!("{}-{key}", tool.name)))
    }
}
